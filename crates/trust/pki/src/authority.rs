//! Authorities: made, loaded, issuing.

use certs::{Identity, KeyFormat, describe, fingerprint, not_an_authority, write_pem_certificates, write_pem_key};
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use secret::Secret;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::csr::Csr;
use crate::encode::{self, Tbs, Validity};
use crate::error::PkiError;
use crate::key::SigningKey;
use crate::request::{AuthorityRequest, BeyondIssuer, KeyUsage, LeafRequest, Usages};

/// A CA: its certificate, the certificates above it, and its key.
#[derive(Debug)]
pub struct Authority {
    /// Its own certificate first, up to the root as far as it is known.
    chain: Vec<CertificateDer<'static>>,
    key: SigningKey,
    /// The DER of the subject as it stands in the certificate.
    subject: Vec<u8>,
    subject_text: String,
    key_id: Vec<u8>,
    not_after: Timestamp,
}

impl Authority {
    /// Makes a root.
    pub fn generate(request: AuthorityRequest) -> Result<Self, PkiError> {
        let key = SigningKey::generate(request.key_type)?;
        let validity = Validity::days(request.valid_from, request.days)?;
        let subject = request.subject().to_der();
        let key_id = encode::key_id(key.public());
        let certificate = authority_certificate(&request, validity, &key, &subject, &key_id, &key)?;
        Self::from_parts(vec![certificate], key)
    }

    /// Takes a CA from files.
    ///
    /// # Errors
    /// The certificate is no CA, or the key is not its own.
    pub fn from_identity(identity: Identity) -> Result<Self, PkiError> {
        if not_an_authority(identity.leaf()).is_some() {
            return Err(PkiError::NotAnAuthority {
                subject: describe(identity.leaf()).subject,
            });
        }
        if !identity.key_matches() {
            return Err(PkiError::KeyMismatch {
                subject: describe(identity.leaf()).subject,
            });
        }
        let key = SigningKey::from_key(&identity.key)?;
        Self::from_parts(identity.chain, key)
    }

    fn from_parts(chain: Vec<CertificateDer<'static>>, key: SigningKey) -> Result<Self, PkiError> {
        let (_, parsed) = X509Certificate::from_der(&chain[0]).map_err(|_| PkiError::Certificate)?;
        let stated_key_id = parsed
            .extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            });
        let subject = parsed.subject().as_raw().to_vec();
        let subject_text = parsed.subject().to_string();
        let not_after = Timestamp::from_second(parsed.validity().not_after.timestamp()).unwrap_or(Timestamp::MAX);
        // OpenSSL finds an issuer only when the two identifiers are equal, so the stated one wins.
        let key_id = stated_key_id.unwrap_or_else(|| encode::key_id(key.public()));
        Ok(Self {
            chain,
            key,
            subject,
            subject_text,
            key_id,
            not_after,
        })
    }

    /// Makes an authority below this one. It never outlives this one.
    pub fn issue_authority(&self, request: AuthorityRequest) -> Result<Self, PkiError> {
        let key = SigningKey::generate(request.key_type)?;
        let validity = self.bounded(Validity::days(request.valid_from, request.days)?, BeyondIssuer::Shorten)?;
        let certificate = authority_certificate(&request, validity, &key, &self.subject, &self.key_id, &self.key)?;
        Self::from_parts(self.below(certificate), key)
    }

    /// Makes a leaf with a new key. The chain ends with the root.
    pub fn issue(&self, request: LeafRequest) -> Result<Identity, PkiError> {
        let key = SigningKey::generate(request.key_type)?;
        let certificate = self.certify(&request, &key.public().to_spki())?;
        Ok(Identity::new(self.below(certificate), key.to_key()))
    }

    /// Certifies the key of a request. Names, dates and usages are those of `request`, never those that the CSR asks
    /// for; `request.key_type` counts for nothing. The result is the new leaf with its chain up to the root.
    pub fn issue_for(&self, csr: &Csr, request: &LeafRequest) -> Result<Vec<CertificateDer<'static>>, PkiError> {
        Ok(self.below(self.certify(request, csr.spki())?))
    }

    fn certify(&self, request: &LeafRequest, spki: &[u8]) -> Result<CertificateDer<'static>, PkiError> {
        let validity = self.bounded(Validity::days(request.valid_from, request.days)?, request.beyond_issuer)?;
        leaf_certificate(request, validity, spki, &self.subject, &self.key_id, &self.key)
    }

    fn bounded(&self, validity: Validity, beyond: BeyondIssuer) -> Result<Validity, PkiError> {
        let excess = validity.until.duration_since(self.not_after);
        if excess <= SignedDuration::ZERO {
            return Ok(validity);
        }
        let too_long = beyond == BeyondIssuer::Refuse && excess >= SignedDuration::from_hours(24);
        if too_long || self.not_after <= validity.from {
            return Err(PkiError::OutlivesIssuer {
                issuer: self.subject_text.clone(),
                not_after: validity.until,
                issuer_not_after: self.not_after,
            });
        }
        Ok(Validity {
            until: self.not_after,
            ..validity
        })
    }

    fn below(&self, certificate: CertificateDer<'static>) -> Vec<CertificateDer<'static>> {
        std::iter::once(certificate).chain(self.chain.iter().cloned()).collect()
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// Its own certificate as PEM.
    pub fn certificate_pem(&self) -> String {
        write_pem_certificates(&self.chain[..1])
    }

    /// Its certificate, then those above it.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Its key as PEM.
    pub fn key_pem(&self, format: KeyFormat<'_>) -> Secret {
        write_pem_key(&self.key.to_key(), format).expect("a key that signs can be written")
    }

    /// Its key.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The fingerprint of its certificate.
    pub fn fingerprint(&self) -> certs::Fingerprint {
        fingerprint(self.certificate())
    }

    /// The end of its validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Its subject in words.
    pub fn subject(&self) -> &str {
        &self.subject_text
    }

    /// Its chain and key, as they are loaded from files.
    pub fn to_identity(&self) -> Identity {
        Identity::new(self.chain.clone(), self.key.to_key())
    }
}

/// A leaf that is its own issuer.
pub fn self_signed(request: LeafRequest) -> Result<Identity, PkiError> {
    let key = SigningKey::generate(request.key_type)?;
    let validity = Validity::days(request.valid_from, request.days)?;
    let subject = request.subject().to_der();
    let key_id = encode::key_id(key.public());
    let certificate = leaf_certificate(&request, validity, &key.public().to_spki(), &subject, &key_id, &key)?;
    Ok(Identity::new(vec![certificate], key.to_key()))
}

fn authority_certificate(
    request: &AuthorityRequest,
    validity: Validity,
    key: &SigningKey,
    issuer: &[u8],
    issuer_key_id: &[u8],
    issuer_key: &SigningKey,
) -> Result<CertificateDer<'static>, PkiError> {
    let mut extensions = vec![
        encode::subject_key_id(&encode::key_id(key.public())),
        encode::authority_key_id(issuer_key_id),
        encode::authority_constraints(request.path_length),
    ];
    extensions.extend(encode::key_usage(&request.key_usages));
    let tbs = Tbs {
        issuer,
        subject: &request.subject().to_der(),
        validity,
        spki: &key.public().to_spki(),
        extensions,
    };
    sign(&tbs, issuer_key)
}

fn leaf_certificate(
    request: &LeafRequest,
    validity: Validity,
    spki: &[u8],
    issuer: &[u8],
    issuer_key_id: &[u8],
    issuer_key: &SigningKey,
) -> Result<CertificateDer<'static>, PkiError> {
    let public = certs::PublicKey::from_spki(spki).ok_or_else(|| PkiError::Key {
        reason: "it cannot be read".to_owned(),
    })?;
    let mut extensions = vec![
        encode::subject_key_id(&encode::key_id(&public)),
        encode::authority_key_id(issuer_key_id),
    ];
    extensions.extend(encode::subject_alt_name(
        &request.ips,
        &request.dns,
        &request.other_names,
    )?);
    extensions.push(encode::leaf_constraints());
    extensions.extend(encode::key_usage(&leaf_key_usages(request, &public)));
    extensions.extend(encode::extended_key_usage(request.usages));
    let tbs = Tbs {
        issuer,
        subject: &request.subject().to_der(),
        validity,
        spki,
        extensions,
    };
    sign(&tbs, issuer_key)
}

/// RSA needs keyEncipherment only for suites that nobody should offer; some clients look for it all the same.
fn leaf_key_usages(request: &LeafRequest, public: &certs::PublicKey) -> Vec<KeyUsage> {
    match (request.usages, public) {
        _ if !request.key_usages.is_empty() => request.key_usages.clone(),
        (Usages::None, _) => Vec::new(),
        (_, certs::PublicKey::Rsa(_)) => vec![KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment],
        _ => vec![KeyUsage::DigitalSignature],
    }
}

fn sign(tbs: &Tbs<'_>, key: &SigningKey) -> Result<CertificateDer<'static>, PkiError> {
    let content = tbs.to_der(&key.signature_algorithm());
    Ok(CertificateDer::from(key.sign_element(&content)?))
}
