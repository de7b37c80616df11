//! What a client shows: the `Authorization` header or its certificate.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT};
use secret::Secret;

/// A credential as it came in, not checked yet.
#[derive(Clone, Debug)]
pub enum Credential {
    /// `ApiKey <base64 of id:key>`, decoded.
    ApiKey(Secret),
    /// `Bearer <token>`: a service token.
    Bearer(Secret),
    /// `Basic <base64 of username:password>`.
    Basic {
        /// The user's name.
        username: String,
        /// Their password.
        password: Secret,
    },
    /// A client certificate that the TLS layer has verified; its common name is the user's name.
    Certificate {
        /// The common name of the certificate's subject.
        common_name: String,
    },
}

/// Why an `Authorization` header cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CredentialError {
    /// Neither `ApiKey` nor `Bearer` nor `Basic`.
    #[error("the authorization scheme is none of ApiKey, Bearer, Basic")]
    UnknownScheme,
    /// Not base64.
    #[error("the credential after the authorization scheme is not base64")]
    NotBase64,
    /// No colon in it.
    #[error("the credential has no colon between name and secret")]
    NoColon,
}

impl Credential {
    /// Reads the value of an `Authorization` header.
    pub fn from_header(header: &str) -> Result<Self, CredentialError> {
        let (scheme, rest) = header.trim().split_once(' ').ok_or(CredentialError::UnknownScheme)?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("apikey") {
            return decode_pair(rest).map(|(id, key)| Self::ApiKey(Secret::from(format!("{id}:{key}"))));
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(Self::Bearer(Secret::from(rest)));
        }
        if scheme.eq_ignore_ascii_case("basic") {
            let (username, password) = decode_pair(rest)?;
            return Ok(Self::Basic {
                username,
                password: Secret::from(password),
            });
        }
        Err(CredentialError::UnknownScheme)
    }
}

/// Splits the base64 of `name:secret` at the first colon.
fn decode_pair(encoded: &str) -> Result<(String, String), CredentialError> {
    let text = decode(encoded)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or(CredentialError::NotBase64)?;
    let (name, secret) = text.split_once(':').ok_or(CredentialError::NoColon)?;
    Ok((name.to_owned(), secret.to_owned()))
}

/// Either alphabet, with or without padding: clients differ.
pub(crate) fn decode(encoded: &str) -> Option<Vec<u8>> {
    STANDARD_PAD_INDIFFERENT
        .decode(encoded)
        .or_else(|_| URL_SAFE_PAD_INDIFFERENT.decode(encoded))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expected: Result<&str, CredentialError>) {
        let found = Credential::from_header(header).map(|credential| match credential {
            Credential::ApiKey(pair) => format!("key {}", pair.expose()),
            Credential::Bearer(token) => format!("bearer {}", token.expose()),
            Credential::Basic { username, password } => format!("basic {username} {}", password.expose()),
            Credential::Certificate { common_name } => format!("certificate {common_name}"),
        });
        assert_eq!(found.as_deref(), expected.as_ref().copied(), "{header}");
    }

    #[test]
    fn each_scheme_is_read() {
        check("ApiKey aWQ6a2V5", Ok("key id:key"));
        check("apikey  aWQ6a2V5", Ok("key id:key"));
        check("Bearer abc", Ok("bearer abc"));
        check("Basic ZWxhc3RpYzphOmI=", Ok("basic elastic a:b"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        check("Negotiate x", Err(CredentialError::UnknownScheme));
        check("ApiKey", Err(CredentialError::UnknownScheme));
        check("ApiKey ///!", Err(CredentialError::NotBase64));
        check("Basic aWQ=", Err(CredentialError::NoColon));
    }
}
