//! Who is on the other end of a connection.

use std::net::SocketAddr;

use rustls_pki_types::CertificateDer;

/// The other end of a connection, as every request carries it (`Extension<Arc<Peer>>`).
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The certificates that it showed and that were verified, leaf first; empty when none was asked for or sent.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The host name it asked for (SNI).
    pub server_name: Option<String>,
}
