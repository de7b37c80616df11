//! Listeners, limits, the HTTP client and proxies: TLS of `tls` on real sockets.
//!
//! [`serve`] is the one accept loop, with bounds on everything a stranger can hold: handshakes, headers, connections, failures.
//! [`HttpClient`] is the one client: it dials (directly, through CONNECT proxies, or to a fixed address), verifies the name of
//! the final host, and tells what went wrong as a [`tls::Explanation`]. [`diagnose`] is `flotilla tls` without its terminal.
//!
//! What is served and asked for is the business of others; so are retries and the time a request may take as a whole.

mod listener;
mod peer;
mod serve;

mod connection;
mod counts;
mod failures;
mod farewell;
mod unread;

mod client;
mod error;

mod connector;
mod names;
mod no_proxy;
mod proxies;
mod proxy;
mod stream;

pub mod diagnose;

pub use client::{BoxBody, BoxError, HttpClient, HttpClientSettings, ResponseBody, full_body, read_body};
pub use counts::ListenerCounts;
pub use error::RequestError;
/// The headers of [`HttpClientSettings`] and [`ProxySettings`].
pub use http::{HeaderMap, HeaderName, HeaderValue};
pub use listener::{BindError, Listener};
pub use names::{addresses_of, addresses_of_place};
pub use no_proxy::NoProxy;
pub use peer::Peer;
pub use proxies::{EnvironmentProxies, ProxyVariableError, environment_has_proxy_for};
pub use proxy::ProxySettings;
pub use serve::{ServeOptions, Stopped, serve};
