//! Upgrades of a managed agent: started by an action, told to Fleet as they go, ended by handing over to the new program.

use protocol::{Action, UpgradeDetails, UpgradeState};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::actions::Done;
use crate::managed::Managed;
use crate::upgrade::{
    Downloads, Keys, Marker, Prepared, Source, UpgradeError, UpgradeRequest, WatchTimes, prepare, swap,
};

/// The vendor's site holds another program. Policies name it when nobody chose a source; then Fleet Server itself is one.
const VENDOR: &str = "//artifacts.elastic.co/";
const NOT_VERIFIED: &str = "the connection to Fleet Server is not verified (--insecure), so neither a program nor a key from there can be trusted; enroll this host with the CA, or upgrade it by hand";
/// Fleet Server keeps keys here, by version.
const KEY_PATH: &str = "/api/agents/upgrades";

/// An upgrade under way.
#[derive(Debug)]
pub(crate) struct UpgradeTask {
    progress: watch::Receiver<UpgradeDetails>,
    task: JoinHandle<Result<Prepared, UpgradeError>>,
}

impl Managed {
    /// Starts what an UPGRADE action asks for; the reason why it cannot be done is told in `upgrade_details`.
    pub(crate) async fn start_upgrade(&mut self, action: &Action) {
        let version = action.data.get("version").and_then(Value::as_str).unwrap_or_default();
        let requested = UpgradeDetails {
            target_version: version.to_owned(),
            action_id: action.id.clone(),
            state: UpgradeState::Requested,
            metadata: None,
        };
        if self.upgrade.is_some() {
            self.upgrade_failed(&requested, "another upgrade is under way");
            return;
        }
        let request = match self.upgrade_request(action, version).await {
            Ok(request) => request,
            Err(reason) => return self.upgrade_failed(&requested, &reason),
        };
        tracing::info!(version, "upgrading");
        self.state.upgrade = None;
        let (publish, progress) = watch::channel(requested);
        let paths = self.context.paths.clone();
        let task = tokio::spawn(async move { prepare(&paths, request, &publish).await });
        self.upgrade = Some(UpgradeTask { progress, task });
    }

    async fn upgrade_request(&self, action: &Action, version: &str) -> Result<UpgradeRequest, String> {
        if !self.context.paths.installed_marker().exists() {
            return Err(UpgradeError::NotInstalled(self.context.paths.home().to_owned()).to_string());
        }
        // What comes from Fleet Server is a program that will run as root here, or the key that vouches for one.
        if self.client.settings().is_unverified() {
            return Err(NOT_VERIFIED.to_owned());
        }
        let block = self.policy_value("/agent/download");
        let named = action.data.get("source_uri").and_then(Value::as_str);
        let source = named
            .or_else(|| block.get("sourceURI").and_then(Value::as_str))
            .filter(|source| !source.is_empty() && !source.contains(VENDOR));
        Ok(UpgradeRequest {
            version: version.to_owned(),
            action_id: action.id.clone(),
            source: source.map_or_else(|| Source::FleetServer(self.client.site()), Source::parse),
            downloads: Downloads::of_policy(&block),
            keys: match source {
                Some(_) => Some(self.fleet_keys(version).await?),
                None => None,
            },
        })
    }

    /// The key that Fleet Server vouches for, over the verified connection.
    async fn fleet_keys(&self, version: &str) -> Result<Keys, String> {
        let request = crate::fleet_client::FleetRequest {
            method: http::Method::GET,
            path: &format!("{KEY_PATH}/{version}/pgp-public-key"),
            api_key: Some(&self.enrollment.access_api_key),
            body: bytes::Bytes::new(),
            gzip: false,
            headers: Vec::new(),
            timeout: std::time::Duration::from_secs(30),
        };
        let file = self
            .client
            .send(request)
            .await
            .map_err(|error| format!("Fleet Server has no key to check the package with: {error}"))?;
        let mut keys = Keys::default();
        keys.add(&file).map_err(|error| error.to_string())?;
        Ok(keys)
    }

    /// Ends the upgrade that this action asked for, as long as it only fetches; what it left is cleared by the next one.
    pub(crate) fn abort_upgrade(&mut self, action_id: &str) -> Done {
        let Some(upgrade) = &self.upgrade else {
            return Done::default();
        };
        let at = upgrade.progress.borrow().clone();
        if at.action_id != action_id {
            return Done::default();
        }
        if !matches!(at.state, UpgradeState::Requested | UpgradeState::Downloading) {
            return Done::failed("the new version is being put in place; roll back when it runs");
        }
        tracing::info!(version = at.target_version, "the upgrade was taken back");
        upgrade.task.abort();
        self.upgrade = None;
        Done::default()
    }

    /// Whether a new version stands ready; then the link leads to it, and this process is to hand over.
    pub(crate) async fn upgrade_is_ready(&mut self) -> bool {
        if !self.upgrade_has_ended() {
            return false;
        }
        let Some(upgrade) = self.upgrade.take() else {
            return false;
        };
        let at = upgrade.progress.borrow().clone();
        match self.put_in_place(upgrade.task).await {
            Ok(()) => {
                tracing::info!(version = at.target_version, "handing over to the new version");
                true
            }
            Err(reason) => {
                self.upgrade_failed(&at, &reason);
                false
            }
        }
    }

    async fn put_in_place(&self, task: JoinHandle<Result<Prepared, UpgradeError>>) -> Result<(), String> {
        let broken = |error: tokio::task::JoinError| error.to_string();
        let prepared = task.await.map_err(broken)?.map_err(|error| error.to_string())?;
        let (paths, times) = (self.context.paths.clone(), self.watch_times());
        let swapped = tokio::task::spawn_blocking(move || swap(&paths, &prepared, times)).await;
        swapped.map_err(broken)?.map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Whether the task of the upgrade is done.
    pub(crate) fn upgrade_has_ended(&self) -> bool {
        self.upgrade.as_ref().is_some_and(|upgrade| upgrade.task.is_finished())
    }

    /// As check-ins tell it.
    pub(crate) fn upgrade_details(&self) -> Option<UpgradeDetails> {
        if let Some(upgrade) = &self.upgrade {
            return Some(upgrade.progress.borrow().clone());
        }
        // One that cannot be read was told at the start.
        let marker = Marker::read(&self.context.paths).ok().flatten();
        marker
            .map(|marker| marker.details())
            .or_else(|| self.state.upgrade.clone())
    }

    /// At start: an upgrade that was taken back is kept in the state, so that Fleet hears of it.
    pub(crate) fn take_up_upgrade(&mut self) {
        let marker = match Marker::read(&self.context.paths) {
            Ok(Some(marker)) => marker,
            Ok(None) => return,
            Err(error) => return self.trouble.push(error.to_string()),
        };
        if marker.rolled_back.is_none() {
            self.state.upgrade = None;
            self.save();
            return;
        }
        self.state.upgrade = Some(marker.details());
        self.save();
        if let Err(error) = Marker::remove(&self.context.paths) {
            tracing::warn!(%error, "the marker of the upgrade that was taken back cannot be removed");
        }
    }

    /// The times of the watchdog under the policy in force, over those of the local file.
    fn watch_times(&self) -> WatchTimes {
        let local = crate::standalone::read_config(&self.context.config_file).map(|(_, config)| config);
        let local = local.as_ref().map(WatchTimes::of_policy).unwrap_or_default();
        let policy = self.state.policy.as_ref().map(|policy| &policy.policy);
        policy.map_or(local, |policy| local.under(policy))
    }

    fn policy_value(&self, pointer: &str) -> Value {
        let policy = self.state.policy.as_ref();
        policy
            .and_then(|policy| policy.policy.pointer(pointer).cloned())
            .unwrap_or_default()
    }

    fn upgrade_failed(&mut self, at: &UpgradeDetails, reason: &str) {
        tracing::error!(
            version = at.target_version,
            reason,
            "the upgrade failed; this version goes on"
        );
        self.state.upgrade = Some(UpgradeDetails {
            state: UpgradeState::Failed,
            metadata: Some(json!({"failed_state": at.state, "error_msg": reason})),
            ..at.clone()
        });
        self.save();
    }
}
