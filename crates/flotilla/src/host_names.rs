//! The names and addresses under which this host can be reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// A host as it stands in a URL: a DNS name or an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum HostName {
    /// `fleet.example`.
    Dns(String),
    /// `192.0.2.1` or `2001:db8::1`.
    Ip(IpAddr),
}

impl HostName {
    /// Reads `--host`: a name or an address, without scheme or port.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Ok(Self::Ip(address));
        }
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        if text.len() <= 253 && text.split('.').all(is_label) {
            return Ok(Self::Dns(text.to_ascii_lowercase()));
        }
        Err(format!(
            "`{text}` is neither a host name nor an address; give it without scheme and port, such as `fleet.example`"
        ))
    }

    /// `https://host:port`, with brackets where an address needs them.
    pub(crate) fn https_url(&self, port: u16) -> String {
        match self {
            Self::Dns(name) => format!("https://{name}:{port}"),
            Self::Ip(IpAddr::V4(address)) => format!("https://{address}:{port}"),
            Self::Ip(IpAddr::V6(address)) => format!("https://[{address}]:{port}"),
        }
    }
}

/// What a certificate of this host has to cover and which name others should use.
#[derive(Clone, Debug)]
pub(crate) struct HostNames {
    /// DNS names, `localhost` included.
    pub(crate) dns: Vec<String>,
    /// Addresses, loopback included.
    pub(crate) ips: Vec<IpAddr>,
    /// What other hosts are told: the `--host` values, else the one address that is listened on, else the address of the
    /// default route, else `localhost`.
    pub(crate) advertised: Vec<HostName>,
}

impl HostNames {
    /// Looks at this machine and adds what the user named; `bind` is where the listeners are.
    pub(crate) fn discover(named: &[HostName], bind: IpAddr) -> Self {
        let mut dns = vec!["localhost".to_owned()];
        let mut ips = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let own_name = own_name();
        if own_name != "localhost" && HostName::parse(&own_name).is_ok() {
            dns.push(own_name);
        }
        ips.extend(own_addresses());
        let bound = (!bind.is_unspecified()).then_some(HostName::Ip(bind));
        for host in named.iter().chain(&bound) {
            match host {
                HostName::Dns(name) if !dns.contains(name) => dns.push(name.clone()),
                HostName::Ip(address) if !ips.contains(address) => ips.push(*address),
                _ => {}
            }
        }
        let advertised = match bound {
            _ if !named.is_empty() => named.to_vec(),
            Some(bound) => vec![bound],
            None => vec![default_host(&ips)],
        };
        Self { dns, ips, advertised }
    }
}

/// The lower-case name that the kernel has.
pub(crate) fn own_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .to_ascii_lowercase()
}

fn own_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let is_useful = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    interfaces
        .iter()
        .map(if_addrs::Interface::ip)
        .filter(is_useful)
        .collect()
}

/// The address that the default route leaves from; connecting a datagram socket sends nothing.
fn default_host(ips: &[IpAddr]) -> HostName {
    let probe = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    match probe.map(|local| local.ip()) {
        Ok(address) if !address.is_loopback() && !address.is_unspecified() => HostName::Ip(address),
        _ => ips
            .iter()
            .find(|address| address.is_ipv4() && !address.is_loopback())
            .map_or_else(
                || HostName::Dns("localhost".to_owned()),
                |address| HostName::Ip(*address),
            ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        assert_eq!(
            HostName::parse("Fleet.Example"),
            Ok(HostName::Dns("fleet.example".into()))
        );
        assert_eq!(HostName::parse("[::1]").unwrap().https_url(8220), "https://[::1]:8220");
        assert_eq!(
            HostName::parse("192.0.2.1").unwrap().https_url(1),
            "https://192.0.2.1:1"
        );
        for wrong in ["https://a", "a:8220", "a b", "", "a..b"] {
            assert!(HostName::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_the_user_names_is_covered_and_advertised() {
        let named = [
            HostName::Dns("fleet.example".into()),
            HostName::Ip("192.0.2.7".parse().unwrap()),
        ];
        let names = HostNames::discover(&named, Ipv4Addr::LOCALHOST.into());
        assert!(names.dns.contains(&"fleet.example".to_owned()) && names.dns.contains(&"localhost".to_owned()));
        assert!(names.ips.contains(&"192.0.2.7".parse().unwrap()));
        assert_eq!(names.advertised, named);
    }

    #[test]
    fn where_only_one_address_is_listened_on_it_is_advertised() {
        let bound: IpAddr = "192.0.2.9".parse().unwrap();
        let names = HostNames::discover(&[], bound);
        assert_eq!(names.advertised, [HostName::Ip(bound)]);
        assert!(names.ips.contains(&bound));
        let everywhere = HostNames::discover(&[], Ipv4Addr::UNSPECIFIED.into());
        assert_ne!(everywhere.advertised, [HostName::Ip(Ipv4Addr::UNSPECIFIED.into())]);
    }
}
