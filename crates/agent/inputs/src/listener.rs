//! Inputs that others send to: `tcp`, `udp` and `syslog` over either.
//!
//! TCP lines may come over TLS (`ssl.*`, with client certificates when asked for). Whoever sends over TCP waits while the
//! output is slow; what comes over UDP meanwhile is dropped by the kernel. Connections and message sizes are bounded.

mod framing;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use event::fields::Fields;
use event::processors::syslog::{SyslogSettings, parse_syslog, syslog_settings};
use event::{Ack, Documents, Event, UnitState};
use serde_json::{Value, json};
use tls::{LoadOptions, ServerTls, SslSettings};

use crate::build::{BuildError, StreamConfig};
use crate::config::Config;
use crate::{Input, InputContext};
use framing::Framing;

/// A stream that listens.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    documents: Arc<Documents>,
    stream_id: String,
    settings: Settings,
    tls: Option<Arc<ServerTls>>,
}

#[derive(Clone, Debug)]
struct Settings {
    protocol: Protocol,
    /// `host:port`; names are resolved when the stream starts.
    host: String,
    max_message_size: usize,
    max_connections: usize,
    /// A connection that says nothing for so long is closed.
    idle_timeout: Duration,
    framing: Framing,
    /// Lines of the `syslog` input are taken apart.
    syslog: Option<SyslogSettings>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Protocol {
    Tcp,
    Udp,
}

const TCP_MESSAGE: u64 = 20 << 20;
const UDP_MESSAGE: u64 = 10 << 10;
/// No message may be larger, whatever the settings say.
const MESSAGE_HARD_LIMIT: u64 = 64 << 20;
const MAX_CONNECTIONS: u64 = 1024;
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);
/// How long to wait before an address that could not be used is tried again.
const RETRY: Duration = Duration::from_secs(5);

impl Listener {
    pub(crate) fn build(mut stream: StreamConfig<'_>) -> Result<Box<dyn Input>, BuildError> {
        let (settings, tls) = settings(&stream)?;
        if let Some(tls) = &tls {
            stream.reloader().watch(tls);
        }
        let own = Fields::from_iter([("input".to_owned(), json!({"type": stream.input_type}))]);
        let documents = Arc::new(stream.documents("filebeat", own));
        Ok(Box::new(Self {
            documents,
            stream_id: stream.id,
            settings,
            tls,
        }))
    }
}

fn settings(stream: &StreamConfig<'_>) -> Result<(Settings, Option<Arc<ServerTls>>), BuildError> {
    let whole = Config {
        stream: &stream.id,
        settings: stream.settings,
    };
    let (protocol, config) = match stream.input_type {
        "tcp" => (Protocol::Tcp, whole),
        "udp" => (Protocol::Udp, whole),
        _ => syslog_protocol(whole)?,
    };
    let default_size = if protocol == Protocol::Tcp {
        TCP_MESSAGE
    } else {
        UDP_MESSAGE
    };
    let size = config
        .bytes(&["max_message_size"], default_size)?
        .clamp(1, MESSAGE_HARD_LIMIT);
    let connections = match config.number(&["max_connections"], MAX_CONNECTIONS)? {
        0 => MAX_CONNECTIONS,
        connections => connections,
    };
    let syslog = match stream.input_type {
        "syslog" => {
            let parsed = syslog_settings(whole.text(&["format"])?, whole.text(&["timezone"])?);
            Some(parsed.map_err(|problem| whole.error("format", problem))?)
        }
        _ => None,
    };
    let settings = Settings {
        protocol,
        host: config
            .text(&["host"])?
            .ok_or_else(|| config.error("host", "it is missing; it must be like `localhost:9000`"))?
            .to_owned(),
        max_message_size: usize::try_from(size).unwrap_or(usize::MAX),
        max_connections: usize::try_from(connections).unwrap_or(usize::MAX),
        idle_timeout: config.duration_or(&["timeout"], IDLE_TIMEOUT)?.unwrap_or(IDLE_TIMEOUT),
        framing: Framing::read(config)?,
        syslog,
    };
    let tls = if protocol == Protocol::Tcp {
        server_tls(config)?
    } else {
        None
    };
    Ok((settings, tls))
}

/// `protocol.tcp: {host: ..}` or `protocol.udp: {..}`.
fn syslog_protocol(config: Config<'_>) -> Result<(Protocol, Config<'_>), BuildError> {
    for (name, protocol) in [("protocol.tcp", Protocol::Tcp), ("protocol.udp", Protocol::Udp)] {
        if let Some(Value::Object(settings)) = config.value(name) {
            return Ok((
                protocol,
                Config {
                    stream: config.stream,
                    settings,
                },
            ));
        }
    }
    Err(config.error("protocol", "it must have `tcp` or `udp` with a `host`"))
}

fn server_tls(config: Config<'_>) -> Result<Option<Arc<ServerTls>>, BuildError> {
    let Some(block) = config.value("ssl") else {
        return Ok(None);
    };
    let wrong = |error: tls::SslError| config.error("ssl", tls::Explanation::from(&error).in_one_line());
    let settings = SslSettings::from_value(block).map_err(wrong)?;
    if !settings.enabled {
        return Ok(None);
    }
    let options = LoadOptions {
        alpn: tls::Alpn::None,
        ..LoadOptions::named(format!("input {}", config.stream))
    };
    ServerTls::load(&settings, options).map(Some).map_err(wrong)
}

#[async_trait]
impl Input for Listener {
    async fn run(self: Box<Self>, context: InputContext) {
        let stream_id = self.stream_id.clone();
        while !context.stop.is_cancelled() {
            let served = match self.settings.protocol {
                Protocol::Tcp => tcp::serve(&self, &context).await,
                Protocol::Udp => udp::serve(&self, &context).await,
            };
            let Err(error) = served else { break };
            let problem = format!("cannot listen on `{}`: {error}", self.settings.host);
            context.reporter.report_stream(&stream_id, UnitState::Failed, problem);
            tokio::select! {
                () = context.stop.cancelled() => {}
                () = tokio::time::sleep(RETRY) => {}
            }
        }
        context.reporter.report_stream(&stream_id, UnitState::Stopped, "");
    }
}

impl Listener {
    /// The event of one message.
    fn event(&self, message: &[u8], truncated: bool, from: SocketAddr, context: &InputContext) -> Option<Event> {
        let text = String::from_utf8_lossy(message);
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return None;
        }
        let now = context.clock.now();
        let mut log = json!({"source": {"address": from.to_string()}});
        if truncated {
            log["flags"] = json!(["truncated"]);
        }
        let mut fields = Fields::from_iter([("message".to_owned(), json!(text)), ("log".to_owned(), log)]);
        let mut time = now;
        if let Some(syslog) = &self.settings.syslog {
            match parse_syslog(text, syslog, now) {
                Ok(parsed) => {
                    time = parsed.time.unwrap_or(now);
                    event::fields::merge(&mut fields, parsed.fields);
                    fields.insert("message".to_owned(), Value::String(parsed.message));
                }
                Err(problem) => {
                    fields.insert("error".to_owned(), json!({"message": problem, "type": "syslog"}));
                }
            }
        }
        self.documents.event(time, fields, Ack::none())
    }

    fn is_healthy(&self, context: &InputContext) {
        context.reporter.report_stream(&self.stream_id, UnitState::Healthy, "");
    }
}

#[cfg(test)]
mod tests;
