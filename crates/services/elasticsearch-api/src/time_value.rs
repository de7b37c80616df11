//! Elasticsearch's way to write a duration: `30s`, `1d`, `240000ms`.

use std::time::Duration;

use crate::error::ApiError;

/// Units from the longest suffix to the shortest, so that `ms` is not read as `s`.
const UNITS: &[(&str, u64)] = &[
    ("nanos", 1),
    ("micros", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Reads the value of `setting`.
pub(crate) fn parse(text: &str, setting: &str) -> Result<Duration, ApiError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let wrong = || {
        ApiError::illegal(format!(
            "failed to parse setting [{setting}] with value [{text}] as a time value: unit is missing or unrecognized"
        ))
    };
    let (digits, nanos) = UNITS
        .iter()
        .find_map(|(unit, nanos)| Some((text.strip_suffix(unit)?, *nanos)))
        .ok_or_else(wrong)?;
    let count: u64 = digits.trim().parse().map_err(|_| wrong())?;
    count.checked_mul(nanos).map(Duration::from_nanos).ok_or_else(wrong)
}

/// In the largest unit from milliseconds to days that leaves no rest.
pub(crate) fn written(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let unit = units
        .iter()
        .find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit));
    unit.map_or_else(
        || format!("{millis}ms"),
        |(name, unit)| format!("{}{name}", millis / unit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_in_whole_units() {
        for text in ["0ms", "1500ms", "30s", "4m", "36h", "30d"] {
            assert_eq!(written(parse(text, "x").unwrap()), text);
        }
        assert_eq!(written(Duration::from_hours(168)), "7d");
    }

    #[test]
    fn units_are_read() {
        let check = |text: &str, millis: Option<u128>| {
            assert_eq!(
                parse(text, "x").ok().map(|duration| duration.as_millis()),
                millis,
                "{text}"
            );
        };
        check("240000ms", Some(240_000));
        check("30s", Some(30_000));
        check("4m", Some(240_000));
        check("1d", Some(86_400_000));
        check("0", Some(0));
        check("5", None);
        check("-1s", None);
        check("99999999999999d", None);
    }
}
