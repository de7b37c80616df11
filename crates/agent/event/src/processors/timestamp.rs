//! `timestamp`: the event's time from a text, with layouts as Go writes them (`2006-01-02T15:04:05Z07:00`).

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};
use serde_json::Value;

use super::settings::Settings;
use super::{Action, Parsed};
use crate::fields::{self, Fields};

#[derive(Debug)]
struct ParseTimestamp {
    field: String,
    target: String,
    layouts: Vec<Layout>,
    zone: TimeZone,
    ignore_missing: bool,
    ignore_failure: bool,
}

/// How a text is a time.
#[derive(Clone, Debug)]
pub struct Layout(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Unix,
    UnixMilliseconds,
    Text(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Literal(char),
    /// `_`: blanks are skipped.
    Blanks,
    Year,
    ShortYear,
    Month,
    MonthName,
    Day,
    DayOfYear,
    WeekdayName,
    Hour,
    Hour12,
    Minute,
    Second,
    Fraction,
    HalfOfDay,
    Offset,
    ZoneName,
}

/// Go's reference time, longest first where one is the start of another.
const TOKENS: [(&str, Token); 35] = [
    ("January", Token::MonthName),
    ("Monday", Token::WeekdayName),
    ("Z07:00:00", Token::Offset),
    ("-07:00:00", Token::Offset),
    ("Z07:00", Token::Offset),
    ("-07:00", Token::Offset),
    ("Z0700", Token::Offset),
    ("-0700", Token::Offset),
    ("Z07", Token::Offset),
    ("-07", Token::Offset),
    ("2006", Token::Year),
    ("Jan", Token::MonthName),
    ("Mon", Token::WeekdayName),
    ("MST", Token::ZoneName),
    ("002", Token::DayOfYear),
    ("__2", Token::DayOfYear),
    ("01", Token::Month),
    ("02", Token::Day),
    ("_2", Token::Day),
    ("03", Token::Hour12),
    ("04", Token::Minute),
    ("05", Token::Second),
    ("06", Token::ShortYear),
    ("15", Token::Hour),
    ("PM", Token::HalfOfDay),
    ("pm", Token::HalfOfDay),
    ("1", Token::Month),
    ("2", Token::Day),
    ("3", Token::Hour12),
    ("4", Token::Minute),
    ("5", Token::Second),
    (".0", Token::Fraction),
    (",0", Token::Fraction),
    (".9", Token::Fraction),
    (",9", Token::Fraction),
];

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

impl Layout {
    /// Reads a layout; `UNIX` and `UNIX_MS` are seconds and milliseconds since 1970.
    pub fn parse(text: &str) -> Self {
        match text {
            "UNIX" => return Self(Kind::Unix),
            "UNIX_MS" => return Self(Kind::UnixMilliseconds),
            _ => {}
        }
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let known = TOKENS.iter().find(|(spelling, token)| {
                rest.starts_with(spelling) && (*token != Token::Fraction || is_fraction(rest))
            });
            let (token, length) = match known {
                Some((spelling, Token::Fraction)) => {
                    let digit = &spelling[1..];
                    (
                        Token::Fraction,
                        1 + rest[1..].len() - rest[1..].trim_start_matches(digit).len(),
                    )
                }
                Some((spelling, token)) => (token.clone(), spelling.len()),
                None if first == '_' || first == ' ' => (Token::Blanks, 1),
                None => (Token::Literal(first), first.len_utf8()),
            };
            tokens.push(token);
            rest = &rest[length..];
        }
        Self(Kind::Text(tokens))
    }

    /// The time that `text` says. What the layout leaves open comes from `now`: the year, when it is not there.
    pub fn read(&self, text: &str, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Unix => seconds(text, 1_000_000_000.0),
            Kind::UnixMilliseconds => seconds(text, 1_000_000.0),
            Kind::Text(tokens) => {
                let mut parts = Parts::default();
                let mut rest = text;
                for token in tokens {
                    rest = parts.take(token, rest)?;
                }
                // Go reads a fraction behind the seconds even where the layout has none.
                rest.is_empty().then_some(())?;
                parts.time(zone, now)
            }
        }
    }
}

/// Equal digits behind a point, and no other digit behind those: `.002` is a day of the year.
fn is_fraction(layout: &str) -> bool {
    let digits = &layout[1..];
    let first = digits.chars().next().unwrap_or('0');
    !digits
        .trim_start_matches(first)
        .starts_with(|next: char| next.is_ascii_digit())
}

fn seconds(text: &str, nanoseconds: f64) -> Option<Timestamp> {
    if let Ok(whole) = text.parse::<i64>() {
        let factor = nanoseconds as i128;
        return Timestamp::from_nanosecond(i128::from(whole) * factor).ok();
    }
    let value = text
        .parse::<f64>()
        .ok()
        .filter(|value| value.is_finite() && value.abs() < 1e15)?;
    Timestamp::from_nanosecond((value * nanoseconds) as i128).ok()
}

#[derive(Debug, Default)]
struct Parts {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    day_of_year: Option<i16>,
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    afternoon: Option<bool>,
    offset: Option<Offset>,
    utc: bool,
}

impl Parts {
    /// Takes one token from the start of `text`; gives what is behind it.
    fn take<'a>(&mut self, token: &Token, text: &'a str) -> Option<&'a str> {
        match token {
            Token::Literal(literal) => text.strip_prefix(*literal),
            Token::Blanks => Some(text.trim_start_matches(' ')),
            Token::Year => digits(text, 4, 4).map(|(year, rest)| (self.year = i16::try_from(year).ok(), rest).1),
            Token::ShortYear => {
                let (year, rest) = digits(text, 2, 2)?;
                self.year = i16::try_from(if year >= 69 { 1900 + year } else { 2000 + year }).ok();
                Some(rest)
            }
            Token::Month => digits(text, 1, 2).map(|(month, rest)| (self.month = small(month), rest).1),
            Token::MonthName => {
                let (name, rest) = letters(text);
                let start = name.get(..3)?.to_ascii_lowercase();
                let month = MONTHS.iter().position(|month| *month == start)?;
                self.month = i8::try_from(month + 1).ok();
                Some(rest)
            }
            Token::Day => digits(text.trim_start_matches(' '), 1, 2).map(|(day, rest)| (self.day = small(day), rest).1),
            Token::DayOfYear => {
                let (day, rest) = digits(text.trim_start_matches(' '), 1, 3)?;
                self.day_of_year = i16::try_from(day).ok();
                Some(rest)
            }
            Token::WeekdayName => Some(letters(text).1).filter(|rest| rest.len() < text.len()),
            Token::Hour | Token::Hour12 => {
                digits(text, 1, 2).and_then(|(hour, rest)| (self.hour = small(hour)?, Some(rest)).1)
            }
            Token::Minute => digits(text, 1, 2).and_then(|(minute, rest)| (self.minute = small(minute)?, Some(rest)).1),
            Token::Second => {
                let (second, rest) = digits(text, 1, 2)?;
                self.second = small(second)?;
                // A fraction is read even where the layout has none.
                Some(self.fraction(rest).unwrap_or(rest))
            }
            // Already read with the seconds; trailing nines may stand for nothing.
            Token::Fraction => Some(self.fraction(text).unwrap_or(text)),
            Token::HalfOfDay => {
                let half = text.get(..2)?.to_ascii_lowercase();
                self.afternoon = Some(match half.as_str() {
                    "am" => false,
                    "pm" => true,
                    _ => return None,
                });
                Some(&text[2..])
            }
            Token::Offset => self.take_offset(text),
            Token::ZoneName => {
                let (name, rest) = letters(text);
                self.utc = matches!(name, "UTC" | "GMT" | "Z");
                (!name.is_empty()).then_some(rest)
            }
        }
    }

    fn fraction<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        let behind = text.strip_prefix(['.', ','])?;
        let count = behind.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return None;
        }
        let kept = &behind[..count.min(9)];
        self.nanosecond = format!("{kept:0<9}").parse().ok()?;
        Some(&behind[count..])
    }

    fn take_offset<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        if let Some(rest) = text.strip_prefix('Z') {
            self.offset = Some(Offset::UTC);
            return Some(rest);
        }
        let sign = if text.starts_with('-') { -1 } else { 1 };
        let (hours, rest) = digits(text.strip_prefix(['+', '-'])?, 2, 2)?;
        let (minutes, rest) = match digits(rest.strip_prefix(':').unwrap_or(rest), 2, 2) {
            Some((minutes, rest)) => (minutes, rest),
            None => (0, rest),
        };
        self.offset = Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok();
        self.offset.map(|_| rest)
    }

    fn time(&self, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
        let zone = match (self.offset, self.utc) {
            (Some(offset), _) => TimeZone::fixed(offset),
            (None, true) => TimeZone::UTC,
            (None, false) => zone.clone(),
        };
        let here = now.to_zoned(zone.clone());
        let hour = match (self.afternoon, self.hour) {
            (Some(true), hour) if hour < 12 => hour + 12,
            (Some(false), 12) => 0,
            (_, hour) => hour,
        };
        let on = |year: i16| -> Option<Zoned> {
            let date = match self.day_of_year {
                Some(day) => DateTime::new(year, 1, 1, 0, 0, 0, 0)
                    .ok()?
                    .checked_add(SignedDuration::from_hours(24 * i64::from(day - 1)))
                    .ok()?
                    .date(),
                None => jiff::civil::Date::new(year, self.month.unwrap_or(1), self.day.unwrap_or(1)).ok()?,
            };
            let time = jiff::civil::Time::new(hour, self.minute, self.second.min(59), self.nanosecond).ok()?;
            date.to_datetime(time).to_zoned(zone.clone()).ok()
        };
        let Some(year) = self.year else {
            // Without a year it is the last time that day came; a little ahead of the clock is still this year.
            let time = on(here.year())?;
            let ahead = time.timestamp().duration_since(now) > SignedDuration::from_hours(24);
            return if ahead {
                Some(on(here.year() - 1)?.timestamp())
            } else {
                Some(time.timestamp())
            };
        };
        Some(on(year)?.timestamp())
    }
}

fn small(number: i32) -> Option<i8> {
    i8::try_from(number).ok()
}

fn digits(text: &str, least: usize, most: usize) -> Option<(i32, &str)> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least {
        return None;
    }
    Some((text[..count].parse().ok()?, &text[count..]))
}

fn letters(text: &str) -> (&str, &str) {
    let end = text
        .find(|character: char| !character.is_ascii_alphabetic())
        .unwrap_or(text.len());
    text.split_at(end)
}

pub(super) fn timestamp(settings: &Settings<'_>) -> Parsed {
    let zone = match settings.text("timezone")?.unwrap_or("UTC") {
        "UTC" => TimeZone::UTC,
        "Local" => TimeZone::system(),
        name => zone(name).ok_or_else(|| format!("`timezone` `{name}` is not known"))?,
    };
    let layouts: Vec<Layout> = settings
        .required_texts("layouts")?
        .iter()
        .map(|layout| Layout::parse(layout))
        .collect();
    let processor = ParseTimestamp {
        field: settings.required_text("field")?.to_owned(),
        target: settings.text("target_field")?.unwrap_or("@timestamp").to_owned(),
        layouts,
        zone,
        ignore_missing: settings.boolean("ignore_missing", false)?,
        ignore_failure: settings.boolean("ignore_failure", false)?,
    };
    for test in settings.texts("test")? {
        if processor.read(&test).is_none() {
            return Err(format!("no layout can read the test time `{test}`"));
        }
    }
    Ok(Box::new(processor))
}

/// A zone by its name (`Europe/Berlin`) or offset (`+02:00`).
pub fn zone(name: &str) -> Option<TimeZone> {
    let mut parts = Parts::default();
    match parts.take_offset(name) {
        Some("") => parts.offset.map(TimeZone::fixed),
        _ => TimeZone::get(name).ok(),
    }
}

impl ParseTimestamp {
    fn read(&self, text: &str) -> Option<Timestamp> {
        let now = Timestamp::now();
        self.layouts
            .iter()
            .find_map(|layout| layout.read(text, &self.zone, now))
    }
}

impl Action for ParseTimestamp {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        let text = match fields::get(event, &self.field) {
            Some(Value::String(text)) => text.clone(),
            Some(number @ Value::Number(_)) => number.to_string(),
            None if self.ignore_missing || self.ignore_failure => return Ok(()),
            None => return Err(format!("there is no field `{}`", self.field)),
            Some(_) if self.ignore_failure => return Ok(()),
            Some(_) => return Err(format!("`{}` is not a text", self.field)),
        };
        match self.read(&text) {
            Some(time) => fields::put(event, &self.target, Value::String(clock::rfc3339_millis(time)))
                .map_err(|error| error.to_string()),
            None if self.ignore_failure => Ok(()),
            None => Err(format!("no layout can read `{text}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(layout: &str, text: &str, expected: &str) {
        let now: Timestamp = "2026-11-25T10:00:00Z".parse().unwrap();
        let read = Layout::parse(layout)
            .read(text, &TimeZone::UTC, now)
            .map(clock::rfc3339_millis);
        assert_eq!(read.as_deref(), Some(expected), "{layout}");
    }

    #[test]
    fn go_layouts_are_read() {
        check(
            "2006-01-02T15:04:05Z07:00",
            "2026-01-02T03:04:05+01:00",
            "2026-01-02T02:04:05.000Z",
        );
        check(
            "2006-01-02T15:04:05.999Z",
            "2026-01-02T03:04:05.678Z",
            "2026-01-02T03:04:05.678Z",
        );
        check(
            "2006-01-02 15:04:05,000 -0700",
            "2026-01-02 03:04:05,120 -0130",
            "2026-01-02T04:34:05.120Z",
        );
        check("Jan _2 15:04:05", "Nov  2 03:04:05", "2026-11-02T03:04:05.000Z");
        check("Jan _2 15:04:05", "Dec 31 23:59:59", "2025-12-31T23:59:59.000Z");
        check(
            "Monday, 02-Jan-06 15:04:05 MST",
            "Friday, 02-Jan-26 03:04:05 UTC",
            "2026-01-02T03:04:05.000Z",
        );
        check(
            "02/Jan/2006:03:04:05 PM",
            "02/Jan/2026:11:04:05 PM",
            "2026-01-02T23:04:05.000Z",
        );
        check("2006.002", "2026.032", "2026-02-01T00:00:00.000Z");
        check("UNIX", "1767323045.5", "2026-01-02T03:04:05.500Z");
        check("UNIX_MS", "1767323045678", "2026-01-02T03:04:05.678Z");
    }

    #[test]
    fn what_does_not_fit_is_no_time() {
        let now = Timestamp::UNIX_EPOCH;
        for (layout, text) in [
            ("2006-01-02", "2026-13-02"),
            ("2006-01-02", "2026-01-02 x"),
            ("15:04", "25:00"),
            ("UNIX", "soon"),
        ] {
            assert_eq!(
                Layout::parse(layout).read(text, &TimeZone::UTC, now),
                None,
                "{layout} {text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(layout in "[0-9A-Za-z_ :.,Z+-]{0,20}", text in "[0-9A-Za-z_ :.,Z+\u{e9}-]{0,24}") {
            Layout::parse(&layout).read(&text, &TimeZone::UTC, Timestamp::UNIX_EPOCH);
            zone(&text);
        }
    }
}
