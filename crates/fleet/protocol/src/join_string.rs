//! The one string that holds all that a new host needs.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secret::Secret;
use serde::{Deserialize, Serialize};

const PREFIX: &str = "flotilla1.";

/// URLs, enrollment token and the fingerprint of the CA to trust, as one string: `flotilla1.` and the URL-safe base64
/// of a JSON object. It does not show in `Debug`: the token is a secret.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct JoinString {
    /// Fleet Servers, best first.
    pub urls: Vec<String>,
    /// What goes behind `Authorization: ApiKey` when enrolling.
    #[serde(rename = "token", serialize_with = "Secret::serialize_exposed")]
    pub enrollment_token: Secret,
    /// SHA-256 of the root CA's certificate, lower-case hex; none: the system's trust store.
    #[serde(rename = "ca", default, skip_serializing_if = "Option::is_none")]
    pub ca_fingerprint: Option<String>,
}

/// Why a text is no join string.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JoinStringError {
    /// Something else.
    #[error("a join string starts with `flotilla1.`; this one does not, so it may be cut off at its start")]
    Prefix,
    /// Cut off or changed.
    #[error("the join string is damaged; copy it again as a whole, without line breaks")]
    Damaged,
    /// Lacks a URL.
    #[error("the join string names no Fleet Server URL")]
    NoUrl,
    /// Lacks the token.
    #[error("the join string holds no enrollment token")]
    NoToken,
    /// Not a SHA-256.
    #[error("the CA fingerprint in the join string is not 64 hexadecimal digits")]
    Fingerprint,
}

impl JoinString {
    /// Writes it out. The text holds the enrollment token in clear.
    pub fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("texts can always be written");
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }

    /// One line for a shell on a host that has nothing yet. The server is checked by its keys, of which `pins` are the SHA-256
    /// in base64, before anything of it runs. The text holds the enrollment token in clear.
    pub fn install_command(&self, pins: &[String]) -> String {
        let url = self.urls.first().map_or("", String::as_str);
        format!("{} --join {}", Self::install_script(url, pins), self.encode())
    }

    /// The beginning of that line, with the program from the Fleet Server at `url`; the options of `install` follow.
    pub fn install_script(url: &str, pins: &[String]) -> String {
        let pins: Vec<String> = pins.iter().map(|pin| format!("sha256//{pin}")).collect();
        format!(
            "curl -fsSk --pinnedpubkey '{}' {url}/install | sh -s --",
            pins.join(";")
        )
    }

    /// Reads it; the same as [`FromStr`].
    pub fn parse(text: &str) -> Result<Self, JoinStringError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(JoinStringError::Prefix)?;
        let json = URL_SAFE_NO_PAD
            .decode(encoded.trim_end_matches('='))
            .map_err(|_| JoinStringError::Damaged)?;
        let join: Self = serde_json::from_slice(&json).map_err(|_| JoinStringError::Damaged)?;
        if join.urls.is_empty() || join.urls.iter().any(String::is_empty) {
            return Err(JoinStringError::NoUrl);
        }
        if join.enrollment_token.is_empty() {
            return Err(JoinStringError::NoToken);
        }
        let is_sha256 = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !join.ca_fingerprint.as_ref().is_none_or(is_sha256) {
            return Err(JoinStringError::Fingerprint);
        }
        Ok(join)
    }
}

impl FromStr for JoinString {
    type Err = JoinStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<join string>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join() -> JoinString {
        JoinString {
            urls: vec!["https://fleet.example:8220".into()],
            enrollment_token: "aWQ6a2V5".into(),
            ca_fingerprint: Some("ab".repeat(32)),
        }
    }

    #[test]
    fn it_reads_what_it_writes() {
        let text = join().encode();
        assert!(text.starts_with("flotilla1."));
        assert_eq!(JoinString::parse(&format!("  {text}\n")).unwrap(), join());
        let without_ca = JoinString {
            ca_fingerprint: None,
            ..join()
        };
        assert_eq!(without_ca.encode().parse(), Ok(without_ca));
    }

    #[test]
    fn each_defect_has_its_own_error() {
        let check = |text: &str, expected: JoinStringError| assert_eq!(JoinString::parse(text), Err(expected));
        check("", JoinStringError::Prefix);
        check("aWQ6a2V5", JoinStringError::Prefix);
        check("flotilla1.", JoinStringError::Damaged);
        check("flotilla1.%%%", JoinStringError::Damaged);
        check(&join().encode()[..40], JoinStringError::Damaged);
        check(&JoinString { urls: vec![], ..join() }.encode(), JoinStringError::NoUrl);
        check(
            &JoinString {
                enrollment_token: "".into(),
                ..join()
            }
            .encode(),
            JoinStringError::NoToken,
        );
        check(
            &JoinString {
                ca_fingerprint: Some("ab".into()),
                ..join()
            }
            .encode(),
            JoinStringError::Fingerprint,
        );
    }

    #[test]
    fn neither_debug_nor_display_shows_the_token() {
        assert!(!format!("{:?} {}", join(), join()).contains("aWQ6a2V5"));
    }
}
