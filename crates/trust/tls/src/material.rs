//! Files and inline texts of an `ssl` block, loaded: pairs and authorities.

use std::sync::Arc;

use camino::Utf8PathBuf;
use certs::{Identity, IdentityNames, KeyOptions, LoadError, PemSource, PublicKey};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use secret::Secret;

use crate::SslError;
use crate::facts::{Facts, Role};
use crate::settings::SslSettings;

const AUTHORITIES: &str = "ssl.certificate_authorities";

/// A pair that was loaded and matched.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// `None`: a kind of key that loads and cannot be used (P-224, RSA below 2048 bits).
    pub(crate) certified: Option<Arc<CertifiedKey>>,
    pub(crate) key_type: String,
}

impl Pair {
    pub(crate) fn leaf(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }
}

/// The pair of a block, its chain completed from `issuers`; `None` when it names neither certificate nor key.
pub(crate) fn load_pair(
    settings: &SslSettings,
    passphrase: Option<&Secret>,
    provider: &CryptoProvider,
    role: Role,
    issuers: &[CertificateDer<'static>],
    warnings: &mut Vec<String>,
) -> Result<Option<Pair>, SslError> {
    let Some(certificate) = &settings.certificate else {
        return match settings.key {
            None => Ok(None),
            Some(_) => Err(LoadError::CertificateMissing {
                setting: IdentityNames::SSL.certificate.to_owned(),
                key_setting: IdentityNames::SSL.key.to_owned(),
            }
            .into()),
        };
    };
    let options = KeyOptions {
        passphrase,
        passphrase_setting: if settings.key_passphrase.is_some() || settings.key_passphrase_path.is_none() {
            IdentityNames::SSL.passphrase
        } else {
            "ssl.key_passphrase_path"
        },
        refuse_legacy_pem: settings.disable_legacy_pem_support,
    };
    let mut identity = certs::load_identity_with(certificate, settings.key.as_ref(), &options, IdentityNames::SSL)?;
    certs::complete_chain(&mut identity.chain, issuers);
    warnings.extend(identity.warnings.iter().cloned());
    warn_of_usage(&identity, role, warnings);
    Ok(Some(certify(identity, provider, warnings)))
}

/// The inline passphrase wins; the file is read in any case, as the original does, so that a missing one is noticed.
pub(crate) fn passphrase(settings: &SslSettings) -> Result<Option<Secret>, SslError> {
    let from_file = match &settings.key_passphrase_path {
        Some(path) => Some(certs::read_passphrase_file(path, "ssl.key_passphrase_path")?),
        None => None,
    };
    Ok(settings
        .key_passphrase
        .clone()
        .or(from_file)
        .filter(|passphrase| !passphrase.is_empty()))
}

fn certify(identity: Identity, provider: &CryptoProvider, warnings: &mut Vec<String>) -> Pair {
    let key_type = PublicKey::of_certificate(identity.leaf()).map_or_else(|| "unknown".to_owned(), |key| key.name());
    let key = provider.key_provider.load_private_key(identity.key);
    let certified = key
        .ok()
        .map(|key| Arc::new(CertifiedKey::new(identity.chain.clone(), key)));
    if certified.is_none() {
        warnings.push(format!(
            "the key of `ssl.certificate` is {key_type}, which cannot be used in a handshake: use RSA of 2048 bits or \
             more, P-256, P-384, P-521 or Ed25519"
        ));
    }
    Pair {
        chain: identity.chain,
        certified,
        key_type,
    }
}

fn warn_of_usage(identity: &Identity, role: Role, warnings: &mut Vec<String>) {
    let Ok(facts) = Facts::of(identity.leaf()) else { return };
    if facts.allows(role) {
        return;
    }
    let peers = if role == Role::Server { "clients" } else { "servers" };
    warnings.push(format!(
        "`ssl.certificate` (`{}`) is for {}, not for {}: {peers} that verify it will refuse it",
        facts.subject,
        facts.usages_in_words(),
        role.purpose()
    ));
}

/// Why a certificate that both listens and connects cannot do both; `None` when it can. A pair used on both sides needs
/// both extended key usages, or none at all.
pub fn unfit_for_both_sides(certificate: &CertificateDer<'_>) -> Option<String> {
    let facts = Facts::of(certificate).ok()?;
    let missing = [Role::Server, Role::Client]
        .into_iter()
        .find(|role| !facts.allows(*role))?;
    Some(format!(
        "`{}` is used by a server and by a client, but is only for {}: issue it with {} as well, or without extended key usages",
        facts.subject,
        facts.usages_in_words(),
        missing.purpose()
    ))
}

/// Whether the key of `issuer` made the signature of `certificate`. Names, validity and usages are not looked at: two
/// authorities may have the same name and different keys.
pub fn is_signed_by(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> bool {
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    crate::unusual_leaf::is_signed_by(certificate, issuer, algorithms.all)
}

/// The certificates of files that complete chains.
pub(crate) fn load_issuers(files: &[Utf8PathBuf]) -> Result<Vec<CertificateDer<'static>>, SslError> {
    let mut found = Vec::new();
    for file in files {
        found.extend(certs::load_authorities(
            &PemSource::Path(file.clone()),
            AUTHORITIES,
            None,
        )?);
    }
    Ok(found)
}

/// The configured authorities, entry by entry.
#[derive(Debug, Default)]
pub(crate) struct Authorities {
    entries: Vec<Vec<CertificateDer<'static>>>,
    /// Why an entry still stands for what it held before a reload.
    pub(crate) kept_back: Option<SslError>,
}

impl Authorities {
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.entries.iter().flatten()
    }
}

/// The configured authorities. `None`: the system's roots serve.
///
/// With reload on, an entry that cannot be used is left out with a warning while another one can; without, it fails the load.
/// At a reload, with what was loaded before as `earlier`, an entry that became unusable keeps what it held: a file that is
/// away for a moment takes nobody's trust.
pub(crate) fn load_authorities(
    settings: &SslSettings,
    passphrase: Option<&Secret>,
    earlier: Option<&Authorities>,
    warnings: &mut Vec<String>,
) -> Result<Option<Authorities>, SslError> {
    let entries = match &settings.certificate_authorities {
        None => return Ok(None),
        Some(entries) if entries.is_empty() => return Ok(None),
        Some(entries) => entries,
    };
    let mut found = Authorities::default();
    let mut first_error = None;
    for (place, entry) in entries.iter().enumerate() {
        let error = match certs::load_authorities(entry, AUTHORITIES, passphrase) {
            Ok(certificates) => {
                found.entries.push(certificates);
                continue;
            }
            Err(error) if !settings.reload => return Err(error.into()),
            Err(error) => SslError::from(error),
        };
        let before = earlier
            .and_then(|earlier| earlier.entries.get(place))
            .cloned()
            .unwrap_or_default();
        if before.is_empty() {
            warnings.push(format!("{}; the other entries are used", error.whole_message()));
            first_error.get_or_insert(error);
        } else {
            warnings.push(format!("{}; what it held before stays trusted", error.whole_message()));
            found.kept_back.get_or_insert(error);
        }
        found.entries.push(before);
    }
    match first_error {
        Some(error) if found.certificates().next().is_none() => Err(error),
        _ => Ok(Some(found)),
    }
}

/// The files that a block names, for the reloader.
pub(crate) fn files(settings: &SslSettings) -> Vec<Utf8PathBuf> {
    let sources = settings
        .certificate_authorities
        .iter()
        .flatten()
        .chain(&settings.certificate)
        .chain(&settings.key);
    sources
        .filter_map(PemSource::path)
        .map(ToOwned::to_owned)
        .chain(settings.key_passphrase_path.clone())
        .collect()
}
