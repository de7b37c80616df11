//! Certificates and keys in forms: uploads become PEM, and what is typed is shown as what it says.

use certs::{CertificateDer, CertificateSummary, Content, KeyFormat, KeyOptions, PemSource, SubjectAltName};
use jiff::{SignedDuration, Timestamp};
use secret::Secret;

use super::super::look::Look;
use super::spec::{Group, Kind, Spec};
use super::values::{Upload, Values};
use crate::domain::objects::is_pem;

/// A certificate with less than this left is amber.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
/// With less than this left, or none, it is red.
const VERY_SOON: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What a certificate or key says, for a person.
#[derive(Clone, Debug)]
pub(in crate::pages) struct Card {
    pub(in crate::pages) subject: String,
    /// `Certificate`, `Certificate authority`, `Private key`.
    pub(in crate::pages) kind: &'static str,
    pub(in crate::pages) verdict: Option<Look>,
    pub(in crate::pages) certificate: Option<CertificateFacts>,
    /// Of a key.
    pub(in crate::pages) key: String,
}

/// The facts of a certificate.
#[derive(Clone, Debug)]
pub(in crate::pages) struct CertificateFacts {
    pub(in crate::pages) issuer: String,
    pub(in crate::pages) names: String,
    pub(in crate::pages) fingerprint: String,
    pub(in crate::pages) short_fingerprint: String,
    pub(in crate::pages) from: String,
    pub(in crate::pages) until: String,
    pub(in crate::pages) left: String,
    /// Hundredths of the validity that are over.
    pub(in crate::pages) used: f64,
    pub(in crate::pages) tone: &'static str,
}

/// Puts uploaded files into the fields that they are for, as PEM. Returns what could not be read, by field.
pub(in crate::pages) fn take_uploads(groups: &[Group], files: &[Upload], values: &mut Values) -> Vec<(String, String)> {
    let specs: Vec<&Spec> = groups.iter().flat_map(|group| &group.fields).collect();
    let mut problems = Vec::new();
    for file in files {
        let Some(spec) = specs.iter().find(|spec| spec.path == file.path) else {
            continue;
        };
        let passphrase = values.one(&format!("{}.passphrase", spec.path)).to_owned();
        match read_upload(&file.bytes, &passphrase) {
            Ok(found) => put_found(spec, &specs, found, values),
            Err(wrong) => problems.push((spec.path.clone(), wrong)),
        }
    }
    problems
}

#[derive(Default)]
struct Found {
    certificates: Vec<String>,
    key: Option<String>,
}

fn read_upload(bytes: &[u8], passphrase: &str) -> Result<Found, String> {
    let passphrase = Secret::from(passphrase);
    match certs::recognize(bytes) {
        Content::Pem(_) => {
            let text = String::from_utf8_lossy(bytes);
            let certificates = certs::parse_certificates(bytes, "the file").unwrap_or_default();
            Ok(Found {
                certificates: certificates.iter().map(pem).collect(),
                key: key_block(&text),
            })
        }
        Content::Certificate(der) => Ok(Found {
            certificates: vec![pem(&CertificateDer::from(der))],
            key: None,
        }),
        Content::Key(key) => Ok(Found {
            certificates: Vec::new(),
            key: Some(key_pem(&key)?),
        }),
        Content::EncryptedKey(_) => {
            Err("the key is encrypted; decrypt it, or put its path on the host here".to_owned())
        }
        Content::Pkcs12(der) => {
            let bundle = certs::read_p12(&der, &passphrase).map_err(|error| {
                format!(
                    "the p12 cannot be opened: {error}; type its password beside it, and choose it again if it is gone"
                )
            })?;
            Ok(Found {
                certificates: bundle
                    .certificates
                    .iter()
                    .map(|entry| pem(&entry.certificate))
                    .collect(),
                key: bundle.keys.first().map(|entry| key_pem(&entry.key)).transpose()?,
            })
        }
        Content::Other(what) => Err(format!("the file holds no certificate and no key: {what}")),
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    certs::write_pem_certificates(std::slice::from_ref(certificate))
}

fn key_pem(key: &certs::PrivateKeyDer<'_>) -> Result<String, String> {
    let pem = certs::write_pem_key(key, KeyFormat::Pkcs8).map_err(|error| error.to_string())?;
    Ok(pem.expose().to_owned())
}

/// The first private key of a PEM file, as it stands.
fn key_block(text: &str) -> Option<String> {
    let start = text
        .find("PRIVATE KEY-----")
        .and_then(|at| text.get(..at)?.rfind("-----BEGIN"))?;
    let rest = text.get(start..)?;
    let end = rest.find("PRIVATE KEY-----").and_then(|first| {
        let after = first + 16;
        rest.get(after..)?
            .find("PRIVATE KEY-----")
            .map(|second| after + second + 16)
    })?;
    rest.get(..end).map(str::to_owned)
}

/// A file for a certificate may bring its key, and one for a key its certificate.
fn put_found(spec: &Spec, specs: &[&Spec], found: Found, values: &mut Values) {
    let key_of = |certificate: &str| {
        specs
            .iter()
            .find(|other| matches!(&other.kind, Kind::Key(of) if *of == certificate))
            .map(|other| other.path.clone())
    };
    match &spec.kind {
        Kind::Certificates => {
            let mut all: Vec<String> = values.all(&spec.path).into_iter().map(str::to_owned).collect();
            all.extend(found.certificates);
            values.set(&spec.path, all);
        }
        Kind::Key(certificate) => {
            if let Some(key) = found.key {
                values.set(&spec.path, vec![key]);
            }
            if !found.certificates.is_empty() && values.one(certificate).is_empty() {
                values.set(certificate, vec![found.certificates.concat()]);
            }
        }
        _ => {
            values.set(&spec.path, vec![found.certificates.concat()]);
            if let (Some(key), Some(path)) = (found.key, key_of(&spec.path)) {
                values.set(&path, vec![key]);
            }
        }
    }
}

/// What stands in a field, as cards. Paths have none: they are on the agents' hosts.
pub(super) fn cards(spec: &Spec, values: &Values, now: Timestamp) -> Vec<Card> {
    match &spec.kind {
        Kind::Certificate => certificates(values.one(&spec.path), now, false),
        Kind::Certificates => {
            let texts = values.all(&spec.path);
            texts
                .into_iter()
                .flat_map(|text| certificates(text, now, true))
                .collect()
        }
        Kind::Key(certificate) => key(values.one(&spec.path), values.one(certificate))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}

fn certificates(text: &str, now: Timestamp, authorities: bool) -> Vec<Card> {
    if !is_pem(text) {
        return Vec::new();
    }
    let found = certs::load_certificates(&PemSource::Inline(Secret::from(text)), "the field").unwrap_or_default();
    let cards = found.iter().enumerate();
    cards
        .map(|(index, certificate)| card(certificate, now, authorities, index))
        .collect()
}

fn card(certificate: &CertificateDer<'_>, now: Timestamp, authorities: bool, index: usize) -> Card {
    let summary = certs::describe(certificate);
    let verdict = match (authorities, certs::not_an_authority(certificate)) {
        _ if summary.not_after <= now => Some(Look::new("bad", "Expired")),
        (true, Some(_)) => Some(Look::new("warn", "Not a CA")),
        _ if summary.not_after.duration_since(now) < SOON => Some(Look::new("warn", "Ends soon")),
        (false, _) if index == 0 && summary.is_ca => Some(Look::new("warn", "A CA's own certificate")),
        _ => None,
    };
    Card {
        kind: match (index, summary.is_ca) {
            (0, false) => "Certificate",
            (0, true) => "Certificate authority",
            _ => "Part of the chain",
        },
        key: summary.key_type.clone(),
        verdict,
        certificate: Some(facts(&summary, now)),
        subject: common_name(&summary.subject),
    }
}

fn facts(summary: &CertificateSummary, now: Timestamp) -> CertificateFacts {
    let fingerprint = summary.fingerprint.with_colons();
    let whole = summary.not_after.duration_since(summary.not_before).as_secs_f64();
    let over = now.duration_since(summary.not_before).as_secs_f64();
    let left = summary.not_after.duration_since(now);
    let names: Vec<String> = summary.sans.iter().map(name).collect();
    CertificateFacts {
        issuer: if summary.is_self_issued() {
            "itself".to_owned()
        } else {
            common_name(&summary.issuer)
        },
        names: names.join(", "),
        short_fingerprint: short(&fingerprint),
        fingerprint,
        from: summary.not_before.strftime("%-d %b %Y").to_string(),
        until: summary.not_after.strftime("%-d %b %Y").to_string(),
        left: time_left(left),
        used: if whole > 0.0 {
            (over * 100.0 / whole).clamp(0.0, 100.0).round()
        } else {
            100.0
        },
        tone: match left {
            left if left < VERY_SOON => "bad",
            left if left < SOON => "warn",
            _ => "c6",
        },
    }
}

fn name(name: &SubjectAltName) -> String {
    match name {
        SubjectAltName::Dns(text)
        | SubjectAltName::Email(text)
        | SubjectAltName::Uri(text)
        | SubjectAltName::Other(text) => text.clone(),
        SubjectAltName::Ip(address) => address.to_string(),
    }
}

/// `CN` of a subject, or all of it.
pub(in crate::pages) fn common_name(subject: &str) -> String {
    let found = subject.split(", ").find_map(|part| part.strip_prefix("CN="));
    found.unwrap_or(subject).to_owned()
}

/// `9F:3A:61:…:4D:E1`.
pub(in crate::pages) fn short(fingerprint: &str) -> String {
    match (
        fingerprint.get(..11),
        fingerprint.len().checked_sub(8).and_then(|at| fingerprint.get(at..)),
    ) {
        (Some(head), Some(tail)) if fingerprint.len() > 22 => format!("{head}:…:{tail}"),
        _ => fingerprint.to_owned(),
    }
}

/// `41 days left`.
pub(in crate::pages) fn time_left(left: SignedDuration) -> String {
    let days = left.as_hours() / 24;
    match days {
        _ if left.is_negative() => "ended".to_owned(),
        0 => format!("{} h left", left.as_hours()),
        1 => "1 day left".to_owned(),
        2..800 => format!("{days} days left"),
        _ => format!("{} years left", days / 365),
    }
}

fn key(text: &str, certificate: &str) -> Option<Card> {
    if !is_pem(text) {
        return None;
    }
    let source = PemSource::Inline(Secret::from(text));
    let card = |subject: String, key: String, verdict| Card {
        subject,
        kind: "Private key",
        verdict,
        certificate: None,
        key,
    };
    let loaded = match certs::load_key_with(&source, "the field", &KeyOptions::default()) {
        Ok(loaded) => loaded.key,
        Err(error) => {
            return Some(card(
                "Private key".to_owned(),
                error.to_string(),
                Some(Look::new("bad", "Cannot be read")),
            ));
        }
    };
    let summary = certs::describe_key(&loaded);
    let described = format!("{}, {}", summary.key_type, summary.format);
    if !is_pem(certificate) {
        return Some(card("Private key".to_owned(), described, None));
    }
    let chain =
        certs::load_certificates(&PemSource::Inline(Secret::from(certificate)), "the field").unwrap_or_default();
    let leaf = chain.first().map(certs::describe);
    let matches = leaf
        .as_ref()
        .is_some_and(|leaf| Some(&leaf.spki_pin) == summary.spki_pin.as_ref());
    let verdict = if matches {
        Look::new("ok", "Belongs to the certificate")
    } else {
        Look::new("bad", "Does not belong to the certificate")
    };
    Some(card("Private key".to_owned(), described, Some(verdict)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_bundle_is_found() {
        let key = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----";
        let bundle = format!("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n{key}\n");
        assert_eq!(key_block(&bundle).as_deref(), Some(key));
        assert_eq!(key_block("nothing"), None);
    }

    #[test]
    fn words_for_the_time_that_is_left() {
        for (hours, expected) in [
            (-1, "ended"),
            (5, "5 h left"),
            (30, "1 day left"),
            (24 * 41, "41 days left"),
            (24 * 3650, "10 years left"),
        ] {
            assert_eq!(time_left(SignedDuration::from_hours(hours)), expected);
        }
    }

    #[test]
    fn subjects_and_fingerprints_are_short() {
        assert_eq!(common_name("CN=a, O=b"), "a");
        assert_eq!(common_name("O=b"), "O=b");
        assert_eq!(short("9F:3A:61:5B:00:00:00:00:0C:4D:E1"), "9F:3A:61:5B:…:0C:4D:E1");
    }
}
