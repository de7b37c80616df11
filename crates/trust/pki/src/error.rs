//! Why nothing was issued.

use jiff::Timestamp;

use crate::name::NameError;

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The distinguished name is not one.
    #[error("`{name}` is not a distinguished name")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
    /// A host name with letters that certificates cannot hold.
    #[error("`{name}` is not an ASCII host name; write it in its `xn--` form")]
    DnsName {
        /// The host name.
        name: String,
    },
    /// Less than a day, or beyond the year 9999.
    #[error("a certificate must be valid for at least one day and end before the year 10000, so not {days} days")]
    Days {
        /// What was asked for.
        days: u32,
    },
    /// The certificate would be valid longer than its issuer.
    #[error("the certificate would be valid until {not_after}, but its CA `{issuer}` only until {issuer_not_after}")]
    OutlivesIssuer {
        /// The issuer's subject.
        issuer: String,
        /// The end that was asked for.
        not_after: Timestamp,
        /// The issuer's end.
        issuer_not_after: Timestamp,
    },
    /// An RSA size that cannot be made.
    #[error("RSA keys of {bits} bits are not supported; use 2048 to 8192, or 1024 for what cannot do better")]
    KeySize {
        /// What was asked for.
        bits: u32,
    },
    /// The key cannot sign.
    #[error("the key cannot be used to sign: {reason}")]
    Key {
        /// Why.
        reason: String,
    },
    /// The certificate is no CA.
    #[error("`{subject}` is not a CA: its basic constraints do not say `CA:TRUE`")]
    NotAnAuthority {
        /// The certificate's subject.
        subject: String,
    },
    /// The CA's key belongs to another certificate.
    #[error("the CA's key does not belong to the CA certificate `{subject}`")]
    KeyMismatch {
        /// The certificate's subject.
        subject: String,
    },
    /// The bytes are no certificate request, or its signature is wrong.
    #[error("the certificate request cannot be used: {reason}")]
    Request {
        /// Why.
        reason: String,
    },
    /// The CA certificate cannot be read.
    #[error("the CA certificate cannot be read")]
    Certificate,
}
