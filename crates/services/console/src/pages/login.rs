//! Log-in and log-out.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Extension, Form, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, Uri, header};
use secret::Secret;
use serde::Deserialize;
use transport::Peer;

use super::assets;
use super::problem::{Problem, show};
use super::session::{SignedIn, theme};
use crate::Console;
use crate::domain::sessions::{self, LoginError};
use crate::domain::setup;

#[derive(Template)]
#[template(path = "login.html")]
struct Page {
    assets: String,
    theme: Option<String>,
    cluster_name: String,
    next: String,
    username: String,
    wrong: String,
    host: String,
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct Credentials {
    username: String,
    password: Secret,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct Token {
    #[serde(default)]
    csrf_token: String,
}

pub(super) async fn page(
    State(console): State<Arc<Console>>,
    Query(wanted): Query<Wanted>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Html<String>, Problem> {
    show(&empty(&console, &uri, &headers, &wanted.next))
}

pub(super) async fn log_in(
    State(console): State<Arc<Console>>,
    peer: Option<Extension<Arc<Peer>>>,
    uri: Uri,
    headers: HeaderMap,
    Form(credentials): Form<Credentials>,
) -> Result<Response, Problem> {
    setup::ensure(&console).await?;
    let address = peer.map(|Extension(peer)| peer.address.ip());
    match sessions::log_in(&console, &credentials.username, credentials.password, address).await {
        Ok(session) => {
            let to = own_path(&credentials.next);
            Ok(([(header::SET_COOKIE, session.cookie())], Redirect::to(to)).into_response())
        }
        Err(LoginError::Unchecked(error)) => Err(error.into()),
        Err(refused) => {
            let wrong = match &refused {
                LoginError::TooMany { seconds } => {
                    format!("Too many failed tries from here. Try again in {seconds} seconds.")
                }
                _ => "User name or password is wrong.".to_owned(),
            };
            let page = Page {
                username: credentials.username,
                wrong,
                ..empty(&console, &uri, &headers, &credentials.next)
            };
            Ok((StatusCode::UNAUTHORIZED, show(&page)?).into_response())
        }
    }
}

pub(super) async fn log_out(
    reader: SignedIn,
    headers: HeaderMap,
    Form(token): Form<Token>,
) -> Result<Response, Problem> {
    if !reader.session.accepts_csrf(&token.csrf_token) {
        return Err(Problem::forbidden("The form is too old or not from this site."));
    }
    let cookies = headers
        .get(header::COOKIE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    sessions::log_out(&reader.console, cookies).await?;
    Ok((
        [(header::SET_COOKIE, sessions::expired_cookie())],
        Redirect::to("/login"),
    )
        .into_response())
}

fn empty(console: &Console, uri: &Uri, headers: &HeaderMap, next: &str) -> Page {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    Page {
        assets: assets::version(),
        theme: theme(&text(header::COOKIE)),
        cluster_name: console.settings.host_name.clone(),
        next: own_path(next).to_owned(),
        username: String::new(),
        wrong: String::new(),
        // HTTP/2 has no header for it.
        host: uri.authority().map_or_else(|| text(header::HOST), ToString::to_string),
    }
}

/// Only a path of this site; everything else would send a reader elsewhere.
pub(super) fn own_path(wanted: &str) -> &str {
    let is_own = wanted.starts_with('/') && !wanted.starts_with("//") && !wanted.contains(['\\', '\r', '\n']);
    if is_own { wanted } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_only_to_this_site() {
        assert_eq!(own_path("/app/fleet/agents?q=a"), "/app/fleet/agents?q=a");
        for foreign in [
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "",
            "javascript:x",
        ] {
            assert_eq!(own_path(foreign), "/", "{foreign}");
        }
    }
}
