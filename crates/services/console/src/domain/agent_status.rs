//! The status of an agent, from its document and its policy's inactivity timeout.
//!
//! Source: fleet-api, agents; the first rule that matches wins.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use protocol::AgentDocument;
use serde_json::{Value, json};

/// No check-in for this long: offline. Ten times the interval at which Fleet Server notes check-ins.
pub const OFFLINE_AFTER: SignedDuration = SignedDuration::from_secs(300);

/// How an agent is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AgentStatus {
    /// Unenrolled.
    Unenrolled,
    /// Silent for longer than its policy's inactivity timeout.
    Inactive,
    /// Uninstalled, as it said itself.
    Uninstalled,
    /// Its host's protection runs without it.
    Orphaned,
    /// Silent for five minutes.
    Offline,
    /// Waits for its first policy, or upgrades.
    Updating,
    /// Never checked in.
    Enrolling,
    /// Asked to unenrol.
    Unenrolling,
    /// Says that it failed.
    Error,
    /// Says that a part of it failed.
    Degraded,
    /// Fine.
    Online,
}

impl AgentStatus {
    /// All, in the order in which they are decided.
    pub const ALL: [Self; 11] = [
        Self::Unenrolled,
        Self::Inactive,
        Self::Uninstalled,
        Self::Orphaned,
        Self::Offline,
        Self::Updating,
        Self::Enrolling,
        Self::Unenrolling,
        Self::Error,
        Self::Degraded,
        Self::Online,
    ];

    /// As the API writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unenrolled => "unenrolled",
            Self::Inactive => "inactive",
            Self::Uninstalled => "uninstalled",
            Self::Orphaned => "orphaned",
            Self::Offline => "offline",
            Self::Updating => "updating",
            Self::Enrolling => "enrolling",
            Self::Unenrolling => "unenrolling",
            Self::Error => "error",
            Self::Degraded => "degraded",
            Self::Online => "online",
        }
    }

    /// Whether somebody should look at the agent.
    pub fn is_unhealthy(self) -> bool {
        matches!(self, Self::Error | Self::Degraded | Self::Orphaned | Self::Offline)
    }

    /// The status of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// The words that name it in filters: its own, and the one that pages show.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let shown = match self {
            Self::Online => Some("healthy"),
            Self::Error | Self::Degraded => Some("unhealthy"),
            _ => None,
        };
        std::iter::once(self.name()).chain(shown)
    }

    /// The statuses that a word of a filter means.
    pub fn meant_by(word: &str) -> Vec<Self> {
        let means = |status: &Self| status.words().any(|known| known == word);
        Self::ALL.into_iter().filter(means).collect()
    }
}

/// What of an agent's document decides its status.
#[derive(Clone, Debug)]
pub struct Signs {
    active: bool,
    policy_id: Arc<str>,
    /// The last check-in, or the enrolment.
    silent_since: Option<Timestamp>,
    has_checked_in: bool,
    has_policy: bool,
    is_upgrading: bool,
    is_unenrolling: bool,
    left: Option<AgentStatus>,
    says: Option<AgentStatus>,
}

impl Signs {
    /// Of a document, or of the part of it that has these fields.
    pub fn of_source(source: &Value) -> Self {
        let text = |name: &str| source[name].as_str();
        let is_set = |name: &str| !source[name].is_null();
        let says = text("last_checkin_status").unwrap_or_default();
        Self {
            active: source["active"].as_bool().unwrap_or_default(),
            policy_id: text("policy_id").unwrap_or_default().into(),
            silent_since: text("last_checkin")
                .or_else(|| text("enrolled_at"))
                .and_then(|time| time.parse().ok()),
            has_checked_in: is_set("last_checkin"),
            has_policy: source["policy_revision_idx"]
                .as_i64()
                .is_some_and(|revision| revision != 0),
            is_upgrading: (is_set("upgrade_started_at") && !is_set("upgraded_at")) || is_under_way(source),
            is_unenrolling: is_set("unenrollment_started_at"),
            left: match text("audit_unenrolled_reason") {
                Some("uninstall") => Some(AgentStatus::Uninstalled),
                Some("orphaned") => Some(AgentStatus::Orphaned),
                _ => None,
            },
            says: [AgentStatus::Error, AgentStatus::Degraded]
                .into_iter()
                .find(|status| says.eq_ignore_ascii_case(status.name())),
        }
    }

    /// With the id of its policy as `share` gives it: the same for all agents of a policy.
    pub(crate) fn sharing(mut self, share: impl FnOnce(Arc<str>) -> Arc<str>) -> Self {
        self.policy_id = share(self.policy_id);
        self
    }

    fn of(agent: &AgentDocument) -> Self {
        Self::of_source(&json!({
            "active": agent.active, "policy_id": agent.policy_id, "last_checkin": agent.last_checkin,
            "enrolled_at": agent.enrolled_at, "last_checkin_status": agent.last_checkin_status,
            "policy_revision_idx": agent.policy_revision_idx, "upgrade_started_at": agent.upgrade_started_at,
            "upgraded_at": agent.upgraded_at, "unenrollment_started_at": agent.unenrollment_started_at,
            "audit_unenrolled_reason": agent.audit_unenrolled_reason, "upgrade_details": agent.upgrade_details,
        }))
    }

    /// The policy that the agent should run.
    pub fn policy_id(&self) -> &str {
        &self.policy_id
    }

    /// Whether it is enrolled.
    pub fn is_active(&self) -> bool {
        self.active
    }
}

/// Whether the agent says that it is upgrading. One that waits for its time, is on probation or failed does its work.
fn is_under_way(source: &Value) -> bool {
    let state = source["upgrade_details"]["state"].as_str();
    state.is_some_and(|state| {
        matches!(
            state,
            "UPG_REQUESTED" | "UPG_DOWNLOADING" | "UPG_EXTRACTING" | "UPG_REPLACING" | "UPG_RESTARTING"
        )
    })
}

/// What the status depends on beside the document.
#[derive(Clone, Debug)]
pub struct StatusRules {
    /// The time.
    pub now: Timestamp,
    /// Policies and the seconds after which their silent agents are inactive; other policies have no such limit.
    pub inactivity: HashMap<String, i64>,
}

impl StatusRules {
    /// The status of an agent.
    pub fn status_of(&self, agent: &AgentDocument) -> AgentStatus {
        self.status(&Signs::of(agent))
    }

    /// The status that follows from the signs; the first rule that matches wins.
    pub fn status(&self, agent: &Signs) -> AgentStatus {
        self.status_within(agent, self.inactivity.get(&*agent.policy_id).copied())
    }

    /// As [`StatusRules::status`], where the limit of the agent's policy is known.
    pub(crate) fn status_within(&self, agent: &Signs, inactive_after: Option<i64>) -> AgentStatus {
        let silent_for = |limit: SignedDuration| {
            agent
                .silent_since
                .is_some_and(|since| self.now.duration_since(since) > limit)
        };
        if !agent.active {
            AgentStatus::Unenrolled
        } else if inactive_after.is_some_and(|seconds| silent_for(SignedDuration::from_secs(seconds))) {
            AgentStatus::Inactive
        } else if let Some(left) = agent.left {
            left
        } else if silent_for(OFFLINE_AFTER) {
            AgentStatus::Offline
        } else if !agent.has_policy && agent.has_checked_in || agent.is_upgrading {
            AgentStatus::Updating
        } else if !agent.has_checked_in {
            AgentStatus::Enrolling
        } else if agent.is_unenrolling {
            AgentStatus::Unenrolling
        } else {
            agent.says.unwrap_or(AgentStatus::Online)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> StatusRules {
        StatusRules {
            now: "2026-01-02T12:00:00Z".parse().unwrap(),
            inactivity: HashMap::from([("p1".into(), 86_400)]),
        }
    }

    fn agent(changes: Value) -> Value {
        let mut agent = json!({
            "active": true, "policy_id": "p1", "enrolled_at": "2026-01-02T11:00:00Z", "policy_revision_idx": 2,
            "last_checkin": "2026-01-02T11:59:00Z", "last_checkin_status": "online",
        });
        for (key, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => agent.as_object_mut().unwrap().remove(key),
                value => agent.as_object_mut().unwrap().insert(key.clone(), value.clone()),
            };
        }
        agent
    }

    fn check(changes: Value, expected: AgentStatus) {
        let source = agent(changes);
        let document: AgentDocument = serde_json::from_value(source.clone()).unwrap();
        assert_eq!(rules().status_of(&document), expected, "{source}");
        assert_eq!(rules().status(&Signs::of_source(&source)), expected, "{source}");
    }

    #[test]
    fn the_first_rule_that_matches_wins() {
        check(json!({}), AgentStatus::Online);
        check(json!({"active": false, "last_checkin": null}), AgentStatus::Unenrolled);
        check(json!({"last_checkin": "2025-12-30T00:00:00Z"}), AgentStatus::Inactive);
        check(
            json!({"last_checkin": "2025-12-30T00:00:00Z", "policy_id": "other"}),
            AgentStatus::Offline,
        );
        check(
            json!({"audit_unenrolled_reason": "uninstall"}),
            AgentStatus::Uninstalled,
        );
        check(json!({"audit_unenrolled_reason": "orphaned"}), AgentStatus::Orphaned);
        check(json!({"last_checkin": "2026-01-02T11:54:59Z"}), AgentStatus::Offline);
        check(json!({"last_checkin": null}), AgentStatus::Offline);
        check(
            json!({"last_checkin": null, "enrolled_at": "2026-01-02T11:59:30Z", "policy_revision_idx": null}),
            AgentStatus::Enrolling,
        );
        check(json!({"policy_revision_idx": null}), AgentStatus::Updating);
        check(json!({"policy_revision_idx": 0}), AgentStatus::Updating);
        check(
            json!({"upgrade_started_at": "2026-01-02T11:58:00Z"}),
            AgentStatus::Updating,
        );
        check(
            json!({"upgrade_started_at": "2026-01-02T11:50:00Z", "upgraded_at": "2026-01-02T11:58:00Z"}),
            AgentStatus::Online,
        );
        for (state, expected) in [
            ("UPG_DOWNLOADING", AgentStatus::Updating),
            ("UPG_SCHEDULED", AgentStatus::Online),
            ("UPG_WATCHING", AgentStatus::Online),
            ("UPG_FAILED", AgentStatus::Online),
        ] {
            check(
                json!({"upgrade_details": {"state": state}, "upgraded_at": "2026-01-02T11:58:00Z"}),
                expected,
            );
        }
        check(
            json!({"unenrollment_started_at": "2026-01-02T11:58:00Z"}),
            AgentStatus::Unenrolling,
        );
        check(json!({"last_checkin_status": "error"}), AgentStatus::Error);
        check(json!({"last_checkin_status": "degraded"}), AgentStatus::Degraded);
        check(json!({"last_checkin_status": "starting"}), AgentStatus::Online);
    }
}
