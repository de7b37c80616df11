//! Stock clients of other languages against `tls serve`: with their certificate they get in, without it they do not.

use std::process::Output;

use testkit::{is_installed, run, skip};

use super::folder::Folder;
use super::server::Server;

/// Runs a client twice, with its certificate and without.
fn gets_in_only_with_its_certificate(program: &str, package: &str, client: impl Fn(&Folder, &Server, bool) -> Output) {
    if !is_installed(program) {
        skip(&format!(
            "`{program}` is not installed (Debian: apt-get install {package})"
        ));
        return;
    }
    let folder = Folder::new();
    let mut server = Server::mutual(&folder);
    let told = |output: &Output| {
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    };
    let admitted = client(&folder, &server, true);
    assert!(admitted.status.success(), "{program}: {}", told(&admitted));
    let line = server.line();
    assert_eq!(line["ok"], true, "{program}: {line}");
    let refused = client(&folder, &server, false);
    assert!(!refused.status.success(), "{program}: {}", told(&refused));
    let line = server.line();
    assert_eq!(line["ok"], false, "{program}: {line}");
}

#[test]
fn curl() {
    gets_in_only_with_its_certificate("curl", "curl", |folder, server, with_certificate| {
        let (ca, certificate, key) = (
            folder.path("ca.crt"),
            folder.path("client.crt"),
            folder.path("client.key"),
        );
        let url = server.url();
        let mut arguments = vec!["-sS", "--cacert", &ca, &url];
        if with_certificate {
            arguments.extend(["--cert", &certificate, "--key", &key]);
        }
        run("curl", arguments)
    });
}

const PYTHON: &str = r#"
import ssl, sys, urllib.request
url, ca, certificate, key, with_certificate = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
if with_certificate == "true":
    context.load_cert_chain(certificate, key)
urllib.request.urlopen(url, context=context, timeout=20).read()
"#;

#[test]
fn python() {
    gets_in_only_with_its_certificate("python3", "python3", |folder, server, with_certificate| {
        let script = folder.write("client.py", PYTHON);
        run(
            "python3",
            script_arguments(&[&script], folder, server, with_certificate),
        )
    });
}

const NODE: &str = r"
const [url, ca, certificate, key, withCertificate] = process.argv.slice(2);
const fs = require('fs');
const options = { ca: fs.readFileSync(ca) };
if (withCertificate === 'true') Object.assign(options, { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) });
const request = require('https').get(url, options, answer => { answer.resume(); answer.on('end', () => process.exit(0)); });
request.on('error', error => { console.error(error.message); process.exit(1); });
";

#[test]
fn node() {
    gets_in_only_with_its_certificate("node", "nodejs", |folder, server, with_certificate| {
        let script = folder.write("client.js", NODE);
        run("node", script_arguments(&[&script], folder, server, with_certificate))
    });
}

const GO: &str = r#"package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	authority, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	config := &tls.Config{RootCAs: roots}
	if os.Args[5] == "true" {
		pair, err := tls.LoadX509KeyPair(os.Args[3], os.Args[4])
		if err != nil {
			log.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	answer, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: config}}).Get(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	if _, err := io.ReadAll(answer.Body); err != nil {
		log.Fatal(err)
	}
}
"#;

#[test]
fn go() {
    gets_in_only_with_its_certificate("go", "golang-go", |folder, server, with_certificate| {
        let program = folder.write("client.go", GO);
        run(
            "go",
            script_arguments(&["run", &program], folder, server, with_certificate),
        )
    });
}

const JAVA: &str = r#"
import java.io.FileInputStream;
import java.net.URI;
import java.net.http.*;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.*;

class Client {
    public static void main(String[] arguments) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (var file = new FileInputStream(arguments[1])) {
            trusted.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        KeyManager[] keys = null;
        if (arguments[4].equals("true")) {
            KeyStore own = KeyStore.getInstance("PKCS12");
            try (var file = new FileInputStream(arguments[2])) { own.load(file, arguments[3].toCharArray()); }
            var manager = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            manager.init(own, arguments[3].toCharArray());
            keys = manager.getKeyManagers();
        }
        var context = SSLContext.getInstance("TLS");
        context.init(keys, trust.getTrustManagers(), null);
        var client = HttpClient.newBuilder().sslContext(context).version(HttpClient.Version.HTTP_1_1).build();
        client.send(HttpRequest.newBuilder(URI.create(arguments[0])).build(), HttpResponse.BodyHandlers.ofString());
    }
}
"#;

/// Java takes a PKCS#12 bundle.
#[test]
fn java() {
    gets_in_only_with_its_certificate("javac", "default-jdk-headless", |folder, server, with_certificate| {
        let program = folder.write("Client.java", JAVA);
        let bundle = folder.path("client.p12");
        let (certificate, key) = (folder.path("client.crt"), folder.path("client.key"));
        let packed = run(
            "openssl",
            [
                "pkcs12",
                "-export",
                "-in",
                &certificate,
                "-inkey",
                &key,
                "-passout",
                "pass:bundle",
                "-out",
                &bundle,
            ],
        );
        assert!(packed.status.success());
        run(
            "java",
            [
                program,
                server.url(),
                folder.path("ca.crt"),
                bundle,
                "bundle".to_owned(),
                with_certificate.to_string(),
            ],
        )
    });
}

#[test]
fn openssl() {
    gets_in_only_with_its_certificate("openssl", "openssl", |folder, server, with_certificate| {
        let connect = format!("localhost:{}", server.port);
        let (ca, certificate, key) = (
            folder.path("ca.crt"),
            folder.path("client.crt"),
            folder.path("client.key"),
        );
        let mut arguments = vec![
            "s_client",
            "-connect",
            &connect,
            "-CAfile",
            &ca,
            "-verify_return_error",
            "-verify_hostname",
            "localhost",
        ];
        if with_certificate {
            arguments.extend(["-cert", &certificate, "-key", &key]);
        }
        let script = format!(
            "printf 'GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' | \
             openssl {} -quiet 2>/dev/null | grep -q HTTP/1.1",
            arguments.join(" ")
        );
        run("sh", ["-c", &script])
    });
}

fn script_arguments(first: &[&str], folder: &Folder, server: &Server, with_certificate: bool) -> Vec<String> {
    let rest = [
        server.url(),
        folder.path("ca.crt"),
        folder.path("client.crt"),
        folder.path("client.key"),
        with_certificate.to_string(),
    ];
    first.iter().map(|word| (*word).to_owned()).chain(rest).collect()
}
