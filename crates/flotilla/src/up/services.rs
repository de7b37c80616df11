//! The parts that serve, in one process: store, Elasticsearch API, Fleet Server, console.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use access::Access;
use anyhow::{Context, Result};
use axum::Router;
use elasticsearch_api::{ApiSettings, ElasticsearchApi};
use embedded::{EmbeddedOptions, EmbeddedStore};
use fleet_console::{Console, ConsoleSettings, SetupSummary, SigningAuthority};
use fleet_server::{FleetServer, FleetServerSettings, Surroundings};
use protocol::ServerStatus;
use secret::Secret;
use store::Store;
use tls::{ClientTls, LoadOptions, Reloader, ServerTls, SslSettings};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transport::{HttpClient, HttpClientSettings, Listener, ListenerCounts, ServeOptions};

use super::authorities::{Authorities, Role};
use super::installation::Installation;
use crate::bare_host;
use crate::fleet_server_service::RemoteOutputs;
use crate::host_names::HostNames;
use crate::store_command::socket::{Endpoint, StoreSocket};
use crate::version;

/// How long requests under way may take when the process is asked to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Programs for hosts of other architectures may lie here.
const PROGRAMS: &str = "programs";
/// The public key of packages that are not signed by us may lie here, as `default.pgp`.
const KEYS: &str = "pgp";

const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The service account whose token a stock Fleet Server would use.
const FLEET_SERVER_ACCOUNT: &str = "elastic/fleet-server";

/// Everything that serves, running.
pub(super) struct Services {
    pub(super) setup: SetupSummary,
    pub(super) service_token: Secret,
    pub(super) fleet_server_ca_fingerprint: String,
    store: Arc<EmbeddedStore>,
    fleet_server: Arc<FleetServer>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Services {
    pub(super) async fn start(installation: &Installation, hangup: Arc<Notify>) -> Result<Self> {
        let tls = ListenerTls::load(installation)?;
        let parts = Parts::open(installation).await?;
        let service_token = service_token(installation, &parts.access).await?;
        let setup = parts
            .console
            .setup()
            .await
            .context("cannot make the default policies")?;
        let services = Self {
            setup,
            service_token,
            fleet_server_ca_fingerprint: fleet_server_ca_fingerprint(installation)?,
            store: Arc::clone(&parts.store),
            fleet_server: Arc::clone(&parts.fleet_server),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        services.serve(installation, &tls, &parts)?;
        let (authorities, names) = (installation.authorities.clone(), installation.names.clone());
        let until = services.stop.child_token();
        services.tasks.spawn(renew_certificates(authorities, names, until));
        services.work(tls, hangup, parts);
        Ok(services)
    }

    /// Serves on all sockets.
    fn serve(&self, installation: &Installation, tls: &ListenerTls, parts: &Parts) -> Result<()> {
        let listeners = installation.take_listeners();
        let socket = self.socket(installation, listeners.elasticsearch.local_addr())?;
        self.tasks.spawn(socket.run(self.stop.child_token()));
        let programs = installation.data_dir.join(PROGRAMS);
        let fleet_server = parts.fleet_server.router().merge(bare_host::router(Some(&programs)));
        let (api, console) = (parts.api.router(), parts.console.router());
        let counts = [
            (
                "fleet_server",
                self.serve_on(listeners.fleet_server, Some(&tls.fleet_server), fleet_server),
            ),
            (
                "elasticsearch",
                self.serve_on(listeners.elasticsearch, Some(&tls.elasticsearch), api),
            ),
            ("console", self.serve_on(listeners.console, Some(&tls.console), console)),
        ];
        if let Some(listener) = listeners.metrics {
            let surroundings = Surroundings {
                listeners: counts.map(|(name, counts)| (name.to_owned(), counts)).into(),
                certificates: tls.reloader(),
            };
            self.serve_on(listener, None, parts.fleet_server.metrics_router(surroundings));
        }
        Ok(())
    }

    /// Serves; the numbers are those that the listener counts from now on.
    fn serve_on(&self, listener: Listener, tls: Option<&Arc<ServerTls>>, router: Router) -> ListenerCounts {
        let options = ServeOptions::default();
        let counts = options.counts.clone();
        let serving = transport::serve(listener, tls.cloned(), router, options, self.stop.child_token());
        self.tasks.spawn(async move {
            let _stopped = serving.await;
        });
        counts
    }

    /// Starts what goes on beside requests.
    fn work(&self, tls: ListenerTls, hangup: Arc<Notify>, parts: Parts) {
        let stop = || self.stop.child_token();
        let until = stop();
        self.tasks.spawn(async move { parts.remote_outputs.run(until).await });
        self.tasks.spawn(parts.fleet_server.run(stop()));
        let (console, until) = (parts.console, stop());
        self.tasks.spawn(async move { console.run(until).await });
        self.tasks.spawn(maintain_store(parts.store, stop()));
        self.tasks.spawn(reload_certificates(tls, hangup, stop()));
        self.tasks.close();
    }

    /// Where `flotilla store` and `flotilla search` find this process.
    fn socket(&self, installation: &Installation, elasticsearch: SocketAddr) -> Result<StoreSocket> {
        let address = match elasticsearch.ip() {
            ip if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, elasticsearch.port())),
            _ => elasticsearch,
        };
        let endpoint = Endpoint {
            url: url::Url::parse(&format!("https://{address}")).context("the listener has no usable address")?,
            certificate_authority: installation.authorities.root_certificate(),
        };
        StoreSocket::bind(installation.data_dir.path(), Arc::clone(&self.store), endpoint)
    }

    /// Waits until the Fleet Server has read the policies, so that what is called ready is.
    pub(super) async fn ready(&self) {
        while self.fleet_server.status() == ServerStatus::Starting {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Answers what is held, writes what is acknowledged, closes the store.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        if tokio::time::timeout(GRACE, self.tasks.wait()).await.is_err() {
            tracing::warn!(still_running = self.tasks.len(), "not everything stopped in time");
        }
        let store = Arc::clone(&self.store);
        if tokio::task::spawn_blocking(move || store.close()).await.is_err() {
            tracing::error!("the store did not close");
        }
    }
}

/// The parts, made and not serving yet.
struct Parts {
    store: Arc<EmbeddedStore>,
    access: Arc<Access>,
    api: Arc<ElasticsearchApi>,
    fleet_server: Arc<FleetServer>,
    /// Follows the certificate files of outputs elsewhere.
    remote_outputs: Reloader,
    console: Arc<Console>,
}

impl Parts {
    async fn open(installation: &Installation) -> Result<Self> {
        let clock = clock::system();
        let folder = installation.data_dir.join("store");
        let store =
            EmbeddedStore::open(EmbeddedOptions::new(folder, Arc::clone(&clock))).context("cannot open the store")?;
        let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let access = Access::open(Arc::clone(&shared), Arc::clone(&clock))
            .await
            .context("cannot read users and keys")?;
        fleet_server::create_indices(&*shared)
            .await
            .context("cannot create the fleet's indices")?;
        set_elastic_password(&access, &installation.elastic_password).await?;
        let api = ElasticsearchApi::new(
            api_settings(installation),
            Arc::clone(&shared),
            Arc::clone(&access),
            Arc::clone(&clock),
        );
        let remote_outputs = Reloader::new();
        let fleet_server = FleetServer::with_remote_keys(
            fleet_server_settings(installation),
            Arc::clone(&shared),
            Arc::clone(&access) as Arc<dyn access::ApiKeys>,
            Some(RemoteOutputs::new(remote_outputs.clone())),
            Arc::clone(&clock),
        );
        let console = Console::new(console_settings(installation)?, shared, Arc::clone(&access), clock);
        console.set_fleet_server_client(fleet_server_client(installation)?);
        Ok(Self {
            store,
            access,
            api,
            fleet_server,
            remote_outputs,
            console,
        })
    }
}

fn fleet_server_settings(installation: &Installation) -> FleetServerSettings {
    let mut settings = FleetServerSettings {
        version: version::STACK.to_owned(),
        ..FleetServerSettings::default()
    };
    settings.pgp.dir = Some(installation.data_dir.join(KEYS));
    settings
}

/// What the three listeners present and demand.
struct ListenerTls {
    fleet_server: Arc<ServerTls>,
    elasticsearch: Arc<ServerTls>,
    console: Arc<ServerTls>,
}

impl ListenerTls {
    fn load(installation: &Installation) -> Result<Self> {
        let own = |role: Role| {
            let blocks = installation
                .pairs(role)
                .map(|(certificate, key)| ssl_block(installation, role, &certificate, &key, None));
            ServerTls::load_pairs(&blocks, LoadOptions::named(role.stem()))
                .with_context(|| format!("cannot load the certificates of {}", role.stem()))
        };
        let fleet_server = match &installation.fleet_server_files {
            None => own(Role::FleetServer)?,
            Some(files) => {
                let block = ssl_block(
                    installation,
                    Role::FleetServer,
                    &files.certificate,
                    &files.key,
                    files.passphrase.as_deref(),
                );
                // The join string names the CA by its fingerprint, so agents must be shown it.
                let options = LoadOptions {
                    issuers: files.authorities.clone(),
                    ..LoadOptions::named(Role::FleetServer.stem())
                };
                ServerTls::load(&block, options).context("cannot load the certificate for the Fleet Server")?
            }
        };
        Ok(Self {
            fleet_server,
            elasticsearch: own(Role::Elasticsearch)?,
            console: own(Role::Console)?,
        })
    }
}

impl ListenerTls {
    /// Knows what all three present.
    fn reloader(&self) -> Reloader {
        let reloader = Reloader::new();
        for listener in [&self.fleet_server, &self.elasticsearch, &self.console] {
            reloader.watch(listener);
        }
        reloader
    }
}

/// Client certificates are welcome on every listener and checked against the agents' CA; on the console's, where people log in with
/// them, against the CAs that were named for people.
fn ssl_block(
    installation: &Installation,
    role: Role,
    certificate: &camino::Utf8Path,
    key: &camino::Utf8Path,
    passphrase: Option<&camino::Utf8Path>,
) -> SslSettings {
    let mut block = serde_json::json!({ "certificate": certificate, "key": key });
    if let Some(passphrase) = passphrase {
        block["key_passphrase_path"] = passphrase.as_str().into();
    }
    let client_authorities = match role {
        Role::Console => installation.console_client_authorities.clone(),
        _ => vec![installation.authorities.agent_authority()],
    };
    if !client_authorities.is_empty() {
        block["certificate_authorities"] = serde_json::json!(client_authorities);
        block["client_authentication"] = "optional".into();
    }
    SslSettings::from_value(&block).expect("a block of our own is well formed")
}

async fn reload_certificates(tls: ListenerTls, hangup: Arc<Notify>, stop: CancellationToken) {
    let reloader = tls.reloader();
    let poke_on_hangup = async {
        loop {
            hangup.notified().await;
            reloader.poke();
        }
    };
    tokio::select! {
        () = reloader.run(stop) => {}
        () = poke_on_hangup => {}
    }
}

/// How often certificates are looked at whose time may be mostly over.
const RENEWAL_LOOK: Duration = Duration::from_hours(12);

/// Renews the listeners' certificates while the program runs; the reloader takes them into use.
async fn renew_certificates(authorities: Authorities, names: HostNames, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RENEWAL_LOOK) => {}
        }
        let (authorities, names) = (authorities.clone(), names.clone());
        let looked = tokio::task::spawn_blocking(move || authorities.renew(&names, clock::system().now())).await;
        if let Ok(Err(error)) = looked {
            tracing::error!(
                error = format!("{error:#}"),
                "the certificates of the listeners cannot be renewed"
            );
        }
    }
}

/// The file is the truth: whoever edits it and restarts has changed the password.
async fn set_elastic_password(access: &Access, password: &Secret) -> Result<()> {
    access
        .set_password("elastic", password.clone())
        .await
        .context("cannot set the password of `elastic`")
}

async fn service_token(installation: &Installation, access: &Access) -> Result<Secret> {
    if let Some(kept) = installation.data_dir.kept_secret("service-token")? {
        return Ok(kept);
    }
    let token = access
        .create_service_token(FLEET_SERVER_ACCOUNT, "flotilla-up")
        .await
        .context("cannot make a service token")?;
    installation.data_dir.keep_secret("service-token", &token)?;
    Ok(token)
}

fn api_settings(installation: &Installation) -> ApiSettings {
    ApiSettings {
        cluster_name: "flotilla".to_owned(),
        node_name: crate::host_names::own_name(),
        cluster_uuid: installation.identity.cluster_uuid.clone(),
        version: version::STACK.to_owned(),
    }
}

/// How the console asks Fleet Servers for their state: with the trust that agents have.
fn fleet_server_client(installation: &Installation) -> Result<HttpClient> {
    let authorities = [
        installation.fleet_server_authority(),
        installation.authorities.root_certificate(),
    ];
    let block = serde_json::json!({ "certificate_authorities": authorities });
    let settings = SslSettings::from_value(&block).expect("a block of our own is well formed");
    let tls = ClientTls::load(&settings, LoadOptions::named("console to fleet server"))
        .context("cannot load the CA of the Fleet Server")?;
    Ok(HttpClient::new(HttpClientSettings {
        tls,
        proxy: None,
        connect_timeout: Duration::from_secs(10),
        headers: axum::http::HeaderMap::new(),
        connect_to: None,
    }))
}

fn fleet_server_ca_fingerprint(installation: &Installation) -> Result<String> {
    let path = installation.fleet_server_authority();
    let authority = certs::load_certificates(&certs::PemSource::Path(path.clone()), "--certificate-authorities")?;
    let first = authority
        .first()
        .with_context(|| format!("`{path}` holds no certificate"))?;
    Ok(certs::fingerprint(first).to_string())
}

fn console_settings(installation: &Installation) -> Result<ConsoleSettings> {
    Ok(ConsoleSettings {
        fleet_server_urls: installation.urls(installation.ports.fleet_server),
        elasticsearch_urls: installation.urls(installation.ports.elasticsearch),
        console_urls: installation.urls(installation.ports.console),
        ca_fingerprint: Some(installation.authorities.root_fingerprint()?),
        version: version::STACK.to_owned(),
        host_name: crate::host_names::own_name(),
        instance_id: installation.identity.cluster_uuid.clone(),
        fleet_server_certificates: installation.fleet_server_certificates(),
        fleet_server_authority: installation
            .fleet_server_signing_pair()
            .map(|(certificate, key)| SigningAuthority { certificate, key }),
        ..ConsoleSettings::default()
    })
}

/// Rolls data streams over and retires what retention says, each minute.
async fn maintain_store(store: Arc<EmbeddedStore>, stop: CancellationToken) {
    let mut each_minute = tokio::time::interval(Duration::from_mins(1));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = each_minute.tick() => {}
        }
        if let Err(error) = store.maintain().await {
            tracing::warn!(%error, "the store could not roll over or retire data streams; it is tried again");
        }
    }
}
