//! What an agent is told to do, and how it says that it did.
//!
//! Source of types, effects and acknowledgements: the original's actions and the recorded requests. Mended: an action
//! that cannot be done is acknowledged with its error, instead of being dropped in silence.

use std::time::{Duration, Instant};

use http::Method;
use protocol::{
    AckEvent, AckRequest, AckResponse, Action, ActionType, AuditUnenrollReason, PolicyActionId, UpgradeDetails,
    UpgradeState,
};
use secret::Secret;
use serde_json::{Value, json};

use crate::connection::ConnectionSettings;
use crate::diagnostics;
use crate::enroll::{EnrollOptions, enroll_leaving};
use crate::fleet_client::{FleetError, FleetRequest};
use crate::managed::{Ended, Managed};
use crate::state::AppliedPolicy;
use crate::trial::{Probation, Refusal, try_connection};

const ACK_TIMEOUT: Duration = Duration::from_mins(1);
const DIAGNOSTICS_INTERVAL: Duration = Duration::from_mins(1);
const LOG_LEVELS: [&str; 6] = ["trace", "debug", "info", "warning", "warn", "error"];
/// Acknowledgements that wait for a server that is away; the oldest go first.
const MAX_UNSENT_ACKS: usize = 1000;

/// What became of an action.
#[derive(Debug, Default)]
pub(crate) struct Done {
    error: Option<String>,
    data: Option<Value>,
    input: Option<(Value, String)>,
}

impl Done {
    pub(crate) fn failed(error: impl Into<String>) -> Self {
        Self {
            error: Some(error.into()),
            ..Self::default()
        }
    }
}

impl Managed {
    /// Whether the action brings a policy that was refused and is not due for another try.
    pub(crate) fn is_refused(&self, action: &Action) -> bool {
        let Some(policy) = action.data.get("policy") else {
            return false;
        };
        action.action_type == ActionType::PolicyChange
            && self.refusal.as_ref().is_some_and(|refusal| refusal.covers(policy))
    }

    /// Does what Fleet asks, in order.
    pub(crate) async fn dispatch(&mut self, actions: Vec<Action>) {
        for action in actions {
            if self.is_refused(&action) {
                continue;
            }
            if self.is_for_later(&action) {
                self.schedule(action);
                continue;
            }
            self.handle(action).await;
            self.flush_acks().await;
        }
    }

    /// Does the scheduled actions whose time has come.
    pub(crate) async fn run_scheduled_actions(&mut self) {
        let scheduled = std::mem::take(&mut self.state.scheduled);
        if scheduled.is_empty() {
            return;
        }
        let (later, due): (Vec<_>, Vec<_>) = scheduled.into_iter().partition(|action| self.is_for_later(action));
        self.state.scheduled = later;
        for action in due {
            self.handle(action).await;
        }
        self.save();
    }

    fn is_for_later(&self, action: &Action) -> bool {
        let start: Option<jiff::Timestamp> = action.start_time.as_deref().and_then(|time| time.parse().ok());
        start.is_some_and(|start| start > self.context.clock.now())
    }

    fn schedule(&mut self, action: Action) {
        if action.action_type == ActionType::Upgrade {
            let at = action.start_time.clone().unwrap_or_default();
            self.state.upgrade = Some(UpgradeDetails {
                target_version: text(&action.data, "version"),
                action_id: action.id.clone(),
                state: UpgradeState::Scheduled,
                metadata: Some(json!({"scheduled_at": at})),
            });
        }
        self.state.scheduled.retain(|known| known.id != action.id);
        self.state.scheduled.push(action);
        self.save();
    }

    async fn handle(&mut self, action: Action) {
        tracing::info!(action.id = %action.id, action.kind = %action.action_type, "action");
        let expires: Option<jiff::Timestamp> = action.expiration.as_deref().and_then(|time| time.parse().ok());
        if expires.is_some_and(|expires| expires < self.context.clock.now()) {
            self.acknowledge(&action, Done::failed("the action had expired when it arrived"));
            return;
        }
        let done = match &action.action_type {
            ActionType::PolicyChange => match self.policy_change(&action).await {
                Ok(()) => Done::default(),
                // Not acknowledged: the server sends it again, and it is tried again.
                Err(message) => return self.refuse(&action, message),
            },
            ActionType::PolicyReassign => Done::default(),
            ActionType::Settings => self.settings(&action),
            ActionType::Unenroll => return self.unenroll(&action).await,
            ActionType::Cancel => self.cancel(&action),
            ActionType::InputAction => self.input_action(&action),
            ActionType::RequestDiagnostics => self.request_diagnostics(&action).await,
            ActionType::Upgrade => {
                self.start_upgrade(&action).await;
                Done::default()
            }
            ActionType::Migrate => return self.migrate(&action).await,
            ActionType::PrivilegeLevelChange => change_user(&action),
            ActionType::UpdateTags | ActionType::ForceUnenroll | ActionType::Other(_) | ActionType::Missing => {
                tracing::warn!(action.kind = %action.action_type, "unknown action; it is not acknowledged");
                return;
            }
        };
        self.acknowledge(&action, done);
    }

    /// Tries what the policy changes beside what works, takes all of it or nothing.
    async fn policy_change(&mut self, action: &Action) -> Result<(), String> {
        let policy = action.data.get("policy").cloned().ok_or("the action holds no policy")?;
        let model = self
            .units
            .plan(&policy)
            .map_err(|error| format!("the policy cannot be run: {error}"))?;
        let block = policy.get("fleet").cloned().unwrap_or_default();
        let wanted = self.enrollment.connection_under_policy(&block);
        let new_client = if wanted == *self.client.settings() {
            None
        } else {
            let tried = try_connection(&wanted, &self.enrollment.access_api_key, &self.context.build.version).await;
            Some(tried.map_err(|reason| format!("its connection to Fleet does not work: {reason}"))?)
        };
        if self.state.policy.is_some() {
            self.try_outputs(&model).await?;
        }
        let named = PolicyActionId::parse(&action.id);
        let applied = AppliedPolicy {
            action_id: action.id.clone(),
            id: named
                .as_ref()
                .map_or_else(|| text(&policy, "id").into(), |named| named.policy_id.clone()),
            revision: named.map_or_else(
                || policy.get("revision").and_then(Value::as_i64).unwrap_or(0),
                |named| named.revision,
            ),
            policy,
        };
        let before = self.state.policy.replace(applied);
        if let Some(client) = new_client {
            tracing::info!(hosts = ?wanted.hosts, "using new connection settings, on probation");
            self.context.reloader.watch(client.tls());
            let old = std::mem::replace(&mut self.client, client);
            self.state.previous.clone_from(&before);
            self.probation = Some(Probation {
                client: old,
                policy: before,
                failures: 0,
            });
        }
        self.refusal = None;
        self.trouble.clear();
        self.save();
        self.apply_log_level();
        self.units.apply(model).await;
        Ok(())
    }

    /// A real request to each output that would change; one whose predecessor does not work either is taken as it is.
    async fn try_outputs(&self, model: &crate::model::Model) -> Result<(), String> {
        for (name, definition, predecessor_works) in self.units.outputs_to_try(model) {
            if predecessor_works {
                outputs::probe(&name, &definition)
                    .await
                    .map_err(|error| format!("its output does not work: {error}"))?;
            }
        }
        Ok(())
    }

    fn refuse(&mut self, action: &Action, reason: String) {
        let running = match &self.state.policy {
            Some(policy) => format!("running policy {} revision {}", policy.id, policy.revision),
            None => "running without a policy".to_owned(),
        };
        let message = format!("{running}; {} was not taken, because {reason}", action.id);
        tracing::error!(action.id = %action.id, reason, "policy refused; the one before stays in force");
        let policy = action.data.get("policy").cloned().unwrap_or_default();
        self.refusal = Some(Refusal::of(&policy, message, self.refusal.take()));
    }

    /// Check-ins failed under new settings: back to those that worked, units included.
    pub(crate) async fn take_back(&mut self, probation: Probation, error: &FleetError) {
        let failed = self.state.policy.take();
        tracing::error!(error = %error, "check-ins fail with the new connection settings; going back to the ones before");
        self.client = probation.client;
        self.state.policy = probation.policy;
        self.state.previous = None;
        if let Some(failed) = failed {
            let action = Action {
                id: failed.action_id,
                data: json!({"policy": failed.policy}),
                ..Action::default()
            };
            self.refuse(
                &action,
                format!("check-ins failed with its connection settings: {error}"),
            );
        }
        self.save();
        self.apply_log_level();
        if let Some(policy) = self.state.policy.clone() {
            match self.units.plan(&policy.policy) {
                Ok(model) => self.units.apply(model).await,
                Err(error) => self.trouble.push(format!("the policy before cannot be run: {error}")),
            }
        }
    }

    fn settings(&mut self, action: &Action) -> Done {
        let level = text(&action.data, "log_level").to_lowercase();
        if level.is_empty() || level == "clear" {
            self.state.log_level = None;
        } else if LOG_LEVELS.contains(&level.as_str()) {
            self.state.log_level = Some(level);
        } else {
            return Done::failed(format!(
                "`{level}` is no log level; use trace, debug, info, warning or error"
            ));
        }
        self.apply_log_level();
        Done::default()
    }

    async fn unenroll(&mut self, action: &Action) {
        self.acknowledge(action, Done::default());
        self.flush_acks().await;
        let at = clock::rfc3339_seconds(self.context.clock.now());
        self.state.unenrolled_at = Some(at.clone());
        self.save();
        self.units.stop(crate::managed::STOP_DEADLINE).await;
        tracing::warn!(
            at,
            "unenrolled by Fleet; this agent collects nothing until it is enrolled again"
        );
        self.ended = Some(Ended::Reload);
    }

    fn cancel(&mut self, action: &Action) -> Done {
        let target = text(&action.data, "target_id");
        self.state.scheduled.retain(|scheduled| scheduled.id != target);
        if self
            .state
            .upgrade
            .as_ref()
            .is_some_and(|upgrade| upgrade.action_id == target && upgrade.state == UpgradeState::Scheduled)
        {
            self.state.upgrade = None;
        }
        self.abort_upgrade(&target)
    }

    fn input_action(&self, action: &Action) -> Done {
        let kind = &action.input_type;
        let runs = self
            .units
            .components()
            .iter()
            .any(|component| component.component_type == *kind);
        let error = if runs {
            format!("input `{kind}` takes no actions")
        } else {
            format!("no input of type `{kind}` runs on this agent")
        };
        Done {
            error: Some(error),
            input: Some((action.data.clone(), kind.clone())),
            ..Done::default()
        }
    }

    async fn request_diagnostics(&mut self, action: &Action) -> Done {
        if self
            .last_diagnostics
            .is_some_and(|last| last.elapsed() < DIAGNOSTICS_INTERVAL)
        {
            return Done::failed("diagnostics were sent less than a minute ago");
        }
        self.last_diagnostics = Some(Instant::now());
        let archive = match self.diagnostics().await {
            Ok(archive) => archive,
            Err(error) => return Done::failed(error),
        };
        match diagnostics::upload(&self.client, &self.enrollment, &action.id, archive, &self.context.clock).await {
            Ok(upload_id) => Done {
                data: Some(json!({"upload_id": upload_id})),
                ..Done::default()
            },
            Err(error) => Done::failed(error.to_string()),
        }
    }

    /// The diagnostics archive.
    pub(crate) async fn diagnostics(&self) -> Result<Vec<u8>, String> {
        let mut files = vec![
            (
                "components-actual.yaml".to_owned(),
                settings::to_yaml(&json!({"components": self.units.components()})),
            ),
            ("computed-config.yaml".to_owned(), settings::to_yaml(&self.inspect())),
            ("outputs.json".to_owned(), self.units.output_facts().to_string()),
        ];
        let state = json!({"refusal": self.refusal.as_ref().map(|refusal| &refusal.message), "trouble": self.trouble, "unsent_acks": self.state.unsent_acks.len()});
        files.push(("state.yaml".to_owned(), settings::to_yaml(&state)));
        let context = std::sync::Arc::clone(&self.context);
        tokio::task::spawn_blocking(move || diagnostics::archive(&context, files))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("cannot make the archive: {error}"))
    }

    /// Enrols in another fleet; the enrolment here goes on when that fails.
    async fn migrate(&mut self, action: &Action) {
        let mut connection = ConnectionSettings {
            hosts: vec![text(&action.data, "target_uri")],
            ..ConnectionSettings::default()
        };
        if let Some(Value::Object(ssl)) = action.data.pointer("/settings/ssl") {
            connection.ssl.clone_from(ssl);
        } else {
            connection.ssl.clone_from(&self.enrollment.connection.ssl);
        }
        connection.proxy.clone_from(&self.enrollment.connection.proxy);
        let options = EnrollOptions {
            paths: self.context.paths.clone(),
            connection,
            enrollment_token: Secret::from(text(&action.data, "enrollment_token")),
            ca_fingerprint: None,
            insecure: false,
            id: Some(uuid::Uuid::new_v4().to_string()),
            replace_token: None,
            tags: self.enrollment.tags.clone(),
            timeout: Some(Duration::from_mins(1)),
            server: None,
            build: self.context.build.clone(),
            clock: self.context.clock.clone(),
        };
        // Boxed: it is large, and rare.
        let enrolled = Box::pin(enroll_leaving(options, AuditUnenrollReason::Migrated)).await;
        if let Err(error) = enrolled {
            let done = Done::failed(format!("cannot enroll in the other fleet: {error}"));
            return self.acknowledge(action, done);
        }
        // Here is where it was asked; what is stored from now on belongs to the other fleet.
        self.acknowledge(action, Done::default());
        self.ended = Some(Ended::Reload);
    }

    fn acknowledge(&mut self, action: &Action, done: Done) {
        if self.state.unsent_acks.iter().any(|known| known.action_id == action.id) {
            return;
        }
        let now = self.context.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string();
        let (action_data, action_input_type) = done.input.map_or((None, None), |(data, kind)| (Some(data), Some(kind)));
        let ran = action_input_type.is_some();
        let outcome = if done.error.is_some() { "failed" } else { "acknowledged" };
        self.state.unsent_acks.push(AckEvent {
            event_type: "ACTION_RESULT".to_owned(),
            subtype: "ACKNOWLEDGED".to_owned(),
            agent_id: self.enrollment.agent_id.to_string(),
            action_id: action.id.clone(),
            message: format!("Action \"{}\" of type \"{}\" {outcome}.", action.id, action.action_type),
            timestamp: Some(now.clone()),
            error: done.error,
            data: done.data,
            action_input_type,
            action_data,
            started_at: ran.then(|| now.clone()),
            completed_at: ran.then_some(now),
            ..AckEvent::default()
        });
        let surplus = self.state.unsent_acks.len().saturating_sub(MAX_UNSENT_ACKS);
        self.state.unsent_acks.drain(..surplus);
        self.save();
    }

    /// Sends what is to be acknowledged; what does not arrive is kept and sent before the next check-in.
    pub(crate) async fn flush_acks(&mut self) {
        if self.state.unsent_acks.is_empty() {
            return;
        }
        let request = AckRequest {
            events: self.state.unsent_acks.clone(),
        };
        let path = protocol::acks_path(&self.enrollment.agent_id);
        let sent = self.client.send(FleetRequest {
            method: Method::POST,
            path: &path,
            api_key: Some(&self.enrollment.access_api_key),
            body: serde_json::to_vec(&request).unwrap_or_default().into(),
            gzip: false,
            headers: Vec::new(),
            timeout: ACK_TIMEOUT,
        });
        match sent.await {
            Ok(body) => self.keep_unanswered(&body),
            // An action that the server does not know any more makes the whole answer a 404; nothing helps it.
            Err(error) if matches!(error.status().map(|status| status.as_u16()), Some(400 | 404)) => {
                tracing::warn!(error = %error, "acknowledgements refused");
                self.state.unsent_acks.clear();
            }
            Err(error) => {
                tracing::warn!(error = %error, "acknowledgements could not be sent; they are kept");
                return;
            }
        }
        self.save();
    }

    fn keep_unanswered(&mut self, body: &[u8]) {
        let items = serde_json::from_slice::<AckResponse>(body)
            .map(|response| response.items)
            .unwrap_or_default();
        let failed = |position: usize| {
            items
                .get(position)
                .is_some_and(|item| item.status == 429 || item.status >= 500)
        };
        let mut position = 0;
        self.state.unsent_acks.retain(|_| {
            position += 1;
            failed(position - 1)
        });
    }
}

/// The service may not change its own unit, so only what is already so can be done.
fn change_user(action: &Action) -> Done {
    let wanted = action.data.get("unprivileged").and_then(Value::as_bool);
    if wanted == Some(!rustix::process::geteuid().is_root()) {
        return Done::default();
    }
    Done::failed(
        "this agent cannot change its own user; run `elastic-agent privileged` or `elastic-agent unprivileged` on the host",
    )
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
