//! What may be asked of an authority.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::key::KeyType;
use crate::name::DistinguishedName;

/// What a new authority should be like. `..AuthorityRequest::default()` fills the rest.
#[derive(Clone, Debug)]
pub struct AuthorityRequest {
    /// The common name, unless `dn` is set.
    pub subject_cn: String,
    /// The whole subject.
    pub dn: Option<DistinguishedName>,
    /// The kind of its key.
    pub key_type: KeyType,
    /// How long it is valid, in days of 24 hours.
    pub days: u32,
    /// Its key usage; empty leaves the extension out.
    pub key_usages: Vec<KeyUsage>,
    /// How many authorities may stand between this one and a leaf.
    pub path_length: Option<u8>,
    /// Start of the validity; `None` is now.
    pub valid_from: Option<Timestamp>,
}

impl Default for AuthorityRequest {
    fn default() -> Self {
        Self {
            subject_cn: "Flotilla CA".to_owned(),
            dn: None,
            key_type: KeyType::default(),
            days: 3650,
            key_usages: vec![KeyUsage::KeyCertSign, KeyUsage::CrlSign],
            path_length: None,
            valid_from: None,
        }
    }
}

impl AuthorityRequest {
    pub(crate) fn subject(&self) -> DistinguishedName {
        self.dn
            .clone()
            .unwrap_or_else(|| DistinguishedName::common_name(&self.subject_cn))
    }
}

/// What a new leaf should be like. `..LeafRequest::default()` fills the rest.
#[derive(Clone, Debug)]
pub struct LeafRequest {
    /// The common name, unless `dn` is set.
    pub common_name: String,
    /// The whole subject.
    pub dn: Option<DistinguishedName>,
    /// Host names for the subject alternative name.
    pub dns: Vec<String>,
    /// Addresses for the subject alternative name.
    pub ips: Vec<IpAddr>,
    /// `otherName` entries of type common name, as certutil's `cn` field makes them.
    pub other_names: Vec<String>,
    /// The kind of its key.
    pub key_type: KeyType,
    /// How long it is valid, in days of 24 hours.
    pub days: u32,
    /// What it may be used for.
    pub usages: Usages,
    /// Key usage of its own; empty takes what `usages` implies.
    pub key_usages: Vec<KeyUsage>,
    /// What happens when the validity ends after the issuer's.
    pub beyond_issuer: BeyondIssuer,
    /// Start of the validity; `None` is now.
    pub valid_from: Option<Timestamp>,
}

impl Default for LeafRequest {
    fn default() -> Self {
        Self {
            common_name: "instance".to_owned(),
            dn: None,
            dns: Vec::new(),
            ips: Vec::new(),
            other_names: Vec::new(),
            key_type: KeyType::default(),
            days: 365,
            usages: Usages::None,
            key_usages: Vec::new(),
            beyond_issuer: BeyondIssuer::Shorten,
            valid_from: None,
        }
    }
}

impl LeafRequest {
    pub(crate) fn subject(&self) -> DistinguishedName {
        self.dn
            .clone()
            .unwrap_or_else(|| DistinguishedName::common_name(&self.common_name))
    }
}

/// What happens when a certificate would be valid longer than its issuer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BeyondIssuer {
    /// It ends together with the issuer.
    #[default]
    Shorten,
    /// An error, save for less than a day: a CA and a leaf of the same length, made one after the other, end together.
    Refuse,
}

/// Which side of a connection a leaf may be on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Usages {
    /// No extended key usage: both sides, as certutil's certificates.
    #[default]
    None,
    /// `serverAuth`.
    Server,
    /// `clientAuth`.
    Client,
    /// `serverAuth` and `clientAuth`.
    Both,
}

/// The bits of the key usage extension. Source: RFC 5280, section 4.2.1.3.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyUsage {
    /// Signatures other than on certificates and revocation lists.
    DigitalSignature,
    /// Also called contentCommitment.
    NonRepudiation,
    /// RSA key transport.
    KeyEncipherment,
    /// Encryption of data.
    DataEncipherment,
    /// Diffie-Hellman.
    KeyAgreement,
    /// Signatures on certificates.
    KeyCertSign,
    /// Signatures on revocation lists.
    CrlSign,
    /// With keyAgreement: only to encrypt.
    EncipherOnly,
    /// With keyAgreement: only to decrypt.
    DecipherOnly,
}

impl KeyUsage {
    /// All, in the order of their bits, with their names.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::DigitalSignature, "digitalSignature"),
        (Self::NonRepudiation, "nonRepudiation"),
        (Self::KeyEncipherment, "keyEncipherment"),
        (Self::DataEncipherment, "dataEncipherment"),
        (Self::KeyAgreement, "keyAgreement"),
        (Self::KeyCertSign, "keyCertSign"),
        (Self::CrlSign, "cRLSign"),
        (Self::EncipherOnly, "encipherOnly"),
        (Self::DecipherOnly, "decipherOnly"),
    ];

    /// From its name, as openssl and certutil spell it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(usage, _)| *usage)
    }
}
