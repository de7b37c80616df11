//! Dates in the formats of the `date` processor: `ISO8601`, `UNIX`, `UNIX_MS` and Java patterns.

use jiff::civil::{self, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
/// A time without a year that would lie further ahead than this is last year's.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// A time zone by name or offset.
#[derive(Clone, Debug)]
pub(crate) struct Zone(TimeZone);

impl Zone {
    /// `UTC`, `Z`, `+02:00`, `Europe/Berlin`; empty is UTC.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let name = name.trim();
        if name.is_empty() || name == "Z" || name.eq_ignore_ascii_case("utc") || name.eq_ignore_ascii_case("gmt") {
            return Ok(Self(TimeZone::UTC));
        }
        if let Some((offset, "")) = offset(name) {
            return Ok(Self(TimeZone::fixed(offset)));
        }
        TimeZone::get(name)
            .map(Self)
            .map_err(|_| format!("[{name}] is not a time zone that is known here"))
    }

    /// The time in this zone, as the processor writes it.
    pub(crate) fn show(&self, time: Timestamp) -> String {
        let at = self.at(time);
        let date = at.strftime("%Y-%m-%dT%H:%M:%S.%3f");
        format!("{date}{}", shown_offset(at.offset()))
    }

    pub(crate) fn at(&self, time: Timestamp) -> Zoned {
        time.to_zoned(self.0.clone())
    }

    fn time(&self, date: DateTime) -> Result<Timestamp, String> {
        date.to_zoned(self.0.clone())
            .map(|zoned| zoned.timestamp())
            .map_err(|error| error.to_string())
    }
}

fn shown_offset(offset: Offset) -> String {
    let seconds = offset.seconds();
    if seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", seconds.abs() / 3600, seconds.abs() / 60 % 60)
}

/// `+02`, `+0200`, `+02:00` at the start of `text`, and the rest.
fn offset(text: &str) -> Option<(Offset, &str)> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, rest) = digits(&text[1..], 2, 2)?;
    let colonless = rest.strip_prefix(':').unwrap_or(rest);
    let (minutes, rest) = digits(colonless, 2, 2).unwrap_or((0, rest));
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    Some((Offset::from_seconds(sign * seconds).ok()?, rest))
}

/// Between `least` and `most` digits at the start of `text`, and the rest.
fn digits(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let length = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if length < least {
        return None;
    }
    Some((text[..length].parse().ok()?, &text[length..]))
}

/// One of the `formats`.
#[derive(Clone, Debug)]
pub(crate) enum Format {
    Iso8601,
    Seconds,
    Milliseconds,
    Java(Vec<Piece>),
}

/// A piece of a Java pattern: a letter so many times, or a literal.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Letter(char, usize),
    Literal(String),
}

impl Format {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "ISO8601" | "strict_date_optional_time" | "date_optional_time" => Self::Iso8601,
            "UNIX" | "epoch_second" => Self::Seconds,
            "UNIX_MS" | "epoch_millis" => Self::Milliseconds,
            "TAI64N" => return Err("[TAI64N] is not supported".to_owned()),
            pattern => Self::Java(pieces(pattern)?),
        })
    }

    /// The moment that `text` names; without an offset of its own it is in `zone`, without a year near `now`.
    pub(crate) fn read(&self, text: &str, zone: &Zone, now: Timestamp) -> Result<Timestamp, String> {
        match self {
            Self::Iso8601 => iso8601(text, zone),
            Self::Seconds => {
                let seconds: f64 = text
                    .parse()
                    .map_err(|_| format!("[{text}] is not a number of seconds"))?;
                Timestamp::from_millisecond((seconds * 1000.0).round() as i64).map_err(|error| error.to_string())
            }
            Self::Milliseconds => {
                let millis = text
                    .parse()
                    .map_err(|_| format!("[{text}] is not a number of milliseconds"))?;
                Timestamp::from_millisecond(millis).map_err(|error| error.to_string())
            }
            Self::Java(pieces) => {
                let mut parts = Parts::default();
                let rest = pieces.iter().try_fold(text, |rest, piece| {
                    parts
                        .read(piece, rest)
                        .ok_or_else(|| format!("[{rest}] does not fit the format"))
                })?;
                if !rest.is_empty() {
                    return Err(format!("[{rest}] is left over"));
                }
                parts.time(zone, now)
            }
        }
    }

    /// Writes a moment (`output_format`).
    pub(crate) fn write(&self, at: &Zoned) -> Result<String, String> {
        match self {
            Self::Iso8601 => Ok(format!(
                "{}{}",
                at.strftime("%Y-%m-%dT%H:%M:%S.%3f"),
                shown_offset(at.offset())
            )),
            Self::Seconds => Ok(at.timestamp().as_second().to_string()),
            Self::Milliseconds => Ok(at.timestamp().as_millisecond().to_string()),
            Self::Java(pieces) => pieces.iter().map(|piece| piece.write(at)).collect(),
        }
    }
}

fn iso8601(text: &str, zone: &Zone) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    // An offset without a colon, or hours only.
    if let Some(at) = text.rfind(['+', '-']).filter(|&at| at > 10)
        && let Some((found, "")) = offset(&text[at..])
    {
        let date: DateTime = text[..at].parse().map_err(|_| format!("[{text}] is not ISO 8601"))?;
        return Zone(TimeZone::fixed(found)).time(date);
    }
    let date: DateTime = match text.parse::<DateTime>() {
        Ok(date) => date,
        Err(_) => text
            .parse::<civil::Date>()
            .map_err(|_| format!("[{text}] is not ISO 8601"))?
            .to_datetime(civil::Time::midnight()),
    };
    zone.time(date)
}

/// Splits a Java pattern.
fn pieces(pattern: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\'' {
            let literal: String = characters.by_ref().take_while(|&next| next != '\'').collect();
            pieces.push(Piece::Literal(if literal.is_empty() {
                "'".to_owned()
            } else {
                literal
            }));
        } else if character.is_ascii_alphabetic() {
            if !"yuYMdEeHhaSmsnXxZzL".contains(character) {
                return Err(format!(
                    "[{pattern}] has the letter [{character}], which is not supported"
                ));
            }
            let mut count = 1;
            while characters.next_if_eq(&character).is_some() {
                count += 1;
            }
            pieces.push(Piece::Letter(character, count));
        } else if "[]{}#".contains(character) {
            return Err(format!("[{pattern}] has [{character}], which is not supported"));
        } else {
            pieces.push(Piece::Literal(character.to_string()));
        }
    }
    Ok(pieces)
}

impl Piece {
    fn write(&self, at: &Zoned) -> Result<String, String> {
        let (letter, count) = match self {
            Self::Literal(text) => return Ok(text.clone()),
            Self::Letter(letter, count) => (*letter, *count),
        };
        let padded = |number: i64| format!("{number:0count$}");
        Ok(match (letter, count) {
            ('y' | 'u' | 'Y', 2) => format!("{:02}", at.year() % 100),
            ('y' | 'u' | 'Y', _) => padded(at.year().into()),
            ('M' | 'L', 1 | 2) => padded(at.month().into()),
            ('M' | 'L', 3) => at.strftime("%b").to_string(),
            ('M' | 'L', _) => at.strftime("%B").to_string(),
            ('d', _) => padded(at.day().into()),
            ('E', 1..=3) => at.strftime("%a").to_string(),
            ('E', _) => at.strftime("%A").to_string(),
            ('H', _) => padded(at.hour().into()),
            ('h', _) => padded(i64::from(at.hour() + 11) % 12 + 1),
            ('a', _) => at.strftime("%p").to_string(),
            ('m', _) => padded(at.minute().into()),
            ('s', _) => padded(at.second().into()),
            ('S' | 'n', _) => format!("{:09}", at.subsec_nanosecond()).chars().take(count).collect(),
            ('X' | 'x' | 'Z', _) => shown_offset(at.offset()),
            _ => return Err(format!("dates cannot be written with the letter [{letter}]")),
        })
    }
}

/// What was read so far.
#[derive(Default)]
struct Parts {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    hour: Option<i64>,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    nanosecond: i64,
    offset: Option<TimeZone>,
    /// The piece before was a blank.
    after_blank: bool,
}

impl Parts {
    /// Reads one piece at the start of `text`; returns the rest.
    fn read<'a>(&mut self, piece: &Piece, text: &'a str) -> Option<&'a str> {
        let (letter, count) = match piece {
            // Several blanks may stand for one: syslog pads days.
            // Blanks stand for blanks, however many: syslog pads days with them.
            Piece::Literal(literal) if literal == " " => {
                return (text.starts_with(' ') || self.after_blank).then(|| {
                    self.after_blank = true;
                    text.trim_start()
                });
            }
            Piece::Literal(literal) => return text.strip_prefix(literal.as_str()),
            Piece::Letter(letter, count) => (*letter, *count),
        };
        self.after_blank = false;
        let most = count.max(2);
        let number = |least: usize, most: usize| digits(text, least, most);
        match letter {
            'y' | 'u' | 'Y' if count == 2 => {
                let (value, rest) = number(2, 2)?;
                self.year = Some(2000 + value);
                Some(rest)
            }
            'y' | 'u' | 'Y' => keep(number(count.min(4), 4), |value| self.year = Some(value)),
            'M' | 'L' if count >= 3 => keep(name(text, &MONTHS), |value| self.month = Some(value)),
            'M' | 'L' => keep(number(count, most), |value| self.month = Some(value)),
            'd' => keep(number(count, most), |value| self.day = Some(value)),
            'E' | 'e' => name(text, &DAYS).map(|(_, rest)| rest),
            'H' | 'h' => keep(number(count, most), |value| self.hour = Some(value)),
            'a' => {
                let half = text.get(..2)?;
                self.afternoon = Some(half.eq_ignore_ascii_case("pm"));
                (self.afternoon == Some(true) || half.eq_ignore_ascii_case("am")).then(|| &text[2..])
            }
            'm' => keep(number(count, most), |value| self.minute = value),
            's' => keep(number(count, most), |value| self.second = value),
            'S' | 'n' => {
                let (value, rest) = number(1, 9)?;
                let read = u32::try_from(text.len() - rest.len()).ok()?;
                self.nanosecond = value * 10_i64.pow(9 - read);
                Some(rest)
            }
            'X' | 'x' | 'Z' | 'z' => self.zone(text),
            _ => None,
        }
    }

    fn zone<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        if let Some((found, rest)) = offset(text) {
            self.offset = Some(TimeZone::fixed(found));
            return Some(rest);
        }
        let length = text
            .find(|c: char| !c.is_ascii_alphanumeric() && !"/_+-".contains(c))
            .unwrap_or(text.len());
        let (name, rest) = text.split_at(length);
        self.offset = Some(Zone::parse(name).ok().filter(|_| !name.is_empty())?.0);
        Some(rest)
    }

    fn time(self, zone: &Zone, now: Timestamp) -> Result<Timestamp, String> {
        let zone = self.offset.clone().map_or_else(|| zone.clone(), Zone);
        let year = self.year.unwrap_or_else(|| zone.at(now).year().into());
        let time = zone.time(self.date(year)?)?;
        // A log line of December that is read in January has no year to say so.
        let ahead = now.checked_add(AHEAD).is_ok_and(|latest| time > latest);
        if self.year.is_none() && self.month.is_some() && ahead {
            return zone.time(self.date(year - 1)?);
        }
        Ok(time)
    }

    fn date(&self, year: i64) -> Result<DateTime, String> {
        let hour = match (self.hour.unwrap_or(0), self.afternoon) {
            (hour, None) => hour,
            (hour, Some(afternoon)) => hour % 12 + if afternoon { 12 } else { 0 },
        };
        // A leap second is the last moment of its minute.
        let second = self.second.min(59);
        let wrong = || "a part of the date is out of range".to_owned();
        let small = |number: i64| i8::try_from(number).map_err(|_| wrong());
        DateTime::new(
            i16::try_from(year).map_err(|_| wrong())?,
            small(self.month.unwrap_or(1))?,
            small(self.day.unwrap_or(1))?,
            small(hour)?,
            small(self.minute)?,
            small(second)?,
            i32::try_from(self.nanosecond).map_err(|_| wrong())?,
        )
        .map_err(|error| error.to_string())
    }
}

/// Keeps a value that could be read; returns the rest.
fn keep(read: Option<(i64, &str)>, keep: impl FnOnce(i64)) -> Option<&str> {
    let (value, rest) = read?;
    keep(value);
    Some(rest)
}

/// A name or its first three letters, counted from 1, and the rest.
fn name<'a>(text: &'a str, names: &[&str]) -> Option<(i64, &'a str)> {
    let length = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let word = text[..length].to_ascii_lowercase();
    let fits = |name: &str| name == word || (length == 3 && name.starts_with(&word));
    let at = names.iter().position(|name| fits(name))?;
    Some((
        i64::try_from(at).ok()? + 1,
        text[length..].strip_prefix('.').unwrap_or(&text[length..]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: &str, zone: &str, text: &str, expected: &str) {
        let now = "2026-01-02T12:00:00Z".parse().unwrap();
        let time = Format::parse(format)
            .unwrap()
            .read(text, &Zone::parse(zone).unwrap(), now);
        assert_eq!(
            time.map(|time| time.to_string()).as_deref(),
            Ok(expected),
            "{format} {text}"
        );
    }

    #[test]
    fn each_format_is_read() {
        check("ISO8601", "", "2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678Z");
        check("ISO8601", "+02:00", "2026-01-02T03:04:05", "2026-01-02T01:04:05Z");
        check("ISO8601", "", "2026-01-02T03:04:05+0200", "2026-01-02T01:04:05Z");
        check("ISO8601", "", "2026-01-02", "2026-01-02T00:00:00Z");
        check("UNIX", "", "1767323045.5", "2026-01-02T03:04:05.5Z");
        check("UNIX_MS", "", "1767323045678", "2026-01-02T03:04:05.678Z");
        check(
            "yyyy-MM-dd HH:mm:ss,SSS",
            "",
            "2026-01-02 03:04:05,678",
            "2026-01-02T03:04:05.678Z",
        );
        check(
            "dd/MMM/yyyy:HH:mm:ss Z",
            "",
            "02/Jan/2026:03:04:05 +0100",
            "2026-01-02T02:04:05Z",
        );
        check(
            "EEE MMM dd HH:mm:ss yyyy",
            "",
            "Fri Jan 02 03:04:05 2026",
            "2026-01-02T03:04:05Z",
        );
        check(
            "yyyy-MM-dd'T'HH:mm:ssXXX",
            "",
            "2026-01-02T03:04:05-05:00",
            "2026-01-02T08:04:05Z",
        );
        check("MM/dd/yy h:mm a", "", "01/02/26 3:04 PM", "2026-01-02T15:04:00Z");
    }

    #[test]
    fn syslog_dates_have_no_year() {
        check("MMM d HH:mm:ss", "", "Jan  2 03:04:06", "2026-01-02T03:04:06Z");
        check("MMM  d HH:mm:ss", "", "Jan  2 03:04:06", "2026-01-02T03:04:06Z");
        check("MMM dd HH:mm:ss", "+02:00", "Dec 31 23:59:59", "2025-12-31T21:59:59Z");
    }

    #[test]
    fn moments_are_written_in_their_zone() {
        let time = "2026-01-02T03:04:05.678Z".parse().unwrap();
        assert_eq!(
            Zone::parse("+02:00").unwrap().show(time),
            "2026-01-02T05:04:05.678+02:00"
        );
        assert_eq!(Zone::parse("UTC").unwrap().show(time), "2026-01-02T03:04:05.678Z");
        let at = Zone::parse("UTC").unwrap().at(time);
        assert_eq!(
            Format::parse("dd.MM.yyyy hh:mm a").unwrap().write(&at).unwrap(),
            "02.01.2026 03:04 AM"
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |format: &str, text: &str| {
            Format::parse(format)
                .unwrap()
                .read(text, &Zone::parse("").unwrap(), Timestamp::UNIX_EPOCH)
                .is_err()
        };
        assert!(refused("ISO8601", "yesterday") && refused("UNIX", "x") && refused("yyyy", "20x"));
        assert!(refused("yyyy-MM-dd", "2026-13-01") && refused("yyyy-MM-dd", "2026-01-01T"));
        assert!(Format::parse("yyyy-ww").is_err());
        assert!(Zone::parse("Mars/Olympus").is_err());
    }
}
