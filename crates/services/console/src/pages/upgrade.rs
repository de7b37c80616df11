//! How far the upgrade of an agent is, in the words and shapes of the pages.

use jiff::Timestamp;
use protocol::{ActionDocument, UpgradeDetails, UpgradeState};
use serde_json::Value;

use super::look::{Look, Moment, url_part};
use crate::Console;
use crate::domain::agents::Agent;
use crate::domain::error::FleetError;
use crate::domain::upgrades;

/// What an upgrade goes through, in this order.
const STEPS: [(&str, &str); 6] = [
    ("Requested", "The agent hears of it at its next check-in."),
    ("Downloading", "The package is fetched beside what runs."),
    ("Unpacking", "The package is checked, unpacked and tried."),
    ("Replacing", "The new version is put beside the present one."),
    ("Restarting", "The new version takes over."),
    (
        "On probation",
        "The new version has to work and check in; else the agent goes back by itself.",
    ),
];
/// For so long after its end a finished upgrade is still shown.
const SHOWN_FOR: jiff::SignedDuration = jiff::SignedDuration::from_mins(30);

/// The upgrade of one agent.
pub(super) struct Upgrade {
    pub(super) version: String,
    pub(super) look: Look,
    /// What happens now, or has happened.
    pub(super) sentence: String,
    /// Why it failed.
    pub(super) reason: String,
    pub(super) steps: Vec<Step>,
    /// The action, as long as it can be taken back.
    pub(super) abort: Option<String>,
    /// Where it is asked for again.
    pub(super) retry: Option<String>,
}

/// A step of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) effect: &'static str,
    /// `done`, `now`, `bad` or `later`.
    pub(super) class: &'static str,
}

/// The upgrade that an agent is in, was taken back from, or has just had.
pub(super) async fn of(console: &Console, agent: &Agent) -> Result<Option<Upgrade>, FleetError> {
    let now = console.clock.now();
    if let Some(details) = upgrades::details(agent) {
        return Ok(Some(Upgrade::told(&agent.id, &details, now)));
    }
    let document = &agent.document;
    let has_ended = document.upgraded_at.as_deref().and_then(|time| time.parse().ok());
    let is_shown = match has_ended {
        Some(time) => now.duration_since(time) < SHOWN_FOR,
        None => document.upgrade_started_at.is_some(),
    };
    if !is_shown {
        return Ok(None);
    }
    let Some(action) = upgrades::asked_last(console, &agent.id).await? else {
        return Ok(None);
    };
    let runs = document.agent.as_ref().map(|agent| agent.version.as_str());
    Ok(match has_ended {
        None => Some(Upgrade::waiting(&action, now)),
        Some(time) if runs == Some(wanted(&action)) => Some(Upgrade::ended(wanted(&action), time, now)),
        Some(_) => None,
    })
}

fn wanted(action: &ActionDocument) -> &str {
    let version = action.data.as_ref().and_then(|data| data.get("version"));
    version.and_then(Value::as_str).unwrap_or_default()
}

impl Upgrade {
    /// As the agent tells it.
    fn told(agent: &str, details: &UpgradeDetails, now: Timestamp) -> Self {
        let said = Said::of(details, now);
        let has_failed = upgrades::has_failed(details.state);
        let retry = format!(
            "/app/fleet/agents/actions?action=upgrade&agent={}&version={}&force=on",
            url_part(agent),
            url_part(&details.target_version)
        );
        let can_be_aborted = matches!(
            details.state,
            UpgradeState::Requested | UpgradeState::Scheduled | UpgradeState::Downloading
        );
        Self {
            version: details.target_version.clone(),
            steps: steps(said.at, if has_failed { "bad" } else { "now" }),
            look: said.look,
            sentence: said.sentence,
            reason: said.reason,
            abort: can_be_aborted.then(|| details.action_id.clone()),
            retry: has_failed.then_some(retry),
        }
    }

    /// Asked for; the agent has not said anything.
    fn waiting(action: &ActionDocument, now: Timestamp) -> Self {
        let start = action.start_time.as_deref();
        let start = start.filter(|time| time.parse::<Timestamp>().is_ok_and(|time| time > now));
        Self {
            version: wanted(action).to_owned(),
            look: Look::new("act", "Requested"),
            sentence: match start {
                Some(_) => format!("It starts {}.", Moment::parse(now, start).relative),
                None => "The agent has not answered yet; it hears of it at its next check-in.".to_owned(),
            },
            reason: String::new(),
            steps: steps(0, "now"),
            abort: Some(action.action_id.clone()),
            retry: None,
        }
    }

    fn ended(version: &str, time: Timestamp, now: Timestamp) -> Self {
        Self {
            version: version.to_owned(),
            look: Look::new("ok", "Complete"),
            sentence: format!("It runs {version}; upgraded {}.", Moment::of(now, time).relative),
            reason: String::new(),
            steps: steps(STEPS.len(), "now"),
            abort: None,
            retry: None,
        }
    }
}

/// What a state says.
struct Said {
    look: Look,
    sentence: String,
    reason: String,
    /// The step that it is in.
    at: usize,
}

impl Said {
    fn of(details: &UpgradeDetails, now: Timestamp) -> Self {
        let told = |key: &str| {
            details
                .metadata
                .as_ref()
                .and_then(|metadata| metadata.get(key))
                .cloned()
                .unwrap_or_default()
        };
        let text = |key: &str| told(key).as_str().unwrap_or_default().to_owned();
        let at = step_of(details.state).unwrap_or_else(|| {
            let failed_in: Option<UpgradeState> = serde_json::from_value(told("failed_state")).ok();
            failed_in.and_then(step_of).unwrap_or(STEPS.len() - 1)
        });
        let (name, effect) = STEPS[at];
        let (look, sentence, reason) = match details.state {
            UpgradeState::Failed => (
                Look::new("bad", "Failed"),
                "It failed; the version before goes on.".to_owned(),
                text("error_msg"),
            ),
            UpgradeState::Rollback => (
                Look::new("bad", "Taken back"),
                "The new version did not pass its probation; the agent went back to the one before.".to_owned(),
                text("reason"),
            ),
            UpgradeState::Scheduled => {
                let start = Moment::parse(now, Some(&text("scheduled_at")));
                let sentence = format!("The agent begins {}: {}.", start.relative, start.exact);
                (Look::new("off", "Scheduled"), sentence, String::new())
            }
            UpgradeState::Downloading => {
                let sentence = match told("download_percent").as_f64() {
                    // Agents tell a share of 1, or percent.
                    Some(share) if share <= 1.0 => format!("{effect} {:.0}% is here.", share * 100.0),
                    Some(percent) => format!("{effect} {percent:.0}% is here."),
                    None => effect.to_owned(),
                };
                (Look::new("act", name), sentence, text("retry_error_msg"))
            }
            _ => (Look::new("act", name), effect.to_owned(), String::new()),
        };
        Self {
            look,
            sentence,
            reason,
            at,
        }
    }
}

/// The step that a state is in; none when it depends on what failed.
fn step_of(state: UpgradeState) -> Option<usize> {
    Some(match state {
        UpgradeState::Requested | UpgradeState::Scheduled => 0,
        UpgradeState::Downloading => 1,
        UpgradeState::Extracting => 2,
        UpgradeState::Replacing => 3,
        UpgradeState::Restarting => 4,
        UpgradeState::Watching | UpgradeState::Rollback => 5,
        UpgradeState::Failed => return None,
    })
}

/// All steps: those before `at` are done, those after it are to come.
fn steps(at: usize, class: &'static str) -> Vec<Step> {
    let step = |(number, (name, effect)): (usize, &(&'static str, &'static str))| Step {
        name,
        effect,
        class: match number.cmp(&at) {
            std::cmp::Ordering::Less => "done",
            std::cmp::Ordering::Equal => class,
            std::cmp::Ordering::Greater => "later",
        },
    };
    STEPS.iter().enumerate().map(step).collect()
}

/// A state in a word, as lists show it; nothing when there is no upgrade.
pub(super) fn in_short(agent: &Agent, now: Timestamp) -> Option<Look> {
    let details = upgrades::details(agent)?;
    let Look { tone, word } = Said::of(&details, now).look;
    Some(Look::new(
        tone,
        format!("Upgrade to {}: {}", details.target_version, word.to_lowercase()),
    ))
}

/// How many agents are in which state, in words: `2 downloading, 1 failed`.
pub(super) fn counted(states: &upgrades::Progress) -> String {
    let word = |state: &str| {
        let state: Option<UpgradeState> = serde_json::from_value(Value::from(state)).ok();
        match state? {
            UpgradeState::Failed => Some("failed".to_owned()),
            UpgradeState::Rollback => Some("taken back".to_owned()),
            UpgradeState::Scheduled => Some("scheduled".to_owned()),
            other => Some(STEPS[step_of(other)?].0.to_lowercase()),
        }
    };
    let parts = states
        .iter()
        .filter_map(|(state, count)| Some(format!("{} {}", super::look::figure(*count), word(state)?)));
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(details: Value) -> Upgrade {
        let details = serde_json::from_value(details).unwrap();
        Upgrade::told("a b", &details, "2026-03-01T12:00:00Z".parse().unwrap())
    }

    fn at(upgrade: &Upgrade, class: &str) -> Option<&'static str> {
        let step = upgrade.steps.iter().find(|step| step.class == class);
        step.map(|step| step.name)
    }

    #[test]
    fn a_state_is_a_step_with_what_happens() {
        let check = |details: Value, step: &str, word: &str, sentence: &str, can_be_aborted: bool| {
            let mut details = details;
            details["target_version"] = "9.6.1".into();
            details["action_id"] = "x".into();
            let upgrade = told(details);
            assert_eq!(at(&upgrade, "now"), Some(step));
            assert_eq!(upgrade.look.word, word);
            assert!(
                upgrade.sentence.contains(sentence),
                "{sentence} in {}",
                upgrade.sentence
            );
            assert_eq!(upgrade.abort.is_some(), can_be_aborted, "{step}");
            assert_eq!(upgrade.retry, None);
        };
        check(
            json!({"state": "UPG_REQUESTED"}),
            "Requested",
            "Requested",
            "check-in",
            true,
        );
        check(
            json!({"state": "UPG_SCHEDULED", "metadata": {"scheduled_at": "2026-03-01T14:00:00Z"}}),
            "Requested",
            "Scheduled",
            "in 2 h: 1 Mar 2026, 14:00:00 UTC",
            true,
        );
        check(
            json!({"state": "UPG_DOWNLOADING", "metadata": {"download_percent": 0.34}}),
            "Downloading",
            "Downloading",
            "34% is here",
            true,
        );
        check(
            json!({"state": "UPG_EXTRACTING"}),
            "Unpacking",
            "Unpacking",
            "tried",
            false,
        );
        check(
            json!({"state": "UPG_REPLACING"}),
            "Replacing",
            "Replacing",
            "beside",
            false,
        );
        check(
            json!({"state": "UPG_WATCHING"}),
            "On probation",
            "On probation",
            "goes back",
            false,
        );
    }

    #[test]
    fn one_that_failed_says_where_and_why_and_can_be_tried_again() {
        let failed = told(
            json!({"target_version": "9.6.1", "action_id": "x", "state": "UPG_FAILED",
            "metadata": {"failed_state": "UPG_DOWNLOADING", "error_msg": "no such file"}}),
        );
        assert_eq!(at(&failed, "bad"), Some("Downloading"));
        assert_eq!(failed.reason, "no such file");
        assert_eq!(
            failed.retry.as_deref(),
            Some("/app/fleet/agents/actions?action=upgrade&agent=a%20b&version=9%2E6%2E1&force=on")
        );
        assert_eq!(failed.abort, None);
        let back = told(json!({"target_version": "9.6.1", "action_id": "x", "state": "UPG_ROLLBACK"}));
        assert_eq!(
            (at(&back, "bad"), back.look.word.as_str()),
            (Some("On probation"), "Taken back")
        );
        assert!(back.retry.is_some());
    }

    #[test]
    fn many_are_counted_by_their_state() {
        let states = [
            ("UPG_DOWNLOADING", 1_200),
            ("UPG_FAILED", 1),
            ("UPG_WATCHING", 3),
            ("OTHER", 4),
        ];
        let states = states.map(|(state, count)| (state.to_owned(), count)).into();
        assert_eq!(counted(&states), "1,200 downloading, 1 failed, 3 on probation");
    }
}
