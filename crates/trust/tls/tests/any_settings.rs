//! Whatever stands in an `ssl` block: it loads, or an error says which key, why, and what to do, and tells no secret.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tls::{ClientTls, LoadOptions, ServerTls, SslSettings};

/// More with `FLOTILLA_SOAK_ROUNDS`.
#[expect(clippy::disallowed_methods, reason = "a soak asks its caller for its length")]
fn rounds() -> u32 {
    let asked = std::env::var("FLOTILLA_SOAK_ROUNDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(500)
}

const KEYS: [&str; 19] = [
    "enabled",
    "verification_mode",
    "certificate_authorities",
    "certificate",
    "key",
    "key_passphrase",
    "key_passphrase_path",
    "disable_legacy_pem_support",
    "supported_protocols",
    "cipher_suites",
    "curve_types",
    "renegotiation",
    "ca_sha256",
    "ca_trusted_fingerprint",
    "client_authentication",
    "certificate_reload",
    "reload_interval",
    "restart_on_cert_change",
    "unknown",
];

fn words() -> impl Strategy<Value = String> {
    let known = vec![
        "",
        "full",
        "strict",
        "none",
        "required",
        "TLSv1.2",
        "TLSv1.3",
        "TLSv1.1",
        "P-256",
        "P-521",
        "X25519MLKEM768",
        "ECDHE-ECDSA-AES-128-GCM-SHA256",
        "RSA-AES-128-CBC-SHA",
        "TLS-AES-128-GCM-SHA256",
        "never",
        "freely",
        "true",
        "5s",
        "/does/not/exist",
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
    ];
    prop_oneof![
        prop::sample::select(known).prop_map(str::to_owned),
        "\\PC{0,60}",
        "[0-9a-fA-F:]{60,70}"
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        words().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u64..70_000).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        any::<f64>().prop_map(|number| json!(number)),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(&KEYS[..]), inner), 0..3).prop_map(group),
        ]
    })
}

fn group(entries: Vec<(&str, Value)>) -> Value {
    let entries = entries.into_iter().map(|(key, value)| (key.to_owned(), value));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn judge(error: &tls::SslError, secret: &str) -> Result<(), TestCaseError> {
    prop_assert!(!error.class().is_empty());
    prop_assert!(
        error.hint().is_some_and(|hint| !hint.is_empty()),
        "{error} says nothing to do"
    );
    prop_assert!(!error.to_string().contains(secret), "{}", error);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(rounds()))]

    #[test]
    fn any_block_loads_or_is_explained(
        entries in prop::collection::vec((prop::sample::select(&KEYS[..]), values()), 0..6),
    ) {
        const SECRET: &str = "geheim-4711";
        let mut block = group(entries);
        block["key_passphrase"] = json!(SECRET);
        let settings = match SslSettings::from_value(&block) {
            Ok(settings) => settings,
            Err(error) => return judge(&error, SECRET),
        };
        let shown = format!("{settings:?}");
        prop_assert!(!shown.contains(SECRET));
        if let Err(error) = ClientTls::load(&settings, LoadOptions::default()) {
            judge(&error, SECRET)?;
        }
        if let Err(error) = ServerTls::load(&settings, LoadOptions::default()) {
            judge(&error, SECRET)?;
        }
    }
}
