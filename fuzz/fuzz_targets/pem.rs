//! Any file as a certificate, as an authority and as a key.
#![no_main]

use certs::{PemSource, describe, load_authorities, load_certificates, load_key, not_an_authority, parse_pem, write_pem};
use libfuzzer_sys::fuzz_target;
use secret::Secret;

fuzz_target!(|bytes: &[u8]| {
    for block in parse_pem(bytes) {
        let again = parse_pem(write_pem(&block.label, &block.der).as_bytes());
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].der, block.der);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let source = PemSource::Inline(Secret::from(text));
    for certificate in load_certificates(&source, "certificate").unwrap_or_default() {
        describe(&certificate);
        not_an_authority(&certificate);
    }
    let _ = load_authorities(&source, "authorities", None);
    let _ = load_key(&source, "key", Some(&Secret::from("passphrase")));
});
