//! One message in each datagram.

use std::io;

use tokio::net::UdpSocket;
use tracing::{debug, info};
use transport::addresses_of_place;

use super::Listener;
use crate::InputContext;

/// Datagrams that are taken together when they are there.
const BATCH: usize = 256;
/// The largest datagram there can be.
const MAX_DATAGRAM: usize = 64 << 10;

/// Receives until the stream stops.
pub(super) async fn serve(listener: &Listener, context: &InputContext) -> io::Result<()> {
    let socket = UdpSocket::bind(addresses_of_place(&listener.settings.host).await?.as_slice()).await?;
    info!(address = %socket.local_addr()?, "listening for datagrams");
    listener.is_healthy(context);
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let received = tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            received = socket.recv_from(&mut buffer) => received,
        };
        let mut events = Vec::new();
        let mut next = received;
        // An error here is about an earlier answer to someone, not about this socket.
        while let Ok((length, peer)) = next {
            let kept = length.min(listener.settings.max_message_size);
            events.extend(listener.event(&buffer[..kept], kept < length, peer, context));
            if events.len() >= BATCH {
                break;
            }
            next = socket.try_recv_from(&mut buffer);
        }
        if events.is_empty() {
            debug!("nothing usable was received");
            continue;
        }
        tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            sent = context.events.send(events) => if sent.is_err() { return Ok(()) },
        }
    }
}
