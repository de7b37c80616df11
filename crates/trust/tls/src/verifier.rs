//! The two verifiers: of servers for clients, of clients for servers.
//!
//! Order of the rules, as in the original: size of the chain, chain, pins, names. In mode `none` a client checks only
//! that the server holds the key of the certificate it shows.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use certs::Fingerprint;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::anchors::{Anchors, vouched_for};
use crate::chain::{Broken, ChainRules, check_size, unreadable};
use crate::facts::{Facts, Role};
use crate::name_constraints::Name;
use crate::names::{self, Host};
use crate::observe::{VerificationFailure, note};
use crate::settings::{ClientAuthentication, VerificationMode};

/// The anchor that a fingerprint once vouched for; it stays trusted for the life of the configuration, so that a server
/// may leave it out later.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// The configured anchors and the learned one.
    anchors: ArcSwapOption<Anchors>,
    certificate: Mutex<Option<(Fingerprint, CertificateDer<'static>)>>,
}

impl Learned {
    /// What was learned by the same fingerprint before a reload, on top of new anchors.
    pub(crate) fn carry_over(earlier: &Self, wanted: Option<Fingerprint>, anchors: &Anchors) -> Self {
        let kept = earlier
            .certificate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match kept.filter(|(fingerprint, _)| Some(*fingerprint) == wanted) {
            Some((fingerprint, certificate)) => Self {
                anchors: ArcSwapOption::from_pointee(anchors.with(&certificate)),
                certificate: Mutex::new(Some((fingerprint, certificate))),
            },
            None => Self::default(),
        }
    }

    fn learn(&self, fingerprint: Fingerprint, certificate: &CertificateDer<'_>, anchors: &Anchors) {
        let mut kept = self.certificate.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((fingerprint, certificate.clone().into_owned()));
        self.anchors.store(Some(Arc::new(anchors.with(certificate))));
    }
}

/// Verifies servers.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    pub(crate) mode: VerificationMode,
    pub(crate) anchors: Arc<Anchors>,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) learned: Learned,
    pub(crate) pins: Vec<String>,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
    /// `false` for a connection to no name at all, which only a caller of the library can ask for.
    pub(crate) check_names: bool,
}

impl ServerVerifier {
    /// The same rules without the check of names.
    pub(crate) fn without_names(&self) -> Self {
        Self {
            mode: self.mode,
            anchors: self.anchors.clone(),
            fingerprint: self.fingerprint,
            learned: Learned::carry_over(&self.learned, self.fingerprint, &self.anchors),
            pins: self.pins.clone(),
            algorithms: self.algorithms,
            check_names: false,
        }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Broken> {
        check_size(leaf, others)?;
        let facts = Facts::of(leaf);
        if self.mode != VerificationMode::None {
            let facts = facts.as_ref().map_err(|_| unreadable())?;
            let host = Host::parse(&name.to_str()).filter(|_| self.check_names);
            let by_common_name = host
                .as_ref()
                .filter(|host| self.mode == VerificationMode::Full && names::only_common_name_covers(facts, host));
            self.verify_chain(leaf, facts, others, by_common_name.map(Name::of_host).as_ref(), now)?;
            host.map_or(Ok(()), |host| self.verify_name(facts, &host))?;
        }
        facts.map_or(Ok(()), |facts| check_key(&facts, Role::Server))
    }

    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        facts: &Facts,
        others: &[CertificateDer<'_>],
        by_common_name: Option<&Name>,
        now: UnixTime,
    ) -> Result<(), Broken> {
        self.learn(leaf, others);
        let learned = self.learned.anchors.load();
        let anchors = learned.as_deref().unwrap_or(&self.anchors);
        let rules = ChainRules {
            anchors,
            pins: &self.pins,
            role: Role::Server,
            algorithms: &self.algorithms,
            by_common_name,
        };
        rules
            .verify(leaf, facts, others, now)
            .map_err(|broken| self.with_advice(broken, leaf, others))
    }

    fn learn(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) {
        let Some(wanted) = self.fingerprint else { return };
        if self.learned.anchors.load().is_some() {
            return;
        }
        if let Some(certificate) = vouched_for(std::iter::once(leaf).chain(others), wanted) {
            self.learned.learn(wanted, certificate, &self.anchors);
        } else {
            tracing::warn!(
                fingerprint = %wanted,
                "the presented chain holds no CA with the fingerprint of `ssl.ca_trusted_fingerprint`"
            );
        }
    }

    fn verify_name(&self, facts: &Facts, host: &Host) -> Result<(), Broken> {
        if names::covers(facts, host, self.mode) {
            return Ok(());
        }
        let broken = Broken::new(
            "hostname_mismatch",
            format!(
                "the server's certificate is not for `{host}`; it is for {}",
                names_in_words(facts)
            ),
        );
        Err(if names::only_common_name_covers(facts, host) {
            broken.hint("only the common name fits, which mode `strict` does not accept: issue the certificate with a subject alternative name, or use `ssl.verification_mode: full`")
        } else {
            broken.hint(format!(
                "use one of these names in the URL, or issue the certificate with `{host}` as well (`elasticsearch-certutil cert {} {host}`)",
                if matches!(host, Host::Ip(_)) { "--ip" } else { "--dns" }
            ))
        })
    }

    /// What to do when the authority is unknown depends on what was configured.
    fn with_advice(&self, broken: Broken, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Broken {
        if broken.class != "unknown_authority" || broken.hint.is_some() {
            return broken;
        }
        let last = others.last().unwrap_or(leaf);
        let issuer = X509Certificate::from_der(last)
            .map(|(_, last)| last.issuer().to_string())
            .unwrap_or_default();
        let wanted = self
            .fingerprint
            .filter(|wanted| vouched_for(std::iter::once(leaf).chain(others), *wanted).is_none());
        broken.hint(match wanted {
            Some(_) => "no presented CA has the fingerprint of `ssl.ca_trusted_fingerprint`; compare it with the fingerprints \
                above, and let the server send its CA after its own certificate"
                .to_owned(),
            None => format!("add the CA that issued it (`{issuer}`) to `ssl.certificate_authorities`, or its fingerprint as `ssl.ca_trusted_fingerprint`"),
        })
    }
}

fn names_in_words(facts: &Facts) -> String {
    let dns = facts.dns_names.iter().map(|name| format!("DNS:{name}"));
    let addresses = facts.addresses.iter().map(|address| format!("IP:{address}"));
    let mut names: Vec<String> = dns.chain(addresses).collect();
    names.extend(facts.common_name.iter().map(|name| format!("CN={name}")));
    if names.is_empty() {
        "no name at all".to_owned()
    } else {
        names.join(", ")
    }
}

/// A key that no signature of ours can be checked with would fail later, as a bad signature.
fn check_key(facts: &Facts, role: Role) -> Result<(), Broken> {
    match facts.rsa_bits {
        Some(bits) if bits < 2048 => {
            let whose = if role == Role::Server { "server" } else { "client" };
            let rule = format!("the {whose}'s certificate has an RSA key of {bits} bits; 2048 is the least");
            Err(Broken::new("unsupported_key_type", rule).hint("issue it anew with RSA 2048 or P-256"))
        }
        _ => Ok(()),
    }
}

/// Verifies clients. Names of client certificates are never checked, and `verification_mode` never weakens this: with
/// `none` only the pins are left out.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    pub(crate) demand: ClientAuthentication,
    pub(crate) anchors: Arc<Anchors>,
    pub(crate) hints: Vec<DistinguishedName>,
    pub(crate) pins: Vec<String>,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    fn verify(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Broken> {
        check_size(leaf, others)?;
        let facts = Facts::of(leaf).map_err(|_| unreadable())?;
        let rules = ChainRules {
            anchors: &self.anchors,
            pins: &self.pins,
            role: Role::Client,
            algorithms: &self.algorithms,
            by_common_name: None,
        };
        rules.verify(leaf, &facts, others, now).map_err(|broken| match (broken.class, &broken.hint) {
            ("unknown_authority", None) => broken.hint(
                "add the CA that issued it to `ssl.certificate_authorities` of the server, or let the client send its intermediates",
            ),
            _ => broken,
        })?;
        check_key(&facts, Role::Client)
    }
}

/// Notes the story for [`crate::observe`] and picks what rustls tells the peer.
fn report(broken: Broken, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Error {
    // Of a chain that was refused for its length only the beginning is worth showing.
    let presented = std::iter::once(leaf)
        .chain(others)
        .take(crate::MAX_CHAIN_CERTIFICATES)
        .map(|one| one.clone().into_owned());
    let failure = Arc::new(VerificationFailure {
        class: broken.class,
        rule: broken.rule,
        hint: broken.hint,
        presented: presented.collect(),
    });
    let error = match broken.class {
        "unknown_authority" => CertificateError::UnknownIssuer,
        "expired" => CertificateError::Expired,
        "not_yet_valid" => CertificateError::NotValidYet,
        "hostname_mismatch" => CertificateError::NotValidForName,
        "critical_extension" => CertificateError::UnhandledCriticalExtension,
        // The peer gets `bad_certificate`, as from the original.
        _ => CertificateError::BadEncoding,
    };
    note(|observation| observation.failure = Some(failure));
    Error::InvalidCertificate(error)
}

/// Whether the peer holds the key of the certificate it shows. The certificate is not parsed by webpki here: in mode
/// `none` any certificate goes, also of version 1.
fn check_signature(
    algorithms: &WebPkiSupportedAlgorithms,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let key = public_key(certificate)?;
    let key = webpki::RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
    let candidates = algorithms
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == signed.scheme)
        .map_or(&[][..], |(_, list)| *list);
    let valid = candidates
        .iter()
        .any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok());
    if valid {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(CertificateError::BadSignature.into())
    }
}

fn check_tls13_signature(
    algorithms: &WebPkiSupportedAlgorithms,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    rustls::crypto::verify_tls13_signature_with_raw_key(message, &public_key(certificate)?, signed, algorithms)
}

fn public_key(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    Ok(SubjectPublicKeyInfoDer::from(parsed.public_key().raw.to_vec()))
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.verify(end_entity, intermediates, server_name, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(broken) => Err(report(broken, end_entity, intermediates)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(&self.algorithms, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_tls13_signature(&self.algorithms, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.demand != ClientAuthentication::None
    }

    fn client_auth_mandatory(&self) -> bool {
        self.demand == ClientAuthentication::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.verify(end_entity, intermediates, now) {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            Err(broken) => Err(report(broken, end_entity, intermediates)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(&self.algorithms, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_tls13_signature(&self.algorithms, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod paths;

#[cfg(test)]
mod pkits;
