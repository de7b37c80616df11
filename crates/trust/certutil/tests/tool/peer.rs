//! Side by side with elasticsearch-certutil: same entries, same extensions, same key formats, same statuses, and each
//! opens what the other made.
//!
//! Set `FLOTILLA_ELASTICSEARCH_TOOLS` to a program that runs an Elasticsearch tool by its name
//! (`$FLOTILLA_ELASTICSEARCH_TOOLS elasticsearch-certutil ca --help`). Without it these tests are skipped, aloud, and only
//! the files in `stock/` stand for the original.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use crate::compare::{BUNDLE_OF_A_NODE, bundle_content, described, same_files};
use crate::support::Folder;

/// The original, or `None` with a word about it. In CI nothing is skipped, unless it is known that there is no original: then
/// what it once wrote (`stock.rs`) has to do.
#[expect(clippy::print_stderr, reason = "what is skipped is told aloud")]
fn original() -> Option<OsString> {
    let tool = std::env::var_os("FLOTILLA_ELASTICSEARCH_TOOLS");
    if tool.is_none() {
        let known = std::env::var_os("FLOTILLA_NO_REAL_NODES").is_some();
        assert!(
            known || std::env::var_os("FLOTILLA_NOTHING_SKIPPED").is_none(),
            "FLOTILLA_ELASTICSEARCH_TOOLS is not set, and nothing may be skipped here"
        );
        eprintln!(
            "SKIPPED: FLOTILLA_ELASTICSEARCH_TOOLS is not set, so nothing is compared with a running elasticsearch-certutil"
        );
    }
    tool
}

/// Runs the original; `@` at the start of a word stands for the folder. Its exit status.
fn run_original(tool: &OsString, folder: &Folder, line: &str) -> i32 {
    let words = line.split_whitespace().map(|word| match word.strip_prefix('@') {
        Some(name) => folder.path(name).into_string(),
        None => word.to_owned(),
    });
    let output = Command::new(tool)
        .arg("elasticsearch-certutil")
        .args(words)
        .stdin(Stdio::null())
        .output();
    output.expect("the tool runs").status.code().expect("it exits")
}

#[track_caller]
fn must_original(tool: &OsString, folder: &Folder, line: &str) {
    assert_eq!(run_original(tool, folder, line), 0, "{line}");
}

#[test]
fn archives_and_files_have_the_same_shape() {
    let Some(tool) = original() else { return };
    let folder = Folder::new();
    let yaml = "instances:\n  - name: a\n    dns: [a.test, b.test]\n    ip: 10.0.0.1\n  - name: \"CN=agents,OU=edge,O=Exämple,DC=a,DC=b\"\n    filename: agents\n    cn: [n1, n2]\n";
    fs_err::write(folder.path("in.yml"), yaml).unwrap();
    let compare = |line: &str, name: &str| {
        folder.must(&format!("{line} --out @ours-{name}.zip"), &[]);
        must_original(&tool, &folder, &format!("{line} --out @theirs-{name}.zip"));
        let ours = folder.unpack(&format!("ours-{name}.zip"), &format!("ours-{name}"));
        assert_eq!(
            ours,
            folder.unpack(&format!("theirs-{name}.zip"), &format!("theirs-{name}")),
            "{line}"
        );
        same_files(&folder, &format!("ours-{name}"), &format!("theirs-{name}"), &ours);
    };
    compare("ca --pem", "ca");
    compare(
        "ca --pem --ca-dn CN=x,DC=a,DC=b --pass Abcd1234! --keyusage keyCertSign,digitalSignature,decipherOnly",
        "ca2",
    );
    let signed = "--ca-cert @theirs-ca/ca/ca.crt --ca-key @theirs-ca/ca/ca.key";
    compare(
        &format!("cert --pem --name fleet-server --dns fleet.test --ip 127.0.0.1,::1 {signed}"),
        "cert",
    );
    let ours = signed.replace("theirs", "ours");
    compare(&format!("cert --pem --in @in.yml --pass Abcd1234! {ours}"), "in");
    let encrypted = "--ca-cert @ours-ca2/ca/ca.crt --ca-key @ours-ca2/ca/ca.key --ca-pass Abcd1234!";
    compare(&format!("cert --pem --name a {encrypted}"), "encrypted");
    compare(
        &format!("cert --pem --name a {}", encrypted.replace("ours", "theirs")),
        "encrypted2",
    );
    compare("cert --self-signed --in @in.yml --pass secret", "p12");
    compare("csr --in @in.yml --pass Abcd1234!", "csr");
}

#[test]
fn bundles_go_both_ways() {
    let Some(tool) = original() else { return };
    let folder = Folder::new();
    folder.must("ca --out @ours.p12 --pass Abcd1234!", &[]);
    must_original(&tool, &folder, "ca --out @theirs.p12 --pass Abcd1234!");
    for ca in ["ours", "theirs"] {
        let line = format!("cert --ca @{ca}.p12 --ca-pass Abcd1234! --name Node --dns a.test --pass store --out");
        folder.must(&format!("{line} @{ca}-ours.p12"), &[]);
        must_original(&tool, &folder, &format!("{line} @{ca}-theirs.p12"));
        let content = |maker: &str| bundle_content(&folder.path(&format!("{ca}-{maker}.p12")), "store");
        assert_eq!(content("ours"), content("theirs"), "{ca}");
        for maker in ["ours", "theirs"] {
            let info = described(&folder.path(&format!("{ca}-{maker}.p12")), "store");
            assert_eq!(info.join("|"), BUNDLE_OF_A_NODE, "{ca} {maker}");
        }
    }
}

#[test]
fn statuses_are_the_same() {
    let Some(tool) = original() else { return };
    let folder = Folder::new();
    folder.must("ca --pem --out @ca.zip", &[]);
    folder.unpack("ca.zip", ".");
    folder.must("ca --pem --out @other.zip", &[]);
    folder.unpack("other.zip", "other");
    fs_err::write(folder.path("bad.yml"), "instances:\n - name: a\n   ip: [x]\n").unwrap();
    for line in [
        "",
        "frob",
        "ca --frob",
        "ca --pem --days x --out @x.zip",
        "ca --pem --days 0 --out @x.zip",
        "ca --pem --keyusage foo --out @x.zip",
        "ca --pem --out @ca.zip",
        "cert --pem --name a --out @x.zip",
        "cert --pem --name a --self-signed --multiple --out @x.zip",
        "cert --pem --name a --ca-cert @ca/ca.crt --out @x.zip",
        "cert --pem --name a --ca-key @ca/ca.key --out @x.zip",
        "cert --pem --keep-ca-key --out @x.zip",
        "cert --pem --name a --ca-cert @ca/ca.crt --ca-key @other/ca/ca.key --out @x.zip",
        "cert --pem --self-signed --in @bad.yml --out @x.zip",
        "cert --pem --self-signed --in @none.yml --out @x.zip",
        "cert --self-signed --name a --pass ä --out @x.p12",
        "ca --help",
    ] {
        let (ours, script) = folder.run(line, &[]);
        assert_eq!(ours.0, run_original(&tool, &folder, line), "{line}: {}", script.errors);
        assert!(!folder.path("x.zip").exists(), "{line}");
    }
}
