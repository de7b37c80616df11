//! Uninstall tokens: what takes a protected agent off its host, shown one at a time.

use askama::Template;
use axum::extract::Query;
use axum::response::Html;
use serde::Deserialize;

use super::frame::Frame;
use super::look::Moment;
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::domain::uninstall_tokens;

#[derive(Template)]
#[template(path = "uninstall_tokens.html")]
struct Page {
    frame: Frame,
    query: String,
    rows: Vec<Row>,
    may_change: bool,
}

struct Row {
    id: String,
    policy_id: String,
    policy_name: String,
    created: Moment,
    /// The command with the token, when it was asked for.
    command: Option<String>,
}

/// What stands in the URL.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    q: String,
    /// The token that is shown.
    reveal: String,
}

pub(super) async fn page(reader: SignedIn, Query(wanted): Query<Wanted>) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let mut rows = Vec::new();
    let looked_for = wanted.q.to_lowercase();
    for token in uninstall_tokens::list(console).await? {
        let policy_name = token.policy_name.clone().unwrap_or_else(|| token.policy_id.clone());
        if !policy_name.to_lowercase().contains(&looked_for) && !token.policy_id.contains(&looked_for) {
            continue;
        }
        let command = if token.id == wanted.reveal && reader.may_change() {
            let (_, secret) = uninstall_tokens::reveal(console, &token.id).await?;
            Some(format!(
                "sudo elastic-agent uninstall --uninstall-token {}",
                secret.expose()
            ))
        } else {
            None
        };
        rows.push(Row {
            policy_name,
            created: Moment::parse(console.clock.now(), Some(&token.created_at)),
            id: token.id,
            policy_id: token.policy_id,
            command,
        });
    }
    show(&Page {
        frame: Frame::new(&reader, "Uninstall tokens", "Uninstall tokens"),
        query: wanted.q,
        rows,
        may_change: reader.may_change(),
    })
}
