//! The names that a CA may issue for (`nameConstraints`).
//!
//! webpki evaluates them on the paths that it builds; this is for those of [`crate::unusual_leaf`], and for a host that only
//! the common name covers, which webpki does not look at. A name of a form that no
//! subtree speaks of is free; of a form with permitted subtrees it must lie in one of them, and in no excluded one.
//! Source: RFC 5280, section 4.2.1.10.

use std::net::IpAddr;

use x509_parser::extensions::{GeneralName, GeneralSubtree, NameConstraints};

use crate::names::Host;

/// A name of a certificate, or the base of a subtree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Name {
    Dns(String),
    /// 4 or 16 octets; as a base twice as many, the mask behind the address.
    Ip(Vec<u8>),
    Email(String),
    Uri(String),
    /// A whole distinguished name: its relative names, each in DER.
    Directory(Vec<Vec<u8>>),
    /// A form that is not evaluated, by its name.
    Unevaluated(&'static str),
}

/// What one CA allows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    permitted: Vec<Name>,
    excluded: Vec<Name>,
}

impl Name {
    pub(crate) fn of(name: &GeneralName<'_>) -> Self {
        match name {
            GeneralName::DNSName(name) => Self::Dns(name.to_ascii_lowercase()),
            GeneralName::IPAddress(octets) => Self::Ip(octets.to_vec()),
            GeneralName::RFC822Name(name) => Self::Email((*name).to_owned()),
            GeneralName::URI(name) => Self::Uri((*name).to_owned()),
            GeneralName::DirectoryName(name) => Self::directory(name),
            GeneralName::OtherName(..) => Self::Unevaluated("otherName"),
            GeneralName::RegisteredID(_) => Self::Unevaluated("registeredID"),
            _ => Self::Unevaluated("another form"),
        }
    }

    /// A host, for certificates that cover it by their common name.
    pub(crate) fn of_host(host: &Host) -> Self {
        match host {
            Host::Dns(name) => Self::Dns(name.clone()),
            Host::Ip(IpAddr::V4(address)) => Self::Ip(address.octets().to_vec()),
            Host::Ip(IpAddr::V6(address)) => Self::Ip(address.octets().to_vec()),
        }
    }

    /// A subject is a name as well.
    pub(crate) fn directory(name: &x509_parser::x509::X509Name<'_>) -> Self {
        let relative = |relative: &x509_parser::x509::RelativeDistinguishedName<'_>| {
            let attributes = relative.iter().map(|attribute| {
                let value = attribute.attr_value().data.to_ascii_lowercase();
                [attribute.attr_type().as_bytes(), b"=", &value].concat()
            });
            attributes.collect::<Vec<_>>().join(&b"+"[..])
        };
        Self::Directory(name.iter().map(relative).collect())
    }

    fn same_form(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unevaluated(one), Self::Unevaluated(another)) => one == another,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// Whether the name lies in the subtree of `base`.
    fn lies_in(&self, base: &Self) -> bool {
        match (self, base) {
            (Self::Dns(name), Self::Dns(base)) => domain_lies_in(name, base),
            (Self::Ip(name), Self::Ip(base)) => address_lies_in(name, base),
            (Self::Email(name), Self::Email(base)) => email_lies_in(name, base),
            (Self::Uri(name), Self::Uri(base)) => uri_host(name).is_some_and(|host| host_lies_in(&host, base)),
            (Self::Directory(name), Self::Directory(base)) => name.starts_with(base),
            _ => false,
        }
    }

    /// As [`Name::lies_in`], and `*.a.test` also covers names that an excluded `x.a.test` is about.
    fn touches(&self, base: &Self) -> bool {
        let covers = match (self, base) {
            (Self::Dns(name), Self::Dns(base)) => name
                .strip_prefix("*.")
                .is_some_and(|parent| domain_lies_in(base.trim_start_matches('.'), parent)),
            // What cannot be evaluated is taken to lie in what is excluded.
            (Self::Unevaluated(_), _) => true,
            _ => false,
        };
        covers || self.lies_in(base)
    }
}

impl Limits {
    pub(crate) fn of(constraints: &NameConstraints<'_>) -> Self {
        let bases = |subtrees: &Option<Vec<GeneralSubtree<'_>>>| {
            let subtrees = subtrees.iter().flatten();
            subtrees.map(|subtree| Name::of(&subtree.base)).collect()
        };
        Self {
            permitted: bases(&constraints.permitted_subtrees),
            excluded: bases(&constraints.excluded_subtrees),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.permitted.len() + self.excluded.len()
    }

    /// The first name that is not allowed.
    pub(crate) fn first_violation<'a>(&self, names: &'a [Name]) -> Option<&'a Name> {
        names.iter().find(|name| !self.allow(name))
    }

    pub(crate) fn allow(&self, name: &Name) -> bool {
        let mut permitted = self.permitted.iter().filter(|base| name.same_form(base)).peekable();
        let mut excluded = self.excluded.iter().filter(|base| name.same_form(base));
        (permitted.peek().is_none() || permitted.any(|base| name.lies_in(base)))
            && !excluded.any(|base| name.touches(base))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "DNS:{name}"),
            Self::Ip(octets) if octets.len() == 4 => {
                write!(f, "IP:{}.{}.{}.{}", octets[0], octets[1], octets[2], octets[3])
            }
            Self::Ip(octets) => match <[u8; 16]>::try_from(octets.as_slice()) {
                Ok(octets) => write!(f, "IP:{}", std::net::Ipv6Addr::from(octets)),
                Err(_) => f.write_str("an IP address"),
            },
            Self::Email(name) => write!(f, "email:{name}"),
            Self::Uri(name) => write!(f, "URI:{name}"),
            Self::Directory(_) => f.write_str("the subject"),
            Self::Unevaluated(form) => write!(f, "a name as {form}"),
        }
    }
}

/// An empty base covers every domain, one with a leading dot only what is below it.
fn domain_lies_in(name: &str, base: &str) -> bool {
    let (name, base) = (name.trim_end_matches('.'), base.trim_end_matches('.'));
    if base.is_empty() {
        return true;
    }
    let below = |base: &str| name.strip_suffix(base).is_some_and(|rest| rest.ends_with('.'));
    match base.strip_prefix('.') {
        Some(base) => below(base),
        None => name == base || below(base),
    }
}

/// Of addresses and URIs a base without a leading dot is one host.
fn host_lies_in(host: &str, base: &str) -> bool {
    let base = base.to_ascii_lowercase();
    if base.starts_with('.') || base.is_empty() {
        domain_lies_in(host, &base)
    } else {
        host.trim_end_matches('.') == base.trim_end_matches('.')
    }
}

fn email_lies_in(name: &str, base: &str) -> bool {
    let Some((mailbox, host)) = name.rsplit_once('@') else {
        return false;
    };
    match base.rsplit_once('@') {
        Some((wanted, wanted_host)) => mailbox == wanted && host.eq_ignore_ascii_case(wanted_host),
        None => host_lies_in(&host.to_ascii_lowercase(), base),
    }
}

/// `None` for an address or no host at all, which no subtree of URIs covers.
fn uri_host(uri: &str) -> Option<String> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host).to_ascii_lowercase();
    let is_name = !host.is_empty() && !host.starts_with('[') && host.parse::<std::net::IpAddr>().is_err();
    is_name.then_some(host)
}

fn address_lies_in(address: &[u8], base: &[u8]) -> bool {
    if base.len() != 2 * address.len() {
        return false;
    }
    let (network, mask) = base.split_at(address.len());
    let octets = address.iter().zip(network).zip(mask);
    octets
        .into_iter()
        .all(|((octet, network), mask)| octet & mask == network & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(permitted: &[Name], excluded: &[Name], name: Name) -> bool {
        let limits = Limits {
            permitted: permitted.to_vec(),
            excluded: excluded.to_vec(),
        };
        limits.first_violation(&[name]).is_none()
    }

    #[test]
    fn domains() {
        let dns = |name: &str| Name::Dns(name.to_owned());
        for (permitted, excluded, name, expected) in [
            ("a.test", None, "a.test", true),
            ("a.test", None, "x.a.test", true),
            ("a.test", None, "xa.test", false),
            (".a.test", None, "a.test", false),
            (".a.test", None, "x.a.test", true),
            ("", None, "anything", true),
            ("a.test", None, "*.a.test", true),
            ("a.test", Some("b.a.test"), "b.a.test", false),
            ("a.test", Some("b.a.test"), "c.b.a.test", false),
            ("a.test", Some("b.a.test"), "c.a.test", true),
            ("a.test", Some("b.a.test"), "*.a.test", false),
        ] {
            let excluded: Vec<_> = excluded.into_iter().map(dns).collect();
            assert_eq!(
                allowed(&[dns(permitted)], &excluded, dns(name)),
                expected,
                "{permitted} {name}"
            );
        }
    }

    #[test]
    fn other_forms() {
        let (ten, ten_net) = (Name::Ip(vec![10, 1, 2, 3]), Name::Ip(vec![10, 0, 0, 0, 255, 0, 0, 0]));
        assert!(allowed(std::slice::from_ref(&ten_net), &[], ten.clone()));
        assert!(!allowed(
            std::slice::from_ref(&ten_net),
            &[],
            Name::Ip(vec![11, 1, 2, 3])
        ));
        assert!(!allowed(std::slice::from_ref(&ten_net), &[], Name::Ip(vec![0; 16])));
        assert!(!allowed(&[], std::slice::from_ref(&ten_net), ten.clone()));
        assert!(
            allowed(&[ten_net], &[], Name::Dns("free.test".into())),
            "another form is free"
        );
        let email = |name: &str| Name::Email(name.to_owned());
        assert!(allowed(&[email("a.test")], &[], email("me@A.test")));
        assert!(!allowed(&[email("a.test")], &[], email("me@x.a.test")));
        assert!(allowed(&[email(".a.test")], &[], email("me@x.a.test")));
        assert!(!allowed(&[email("you@a.test")], &[], email("me@a.test")));
        let uri = |name: &str| Name::Uri(name.to_owned());
        assert!(allowed(&[uri(".a.test")], &[], uri("spiffe://u@x.a.test:1/path")));
        assert!(!allowed(&[uri("a.test")], &[], uri("https://10.0.0.1/")));
        let directory = |parts: &[&str]| Name::Directory(parts.iter().map(|part| part.as_bytes().to_vec()).collect());
        assert!(allowed(&[directory(&["C=x"])], &[], directory(&["C=x", "CN=y"])));
        assert!(!allowed(&[directory(&["C=x"])], &[], directory(&["CN=y"])));
        let other = Name::Unevaluated("otherName");
        assert!(
            !allowed(std::slice::from_ref(&other), &[], other.clone()),
            "what cannot be evaluated is refused"
        );
        assert!(!allowed(&[], std::slice::from_ref(&other), other.clone()));
    }
}
