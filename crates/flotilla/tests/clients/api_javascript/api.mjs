// The official JavaScript clients of both families: api.mjs URL PASSWORD CA; says what it did, or fails.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Client as Elasticsearch } from "@elastic/elasticsearch";
import { Client as OpenSearch } from "@opensearch-project/opensearch";

const [url, password, ca] = process.argv.slice(2);
const mappings = { properties: { tag: { type: "keyword" }, n: { type: "long" } } };
const documents = Array.from({ length: 120 }, (_, n) => ({ tag: n % 3 ? "rest" : "third", n }));

async function elasticsearch() {
  const client = new Elasticsearch({ node: url, auth: { username: "elastic", password }, tls: { ca: readFileSync(ca) } });
  const index = "clients-js-elastic";
  assert.equal(await client.ping(), true);
  assert.match((await client.info()).version.number, /^9\./);
  await client.indices.create({ index, mappings });
  const done = await client.helpers.bulk({
    datasource: documents,
    onDocument: (document) => ({ index: { _index: index, _id: String(document.n) } }),
    refreshOnCompletion: true,
    flushBytes: 1000,
  });
  assert.deepEqual([done.successful, done.failed], [120, 0]);
  const found = await client.search({
    index,
    query: { bool: { must: [{ term: { tag: "third" } }] } },
    sort: [{ n: "desc" }],
    size: 2,
    aggs: { tags: { terms: { field: "tag" }, aggs: { top: { top_hits: { size: 1, sort: [{ n: "asc" }] } } } } },
  });
  assert.deepEqual(found.hits.hits.map((hit) => hit._source.n), [117, 114]);
  assert.deepEqual(found.aggregations.tags.buckets.map((bucket) => [bucket.key, bucket.doc_count]), [["third", 40]]);
  let seen = 0;
  for await (const document of client.helpers.scrollDocuments({ index, size: 50, query: { match_all: {} } })) seen += document ? 1 : 0;
  assert.equal(seen, 120);
  const many = client.helpers.msearch();
  const one = await many.search({ index }, { query: { term: { n: 7 } } });
  assert.equal(one.body.hits.total.value, 1);
  many.stop();
  await assert.rejects(client.get({ index, id: "none" }), (error) => error.statusCode === 404);
  await assert.rejects(client.search({ index, query: { nonsense: {} } }), (error) => error.statusCode === 400 && /nonsense/.test(error.message));
  await client.update({ index, id: "7", doc: { n: 70 }, refresh: "wait_for" });
  assert.equal((await client.get({ index, id: "7" }))._source.n, 70);
  assert.equal((await client.count({ index })).count, 120);
  await client.indices.delete({ index });
  await client.close();
}

async function opensearch() {
  const client = new OpenSearch({ node: url, auth: { username: "elastic", password }, ssl: { ca: readFileSync(ca) } });
  const index = "clients-js-opensearch";
  assert.equal((await client.ping()).body, true);
  await client.indices.create({ index, body: { mappings } });
  const done = await client.helpers.bulk({
    datasource: documents,
    onDocument: (document) => ({ index: { _index: index, _id: String(document.n) } }),
    refreshOnCompletion: true,
  });
  assert.deepEqual([done.successful, done.failed], [120, 0]);
  const found = await client.search({ index, body: { query: { range: { n: { lt: 5 } } }, sort: ["n"], _source: ["n"] } });
  assert.deepEqual(found.body.hits.hits.map((hit) => hit._source.n), [0, 1, 2, 3, 4]);
  let seen = 0;
  for await (const document of client.helpers.scrollDocuments({ index, body: { size: 50, query: { match_all: {} } } })) seen += document ? 1 : 0;
  assert.equal(seen, 120);
  await assert.rejects(client.get({ index, id: "none" }), (error) => error.statusCode === 404);
  assert.equal((await client.deleteByQuery({ index, body: { query: { term: { tag: "third" } } } })).body.deleted, 40);
  assert.equal((await client.cat.indices({ index, format: "json" })).body[0].index, index);
  await client.indices.delete({ index });
  await client.close();
}

await elasticsearch();
await opensearch();
console.log("both clients are served");
