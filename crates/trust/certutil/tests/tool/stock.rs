//! Side by side with files that elasticsearch-certutil 9.5.3 wrote once: the same shape, and ours works with them.
//!
//! Each file in `stock/` was made by the line of the same test, with `--days 36500` so that it does not expire. Their keys
//! protect nothing.

use camino::Utf8Path;

use crate::compare::{BUNDLE_OF_A_NODE, bundle_content, described, same_files};
use crate::support::Folder;

/// A folder with the stock files, and their pair of a CA unpacked in `theirs-ca/`.
fn folder() -> Folder {
    let folder = Folder::new();
    let stock = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tool/stock");
    for entry in stock.read_dir_utf8().expect("the stock files are there") {
        let entry = entry.expect("an entry");
        fs_err::copy(entry.path(), folder.path(entry.file_name())).expect("it can be copied");
    }
    folder.unpack("ca.zip", "theirs-ca");
    folder
}

#[test]
fn archives_and_files_have_the_shape_of_stock_ones() {
    let folder = folder();
    let signed = "--ca-cert @theirs-ca/ca/ca.crt --ca-key @theirs-ca/ca/ca.key";
    for (name, line) in [
        ("ca", "ca --pem".to_owned()),
        (
            "ca-encrypted",
            "ca --pem --ca-dn CN=x,DC=a,DC=b --pass Abcd1234!".to_owned(),
        ),
        (
            "cert",
            format!("cert --pem --name fleet-server --dns fleet.test --ip 127.0.0.1,::1 {signed}"),
        ),
        ("in", format!("cert --pem --in @in.yml --pass Abcd1234! {signed}")),
        ("csr", "csr --in @in.yml --pass Abcd1234!".to_owned()),
    ] {
        folder.must(&format!("{line} --out @ours-{name}.zip"), &[]);
        let (ours, theirs) = (format!("ours/{name}"), format!("theirs/{name}"));
        let entries = folder.unpack(&format!("ours-{name}.zip"), &ours);
        assert_eq!(entries, folder.unpack(&format!("{name}.zip"), &theirs), "{line}");
        same_files(&folder, &ours, &theirs, &entries);
    }
}

#[test]
fn bundles_have_the_shape_of_stock_ones_and_a_stock_authority_signs() {
    let folder = folder();
    folder.must(
        "cert --ca @ca.p12 --ca-pass Abcd1234! --name Node --dns a.test --pass store --out @ours.p12",
        &[],
    );
    let (ours, theirs) = (folder.path("ours.p12"), folder.path("node.p12"));
    assert_eq!(bundle_content(&ours, "store"), bundle_content(&theirs, "store"));
    for bundle in [&ours, &theirs] {
        assert_eq!(described(bundle, "store").join("|"), BUNDLE_OF_A_NODE, "{bundle}");
    }
    folder.must("ca --out @our-ca.p12 --pass Abcd1234!", &[]);
    let (ours, theirs) = (folder.path("our-ca.p12"), folder.path("ca.p12"));
    assert_eq!(bundle_content(&ours, "Abcd1234!"), bundle_content(&theirs, "Abcd1234!"));
    assert_eq!(described(&ours, "Abcd1234!"), described(&theirs, "Abcd1234!"));
}

#[test]
fn an_encrypted_stock_authority_signs() {
    let folder = folder();
    folder.unpack("ca-encrypted.zip", "encrypted");
    folder.must(
        "cert --pem --name a --ca-cert @encrypted/ca/ca.crt --ca-key @encrypted/ca/ca.key --ca-pass Abcd1234! --out @a.zip",
        &[],
    );
}
