//! "Agent activity": the actions that agents were asked for, how far each is, and what failed.

use askama::Template;
use axum::extract::{Form, Path, Query};
use axum::response::{Html, Redirect};
use serde::Deserialize;
use serde_json::Value;

use super::agents::policy_names;
use super::frame::Frame;
use super::look::{Look, Moment, Segment, figure, segments};
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::domain::{action_status, actions};

const PER_PAGE: usize = 20;
/// Reasons that are shown of an action that failed.
const REASONS: usize = 5;

#[derive(Template)]
#[template(path = "activity.html")]
struct Page {
    frame: Frame,
    rows: Vec<Row>,
    newer: Option<String>,
    older: Option<String>,
    live_url: String,
    may_change: bool,
}

/// One action.
struct Row {
    id: String,
    title: String,
    look: Look,
    /// How many of the agents have answered.
    answered: String,
    meter: Vec<Segment>,
    asked: Moment,
    /// The agents that failed, and why.
    errors: Vec<Failure>,
    can_be_cancelled: bool,
}

/// An agent that failed.
#[derive(Debug, Eq, PartialEq)]
struct Failure {
    agent: String,
    /// Its host's, as far as it is known.
    name: String,
    reason: String,
}

/// What stands in the URL.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    /// From 0.
    page: usize,
    done: Option<String>,
}

pub(super) async fn page(reader: SignedIn, Query(wanted): Query<Wanted>) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let names = policy_names(console).await?;
    let list = action_status::Wanted {
        page: wanted.page,
        per_page: PER_PAGE,
        errors: REASONS,
        ..action_status::Wanted::default()
    };
    let items = action_status::list(console, &list).await?;
    let now = console.clock.now();
    let href = |page: usize| format!("/app/fleet/agents/activity?page={page}");
    let toast = match wanted.done.as_deref() {
        Some("cancelled") => Some("Cancelled. Agents that have not started it leave it."),
        Some(word) => super::agent_actions::done(word),
        None => None,
    };
    show(&Page {
        frame: Frame::new(&reader, "Agents", "Agent activity").toast(toast),
        newer: wanted.page.checked_sub(1).map(href),
        older: (items.len() == PER_PAGE).then(|| href(wanted.page + 1)),
        rows: items
            .iter()
            .map(|item| Row::of(item, now, &|id| names.get(id).cloned().unwrap_or_else(|| id.to_owned())))
            .collect(),
        live_url: href(wanted.page),
        may_change: reader.may_change(),
    })
}

impl Row {
    fn of(item: &Value, now: jiff::Timestamp, policy_name: &dyn Fn(&str) -> String) -> Self {
        let text = |key: &str| item[key].as_str().unwrap_or_default();
        let count = |key: &str| item[key].as_u64().unwrap_or_default();
        let (all, answered, failed) = (
            count("nbAgentsActionCreated"),
            count("nbAgentsAck"),
            count("nbAgentsFailed"),
        );
        let look = match text("status") {
            "COMPLETE" => Look::new("ok", "Complete"),
            "ROLLOUT_PASSED" => Look::new("warn", "Some did not answer"),
            "FAILED" => Look::new("bad", "Failed"),
            "CANCELLED" => Look::new("off", "Cancelled"),
            "EXPIRED" => Look::new("off", "Expired"),
            _ => Look::new("act", "In progress"),
        };
        let error = |error: &Value| {
            let field = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
            let host = error["hostname"].as_str().unwrap_or_default();
            let name = if host.is_empty() {
                field("agentId")
            } else {
                host.to_owned()
            };
            Failure {
                agent: field("agentId"),
                name,
                reason: field("error"),
            }
        };
        let succeeded = answered.saturating_sub(failed);
        Self {
            id: text("actionId").to_owned(),
            title: match text("type") {
                "POLICY_CHANGE" => format!(
                    "Revision {} of {} for {}",
                    count("revision"),
                    policy_name(text("policyId")),
                    counted(all)
                ),
                kind => title(kind, text("version"), &policy_name(text("newPolicyId")), all),
            },
            can_be_cancelled: look.tone == "act" && text("type") != "POLICY_CHANGE",
            look,
            answered: format!("{} of {}", figure(answered), figure(all)),
            meter: segments(&[
                ("ok", succeeded),
                ("bad", failed),
                ("track", all.saturating_sub(answered)),
            ]),
            asked: Moment::parse(now, Some(text("creationTime"))),
            errors: item["latestErrors"]
                .as_array()
                .into_iter()
                .flatten()
                .map(error)
                .collect(),
        }
    }
}

fn counted(agents: u64) -> String {
    if agents == 1 {
        "1 agent".to_owned()
    } else {
        format!("{} agents", figure(agents))
    }
}

/// What was asked for, in words.
fn title(kind: &str, version: &str, policy: &str, agents: u64) -> String {
    let whom = counted(agents);
    match kind {
        "UPGRADE" => format!("Upgrade {whom} to {version}"),
        "POLICY_REASSIGN" => format!("Assign {whom} to {policy}"),
        "UNENROLL" | "FORCE_UNENROLL" => format!("Unenroll {whom}"),
        "REQUEST_DIAGNOSTICS" => format!("Request diagnostics of {whom}"),
        "SETTINGS" => format!("Set the logging level of {whom}"),
        "UPDATE_TAGS" => format!("Change tags of {whom}"),
        "MIGRATE" => format!("Move {whom} to another fleet"),
        "PRIVILEGE_LEVEL_CHANGE" => format!("Take root privileges from {whom}"),
        "CANCEL" => format!("Cancel an action of {whom}"),
        other => format!("{other} for {whom}"),
    }
}

#[derive(Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    csrf_token: String,
}

pub(super) async fn cancel(
    reader: SignedIn,
    Path(id): Path<String>,
    Form(sent): Form<Sent>,
) -> Result<Redirect, Problem> {
    let actor = reader.who_changes(&sent.csrf_token)?;
    actions::cancel(&reader.console, &actor, &id).await?;
    Ok(Redirect::to("/app/fleet/agents/activity?done=cancelled"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_action_says_what_it_does_and_how_far_it_is() {
        let item = json!({"actionId": "a", "type": "UPGRADE", "status": "IN_PROGRESS", "version": "9.6.0", "nbAgentsActionCreated": 1200,
            "nbAgentsAck": 3, "nbAgentsFailed": 1, "creationTime": "2026-03-01T11:00:00Z",
            "latestErrors": [{"agentId": "x", "error": "no space"}]});
        let row = Row::of(&item, "2026-03-01T12:00:00Z".parse().unwrap(), &|id| id.to_owned());
        assert_eq!(row.title, "Upgrade 1,200 agents to 9.6.0");
        assert_eq!(
            (row.answered.as_str(), row.look.word.as_str()),
            ("3 of 1,200", "In progress")
        );
        let failure = Failure {
            agent: "x".into(),
            name: "x".into(),
            reason: "no space".into(),
        };
        assert_eq!(row.errors, [failure]);
        assert!(row.can_be_cancelled);
        assert_eq!(title("POLICY_REASSIGN", "", "Harbour", 1), "Assign 1 agent to Harbour");
    }
}
