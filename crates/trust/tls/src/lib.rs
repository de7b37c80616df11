//! `ssl.*` settings to verified TLS, the same for every leg of the fleet.
//!
//! [`SslSettings`] is the block as written. [`ClientTls`] and [`ServerTls`] are what it becomes: files loaded, pair matched,
//! verifiers of our own under rustls with the aws-lc-rs provider, which is always named and never the process default.
//! Both follow their files through the one [`Reloader`]. What fails becomes an [`Explanation`]: what was configured, what was
//! presented, which rule was broken, what to do.
//!
//! There are no sockets here: `transport` runs the handshakes, through [`Observing`] so that nothing of the story gets
//! lost. Files are opened by `certs`. Deliberately absent: TLS below 1.2, renegotiation, 0-RTT, static RSA, CBC, OpenSSL.

mod settings;

mod client;
mod server;

mod error;
mod explain;
mod options;
pub mod reload;
mod status;

mod anchors;
mod chain;
mod facts;
mod material;
mod name_constraints;
mod names;
mod observe;
mod p521;
mod unusual_leaf;
mod values;
mod verifier;

pub use chain::{MAX_CHAIN_BYTES, MAX_CHAIN_CERTIFICATES};
pub use client::ClientTls;
pub use error::{SslError, Stage};
pub use explain::{Evidence, Explanation, Side, alert_name, explain, explain_tls, tls_error};
pub use material::{is_signed_by, unfit_for_both_sides};
pub use observe::{Observation, Observing, VerificationFailure, observe};
pub use options::{Alpn, LoadOptions};
pub use reload::{ReloadOutcome, Reloadable, Reloader};
pub use server::ServerTls;
pub use settings::{ClientAuthentication, DEFAULT_RELOAD_INTERVAL, NameOrNumber, SslSettings, VerificationMode};
pub use status::{CertificateRole, CertificateStatus, TlsStatus};
