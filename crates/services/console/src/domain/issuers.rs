//! Whether a chain of certificates leads to the authorities that the other side trusts.

use certs::CertificateDer;

/// A certificate as it was loaded.
pub(crate) type Certificate = CertificateDer<'static>;

/// The most certificates that are followed: no real chain is longer.
const LONGEST: usize = 10;

/// Why `chain` (leaf first) does not lead to one of `trusted`: a stable code and what is wrong; none when it does.
pub(crate) fn broken(
    chain: &[Certificate],
    trusted: &[Certificate],
    trust_field: &str,
) -> Option<(&'static str, String)> {
    let mut last = chain.first()?;
    for _ in 0..LONGEST {
        if trusted.contains(last) || trusted.iter().any(|authority| issued(authority, last)) {
            return None;
        }
        match chain
            .iter()
            .find(|candidate| *candidate != last && issued(candidate, last))
        {
            Some(next) => last = next,
            None => break,
        }
    }
    let described = certs::describe(last);
    let same_name = trusted
        .iter()
        .any(|authority| certs::describe(authority).subject == described.issuer);
    Some(if same_name {
        let message = format!(
            "`{}` names `{}` as its issuer, but was not signed by the key of the certificate with that name in {trust_field}",
            described.subject, described.issuer
        );
        ("wrong_issuer_key", message)
    } else {
        let message = format!(
            "`{}` was issued by `{}`, which is not among {trust_field}",
            described.subject, described.issuer
        );
        ("issuer_not_trusted", message)
    })
}

fn issued(issuer: &Certificate, certificate: &Certificate) -> bool {
    certs::describe(issuer).subject == certs::describe(certificate).issuer && tls::is_signed_by(certificate, issuer)
}
