//! What is done to lines before they become events: joined, unwrapped, decoded, filtered.

mod container;
mod multiline;
mod ndjson;

use std::fmt;
use std::time::{Duration, Instant};

use event::fields::Fields;
use event::processors::syslog::{SyslogSettings, parse_syslog, syslog_settings};
use jiff::Timestamp;
use regex::Regex;
use serde_json::{Map, Value, json};

use crate::build::BuildError;
use crate::config::Config;

/// A line, or several that belong together, on its way through the parsers.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    /// Where it starts in the file.
    pub(super) start: u64,
    /// Where the next line after it starts.
    pub(super) end: u64,
    pub(super) text: String,
    /// What parsers found out; goes into the event as it is.
    pub(super) fields: Fields,
    /// The event's own time, when a parser found one.
    pub(super) time: Option<Timestamp>,
    /// `log.flags`.
    pub(super) flags: Vec<&'static str>,
    /// Whether the event keeps a `message`.
    pub(super) without_text: bool,
}

impl Message {
    pub(super) fn add_flag(&mut self, flag: &'static str) {
        if !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
    }
}

/// One parser with its state for one file.
trait Parser: fmt::Debug + Send {
    /// Takes one message and gives none, one or more to `out`.
    fn push(&mut self, message: Message, out: &mut Vec<Message>);

    /// Gives up waiting for more when the time has come.
    fn expire(&mut self, _now: Instant, _out: &mut Vec<Message>) {}

    /// When [`Parser::expire`] has something to do.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Where the oldest message that waits in here starts: the file's offset must not move beyond it.
    fn held(&self) -> Option<u64> {
        None
    }
}

/// The parsers of a stream, checked; each file gets parsers of its own with [`ParserSettings::start`].
#[derive(Clone, Debug, Default)]
pub(super) struct ParserSettings(Vec<Setting>);

#[derive(Clone, Debug)]
enum Setting {
    Multiline(multiline::Settings),
    Container(container::Settings),
    Ndjson(ndjson::Settings),
    Syslog(SyslogParser),
    IncludeMessage(Vec<Regex>),
}

impl ParserSettings {
    pub(super) fn read(config: Config<'_>) -> Result<Self, BuildError> {
        let mut settings = Vec::new();
        if let Some(Value::Object(body)) = config.value("multiline") {
            settings.push(Setting::Multiline(multiline::Settings::read(sub(config, body))?));
        }
        if let Some(Value::Object(body)) = config.value("json") {
            settings.push(Setting::Ndjson(ndjson::Settings::read(sub(config, body))?));
        }
        let parsers = match config.value("parsers") {
            None => &[],
            Some(Value::Array(parsers)) => parsers.as_slice(),
            Some(_) => return Err(config.error("parsers", "it must be a list")),
        };
        for parser in parsers {
            let Some((name, body)) = parser.as_object().and_then(|parser| parser.iter().next()) else {
                return Err(config.error("parsers", "each parser must be a map of one key"));
            };
            let empty = Map::new();
            let body = sub(config, body.as_object().unwrap_or(&empty));
            settings.push(match name.as_str() {
                "multiline" => Setting::Multiline(multiline::Settings::read(body)?),
                "ndjson" => Setting::Ndjson(ndjson::Settings::read(body)?),
                "syslog" => Setting::Syslog(SyslogParser::read(body)?),
                "container" => Setting::Container(container::Settings::read(body)?),
                "include_message" => Setting::IncludeMessage(body.patterns(&["patterns"])?),
                other => return Err(config.error("parsers", format!("parser `{other}` is not supported"))),
            });
        }
        Ok(Self(settings))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fresh parsers for one file.
    pub(super) fn start(&self) -> Parsers {
        Parsers(self.0.iter().map(Setting::start).collect())
    }
}

fn sub<'a>(config: Config<'a>, settings: &'a Map<String, Value>) -> Config<'a> {
    Config {
        stream: config.stream,
        settings,
    }
}

impl Setting {
    fn start(&self) -> Box<dyn Parser> {
        match self {
            Self::Multiline(settings) => Box::new(multiline::Multiline::new(settings.clone())),
            Self::Container(settings) => Box::new(container::Container::new(settings.clone())),
            Self::Ndjson(settings) => Box::new(ndjson::Ndjson(settings.clone())),
            Self::Syslog(parser) => Box::new(parser.clone()),
            Self::IncludeMessage(patterns) => Box::new(IncludeMessage(patterns.clone())),
        }
    }
}

/// The parsers of one file, in order.
#[derive(Debug)]
pub(super) struct Parsers(Vec<Box<dyn Parser>>);

impl Parsers {
    /// Sends one line through all parsers.
    pub(super) fn push(&mut self, message: Message, out: &mut Vec<Message>) {
        push_from(&mut self.0, message, out);
    }

    /// Lets parsers give up waiting.
    pub(super) fn expire(&mut self, now: Instant, out: &mut Vec<Message>) {
        for index in 0..self.0.len() {
            let mut expired = Vec::new();
            self.0[index].expire(now, &mut expired);
            for message in expired {
                push_from(&mut self.0[index + 1..], message, out);
            }
        }
    }

    /// When [`Parsers::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().filter_map(|parser| parser.deadline()).min()
    }

    /// Where the oldest message that waits in a parser starts.
    pub(super) fn held(&self) -> Option<u64> {
        self.0.iter().filter_map(|parser| parser.held()).min()
    }
}

fn push_from(parsers: &mut [Box<dyn Parser>], message: Message, out: &mut Vec<Message>) {
    let Some((first, rest)) = parsers.split_first_mut() else {
        out.push(message);
        return;
    };
    let mut passed = Vec::new();
    first.push(message, &mut passed);
    for message in passed {
        push_from(rest, message, out);
    }
}

#[derive(Debug)]
struct IncludeMessage(Vec<Regex>);

impl Parser for IncludeMessage {
    fn push(&mut self, message: Message, out: &mut Vec<Message>) {
        if self.0.iter().any(|pattern| pattern.is_match(&message.text)) {
            out.push(message);
        }
    }
}

/// Syslog headers in front of the text.
#[derive(Clone, Debug)]
struct SyslogParser {
    settings: SyslogSettings,
    add_error_key: bool,
}

impl SyslogParser {
    fn read(config: Config<'_>) -> Result<Self, BuildError> {
        let settings = syslog_settings(config.text(&["format"])?, config.text(&["timezone"])?);
        let settings = settings.map_err(|problem| config.error("parsers.syslog", problem))?;
        Ok(Self {
            settings,
            add_error_key: config.boolean(&["add_error_key"], true)?,
        })
    }
}

impl Parser for SyslogParser {
    fn push(&mut self, mut message: Message, out: &mut Vec<Message>) {
        // The present year is missing in one of the two formats.
        match parse_syslog(&message.text, &self.settings, Timestamp::now()) {
            Ok(parsed) => {
                message.text = parsed.message;
                message.time = parsed.time.or(message.time);
                event::fields::merge(&mut message.fields, parsed.fields);
            }
            Err(problem) if self.add_error_key => {
                message
                    .fields
                    .insert("error".to_owned(), json!({"message": problem, "type": "syslog"}));
            }
            Err(_) => {}
        }
        out.push(message);
    }
}

/// How long a parser waits for more lines when nothing else is said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
