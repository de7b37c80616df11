//! The body of a request over HTTP/2 whose handler may not read it.
//!
//! A stream that is dropped while its client still sends is reset, and clients that are told so before they have sent all take the answer
//! for broken, though they may not (RFC 9113, section 8.1): curl ends with status 92. So what a handler left is read and thrown away.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

/// Of what is left at most so much is read, and for so long; the stream is reset then.
const LARGEST: usize = 256 << 10;
const LONGEST: Duration = Duration::from_secs(1);

pub(crate) struct Unread {
    /// `None` once it was handed over to be thrown away.
    body: Option<Incoming>,
    tasks: TaskTracker,
}

impl Unread {
    pub(crate) fn of(body: Incoming, tasks: TaskTracker) -> Self {
        Self {
            body: Some(body),
            tasks,
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            self.tasks.spawn(throw_away(body));
        }
    }
}

async fn throw_away(mut body: Incoming) {
    let all = async {
        let mut read = 0;
        while read < LARGEST
            && let Some(Ok(frame)) = body.frame().await
        {
            read += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    if tokio::time::timeout(LONGEST, all).await.is_err() {
        tracing::trace!("a client was still sending a request that had been answered");
    }
}

impl Body for Unread {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}
