//! The audit log: who changed what, when, and from what to what.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::extract::Query as UrlQuery;
use axum::response::Html;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::explore::fields::{flatten, shown};
use super::frame::Frame;
use super::look::{Moment, figure, url_part};
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::domain::audit::{self, Wanted as Records};

const ROWS: usize = 50;
/// Longer values are cut; the API has them whole.
const LONGEST: usize = 300;
/// They differ with every change and say nothing about it.
const NOISE: [&str; 5] = ["updated_at", "updated_by", "revision", "created_at", "setup_pending"];

#[derive(Template)]
#[template(path = "audit.html")]
struct Page {
    frame: Frame,
    rows: Vec<Change>,
    query: String,
    kind: String,
    /// Kinds of objects as the URL has them, and in the words of the pages.
    kinds: Vec<(&'static str, &'static str)>,
    total: String,
    older: Option<String>,
    newest: Option<String>,
    live_url: String,
}

/// A change in words.
pub(super) struct Change {
    pub(super) time: Moment,
    pub(super) actor: String,
    pub(super) verb: &'static str,
    pub(super) kind: String,
    pub(super) object: String,
    pub(super) id: String,
    pub(super) credential: String,
    /// Field, before, after.
    pub(super) fields: Vec<(String, String, String)>,
    /// The colour of its dot.
    pub(super) tone: &'static str,
}

/// What stands in the URL.
#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    q: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    after: String,
}

impl Wanted {
    fn href(&self, after: &str) -> String {
        format!(
            "/app/audit?q={}&kind={}&after={}",
            url_part(&self.q),
            url_part(&self.kind),
            url_part(after)
        )
    }
}

pub(super) async fn page(reader: SignedIn, UrlQuery(wanted): UrlQuery<Wanted>) -> Result<Html<String>, Problem> {
    if !reader.may_change() {
        return Err(Problem::forbidden("Your roles do not let you see who changed what."));
    }
    let console = &reader.console;
    let records = Records {
        text: wanted.q.trim().to_owned(),
        kind: wanted.kind.clone(),
        after: serde_json::from_str(&wanted.after).ok(),
        limit: ROWS,
    };
    let found = audit::find(console, &records).await?;
    let now = console.clock.now();
    let page = Page {
        frame: Frame::new(&reader, "Audit log", "Audit log"),
        rows: found
            .records
            .iter()
            .map(|record| Change::of(&record.fields, now))
            .collect(),
        total: figure(found.total),
        older: found.next.map(|next| wanted.href(&Value::from(next).to_string())),
        newest: (!wanted.after.is_empty()).then(|| wanted.href("")),
        kinds: audit::KINDS.iter().map(|kind| (*kind, in_words(kind))).collect(),
        live_url: wanted.href(&wanted.after),
        query: wanted.q,
        kind: wanted.kind,
    };
    show(&page)
}

impl Change {
    pub(super) fn of(record: &Map<String, Value>, now: Timestamp) -> Self {
        let text = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default();
        let object = record.get("object").cloned().unwrap_or_default();
        let content = |key: &str| serde_json::from_str::<Value>(text(key)).unwrap_or_default();
        let (before, after) = (content("before"), content("after"));
        // Names say more than ids; they are in what was written.
        let name = [&after, &before]
            .into_iter()
            .find_map(|content| content["name"].as_str());
        let id = object["id"].as_str().unwrap_or_default().to_owned();
        let (verb, tone) = match text("action") {
            "create" | "event" => ("created", "ok"),
            "delete" => ("deleted", "bad"),

            _ if after["deleted"] == true => ("deleted", "bad"),
            _ if before["active"] == true && after["active"] == false => ("revoked", "bad"),
            _ => ("changed", "act"),
        };
        Self {
            time: Moment::parse(now, record.get("@timestamp").and_then(Value::as_str)),
            actor: text("actor").to_owned(),
            verb,
            kind: in_words(&object["type"].as_str().unwrap_or_default().replace(['_', '-'], " ")).to_owned(),
            object: name.map_or_else(|| id.clone(), |name| short_name(name, &id)),
            id,
            credential: record.get("credential").map(shown).unwrap_or_default(),
            fields: differences(&before, &after),
            tone,
        }
    }

    /// The second line: what became of it.
    pub(super) fn effect(&self) -> String {
        let names: Vec<&str> = self.fields.iter().take(4).map(|(name, ..)| name.as_str()).collect();
        match self.verb {
            "changed" if !names.is_empty() => format!("{}: {}", self.object, names.join(", ")),
            _ => self.object.clone(),
        }
    }
}

/// A kind of object in the words that the rest of the pages use for it.
fn in_words(kind: &str) -> &str {
    match kind {
        "enrollment api key" => "enrollment token",
        "fleet server host" => "Fleet Server host",
        "package policy" => "integration",
        "download source" => "agent binary source",
        other => other,
    }
}

/// Without the id that stored names of tokens end with.
fn short_name(name: &str, id: &str) -> String {
    name.strip_suffix(&format!(" ({id})")).unwrap_or(name).to_owned()
}

fn differences(before: &Value, after: &Value) -> Vec<(String, String, String)> {
    let values = |content: &Value| -> BTreeMap<String, String> {
        flatten(content)
            .into_iter()
            .map(|(name, value)| (name, cut(&shown(value))))
            .collect()
    };
    let (before, after) = (values(before), values(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let of = |values: &BTreeMap<String, String>, name: &String| values.get(name).cloned().unwrap_or_default();
    names
        .into_iter()
        .filter(|name| !NOISE.contains(&name.as_str()) && before.get(*name) != after.get(*name))
        .map(|name| (name.clone(), of(&before, name), of(&after, name)))
        .collect()
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain("…".chars()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_says_what_differs() {
        let record = json!({
            "@timestamp": "2026-03-01T12:00:00Z", "actor": "maren", "action": "update",
            "object": {"type": "fleet-server-host", "id": "h1"},
            "before": json!({"name": "Harbour", "host_urls": ["https://a"], "updated_at": "1"}).to_string(),
            "after": json!({"name": "Harbour", "host_urls": ["https://a", "https://b"], "updated_at": "2"}).to_string(),
        });
        let change = Change::of(record.as_object().unwrap(), "2026-03-01T12:05:00Z".parse().unwrap());
        let words = [change.verb, &change.kind, &change.object];
        assert_eq!(words, ["changed", "Fleet Server host", "Harbour"]);
        let expected = (
            "host_urls".to_owned(),
            "https://a".to_owned(),
            "https://a, https://b".to_owned(),
        );
        assert_eq!(change.fields, [expected]);
        assert_eq!(change.effect(), "Harbour: host_urls");
    }

    #[test]
    fn what_was_done_has_its_own_word() {
        let check = |action: &str, after: Value, expected: &str| {
            let record = json!({"action": action, "object": {"type": "enrollment_api_key", "id": "t"},
                "before": json!({"name": "quay (t)", "active": true}).to_string(), "after": after.to_string()});
            let change = Change::of(record.as_object().unwrap(), Timestamp::UNIX_EPOCH);
            assert_eq!(change.verb, expected, "{after}");
        };
        check(
            "update",
            json!({"name": "quay (t)", "active": false, "deleted": false}),
            "revoked",
        );
        check(
            "update",
            json!({"name": "quay (t)", "active": false, "deleted": true}),
            "deleted",
        );
        check("update", json!({"name": "quay (t)", "active": true}), "changed");
        check("event", json!({"name": "newest-service-token"}), "created");
    }
}
