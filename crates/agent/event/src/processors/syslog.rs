//! Syslog lines: RFC 3164 and RFC 5424. The `syslog` processor, and the parser that files and listeners share.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::settings::Settings;
use super::timestamp::{Layout, zone};
use super::{Action, Parsed};
use crate::fields::{self, Fields};

/// Which of the two formats to expect.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SyslogFormat {
    /// RFC 5424 when there is a version behind the priority, else RFC 3164.
    #[default]
    Auto,
    /// RFC 3164 only.
    Rfc3164,
    /// RFC 5424 only.
    Rfc5424,
}

/// How lines are read.
#[derive(Clone, Debug)]
pub struct SyslogSettings {
    /// Which format to expect.
    pub format: SyslogFormat,
    /// The zone of times that have none.
    pub zone: TimeZone,
}

impl Default for SyslogSettings {
    fn default() -> Self {
        Self {
            format: SyslogFormat::Auto,
            zone: TimeZone::system(),
        }
    }
}

/// What a line says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyslogMessage {
    /// `log.syslog.*`, `host`-like names and so on, as they go into the event.
    pub fields: Fields,
    /// The text behind the header.
    pub message: String,
    /// The time in the header.
    pub time: Option<Timestamp>,
}

const FACILITIES: [&str; 24] = [
    "kernel",
    "user-level",
    "mail",
    "system",
    "security/authorization",
    "syslogd",
    "line printer",
    "network news",
    "UUCP",
    "clock",
    "security/authorization",
    "FTP",
    "NTP",
    "log audit",
    "log alert",
    "clock",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];
const SEVERITIES: [&str; 8] = [
    "Emergency",
    "Alert",
    "Critical",
    "Error",
    "Warning",
    "Notice",
    "Informational",
    "Debug",
];

/// Reads one line. `now` fills in the year that RFC 3164 leaves out.
///
/// # Errors
/// What is not as the format wants it.
pub fn parse_syslog(line: &str, settings: &SyslogSettings, now: Timestamp) -> Result<SyslogMessage, String> {
    let (priority, rest) = priority(line)?;
    let is_5424 = rest.strip_prefix("1 ");
    match (settings.format, is_5424) {
        (SyslogFormat::Rfc5424, None) => Err("there is no version behind the priority".to_owned()),
        (SyslogFormat::Rfc5424 | SyslogFormat::Auto, Some(rest)) if priority.is_some() => rfc5424(priority, rest),
        _ => rfc3164(priority, rest, settings, now),
    }
}

/// `<165>`; RFC 3164 allows lines without it.
fn priority(line: &str) -> Result<(Option<u16>, &str), String> {
    let Some(behind) = line.strip_prefix('<') else {
        return Ok((None, line));
    };
    let (digits, rest) = behind.split_once('>').ok_or("the priority is not closed")?;
    let priority = digits.parse::<u16>().ok().filter(|priority| *priority <= 191);
    Ok((
        Some(priority.ok_or("the priority is not a number from 0 to 191")?),
        rest,
    ))
}

fn with_priority(priority: Option<u16>) -> Map<String, Value> {
    let mut syslog = Map::new();
    if let Some(priority) = priority {
        let (facility, severity) = (usize::from(priority / 8), usize::from(priority % 8));
        syslog.insert("priority".to_owned(), json!(priority));
        syslog.insert(
            "facility".to_owned(),
            json!({"code": facility, "name": FACILITIES.get(facility)}),
        );
        syslog.insert(
            "severity".to_owned(),
            json!({"code": severity, "name": SEVERITIES.get(severity)}),
        );
    }
    syslog
}

fn finished(syslog: Map<String, Value>, message: &str, time: Option<Timestamp>) -> SyslogMessage {
    let fields = Fields::from_iter([("log".to_owned(), json!({"syslog": syslog}))]);
    SyslogMessage {
        fields,
        message: message.to_owned(),
        time,
    }
}

fn rfc3164(
    priority: Option<u16>,
    line: &str,
    settings: &SyslogSettings,
    now: Timestamp,
) -> Result<SyslogMessage, String> {
    let (time, rest) = header_time(line, settings, now).ok_or("there is no time in the header")?;
    let mut syslog = with_priority(priority);
    let rest = rest.trim_start();
    let (host, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    // Without a host the tag comes at once.
    let (host, rest) = if host.ends_with(':') {
        (None, line_from(line, host))
    } else {
        (Some(host), rest)
    };
    if let Some(host) = host.filter(|host| !host.is_empty()) {
        syslog.insert("hostname".to_owned(), json!(host));
    }
    let (tag, process, message) = tag(rest.trim_start());
    if let Some(tag) = tag {
        syslog.insert("appname".to_owned(), json!(tag));
    }
    if let Some(process) = process {
        syslog.insert("procid".to_owned(), json!(process));
    }
    Ok(finished(syslog, message, Some(time)))
}

/// The rest of `line` from where `part` stands in it.
fn line_from<'a>(line: &'a str, part: &str) -> &'a str {
    line.find(part).map_or("", |at| &line[at..])
}

/// `Jan  2 03:04:05` or RFC 3339.
fn header_time<'a>(line: &'a str, settings: &SyslogSettings, now: Timestamp) -> Option<(Timestamp, &'a str)> {
    let (first, rest) = line.split_once(' ')?;
    if first.len() >= 19 {
        return first.parse().ok().map(|time| (time, rest));
    }
    let end = line.char_indices().scan(0, |spaces, (at, character)| {
        // Month, day (perhaps with two blanks before it) and time: the third gap ends it.
        let is_gap = character == ' ' && !line[at + 1..].starts_with(' ');
        *spaces += usize::from(is_gap);
        Some((*spaces, at))
    });
    let end = end
        .into_iter()
        .find(|(gaps, _)| *gaps == 3)
        .map_or(line.len(), |(_, at)| at);
    let time = Layout::parse("Jan _2 15:04:05").read(line.get(..end)?, &settings.zone, now)?;
    Some((time, &line[end..]))
}

/// `sshd[42]: text`, `kernel: text` or just text.
fn tag(text: &str) -> (Option<&str>, Option<&str>, &str) {
    let end = text.find(|character: char| character.is_whitespace() || matches!(character, ':' | '['));
    let Some(end) = end.filter(|end| *end > 0) else {
        return (None, None, text);
    };
    let (tag, behind) = text.split_at(end);
    if let Some(process) = behind.strip_prefix('[')
        && let Some((process, rest)) = process.split_once(']')
        && let Some(message) = rest.strip_prefix(':')
    {
        return (Some(tag), Some(process), message.strip_prefix(' ').unwrap_or(message));
    }
    match behind.strip_prefix(':') {
        Some(message) => (Some(tag), None, message.strip_prefix(' ').unwrap_or(message)),
        None => (None, None, text),
    }
}

fn rfc5424(priority: Option<u16>, line: &str) -> Result<SyslogMessage, String> {
    let mut parts = line.splitn(6, ' ');
    let mut part = || parts.next().ok_or("the header is too short");
    let (time, host, app, process, id, rest) = (part()?, part()?, part()?, part()?, part()?, part()?);
    let mut syslog = with_priority(priority);
    syslog.insert("version".to_owned(), json!("1"));
    for (name, value) in [("hostname", host), ("appname", app), ("procid", process), ("msgid", id)] {
        if value != "-" {
            syslog.insert(name.to_owned(), json!(value));
        }
    }
    let time = match time {
        "-" => None,
        time => Some(time.parse().map_err(|_| format!("`{time}` is not a time"))?),
    };
    let (data, message) = structured_data(rest)?;
    if !data.is_empty() {
        syslog.insert("structured_data".to_owned(), Value::Object(data));
    }
    let message = message.trim_start_matches(' ');
    Ok(finished(
        syslog,
        message.strip_prefix('\u{feff}').unwrap_or(message),
        time,
    ))
}

/// `[id name="value" ..][..]` or `-`.
fn structured_data(text: &str) -> Result<(Map<String, Value>, &str), String> {
    let mut data = Map::new();
    if let Some(rest) = text.strip_prefix('-') {
        return Ok((data, rest));
    }
    let mut rest = text;
    while let Some(element) = rest.strip_prefix('[') {
        let end = element.find([' ', ']']).ok_or("structured data is not closed")?;
        let (id, mut inside) = element.split_at(end);
        let mut values = Map::new();
        loop {
            inside = inside.trim_start_matches(' ');
            if let Some(behind) = inside.strip_prefix(']') {
                rest = behind;
                break;
            }
            let (name, behind) = inside
                .split_once("=\"")
                .ok_or("structured data has a name without a value")?;
            let (value, behind) = quoted(behind).ok_or("a value of the structured data is not closed")?;
            values.insert(name.to_owned(), Value::String(value));
            inside = behind;
        }
        data.insert(id.to_owned(), Value::Object(values));
    }
    if data.is_empty() {
        Err("there is no structured data".to_owned())
    } else {
        Ok((data, rest))
    }
}

/// Up to the closing quote; `\"`, `\\` and `\]` are escapes.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => {
                let (_, next) = characters.next()?;
                if !matches!(next, '"' | '\\' | ']') {
                    value.push('\\');
                }
                value.push(next);
            }
            other => value.push(other),
        }
    }
    None
}

#[derive(Debug)]
struct Syslog {
    field: String,
    settings: SyslogSettings,
    ignore_missing: bool,
    ignore_failure: bool,
    overwrite_keys: bool,
}

/// Reads `format` and `timezone`, which processor and parsers share.
pub fn syslog_settings(format: Option<&str>, timezone: Option<&str>) -> Result<SyslogSettings, String> {
    let format = match format.unwrap_or("auto") {
        "auto" => SyslogFormat::Auto,
        "rfc3164" => SyslogFormat::Rfc3164,
        "rfc5424" => SyslogFormat::Rfc5424,
        other => return Err(format!("`format` `{other}` is not known")),
    };
    let zone = match timezone.unwrap_or("Local") {
        "" | "Local" => TimeZone::system(),
        name => zone(name).ok_or_else(|| format!("`timezone` `{name}` is not known"))?,
    };
    Ok(SyslogSettings { format, zone })
}

pub(super) fn syslog(settings: &Settings<'_>) -> Parsed {
    Ok(Box::new(Syslog {
        field: settings.text("field")?.unwrap_or("message").to_owned(),
        settings: syslog_settings(settings.text("format")?, settings.text("timezone")?)?,
        ignore_missing: settings.boolean("ignore_missing", false)?,
        ignore_failure: settings.boolean("ignore_failure", false)?,
        overwrite_keys: settings.boolean("overwrite_keys", true)?,
    }))
}

impl Action for Syslog {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        let text = match fields::get(event, &self.field) {
            Some(Value::String(text)) => text.clone(),
            None if self.ignore_missing => return Ok(()),
            None => return Err(format!("there is no field `{}`", self.field)),
            Some(_) => return Err(format!("`{}` is not a text", self.field)),
        };
        match parse_syslog(&text, &self.settings, Timestamp::now()) {
            Ok(parsed) => {
                merge_syslog(event, parsed, self.overwrite_keys);
                Ok(())
            }
            Err(_) if self.ignore_failure => Ok(()),
            Err(problem) => Err(problem),
        }
    }
}

/// Puts a parsed line into an event.
pub fn merge_syslog(event: &mut Fields, parsed: SyslogMessage, overwrite: bool) {
    let SyslogMessage {
        mut fields,
        message,
        time,
    } = parsed;
    fields.insert("message".to_owned(), Value::String(message));
    if let Some(time) = time {
        fields.insert("@timestamp".to_owned(), Value::String(clock::rfc3339_millis(time)));
    }
    if overwrite {
        fields::merge(event, fields);
    } else {
        fields::merge_missing(event, &fields);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> Result<SyslogMessage, String> {
        let settings = SyslogSettings {
            format: SyslogFormat::Auto,
            zone: TimeZone::UTC,
        };
        parse_syslog(line, &settings, "2026-11-25T10:00:00Z".parse().unwrap())
    }

    #[track_caller]
    fn check(line: &str, time: &str, message: &str, syslog: Value) {
        let parsed = parse(line).unwrap();
        assert_eq!(parsed.time.map(clock::rfc3339_millis).as_deref(), Some(time));
        assert_eq!(parsed.message, message);
        assert_eq!(parsed.fields["log"]["syslog"], syslog);
    }

    #[test]
    fn the_older_format() {
        check(
            "Jan  2 03:04:06 web-01 cron[901]: (root) CMD (true)",
            "2026-01-02T03:04:06.000Z",
            "(root) CMD (true)",
            json!({"hostname": "web-01", "appname": "cron", "procid": "901"}),
        );
        check(
            "<13>Nov 25 09:00:00 web-01 kernel: up",
            "2026-11-25T09:00:00.000Z",
            "up",
            json!({"priority": 13, "facility": {"code": 1, "name": "user-level"}, "severity": {"code": 5, "name": "Notice"},
                "hostname": "web-01", "appname": "kernel"}),
        );
        check(
            "2026-01-02T03:04:05.123456+01:00 web-01 sshd[1]: hello",
            "2026-01-02T02:04:05.123Z",
            "hello",
            json!({"hostname": "web-01", "appname": "sshd", "procid": "1"}),
        );
        check(
            "Nov 25 09:00:00 web-01 just a text",
            "2026-11-25T09:00:00.000Z",
            "just a text",
            json!({"hostname": "web-01"}),
        );
    }

    #[test]
    fn the_newer_format() {
        check(
            r#"<165>1 2026-10-11T22:14:15.003Z web-01 evntslog - ID47 [ex@1 iut="3" q="a\"b\]"][x] the message"#,
            "2026-10-11T22:14:15.003Z",
            "the message",
            json!({"priority": 165, "facility": {"code": 20, "name": "local4"}, "severity": {"code": 5, "name": "Notice"},
                "version": "1", "hostname": "web-01", "appname": "evntslog", "msgid": "ID47",
                "structured_data": {"ex@1": {"iut": "3", "q": "a\"b]"}, "x": {}}}),
        );
    }

    #[test]
    fn other_lines_are_errors() {
        for line in ["", "hello", "<999>Nov 25 09:00:00 h x: y", "<1", "<1>1 - - -"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "(<[0-9]{1,3}>)?(1 )?[ A-Za-z0-9:.\\[\\]\"=\\\\\u{e9}-]{0,60}") {
            let _outcome = parse(&line);
        }
    }
}
