//! Whether a certificate covers a host.
//!
//! Source of the rules: Elastic's shared TLS library, measured. The common name counts only in mode `full`: for a DNS
//! host when the subject alternative name has no DNS name, for an address always.

use std::net::IpAddr;

use crate::facts::Facts;
use crate::settings::VerificationMode;

/// Whom we want to talk to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Host {
    Dns(String),
    Ip(IpAddr),
}

impl Host {
    /// `[::1]` and `::1` are the same address; one trailing dot of a name says nothing.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        match bare.parse::<IpAddr>() {
            Ok(address) => Some(Self::Ip(address.to_canonical())),
            Err(_) if text.is_empty() => None,
            Err(_) => Some(Self::Dns(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase())),
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => write!(f, "{address}"),
        }
    }
}

/// Whether the certificate's names cover the host in this mode.
pub(crate) fn covers(leaf: &Facts, host: &Host, mode: VerificationMode) -> bool {
    match mode {
        VerificationMode::Certificate | VerificationMode::None => true,
        VerificationMode::Strict => alternative_names_cover(leaf, host),
        VerificationMode::Full => alternative_names_cover(leaf, host) || common_name_covers(leaf, host),
    }
}

/// Whether only the common name covers the host, which mode `strict` does not accept.
pub(crate) fn only_common_name_covers(leaf: &Facts, host: &Host) -> bool {
    !alternative_names_cover(leaf, host) && common_name_covers(leaf, host)
}

fn alternative_names_cover(leaf: &Facts, host: &Host) -> bool {
    match host {
        Host::Dns(name) => leaf.dns_names.iter().any(|pattern| matches_pattern(pattern, name)),
        Host::Ip(address) => leaf.addresses.iter().any(|other| other.to_canonical() == *address),
    }
}

fn common_name_covers(leaf: &Facts, host: &Host) -> bool {
    let Some(common_name) = leaf.common_name.as_deref() else {
        return false;
    };
    match host {
        Host::Dns(name) => leaf.dns_names.iter().all(String::is_empty) && matches_pattern(common_name, name),
        Host::Ip(address) => common_name
            .parse::<IpAddr>()
            .is_ok_and(|other| other.to_canonical() == *address),
    }
}

/// `*` stands for exactly one label, and only as the whole left-most one.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    if pattern.is_empty() || name.is_empty() {
        return false;
    }
    let mut patterns = pattern.split('.');
    let mut labels = name.split('.');
    let mut first = true;
    loop {
        match (patterns.next(), labels.next()) {
            (None, None) => return true,
            (Some("*"), Some(label)) if first && !label.is_empty() => {}
            (Some(expected), Some(label)) if !label.is_empty() && expected.eq_ignore_ascii_case(label) => {}
            _ => return false,
        }
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("fleet.test", "fleet.test", true),
            ("FLEET.test", "fleet.test", true),
            ("*.fleet.test", "a.fleet.test", true),
            ("*.fleet.test", "fleet.test", false),
            ("*.fleet.test", "a.b.fleet.test", false),
            ("f*.fleet.test", "foo.fleet.test", false),
            ("a.*.test", "a.b.test", false),
            ("*.*.test", "a.b.test", false),
            ("fleet_server.test", "fleet_server.test", true),
            ("", "fleet.test", false),
            ("fleet.test", "", false),
            ("*.test", ".test", false),
        ] {
            assert_eq!(matches_pattern(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn hosts() {
        for (text, expected) in [
            ("[::1]", Some(Host::Ip("::1".parse().unwrap()))),
            ("::ffff:127.0.0.1", Some(Host::Ip("127.0.0.1".parse().unwrap()))),
            ("Fleet.Test.", Some(Host::Dns("fleet.test".into()))),
            ("", None),
        ] {
            assert_eq!(Host::parse(text), expected, "{text}");
        }
    }
}
