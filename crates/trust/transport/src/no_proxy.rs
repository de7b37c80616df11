//! Hosts that are reached without the proxy.

use std::net::IpAddr;

/// A `no_proxy` list: comma-separated host names (which cover their sub-domains, with or without a leading dot), addresses,
/// networks such as `10.0.0.0/8`, each with an optional port, or `*` for everything. Read as Go reads `NO_PROXY`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NoProxy(Vec<Entry>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Entry {
    Everything,
    Domain {
        name: String,
        below_only: bool,
        port: Option<u16>,
    },
    Address {
        address: IpAddr,
        port: Option<u16>,
    },
    Network {
        network: IpAddr,
        bits: u8,
    },
}

impl NoProxy {
    /// Reads a list; entries that make no sense cover nothing.
    pub fn parse(list: &str) -> Self {
        Self(list.split(',').filter_map(|entry| Entry::parse(entry.trim())).collect())
    }

    /// Whether a host (a name or an address, brackets allowed) is reached directly.
    pub fn covers(&self, host: &str, port: u16) -> bool {
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .trim_end_matches('.')
            .to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        self.0.iter().any(|entry| entry.covers(&host, address, port))
    }
}

/// Whether a host (a name or an address, brackets allowed) is this machine itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let address = host.parse::<IpAddr>().map(|address| address.to_canonical());
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        if text == "*" {
            return Some(Self::Everything);
        }
        if let Some((network, bits)) = text.split_once('/') {
            let network: IpAddr = network.parse().ok()?;
            let bits: u8 = bits.parse().ok()?;
            return (bits <= if network.is_ipv4() { 32 } else { 128 }).then_some(Self::Network { network, bits });
        }
        if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse() {
            return Some(Self::Address { address, port: None });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (text, None),
        };
        if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse() {
            return Some(Self::Address { address, port });
        }
        let name = name.strip_prefix('*').unwrap_or(name).to_ascii_lowercase();
        let below_only = name.starts_with('.');
        Some(Self::Domain {
            name: name.trim_start_matches('.').to_owned(),
            below_only,
            port,
        })
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        let port_fits = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        match self {
            Self::Everything => true,
            Self::Address { address: wanted, port } => address == Some(*wanted) && port_fits(port),
            Self::Network { network, bits } => address.is_some_and(|address| in_network(address, *network, *bits)),
            Self::Domain { name, below_only, port } => {
                let below = host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
                port_fits(port) && (below || (!below_only && host == name))
            }
        }
    }
}

fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            u32::from(address) & mask == u32::from(network) & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            u128::from(address) & mask == u128::from(network) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost.", true),
            ("127.0.0.5", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("localhost.test", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }

    #[test]
    fn lists_are_read_as_go_reads_them() {
        for (list, host, port, expected) in [
            ("", "example.com", 443, false),
            ("", "localhost", 443, false),
            ("localhost", "LOCALHOST.", 443, true),
            ("*", "example.com", 443, true),
            ("example.com", "example.com", 443, true),
            ("example.com", "a.example.com", 443, true),
            ("example.com", "badexample.com", 443, false),
            (".example.com", "example.com", 443, false),
            (".example.com", "a.example.com", 443, true),
            ("*.example.com", "a.example.com", 443, true),
            ("example.com:8220", "example.com", 443, false),
            ("example.com:8220", "example.com", 8220, true),
            ("a.test, 10.0.0.0/8", "10.1.2.3", 443, true),
            ("10.0.0.0/8", "11.1.2.3", 443, false),
            ("192.0.2.7", "192.0.2.7", 443, true),
            ("192.0.2.7:80", "192.0.2.7", 443, false),
            ("2001:db8::/32", "[2001:db8::1]", 443, true),
            ("0.0.0.0/0", "192.0.2.1", 443, true),
            ("10.0.0.0/99", "10.0.0.1", 443, false),
        ] {
            assert_eq!(
                NoProxy::parse(list).covers(host, port),
                expected,
                "{list} {host}:{port}"
            );
        }
    }
}
