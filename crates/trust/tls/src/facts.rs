//! What verification needs to know of one certificate, read once.

use std::collections::BTreeSet;

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;

use crate::name_constraints::{Limits, Name};

const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";
const ANY_USAGE: &str = "2.5.29.37.0";

/// What a certificate is used for in a handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    Server,
    Client,
}

impl Role {
    pub(crate) fn purpose(self) -> &'static str {
        match self {
            Self::Server => "serverAuth",
            Self::Client => "clientAuth",
        }
    }

    fn oid(self) -> &'static str {
        match self {
            Self::Server => SERVER_AUTH,
            Self::Client => CLIENT_AUTH,
        }
    }
}

/// The certificate is not DER that can be read.
#[derive(Debug)]
pub(crate) struct Unreadable;

/// One certificate's own statements.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Seconds since 1970.
    pub(crate) not_before: i64,
    /// Seconds since 1970.
    pub(crate) not_after: i64,
    pub(crate) subject: String,
    pub(crate) common_name: Option<String>,
    pub(crate) dns_names: Vec<String>,
    pub(crate) addresses: Vec<std::net::IpAddr>,
    /// `None`: no basicConstraints.
    pub(crate) is_ca: Option<bool>,
    pub(crate) path_length: Option<u32>,
    /// `None`: no keyUsage.
    pub(crate) may_sign_certificates: Option<bool>,
    /// Dotted; `None`: no extendedKeyUsage.
    pub(crate) extended_key_usages: Option<Vec<String>>,
    pub(crate) first_version: bool,
    pub(crate) self_issued: bool,
    /// The names that it may issue for, when it is limited.
    pub(crate) limits: Option<Limits>,
    /// Everything that limits of a CA apply to: the subject, and all alternative names.
    pub(crate) all_names: Vec<Name>,
    /// Size of an RSA key.
    pub(crate) rsa_bits: Option<usize>,
    /// A critical extension that nobody here understands, dotted.
    pub(crate) unknown_critical: Option<String>,
    pub(crate) raw_subject: Vec<u8>,
    pub(crate) raw_issuer: Vec<u8>,
}

impl Facts {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, Unreadable> {
        let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| Unreadable)?;
        if !rest.is_empty() {
            return Err(Unreadable);
        }
        let mut facts = Self {
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            subject: parsed.subject().to_string(),
            common_name: parsed
                .subject()
                .iter_common_name()
                .last()
                .and_then(|name| name.as_str().ok())
                .map(str::to_owned),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            is_ca: None,
            path_length: None,
            may_sign_certificates: None,
            extended_key_usages: None,
            first_version: parsed.version() == X509Version::V1,
            self_issued: parsed.subject().as_raw() == parsed.issuer().as_raw(),
            limits: None,
            all_names: Vec::new(),
            rsa_bits: match parsed.public_key().parsed() {
                Ok(PublicKey::RSA(key)) => Some(key.key_size()),
                _ => None,
            },
            unknown_critical: None,
            raw_subject: parsed.subject().as_raw().to_vec(),
            raw_issuer: parsed.issuer().as_raw().to_vec(),
        };
        if parsed.subject().iter().next().is_some() {
            facts.all_names.push(Name::directory(parsed.subject()));
        }
        let mut seen = BTreeSet::new();
        for extension in parsed.extensions() {
            // Two of a kind could say two different things (RFC 5280, section 4.2).
            if !seen.insert(extension.oid.as_bytes()) {
                return Err(Unreadable);
            }
            facts.read(extension)?;
        }
        Ok(facts)
    }

    fn read(&mut self, extension: &x509_parser::extensions::X509Extension<'_>) -> Result<(), Unreadable> {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => {
                self.is_ca = Some(constraints.ca);
                self.path_length = constraints.path_len_constraint;
            }
            ParsedExtension::KeyUsage(usage) => self.may_sign_certificates = Some(usage.key_cert_sign()),
            ParsedExtension::ExtendedKeyUsage(usage) => self.extended_key_usages = Some(usages(usage)),
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in &names.general_names {
                    self.all_names.push(Name::of(name));
                    match name {
                        GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
                        GeneralName::IPAddress(octets) => self.addresses.push(address(octets).ok_or(Unreadable)?),
                        _ => {}
                    }
                }
            }
            ParsedExtension::NameConstraints(constraints) => self.limits = Some(Limits::of(constraints)),
            ParsedExtension::CertificatePolicies(_)
            | ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::SubjectKeyIdentifier(_) => {}
            ParsedExtension::ParseError { .. } if is_relied_on(extension) => return Err(Unreadable),
            _ if extension.critical && self.unknown_critical.is_none() => {
                self.unknown_critical = Some(extension.oid.to_id_string());
            }
            _ => {}
        }
        Ok(())
    }

    /// Absent, `any`, or the role's own usage.
    pub(crate) fn allows(&self, role: Role) -> bool {
        match &self.extended_key_usages {
            None => true,
            Some(usages) => usages.iter().any(|usage| usage == ANY_USAGE || usage == role.oid()),
        }
    }

    /// The usages in words.
    pub(crate) fn usages_in_words(&self) -> String {
        let word = |oid: &String| match oid.as_str() {
            SERVER_AUTH => "serverAuth".to_owned(),
            CLIENT_AUTH => "clientAuth".to_owned(),
            ANY_USAGE => "anyExtendedKeyUsage".to_owned(),
            "1.3.6.1.5.5.7.3.3" => "codeSigning".to_owned(),
            "1.3.6.1.5.5.7.3.4" => "emailProtection".to_owned(),
            "1.3.6.1.5.5.7.3.8" => "timeStamping".to_owned(),
            "1.3.6.1.5.5.7.3.9" => "OCSPSigning".to_owned(),
            other => other.to_owned(),
        };
        match &self.extended_key_usages {
            None => "none".to_owned(),
            Some(usages) => usages.iter().map(word).collect::<Vec<_>>().join(", "),
        }
    }

    pub(crate) fn not_after_in_words(&self) -> String {
        day(self.not_after)
    }

    pub(crate) fn not_before_in_words(&self) -> String {
        day(self.not_before)
    }
}

pub(crate) fn day(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "an unknown date".to_owned(), clock::rfc3339_seconds)
}

/// Whether the verdict depends on what the extension says; one of another kind may be malformed, as long as it is not
/// critical.
fn is_relied_on(extension: &x509_parser::extensions::X509Extension<'_>) -> bool {
    const RELIED_ON: [&str; 5] = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.37"];
    RELIED_ON.contains(&extension.oid.to_id_string().as_str())
}

fn usages(usage: &x509_parser::extensions::ExtendedKeyUsage<'_>) -> Vec<String> {
    let named = [
        (usage.any, ANY_USAGE),
        (usage.server_auth, SERVER_AUTH),
        (usage.client_auth, CLIENT_AUTH),
        (usage.code_signing, "1.3.6.1.5.5.7.3.3"),
        (usage.email_protection, "1.3.6.1.5.5.7.3.4"),
        (usage.time_stamping, "1.3.6.1.5.5.7.3.8"),
        (usage.ocsp_signing, "1.3.6.1.5.5.7.3.9"),
    ];
    let named = named.iter().filter(|(set, _)| *set).map(|(_, oid)| (*oid).to_owned());
    named
        .chain(usage.other.iter().map(x509_parser::oid_registry::Oid::to_id_string))
        .collect()
}

fn address(octets: &[u8]) -> Option<std::net::IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(Into::into),
        16 => <[u8; 16]>::try_from(octets).ok().map(Into::into),
        _ => None,
    }
}
