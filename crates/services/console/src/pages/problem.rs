//! A page that could not be shown, or a form that could not be done.

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;

use super::assets;
use crate::domain::error::FleetError;

/// What failed, for a person.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    what: String,
    then: &'static str,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Page<'a> {
    assets: String,
    status: u16,
    what: &'a str,
    then: &'a str,
}

impl Problem {
    pub(super) fn forbidden(what: &str) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            what: what.to_owned(),
            then: "Ask somebody with the right role.",
        }
    }
}

impl From<FleetError> for Problem {
    fn from(error: FleetError) -> Self {
        let (status, then) = match &error {
            FleetError::NotFound(_) => (
                StatusCode::NOT_FOUND,
                "It may have been deleted since the link was made.",
            ),
            FleetError::Conflict(_) => (StatusCode::CONFLICT, "Go back and choose another."),
            FleetError::Forbidden(_) => (StatusCode::FORBIDDEN, "Nothing was changed."),
            FleetError::Invalid { .. } => (StatusCode::BAD_REQUEST, "Nothing was changed. Go back and correct it."),
            FleetError::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "Wait a moment and try again."),
            _ => {
                tracing::error!(%error, "a page could not be shown");
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Agents keep what they collect. Try again in a moment.",
                )
            }
        };
        Self {
            status,
            what: error.to_string(),
            then,
        }
    }
}

impl From<askama::Error> for Problem {
    fn from(error: askama::Error) -> Self {
        tracing::error!(%error, "a template failed");
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            what: error.to_string(),
            then: "Nothing was changed.",
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let page = Page {
            assets: assets::version(),
            status: self.status.as_u16(),
            what: &self.what,
            then: self.then,
        };
        let html = page
            .render()
            .unwrap_or_else(|_| "The page could not be shown.".to_owned());
        (self.status, Html(html)).into_response()
    }
}

/// For every path below `/app` that no page has.
pub(super) async fn no_such_page() -> Problem {
    Problem {
        status: StatusCode::NOT_FOUND,
        what: "There is no such page.".to_owned(),
        then: "The link may be old or mistyped.",
    }
}

/// A template as an answer.
pub(super) fn show(page: &impl Template) -> Result<Html<String>, Problem> {
    Ok(Html(page.render()?))
}
