//! Uninstall tokens: what takes a protected agent off its host, shown one at a time.

use askama::Template;
use axum::extract::Query;
use axum::response::Html;
use serde::Deserialize;

use super::frame::Frame;
use super::look::{Moment, Paging, url_part};
use super::order::{Column, Head, Order};
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::domain::page::PageRequest;
use crate::domain::uninstall_tokens;

#[derive(Template)]
#[template(path = "uninstall_tokens.html")]
struct Page {
    frame: Frame,
    query: String,
    sort: String,
    heads: Vec<Head>,
    rows: Vec<Row>,
    paging: Paging,
    may_change: bool,
}

struct Row {
    /// Where it is shown.
    reveal: String,
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
    sort: Order,
    page: usize,
    /// The token that is shown.
    reveal: String,
}

impl Wanted {
    fn url(&self, sort: &str, page: usize) -> String {
        format!(
            "/app/fleet/uninstall-tokens?q={}&sort={sort}&page={page}",
            url_part(&self.q)
        )
    }
}

/// Columns; that of the actions is not among them.
const COLUMNS: &[Column] = &[
    Column::rising("Policy name", "name", ""),
    Column::rising("Policy ID", "id", "p3"),
    Column::falling("Created", "created", "p2"),
];

/// Tokens of a page.
const PER_PAGE: usize = 50;

pub(super) async fn page(reader: SignedIn, Query(wanted): Query<Wanted>) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let looked_for = wanted.q.trim().to_lowercase();
    let mut tokens = uninstall_tokens::list(console).await?;
    tokens.retain(|token| {
        let name = token.policy_name.as_ref().unwrap_or(&token.policy_id);
        name.to_lowercase().contains(&looked_for) || token.policy_id.contains(&looked_for)
    });
    let order = &wanted.sort;
    match order.key() {
        "name" => order.sort(&mut tokens, |token| {
            token.policy_name.as_ref().unwrap_or(&token.policy_id).to_lowercase()
        }),
        "id" => order.sort(&mut tokens, |token| token.policy_id.clone()),
        "created" => order.sort(&mut tokens, |token| token.created_at.clone()),
        _ => {}
    }
    let request = PageRequest {
        page: wanted.page.max(1),
        per_page: PER_PAGE,
    };
    let page = request.of(tokens);
    let sort = wanted.sort.written(COLUMNS);
    let url = |number: usize| wanted.url(sort, number);
    let paging = Paging::of(&page, url);
    let mut rows = Vec::new();
    for token in page.items {
        let command = if token.id == wanted.reveal && reader.may_change() {
            let (_, secret) = uninstall_tokens::reveal(console, &token.id).await?;
            let secret = secret.expose();
            Some(format!("sudo elastic-agent uninstall --uninstall-token {secret}"))
        } else {
            None
        };
        rows.push(Row {
            policy_name: token.policy_name.unwrap_or_else(|| token.policy_id.clone()),
            created: Moment::parse(console.clock.now(), Some(&token.created_at)),
            reveal: format!("{}&reveal={}", wanted.url(sort, request.page), token.id),
            policy_id: token.policy_id,
            command,
        });
    }
    show(&Page {
        frame: Frame::new(&reader, "Uninstall tokens", "Uninstall tokens"),
        heads: wanted.sort.heads(COLUMNS, |sort| wanted.url(sort, 1)),
        sort: sort.to_owned(),
        query: wanted.q.clone(),
        rows,
        paging,
        may_change: reader.may_change(),
    })
}
