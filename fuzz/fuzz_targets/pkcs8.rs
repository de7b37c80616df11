//! Encrypted PKCS#8.
#![no_main]

use certs::decrypt_pkcs8;
use libfuzzer_sys::fuzz_target;
use secret::Secret;

fuzz_target!(|bytes: &[u8]| {
    let _ = decrypt_pkcs8(bytes, &Secret::from("passphrase"));
});
