//! Lines as container runtimes write them: Docker's JSON and the CRI's text. Parts of one long line are joined.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::{Message, Parser};
use crate::build::BuildError;
use crate::config::Config;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// `stdout` or `stderr` when only one is wanted.
    stream: Option<String>,
    format: Format,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    Auto,
    Docker,
    Cri,
}

impl Settings {
    pub(super) fn read(config: Config<'_>) -> Result<Self, BuildError> {
        let stream = match config.text(&["stream"])?.unwrap_or("all") {
            "all" => None,
            stream @ ("stdout" | "stderr") => Some(stream.to_owned()),
            other => return Err(config.error("container.stream", format!("`{other}` is not known"))),
        };
        let format = match config.text(&["format"])?.unwrap_or("auto") {
            "auto" => Format::Auto,
            "docker" | "json-file" => Format::Docker,
            "cri" => Format::Cri,
            other => return Err(config.error("container.format", format!("`{other}` is not known"))),
        };
        Ok(Self { stream, format })
    }
}

#[derive(Debug)]
pub(super) struct Container {
    settings: Settings,
    /// Parts of a line whose end has not come, one for each stream.
    parts: [Option<Message>; 2],
}

/// More than this is not joined.
const MAX_JOINED: usize = 10 << 20;

#[derive(Deserialize)]
struct DockerLine {
    log: String,
    #[serde(default)]
    stream: String,
    time: Option<Timestamp>,
}

struct Unwrapped {
    text: String,
    stream: String,
    time: Option<Timestamp>,
    is_part: bool,
}

impl Container {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            parts: [None, None],
        }
    }

    fn unwrap_line(&self, line: &str) -> Option<Unwrapped> {
        let docker = match self.settings.format {
            Format::Docker => true,
            Format::Cri => false,
            Format::Auto => line.starts_with('{'),
        };
        if docker { docker_line(line) } else { cri_line(line) }
    }
}

fn docker_line(line: &str) -> Option<Unwrapped> {
    let DockerLine { mut log, stream, time } = serde_json::from_str(line).ok()?;
    let is_part = !log.ends_with('\n');
    log.truncate(log.trim_end_matches(['\n', '\r']).len());
    Some(Unwrapped {
        text: log,
        stream,
        time,
        is_part,
    })
}

/// `<time> <stream> <P or F>[:more tags] <text>`.
fn cri_line(line: &str) -> Option<Unwrapped> {
    let mut parts = line.splitn(4, ' ');
    let time = parts.next()?.parse().ok()?;
    let stream = parts.next()?.to_owned();
    let is_part = parts.next()?.split(':').next() == Some("P");
    let text = parts.next().unwrap_or_default().to_owned();
    Some(Unwrapped {
        text,
        stream,
        time: Some(time),
        is_part,
    })
}

impl Parser for Container {
    fn push(&mut self, mut message: Message, out: &mut Vec<Message>) {
        let Some(Unwrapped {
            text,
            stream,
            time,
            is_part,
        }) = self.unwrap_line(&message.text)
        else {
            message.fields.insert(
                "error".to_owned(),
                json!({"message": "not a line of a container's log", "type": "container"}),
            );
            out.push(message);
            return;
        };
        if self.settings.stream.as_ref().is_some_and(|wanted| *wanted != stream) {
            return;
        }
        let slot = &mut self.parts[usize::from(stream == "stderr")];
        let mut joined = if let Some(mut joined) = slot.take() {
            joined.end = message.end;
            message.flags.into_iter().for_each(|flag| joined.add_flag(flag));
            joined
        } else {
            message.text.clear();
            message.fields.insert("stream".to_owned(), json!(stream));
            message.time = time;
            message
        };
        if joined.text.len() + text.len() <= MAX_JOINED {
            joined.text.push_str(&text);
        } else {
            joined.add_flag("truncated");
        }
        if is_part {
            *slot = Some(joined);
        } else {
            out.push(joined);
        }
    }
    fn held(&self) -> Option<u64> {
        self.parts.iter().flatten().map(|part| part.start).min()
    }
}
