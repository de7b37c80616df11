//! A bound port.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// A port that is bound and listens; connections wait in its queue until [`crate::serve`] takes them.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: TcpListener,
    address: SocketAddr,
}

/// Why a port cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program, or another listener of this one, has it.
    #[error("cannot listen on `{address}`: the port is in use; stop the program that has it, or choose another port")]
    InUse {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The user may not.
    #[error(
        "cannot listen on `{address}`: permission denied; choose a port above 1023, or run as a user that may use this one"
    )]
    Denied {
        /// What was asked for.
        address: SocketAddr,
    },
    /// No interface of this machine has the address.
    #[error("cannot listen on `{address}`: this machine has no such address; use one of its own, or 0.0.0.0")]
    NoSuchAddress {
        /// What was asked for.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on `{address}`")]
    Other {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Connections that the kernel keeps while they wait to be accepted.
const BACKLOG: u32 = 1024;

impl Listener {
    /// Binds a port; port 0 takes a free one.
    ///
    /// # Errors
    /// Says what to do when the port is in use or not allowed. Must be called within a runtime.
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bound = (|| {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let socket = socket.listen(BACKLOG)?;
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        })();
        bound.map_err(|source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address },
            io::ErrorKind::PermissionDenied => BindError::Denied { address },
            io::ErrorKind::AddrNotAvailable => BindError::NoSuchAddress { address },
            _ => BindError::Other { address, source },
        })
    }

    /// The address in use, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}
