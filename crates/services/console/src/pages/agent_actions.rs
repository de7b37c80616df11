//! What is done with agents, one or many: asked about on a page of its own, then done.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::RawQuery;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde_json::json;

use super::agents::{Choice, Filters, host_name};
use super::form::{Submission, Values};
use super::frame::Frame;
use super::look::figure;
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::domain::actions::{self, Schedule, Unenroll, Unfit, Upgrade};
use crate::domain::actor::Actor;
use crate::domain::agent_policies;
use crate::domain::agents::{self, Agent, Selection};
use crate::domain::error::FleetError;

/// From this many agents on, their number has to be typed.
const MANY: usize = 100;
/// Hosts that the question names.
const NAMED: usize = 8;

/// What can be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    Reassign,
    Unenroll,
    Upgrade,
    Tags,
    Diagnostics,
    LogLevel,
}

impl What {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "reassign" => Self::Reassign,
            "unenroll" => Self::Unenroll,
            "upgrade" => Self::Upgrade,
            "tags" => Self::Tags,
            "diagnostics" => Self::Diagnostics,
            "log-level" => Self::LogLevel,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Reassign => "reassign",
            Self::Unenroll => "unenroll",
            Self::Upgrade => "upgrade",
            Self::Tags => "tags",
            Self::Diagnostics => "diagnostics",
            Self::LogLevel => "log-level",
        }
    }

    /// The part of an agent's page that shows what becomes of it.
    fn part(self) -> &'static str {
        match self {
            Self::Diagnostics => "/diagnostics",
            Self::LogLevel => "/settings",
            _ => "",
        }
    }

    /// The verb, and what follows the agents.
    fn verb(self) -> (&'static str, &'static str) {
        match self {
            Self::Reassign => ("Assign", " to a new policy"),
            Self::Unenroll => ("Unenroll", ""),
            Self::Upgrade => ("Upgrade", ""),
            Self::Tags => ("Change tags of", ""),
            Self::Diagnostics => ("Request diagnostics of", ""),
            Self::LogLevel => ("Set the log level of", ""),
        }
    }

    fn effect(self) -> &'static str {
        match self {
            Self::Reassign => "They take the new policy at their next check-in, within seconds when they are online.",
            Self::Unenroll => {
                "They stop collecting at their next check-in and their keys are revoked. What they have shipped stays."
            }
            Self::Upgrade => {
                "Each downloads the version from its policy's download source, tries it, and goes back when it does not work."
            }
            Self::Tags => "Tags are kept here; agents do not notice.",
            Self::Diagnostics => {
                "Each uploads a zip of its state and logs, without secrets. It appears among its diagnostics."
            }
            Self::LogLevel => "Until it is set again or the agent is enrolled anew.",
        }
    }
}

#[derive(Template)]
#[template(path = "agent_action.html")]
struct Page {
    frame: Frame,
    title: String,
    verb: String,
    effect: &'static str,
    what: &'static str,
    is_bad: bool,
    hosts: Vec<String>,
    more: usize,
    ids: Vec<String>,
    /// Everything that matches, in place of ids.
    kuery: String,
    inactive: bool,
    upgradeable: bool,
    policies: Vec<Choice>,
    /// What an upgrade goes to, and what it may go to.
    version: String,
    versions: Vec<String>,
    /// What the agents run now.
    running: String,
    start: String,
    forced: bool,
    is_many: bool,
    typed: Option<usize>,
    wrong: String,
    back: String,
}

/// The question.
pub(super) async fn ask(reader: SignedIn, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut values = Values::default();
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        values.push(&name, value.into_owned());
    }
    if values.is_on("all") {
        let filters = Filters::of(&values);
        values.set("kuery", vec![filters.kuery()]);
        for (name, is_on) in [
            ("inactive", filters.shows_inactive()),
            ("upgradeable", filters.only_upgradeable()),
        ] {
            if is_on {
                values.set(name, vec!["on".to_owned()]);
            }
        }
    }
    question(&reader, &values, String::new()).await
}

async fn question(reader: &SignedIn, values: &Values, wrong: String) -> Result<Response, Problem> {
    let what = wanted(values)?;
    let agents = selected(reader, values).await?;
    let Some(first) = agents.first() else {
        return Ok(Redirect::to("/app/fleet/agents?done=nothing").into_response());
    };
    let counted = match agents.len() {
        1 => host_name(first),
        count => format!("{count} agents"),
    };
    let (verb, rest) = what.verb();
    let choice = |policy: policy::model::AgentPolicy| Choice {
        selected: false,
        value: policy.id,
        name: policy.name,
    };
    let is_all = !values.one("kuery").is_empty();
    let page = Page {
        frame: Frame::new(reader, "Agents", format!("{verb} {counted}")),
        title: format!("{verb} {counted}{rest}?"),
        verb: format!("{verb} {counted}"),
        effect: what.effect(),
        what: what.word(),
        is_bad: what == What::Unenroll,
        hosts: agents.iter().take(NAMED).map(host_name).collect(),
        more: agents.len().saturating_sub(NAMED),
        ids: if is_all {
            Vec::new()
        } else {
            agents.iter().map(|agent| agent.id.clone()).collect()
        },
        kuery: values.one("kuery").to_owned(),
        inactive: values.is_on("inactive"),
        upgradeable: values.is_on("upgradeable"),
        policies: agent_policies::list(&reader.console)
            .await?
            .into_iter()
            .map(choice)
            .collect(),
        version: match values.one("version") {
            "" => reader.console.settings.version.clone(),
            wanted => wanted.to_owned(),
        },
        versions: versions(reader).await?,
        running: running(&agents),
        start: values.one("start").to_owned(),
        forced: values.is_on("force"),
        is_many: agents.len() > 1,
        typed: (agents.len() >= MANY).then_some(agents.len()),
        wrong,
        back: match agents.as_slice() {
            [only] => format!("/app/fleet/agents/{}", only.id),
            _ => "/app/fleet/agents".to_owned(),
        },
    };
    let html: Html<String> = show(&page)?;
    Ok(html.into_response())
}

/// The answer.
pub(super) async fn act(reader: SignedIn, submission: Submission) -> Result<Response, Problem> {
    let values = submission.values;
    let actor = reader.who_changes(values.one("csrf_token"))?;
    let what = wanted(&values)?;
    let agents = selected(&reader, &values).await?;
    if agents.len() >= MANY && values.one("typed") != agents.len().to_string() {
        return question(&reader, &values, format!("Type {} to confirm.", agents.len())).await;
    }
    match run(&reader, &actor, what, &values, &agents).await {
        Ok(()) => {}
        Err(FleetError::Invalid { message, .. } | FleetError::TooMany(message)) => {
            return question(&reader, &values, message).await;
        }
        Err(error) => return Err(error.into()),
    }
    let place = match agents.as_slice() {
        [only] => format!("/app/fleet/agents/{}{}?done={}", only.id, what.part(), what.word()),
        _ if what == What::Tags => format!("/app/fleet/agents?done={}", what.word()),
        _ => format!("/app/fleet/agents/activity?done={}", what.word()),
    };
    Ok(Redirect::to(&place).into_response())
}

async fn run(
    reader: &SignedIn,
    actor: &Actor,
    what: What,
    values: &Values,
    agents: &[Agent],
) -> Result<(), FleetError> {
    let console = &reader.console;
    // What one agent cannot do is said at once; of many, the agent activity says who could not.
    let unfit = if agents.len() == 1 {
        Unfit::Refuse
    } else {
        Unfit::Report
    };
    let words = |name: &str| -> Vec<String> {
        let parts = values.one(name).split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let queue = async |kind, data| {
        actions::queue(console, actor, kind, data, agents, &Schedule::default())
            .await
            .map(|_| ())
    };
    match what {
        What::Reassign => actions::reassign(console, actor, agents, values.one("policy_id"), unfit)
            .await
            .map(|_| ()),
        What::Unenroll => {
            let how = Unenroll {
                revoke: values.is_on("revoke"),
                ..Unenroll::default()
            };
            actions::unenroll(console, actor, agents, how, unfit).await.map(|_| ())
        }
        What::Upgrade => {
            let seconds = values.one("spread").parse::<i64>().ok().filter(|seconds| *seconds > 0);
            let how = Upgrade {
                version: values.one("version").to_owned(),
                source_uri: None,
                force: values.is_on("force"),
                skip_rate_limit: false,
                schedule: Schedule {
                    start_time: start_time(values.one("start"))?,
                    rollout_duration_seconds: seconds,
                },
            };
            actions::upgrade(console, actor, agents, &how, unfit).await.map(|_| ())
        }
        What::Tags => agents::update_tags(console, actor, agents, &words("add"), &words("remove")).await,
        What::Diagnostics => queue("REQUEST_DIAGNOSTICS", json!({"additional_metrics": []})).await,
        What::LogLevel if values.is_on("reset") => queue("SETTINGS", json!({"log_level": ""})).await,
        What::LogLevel => queue("SETTINGS", json!({"log_level": values.one("log_level")})).await,
    }
}

/// What agents can be upgraded to: the console's version, and those that others of the fleet have.
async fn versions(reader: &SignedIn) -> Result<Vec<String>, Problem> {
    let mut versions = agents::facets(&reader.console).await?.versions;
    versions.push(reader.console.settings.version.clone());
    let parsed = |version: &String| semver::Version::parse(version).ok();
    versions.retain(|version| parsed(version).is_some());
    versions.sort_by_key(|version| std::cmp::Reverse(parsed(version)));
    versions.dedup();
    Ok(versions)
}

/// The versions that agents run, with their numbers.
fn running(agents: &[Agent]) -> String {
    let mut versions: BTreeMap<&str, u64> = BTreeMap::new();
    for agent in agents {
        let version = agent
            .document
            .agent
            .as_ref()
            .map_or("an unknown version", |agent| &agent.version);
        *versions.entry(version).or_default() += 1;
    }
    let parts = versions.iter().rev().map(|(version, count)| match agents.len() {
        1 => (*version).to_owned(),
        _ => format!("{version} ({})", figure(*count)),
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// A time as the field has it, which is UTC, as RFC 3339.
fn start_time(field: &str) -> Result<Option<String>, FleetError> {
    if field.is_empty() {
        return Ok(None);
    }
    let time: jiff::civil::DateTime = field
        .parse()
        .map_err(|_| FleetError::invalid(format!("`{field}` is no time such as 2026-03-01T09:00")))?;
    let zoned = time
        .to_zoned(jiff::tz::TimeZone::UTC)
        .map_err(|error| FleetError::invalid(error.to_string()))?;
    Ok(Some(clock::rfc3339_millis(zoned.timestamp())))
}

fn wanted(values: &Values) -> Result<What, Problem> {
    let word = values.one("action");
    What::of(word).ok_or_else(|| FleetError::NotFound(format!("There is no action `{word}`.")).into())
}

async fn selected(reader: &SignedIn, values: &Values) -> Result<Vec<Agent>, Problem> {
    let kuery = values.one("kuery");
    let selection = if kuery.is_empty() {
        Selection::Ids(values.all("agent").into_iter().map(str::to_owned).collect())
    } else {
        Selection::Kuery {
            kuery: kuery.to_owned(),
            include_inactive: values.is_on("inactive"),
            upgradeable: values.is_on("upgradeable"),
        }
    };
    Ok(agents::select(&reader.console, &selection).await?)
}

/// What was done, for the page that is shown then.
pub(super) fn done(word: &str) -> Option<&'static str> {
    Some(match word {
        "reassign" => "Assigned. Agents take the new policy at their next check-in.",
        "unenroll" => "Asked to unenroll; it stops at the next check-in.",
        "upgrade" => "The upgrade is on its way.",
        "aborted" => "Aborted. What the agent has begun already it ends by itself.",
        "tags" => "Tags changed.",
        "diagnostics" => "Diagnostics were requested; the zip appears when the agent has sent it.",
        "log-level" => "The log level is on its way.",
        "zip-deleted" => "The zip was deleted.",
        _ => return None,
    })
}
