//! Dates as Elasticsearch reads them, and date math: `now-30d/d`, `2026-01-02||+1M`.
//!
//! Source: Elasticsearch reference, common options (date math) and `strict_date_optional_time||epoch_millis`.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp, Unit, Zoned};

/// Why a date was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("failed to parse date [{text}]: {reason}")]
pub struct DateError {
    text: String,
    reason: &'static str,
}

/// Resolves a date or date math against `now`, in UTC. With `round_up`, what is left out or rounded becomes the last
/// millisecond of its unit (for `gt` and `lte`), else the first.
///
/// # Errors
/// When the text is no date.
pub fn resolve(text: &str, now: Timestamp, round_up: bool) -> Result<Timestamp, DateError> {
    resolve_in(text, now, round_up, &TimeZone::UTC)
}

/// [`resolve`] with a time zone for rounding and for dates that name none.
///
/// # Errors
/// When the text is no date.
pub fn resolve_in(text: &str, now: Timestamp, round_up: bool, zone: &TimeZone) -> Result<Timestamp, DateError> {
    let fail = |reason| DateError {
        text: text.to_owned(),
        reason,
    };
    let trimmed = text.trim();
    if let Some(math) = trimmed.strip_prefix("now") {
        return apply(math, now.to_zoned(zone.clone()), round_up).map_err(fail);
    }
    let Some((date, math)) = trimmed.split_once("||") else {
        return parse(trimmed, zone, round_up).ok_or_else(|| fail("it is neither a date nor date math"));
    };
    let anchor = parse(date, zone, false).ok_or_else(|| fail("the date before `||` cannot be read"))?;
    apply(math, anchor.to_zoned(zone.clone()), round_up).map_err(fail)
}

/// A time zone by name (`Europe/Berlin`), offset (`+02:00`) or `Z`.
///
/// # Errors
/// When there is no such zone.
pub fn time_zone(name: &str) -> Result<TimeZone, DateError> {
    if name.eq_ignore_ascii_case("z") || name.eq_ignore_ascii_case("utc") {
        return Ok(TimeZone::UTC);
    }
    if let Some(offset) = parse_offset(name) {
        return Ok(TimeZone::fixed(offset));
    }
    TimeZone::get(name).map_err(|_| DateError {
        text: name.to_owned(),
        reason: "no such time zone",
    })
}

/// Reads a date: RFC 3339 with any tail left out, or milliseconds since 1970.
pub fn parse(text: &str, zone: &TimeZone, round_up: bool) -> Option<Timestamp> {
    if let Ok(millis) = text.parse::<i64>()
        && !(text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Timestamp::from_millisecond(millis).ok();
    }
    parse_iso(text, zone, round_up)
}

/// Reads a date in one of several formats, separated by `||`: the named ones and patterns of `y M d H m s S Z X`.
///
/// # Errors
/// When none of the formats fits, or one is not known.
pub fn parse_format(text: &str, format: &str, zone: &TimeZone, round_up: bool) -> Result<Timestamp, DateError> {
    let mut found = None;
    for one in format.split("||") {
        found = found.or(match one {
            "epoch_millis" => text
                .parse()
                .ok()
                .and_then(|millis| Timestamp::from_millisecond(millis).ok()),
            "epoch_second" => text
                .parse()
                .ok()
                .and_then(|seconds| Timestamp::from_second(seconds).ok()),
            "date_optional_time"
            | "strict_date_optional_time"
            | "strict_date_optional_time_nanos"
            | "iso8601"
            | "strict_date"
            | "date"
            | "strict_date_time"
            | "date_time"
            | "strict_date_time_no_millis" => parse_iso(text, zone, round_up),
            pattern => parse_pattern(text, pattern, zone)?,
        });
    }
    found.ok_or_else(|| DateError {
        text: text.to_owned(),
        reason: "it does not fit the format",
    })
}

fn parse_pattern(text: &str, pattern: &str, zone: &TimeZone) -> Result<Option<Timestamp>, DateError> {
    let format = strftime(pattern).ok_or_else(|| DateError {
        text: pattern.to_owned(),
        reason: "the format is not known",
    })?;
    let Ok(mut broken) = jiff::fmt::strtime::BrokenDownTime::parse(&format, text) else {
        return Ok(None);
    };
    // `yyyy-MM` is the first of the month. The first of anything is always in range.
    if broken.year().is_some() && broken.day().is_none() {
        drop(broken.set_day(Some(1)));
    }
    if broken.year().is_some() && broken.month().is_none() {
        drop(broken.set_month(Some(1)));
    }
    if broken.offset().is_some() {
        return Ok(broken.to_timestamp().ok());
    }
    let date = broken.to_date().ok();
    let time = broken.to_time().unwrap_or(Time::midnight());
    Ok(date
        .and_then(|date| DateTime::from_parts(date, time).to_zoned(zone.clone()).ok())
        .map(|zoned| zoned.timestamp()))
}

/// Writes a time in a format; unknown formats give RFC 3339 with milliseconds.
pub fn write_format(at: &Zoned, format: Option<&str>) -> String {
    match format.and_then(|format| format.split("||").next()) {
        Some("epoch_millis") => at.timestamp().as_millisecond().to_string(),
        Some("epoch_second") => at.timestamp().as_second().to_string(),
        Some("strict_date" | "date") => at.strftime("%Y-%m-%d").to_string(),
        Some(pattern) if strftime(pattern).is_some() => at.strftime(&strftime(pattern).unwrap_or_default()).to_string(),
        _ if at.offset() == Offset::UTC => at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        _ => at.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string(),
    }
}

/// A pattern of Java's letters in strftime's; `None` for letters that are not known here.
fn strftime(pattern: &str) -> Option<String> {
    let mut format = String::new();
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        let run = rest.chars().take_while(|&c| c == letter).count();
        rest = &rest[run * letter.len_utf8()..];
        match letter {
            'y' | 'u' if run == 2 => format.push_str("%y"),
            'y' | 'u' => format.push_str("%Y"),
            'M' if run <= 2 => format.push_str("%m"),
            'M' if run == 3 => format.push_str("%b"),
            'd' => format.push_str("%d"),
            'H' => format.push_str("%H"),
            'm' => format.push_str("%M"),
            's' => format.push_str("%S"),
            'S' => {
                format.push('%');
                format.push_str(&run.min(9).to_string());
                format.push('f');
            }
            'Z' | 'X' => format.push_str("%z"),
            'x' => format.push_str("%:z"),
            'E' => format.push_str("%a"),
            '\'' => {
                let end = rest.find('\'')?;
                format.push_str(&rest[..end].replace('%', "%%"));
                rest = &rest[end + 1..];
            }
            '%' => format.push_str("%%"),
            letter if letter.is_ascii_alphabetic() => return None,
            other => (0..run).for_each(|_| format.push(other)),
        }
    }
    Some(format)
}

/// Milliseconds of a date; the usual shape (`2026-01-02T03:04:05.678Z`) without the lenient reader, which is many times slower.
pub fn millis(text: &str) -> Option<i64> {
    usual_millis(text.as_bytes()).or_else(|| parse(text, &TimeZone::UTC, false).map(Timestamp::as_millisecond))
}

fn usual_millis(text: &[u8]) -> Option<i64> {
    let (date, rest) = text.split_at_checked(19)?;
    let shape = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !shape.iter().all(|(at, sign)| date[*at] == *sign) {
        return None;
    }
    let number = |part: &[u8]| {
        part.iter().try_fold(0_i64, |sum, digit| {
            digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'))
        })
    };
    let fraction = match rest.strip_suffix(b"Z")? {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => {
            let kept = &digits[..digits.len().min(3)];
            number(digits).and_then(|_| number(kept))? * [100, 10, 1][kept.len() - 1]
        }
        _ => return None,
    };
    let day = Date::new(
        i16::try_from(number(&date[..4])?).ok()?,
        i8::try_from(number(&date[5..7])?).ok()?,
        i8::try_from(number(&date[8..10])?).ok()?,
    );
    let (hour, minute, second) = (number(&date[11..13])?, number(&date[14..16])?, number(&date[17..19])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_since_1970(day.ok()?);
    Some((days * 86_400 + hour * 3600 + minute * 60 + second) * 1000 + fraction)
}

/// Source: Howard Hinnant, `chrono`-compatible low-level date algorithms, `days_from_civil`.
fn days_since_1970(day: Date) -> i64 {
    let (year, month, day) = (i64::from(day.year()), i64::from(day.month()), i64::from(day.day()));
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Whether a text has the shape of a date with a time: cheap, for guessing types.
pub fn looks_like_date_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    (16..=40).contains(&bytes.len())
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && bytes[10] == b'T'
        && bytes[13] == b':'
        && bytes[..4].iter().all(u8::is_ascii_digit)
}

fn parse_iso(text: &str, zone: &TimeZone, round_up: bool) -> Option<Timestamp> {
    if !text.is_ascii() {
        return None;
    }
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 4, 4)?;
    let month = parts
        .next()
        .map(|part| digits(part, 2, 2))
        .map_or(Some(None), |part| part.map(Some))?;
    let day = parts
        .next()
        .map(|part| digits(part, 2, 2))
        .map_or(Some(None), |part| part.map(Some))?;
    if parts.next().is_some() || (time.is_some() && day.is_none()) {
        return None;
    }
    let (clock, offset) = split_offset(time.unwrap_or(""))?;
    let zone = offset.map_or_else(|| zone.clone(), TimeZone::fixed);
    let time = parse_time(clock)?;
    let first_of = |unit_given: Option<i64>| unit_given.unwrap_or(1);
    let date = Date::new(i16::try_from(year).ok()?, first_of(month) as i8, first_of(day) as i8).ok()?;
    let start = DateTime::from_parts(date, time.0).to_zoned(zone).ok()?;
    if !round_up {
        return Some(start.timestamp());
    }
    let unit = match (month, day, time.1) {
        (None, _, _) => 'y',
        (_, None, _) => 'M',
        (_, _, unit) => unit,
    };
    if unit == 'f' {
        Some(start.timestamp())
    } else {
        end_of(&start, unit).ok().map(|zoned| zoned.timestamp())
    }
}

/// A time of day and the smallest unit that was given: `d` for none, `h`, `m`, `s`, `f` for fractions.
fn parse_time(text: &str) -> Option<(Time, char)> {
    if text.is_empty() {
        return Some((Time::midnight(), 'd'));
    }
    let mut parts = text.split(':');
    let hour = digits(parts.next()?, 2, 2)?;
    let minute = parts
        .next()
        .map(|part| digits(part, 2, 2))
        .map_or(Some(None), |part| part.map(Some))?;
    let seconds = parts.next();
    if parts.next().is_some() {
        return None;
    }
    let (second, nanos, unit) = match seconds {
        None => (0, 0, if minute.is_some() { 'm' } else { 'h' }),
        Some(text) => match text.split_once(['.', ',']) {
            None => (digits(text, 2, 2)?, 0, 's'),
            Some((whole, fraction)) => {
                digits(fraction, 1, 9)?;
                let scaled = format!("{fraction:0<9}").parse().ok()?;
                (digits(whole, 2, 2)?, scaled, 'f')
            }
        },
    };
    let time = Time::new(hour as i8, minute.unwrap_or(0) as i8, second as i8, nanos).ok()?;
    Some((time, unit))
}

fn split_offset(time: &str) -> Option<(&str, Option<Offset>)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, Some(Offset::UTC)));
    }
    match time.rfind(['+', '-']) {
        Some(at) => Some((&time[..at], Some(parse_offset(&time[at..])?))),
        None => Some((time, None)),
    }
}

fn parse_offset(text: &str) -> Option<Offset> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let plain: String = text[1..].chars().filter(|&c| c != ':').collect();
    let number = digits(&plain, 2, 4).filter(|_| plain.len() != 3)?;
    let (hours, minutes) = if plain.len() == 2 {
        (number, 0)
    } else {
        (number / 100, number % 100)
    };
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60) as i32).ok()
}

fn digits(text: &str, shortest: usize, longest: usize) -> Option<i64> {
    let good = (shortest..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| text.parse().ok()).flatten()
}

fn apply(math: &str, mut at: Zoned, round_up: bool) -> Result<Timestamp, &'static str> {
    let mut rest = math;
    while let Some(operator) = rest.chars().next() {
        rest = &rest[operator.len_utf8()..];
        let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = &rest[..length];
        let unit = rest[length..]
            .chars()
            .next()
            .ok_or("a unit (y, M, w, d, h, m or s) is missing")?;
        rest = &rest[length + unit.len_utf8()..];
        at = match operator {
            '/' if number.is_empty() && round_up => end_of(&at, unit)?,
            '/' if number.is_empty() => start_of(&at, unit)?,
            '+' | '-' => shift(&at, operator, number, unit)?,
            _ => return Err("date math knows `+`, `-` and `/`"),
        };
    }
    Ok(at.timestamp())
}

fn shift(at: &Zoned, operator: char, number: &str, unit: char) -> Result<Zoned, &'static str> {
    let amount: i64 = if number.is_empty() {
        1
    } else {
        number.parse().map_err(|_| "the number is too large")?
    };
    let amount = if operator == '-' { -amount } else { amount };
    let span = match unit {
        'y' => Span::new().try_years(amount),
        'M' => Span::new().try_months(amount),
        'w' => Span::new().try_weeks(amount),
        'd' => Span::new().try_days(amount),
        'h' | 'H' => Span::new().try_hours(amount),
        'm' => Span::new().try_minutes(amount),
        's' => Span::new().try_seconds(amount),
        _ => return Err("units are y, M, w, d, h, m and s"),
    };
    span.and_then(|span| at.checked_add(span))
        .map_err(|_| "the result is out of range")
}

/// The first instant of the unit that holds `at`. `q` is a quarter.
///
/// # Errors
/// For an unknown unit.
pub fn start_of(at: &Zoned, unit: char) -> Result<Zoned, &'static str> {
    let date = at.date();
    let first_of = |month: i8| Date::new(date.year(), month, 1).map_err(|_| "the result is out of range");
    let date = match unit {
        'y' => first_of(1)?,
        'q' => first_of((date.month() - 1) / 3 * 3 + 1)?,
        'M' => first_of(date.month())?,
        'w' => {
            let back = i64::from(date.weekday().to_monday_zero_offset());
            date.checked_sub(Span::new().days(back))
                .map_err(|_| "the result is out of range")?
        }
        'd' => date,
        'h' | 'H' => return truncate(at, Unit::Hour),
        'm' => return truncate(at, Unit::Minute),
        's' => return truncate(at, Unit::Second),
        _ => return Err("units are y, M, w, d, h, m and s"),
    };
    date.to_zoned(at.time_zone().clone())
        .map_err(|_| "the result is out of range")
}

fn truncate(at: &Zoned, unit: Unit) -> Result<Zoned, &'static str> {
    at.round(jiff::ZonedRound::new().smallest(unit).mode(jiff::RoundMode::Trunc))
        .map_err(|_| "the result is out of range")
}

/// The first instant of the next unit. `q` is a quarter.
///
/// # Errors
/// For an unknown unit.
pub fn next_after(at: &Zoned, unit: char) -> Result<Zoned, &'static str> {
    let start = start_of(at, unit)?;
    match unit {
        'q' => shift(&start, '+', "3", 'M'),
        unit => shift(&start, '+', "1", unit),
    }
}

fn end_of(at: &Zoned, unit: char) -> Result<Zoned, &'static str> {
    next_after(at, unit)?
        .checked_sub(Span::new().milliseconds(1))
        .map_err(|_| "the result is out of range")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-03-15T10:20:30.400Z";

    #[track_caller]
    fn check(text: &str, round_up: bool, expected: &str) {
        let now = NOW.parse().unwrap();
        let found = resolve(text, now, round_up).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found, expected.parse::<Timestamp>().unwrap(), "{text}");
    }

    #[test]
    fn math_on_now_and_on_dates() {
        check("now", false, NOW);
        check("now-30d", false, "2026-02-13T10:20:30.400Z");
        check("now-1h/h", false, "2026-03-15T09:00:00Z");
        check("now/d", true, "2026-03-15T23:59:59.999Z");
        check("now/w", false, "2026-03-09T00:00:00Z");
        check("now+1M/M", false, "2026-04-01T00:00:00Z");
        check("2026-01-31||+1M", false, "2026-02-28T00:00:00Z");
        check("2026-01-31T12:00:00Z||/y", false, "2026-01-01T00:00:00Z");
    }

    #[test]
    fn dates_with_parts_left_out() {
        check("2026", false, "2026-01-01T00:00:00Z");
        check("2026", true, "2026-12-31T23:59:59.999Z");
        check("2026-02", true, "2026-02-28T23:59:59.999Z");
        check("2026-02-03", true, "2026-02-03T23:59:59.999Z");
        check("2026-02-03T04:05", true, "2026-02-03T04:05:59.999Z");
        check("2026-02-03T04:05:06.7Z", true, "2026-02-03T04:05:06.7Z");
        check("2026-02-03T04:05:06+02:00", false, "2026-02-03T02:05:06Z");
        check("1770091506000", false, "2026-02-03T04:05:06Z");
        check("-1000", false, "1969-12-31T23:59:59Z");
    }

    #[test]
    fn time_zones() {
        let now = NOW.parse().unwrap();
        let zone = time_zone("+02:00").unwrap();
        let found = resolve_in("now/d", now, false, &zone).unwrap();
        assert_eq!(found, "2026-03-14T22:00:00Z".parse::<Timestamp>().unwrap());
        assert!(time_zone("Mars/Olympus").is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        let now = NOW.parse().unwrap();
        for text in [
            "",
            "now-",
            "now-1",
            "now-1x",
            "now*2d",
            "2026-13-01",
            "2026-1-1",
            "yesterday",
            "2026-01-01||?",
            "now-99999999999999999999d",
            "2026-01-01T25:00",
        ] {
            assert!(resolve(text, now, false).is_err(), "{text}");
        }
    }

    #[test]
    fn the_short_way_gives_the_same_as_the_long_one() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2026-02-28T23:59:59.999Z",
            "2024-02-29T12:00:00.5Z",
            "1969-12-31T23:59:59.12Z",
            "2026-11-30T06:43:13.123456Z",
            "0001-01-01T00:00:00Z",
            "2100-03-01T00:00:00.001Z",
        ] {
            let long = parse(text, &TimeZone::UTC, false).map(Timestamp::as_millisecond);
            assert_eq!(usual_millis(text.as_bytes()), long, "{text}");
        }
        for text in [
            "2026-02-30T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01",
            "2026-01-01T00:00:00+01:00",
            "x",
        ] {
            assert_eq!(usual_millis(text.as_bytes()), None, "{text}");
        }
    }
}
