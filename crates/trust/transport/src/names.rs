//! Names -> addresses.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The addresses of a name, or the address that it is, in the order of the system.
///
/// `localhost` is this host even where the system does not know the name, as on hosts without `/etc/hosts` (RFC 6761 6.3).
///
/// # Errors
/// The system does not know the name.
pub async fn addresses_of(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match tokio::net::lookup_host((host, port)).await {
        Ok(addresses) => Ok(addresses.collect()),
        Err(_) if is_localhost(host) => Ok(vec![
            SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
        ]),
        Err(error) => Err(error),
    }
}

/// [`addresses_of`] of `host:port`, as users write it: `localhost:9000`, `[::1]:9000`.
///
/// # Errors
/// As above, or the text has no port.
pub async fn addresses_of_place(place: &str) -> io::Result<Vec<SocketAddr>> {
    let parts = place
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let Some((host, port)) = parts else {
        let reason = format!("`{place}` is not of the form host:port");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    };
    addresses_of(host.trim_start_matches('[').trim_end_matches(']'), port).await
}

fn is_localhost(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_this_host_whatever_the_system_knows() {
        for name in ["localhost", "LocalHost.", "nobody-knows-this.localhost"] {
            let addresses = addresses_of(name, 8220).await.expect("it has addresses");
            assert!(addresses.iter().all(|address| address.ip().is_loopback()), "{name}");
            assert!(
                addresses.contains(&SocketAddr::from((Ipv4Addr::LOCALHOST, 8220))),
                "{name}"
            );
        }
        assert!(!is_localhost("localhost.example"));
        assert!(!is_localhost("notlocalhost"));
    }

    #[tokio::test]
    async fn addresses_are_their_own() {
        let expected = [SocketAddr::from((Ipv6Addr::LOCALHOST, 80))];
        assert_eq!(addresses_of("::1", 80).await.expect("it is an address"), expected);
        assert_eq!(
            addresses_of_place("[::1]:80").await.expect("it is an address"),
            expected
        );
        let error = addresses_of_place("localhost").await.expect_err("it has no port");
        assert_eq!(error.to_string(), "`localhost` is not of the form host:port");
    }
}
