//! Any YAML as an `ssl` block: read, and loaded for a client and for a server.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tls::{ClientTls, LoadOptions, ServerTls, SslSettings};

fuzz_target!(|text: &str| {
    let Ok(value) = settings::from_yaml("ssl.yml", text) else { return };
    let Ok(block) = SslSettings::from_value(&value) else { return };
    if let Err(error) = ClientTls::load(&block, LoadOptions::default()) {
        assert!(!error.class().is_empty() && error.hint().is_some());
    }
    let _ = ServerTls::load(&block, LoadOptions::default());
});
