//! PKCS#12 bundles.
#![no_main]

use certs::{describe, describe_key, read_p12, recognize};
use libfuzzer_sys::fuzz_target;
use secret::Secret;

fuzz_target!(|bytes: &[u8]| {
    let _ = recognize(bytes);
    if let Ok(bundle) = read_p12(bytes, &Secret::from("")) {
        bundle.certificates.iter().for_each(|entry| drop(describe(&entry.certificate)));
        bundle.keys.iter().for_each(|entry| drop(describe_key(&entry.key)));
    }
});
