//! An agent that Fleet manages: the check-in loop.
//!
//! One task owns everything: it checks in, handles the actions of the answer (`actions`), publishes the health, and
//! answers the control socket in between. A change of health ends a waiting long poll, so that Fleet hears of it at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use event::{AgentMetadata, Variables};
use http::{Method, StatusCode};
use outputs::Backoff;
use protocol::{CheckinRequest, CheckinResponse, UpgradeReport, UpgradeState};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::control::{Asked, Command};
use crate::fleet_client::{ConnectionError, FleetClient, FleetError, FleetRequest};
use crate::host::{AgentFacts, Host};
use crate::redact::redact;
use crate::state::{AgentState, AppliedPolicy, Enrollment, StateStore};
use crate::status::{AgentInfo, Health, StatusReport, component_statuses, overall};
use crate::trial::{Probation, Refusal};
use crate::units::Units;
use crate::upgrading::UpgradeTask;

/// The server answers a long poll within about five minutes.
const CHECKIN_TIMEOUT: Duration = Duration::from_mins(10);
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_JITTER: Duration = Duration::from_millis(500);
/// A waiting long poll is not ended more often than this, however often units change.
const SHORTEST_POLL: Duration = Duration::from_secs(5);
/// Units that start or stop together are told together.
const SETTLE: Duration = Duration::from_millis(200);
/// The health is looked at this often even when no unit says that it changed.
const LOOK: Duration = Duration::from_secs(2);
/// A check-in that is not refused within this time is being held: the server has accepted it.
const HELD: Duration = Duration::from_secs(3);
/// How long a Fleet Server under this agent is waited for before the first check-in. Source: the original's default.
const LOCAL_SERVER_START: Duration = Duration::from_secs(30);
const LOCAL_SERVER_LOOK: Duration = Duration::from_millis(100);
const CONNECTED: &str = "Connected";
const RETRY_INIT: Duration = Duration::from_secs(4);
const RETRY_MAX: Duration = Duration::from_mins(10);
/// After so many refusals of the key in a row the agent asks once an hour. Source: the original's behaviour.
const KEY_REFUSALS: u32 = 7;
const KEY_REFUSED_WAIT: Duration = Duration::from_hours(1);
/// What outputs get to deliver the rest when the agent stops.
pub(crate) const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Why a mode of the daemon ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// The process is to end.
    Stop,
    /// Enrolment or configuration is to be read again.
    Reload,
    /// Another version of the program is to take over.
    Replace,
}

/// The managed agent. See the module.
#[derive(Debug)]
pub(crate) struct Managed {
    pub(crate) context: Arc<Context>,
    pub(crate) store: StateStore,
    pub(crate) enrollment: Enrollment,
    pub(crate) state: AgentState,
    pub(crate) client: FleetClient,
    pub(crate) units: Units,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) probation: Option<Probation>,
    /// Things that are wrong with the agent itself, by what they are about.
    pub(crate) trouble: Vec<String>,
    pub(crate) last_diagnostics: Option<Instant>,
    pub(crate) ended: Option<Ended>,
    /// The upgrade under way.
    pub(crate) upgrade: Option<UpgradeTask>,
    host: Host,
    fleet: (Health, String),
    key_refusals: u32,
    backoff: Backoff,
    publish: watch::Sender<StatusReport>,
}

impl Managed {
    /// Takes up where the agent left off: units of the stored policy start before Fleet is asked.
    pub(crate) async fn start(
        context: Arc<Context>,
        store: StateStore,
        enrollment: Enrollment,
        publish: watch::Sender<StatusReport>,
        units: Units,
    ) -> Result<Self, String> {
        let state = AgentState {
            enrollment: enrollment.stamp(),
            ..store.state(&enrollment)
        };
        let client = first_client(&enrollment, state.policy.as_ref(), &context)?;
        let probation = state.previous.as_ref().and_then(|previous| {
            Some(Probation {
                client: client_under(&enrollment, Some(previous), &context).ok()?,
                policy: Some(previous.clone()),
                failures: 0,
            })
        });
        let mut managed = Self {
            host: Host::read(),
            fleet: (Health::Starting, "Not connected yet".to_owned()),
            refusal: None,
            trouble: Vec::new(),
            last_diagnostics: None,
            ended: None,
            upgrade: None,
            key_refusals: 0,
            backoff: retry_backoff(&context),
            context,
            store,
            enrollment,
            state,
            client,
            units,
            probation,
            publish,
        };
        managed.context.reloader.watch(managed.client.tls());
        if let Some(probation) = &managed.probation {
            managed.context.reloader.watch(probation.client.tls());
        }
        managed.take_up_upgrade();
        managed.apply_log_level();
        managed.start_units().await;
        managed.publish();
        Ok(managed)
    }

    async fn start_units(&mut self) {
        if self.state.unenrolled_at.is_some() {
            return;
        }
        let Some(policy) = self.policy_to_start_with() else {
            return;
        };
        match self.units.plan(&policy) {
            Ok(model) => self.units.apply(model).await,
            Err(error) => self.trouble.push(format!("the stored policy cannot be run: {error}")),
        }
    }

    /// The stored policy. Without one only a Fleet Server runs: the first policy comes through it.
    fn policy_to_start_with(&self) -> Option<Value> {
        let stored = self.state.policy.as_ref().map(|policy| policy.policy.clone());
        stored.or_else(|| self.enrollment.server.is_some().then(|| json!({})))
    }

    /// Checks in until the process stops or starts over.
    pub(crate) async fn run(mut self, commands: &mut mpsc::Receiver<Asked>, stop: CancellationToken) -> Ended {
        let ended = self.check_in_until_ended(commands, &stop).await;
        let publish = self.publish.clone();
        publish.send_modify(|report| {
            report.state = Health::Stopping;
            "Stopping".clone_into(&mut report.message);
        });
        self.units.stop(STOP_DEADLINE).await;
        ended
    }

    async fn check_in_until_ended(&mut self, commands: &mut mpsc::Receiver<Asked>, stop: &CancellationToken) -> Ended {
        self.first_contact(stop).await;
        let mut wait = Duration::ZERO;
        loop {
            if let Some(ended) = self.wait(wait, commands, stop).await {
                return ended;
            }
            if self.upgrade_is_ready().await {
                return Ended::Replace;
            }
            if self.state.unenrolled_at.is_some() {
                wait = Duration::from_mins(5);
                continue;
            }
            self.flush_acks().await;
            self.run_scheduled_actions().await;
            let answer = match self.poll(commands, stop).await {
                Polled::Answered(answer) => answer,
                Polled::HealthChanged => {
                    wait = Duration::ZERO;
                    continue;
                }
                Polled::Ended(ended) => return ended,
            };
            wait = match answer {
                Ok(response) => self.answered(response).await,
                Err(error) => self.failed(&error).await,
            };
            self.publish();
            if let Some(ended) = self.ended.take() {
                return ended;
            }
        }
    }

    /// One check-in, held by the server until there is news.
    async fn poll(&mut self, commands: &mut mpsc::Receiver<Asked>, stop: &CancellationToken) -> Polled {
        let request = self.checkin_request();
        let (client, enrollment, reported) = (self.client.clone(), self.enrollment.clone(), self.told());
        let changed = self.units.changed();
        let asked_at = Instant::now();
        let checkin = send(&client, &enrollment, request);
        let held = is_held(&client, &enrollment);
        tokio::pin!(checkin, held);
        loop {
            let in_doubt = self.fleet.0 != Health::Healthy || self.fleet.1 != CONNECTED;
            tokio::select! {
                answer = &mut checkin => return Polled::Answered(answer),
                () = &mut held, if in_doubt => {
                    self.fleet = (Health::Healthy, CONNECTED.to_owned());
                    self.publish();
                }
                () = self.health_changed(&changed, &reported, asked_at) => return Polled::HealthChanged,
                () = stop.cancelled() => return Polled::Ended(Ended::Stop),
                asked = commands.recv() => {
                    let Some(asked) = asked else { return Polled::Ended(Ended::Stop) };
                    if let Some(ended) = self.command(asked).await {
                        return Polled::Ended(ended);
                    }
                }
            }
        }
    }

    /// Fleet's state is told before the first long poll comes back.
    async fn first_contact(&mut self, stop: &CancellationToken) {
        if let Some(at) = &self.state.unenrolled_at {
            self.fleet = (
                Health::Stopped,
                format!("Unenrolled from Fleet at {at}; enroll this host again to use it"),
            );
            self.publish();
            return;
        }
        let test = self.first_test();
        let tested = tokio::select! { tested = test => tested, () = stop.cancelled() => return };
        match tested {
            Ok(()) => self.fleet = (Health::Healthy, CONNECTED.to_owned()),
            Err(errors) => {
                let reasons: Vec<_> = errors.iter().map(ToString::to_string).collect();
                self.fleet = (Health::Degraded, reasons.join("; "));
            }
        }
        self.publish();
    }

    /// A Fleet Server under this agent gets the time that it needs to start.
    async fn first_test(&self) -> Result<(), Vec<FleetError>> {
        let patience = Instant::now() + LOCAL_SERVER_START;
        loop {
            let tested = self
                .client
                .test(&self.enrollment.access_api_key, Duration::from_secs(10))
                .await;
            if tested.is_ok() || self.enrollment.server.is_none() || Instant::now() > patience {
                return tested;
            }
            tokio::time::sleep(LOCAL_SERVER_LOOK).await;
        }
    }

    /// Waits, serving the control socket and publishing what changes.
    async fn wait(
        &mut self,
        wait: Duration,
        commands: &mut mpsc::Receiver<Asked>,
        stop: &CancellationToken,
    ) -> Option<Ended> {
        let until = tokio::time::Instant::now() + wait;
        let changed = self.units.changed();
        loop {
            if tokio::time::Instant::now() >= until {
                return stop.is_cancelled().then_some(Ended::Stop);
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => return None,
                () = changed.notified() => self.publish(),
                () = stop.cancelled() => return Some(Ended::Stop),
                asked = commands.recv() => {
                    let Some(asked) = asked else { return Some(Ended::Stop) };
                    let ended = self.command(asked).await;
                    if ended.is_some() {
                        return ended;
                    }
                }
            }
        }
    }

    /// Returns when Fleet should hear of a change of health; publishes all changes meanwhile.
    async fn health_changed(&self, changed: &Notify, reported: &Told, asked: Instant) {
        loop {
            // A change between two looks wakes nobody; the timeout catches it.
            let _elapsed = tokio::time::timeout(LOOK, changed.notified()).await;
            self.publish();
            if self.told() == *reported {
                continue;
            }
            let settled = SHORTEST_POLL.saturating_sub(asked.elapsed()).max(SETTLE);
            tokio::time::sleep(settled).await;
            self.publish();
            if self.told() != *reported {
                return;
            }
        }
    }

    async fn answered(&mut self, response: CheckinResponse) -> Duration {
        self.fleet = (Health::Healthy, CONNECTED.to_owned());
        self.backoff.reset();
        self.key_refusals = 0;
        if self.probation.take().is_some() {
            tracing::info!("the new connection settings work; probation is over");
            self.state.previous = None;
            self.save();
        }
        if !response.ack_token.is_empty() {
            self.state.ack_token = Some(response.ack_token.clone());
        }
        let actions = response.actions.unwrap_or_default();
        let only_refused = !actions.is_empty() && actions.iter().all(|action| self.is_refused(action));
        if only_refused {
            // The server sends a policy until it is taken; asking at full pace would load both for nothing.
            return self.refusal.as_ref().map_or(PAUSE, Refusal::wait).max(PAUSE);
        }
        self.dispatch(actions).await;
        self.save();
        match &self.refusal {
            Some(refusal) => refusal.wait().max(PAUSE),
            None => PAUSE + PAUSE_JITTER.mul_f64(rand::random::<f64>()),
        }
    }

    async fn failed(&mut self, error: &FleetError) -> Duration {
        tracing::warn!(error = %error, "check-in failed");
        let wait = self.backoff.next_wait();
        self.fleet = (
            Health::Degraded,
            format!("{error}; next attempt in {} s", wait.as_secs().max(1)),
        );
        if error.is_busy() {
            self.fleet = (
                Health::Healthy,
                format!("Fleet Server is busy; next attempt in {} s", wait.as_secs().max(1)),
            );
            return wait;
        }
        if self.probation.as_mut().is_some_and(Probation::failed)
            && let Some(probation) = self.probation.take()
        {
            self.take_back(probation, error).await;
            return PAUSE;
        }
        if error.status() == Some(StatusCode::UNAUTHORIZED) {
            self.key_refusals += 1;
            if self.key_refusals >= KEY_REFUSALS {
                let message = "Fleet no longer accepts this agent's key: it was unenrolled or its key revoked; enroll this host again";
                self.fleet = (Health::Failed, message.to_owned());
                return KEY_REFUSED_WAIT;
            }
        } else {
            self.key_refusals = 0;
        }
        wait
    }

    async fn command(&mut self, asked: Asked) -> Option<Ended> {
        let (answer, ended) = match asked.command {
            Command::Reload | Command::Restart => (Ok(json!({"restarting": true})), Some(Ended::Reload)),
            Command::Replace => (Ok(json!({"restarting": true})), Some(Ended::Replace)),
            Command::Status => (
                serde_json::to_value(self.report()).map_err(|error| error.to_string()),
                None,
            ),
            Command::Inspect => (Ok(self.inspect()), None),
            Command::Stats => (Ok(self.units.stats()), None),
            Command::Diagnostics => (
                self.diagnostics().await.map(|bytes| {
                    use base64::Engine;
                    json!({"zip": base64::engine::general_purpose::STANDARD.encode(bytes)})
                }),
                None,
            ),
        };
        if asked.answer.send(answer).is_err() {
            tracing::debug!("a control client did not wait for its answer");
        }
        ended
    }

    /// The effective configuration, secrets masked.
    pub(crate) fn inspect(&self) -> Value {
        let mut policy = self
            .state
            .policy
            .as_ref()
            .map_or_else(|| json!({}), |policy| policy.policy.clone());
        let block = policy.get("fleet").cloned().unwrap_or_default();
        let sources = self.enrollment.connection.sources(&block);
        let effective = self.client.settings();
        if let Value::Object(map) = &mut policy {
            let agent = map.entry("agent").or_insert_with(|| json!({}));
            agent["id"] = json!(self.enrollment.agent_id);
            let mut fleet = json!(effective);
            fleet["enabled"] = json!(true);
            fleet["access_api_key"] = json!("secret");
            fleet["sources"] = json!(sources);
            map.insert("fleet".to_owned(), fleet);
        }
        redact(&mut policy);
        policy
    }

    pub(crate) fn save(&mut self) {
        if let Err(error) = self.store.store_state(&self.state) {
            tracing::error!(error = %error, "cannot store the agent's state; it goes on with what it has in memory");
        }
    }

    /// What Fleet should hear of at once when it changes.
    fn told(&self) -> Told {
        let upgrade = self.upgrade_details().map(|details| details.state);
        (self.overall(), upgrade, self.upgrade_has_ended())
    }

    fn overall(&self) -> (Health, String) {
        if let Some(at) = &self.state.unenrolled_at {
            return (Health::Stopped, format!("Unenrolled at {at}"));
        }
        let mut trouble = self.trouble.clone();
        trouble.extend(self.refusal.as_ref().map(|refusal| refusal.message.clone()));
        if self.state.policy.is_none() && trouble.is_empty() {
            return (Health::Starting, "Waiting for the first policy".to_owned());
        }
        overall(&self.units.components(), &trouble)
    }

    fn report(&self) -> StatusReport {
        let (state, message) = self.overall();
        let build = &self.context.build;
        StatusReport {
            info: AgentInfo {
                id: self.enrollment.agent_id.to_string(),
                version: build.version.clone(),
                commit: build.commit.clone(),
                build_time: build.time.clone(),
                snapshot: build.snapshot,
                pid: std::process::id(),
                unprivileged: !rustix::process::geteuid().is_root(),
                is_managed: true,
            },
            state,
            message,
            components: component_statuses(&self.units.components()),
            fleet_state: self.fleet.0,
            fleet_message: self.fleet.1.clone(),
            upgrade_details: self.upgrade_details(),
        }
    }

    fn publish(&self) {
        self.publish.send_replace(self.report());
    }

    pub(crate) fn apply_log_level(&self) {
        let of_policy = || {
            self.state
                .policy
                .as_ref()?
                .policy
                .pointer("/agent/logging/level")?
                .as_str()
        };
        let level = self.state.log_level.as_deref().or_else(of_policy).unwrap_or("info");
        if let Some(set) = &self.context.set_log_level {
            set(level);
        }
    }

    fn log_level(&self) -> &str {
        self.state.log_level.as_deref().unwrap_or("info")
    }

    fn checkin_request(&self) -> CheckinRequest {
        let (health, message) = self.overall();
        let build = &self.context.build;
        let facts = AgentFacts {
            id: self.enrollment.agent_id.as_str(),
            version: &build.version,
            snapshot: build.snapshot,
            build: &build.original(),
            upgradeable: self.context.paths.installed_marker().exists(),
            log_level: self.log_level(),
            unprivileged: !rustix::process::geteuid().is_root(),
        };
        let mut metadata = self.host.metadata(&facts);
        // Whoever watches a fleet must see which agents do not verify their server.
        if self.client.settings().is_unverified() {
            metadata["elastic"]["agent"]["insecure"] = json!(true);
        }
        let policy = self.state.policy.as_ref();
        CheckinRequest {
            status: health.checkin_status().to_owned(),
            message,
            ack_token: self.state.ack_token.clone(),
            local_metadata: to_raw_value(&metadata).ok(),
            components: to_raw_value(&self.units.components()).ok(),
            poll_timeout: None,
            agent_policy_id: policy.map(|policy| policy.id.clone()),
            policy_revision_idx: policy.map(|policy| policy.revision),
            upgrade_details: self.upgrade_details().and_then(|details| to_raw_value(&details).ok()),
            upgrade: Some(UpgradeReport::default()),
        }
    }
}

fn client_under(
    enrollment: &Enrollment,
    policy: Option<&AppliedPolicy>,
    context: &Context,
) -> Result<FleetClient, ConnectionError> {
    let block = policy
        .and_then(|policy| policy.policy.get("fleet"))
        .unwrap_or(&Value::Null);
    FleetClient::new(&enrollment.connection_under_policy(block), &context.build.version)
}

/// Settings of the policy whose files are gone must not cost the connection: those of the enrolment are left.
fn first_client(
    enrollment: &Enrollment,
    policy: Option<&AppliedPolicy>,
    context: &Context,
) -> Result<FleetClient, String> {
    client_under(enrollment, policy, context)
        .or_else(|error| {
            tracing::warn!(error = %error, "the policy's connection settings cannot be used; going back to the enrolment's");
            client_under(enrollment, None, context)
        })
        .map_err(|error| error.to_string())
}

/// The metadata of events, for an agent with this id.
pub(crate) fn event_metadata(context: &Context, id: &str, host: &Host) -> AgentMetadata {
    AgentMetadata {
        id: id.to_owned(),
        ephemeral_id: uuid::Uuid::new_v4().to_string(),
        name: host.hostname.clone(),
        version: context.build.version.clone(),
        snapshot: context.build.snapshot,
    }
}

/// What the context providers know. Source: agent policy reference, section 5.
pub(crate) fn variables(context: &Context, id: &str, host: &Host) -> Variables {
    let build = &context.build;
    let (platform, family, version) = host.os();
    let environment: serde_json::Map<String, Value> = context
        .environment
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let paths = &context.paths;
    Variables::new()
        .with("env", Value::Object(environment))
        .with("agent", json!({
            "id": id,
            "unprivileged": !rustix::process::geteuid().is_root(),
            "version": {"version": build.version, "commit": build.commit, "build_time": build.time, "snapshot": build.snapshot},
        }))
        .with("host", json!({
            "id": host.machine_id,
            "name": host.hostname.to_lowercase(),
            "platform": "linux",
            "architecture": host.architecture,
            "ip": host.ips(),
            "mac": host.macs(),
            "os_family": family,
            "os_platform": platform,
            "os_version": version,
        }))
        .with("path", json!({
            "home": paths.home(), "data": paths.data(), "config": paths.config(), "logs": paths.log_files(),
        }))
        .with("runtime", json!({"os": "linux", "arch": host.architecture}))
}

/// `fleet.checkin.request_backoff_init` and `_max` of the local file, else the defaults.
fn retry_backoff(context: &Context) -> Backoff {
    let config = crate::standalone::read_config(&context.config_file)
        .map(|(_, config)| config)
        .unwrap_or_default();
    let setting = |key: &str| {
        let value = config.pointer("/fleet/checkin")?.get(key)?;
        settings::parse_duration(value.as_str()?)
    };
    let init = setting("request_backoff_init").unwrap_or(RETRY_INIT);
    Backoff::new(init, setting("request_backoff_max").unwrap_or(RETRY_MAX))
}

/// Health, upgrade, and whether the upgrade is at its end.
type Told = ((Health, String), Option<UpgradeState>, bool);

/// How one check-in ended.
enum Polled {
    Answered(Result<CheckinResponse, FleetError>),
    HealthChanged,
    Ended(Ended),
}

/// Returns when the server lives and the check-in that was sent before is not refused; else never.
async fn is_held(client: &FleetClient, enrollment: &Enrollment) {
    loop {
        tokio::time::sleep(HELD).await;
        if client.test(&enrollment.access_api_key, HELD).await.is_ok() {
            return;
        }
    }
}

async fn send(
    client: &FleetClient,
    enrollment: &Enrollment,
    request: CheckinRequest,
) -> Result<CheckinResponse, FleetError> {
    let body: Bytes = serde_json::to_vec(&request).unwrap_or_default().into();
    let request = FleetRequest {
        method: Method::POST,
        path: &protocol::checkin_path(&enrollment.agent_id),
        api_key: Some(&enrollment.access_api_key),
        body,
        gzip: true,
        headers: Vec::new(),
        timeout: CHECKIN_TIMEOUT,
    };
    let answer = client.send(request).await?;
    serde_json::from_slice(&answer).map_err(|error| FleetError::Unreadable {
        host: client.settings().hosts.join(", "),
        error,
    })
}
