//! [`Console`]: what every domain function works on.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock};

use access::Access;
use camino::Utf8PathBuf;
use clock::SharedClock;
use packages::Package;
use secret::Secret;
use store::Store;
use tokio_util::sync::CancellationToken;
use transport::HttpClient;

use crate::domain::connection_tests::{self, Tested};
use crate::domain::documents::{self, Stored};
use crate::domain::error::FleetError;
use crate::domain::login_limit::LoginLimit;
use crate::domain::mirror::Mirror;
use crate::domain::news::{self, News};
use crate::domain::roster::{self, Roster};
use crate::domain::signing::SigningKey;
use crate::domain::{agent_maintenance, setup};

/// What the console is told when it starts.
#[derive(Clone, Debug)]
pub struct ConsoleSettings {
    /// Where agents find Fleet Server, best first; goes into the default Fleet Server host.
    pub fleet_server_urls: Vec<String>,
    /// Where agents find the Elasticsearch API; goes into the default output.
    pub elasticsearch_urls: Vec<String>,
    /// Where people find the pages; for the map of connections.
    pub console_urls: Vec<String>,
    /// SHA-256 of the root CA in lower-case hex: `ca_trusted_fingerprint` of the default output, and of the join string.
    pub ca_fingerprint: Option<String>,
    /// What `/api/status` announces, such as `9.2.0`.
    pub version: String,
    /// `name` of `/api/status`.
    pub host_name: String,
    /// `uuid` of `/api/status`: the same on every start.
    pub instance_id: String,
    /// Where agents download their next version; goes into the default download source.
    pub download_url: String,
    /// Files with the chains that our own Fleet Server presents, when it hands out this program: with their keys' pins the pages
    /// show the line that joins a bare host.
    pub fleet_server_certificates: Vec<Utf8PathBuf>,
    /// The CA that signed those, when it can sign for another Fleet Server: the pages show how.
    pub fleet_server_authority: Option<SigningAuthority>,
}

/// Files of a CA on this host.
#[derive(Clone, Debug)]
pub struct SigningAuthority {
    /// Its certificate, with those above it.
    pub certificate: Utf8PathBuf,
    /// Its private key.
    pub key: Utf8PathBuf,
}

impl Default for ConsoleSettings {
    fn default() -> Self {
        Self {
            fleet_server_urls: vec!["https://localhost:8220".to_owned()],
            elasticsearch_urls: vec!["https://localhost:9200".to_owned()],
            console_urls: Vec::new(),
            ca_fingerprint: None,
            version: "9.2.0".to_owned(),
            host_name: "localhost".to_owned(),
            instance_id: "00000000-0000-4000-8000-000000000000".to_owned(),
            download_url: "https://artifacts.elastic.co/downloads/".to_owned(),
            fleet_server_certificates: Vec::new(),
            fleet_server_authority: None,
        }
    }
}

/// What [`Console::setup`] made or found.
#[derive(Clone, Debug)]
pub struct SetupSummary {
    /// The policy of hosts that run Fleet Server.
    pub fleet_server_policy_id: String,
    /// The policy of all other hosts.
    pub default_policy_id: String,
    /// Enrolls into the default policy.
    pub enrollment_token: Secret,
    /// Enrolls into the policy with Fleet Server.
    pub fleet_server_enrollment_token: Secret,
}

/// The console. Cheap to share; everything it knows is in the store.
#[derive(Debug)]
pub struct Console {
    pub(crate) settings: ConsoleSettings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) access: Arc<Access>,
    pub(crate) clock: SharedClock,
    /// One change at a time in this process; between processes sequence numbers decide.
    pub(crate) changes: tokio::sync::Mutex<()>,
    pub(crate) installed: tokio::sync::RwLock<Option<InstalledPackages>>,
    pub(crate) signing_key: tokio::sync::RwLock<Option<Arc<SigningKey>>>,
    pub(crate) fleet_server_client: OnceLock<HttpClient>,
    pub(crate) is_set_up: tokio::sync::OnceCell<()>,
    pub(crate) login_limit: LoginLimit,
    pub(crate) news: News,
    pub(crate) roster: Roster,
    /// The console's own objects, by their index.
    pub(crate) collections: HashMap<&'static str, Mirror<Stored>>,
    pub(crate) connection_tests: Mutex<BTreeMap<String, Tested>>,
    pub(crate) session_renewals: Mutex<HashMap<String, jiff::Timestamp>>,
}

/// The installed packages as of a state of their index.
#[derive(Debug)]
pub(crate) struct InstalledPackages {
    pub(crate) checkpoint: Option<u64>,
    pub(crate) packages: Vec<Arc<Package>>,
}

impl Console {
    /// A console over `store`.
    pub fn new(settings: ConsoleSettings, store: Arc<dyn Store>, access: Arc<Access>, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self {
            login_limit: LoginLimit::new(Arc::clone(&clock)),
            settings,
            store,
            access,
            clock,
            changes: tokio::sync::Mutex::new(()),
            installed: tokio::sync::RwLock::new(None),
            signing_key: tokio::sync::RwLock::new(None),
            fleet_server_client: OnceLock::new(),
            is_set_up: tokio::sync::OnceCell::new(),
            news: News::default(),
            roster: Roster::default(),
            collections: documents::mirrors(),
            connection_tests: Mutex::new(BTreeMap::new()),
            session_renewals: Mutex::new(HashMap::new()),
        })
    }

    /// Makes the default output, host, download source, policies and tokens where they are missing. Idempotent.
    ///
    /// # Errors
    /// The store or the identities cannot be reached.
    pub async fn setup(&self) -> Result<SetupSummary, FleetError> {
        setup::run(self).await
    }

    /// Gives the console what it asks Fleet Servers for their state with; without it they all count as offline. Only the first
    /// call counts.
    pub fn set_fleet_server_client(&self, client: HttpClient) {
        self.fleet_server_client.get_or_init(|| client);
    }

    /// The pages and the Fleet API, to be served on 5601.
    pub fn router(self: &Arc<Self>) -> axum::Router {
        crate::pages::router(Arc::clone(self)).fallback_service(crate::api::router(Arc::clone(self)))
    }

    /// Background work until `stop`: unenrols agents that were silent for longer than their policy allows, tries the fleet's
    /// connections, keeps the agents at hand for lists, and tells open pages what has changed.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        tokio::join!(
            agent_maintenance::run(&self, stop.clone()),
            connection_tests::run(&self, stop.clone()),
            roster::run(&self, stop.clone()),
            news::run(&self, stop)
        );
    }
}
