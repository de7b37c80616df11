//! `flotilla tls show`: every kind of file, and nothing secret.

use serde_json::Value;
use testkit::run;

use super::FLOTILLA;
use super::folder::Folder;

fn show(arguments: &[&str]) -> (i32, String) {
    let output = run(FLOTILLA, [&["tls", "show", "--json"], arguments].concat());
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn openssl(arguments: &[&str]) {
    let output = run("openssl", arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn certificates_keys_and_bundles_are_shown_without_secrets() {
    let folder = Folder::new();
    let (certificate, key) = (folder.path("server.crt"), folder.path("server.key"));
    let (der, bundle, encrypted) = (
        folder.path("server.der"),
        folder.path("server.p12"),
        folder.path("sealed.key"),
    );
    let passphrase = folder.write("passphrase", "hunter2\n");
    openssl(&["x509", "-in", &certificate, "-outform", "DER", "-out", &der]);
    openssl(&[
        "pkcs12",
        "-export",
        "-in",
        &certificate,
        "-inkey",
        &key,
        "-passout",
        "pass:hunter2",
        "-out",
        &bundle,
    ]);
    openssl(&[
        "pkcs8",
        "-topk8",
        "-in",
        &key,
        "-passout",
        "pass:hunter2",
        "-out",
        &encrypted,
    ]);

    let fingerprint =
        certs::fingerprint(&certs::load_certificates(&certs::PemSource::Path(der.clone().into()), "der").unwrap()[0])
            .to_string();
    let secret = folder.read("server.key").lines().nth(1).unwrap().to_owned();
    let check = |arguments: &[&str], part: &str| {
        let (status, said) = show(arguments);
        assert_eq!(status, 0, "{arguments:?}: {said}");
        assert!(
            said.to_lowercase().contains(&part.to_lowercase()),
            "`{part}` is missing: {said}"
        );
        assert!(
            !said.contains("hunter2") && !said.contains(&secret),
            "a secret is shown: {said}"
        );
        for line in said.lines() {
            let _object: Value = serde_json::from_str(line).unwrap();
        }
    };
    check(&[&certificate], &fingerprint);
    check(&[&certificate], "localhost");
    check(&[&der], &fingerprint);
    check(&[&key], "P-256");
    check(&[&bundle, "--passphrase-path", &passphrase], &fingerprint);
    check(&[&encrypted, "--passphrase-path", &passphrase], "P-256");
}

#[test]
fn what_cannot_be_shown_is_explained_in_the_same_shape_as_a_check() {
    let folder = Folder::new();
    let text = folder.write("notes.txt", "no certificate");
    let missing = folder.path("missing");
    for file in [&text, &missing] {
        let (status, said) = show(&[file]);
        assert_eq!(status, 1, "{said}");
        let line: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&line["ok"], &line["stage"]),
            (&Value::Bool(false), &Value::from("load")),
            "{line}"
        );
        for field in ["error_class", "message", "hint"] {
            assert!(!line[field].as_str().unwrap_or_default().is_empty(), "{field}: {line}");
        }
    }
}
