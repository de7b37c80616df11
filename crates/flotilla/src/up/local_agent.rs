//! The local host as an agent like any other: it enrols over the network, and has no short cut to the server.

use std::time::Duration;

use agent::connection::ConnectionSettings;
use agent::{Daemon, DaemonOptions, EnrollOptions, Paths, SetLogLevel};
use anyhow::Result;
use serde_json::{Map, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::installation::Installation;
use super::services::Services;
use crate::elastic_agent;
use crate::printer;

/// The Fleet Server is in this process: what does not answer by now will not.
const ENROLL_TIMEOUT: Duration = Duration::from_secs(30);

/// The running agent.
pub(super) struct LocalAgent {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl LocalAgent {
    /// Enrols at the first start, then runs.
    pub(super) async fn start(
        installation: &Installation,
        services: &Services,
        set_log_level: SetLogLevel,
    ) -> Result<Self> {
        let paths = paths(installation);
        if !agent::is_enrolled(&paths) {
            printer::note("enrolling this host");
            agent::enroll(enroll_options(installation, services)).await?;
        }
        let stop = CancellationToken::new();
        let options = DaemonOptions {
            paths,
            config_file: "elastic-agent.yml".into(),
            clock: clock::system(),
            build: elastic_agent::build(),
            set_log_level: Some(set_log_level),
            console: None,
            environment: std::env::vars().collect(),
        };
        let child = stop.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = Daemon::run(options, child).await {
                tracing::error!(%error, "the local agent ended");
            }
        });
        Ok(Self { stop, task })
    }

    /// Ships what it has, for at most `grace`.
    pub(super) async fn stop(self, grace: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(grace, self.task).await.is_err() {
            tracing::warn!("the local agent did not stop in time; what it holds is read again at the next start");
        }
    }
}

/// The agent's folders, inside the data folder.
pub(super) fn paths(installation: &Installation) -> Paths {
    Paths::new(installation.data_dir.join("agent"), None, None, None)
}

fn enroll_options(installation: &Installation, services: &Services) -> EnrollOptions {
    let authority = installation.fleet_server_authority();
    let ssl = Map::from_iter([("certificate_authorities".to_owned(), json!([authority]))]);
    let connection = ConnectionSettings {
        hosts: installation.urls(installation.ports.fleet_server),
        ssl,
        proxy: None,
        proxy_disable: true,
        headers: std::collections::BTreeMap::new(),
    };
    EnrollOptions {
        paths: paths(installation),
        connection,
        enrollment_token: services.setup.enrollment_token.clone(),
        ca_fingerprint: None,
        insecure: false,
        id: None,
        replace_token: None,
        tags: Vec::new(),
        timeout: Some(ENROLL_TIMEOUT),
        server: None,
        build: elastic_agent::build(),
        clock: clock::system(),
    }
}
