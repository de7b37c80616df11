//! Enrollment tokens: listed, made, revoked.

use askama::Template;
use axum::extract::{Form, Path, Query};
use axum::response::{Html, Redirect};
use jiff::SignedDuration;
use serde::Deserialize;

use super::agents::Choice;
use super::frame::Frame;
use super::look::{Look, Moment};
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::domain::page::PageRequest;
use crate::domain::{agent_policies, enrollment_keys};

/// More than anybody keeps; the API has the rest.
const SHOWN: usize = 200;

#[derive(Template)]
#[template(path = "enrollment_tokens.html")]
struct Page {
    frame: Frame,
    rows: Vec<Row>,
    policies: Vec<Choice>,
    may_change: bool,
}

struct Row {
    id: String,
    name: String,
    policy_id: String,
    policy_name: String,
    look: Look,
    active: bool,
    created: Moment,
    expires: String,
    /// Only for those who may change things: whoever has it can enrol.
    token: Option<String>,
}

/// What stands in the URL.
#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    policy: String,
    done: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct NewToken {
    #[serde(default)]
    csrf_token: String,
    policy_id: String,
    #[serde(default)]
    name: String,
    /// Hours; empty: for ever.
    #[serde(default)]
    hours: String,
}

#[derive(Deserialize)]
pub(super) struct Token {
    #[serde(default)]
    csrf_token: String,
}

pub(super) async fn page(reader: SignedIn, Query(wanted): Query<Wanted>) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let policies = agent_policies::list(console).await?;
    let request = PageRequest {
        page: 1,
        per_page: SHOWN,
    };
    let found = enrollment_keys::list(console, query::Query::MatchAll, request).await?;
    let now = console.clock.now();
    let name_of = |id: &str| {
        policies
            .iter()
            .find(|policy| policy.id == id)
            .map_or(id, |policy| policy.name.as_str())
            .to_owned()
    };
    let toast = match wanted.done.as_deref() {
        Some("created") => Some("The enrollment token was created."),
        Some("revoked") => Some("The token was revoked. Agents that enrolled with it stay."),
        _ => None,
    };
    let may_change = reader.may_change();
    let row = |key: enrollment_keys::EnrollmentKey| Row {
        policy_name: name_of(key.document.policy_id.as_str()),
        policy_id: key.document.policy_id.as_str().to_owned(),
        look: if key.document.active {
            Look::new("ok", "Active")
        } else {
            Look::new("off", "Revoked")
        },
        active: key.document.active,
        created: Moment::parse(now, Some(&key.document.created_at)),
        expires: key
            .document
            .expire_at
            .as_deref()
            .map_or_else(|| "never".to_owned(), |time| Moment::parse(now, Some(time)).relative),
        token: (may_change && key.document.active).then(|| key.token().expose().to_owned()),
        name: key.document.name,
        id: key.id,
    };
    let page = Page {
        frame: Frame::new(&reader, "Enrollment tokens", "Enrollment tokens").toast(toast),
        rows: found.items.into_iter().map(row).collect(),
        policies: policies
            .iter()
            .map(|policy| Choice {
                value: policy.id.clone(),
                name: policy.name.clone(),
                selected: policy.id == wanted.policy,
            })
            .collect(),
        may_change,
    };
    show(&page)
}

pub(super) async fn create(reader: SignedIn, Form(new): Form<NewToken>) -> Result<Redirect, Problem> {
    let actor = reader.who_changes(&new.csrf_token)?;
    let expires = new
        .hours
        .trim()
        .parse::<i64>()
        .ok()
        .filter(|hours| (1..=87_600).contains(hours));
    let expires = expires.map(SignedDuration::from_hours);
    enrollment_keys::create(&reader.console, &actor, &new.policy_id, Some(new.name.trim()), expires).await?;
    Ok(Redirect::to("/app/fleet/enrollment-tokens?done=created"))
}

pub(super) async fn revoke(
    reader: SignedIn,
    Path(id): Path<String>,
    Form(token): Form<Token>,
) -> Result<Redirect, Problem> {
    let actor = reader.who_changes(&token.csrf_token)?;
    enrollment_keys::revoke(&reader.console, &actor, &id, false).await?;
    Ok(Redirect::to("/app/fleet/enrollment-tokens?done=revoked"))
}
