//! Where a request came from, as the listener noted it.

use std::net::IpAddr;
use std::sync::Arc;

use http::Extensions;
use transport::Peer;

/// The client's address; nothing when the router is used without our listener.
pub(crate) fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<Arc<Peer>>().map(|peer| peer.address.ip())
}

/// Whether the connection is TLS.
pub(crate) fn is_tls(extensions: &Extensions) -> bool {
    extensions.get::<Arc<Peer>>().is_some_and(|peer| peer.tls)
}
