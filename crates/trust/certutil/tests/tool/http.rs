//! The dialogue `http`.

use crate::support::{Folder, Script, certificate_text, openssl};
use certutil::ExitStatus;

/// Answers of one line each; `|` separates them.
fn run(folder: &Folder, answers: &str) -> (ExitStatus, Script) {
    let answers: Vec<String> = answers
        .split('|')
        .map(|answer| answer.replace('@', folder.path("").as_str()))
        .collect();
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    folder.run("http", &answers)
}

#[track_caller]
fn must(folder: &Folder, answers: &str) {
    let (status, script) = run(folder, answers);
    assert_eq!(status, ExitStatus::OK, "{} {:?}", script.errors, script.asked);
    assert!(
        script.answers.is_empty(),
        "not all answers were used: {:?}",
        script.answers
    );
}

fn leaf_of(folder: &Folder, bundle: &str, password: &str) -> String {
    let (bundle, out) = (folder.path(bundle), folder.path("leaf.crt"));
    let password = format!("pass:{password}");
    openssl(&[
        "pkcs12",
        "-in",
        bundle.as_str(),
        "-passin",
        &password,
        "-clcerts",
        "-nokeys",
        "-out",
        out.as_str(),
    ]);
    certificate_text(&out)
}

#[test]
fn a_new_ca_signs_a_certificate_for_each_node() {
    let folder = Folder::new();
    let new_ca = "n|n|y|CN=My CA|3Y|2048|keyCertSign|n|capw|capw|50d|n|50d|y";
    let first = "y|node1|a.test|b.test||y|10.0.0.1||y|n|y";
    let second = "node2||y||y|y|kname|CN=x|2048|digitalSignature|n|n";
    must(&folder, &format!("{new_ca}|{first}|{second}|pw|pw|@out.zip"));
    assert_eq!(
        folder.unpack("out.zip", "."),
        [
            "elasticsearch/",
            "elasticsearch/node1/",
            "elasticsearch/node1/README.txt",
            "elasticsearch/node1/http.p12",
            "elasticsearch/node1/sample-elasticsearch.yml",
            "elasticsearch/kname/",
            "elasticsearch/kname/README.txt",
            "elasticsearch/kname/http.p12",
            "elasticsearch/kname/sample-elasticsearch.yml",
            "ca/",
            "ca/README.txt",
            "ca/ca.p12",
            "kibana/",
            "kibana/README.txt",
            "kibana/elasticsearch-ca.pem",
            "kibana/sample-kibana.yml",
        ]
    );
    let text = leaf_of(&folder, "elasticsearch/node1/http.p12", "pw");
    for part in [
        "Subject: CN=node1",
        "Issuer: CN=My CA",
        "IP Address:10.0.0.1, DNS:a.test, DNS:b.test",
        "X509v3 Key Usage: critical\n                Digital Signature, Key Encipherment",
        "TLS Web Server Authentication",
        "X509v3 Basic Constraints: \n                CA:FALSE",
    ] {
        assert!(text.contains(part), "`{part}` is missing in {text}");
    }
    let ca = folder.path("kibana/elasticsearch-ca.pem");
    openssl(&[
        "verify",
        "-purpose",
        "sslserver",
        "-CAfile",
        ca.as_str(),
        folder.path("leaf.crt").as_str(),
    ]);
    assert!(certificate_text(&ca).contains("X509v3 Key Usage: critical\n                Certificate Sign\n"));
    let other = leaf_of(&folder, "elasticsearch/kname/http.p12", "pw");
    assert!(
        other.contains("Subject: CN=x") && !other.contains("Alternative Name"),
        "{other}"
    );

    // The CA that was made signs again, from its bundle.
    must(&folder, "n|y|nowhere|@ca/ca.p12|capw||n|c.test||y||y|n||@again.zip");
    assert_eq!(
        folder.unpack("again.zip", "again"),
        [
            "elasticsearch/",
            "elasticsearch/README.txt",
            "elasticsearch/http.p12",
            "elasticsearch/sample-elasticsearch.yml",
            "kibana/",
            "kibana/README.txt",
            "kibana/elasticsearch-ca.pem",
            "kibana/sample-kibana.yml",
        ]
    );
    let text = leaf_of(&folder, "again/elasticsearch/http.p12", "");
    assert!(
        text.contains("Subject: CN=c,DC=test") && text.contains("Issuer: CN=My CA"),
        "{text}"
    );
    assert_eq!(run(&folder, "n|y|@ca/ca.p12|wrong").0, ExitStatus::IO);
    assert_eq!(run(&folder, "n|y|@ca/README.txt").0, ExitStatus::DATA);

    // And from PEM.
    folder.must("ca --pem --out @pem.zip", &[]);
    folder.unpack("pem.zip", "pem");
    must(&folder, "n|y|@pem/ca/ca.key|@pem/ca/ca.crt|1Y|n||y||y|n||@signed.zip");

    // Requests.
    must(
        &folder,
        "y|n|*.a.test|a.test||y|not-an-address|::1||y|n|secret|secret|@csr.zip",
    );
    let names = folder.unpack("csr.zip", "csr");
    assert_eq!(
        names,
        [
            "elasticsearch/",
            "elasticsearch/README.txt",
            "elasticsearch/http-a.test.csr",
            "elasticsearch/http-a.test.key",
            "elasticsearch/sample-elasticsearch.yml",
            "kibana/",
            "kibana/README.txt",
            "kibana/sample-kibana.yml",
        ]
    );
    let csr = folder.path("csr/elasticsearch/http-a.test.csr");
    let text = openssl(&["req", "-in", csr.as_str(), "-noout", "-verify", "-text"]);
    for part in [
        "Digital Signature, Key Encipherment",
        "TLS Web Server Authentication",
        "DNS:*.a.test, DNS:a.test",
    ] {
        assert!(text.contains(part), "`{part}` is missing in {text}");
    }
    let key = folder.path("csr/elasticsearch/http-a.test.key");
    openssl(&["pkey", "-in", key.as_str(), "-passin", "pass:secret", "-noout"]);
    assert_eq!(run(&folder, "y|n||y||y|n||@csr.zip").0, ExitStatus::IO);
}

#[test]
fn without_a_terminal_there_is_no_dialogue() {
    let folder = Folder::new();
    folder.refuses("http", &[], ExitStatus::USAGE, "dialogue");
}
