//! A `DEK-Info` line and a body.
#![no_main]

use certs::{PemBlock, decrypt_legacy_pem};
use libfuzzer_sys::fuzz_target;
use secret::Secret;

fuzz_target!(|input: (&str, Vec<u8>)| {
    let (info, der) = input;
    let headers = vec![
        ("Proc-Type".to_owned(), "4,ENCRYPTED".to_owned()),
        ("DEK-Info".to_owned(), info.to_owned()),
    ];
    let block = PemBlock { label: "RSA PRIVATE KEY".to_owned(), headers, der: der.into() };
    let _ = decrypt_legacy_pem(&block, &Secret::from("passphrase"));
});
