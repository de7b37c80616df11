//! The accept loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper_util::server::conn::auto;
use tls::ServerTls;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Listener;
use crate::connection::{Connection, Tracked, http_builder};
use crate::counts::ListenerCounts;
use crate::failures::Failures;

/// The bounds of one listener.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long the headers of the first request may take after the handshake.
    pub header_timeout: Duration,
    /// How long a connection may be open without a request.
    pub idle_timeout: Duration,
    /// Open connections; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Handshakes at the same time; more wait, within their `handshake_timeout`.
    pub max_concurrent_handshakes: usize,
    /// Octets of the headers of one request; HTTP/1.1 answers 431 beyond.
    pub max_header_bytes: usize,
    /// Failed handshakes of one source in 10 seconds; beyond it its connections are closed unread until those are over. One
    /// that was refused before it cost a signature (an old version, no common suite) counts a tenth.
    pub failed_handshakes_per_source: u32,
    /// How long running requests may take after `stop`.
    pub grace: Duration,
    /// Where the listener counts; those of another listener make a sum.
    pub counts: ListenerCounts,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(2),
            max_connections: 50_000,
            max_concurrent_handshakes: 256,
            max_header_bytes: 64 << 10,
            failed_handshakes_per_source: 500,
            grace: Duration::from_secs(30),
            counts: ListenerCounts::default(),
        }
    }
}

/// How a listener came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stopped {
    /// All requests were answered.
    Clean,
    /// Some connections took longer than the grace period and were cut.
    GraceExceeded {
        /// How many.
        still_running: usize,
    },
}

/// What all connections of a listener share.
pub(crate) struct Shared {
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) router: Router,
    pub(crate) options: ServeOptions,
    pub(crate) handshakes: Semaphore,
    pub(crate) failures: Failures,
    /// Answer what runs, then close.
    pub(crate) stop: CancellationToken,
    /// Close now.
    pub(crate) abort: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) http: auto::Builder<Tracked>,
    /// For connections that agreed on HTTP/1.1: it reads no first octets to find out, which would double its buffer.
    pub(crate) http1: auto::Builder<Tracked>,
}

/// How long to wait when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves HTTP/1.1 and HTTP/2 until `stop`; then answers the running requests, closes idle connections and returns.
pub async fn serve(
    listener: Listener,
    tls: Option<Arc<ServerTls>>,
    router: Router,
    options: ServeOptions,
    stop: CancellationToken,
) -> Stopped {
    let open = Arc::new(Semaphore::new(options.max_connections));
    let tasks = TaskTracker::new();
    let shared = Arc::new(Shared {
        tls,
        router,
        handshakes: Semaphore::new(options.max_concurrent_handshakes),
        failures: Failures::new(options.failed_handshakes_per_source),
        stop,
        abort: CancellationToken::new(),
        http: http_builder(&options, &tasks),
        http1: http_builder(&options, &tasks).http1_only(),
        tasks,
        options,
    });
    accept(&listener, &open, &shared).await;
    drop(listener);
    shared.tasks.close();
    if tokio::time::timeout(shared.options.grace, shared.tasks.wait())
        .await
        .is_ok()
    {
        return Stopped::Clean;
    }
    let still_running = shared.tasks.len();
    shared.abort.cancel();
    shared.tasks.wait().await;
    Stopped::GraceExceeded { still_running }
}

async fn accept(listener: &Listener, open: &Arc<Semaphore>, shared: &Arc<Shared>) {
    loop {
        let Some(permit) = permit(listener, open, shared).await else {
            return;
        };
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.socket.accept() => accepted,
        };
        match accepted {
            Ok((_, address)) if shared.failures.too_many(address.ip(), Instant::now()) => {}
            Ok((socket, address)) => {
                let connection = Connection {
                    socket,
                    address,
                    shared: shared.clone(),
                };
                shared.tasks.spawn(async move {
                    connection.run().await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, address = %listener.local_addr(), "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Room for one more connection; `None` when it is time to stop.
async fn permit(listener: &Listener, open: &Arc<Semaphore>, shared: &Arc<Shared>) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = open.clone().try_acquire_owned() {
        return Some(permit);
    }
    tracing::warn!(
        address = %listener.local_addr(),
        connections = shared.options.max_connections,
        "the listener is full; new connections wait"
    );
    tokio::select! {
        () = shared.stop.cancelled() => None,
        permit = open.clone().acquire_owned() => permit.ok(),
    }
}
