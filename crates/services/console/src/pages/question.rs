//! Asking once more before something is gone. With script a dialog of the page asks; without it the form, which says by
//! its field `ask` that nobody did, leads to a page with the same question.

use askama::Template;
use axum::response::{IntoResponse, Response};

use super::form::Values;
use super::frame::Frame;
use super::problem::{Problem, show};
use super::session::SignedIn;

/// What is asked, and what a yes does.
pub(super) struct Question {
    /// The navigation's item.
    pub(super) section: &'static str,
    pub(super) title: String,
    /// What happens, and what does not.
    pub(super) effect: String,
    pub(super) verb: String,
    /// Where the form goes.
    pub(super) action: String,
    /// Where a no leads.
    pub(super) back: String,
}

#[derive(Template)]
#[template(path = "question.html")]
struct Page {
    frame: Frame,
    question: Question,
}

/// Whether the form was sent before anybody was asked.
pub(super) fn comes_first(sent: &Values) -> bool {
    sent.is_on("ask")
}

impl Question {
    /// The page that asks.
    ///
    /// # Errors
    /// The template fails.
    pub(super) fn ask(self, reader: &SignedIn) -> Result<Response, Problem> {
        let frame = Frame::new(reader, self.section, self.title.clone());
        Ok(show(&Page { frame, question: self })?.into_response())
    }
}
