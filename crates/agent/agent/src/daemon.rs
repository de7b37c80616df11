//! The running agent: takes the folder's lock, opens the control socket, and runs as the folder says: managed by Fleet,
//! by a file, or waiting to be enrolled. A reload starts that choice over in the same process.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use clock::SharedClock;
use fs_err as fs;
use inputs::{BuildContext, InputPaths, Registry};
use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::context::{Context, SetLogLevel};
use crate::control::{Asked, Command, Server};
use crate::enroll::Build;
use crate::fleet_server_component::{FleetServerComponent, FleetServerSeat};
use crate::host::Host;
use crate::local_endpoint;
use crate::managed::{Ended, Managed, event_metadata, variables};
use crate::paths::Paths;
use crate::sealed::SealedError;
use crate::standalone::{Standalone, info, read_config};
use crate::state::{StateStore, is_enrolled};
use crate::status::{Health, StatusReport};
use crate::units::Units;

const WAITING_POLL: Duration = Duration::from_secs(10);

/// What a daemon needs to know.
#[derive(Clone)]
pub struct DaemonOptions {
    /// The agent's folders.
    pub paths: Paths,
    /// `-c`: the stand-alone configuration; relative to the config folder.
    pub config_file: Utf8PathBuf,
    /// Time.
    pub clock: SharedClock,
    /// About this program.
    pub build: Build,
    /// How the log's level is changed.
    pub set_log_level: Option<SetLogLevel>,
    /// Where output `console` writes.
    pub console: Option<Arc<Mutex<dyn Write + Send>>>,
    /// For the `env` provider of policies.
    pub environment: Vec<(String, String)>,
}

impl std::fmt::Debug for DaemonOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DaemonOptions")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

/// Why a daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another one has the folder.
    #[error("another agent runs in `{home}`; stop it, or use another --path.home")]
    AlreadyRunning {
        /// The folder.
        home: Utf8PathBuf,
    },
    /// A folder or file cannot be used.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The enrolment cannot be read.
    #[error(transparent)]
    State(#[from] SealedError),
    /// The registry of offsets cannot be opened.
    #[error("cannot open the registry of offsets: {0}")]
    Registry(#[from] inputs::RegistryError),
    /// The enrolment's connection settings cannot be used.
    #[error("{0}")]
    Connection(String),
}

/// Why a daemon ended without an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DaemonEnd {
    /// It was asked to stop.
    Stopped,
    /// The program that `<top>/elastic-agent` leads to is to take over, in this process.
    Replaced,
}

/// The agent's process, as a future.
#[derive(Debug)]
pub struct Daemon;

impl Daemon {
    /// Runs until `stop` (or another program is to take over), then delivers what it has and returns.
    ///
    /// # Errors
    /// See [`DaemonError`]; nothing that happens while it runs is one.
    pub async fn run(options: DaemonOptions, stop: CancellationToken) -> Result<(), DaemonError> {
        Self::run_with_fleet_server(options, None, stop).await.map(|_| ())
    }

    /// As [`Daemon::run`], with a Fleet Server that runs when enrolment and policy have one.
    ///
    /// # Errors
    /// As [`Daemon::run`].
    pub async fn run_with_fleet_server(
        options: DaemonOptions,
        fleet_server: Option<Arc<dyn FleetServerComponent>>,
        stop: CancellationToken,
    ) -> Result<DaemonEnd, DaemonError> {
        let context = Arc::new(Context {
            config_file: options.paths.config().join(&options.config_file),
            paths: options.paths,
            clock: options.clock,
            build: options.build,
            set_log_level: options.set_log_level,
            console: options.console,
            reloader: tls::Reloader::new(),
            fleet_server,
            local_endpoint: watch::Sender::new(None),
            environment: options.environment,
        });
        crate::sealed::private_directory(&context.paths.data())?;
        let _lock = lock(&context.paths)?;
        let registry = Registry::open(&context.paths.registry())?;
        let starting = StatusReport {
            info: info(&context, ""),
            message: "Starting".to_owned(),
            ..StatusReport::default()
        };
        let (publish, status) = watch::channel(starting);
        let (daemon, mut commands) = mpsc::channel(8);
        let server = Server::bind(&context.paths.socket())?;
        let tasks = TaskTracker::new();
        let stop_server = CancellationToken::new();
        tasks.spawn(local_endpoint::run(
            context.local_endpoint.subscribe(),
            daemon.clone(),
            status.clone(),
            stop_server.clone(),
        ));
        tasks.spawn(server.run(status, daemon, stop_server.clone()));
        let (reloader, stop_reloader) = (context.reloader.clone(), stop_server.clone());
        tasks.spawn(async move { reloader.run(stop_reloader).await });
        tracing::info!(version = context.build.version, home = %context.paths.home(), "agent started");
        let outcome = run_modes(&context, &registry, &publish, &mut commands, &stop).await;
        let flushed = tokio::task::spawn_blocking(move || registry.flush()).await;
        if !matches!(flushed, Ok(true)) {
            tracing::warn!("the last offsets could not be stored; some lines will be sent again");
        }
        stop_server.cancel();
        tasks.close();
        tasks.wait().await;
        tracing::info!("agent stopped");
        outcome
    }
}

async fn run_modes(
    context: &Arc<Context>,
    registry: &Arc<Registry>,
    publish: &watch::Sender<StatusReport>,
    commands: &mut mpsc::Receiver<Asked>,
    stop: &CancellationToken,
) -> Result<DaemonEnd, DaemonError> {
    loop {
        let stop = stop.clone();
        let ended = if is_enrolled(&context.paths) {
            run_managed(context, registry, publish, commands, stop).await?
        } else if is_standalone(&context.config_file) {
            let units = units(context, registry, "");
            Standalone::new(Arc::clone(context), units, publish.clone())
                .run(commands, stop)
                .await
        } else {
            wait_for_enrollment(context, publish, commands, stop).await
        };
        match ended {
            Ended::Stop => return Ok(DaemonEnd::Stopped),
            Ended::Replace => return Ok(DaemonEnd::Replaced),
            Ended::Reload => {}
        }
        tracing::info!("starting over with the present enrolment and configuration");
    }
}

async fn run_managed(
    context: &Arc<Context>,
    registry: &Arc<Registry>,
    publish: &watch::Sender<StatusReport>,
    commands: &mut mpsc::Receiver<Asked>,
    stop: CancellationToken,
) -> Result<Ended, DaemonError> {
    let store = StateStore::open(&context.paths)?;
    let Some(enrollment) = store.enrollment()? else {
        return Ok(Ended::Reload);
    };
    let seat = match (&context.fleet_server, &enrollment.server) {
        (Some(component), Some(server)) => Some(FleetServerSeat {
            component: Arc::clone(component),
            server: server.clone(),
            agent_id: enrollment.agent_id.to_string(),
            version: context.build.version.clone(),
        }),
        _ => None,
    };
    let units = units(context, registry, enrollment.agent_id.as_str()).with_fleet_server(seat);
    let managed = Managed::start(Arc::clone(context), store, enrollment, publish.clone(), units)
        .await
        .map_err(DaemonError::Connection)?;
    Ok(managed.run(commands, stop).await)
}

fn units(context: &Arc<Context>, registry: &Arc<Registry>, agent_id: &str) -> Units {
    let host = Host::read();
    let build = BuildContext {
        agent: event_metadata(context, agent_id, &host),
        host: inputs::host::metadata(Utf8Path::new("/")),
        paths: InputPaths {
            home: context.paths.home().to_owned(),
            data: context.paths.data(),
            logs: context.paths.log_files(),
        },
        reloader: context.reloader.clone(),
    };
    let variables = variables(context, agent_id, &host);
    Units::new(Arc::clone(context), build, Arc::clone(registry), variables)
}

/// A configuration that names outputs and does not say `fleet.enabled: true`.
fn is_standalone(config: &Utf8Path) -> bool {
    let Ok((_, policy)) = read_config(config) else {
        return config.exists();
    };
    let fleet = policy.pointer("/fleet/enabled").and_then(serde_json::Value::as_bool) == Some(true);
    !fleet && policy.get("outputs").is_some()
}

async fn wait_for_enrollment(
    context: &Context,
    publish: &watch::Sender<StatusReport>,
    commands: &mut mpsc::Receiver<Asked>,
    stop: CancellationToken,
) -> Ended {
    let message =
        "Not enrolled, and no configuration with outputs: run `elastic-agent enroll`, or write elastic-agent.yml";
    publish.send_replace(StatusReport {
        info: info(context, ""),
        state: Health::Configuring,
        message: message.to_owned(),
        fleet_state: Health::Stopped,
        fleet_message: "Not enrolled into Fleet".to_owned(),
        ..StatusReport::default()
    });
    tracing::info!("{message}");
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ended::Stop,
            () = tokio::time::sleep(WAITING_POLL) => {
                if is_enrolled(&context.paths) || is_standalone(&context.config_file) {
                    return Ended::Reload;
                }
            }
            asked = commands.recv() => {
                let Some(asked) = asked else { return Ended::Stop };
                let ended = match asked.command {
                    Command::Reload | Command::Restart => Some(Ended::Reload),
                    Command::Replace => Some(Ended::Replace),
                    _ => None,
                };
                if asked.answer.send(Ok(json!({}))).is_err() {
                    tracing::debug!("a control client did not wait for its answer");
                }
                if let Some(ended) = ended {
                    return ended;
                }
            }
        }
    }
}

/// One agent a folder; the lock goes with the process, however it ends.
fn lock(paths: &Paths) -> Result<fs::File, DaemonError> {
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(paths.lock_file())?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => Err(DaemonError::AlreadyRunning {
            home: paths.home().to_owned(),
        }),
        Err(error) => Err(io::Error::from(error).into()),
    }
}
