//! `elastic-agent enroll`.

use std::io::IsTerminal;
use std::path::Path;

use agent::control::{Client, Command, ControlError};
use agent::{EnrollOptions, Enrolled, Paths};
use anyhow::{Context, Result, bail};
use camino::Utf8Path;
use fs_err as fs;

use super::arguments::{CommonArguments, EnrollArguments};
use super::join::Join;
use super::{fleet_server, log_output};
use crate::printer;

/// What stands in `elastic-agent.yml` of an agent that Fleet manages.
const FLEET_TEMPLATE: &str =
    "# This agent is managed by Fleet; its policy decides what it collects.\nfleet:\n  enabled: true\n";

pub(super) fn run(common: &CommonArguments, arguments: &EnrollArguments) -> Result<i32> {
    log_output::to_stderr(common);
    let join = Join::check(&arguments.join)?;
    let paths = common.paths();
    let membership = Membership::of(&join, &paths)?;
    if !arguments.join.force.unwrap_or(false) && !arguments.from_install && agent::is_enrolled(&paths) && !confirm()? {
        bail!("nothing was changed");
    }
    if arguments.join.delay_enroll == Some(true) {
        bail!("--delay-enroll is for `install`: it enrols at the service's first start");
    }
    super::block_on(async {
        let enrolled = membership.enroll(&join, paths.clone()).await?;
        keep_old_config(&paths.config().join(&common.config))?;
        let skip = arguments.join.skip_daemon_reload == Some(true) || arguments.from_install;
        tell(&enrolled, common, skip).await
    })
}

/// What a host is to join as.
pub(super) enum Membership {
    /// An agent of a Fleet Server elsewhere.
    Agent(Box<EnrollOptions>),
    /// An agent with a Fleet Server of its own.
    FleetServer,
}

impl Membership {
    /// # Errors
    /// An agent without URL or token; a Fleet Server finds its token in Elasticsearch.
    pub(super) fn of(join: &Join, paths: &Paths) -> Result<Self> {
        if join.has_fleet_server() {
            return Ok(Self::FleetServer);
        }
        Ok(Self::Agent(Box::new(join.options(paths.clone())?)))
    }

    /// `paths` must be those that it was made with.
    pub(super) async fn enroll(self, join: &Join, paths: Paths) -> Result<Enrolled> {
        match self {
            Self::Agent(options) => enroll(*options).await,
            Self::FleetServer => fleet_server::enroll(join, paths).await,
        }
    }
}

/// Enrols; the error is the agent's, with what to do in it.
pub(super) async fn enroll(options: EnrollOptions) -> Result<Enrolled> {
    let hosts = options.connection.hosts.join(", ");
    agent::enroll(options)
        .await
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(|| format!("cannot enroll at {hosts}"))
}

async fn tell(enrolled: &Enrolled, common: &CommonArguments, skip_daemon: bool) -> Result<i32> {
    for warning in &enrolled.warnings {
        printer::warning(warning);
    }
    let again = if enrolled.kept_id {
        " again, as the same agent"
    } else {
        ""
    };
    printer::line(format!(
        "Successfully enrolled{again}: agent {}, policy {}",
        enrolled.agent_id, enrolled.policy_id
    ));
    if skip_daemon {
        return Ok(0);
    }
    match Client::new(common.paths().socket()).ask(&Command::Reload).await {
        Ok(_) => printer::line("The running agent goes on with the new enrolment."),
        Err(ControlError::NotRunning { .. }) => printer::line(format!(
            "No agent runs here yet. Start it with: {}",
            start_command(common)
        )),
        Err(error) => printer::warning(format!("the running agent was not told ({error}); restart it")),
    }
    Ok(0)
}

/// Under the name under which this program was started.
fn start_command(common: &CommonArguments) -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let is_linked = Path::new(&program).file_name() == Some("elastic-agent".as_ref());
    let mut command = if is_linked {
        "elastic-agent run"
    } else {
        "flotilla agent run"
    }
    .to_owned();
    for (flag, value) in [
        ("--path.home", &common.home),
        ("--path.config", &common.config_dir),
        ("--path.logs", &common.logs),
    ] {
        if let Some(value) = value {
            command.extend([" ", flag, "=", value.as_str()]);
        }
    }
    command
}

/// A stand-alone configuration is kept beside, as `<file>.<time>.bak`.
fn keep_old_config(config: &Utf8Path) -> Result<()> {
    let old = fs::read_to_string(config).unwrap_or_default();
    if old == FLEET_TEMPLATE {
        return Ok(());
    }
    if !old.is_empty() {
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%S").to_string();
        fs::rename(config, format!("{config}.{time}.bak"))?;
    }
    certs::write_file_atomically(config, FLEET_TEMPLATE.as_bytes(), 0o600)?;
    Ok(())
}

fn confirm() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("this host is enrolled already; pass --force to replace the enrolment");
    }
    printer::text("This host is enrolled already. Replace the enrolment? [Y/n] ");
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes"))
}
