//! Names of protocols, cipher suites and groups, and what of them this program has.
//!
//! A known but unavailable value is dropped with a warning while something usable is left; else the load fails and
//! names it. Source of the names: the SSL settings reference of the Elastic Stack; of the numbers: IANA.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use crate::SslError;
use crate::settings::{NameOrNumber, SslSettings};

/// What a configuration may negotiate.
#[derive(Clone, Debug)]
pub(crate) struct Negotiation {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
}

/// Works out provider and versions; every dropped value adds a warning.
pub(crate) fn negotiation(settings: &SslSettings, warnings: &mut Vec<String>) -> Result<Negotiation, SslError> {
    let versions = versions(&settings.supported_protocols, warnings)?;
    let mut provider = aws_lc_rs::default_provider();
    if !settings.cipher_suites.is_empty() {
        provider.cipher_suites = cipher_suites(&settings.cipher_suites, warnings)?;
    }
    if !settings.curve_types.is_empty() {
        provider.kx_groups = groups(&settings.curve_types, warnings)?;
    }
    let usable = |suite: &SupportedCipherSuite| versions.iter().any(|version| suite.version() == *version);
    if !provider.cipher_suites.iter().any(usable) {
        return Err(SslError::bad_value(
            "cipher_suites",
            "holds no suite of a protocol in `ssl.supported_protocols`",
            Some(
                "the names of TLS 1.3 suites have no effect on TLS 1.2; remove `ssl.cipher_suites` to use the defaults",
            ),
        ));
    }
    let versions = versions
        .into_iter()
        .filter(|version| provider.cipher_suites.iter().any(|suite| suite.version() == *version))
        .collect();
    Ok(Negotiation {
        provider: Arc::new(provider),
        versions,
    })
}

/// Only the lowest and the highest count: 1.1 and 1.3 also allow 1.2.
fn versions(
    written: &[NameOrNumber],
    warnings: &mut Vec<String>,
) -> Result<Vec<&'static SupportedProtocolVersion>, SslError> {
    const KEY: &str = "supported_protocols";
    if written.is_empty() {
        return Ok(vec![&rustls::version::TLS13, &rustls::version::TLS12]);
    }
    let mut numbers = Vec::new();
    for value in written {
        numbers.push(match value {
            NameOrNumber::Name(name) => match name.as_str() {
                "TLSv1.1" => 0x0302_u64,
                "TLSv1.2" => 0x0303,
                "TLSv1.3" => 0x0304,
                _ => return Err(SslError::bad_word(KEY, name, "TLSv1.2 and TLSv1.3")),
            },
            NameOrNumber::Number(number @ 0x0302..=0x0304) => *number,
            NameOrNumber::Number(number) => {
                return Err(SslError::bad_word(KEY, &number.to_string(), "TLSv1.2 and TLSv1.3"));
            }
        });
    }
    let lowest = numbers.iter().min().copied().unwrap_or(0x0303);
    let highest = numbers.iter().max().copied().unwrap_or(0x0304);
    if highest < 0x0303 {
        return Err(SslError::bad_value(
            KEY,
            "holds only `TLSv1.1`, which this program does not offer",
            Some("use TLSv1.2 or TLSv1.3; older versions are insecure and were withdrawn by RFC 8996"),
        ));
    }
    if lowest < 0x0303 {
        warnings.push("`ssl.supported_protocols`: `TLSv1.1` is not offered; TLSv1.2 is the lowest version".to_owned());
    }
    let mut versions: Vec<&'static SupportedProtocolVersion> = Vec::new();
    if highest >= 0x0304 {
        versions.push(&rustls::version::TLS13);
    }
    if lowest <= 0x0303 {
        versions.push(&rustls::version::TLS12);
    }
    Ok(versions)
}

/// The suites of TLS 1.2 that are named, and all of TLS 1.3 (which the setting does not reach). A list of nothing but
/// TLS 1.3 names leaves no suite for TLS 1.2.
fn cipher_suites(written: &[NameOrNumber], warnings: &mut Vec<String>) -> Result<Vec<SupportedCipherSuite>, SslError> {
    const KEY: &str = "cipher_suites";
    let mut named: Vec<SupportedCipherSuite> = Vec::new();
    let mut missing = Vec::new();
    let mut all = TLS13_SUITES.to_vec();
    for value in written {
        match suite(value) {
            Known::Available(suite) if suite.tls13().is_some() => named.push(suite),
            Known::Available(suite) => {
                named.push(suite);
                all.push(suite);
            }
            Known::Unavailable => missing.push(value.to_string()),
            Known::No => {
                return Err(SslError::bad_value(
                    KEY,
                    &format!("does not know `{value}`"),
                    Some(SUITE_HINT),
                ));
            }
        }
    }
    if named.is_empty() {
        return Err(SslError::bad_value(
            KEY,
            &format!(
                "holds only suites that this program does not offer: `{}`",
                missing.join("`, `")
            ),
            Some(SUITE_HINT),
        ));
    }
    warnings.extend(missing.iter().map(|name| {
        format!("`ssl.cipher_suites`: `{name}` is not offered (no forward secrecy, CBC, 3DES or RC4); it is left out")
    }));
    Ok(all)
}

const SUITE_HINT: &str = "for example ECDHE-ECDSA-AES-128-GCM-SHA256, ECDHE-RSA-AES-256-GCM-SHA384 or ECDHE-RSA-CHACHA20-POLY1305; \
     without the setting the defaults are used";

const TLS13_SUITES: [SupportedCipherSuite; 3] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];

enum Known<T> {
    Available(T),
    Unavailable,
    No,
}

/// Elastic's name and the IANA code point of every suite the original knows.
const SUITES: [(&str, u64, Option<SupportedCipherSuite>); 26] = [
    (
        "TLS-AES-128-GCM-SHA256",
        0x1301,
        Some(cipher_suite::TLS13_AES_128_GCM_SHA256),
    ),
    (
        "TLS-AES-256-GCM-SHA384",
        0x1302,
        Some(cipher_suite::TLS13_AES_256_GCM_SHA384),
    ),
    (
        "TLS-CHACHA20-POLY1305-SHA256",
        0x1303,
        Some(cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
    ),
    (
        "ECDHE-ECDSA-AES-128-GCM-SHA256",
        0xc02b,
        Some(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ),
    (
        "ECDHE-ECDSA-AES-256-GCM-SHA384",
        0xc02c,
        Some(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ),
    (
        "ECDHE-RSA-AES-128-GCM-SHA256",
        0xc02f,
        Some(cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ),
    (
        "ECDHE-RSA-AES-256-GCM-SHA384",
        0xc030,
        Some(cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        0xcca9,
        Some(cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        0xcca8,
        Some(cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    // The original knows this suite only by a misspelt name.
    (
        "ECDHE-RSA-CHACHA20-POLY1205",
        0xcca8,
        Some(cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    ("ECDHE-ECDSA-AES-128-CBC-SHA", 0xc009, None),
    ("ECDHE-ECDSA-AES-128-CBC-SHA256", 0xc023, None),
    ("ECDHE-ECDSA-AES-256-CBC-SHA", 0xc00a, None),
    ("ECDHE-ECDSA-RC4-128-SHA", 0xc007, None),
    ("ECDHE-RSA-3DES-CBC3-SHA", 0xc012, None),
    ("ECDHE-RSA-AES-128-CBC-SHA", 0xc013, None),
    ("ECDHE-RSA-AES-128-CBC-SHA256", 0xc027, None),
    ("ECDHE-RSA-AES-256-CBC-SHA", 0xc014, None),
    ("ECDHE-RSA-RC4-128-SHA", 0xc011, None),
    ("RSA-3DES-CBC3-SHA", 0x000a, None),
    ("RSA-AES-128-CBC-SHA", 0x002f, None),
    ("RSA-AES-128-CBC-SHA256", 0x003c, None),
    ("RSA-AES-128-GCM-SHA256", 0x009c, None),
    ("RSA-AES-256-CBC-SHA", 0x0035, None),
    ("RSA-AES-256-GCM-SHA384", 0x009d, None),
    ("RSA-RC4-128-SHA", 0x0005, None),
];

fn suite(written: &NameOrNumber) -> Known<SupportedCipherSuite> {
    let found = SUITES.iter().find(|(name, number, _)| match written {
        NameOrNumber::Name(text) => text == name,
        NameOrNumber::Number(code) => code == number,
    });
    match found {
        Some((_, _, Some(suite))) => Known::Available(*suite),
        Some((_, _, None)) => Known::Unavailable,
        None => Known::No,
    }
}

fn groups(
    written: &[NameOrNumber],
    warnings: &mut Vec<String>,
) -> Result<Vec<&'static dyn SupportedKxGroup>, SslError> {
    const KEY: &str = "curve_types";
    let mut wanted: Vec<&'static dyn SupportedKxGroup> = Vec::new();
    let mut missing = Vec::new();
    for value in written {
        match group(value) {
            Known::Available(group) => wanted.push(group),
            Known::Unavailable => missing.push(value.to_string()),
            Known::No => {
                return Err(SslError::bad_value(
                    KEY,
                    &format!("does not know `{value}`"),
                    Some(GROUP_HINT),
                ));
            }
        }
    }
    if wanted.is_empty() {
        return Err(SslError::bad_value(
            KEY,
            &format!(
                "holds only groups that this program does not offer: `{}`",
                missing.join("`, `")
            ),
            Some(GROUP_HINT),
        ));
    }
    warnings.extend(
        missing
            .iter()
            .map(|name| format!("`ssl.curve_types`: `{name}` is not offered; it is left out")),
    );
    Ok(wanted)
}

const GROUP_HINT: &str = "allowed are X25519MLKEM768, SecP256r1MLKEM768, X25519, P-256 and P-384";

fn group(written: &NameOrNumber) -> Known<&'static dyn SupportedKxGroup> {
    let code = match written {
        NameOrNumber::Name(name) => match name.as_str() {
            "P-256" => 23,
            "P-384" => 24,
            "P-521" => 25,
            "X25519" => 29,
            "X25519MLKEM768" => 4588,
            "SecP256r1MLKEM768" => 4587,
            "SecP384r1MLKEM1024" => 4589,
            _ => return Known::No,
        },
        NameOrNumber::Number(number) => *number,
    };
    match code {
        23 => Known::Available(kx_group::SECP256R1),
        24 => Known::Available(kx_group::SECP384R1),
        29 => Known::Available(kx_group::X25519),
        4588 => Known::Available(kx_group::X25519MLKEM768),
        4587 => Known::Available(kx_group::SECP256R1MLKEM768),
        25 | 4589 => Known::Unavailable,
        _ => Known::No,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn outcome(block: Value) -> Result<(Negotiation, Vec<String>), String> {
        let mut warnings = Vec::new();
        let settings = SslSettings::from_value(&block).unwrap();
        negotiation(&settings, &mut warnings)
            .map(|found| (found, warnings))
            .map_err(|error| error.class().to_owned())
    }

    #[test]
    fn only_the_lowest_and_highest_protocol_count() {
        for (written, expected, warned) in [
            (json!([]), 2, 0),
            (json!(["TLSv1.1", "TLSv1.3"]), 2, 1),
            (json!(["TLSv1.2"]), 1, 0),
            (json!(["TLSv1.1", "TLSv1.2"]), 1, 1),
            (json!([772]), 1, 0),
        ] {
            let (found, warnings) = outcome(json!({"supported_protocols": written})).unwrap();
            assert_eq!((found.versions.len(), warnings.len()), (expected, warned), "{written}");
        }
    }

    #[test]
    fn unavailable_values_are_dropped_while_something_is_left() {
        for (block, expected) in [
            (
                json!({"cipher_suites": ["RSA-AES-128-GCM-SHA256", "ECDHE-RSA-AES-128-GCM-SHA256"]}),
                Ok(1),
            ),
            (
                json!({"cipher_suites": ["RSA-AES-128-GCM-SHA256"]}),
                Err("bad_value:cipher_suites"),
            ),
            (json!({"cipher_suites": [0xc02f, 0x000a]}), Ok(1)),
            (json!({"cipher_suites": [1]}), Err("bad_value:cipher_suites")),
            (json!({"curve_types": ["P-521", "P-256"]}), Ok(1)),
            (json!({"curve_types": ["P-521"]}), Err("bad_value:curve_types")),
            (json!({"curve_types": ["p-256"]}), Err("bad_value:curve_types")),
            (
                json!({"supported_protocols": ["TLSv1.1"]}),
                Err("bad_value:supported_protocols"),
            ),
        ] {
            let found = outcome(block.clone()).map(|(_, warnings)| warnings.len());
            assert_eq!(found, expected.map_err(str::to_owned), "{block}");
        }
    }

    #[test]
    fn a_list_of_tls_1_3_suites_leaves_no_tls_1_2() {
        let (found, _) = outcome(json!({"cipher_suites": "TLS-AES-128-GCM-SHA256"})).unwrap();
        assert_eq!(found.versions, [&rustls::version::TLS13]);
        assert!(outcome(json!({"cipher_suites": "TLS-AES-128-GCM-SHA256", "supported_protocols": "TLSv1.2"})).is_err());
    }
}
