//! Enrollment tokens: listed, made, shown, revoked.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::{Html, IntoResponse, Redirect, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::agents::Choice;
use super::form::{Submission, Values};
use super::frame::Frame;
use super::look::{Look, Moment, Paging, url_part};
use super::order::{Column, Head, Order};
use super::problem::{Problem, show};
use super::question::{self, Question};
use super::session::SignedIn;
use crate::domain::agent_policies;
use crate::domain::enrollment_keys::{self, EnrollmentKey, NewKey};
use crate::domain::error::FleetError;
use crate::domain::page::PageRequest;

const PER_PAGE: usize = 50;

/// Columns; that of the actions is not among them.
const COLUMNS: &[Column] = &[
    Column::rising("Name", "name", ""),
    Column::fixed("Secret", "p3"),
    Column::rising("Agent policy", "policy", "p2"),
    Column::falling("Created on", "created", "p4"),
    Column::rising("Expires", "expires", "p2"),
    Column::fixed("Uses", "p4"),
    Column::rising("Active", "active", ""),
];

/// The policy that setup made: most tokens are for it.
const DEFAULT_POLICY: &str = "default-policy";

/// How long a token may be used: hours, and in words. The first is what is proposed.
const LIFETIMES: [(&str, &str); 5] = [
    ("24", "24 hours"),
    ("168", "7 days"),
    ("720", "30 days"),
    ("8760", "A year"),
    ("", "Never"),
];

#[derive(Template)]
#[template(path = "enrollment_tokens.html")]
struct Page {
    frame: Frame,
    query: String,
    /// How the list is ordered, for the form that searches.
    sort: String,
    heads: Vec<Head>,
    rows: Vec<Row>,
    paging: Paging,
    policies: Vec<Choice>,
    lifetimes: Vec<Choice>,
    may_change: bool,
    /// The form as it was sent, when it could not be done, and why.
    sent: Values,
    wrong: String,
}

struct Row {
    id: String,
    name: String,
    policy_id: String,
    policy_name: String,
    look: Look,
    active: bool,
    /// It lets hosts in now: neither revoked, expired nor used up.
    is_usable: bool,
    created: Moment,
    expires: Moment,
    uses: String,
    addresses: String,
    /// Only for those who may change things: whoever has it can enrol.
    token: Option<String>,
}

/// What stands in the URL.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    /// A part of a token's or policy's name.
    q: String,
    policy: String,
    sort: Order,
    page: usize,
    done: Option<String>,
}

pub(super) async fn page(reader: SignedIn, Query(wanted): Query<Wanted>) -> Result<Html<String>, Problem> {
    render(&reader, wanted, Values::default(), String::new()).await
}

async fn render(reader: &SignedIn, wanted: Wanted, sent: Values, wrong: String) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let policies = agent_policies::list(console).await?;
    let now = console.clock.now();
    let name_of = |id: &str| {
        let policy = policies.iter().find(|policy| policy.id == id);
        policy.map_or(id, |policy| policy.name.as_str()).to_owned()
    };
    let looked_for = wanted.q.trim().to_lowercase();
    let matches = |key: &EnrollmentKey| {
        let policy = name_of(key.document.policy_id.as_str()).to_lowercase();
        key.document.name.to_lowercase().contains(&looked_for) || policy.contains(&looked_for)
    };
    let mut keys = enrollment_keys::all(console).await?;
    keys.retain(matches);
    let order = &wanted.sort;
    match order.key() {
        "name" => order.sort(&mut keys, |key| key.document.name.to_lowercase()),
        "policy" => order.sort(&mut keys, |key| name_of(key.document.policy_id.as_str()).to_lowercase()),
        "created" => order.sort(&mut keys, |key| key.document.created_at.clone()),
        // What never expires comes last.
        "expires" => order.sort(&mut keys, |key| {
            let expires = key.document.expire_at.clone();
            (expires.is_none(), expires)
        }),
        "active" => order.sort(&mut keys, |key| !key.document.active),
        _ => {}
    }
    let request = PageRequest {
        page: wanted.page.max(1),
        per_page: PER_PAGE,
    };
    let found = request.of(keys);
    let may_change = reader.may_change();
    let chosen = match sent.one("policy_id") {
        "" if wanted.policy.is_empty() => DEFAULT_POLICY,
        "" => wanted.policy.as_str(),
        chosen => chosen,
    };
    let page = Page {
        frame: Frame::new(reader, "Enrollment tokens", "Enrollment tokens").toast(match wanted.done.as_deref() {
            Some("created") => Some("The enrollment token was created."),
            Some("revoked") => Some("The token was revoked. Agents that enrolled with it stay."),
            _ => None,
        }),
        paging: Paging::of(&found, |number| wanted.href(wanted.sort.written(COLUMNS), number)),
        heads: wanted.sort.heads(COLUMNS, |sort| wanted.href(sort, 1)),
        sort: wanted.sort.written(COLUMNS).to_owned(),
        rows: found
            .items
            .into_iter()
            .map(|key| Row::of(key, now, &name_of, may_change))
            .collect(),
        policies: policies
            .iter()
            .map(|policy| Choice {
                value: policy.id.clone(),
                name: policy.name.clone(),
                selected: policy.id == chosen,
            })
            .collect(),
        lifetimes: LIFETIMES
            .map(|(hours, name)| Choice {
                value: hours.to_owned(),
                name: name.to_owned(),
                selected: sent.one("hours") == hours && !sent.all("policy_id").is_empty(),
            })
            .to_vec(),
        may_change,
        query: wanted.q,
        sent,
        wrong,
    };
    show(&page)
}

impl Wanted {
    fn href(&self, sort: &str, page: usize) -> String {
        format!(
            "/app/fleet/enrollment-tokens?q={}&sort={sort}&page={page}",
            url_part(&self.q)
        )
    }
}

impl Row {
    fn of(key: EnrollmentKey, now: Timestamp, name_of: &dyn Fn(&str) -> String, may_change: bool) -> Self {
        let document = &key.document;
        let expires = document.expire_at.as_deref();
        let is_over = expires
            .and_then(|time| time.parse::<Timestamp>().ok())
            .is_some_and(|time| time <= now);
        let used = document.use_count.unwrap_or_default();
        let is_used_up = document.use_limit.is_some_and(|limit| used >= limit);
        let look = match (document.active, is_over, is_used_up) {
            (false, ..) => Look::new("off", "Revoked"),
            (_, true, _) => Look::new("off", "Expired"),
            (.., true) => Look::new("off", "Used up"),
            _ => Look::new("ok", "Active"),
        };
        let mut expires = Moment::parse(now, expires);
        if document.expire_at.is_none() {
            "never".clone_into(&mut expires.relative);
        }
        Self {
            policy_name: name_of(document.policy_id.as_str()),
            policy_id: document.policy_id.as_str().to_owned(),
            is_usable: look.tone == "ok",
            look,
            active: document.active,
            created: Moment::parse(now, Some(&document.created_at)),
            expires,
            uses: document
                .use_limit
                .map_or_else(|| "no limit".to_owned(), |limit| format!("{used} of {limit}")),
            addresses: document.allowed_addresses.join(", "),
            token: (may_change && document.active).then(|| key.token().expose().to_owned()),
            name: short_name(&key),
            id: key.id,
        }
    }
}

/// Without the id that every stored name ends with.
pub(super) fn short_name(key: &EnrollmentKey) -> String {
    let name = key.document.name.as_str();
    let short = name.strip_suffix(&format!(" ({})", key.id)).unwrap_or(name);
    short.to_owned()
}

pub(super) async fn create(reader: SignedIn, submission: Submission) -> Result<Response, Problem> {
    let values = submission.values;
    let actor = reader.who_changes(values.one("csrf_token"))?;
    let made = match new_key(&values) {
        Ok(new) => enrollment_keys::create(&reader.console, &actor, new).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(_) => Ok(Redirect::to("/app/fleet/enrollment-tokens?done=created").into_response()),
        Err(FleetError::Invalid { message, .. }) => {
            let html = render(&reader, Wanted::default(), values, message).await?;
            Ok(html.into_response())
        }
        Err(error) => Err(error.into()),
    }
}

fn new_key(values: &Values) -> Result<NewKey, FleetError> {
    let number = |name: &str, what: &str| match values.one(name) {
        "" => Ok(None),
        text => match text.parse::<u64>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(FleetError::invalid(format!("{what}: `{text}` is no number"))),
        },
    };
    let hours = number("hours", "Expires after")?.and_then(|hours| i64::try_from(hours).ok());
    let addresses = values.one("allowed_addresses").split([',', ' ', '\n']);
    Ok(NewKey {
        policy_id: values.one("policy_id").to_owned(),
        name: Some(values.one("name").to_owned()),
        expiration: hours.map(SignedDuration::from_hours),
        use_limit: number("use_limit", "Agents that may enroll with it")?,
        allowed_addresses: addresses
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

pub(super) async fn revoke(
    reader: SignedIn,
    Path(id): Path<String>,
    submission: Submission,
) -> Result<Response, Problem> {
    let actor = reader.who_changes(submission.values.one("csrf_token"))?;
    if question::comes_first(&submission.values) {
        return Question {
            section: "Enrollment tokens",
            title: "Revoke this token?".to_owned(),
            effect: "No host can enroll with it any more. Agents that have enrolled stay.".to_owned(),
            verb: "Revoke token".to_owned(),
            action: format!("/app/fleet/enrollment-tokens/{}/revoke", url_part(&id)),
            back: "/app/fleet/enrollment-tokens".to_owned(),
        }
        .ask(&reader);
    }
    enrollment_keys::revoke(&reader.console, &actor, &id, false).await?;
    Ok(Redirect::to("/app/fleet/enrollment-tokens?done=revoked").into_response())
}
