//! Distinguished names as text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pki::DistinguishedName;

fuzz_target!(|text: &str| {
    if let Ok(name) = DistinguishedName::parse(text) {
        let again = DistinguishedName::parse(&name.to_string()).expect("what we write can be read");
        assert_eq!(again.to_der(), name.to_der());
    }
});
