//! "Agent activity": the actions that agents were asked for, how far each is, and what failed.

use askama::Template;
use axum::extract::{Form, Path, Query};
use axum::response::{Html, Redirect};
use serde::Deserialize;
use serde_json::Value;

use super::agents::{host_name, policy_names};
use super::frame::Frame;
use super::look::{Look, Moment, Segment, figure, segments, url_part};
use super::problem::{Problem, show};
use super::session::SignedIn;
use super::upgrade;
use crate::domain::agents::Agent;
use crate::domain::{action_status, actions, upgrades};

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
    /// Of an upgrade: how many say that they are how far.
    states: String,
    /// Where those that failed are asked again.
    retry: Option<String>,
    /// All of them, those that have answered, and those that failed.
    counts: (u64, u64, u64),
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
    let upgrading = items.iter().filter(|item| item["type"] == "UPGRADE");
    let upgrading = upgrading.filter_map(|item| item["actionId"].as_str().map(str::to_owned));
    let progress = upgrades::progress(console, upgrading.collect()).await?;
    let mut rows = Vec::with_capacity(items.len());
    for item in &items {
        let mut row = Row::of(item, now, &|id| names.get(id).cloned().unwrap_or_else(|| id.to_owned()));
        if let Some(states) = progress.get(&row.id) {
            row.told(states, item["version"].as_str().unwrap_or_default());
            if row.retry.is_some() {
                row.add(
                    upgrades::failed(console, &row.id, REASONS)
                        .await?
                        .iter()
                        .map(Failure::of),
                );
            }
        }
        rows.push(row);
    }
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
        rows,
        live_url: href(wanted.page),
        may_change: reader.may_change(),
    })
}

impl Failure {
    /// What an agent says of its upgrade.
    fn of(agent: &Agent) -> Self {
        let told = upgrades::details(agent);
        let told = told
            .as_ref()
            .and_then(|details| details.metadata.as_ref()?.get("error_msg")?.as_str());
        Self {
            agent: agent.id.clone(),
            name: host_name(agent),
            reason: told.unwrap_or("the new version did not pass its probation").to_owned(),
        }
    }
}

impl Row {
    /// What agents still say themselves, where the action's results do not have it.
    fn add(&mut self, failures: impl Iterator<Item = Failure>) {
        for failure in failures {
            if !self.errors.iter().any(|known| known.agent == failure.agent) {
                self.errors.push(failure);
            }
        }
        self.errors.truncate(REASONS);
    }

    /// What agents say of an upgrade weighs more than that they have taken it.
    fn told(&mut self, states: &upgrades::Progress, version: &str) {
        let count = |state: &str| states.get(state).copied().unwrap_or_default();
        let failed = count("UPG_FAILED") + count("UPG_ROLLBACK");
        let under_way: u64 = states.values().sum::<u64>() - failed;
        self.states = upgrade::counted(states);
        let (all, answered, refused) = self.counts;
        // Most of those that say so are among the results as well.
        self.meter = meter(all, answered, refused.max(failed), under_way);
        if matches!(self.look.tone, "ok" | "bad") && under_way > 0 {
            self.look = Look::new("act", "In progress");
        }
        if failed > 0 {
            if under_way == 0 {
                self.look = Look::new("bad", "Failed");
            }
            self.retry = Some(format!(
                "/app/fleet/agents/actions?action=upgrade&version={}&force=on&kuery={}",
                url_part(version),
                url_part(&upgrades::failed_kuery(&self.id))
            ));
        }
        self.can_be_cancelled = self.look.tone == "act";
    }

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
            states: String::new(),
            retry: None,
            answered: format!("{} of {}", figure(answered), figure(all)),
            counts: (all, answered, failed),
            meter: meter(all, answered, failed, 0),
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

/// Those that are done, that failed, that are at it, and that have not answered.
fn meter(all: u64, answered: u64, failed: u64, under_way: u64) -> Vec<Segment> {
    let failed = failed.min(all);
    let under_way = under_way.min(all - failed);
    let done = answered.saturating_sub(failed + under_way);
    segments(&[
        ("ok", done),
        ("bad", failed),
        ("act", under_way),
        ("track", all.saturating_sub(done + failed + under_way)),
    ])
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
    /// From whose page it was taken back.
    #[serde(default)]
    agent: String,
}

pub(super) async fn cancel(
    reader: SignedIn,
    Path(id): Path<String>,
    Form(sent): Form<Sent>,
) -> Result<Redirect, Problem> {
    let actor = reader.who_changes(&sent.csrf_token)?;
    actions::cancel(&reader.console, &actor, &id).await?;
    Ok(Redirect::to(&match sent.agent.as_str() {
        "" => "/app/fleet/agents/activity?done=cancelled".to_owned(),
        agent => format!("/app/fleet/agents/{}?done=aborted", url_part(agent)),
    }))
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
        let mut row = row;
        row.told(
            &[("UPG_WATCHING".to_owned(), 2), ("UPG_FAILED".to_owned(), 4)].into(),
            "9.6.0",
        );
        assert_eq!(row.states, "4 failed, 2 on probation");
        let tones: Vec<_> = row.meter.iter().map(|segment| segment.tone).collect();
        assert_eq!(tones, ["bad", "act", "track"]);
        assert!(row.retry.is_some());
        assert!(row.can_be_cancelled);
        assert_eq!(title("POLICY_REASSIGN", "", "Harbour", 1), "Assign 1 agent to Harbour");
    }
}
