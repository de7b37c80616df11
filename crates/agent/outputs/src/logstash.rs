//! Output `logstash`: Lumberjack version 2 over TCP or TLS.
//!
//! A batch is one window: `W` with the number of events, `C` with a zlib stream of `J` frames; the other side answers
//! `A` with the last sequence number it has. Source: the protocol's frame layout as the output's reference has it.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use event::acknowledge_all;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use tls::ClientTls;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::OutputError;
use crate::counters::Counters;
use crate::elasticsearch::settings::positive;
use crate::metadata::with_metadata;
use crate::queue::{FlushRule, Queued};
use crate::setting::Block;
use crate::wire::{HostPort, Wire};
use crate::workers::{Transmit, Transmitted, Trouble};

const VERSION: u8 = b'2';

/// Settings of output `logstash`.
#[derive(Debug)]
pub(crate) struct LogstashSettings {
    pub(crate) hosts: Vec<HostPort>,
    pub(crate) workers: usize,
    pub(crate) rule: FlushRule,
    pub(crate) queue_events: usize,
    pub(crate) backoff_init: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) tls: Option<Arc<ClientTls>>,
    compression_level: u32,
    timeout: Duration,
}

impl LogstashSettings {
    pub(crate) fn from_block(block: &Block<'_>) -> Result<Self, OutputError> {
        let hosts = block.list("hosts")?;
        let hosts: Vec<_> = hosts.iter().filter_map(|host| HostPort::parse(host, 5044)).collect();
        if hosts.is_empty() {
            return Err(block.invalid("hosts", "at least one `host:port`"));
        }
        let compression_level = block.integer("compression_level")?.unwrap_or(3);
        if !(0..=9).contains(&compression_level) {
            return Err(block.invalid("compression_level", "a number from 0 to 9"));
        }
        let tls = match block.at("ssl") {
            Some(ssl) if block.flag("ssl.enabled", true)? => Some(crate::probe::client_tls(block.name, ssl)?),
            _ => None,
        };
        let max_events = positive(block, "bulk_max_size", 2048)?;
        Ok(Self {
            hosts,
            workers: positive(
                block,
                if block.at("workers").is_some() {
                    "workers"
                } else {
                    "worker"
                },
                1,
            )?
            .min(64),
            rule: FlushRule {
                min_events: positive(block, "queue.mem.flush.min_events", 1600)?.min(max_events),
                max_events,
                timeout: block
                    .duration("queue.mem.flush.timeout")?
                    .unwrap_or(Duration::from_secs(10)),
            },
            queue_events: positive(block, "queue.mem.events", 3200)?,
            backoff_init: block.duration("backoff.init")?.unwrap_or(Duration::from_secs(1)),
            backoff_max: block.duration("backoff.max")?.unwrap_or(Duration::from_mins(1)),
            tls,
            compression_level: compression_level as u32,
            timeout: block.duration("timeout")?.unwrap_or(Duration::from_secs(30)),
        })
    }

    pub(crate) fn host_names(&self) -> String {
        let names: Vec<_> = self.hosts.iter().map(HostPort::to_string).collect();
        names.join(", ")
    }
}

/// One connection to one Logstash, made when first needed and made anew after a failure.
pub(crate) struct LogstashConnection {
    settings: Arc<LogstashSettings>,
    host: HostPort,
    counters: Arc<Counters>,
    wire: Option<Box<dyn Wire>>,
}

impl LogstashConnection {
    pub(crate) fn new(settings: Arc<LogstashSettings>, host: HostPort, counters: Arc<Counters>) -> Self {
        Self {
            settings,
            host,
            counters,
            wire: None,
        }
    }

    async fn connected(&mut self) -> Result<&mut Box<dyn Wire>, String> {
        if self.wire.is_none() {
            let tls = self.settings.tls.as_deref();
            self.wire = Some(self.host.connect(tls, self.settings.timeout).await?);
        }
        self.wire.as_mut().ok_or_else(|| "no connection".to_owned())
    }

    /// Sends the window and waits until all of it, or as much as the other side takes, is acknowledged.
    async fn exchange(&mut self, frames: &[u8], events: u32) -> (u32, Option<String>) {
        let timeout = self.settings.timeout;
        let wire = match self.connected().await {
            Ok(wire) => wire,
            Err(error) => return (0, Some(error)),
        };
        let written = tokio::time::timeout(timeout, async {
            wire.write_all(frames).await?;
            wire.flush().await
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return (0, Some(error.to_string())),
            Err(_) => return (0, Some("sending took longer than the timeout".to_owned())),
        }
        let mut acknowledged = 0;
        while acknowledged < events {
            // `A` with a smaller number is a sign of life: the timeout starts again.
            match tokio::time::timeout(timeout, read_ack(wire)).await {
                Ok(Ok(sequence)) => acknowledged = acknowledged.max(sequence.min(events)),
                Ok(Err(error)) => return (acknowledged, Some(error.to_string())),
                Err(_) => return (acknowledged, Some("no acknowledgement within the timeout".to_owned())),
            }
        }
        (acknowledged, None)
    }
}

#[async_trait]
impl Transmit for LogstashConnection {
    async fn transmit(&mut self, batch: Vec<Queued>) -> Transmitted {
        let level = self.settings.compression_level;
        let encoding = tokio::task::spawn_blocking(move || {
            let frames = window(&batch, level);
            (batch, frames)
        });
        let Ok((mut batch, frames)) = encoding.await else {
            return Transmitted::default();
        };
        let (acknowledged, error) = self.exchange(&frames, batch.len() as u32).await;
        let rest = batch.split_off(acknowledged as usize);
        let settled = batch.len();
        Counters::add(&self.counters.acknowledged, settled);
        Counters::add(&self.counters.batches, 1);
        Counters::add(&self.counters.bytes_written, frames.len());
        acknowledge_all(batch.into_iter().map(|queued| queued.event.ack));
        let Some(error) = error else {
            return Transmitted {
                settled,
                ..Transmitted::default()
            };
        };
        self.wire = None;
        Counters::add(&self.counters.failed_requests, 1);
        let again = if rest.is_empty() { Vec::new() } else { vec![rest] };
        Transmitted {
            settled,
            again,
            trouble: Some(Trouble::Refused(format!("cannot deliver to {}: {error}", self.host))),
        }
    }
}

async fn read_ack(wire: &mut (impl AsyncRead + Unpin)) -> std::io::Result<u32> {
    let mut frame = [0; 6];
    wire.read_exact(&mut frame).await?;
    let [VERSION, b'A', sequence @ ..] = frame else {
        return Err(std::io::Error::other("the answer is not Lumberjack version 2"));
    };
    Ok(u32::from_be_bytes(sequence))
}

/// `W` and the events, compressed unless the level is 0.
fn window(batch: &[Queued], compression_level: u32) -> Vec<u8> {
    let mut frames = vec![VERSION, b'W'];
    frames.extend_from_slice(&(batch.len() as u32).to_be_bytes());
    let mut events = Vec::new();
    for (number, queued) in batch.iter().enumerate() {
        let json = with_metadata(&queued.event);
        events.extend_from_slice(&[VERSION, b'J']);
        events.extend_from_slice(&(number as u32 + 1).to_be_bytes());
        events.extend_from_slice(&(json.len() as u32).to_be_bytes());
        events.extend_from_slice(&json);
    }
    if compression_level == 0 {
        frames.extend_from_slice(&events);
        return frames;
    }
    let mut encoder = ZlibEncoder::new(
        Vec::with_capacity(events.len() / 8),
        Compression::new(compression_level),
    );
    encoder.write_all(&events).expect("writing to memory cannot fail");
    let packed = encoder.finish().expect("writing to memory cannot fail");
    frames.extend_from_slice(&[VERSION, b'C']);
    frames.extend_from_slice(&(packed.len() as u32).to_be_bytes());
    frames.extend_from_slice(&packed);
    frames
}
