//! Trust anchors: the configured ones, the system's, and the one that a fingerprint vouches for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use certs::fingerprint;
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::facts::Facts;

/// One trusted certificate.
#[derive(Debug)]
pub(crate) struct Anchor {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) facts: Facts,
}

/// Trusted certificates in the two forms that verification needs, at the same positions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Anchors {
    list: Vec<Arc<Anchor>>,
    trust: Vec<TrustAnchor<'static>>,
}

impl Anchors {
    /// What cannot be read as a certificate is left out.
    pub(crate) fn new(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        let mut anchors = Self::default();
        for certificate in certificates {
            anchors.add(certificate);
        }
        anchors
    }

    fn add(&mut self, certificate: CertificateDer<'static>) {
        let Ok(facts) = Facts::of(&certificate) else { return };
        let Ok(trust) = webpki::anchor_from_trusted_cert(&certificate).map(|anchor| anchor.to_owned()) else {
            return;
        };
        self.trust.push(trust);
        self.list.push(Arc::new(Anchor { certificate, facts }));
    }

    /// These and one more.
    pub(crate) fn with(&self, certificate: &CertificateDer<'_>) -> Self {
        let mut anchors = self.clone();
        anchors.add(certificate.clone().into_owned());
        anchors
    }

    pub(crate) fn trust(&self) -> &[TrustAnchor<'static>] {
        &self.trust
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Anchor>> {
        self.list.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// The certificate behind one of [`Anchors::trust`], told by its place: two anchors may have the same name and key.
    pub(crate) fn behind(&self, trust: &TrustAnchor<'_>) -> Option<&Arc<Anchor>> {
        let place = self.trust.iter().position(|candidate| std::ptr::eq(candidate, trust))?;
        self.list.get(place)
    }

    pub(crate) fn holds(&self, certificate: &CertificateDer<'_>) -> bool {
        self.list.iter().any(|anchor| anchor.certificate == *certificate)
    }

    /// Distinguished names to send to clients: the anchors' own, and the issuers of those that are no roots.
    pub(crate) fn hints(&self) -> Vec<rustls::DistinguishedName> {
        let mut names: Vec<&[u8]> = Vec::new();
        for anchor in &self.list {
            for name in [&anchor.facts.raw_subject, &anchor.facts.raw_issuer] {
                if !names.contains(&name.as_slice()) {
                    names.push(name);
                }
            }
        }
        names
            .into_iter()
            .map(|name| rustls::DistinguishedName::from(name.to_vec()))
            .collect()
    }
}

/// The certificate of `presented` that a fingerprint names, when it is a CA.
pub(crate) fn vouched_for<'a, 'c>(
    presented: impl IntoIterator<Item = &'a CertificateDer<'c>>,
    wanted: certs::Fingerprint,
) -> Option<&'a CertificateDer<'c>>
where
    'c: 'a,
{
    presented
        .into_iter()
        .find(|certificate| fingerprint(certificate) == wanted)
        .filter(|certificate| Facts::of(certificate).is_ok_and(|facts| facts.is_ca == Some(true)))
}

/// How long the system's roots are kept before they are read again.
const SYSTEM_ROOTS_AGE: Duration = Duration::from_hours(1);

static SYSTEM_ROOTS: Mutex<Option<(Instant, Arc<Anchors>)>> = Mutex::new(None);

/// The system's trust store (on Linux the bundle of the distribution, or what `SSL_CERT_FILE` names), read at most
/// once an hour for the whole process.
pub(crate) fn system_roots() -> Arc<Anchors> {
    let mut cached = SYSTEM_ROOTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((read_at, roots)) = &*cached
        && read_at.elapsed() < SYSTEM_ROOTS_AGE
        && !roots.is_empty()
    {
        return roots.clone();
    }
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a part of the system's trust store cannot be read");
    }
    let roots = Arc::new(Anchors::new(found.certs));
    *cached = Some((Instant::now(), roots.clone()));
    roots
}
