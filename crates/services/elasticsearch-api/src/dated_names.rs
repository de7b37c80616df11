//! Names of indices with dates in them: `<logs-{now/d{yyyy.MM.dd|+01:00}}>`.
//!
//! Source: Elasticsearch reference, date math in index names.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use query::date_math;

use crate::error::ApiError;

/// How dates are written when the name does not say.
const FORMAT: &str = "yyyy.MM.dd";

/// The name that `name` stands for at `now`.
///
/// # Errors
/// When what is between the braces cannot be read.
pub(crate) fn resolve(name: &str, now: Timestamp) -> Result<Cow<'_, str>, ApiError> {
    let Some(inner) = name.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) else {
        return Ok(Cow::Borrowed(name));
    };
    let wrong = |why: &str| {
        let reason = format!("invalid dynamic name expression [{inner}]. {why}");
        ApiError::new(http::StatusCode::BAD_REQUEST, "parse_exception", reason)
    };
    let mut resolved = String::new();
    let mut letters = inner.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => resolved.extend(letters.next().map(|(_, escaped)| escaped)),
            '}' => {
                return Err(wrong(
                    "invalid character at position. `{` and `}` are reserved characters and should be escaped when used as part of the index name using `\\`",
                ));
            }
            '{' => {
                let length = closing(&inner[at..]).ok_or_else(|| wrong("date math placeholder is open ended"))?;
                resolved.push_str(&date(&inner[at + 1..at + length], now).map_err(|error| wrong(&error))?);
                // The brace itself has been taken already.
                letters
                    .by_ref()
                    .take_while(|(place, _)| *place < at + length)
                    .for_each(drop);
            }
            other => resolved.push(other),
        }
    }
    Ok(Cow::Owned(resolved))
}

/// Where the brace is closed that `text` begins with.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    text.char_indices().find_map(|(at, letter)| {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        (depth == 0).then_some(at)
    })
}

/// `now/d{format|zone}`.
fn date(text: &str, now: Timestamp) -> Result<String, String> {
    let (math, options) = match text.split_once('{') {
        None => (text, None),
        Some((math, rest)) => (math, Some(rest.trim_end_matches('}'))),
    };
    let (format, zone) = match options.map(|options| options.split_once('|').unwrap_or((options, ""))) {
        None => (FORMAT, ""),
        Some((format, zone)) => (if format.is_empty() { FORMAT } else { format }, zone),
    };
    let zone = match zone {
        "" => TimeZone::UTC,
        zone => date_math::time_zone(zone).map_err(|error| error.to_string())?,
    };
    let time = date_math::resolve_in(math, now, false, &zone).map_err(|error| error.to_string())?;
    Ok(date_math::write_format(&time.to_zoned(zone), Some(format)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-03-22T23:30:00Z".parse().unwrap()
    }

    #[test]
    fn dates_are_put_in() {
        let check = |name: &str, expected: &str| assert_eq!(resolve(name, now()).unwrap(), expected, "{name}");
        check("plain", "plain");
        check("<plain>", "plain");
        check("<logs-{now/d}>", "logs-2026.03.22");
        check("<logs-{now/M}-000001>", "logs-2026.03.01-000001");
        check("<logs-{now/M{yyyy.MM}}>", "logs-2026.03");
        check(
            "<logs-{now/d-1d}-{now/d{yyyy.MM.dd|+12:00}}>",
            "logs-2026.03.21-2026.03.23",
        );
        check("<elastic\\{ON\\}-{now/M}>", "elastic{ON}-2026.03.01");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for name in [
            "<logs-{now/d>",
            "<logs-}>",
            "<logs-{never}>",
            "<logs-{now/d{yyyy|Mars}}>",
        ] {
            assert_eq!(resolve(name, now()).unwrap_err().kind, "parse_exception", "{name}");
        }
    }
}
