// A stock client of Node.js: client.mjs URL CA [CERTIFICATE KEY]; prints the status.
import { readFileSync } from "node:fs";
import { request } from "node:https";

const [url, ca, cert, key] = process.argv.slice(2);
const options = { ca: readFileSync(ca), timeout: 30_000, agent: false };
if (cert) {
  options.cert = readFileSync(cert);
  options.key = readFileSync(key);
}
request(url, options, (response) => {
  console.log(`HTTP/${response.httpVersion} ${response.statusCode}`);
  response.resume();
})
  .on("error", (error) => {
    console.error(error.message);
    process.exitCode = 1;
  })
  .end();
