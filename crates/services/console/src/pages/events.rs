//! `/events`: tells open pages what has changed, so that they fetch the part that shows it.
//!
//! The page stays the only place that draws: an event is a name without content. Pages that hear nothing ask now and then.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use tokio::sync::broadcast::error::RecvError;

use super::session::SignedIn;
use crate::domain::news::Topic;

/// Shorter than any proxy's patience.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// A page connects again then, and its session is looked at again.
const AT_MOST: Duration = Duration::from_mins(10);

pub(super) async fn stream(reader: SignedIn) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let listener = reader.console.news.listen();
    let end = tokio::time::Instant::now() + AT_MOST;
    let hello = Some(Event::default().event("hello").data("1"));
    let events = futures_util::stream::unfold((hello, listener), move |(first, mut listener)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (None, listener)));
        }
        loop {
            match tokio::time::timeout_at(end, listener.recv()).await {
                Ok(Ok(Topic::Stop) | Err(RecvError::Closed)) | Err(_) => return None,
                Ok(Ok(topic)) => return Some((Ok(Event::default().event(topic.name()).data("1")), (None, listener))),
                Ok(Err(RecvError::Lagged(_))) => {}
            }
        }
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE_EVERY))
}
