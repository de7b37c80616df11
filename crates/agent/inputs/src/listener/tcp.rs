//! Lines over TCP, plain or over TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};
use transport::addresses_of_place;

use super::Listener;
use super::framing::Splitter;
use crate::InputContext;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are read from a connection at once.
const READ: usize = 64 << 10;

/// Accepts connections until the stream stops.
pub(super) async fn serve(listener: &Listener, context: &InputContext) -> io::Result<()> {
    let socket = TcpListener::bind(addresses_of_place(&listener.settings.host).await?.as_slice()).await?;
    info!(address = %socket.local_addr()?, "listening for lines over TCP");
    listener.is_healthy(context);
    let listener = Arc::new(listener.clone());
    let room = Arc::new(Semaphore::new(listener.settings.max_connections));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = context.stop.cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or the peer is gone again: the next one may do better.
                debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            info!(%peer, limit = listener.settings.max_connections, "too many connections; one is refused");
            continue;
        };
        let (listener, context) = (Arc::clone(&listener), context.clone());
        tasks.spawn(async move {
            if let Err(error) = listener.connection(stream, peer, &context).await {
                debug!(%peer, %error, "a connection ended badly");
            }
            drop(place);
        });
    }
    tasks.close();
    tasks.wait().await;
    Ok(())
}

impl Listener {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr, context: &InputContext) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return self.read(stream, peer, context).await;
        };
        let handshake = TlsAcceptor::from(tls.config()).accept(stream);
        let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await??;
        self.read(stream, peer, context).await
    }

    async fn read(
        &self,
        mut stream: impl AsyncRead + Unpin,
        peer: SocketAddr,
        context: &InputContext,
    ) -> io::Result<()> {
        let mut splitter = Splitter::new(self.settings.framing.clone(), self.settings.max_message_size);
        let mut buffer = vec![0; READ];
        loop {
            let read = tokio::select! {
                () = context.stop.cancelled() => return Ok(()),
                read = tokio::time::timeout(self.settings.idle_timeout, stream.read(&mut buffer)) => read??,
            };
            let frames = if read == 0 {
                splitter.finish().into_iter().collect()
            } else {
                splitter.push(&buffer[..read])
            };
            let events: Vec<_> = frames
                .iter()
                .filter_map(|frame| self.event(&frame.bytes, frame.truncated, peer, context))
                .collect();
            if !events.is_empty() {
                tokio::select! {
                    () = context.stop.cancelled() => return Ok(()),
                    sent = context.events.send(events) => if sent.is_err() { return Ok(()) },
                }
            }
            if read == 0 {
                return Ok(());
            }
        }
    }
}
