//! Joins lines that belong to one message.

use std::time::{Duration, Instant};

use regex::Regex;

use super::{DEFAULT_TIMEOUT, Message, Parser};
use crate::build::BuildError;
use crate::config::Config;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    kind: Kind,
    max_lines: usize,
    max_bytes: usize,
    timeout: Duration,
    skip_newline: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Lines that match belong to the line before (`after`) or to the line behind (`before`) them.
    Pattern {
        pattern: Regex,
        negate: bool,
        after: bool,
        flush: Option<Regex>,
    },
    /// So many lines are one message.
    Count(usize),
    /// Lines that match in a row are one message; others stand alone.
    While { pattern: Regex, negate: bool },
}

const MAX_BYTES: u64 = 10 << 20;

impl Settings {
    pub(super) fn read(config: Config<'_>) -> Result<Self, BuildError> {
        let negate = config.boolean(&["negate"], false)?;
        let kind = match config.text(&["type"])?.unwrap_or("pattern") {
            "pattern" => Kind::Pattern {
                pattern: required_pattern(config)?,
                negate,
                after: match config.text(&["match"])?.unwrap_or_default() {
                    "after" => true,
                    "before" => false,
                    _ => return Err(config.error("multiline.match", "it must be `after` or `before`")),
                },
                flush: config.patterns(&["flush_pattern"])?.into_iter().next(),
            },
            "count" => match usize::try_from(config.number(&["count_lines", "lines_count"], 0)?) {
                Ok(count) if count > 0 => Kind::Count(count),
                _ => return Err(config.error("multiline.count_lines", "it must be at least 1")),
            },
            "while_pattern" => Kind::While {
                pattern: required_pattern(config)?,
                negate,
            },
            other => return Err(config.error("multiline.type", format!("`{other}` is not known"))),
        };
        Ok(Self {
            kind,
            max_lines: usize::try_from(config.number(&["max_lines"], 500)?)
                .unwrap_or(usize::MAX)
                .max(1),
            max_bytes: usize::try_from(config.bytes(&["max_bytes", "message_max_bytes"], MAX_BYTES)?)
                .unwrap_or(usize::MAX),
            timeout: config
                .duration_or(&["timeout"], DEFAULT_TIMEOUT)?
                .unwrap_or(DEFAULT_TIMEOUT),
            skip_newline: config.boolean(&["skip_newline"], false)?,
        })
    }
}

fn required_pattern(config: Config<'_>) -> Result<Regex, BuildError> {
    let pattern = config.patterns(&["pattern"])?.into_iter().next();
    pattern.ok_or_else(|| config.error("multiline.pattern", "it is missing"))
}

#[derive(Debug)]
pub(super) struct Multiline {
    settings: Settings,
    joined: Option<Joined>,
}

#[derive(Debug)]
struct Joined {
    message: Message,
    lines: usize,
    last: Instant,
}

impl Multiline {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, joined: None }
    }

    fn flush(&mut self, out: &mut Vec<Message>) {
        out.extend(self.joined.take().map(|joined| joined.message));
    }

    /// Adds a line to the message that is being joined, within the limits.
    fn add(&mut self, line: Message) {
        let Some(joined) = &mut self.joined else {
            self.joined = Some(Joined {
                message: line,
                lines: 1,
                last: Instant::now(),
            });
            return;
        };
        let message = &mut joined.message;
        message.end = line.end;
        message.add_flag("multiline");
        line.flags.into_iter().for_each(|flag| message.add_flag(flag));
        let room = self.settings.max_bytes.saturating_sub(message.text.len());
        if joined.lines >= self.settings.max_lines || line.text.len() + 1 > room {
            message.add_flag("truncated");
        } else {
            if !self.settings.skip_newline {
                message.text.push('\n');
            }
            message.text.push_str(&line.text);
        }
        joined.lines += 1;
        joined.last = Instant::now();
    }
}

impl Parser for Multiline {
    fn push(&mut self, line: Message, out: &mut Vec<Message>) {
        match &self.settings.kind {
            Kind::Pattern {
                pattern,
                negate,
                after: true,
                flush,
            } => {
                let belongs = pattern.is_match(&line.text) != *negate;
                let ends = flush.as_ref().is_some_and(|flush| flush.is_match(&line.text));
                if !belongs {
                    self.flush(out);
                }
                self.add(line);
                if ends {
                    self.flush(out);
                }
            }
            Kind::Pattern {
                pattern,
                negate,
                after: false,
                flush,
            } => {
                let wants_more = pattern.is_match(&line.text) != *negate;
                let ends = flush.as_ref().is_some_and(|flush| flush.is_match(&line.text));
                self.add(line);
                if !wants_more || ends {
                    self.flush(out);
                }
            }
            Kind::Count(count) => {
                let count = *count;
                self.add(line);
                if self.joined.as_ref().is_some_and(|joined| joined.lines >= count) {
                    self.flush(out);
                }
            }
            Kind::While { pattern, negate } => {
                if pattern.is_match(&line.text) == *negate {
                    self.flush(out);
                    out.push(line);
                } else {
                    self.add(line);
                }
            }
        }
    }

    fn expire(&mut self, now: Instant, out: &mut Vec<Message>) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.flush(out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.joined.as_ref().map(|joined| joined.last + self.settings.timeout)
    }

    fn held(&self) -> Option<u64> {
        self.joined.as_ref().map(|joined| joined.message.start)
    }
}
