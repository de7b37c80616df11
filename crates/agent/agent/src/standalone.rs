//! An agent that a file tells what to do: `elastic-agent.yml` and `inputs.d/*.yml` beside it, read again when they change.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::control::{Asked, Command};
use crate::managed::{Ended, STOP_DEADLINE};
use crate::redact::redact;
use crate::status::{AgentInfo, Health, StatusReport, component_statuses, overall};
use crate::units::Units;

/// Default of `agent.reload.period`.
const RELOAD_PERIOD: Duration = Duration::from_secs(10);
const SHORTEST_RELOAD_PERIOD: Duration = Duration::from_millis(100);
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// A stand-alone agent.
#[derive(Debug)]
pub(crate) struct Standalone {
    context: Arc<Context>,
    units: Units,
    publish: watch::Sender<StatusReport>,
    loaded: Option<Loaded>,
    trouble: Vec<String>,
}

#[derive(Debug)]
struct Loaded {
    hash: [u8; 32],
    policy: Value,
}

impl Standalone {
    pub(crate) fn new(context: Arc<Context>, units: Units, publish: watch::Sender<StatusReport>) -> Self {
        Self {
            context,
            units,
            publish,
            loaded: None,
            trouble: Vec::new(),
        }
    }

    /// Runs what the files say until the process stops or starts over.
    pub(crate) async fn run(mut self, commands: &mut mpsc::Receiver<Asked>, stop: CancellationToken) -> Ended {
        let changed = self.units.changed();
        self.reload().await;
        self.publish.send_replace(self.report());
        let mut due = tokio::time::Instant::now() + self.reload_period();
        let ended = loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {
                    self.reload().await;
                    due = tokio::time::Instant::now() + self.reload_period();
                }
                () = changed.notified() => {}
                () = stop.cancelled() => break Ended::Stop,
                asked = commands.recv() => {
                    let Some(asked) = asked else { break Ended::Stop };
                    if let Some(ended) = self.command(asked) {
                        break ended;
                    }
                }
            }
            self.publish.send_replace(self.report());
        };
        self.units.stop(STOP_DEADLINE).await;
        ended
    }

    /// Takes the files when they changed; broken ones leave what runs alone.
    async fn reload(&mut self) {
        let (hash, policy) = match read_config(&self.context.config_file) {
            Ok(read) => read,
            Err(error) => return self.keep(error.to_string()),
        };
        if self.loaded.as_ref().is_some_and(|loaded| loaded.hash == hash) {
            self.trouble.clear();
            return;
        }
        match self.units.plan(&policy) {
            Err(error) => self.keep(error.to_string()),
            Ok(model) => {
                tracing::info!(file = %self.context.config_file, "configuration taken");
                self.set_log_level(&policy);
                self.units.apply(model).await;
                self.loaded = Some(Loaded { hash, policy });
                self.trouble.clear();
            }
        }
    }

    fn reload_period(&self) -> Duration {
        let text = self
            .loaded
            .as_ref()
            .and_then(|loaded| loaded.policy.pointer("/agent/reload/period")?.as_str());
        let period = text.and_then(settings::parse_duration).unwrap_or(RELOAD_PERIOD);
        period.max(SHORTEST_RELOAD_PERIOD)
    }

    fn keep(&mut self, error: String) {
        let message = format!(
            "{}: {error}; running with what was read before",
            self.context.config_file
        );
        if self.trouble.first() != Some(&message) {
            tracing::error!(error, "the configuration cannot be used");
        }
        self.trouble = vec![message];
    }

    fn set_log_level(&self, policy: &Value) {
        let level = policy
            .pointer("/agent/logging/level")
            .and_then(Value::as_str)
            .unwrap_or("info");
        if let Some(set) = &self.context.set_log_level {
            set(level);
        }
    }

    fn command(&self, asked: Asked) -> Option<Ended> {
        let (answer, ended) = match asked.command {
            Command::Reload | Command::Restart => (Ok(json!({"restarting": true})), Some(Ended::Reload)),
            Command::Replace => (Ok(json!({"restarting": true})), Some(Ended::Replace)),
            Command::Status => (
                serde_json::to_value(self.report()).map_err(|error| error.to_string()),
                None,
            ),
            Command::Inspect => {
                let mut policy = self
                    .loaded
                    .as_ref()
                    .map(|loaded| loaded.policy.clone())
                    .unwrap_or_default();
                redact(&mut policy);
                (Ok(policy), None)
            }
            Command::Diagnostics => (self.diagnostics(), None),
            Command::Stats => (Ok(self.units.stats()), None),
        };
        if asked.answer.send(answer).is_err() {
            tracing::debug!("a control client did not wait for its answer");
        }
        ended
    }

    fn diagnostics(&self) -> Result<Value, String> {
        use base64::Engine;
        let mut policy = self
            .loaded
            .as_ref()
            .map(|loaded| loaded.policy.clone())
            .unwrap_or_default();
        redact(&mut policy);
        let files = vec![
            (
                "components-actual.yaml".to_owned(),
                settings::to_yaml(&json!({"components": self.units.components()})),
            ),
            ("computed-config.yaml".to_owned(), settings::to_yaml(&policy)),
            ("outputs.json".to_owned(), self.units.output_facts().to_string()),
        ];
        let zip = crate::diagnostics::archive(&self.context, files).map_err(|error| error.to_string())?;
        Ok(json!({"zip": base64::engine::general_purpose::STANDARD.encode(zip)}))
    }

    fn report(&self) -> StatusReport {
        let components = self.units.components();
        let (state, message) = overall(&components, &self.trouble);
        StatusReport {
            info: info(&self.context, ""),
            state,
            message,
            components: component_statuses(&components),
            fleet_state: Health::Stopped,
            fleet_message: "Not enrolled into Fleet".to_owned(),
            upgrade_details: None,
        }
    }
}

/// `info` of an agent without Fleet.
pub(crate) fn info(context: &Context, id: &str) -> AgentInfo {
    AgentInfo {
        id: id.to_owned(),
        version: context.build.version.clone(),
        commit: context.build.commit.clone(),
        build_time: context.build.time.clone(),
        snapshot: context.build.snapshot,
        pid: std::process::id(),
        unprivileged: !rustix::process::geteuid().is_root(),
        is_managed: false,
    }
}

/// Why the configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A file is not what it should be.
    #[error(transparent)]
    Settings(#[from] settings::SettingsError),
}

/// The configuration with the inputs of `inputs.d/*.yml` added, and a hash of all files. `output` and `queue` of old
/// files are not looked at.
///
/// # Errors
/// A file cannot be read or is not valid YAML; the error names it.
pub fn read_config(path: &Utf8Path) -> Result<([u8; 32], Value), ConfigError> {
    let mut hash = Sha256::new();
    let mut policy = read_file(path, &mut hash)?;
    for extra in extra_files(path)? {
        let more = read_file(&extra, &mut hash)?;
        let Some(Value::Array(more)) = more.get("inputs") else {
            continue;
        };
        if let Value::Object(map) = &mut policy
            && let Value::Array(inputs) = map.entry("inputs").or_insert_with(|| json!([]))
        {
            inputs.extend(more.iter().cloned());
        }
    }
    Ok((hash.finalize().into(), policy))
}

fn read_file(path: &Utf8Path, hash: &mut Sha256) -> Result<Value, ConfigError> {
    use std::io::Read;
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    hash.update(text.as_bytes());
    hash.update([0]);
    Ok(settings::from_yaml(path.as_str(), &text)?)
}

fn extra_files(path: &Utf8Path) -> io::Result<Vec<Utf8PathBuf>> {
    let directory = path.with_file_name("inputs.d");
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(&directory)? {
        if let Ok(path) = Utf8PathBuf::from_path_buf(entry?.path())
            && path.extension() == Some("yml")
        {
            files.insert(path);
        }
    }
    Ok(files.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_inputs_are_added_and_any_change_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("elastic-agent.yml")).unwrap();
        fs::write(
            &path,
            "outputs.default.type: console\ninputs:\n  - {type: log, id: a}\n",
        )
        .unwrap();
        fs::create_dir(path.with_file_name("inputs.d")).unwrap();
        fs::write(
            path.with_file_name("inputs.d").join("b.yml"),
            "inputs:\n  - {type: log, id: b}\n",
        )
        .unwrap();
        let (first, policy) = read_config(&path).unwrap();
        assert_eq!(policy["outputs"]["default"]["type"], "console");
        assert_eq!(policy["inputs"].as_array().unwrap().len(), 2);
        fs::write(path.with_file_name("inputs.d").join("b.yml"), "inputs: []\n").unwrap();
        assert_ne!(read_config(&path).unwrap().0, first);
        fs::write(&path, "inputs: [").unwrap();
        assert!(
            read_config(&path)
                .unwrap_err()
                .to_string()
                .contains("elastic-agent.yml")
        );
    }
}
