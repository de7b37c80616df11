//! Certificate requests.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pki::Csr;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(csr) = Csr::parse(bytes) {
        assert!(Csr::parse(csr.pem().as_bytes()).is_ok());
    }
});
