//! Zips of an agent's state and logs: asked for, downloaded, deleted.

use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use http::header;

use super::super::form::Submission;
use super::super::look::{Look, Moment, url_part};
use super::super::problem::Problem;
use super::super::question::{self, Question};
use super::super::session::SignedIn;
use crate::Console;
use crate::domain::error::FleetError;
use crate::domain::uploads;

/// A zip that was asked for.
pub(super) struct Diagnostic {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) asked: Moment,
    pub(super) look: Look,
    pub(super) error: String,
    pub(super) is_there: bool,
}

pub(super) async fn of(console: &Console, agent_id: &str) -> Result<Vec<Diagnostic>, FleetError> {
    let now = console.clock.now();
    let all = uploads::list(console, agent_id).await?;
    Ok(all.into_iter().map(|upload| Diagnostic::of(upload, now)).collect())
}

impl Diagnostic {
    fn of(upload: uploads::Upload, now: jiff::Timestamp) -> Self {
        let look = match upload.status {
            "READY" => Look::new("ok", "Ready"),
            "FAILED" => Look::new("bad", "Failed"),
            "DELETED" => Look::new("off", "Deleted"),
            "EXPIRED" => Look::new("off", "Expired"),
            _ => Look::new("act", "Waiting for the agent"),
        };
        Self {
            is_there: upload.status == "READY",
            look,
            asked: Moment::parse(now, Some(&upload.created_at)),
            error: upload.error.unwrap_or_default(),
            id: upload.id,
            name: upload.name,
        }
    }
}

/// The zip itself.
pub(in crate::pages) async fn zip(
    reader: SignedIn,
    Path((_, file)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let content = uploads::content(&reader.console, &file).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/zip"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"diagnostics.zip\""),
    ];
    Ok((headers, content).into_response())
}

pub(in crate::pages) async fn delete(
    reader: SignedIn,
    Path((agent, file)): Path<(String, String)>,
    submission: Submission,
) -> Result<Response, Problem> {
    let actor = reader.who_changes(submission.values.one("csrf_token"))?;
    let list = format!("/app/fleet/agents/{}/diagnostics", url_part(&agent));
    if question::comes_first(&submission.values) {
        return Question {
            section: "Agents",
            title: "Delete this zip?".to_owned(),
            effect: "It cannot be brought back; another can be requested.".to_owned(),
            verb: "Delete zip".to_owned(),
            action: format!("{list}/{}/delete", url_part(&file)),
            back: list,
        }
        .ask(&reader);
    }
    uploads::delete(&reader.console, &actor, &file).await?;
    Ok(Redirect::to(&format!("{list}?done=zip-deleted")).into_response())
}
