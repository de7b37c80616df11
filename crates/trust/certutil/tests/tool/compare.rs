//! Files of two makers side by side, without what is random in them.

use std::process::Command;

use camino::Utf8Path;

use crate::support::{Folder, certificate_text, openssl};

/// The structure of a bundle with a key, its certificate and its CA, in openssl's words.
pub(crate) const BUNDLE_OF_A_NODE: &str = "MAC: sha256, Iteration 10000|MAC length: 32, salt length: 20|PKCS7 Data|Shrouded Keybag: PBES2, PBKDF2, AES-256-CBC, Iteration 10000, PRF hmacWithSHA256|PKCS7 Encrypted data: PBES2, PBKDF2, AES-256-CBC, Iteration 10000, PRF hmacWithSHA256|Certificate bag|Certificate bag";

/// A certificate without what is random: numbers, dates, keys and their identifiers. Lines are sorted, and so are names.
fn shape(text: &str) -> Vec<String> {
    let random = ["Serial Number", "Not Before", "Not After", "Signature Value", "Modulus"];
    let is_hex = |line: &str| !line.is_empty() && line.chars().all(|c| c.is_ascii_hexdigit() || c == ':');
    let mut lines: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !is_hex(line) && !random.iter().any(|word| line.starts_with(word)))
        .map(|line| {
            let mut names: Vec<_> = line.split(", ").collect();
            names.sort_unstable();
            names.join(", ")
        })
        .collect();
    lines.sort();
    lines
}

/// The words of the armour, and header lines without their values.
fn armour(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .filter(|line| line.starts_with("-----") || line.contains(": "));
    lines
        .map(|line| line.split(',').next().unwrap_or_default().to_owned())
        .collect()
}

#[track_caller]
pub(crate) fn same_files(folder: &Folder, ours: &str, theirs: &str, names: &[String]) {
    for name in names.iter().filter(|name| !name.ends_with('/')) {
        let kind = Utf8Path::new(name).extension();
        let (ours, theirs) = (
            folder.path(&format!("{ours}/{name}")),
            folder.path(&format!("{theirs}/{name}")),
        );
        if kind == Some("crt") {
            assert_eq!(
                shape(&certificate_text(&ours)),
                shape(&certificate_text(&theirs)),
                "{name}"
            );
        }
        if kind == Some("csr") {
            let text = |path: &str| openssl(&["req", "-in", path, "-noout", "-text", "-nameopt", "RFC2253"]);
            assert_eq!(shape(&text(ours.as_str())), shape(&text(theirs.as_str())), "{name}");
        }
        if kind != Some("p12") {
            let text = |path| fs_err::read_to_string(path).expect("text");
            assert_eq!(armour(&text(&ours)), armour(&text(&theirs)), "{name}");
        }
    }
}

/// The entries of a bundle in order, with their names and attributes.
pub(crate) fn bundle_content(path: &Utf8Path, password: &str) -> Vec<String> {
    let password = format!("pass:{password}");
    let text = openssl(&["pkcs12", "-in", path.as_str(), "-passin", &password, "-nodes"]);
    let lines = text.lines().filter(|line| {
        let random = line.contains("localKeyID") || line.is_empty();
        !random && (line.starts_with("-----") || line.contains("friendlyName") || line.contains("2.16.840"))
    });
    lines.map(|line| line.trim().to_owned()).collect()
}

/// The structure of a bundle in openssl's words.
pub(crate) fn described(path: &Utf8Path, password: &str) -> Vec<String> {
    let password = format!("pass:{password}");
    let arguments = ["pkcs12", "-info", "-noout", "-in", path.as_str(), "-passin", &password];
    let output = Command::new("openssl").args(arguments).output().expect("openssl runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines()
        .filter(|line| !line.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}
