//! Who looks at a page.

use std::sync::Arc;

use access::{FleetPrivilege, Privilege};
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{Method, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::problem::Problem;
use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::sessions::{self, Session};

/// Somebody with a valid session who may read; everybody else is sent to the login.
pub(super) struct SignedIn {
    pub(super) console: Arc<Console>,
    pub(super) session: Session,
    /// `light` or `dark`, when the reader chose one.
    pub(super) theme: Option<String>,
}

impl FromRequestParts<Arc<Console>> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self, Response> {
        let cookies = cookies(parts);
        let session = sessions::of_cookies(console, &cookies)
            .await
            .map_err(|error| Problem::from(error).into_response())?;
        let Some(session) = session else {
            return Err(to_login(parts));
        };
        if !session.principal.may(Privilege::Fleet(FleetPrivilege::Read)) {
            return Err(Problem::forbidden("Your roles do not let you see the fleet.").into_response());
        }
        Ok(Self {
            console: Arc::clone(console),
            session,
            theme: theme(&cookies),
        })
    }
}

impl SignedIn {
    /// Whoever sent a form: its token is right, and they may change things.
    pub(super) fn who_changes(&self, csrf_token: &str) -> Result<Actor, Problem> {
        if !self.session.accepts_csrf(csrf_token) {
            return Err(Problem::forbidden(
                "The form is too old or not from this site. Go back, reload the page, send it again.",
            ));
        }
        if !self.may_change() {
            return Err(Problem::forbidden("Your roles let you look, but not change anything."));
        }
        Ok(Actor::of(Arc::clone(&self.session.principal), "default"))
    }

    pub(super) fn may_change(&self) -> bool {
        self.session.principal.may(Privilege::Fleet(FleetPrivilege::All))
    }
}

/// The whole `Cookie` header.
pub(super) fn cookies(parts: &Parts) -> String {
    let all = parts.headers.get_all(header::COOKIE).iter();
    all.filter_map(|value| value.to_str().ok())
        .collect::<Vec<_>>()
        .join("; ")
}

/// The reader's choice in the `theme` cookie.
pub(super) fn theme(cookies: &str) -> Option<String> {
    let chosen = cookies
        .split(';')
        .find_map(|cookie| cookie.trim().strip_prefix("theme="))?;
    matches!(chosen, "light" | "dark").then(|| chosen.to_owned())
}

/// Back to the same page after the login; a form that was sent cannot be repeated, so it starts over.
fn to_login(parts: &Parts) -> Response {
    let wanted = match parts.method {
        Method::GET => parts.uri.path_and_query().map_or("/", |path| path.as_str()),
        _ => "/",
    };
    Redirect::to(&format!(
        "/login?next={}",
        utf8_percent_encode(wanted, NON_ALPHANUMERIC)
    ))
    .into_response()
}
