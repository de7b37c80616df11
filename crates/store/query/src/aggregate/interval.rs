//! Steps of a `date_histogram` or `histogram`.

use std::cell::Cell;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::date_math;
use crate::dsl::QueryError;

/// How values fall into buckets.
#[derive(Clone, Debug)]
pub(crate) enum Interval {
    /// Numbers, step and offset.
    Number { step: f64, offset: f64 },
    /// Milliseconds of local time, step and offset.
    Fixed { step: i64, offset: i64, zone: TimeZone },
    /// A unit of the calendar: `m`, `h`, `d`, `w`, `M`, `q`, `y`.
    Calendar {
        unit: char,
        offset: i64,
        zone: TimeZone,
        last: Cell<(i64, i64)>,
    },
}

impl Interval {
    /// The key of the bucket that holds `value`.
    pub(crate) fn key(&self, value: f64) -> f64 {
        match self {
            Self::Number { step, offset } => ((value - offset) / step).floor() * step + offset,
            Self::Fixed { step, offset, zone } if *zone == TimeZone::UTC => {
                let shifted = value as i64 - offset;
                (shifted - shifted.rem_euclid(*step) + offset) as f64
            }
            Self::Fixed { step, offset, zone } => {
                let local = offset_at(zone, value as i64);
                let shifted = value as i64 + local - offset;
                (shifted - shifted.rem_euclid(*step) + offset - local) as f64
            }
            Self::Calendar {
                unit,
                offset,
                zone,
                last,
            } => {
                let at = value as i64 - offset;
                let (start, end) = last.get();
                if (start..end).contains(&at) {
                    return (start + offset) as f64;
                }
                let Some((start, end)) = calendar_bucket(*unit, zone, at) else {
                    return value;
                };
                last.set((start, end));
                (start + offset) as f64
            }
        }
    }

    /// The key after `key`.
    pub(crate) fn next(&self, key: f64) -> f64 {
        match self {
            Self::Number { step, .. } => key + step,
            Self::Fixed { step, .. } => key + *step as f64,
            Self::Calendar { unit, offset, zone, .. } => calendar_bucket(*unit, zone, key as i64 - offset)
                .map_or(f64::INFINITY, |(_, end)| (end + offset) as f64),
        }
    }

    pub(crate) fn zone(&self) -> Option<&TimeZone> {
        match self {
            Self::Number { .. } => None,
            Self::Fixed { zone, .. } | Self::Calendar { zone, .. } => Some(zone),
        }
    }
}

fn offset_at(zone: &TimeZone, millis: i64) -> i64 {
    Timestamp::from_millisecond(millis).map_or(0, |time| i64::from(zone.to_offset(time).seconds()) * 1000)
}

fn calendar_bucket(unit: char, zone: &TimeZone, millis: i64) -> Option<(i64, i64)> {
    let at = Timestamp::from_millisecond(millis).ok()?.to_zoned(zone.clone());
    let start = date_math::start_of(&at, unit).ok()?;
    let end = date_math::next_after(&at, unit).ok()?;
    Some((start.timestamp().as_millisecond(), end.timestamp().as_millisecond()))
}

/// `30s`, `5m`, `1d` in milliseconds.
pub(crate) fn fixed(text: &str) -> Result<i64, QueryError> {
    let wrong = || {
        QueryError::argument(format!(
            "failed to parse [{text}] as a fixed interval such as `30s`, `5m`, `1d`"
        ))
    };
    let unsigned = text.strip_prefix('-').or(text.strip_prefix('+')).unwrap_or(text);
    let split = unsigned.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: i64 = unsigned[..split].parse().map_err(|_| wrong())?;
    let unit = match &unsigned[split..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let millis = number.checked_mul(unit).ok_or_else(wrong)?;
    Ok(if text.starts_with('-') { -millis } else { millis })
}

/// `1d`, `day`, `1M`, `month` .. as a unit letter.
pub(crate) fn calendar(text: &str) -> Result<char, QueryError> {
    match text {
        "minute" | "1m" => Ok('m'),
        "hour" | "1h" => Ok('h'),
        "day" | "1d" => Ok('d'),
        "week" | "1w" => Ok('w'),
        "month" | "1M" => Ok('M'),
        "quarter" | "1q" => Ok('q'),
        "year" | "1y" => Ok('y'),
        _ => Err(QueryError::argument(format!(
            "the supplied interval [{text}] could not be parsed as a calendar interval such as `1d`, `1M`, `1y`"
        ))),
    }
}
