//! What a configuration is loaded with beyond its settings.

use std::sync::Arc;

use camino::Utf8PathBuf;
use clock::SharedClock;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

/// The protocol that is to run on top, as ALPN offers it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Alpn {
    /// HTTP/2, else HTTP/1.1.
    #[default]
    Http,
    /// HTTP/1.1 only.
    Http1,
    /// Nothing is offered; for protocols without a name, such as Logstash's.
    None,
}

impl Alpn {
    pub(crate) fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Self::Http1 => vec![b"http/1.1".to_vec()],
            Self::None => Vec::new(),
        }
    }
}

/// What a configuration is loaded with beyond its settings.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// What the configuration is for, in status and log: `fleet.ssl`, `outputs.default.ssl`.
    pub name: String,
    /// The time that validity is held against.
    pub clock: SharedClock,
    /// What servers offer; clients choose at each connection.
    pub alpn: Alpn,
    /// Whether sessions are resumed. A diagnosis wants every handshake whole.
    pub resumption: bool,
    /// Files with the issuers that a server sends where its own file ends before the root; clients that know no more than
    /// a root's fingerprint need the root.
    pub issuers: Vec<Utf8PathBuf>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            name: "ssl".to_owned(),
            clock: clock::system(),
            alpn: Alpn::Http,
            resumption: true,
            issuers: Vec::new(),
        }
    }
}

impl LoadOptions {
    /// The defaults under a name.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }
}

/// The clock as rustls asks for it.
#[derive(Debug)]
pub(crate) struct Time(pub(crate) SharedClock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

impl Time {
    pub(crate) fn shared(clock: &SharedClock) -> Arc<dyn TimeProvider> {
        Arc::new(Self(clock.clone()))
    }
}
