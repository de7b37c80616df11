//! Certificates out of a file, for the two roles they have: a chain to show, or authorities to trust.

use rustls_pki_types::CertificateDer;
use secret::Secret;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::{LoadError, Origin};
use crate::key::{KeyOptions, labels};
use crate::pem::PemBlock;
use crate::pkcs12::open_p12;
use crate::recognize::{Content, recognize};
use crate::source::PemSource;

/// Loads a certificate and what follows it: PEM, DER, or a PKCS#12 bundle with a blank password.
///
/// In PEM the first certificate must be readable; unreadable ones after it are left out.
pub fn load_certificates(source: &PemSource, setting: &str) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let bytes = source.read(setting)?;
    certificates_from_content(recognize(&bytes), source.origin(setting), &KeyOptions::default())
}

/// All certificates of a text or DER that is already in memory; `name` is what errors call it.
pub fn parse_certificates(bytes: &[u8], name: &str) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let origin = Origin {
        setting: name.to_owned(),
        path: None,
    };
    certificates_from_content(recognize(bytes), origin, &KeyOptions::default())
}

pub(crate) fn certificates_from_content(
    content: Content,
    origin: Origin,
    options: &KeyOptions<'_>,
) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let none = |origin, found: &str| {
        Err(LoadError::NoCertificate {
            origin,
            found: found.to_owned(),
        })
    };
    match content {
        Content::Pem(blocks) => certificates_from_pem(&blocks, origin),
        Content::Certificate(der) if is_certificate(&der) => Ok(vec![CertificateDer::from(der)]),
        Content::Certificate(_) => none(origin, "its DER is damaged"),
        Content::Key(_) | Content::EncryptedKey(_) => none(origin, "it is a PRIVATE KEY in DER"),
        Content::Pkcs12(bytes) => {
            let bundle = open_p12(&bytes, options).map_err(|error| error.at(origin.clone(), options))?;
            let certificates: Vec<_> = bundle.certificates.into_iter().map(|entry| entry.certificate).collect();
            if certificates.is_empty() {
                none(origin, "it is PKCS#12 without a certificate")
            } else {
                Ok(certificates)
            }
        }
        Content::Other(found) => Err(LoadError::NoPem {
            origin,
            found: found.to_owned(),
        }),
    }
}

fn certificates_from_pem(blocks: &[PemBlock], origin: Origin) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let mut candidates = blocks.iter().filter(|block| block.label == "CERTIFICATE");
    let Some(first) = candidates.next() else {
        return Err(LoadError::NoCertificate {
            origin,
            found: labels(blocks),
        });
    };
    if !is_certificate(&first.der) {
        return Err(LoadError::NoCertificate {
            origin,
            found: "its first `CERTIFICATE` block is damaged".to_owned(),
        });
    }
    let rest = candidates.filter(|block| is_certificate(&block.der));
    Ok(std::iter::once(first)
        .chain(rest)
        .map(|block| CertificateDer::from(block.der.to_vec()))
        .collect())
}

/// Loads authorities to trust. As in Go and in the stock agent every readable certificate of the file counts; blocks
/// with header lines and damaged ones are left out. Of a PKCS#12 bundle the certificates marked CA are taken, or all
/// when none is.
///
/// # Errors
/// Class `file_unreadable`, or `ca_not_pem_certificate` when not one usable certificate is left.
pub fn load_authorities(
    source: &PemSource,
    setting: &str,
    passphrase: Option<&Secret>,
) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let bytes = source.read(setting)?;
    let origin = source.origin(setting);
    let none = |found: String| Err(LoadError::NotAnAuthority { origin, found });
    match recognize(&bytes) {
        Content::Pem(blocks) => {
            let usable: Vec<_> = blocks
                .iter()
                .filter(|block| is_authority_block(block))
                .map(to_certificate)
                .collect();
            if usable.is_empty() {
                none(describe_blocks(&blocks))
            } else {
                Ok(usable)
            }
        }
        Content::Certificate(der) if is_certificate(&der) => Ok(vec![CertificateDer::from(der)]),
        Content::Certificate(_) => none("its DER is damaged".to_owned()),
        Content::Key(_) | Content::EncryptedKey(_) => none("it is a PRIVATE KEY in DER".to_owned()),
        Content::Pkcs12(bytes) => {
            let options = KeyOptions {
                passphrase,
                ..KeyOptions::default()
            };
            match open_p12(&bytes, &options) {
                Ok(bundle) if bundle.certificates.is_empty() => none("it is PKCS#12 without a certificate".to_owned()),
                Ok(bundle) => Ok(authorities_first(
                    bundle.certificates.into_iter().map(|entry| entry.certificate).collect(),
                )),
                Err(error) => none(format!("it is PKCS#12 that cannot be opened: {error}")),
            }
        }
        Content::Other(found) => none(found.to_owned()),
    }
}

fn is_authority_block(block: &PemBlock) -> bool {
    block.label == "CERTIFICATE" && block.headers.is_empty() && is_certificate(&block.der)
}

fn to_certificate(block: &PemBlock) -> CertificateDer<'static> {
    CertificateDer::from(block.der.to_vec())
}

fn describe_blocks(blocks: &[PemBlock]) -> String {
    let mut certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE").peekable();
    if certificates.peek().is_none() {
        labels(blocks)
    } else if certificates.any(|block| !block.headers.is_empty()) {
        "its `CERTIFICATE` block has header lines".to_owned()
    } else {
        "its `CERTIFICATE` block is damaged".to_owned()
    }
}

fn authorities_first(certificates: Vec<CertificateDer<'static>>) -> Vec<CertificateDer<'static>> {
    let (authorities, others): (Vec<_>, Vec<_>) = certificates
        .into_iter()
        .partition(|certificate| not_an_authority(certificate).is_none());
    if authorities.is_empty() { others } else { authorities }
}

pub(crate) fn is_certificate(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(rest, _)| rest.is_empty())
}

/// Why this certificate in a list of authorities trusts itself and nobody else; `None` when it is an authority. It is
/// no error (a server's own certificate may be trusted directly), but the usual cause of `unknown_authority`.
pub fn not_an_authority(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let version_1_root = parsed.version().0 == 0 && parsed.subject().as_raw() == parsed.issuer().as_raw();
    if parsed.is_ca() || version_1_root {
        return None;
    }
    Some(format!(
        "`{}` is not a CA, so as an authority it only trusts itself; give the certificate of its issuer `{}` (`openssl pkcs12 -clcerts` yields the leaf, `-cacerts` the CA)",
        parsed.subject(),
        parsed.issuer()
    ))
}
