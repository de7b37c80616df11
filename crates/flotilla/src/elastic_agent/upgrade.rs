//! `elastic-agent upgrade` and `watch`, and the hand-over to a new version.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::Command;

use agent::Paths;
use agent::control::{Client, Command as Ask};
use agent::upgrade::{
    Downloads, Keys, Marker, Outcome, Prepared, Source, UpgradeRequest, WatchTimes, prepare, roll_back, swap, watch,
};
use anyhow::{Context, Result, bail, ensure};
use camino::Utf8Path;
use protocol::{UpgradeDetails, UpgradeState};
use serde_json::Value;

use super::arguments::{CommonArguments, UpgradeArguments};
use super::log_output;
use super::service::{self, Service};
use crate::printer::{self, Hint};

/// The largest key file, bytes.
const LARGEST_KEY: usize = 1024 * 1024;

pub(super) fn run(common: &CommonArguments, arguments: &UpgradeArguments) -> Result<i32> {
    log_output::to_stderr(common);
    let paths = common.paths();
    ensure!(
        paths.installed_marker().exists(),
        "no agent is installed in `{}`; `upgrade` replaces an installed one",
        paths.home()
    );
    if arguments.rollback {
        return by_hand_back(&paths);
    }
    if agent::is_enrolled(&paths) && !arguments.force {
        return Err(Hint::error(
            "this agent is managed by Fleet, so Fleet decides on its version",
            "upgrade it there (`flotilla fleet agents upgrade`), or pass --force",
        ));
    }
    let Some(version) = &arguments.version else {
        bail!("name the version to go to, as `elastic-agent upgrade 9.6.1`");
    };
    super::block_on(async {
        let config = local_config(common, &paths);
        let request = request(arguments, version, &config).await?;
        let prepared = prepare_telling(&paths, request).await?;
        swap(&paths, &prepared, WatchTimes::of_policy(&config))?;
        let client = Client::new(paths.socket());
        if client.ask(&Ask::Replace).await.is_ok() {
            printer::line(format!(
                "{version} takes over now; it is watched, and taken back when it does not work."
            ));
        } else {
            // Nothing runs that could fail: its first start is its probation.
            printer::line(format!(
                "{version} is in place; no agent runs here, start it with the service."
            ));
        }
        Ok(0)
    })
}

/// Prepares, and says on standard error how far it is.
async fn prepare_telling(paths: &Paths, request: UpgradeRequest) -> Result<Prepared> {
    let (progress, mut told) = tokio::sync::watch::channel(UpgradeDetails {
        target_version: request.version.clone(),
        action_id: String::new(),
        state: UpgradeState::Requested,
        metadata: None,
    });
    let telling = tokio::spawn(async move {
        while told.changed().await.is_ok() {
            tell(&told.borrow_and_update());
        }
    });
    let prepared = prepare(paths, request, &progress).await;
    drop(progress);
    telling.await.context("the progress could not be told")?;
    Ok(prepared?)
}

/// `upgrade --rollback`.
fn by_hand_back(paths: &Paths) -> Result<i32> {
    ensure!(
        Marker::on_probation(paths)?.is_some(),
        "no upgrade is on probation, so there is nothing to go back to"
    );
    roll_back(paths, "asked for by hand")?;
    super::block_on(async {
        let told = Client::new(paths.socket()).ask(&Ask::Replace).await;
        if told.is_err() {
            printer::note("no agent runs here; the version before starts with the service");
        }
        Ok(())
    })?;
    printer::line("The version before is in place again.");
    Ok(0)
}

fn tell(details: &UpgradeDetails) {
    let percent = details
        .metadata
        .as_ref()
        .and_then(|metadata| metadata["download_percent"].as_f64());
    let word = match details.state {
        UpgradeState::Downloading => "fetching the package",
        UpgradeState::Extracting => "checking and unpacking",
        UpgradeState::Replacing => "putting it in place",
        _ => return,
    };
    match percent {
        Some(part) => printer::note(format!("  {word} .. {:.0} %", part * 100.0)),
        None => printer::note(format!("  {word} ..")),
    }
}

fn local_config(common: &CommonArguments, paths: &Paths) -> Value {
    let read = agent::read_config(&paths.config().join(&common.config));
    read.map(|(_, config)| config).unwrap_or_default()
}

async fn request(arguments: &UpgradeArguments, version: &str, config: &Value) -> Result<UpgradeRequest> {
    let block = config.pointer("/agent/download").cloned().unwrap_or_default();
    let source = arguments
        .source_uri
        .as_deref()
        .or_else(|| block.get("sourceURI").and_then(Value::as_str))
        .ok_or_else(|| {
            Hint::error(
                "no download source is known",
                "name a folder, a package or a site with `--source-uri`; nothing is fetched from the internet unasked",
            )
        })?;
    let downloads = Downloads::of_policy(&block);
    let keys = if arguments.skip_verify {
        printer::warning("the package's signature is not checked (--skip-verify)");
        None
    } else {
        Some(keys(arguments, &downloads).await?)
    };
    Ok(UpgradeRequest {
        version: version.to_owned(),
        action_id: String::new(),
        source: Source::parse(source),
        downloads,
        keys,
    })
}

/// The keys that the flags name.
async fn keys(arguments: &UpgradeArguments, downloads: &Downloads) -> Result<Keys> {
    let mut keys = Keys::default();
    for text in &arguments.pgp {
        keys.add(text.as_bytes()).context("cannot use what `--pgp` gives")?;
    }
    for path in &arguments.pgp_path {
        let file = read_key(path).context("cannot read what `--pgp-path` names")?;
        keys.add(&file)
            .with_context(|| format!("cannot use `{path}`, named by `--pgp-path`"))?;
    }
    for url in &arguments.pgp_uri {
        ensure!(
            url.starts_with("https://"),
            "`--pgp-uri {url}`: a key must come over https, else whoever sits in between chooses it"
        );
        let request = http::Request::get(url.as_str()).body(bytes::Bytes::new())?;
        let answer = downloads.client()?.send(request).await?;
        ensure!(
            answer.status().is_success(),
            "`{url}`, named by `--pgp-uri`, answered {}",
            answer.status()
        );
        let file = transport::read_body(answer.into_body(), LARGEST_KEY).await?;
        keys.add(&file)
            .with_context(|| format!("cannot use `{url}`, named by `--pgp-uri`"))?;
    }
    Ok(keys)
}

fn read_key(path: &Utf8Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs_err::File::open(path)?
        .take(LARGEST_KEY as u64)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `watch`: the watchdog over a new version.
pub(super) fn run_watch(common: &CommonArguments) -> Result<i32> {
    log_output::to_stderr(common);
    let paths = common.paths();
    let namespace = paths.home().file_name().and_then(|name| name.strip_prefix("Agent-"));
    let service = Service::new(namespace);
    let restart = || {
        let restarted = if Service::manager_runs() && service.unit_file().exists() {
            service::run("systemctl", &["restart", service.name()])
        } else {
            // Whoever started the agent starts the one before when this one ends.
            Ok(())
        };
        if let Err(error) = restarted {
            tracing::error!(error = format!("{error:#}"), "the service could not be started anew");
        }
    };
    match super::block_on(async { Ok(watch(&paths, restart).await?) })? {
        Outcome::Nothing => tracing::info!("no upgrade is on probation"),
        Outcome::Kept => tracing::info!("the new version stays"),
        Outcome::RolledBack(reason) => tracing::warn!(reason, "the version before is in place again"),
    }
    Ok(0)
}

/// A watchdog that ended before its time, with the host for one, is started again; one that runs goes on alone.
pub(super) fn resume_watchdog(paths: &Paths) {
    let started = match Marker::on_probation(paths) {
        Ok(None) => return,
        Ok(Some(marker)) => start_watchdog(paths, &marker.previous_home.join("elastic-agent")),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = started {
        tracing::error!(
            error = format!("{error:#}"),
            "this version is on probation, and nobody watches it"
        );
    }
}

/// Starts the watchdog, which is of the version that is known to work, and becomes the program that the link leads to.
/// Returns only when that is impossible.
pub(super) fn hand_over(paths: &Paths) -> anyhow::Error {
    let link = paths.home().join("elastic-agent");
    let marker = match Marker::on_probation(paths) {
        Ok(marker) => marker,
        Err(error) => return error.into(),
    };
    if let Some(marker) = &marker
        && let Err(error) = start_watchdog(paths, &marker.previous_home.join("elastic-agent"))
    {
        return error.context("a new version is not started without its watchdog");
    }
    let error = Command::new(&link).args(std::env::args_os().skip(1)).exec();
    let failed = anyhow::Error::from(error).context(format!("cannot start `{link}`"));
    if marker.is_none() {
        return failed;
    }
    // The old program goes on, without a gap.
    if let Err(error) = roll_back(paths, &format!("{failed:#}")) {
        return failed.context(format!("{error}, and the version before it cannot be put back"));
    }
    let error = Command::new(&link).args(std::env::args_os().skip(1)).exec();
    failed.context(format!("cannot start the version before it either: {error}"))
}

fn start_watchdog(paths: &Paths, program: &Utf8Path) -> Result<()> {
    Command::new(program)
        .args(["watch", "--path.home", paths.home().as_str()])
        .args(["--path.config", paths.config().as_str()])
        .args(["--path.socket", paths.socket().as_str()])
        .stdin(std::process::Stdio::null())
        // Signals for the agent are not for its watchdog.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start the watchdog `{program} watch`"))?;
    Ok(())
}
