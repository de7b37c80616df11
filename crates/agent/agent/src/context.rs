//! What every part of a daemon may use.

use std::io::Write;
use std::sync::{Arc, Mutex};

use camino::Utf8PathBuf;
use clock::SharedClock;
use tokio::sync::watch;

use crate::enroll::Build;
use crate::fleet_server_component::FleetServerComponent;
use crate::local_endpoint::Place;
use crate::paths::Paths;

/// Sets the level of the process's log; handed in by the binary, which owns the subscriber.
pub type SetLogLevel = Arc<dyn Fn(&str) + Send + Sync>;

/// Fixed for the life of a daemon.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) paths: Paths,
    pub(crate) clock: SharedClock,
    pub(crate) build: Build,
    /// The stand-alone configuration file.
    pub(crate) config_file: Utf8PathBuf,
    pub(crate) set_log_level: Option<SetLogLevel>,
    pub(crate) console: Option<Arc<Mutex<dyn Write + Send>>>,
    /// Keeps TLS settings in line with their files.
    pub(crate) reloader: tls::Reloader,
    /// The Fleet Server that the binary can run here.
    pub(crate) fleet_server: Option<Arc<dyn FleetServerComponent>>,
    /// Where health and metrics are served on this host.
    pub(crate) local_endpoint: watch::Sender<Option<Place>>,
    /// Environment variables for the `env` provider.
    pub(crate) environment: Vec<(String, String)>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}
