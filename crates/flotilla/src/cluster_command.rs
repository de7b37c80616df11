//! `flotilla elasticsearch-api` and `flotilla console`: parts of `flotilla up` as processes of their own, over a cluster.
//!
//! Any number of them may run on one cluster, beside any number of `flotilla fleet-server`: all they know is in the
//! cluster.

mod configuration;
mod identity;

use std::collections::BTreeMap;
use std::sync::Arc;

use access::Access;
use anyhow::{Context, Result};
use axum::Router;
use camino::Utf8PathBuf;
use elasticsearch_api::{ApiSettings, ElasticsearchApi};
use fleet_console::{Console, ConsoleSettings};
use serde_json::Value;
use store::Store;
use tls::{ClientTls, LoadOptions, Reloader, SslSettings};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transport::{HttpClient, HttpClientSettings};

use self::configuration::{Configuration, ConsoleSection};
use crate::fleet_server_command::log_to_stderr;
use crate::fleet_server_service::{Listening, connect_store};
use crate::printer::{self, Hint};
use crate::up::signals;
use crate::version;

/// Flags of both commands.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ClusterArguments {
    /// Configuration file: `output.elasticsearch` of a fleet-server.yml, and a section with the command's name
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = "flotilla.yml")]
    config: Utf8PathBuf,
}

/// Which part is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// Port 9200.
    ElasticsearchApi,
    /// Port 5601.
    Console,
}

impl Part {
    /// Its section of the configuration file.
    fn section(self) -> &'static str {
        match self {
            Self::ElasticsearchApi => "elasticsearch-api",
            Self::Console => "console",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::ElasticsearchApi => "Elasticsearch API",
            Self::Console => "console",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::ElasticsearchApi => 9200,
            Self::Console => 5601,
        }
    }
}

/// Runs until SIGINT or SIGTERM.
pub(crate) fn run(part: Part, arguments: &ClusterArguments) -> Result<()> {
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let configuration = Configuration::read(part, &arguments.config, &environment)?;
    log_to_stderr(&configuration.settings.logging);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(part, configuration))
}

async fn serve(part: Part, configuration: Configuration) -> Result<()> {
    let stop = CancellationToken::new();
    let hangup = signals::listen(stop.clone())?;
    let settings = &configuration.settings;
    let listen = &settings.listen;
    let listening = Listening::bind(settings, &listen.host, listen.port, listen.ssl.as_ref()).await?;
    listening.warnings().iter().for_each(printer::warning);
    if !listening.is_encrypted() {
        printer::warning(format!(
            "no `{}.ssl`: plain HTTP is served; passwords and keys can be read on the way",
            part.section()
        ));
    }
    let reloader = Reloader::new();
    listening.watch(&reloader);
    let shared = Shared::open(&configuration, &reloader).await?;
    let tasks = TaskTracker::new();
    let router = match part {
        Part::ElasticsearchApi => shared.elasticsearch_api(&tasks, &stop),
        Part::Console => shared.console(&configuration.console, &tasks, &stop).await?,
    };
    let scheme = if listening.is_encrypted() { "https" } else { "http" };
    let address = listening.address();
    tasks.spawn(listening.serve(router, stop.child_token()));
    tasks.close();
    printer::line(format!("{} listens on {scheme}://{address}", part.title()));
    let poke_on_hangup = async {
        loop {
            hangup.notified().await;
            reloader.poke();
        }
    };
    tokio::select! {
        () = tasks.wait() => {}
        () = reloader.run(CancellationToken::new()) => {}
        () = poke_on_hangup => {}
    }
    Ok(())
}

/// What both parts stand on.
struct Shared {
    store: Arc<dyn Store>,
    access: Arc<Access>,
    identity: String,
}

impl Shared {
    async fn open(configuration: &Configuration, reloader: &Reloader) -> Result<Self> {
        let remote = connect_store(&configuration.settings.output, reloader).await?;
        if remote.product() == "Flotilla" {
            return Err(Hint::error(
                "the store is another Flotilla, which has an API and a console itself".to_owned(),
                "agents, shippers and people use those; `flotilla fleet-server` runs on it as it is",
            ));
        }
        let native = remote.native_identities();
        let store: Arc<dyn Store> = remote;
        let access = Access::open_beside(Arc::clone(&store), clock::system(), native)
            .await
            .context("cannot read users and keys")?;
        fleet_server::create_indices(&*store)
            .await
            .context("cannot create the fleet's indices")?;
        if let Some(password) = &configuration.elastic_password {
            access
                .set_password("elastic", password.clone())
                .await
                .context("cannot set the password of `elastic`")?;
        }
        let identity = identity::of(&*store).await?;
        Ok(Self {
            store,
            access,
            identity,
        })
    }

    /// A cluster keeps no retention by itself: each API process sees to it.
    fn elasticsearch_api(&self, tasks: &TaskTracker, stop: &CancellationToken) -> Router {
        let settings = ApiSettings {
            cluster_name: "flotilla".to_owned(),
            node_name: crate::host_names::own_name(),
            cluster_uuid: self.identity.clone(),
            version: version::STACK.to_owned(),
        };
        let (store, access) = (Arc::clone(&self.store), Arc::clone(&self.access));
        let api = ElasticsearchApi::new(settings, store, access, clock::system());
        let (working, until) = (Arc::clone(&api), stop.child_token());
        tasks.spawn(async move {
            tokio::select! {
                () = working.retain_forever() => {}
                () = until.cancelled() => {}
            }
        });
        api.router()
    }

    async fn console(&self, section: &ConsoleSection, tasks: &TaskTracker, stop: &CancellationToken) -> Result<Router> {
        let settings = ConsoleSettings {
            fleet_server_urls: section.fleet_server_urls.clone(),
            elasticsearch_urls: section.elasticsearch_urls.clone(),
            console_urls: section.console_urls.clone(),
            ca_fingerprint: section.ca_trusted_fingerprint.clone(),
            version: version::STACK.to_owned(),
            host_name: crate::host_names::own_name(),
            instance_id: self.identity.clone(),
            ..ConsoleSettings::default()
        };
        let (store, access) = (Arc::clone(&self.store), Arc::clone(&self.access));
        let console = Console::new(settings, store, access, clock::system());
        if let Some(ssl) = &section.fleet_server_ssl {
            console.set_fleet_server_client(fleet_server_client(ssl)?);
        }
        console.setup().await.context("cannot make the default policies")?;
        let (working, until) = (Arc::clone(&console), stop.child_token());
        tasks.spawn(async move { working.run(until).await });
        Ok(console.router())
    }
}

/// How the console asks Fleet Servers for their state.
fn fleet_server_client(ssl: &Value) -> Result<HttpClient> {
    let tls = SslSettings::from_value(ssl)
        .and_then(|settings| ClientTls::load(&settings, LoadOptions::named("console.fleet_server_ssl")))
        .context("cannot use `console.fleet_server_ssl`")?;
    Ok(HttpClient::new(HttpClientSettings {
        tls,
        proxy: None,
        connect_timeout: std::time::Duration::from_secs(10),
        headers: axum::http::HeaderMap::new(),
        connect_to: None,
    }))
}
