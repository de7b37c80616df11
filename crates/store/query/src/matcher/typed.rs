//! Tests of values whose type the mapping gives.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::text::TextPattern;
use crate::dsl::{QueryError, RangeBound};
use crate::mapping::{Field, Kind, instant, ip_matches, whole_of};
use crate::parse::scalar_text;
use crate::{date_math, field, pattern};

#[derive(Debug)]
pub(super) enum ValueTest {
    Present,
    Keywords {
        wanted: HashSet<String>,
        longest: usize,
    },
    Pattern {
        pattern: TextPattern,
        longest: usize,
    },
    TextRange(TextEnd, TextEnd),
    VersionRange(TextEnd, TextEnd),
    Wholes(Vec<(i64, i64)>),
    Fractions(Vec<FractionRange>),
    /// Milliseconds, both ends included; the field's format.
    Instants(Vec<(i64, i64)>, Option<String>),
    Flags(Vec<bool>),
    Addresses(Vec<String>),
    AddressRange(Option<(IpAddr, bool)>, Option<(IpAddr, bool)>),
}

type TextEnd = Option<(String, bool)>;

#[derive(Debug)]
pub(super) struct FractionRange {
    from: Option<(f64, bool)>,
    to: Option<(f64, bool)>,
}

impl ValueTest {
    pub(super) fn passes(&self, value: &Value) -> bool {
        match self {
            Self::Present => !value.is_null(),
            Self::Keywords { wanted, .. } if value.is_object() => {
                let mut found = false;
                field::visit_all(value, &mut |_, leaf| {
                    found = found || scalar_text(leaf).is_some_and(|text| wanted.contains(&text));
                });
                found
            }
            Self::Keywords { wanted, longest } => {
                scalar_text(value).is_some_and(|text| text.chars().count() <= *longest && wanted.contains(&text))
            }
            Self::Pattern { pattern, longest } => {
                scalar_text(value).is_some_and(|text| text.chars().count() <= *longest && pattern.fits(&text))
            }
            Self::TextRange(from, to) => scalar_text(value).is_some_and(|text| between(&text, from, to, &str::cmp)),
            Self::VersionRange(from, to) => {
                scalar_text(value).is_some_and(|text| between(&text, from, to, &compare_versions))
            }
            Self::Wholes(ranges) => {
                whole_of(value).is_some_and(|number| ranges.iter().any(|(from, to)| (*from..=*to).contains(&number)))
            }
            Self::Fractions(ranges) => {
                number_of(value).is_some_and(|number| ranges.iter().any(|range| range.holds(number)))
            }
            Self::Instants(ranges, format) => millis_of(value, format.as_deref())
                .is_some_and(|millis| ranges.iter().any(|(from, to)| (*from..=*to).contains(&millis))),
            Self::Flags(wanted) => flag_of(value).is_some_and(|flag| wanted.contains(&flag)),
            Self::Addresses(wanted) => value
                .as_str()
                .is_some_and(|text| wanted.iter().any(|one| ip_matches(text, one))),
            Self::AddressRange(from, to) => {
                value
                    .as_str()
                    .and_then(|text| text.parse().ok())
                    .is_some_and(|address: IpAddr| {
                        from.as_ref()
                            .is_none_or(|(end, inclusive)| address > *end || *inclusive && address == *end)
                            && to
                                .as_ref()
                                .is_none_or(|(end, inclusive)| address < *end || *inclusive && address == *end)
                    })
            }
        }
    }
}

impl FractionRange {
    fn holds(&self, number: f64) -> bool {
        let above = |(end, inclusive): (f64, bool)| if inclusive { number >= end } else { number > end };
        let below = |(end, inclusive): (f64, bool)| if inclusive { number <= end } else { number < end };
        self.from.is_none_or(above) && self.to.is_none_or(below)
    }
}

fn between(text: &str, from: &TextEnd, to: &TextEnd, compare: &dyn Fn(&str, &str) -> Ordering) -> bool {
    let inside = |end: &TextEnd, side: Ordering| match end {
        None => true,
        Some((end, inclusive)) => {
            let ordering = compare(text, end);
            ordering == side || *inclusive && ordering == Ordering::Equal
        }
    };
    inside(from, Ordering::Greater) && inside(to, Ordering::Less)
}

/// Versions part by part, numbers by value; a pre-release comes before its release. Source: Semantic Versioning, precedence.
pub(crate) fn compare_versions(left: &str, right: &str) -> Ordering {
    let split = |text: &str| {
        let text = text.split('+').next().unwrap_or(text).to_owned();
        match text.split_once('-') {
            Some((release, before)) => (release.to_owned(), Some(before.to_owned())),
            None => (text, None),
        }
    };
    let ((left, left_before), (right, right_before)) = (split(left), split(right));
    let parts = |left: &str, right: &str| {
        let (mut one, mut other) = (left.split('.'), right.split('.'));
        loop {
            let ordering = match (one.next(), other.next()) {
                (None, None) => return Ordering::Equal,
                (None, Some(_)) => return Ordering::Less,
                (Some(_), None) => return Ordering::Greater,
                (Some(left), Some(right)) => match (left.parse::<u64>(), right.parse::<u64>()) {
                    (Ok(left), Ok(right)) => left.cmp(&right),
                    (Ok(_), Err(_)) => Ordering::Less,
                    (Err(_), Ok(_)) => Ordering::Greater,
                    (Err(_), Err(_)) => left.cmp(right),
                },
            };
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
    };
    parts(&left, &right).then_with(|| match (left_before, right_before) {
        (None, None) => Ordering::Equal,
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some(left), Some(right)) => parts(&left, &right),
    })
}

fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

pub(crate) fn millis_of(value: &Value, format: Option<&str>) -> Option<i64> {
    match (value, format) {
        (Value::Number(number), None) => number.as_i64().or_else(|| number.as_f64().map(|millis| millis as i64)),
        (Value::String(text), None) => date_math::millis(text),
        _ => instant(value, format, &TimeZone::UTC, false).map(Timestamp::as_millisecond),
    }
}

fn flag_of(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => match text.as_str() {
            "true" => Some(true),
            "false" | "" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn failed(why: &str) -> QueryError {
    QueryError {
        kind: "query_shard_exception",
        message: format!("failed to create query: {why}"),
    }
}

/// The test of exact values. `None` when nothing can have them.
pub(super) fn exactly(
    field: &Field<'_>,
    values: &[Value],
    now: Option<Timestamp>,
) -> Result<Option<ValueTest>, QueryError> {
    let texts = || values.iter().filter_map(scalar_text);
    Ok(Some(match field.kind() {
        Kind::Keyword if field.constant().is_some() => return Ok(None),
        Kind::Keyword | Kind::Version | Kind::Text => ValueTest::Keywords {
            wanted: texts().collect(),
            longest: field.ignore_above(),
        },
        Kind::Whole { .. } => {
            let mut ranges = Vec::new();
            for value in values {
                let number = number_of(value).ok_or_else(|| not_a_number(value))?;
                if number.fract() == 0.0 {
                    let whole = whole_of(value).unwrap_or_default();
                    ranges.push((whole, whole));
                }
            }
            ValueTest::Wholes(ranges)
        }
        Kind::Fraction => {
            let point = |value: &Value| {
                let number = number_of(value).ok_or_else(|| not_a_number(value))?;
                let end = Some((number, true));
                Ok(FractionRange { from: end, to: end })
            };
            ValueTest::Fractions(values.iter().map(point).collect::<Result<_, QueryError>>()?)
        }
        Kind::Date => {
            let whole = |value: &Value| {
                let bound = RangeBound::inclusive(value.clone());
                let (from, to) = (
                    date_end(field, &bound, false, now)?,
                    date_end(field, &bound, true, now)?,
                );
                Ok((from, to))
            };
            let ranges = values.iter().map(whole).collect::<Result<_, QueryError>>()?;
            ValueTest::Instants(ranges, field.format().map(str::to_owned))
        }
        Kind::Boolean => {
            let flag = |value: &Value| {
                flag_of(value).ok_or_else(|| {
                    let text = scalar_text(value).unwrap_or_default();
                    failed(&format!(
                        "Can't parse boolean value [{text}], expected [true] or [false]"
                    ))
                })
            };
            ValueTest::Flags(values.iter().map(flag).collect::<Result<_, QueryError>>()?)
        }
        Kind::Ip => {
            for text in texts() {
                let address = text.split('/').next().unwrap_or(&text);
                if address.parse::<IpAddr>().is_err() {
                    return Err(failed(&format!("'{address}' is not an IP string literal.")));
                }
            }
            ValueTest::Addresses(texts().collect())
        }
        Kind::Flattened | Kind::Stored => return Ok(None),
    }))
}

fn not_a_number(value: &Value) -> QueryError {
    failed(&format!(
        "For input string: \"{}\"",
        scalar_text(value).unwrap_or_default()
    ))
}

/// The test of a range. `None` when nothing can lie in it.
pub(super) fn range(
    field: &Field<'_>,
    from: Option<&RangeBound>,
    to: Option<&RangeBound>,
    now: Option<Timestamp>,
) -> Result<Option<ValueTest>, QueryError> {
    let text_end = |bound: Option<&RangeBound>| {
        bound.map(|bound| (scalar_text(&bound.value).unwrap_or_default(), bound.inclusive))
    };
    Ok(Some(match field.kind() {
        Kind::Keyword | Kind::Text => ValueTest::TextRange(text_end(from), text_end(to)),
        Kind::Version => ValueTest::VersionRange(text_end(from), text_end(to)),
        Kind::Whole { .. } => {
            let low = from.map_or(Ok(i64::MIN), |bound| whole_end(bound, false))?;
            let high = to.map_or(Ok(i64::MAX), |bound| whole_end(bound, true))?;
            ValueTest::Wholes(vec![(low, high)])
        }
        Kind::Fraction => {
            let end = |bound: Option<&RangeBound>| {
                bound
                    .map(|bound| {
                        let number = number_of(&bound.value).ok_or_else(|| not_a_number(&bound.value))?;
                        Ok((number, bound.inclusive))
                    })
                    .transpose()
            };
            ValueTest::Fractions(vec![FractionRange {
                from: end(from)?,
                to: end(to)?,
            }])
        }
        Kind::Date => {
            let low = from.map_or(Ok(i64::MIN), |bound| {
                date_end(field, bound, !bound.inclusive, now).map(|at| at.saturating_add(i64::from(!bound.inclusive)))
            })?;
            let high = to.map_or(Ok(i64::MAX), |bound| {
                date_end(field, bound, bound.inclusive, now).map(|at| at.saturating_sub(i64::from(!bound.inclusive)))
            })?;
            ValueTest::Instants(vec![(low, high)], field.format().map(str::to_owned))
        }
        Kind::Ip => {
            let end = |bound: Option<&RangeBound>| {
                bound
                    .map(|bound| {
                        let text = scalar_text(&bound.value).unwrap_or_default();
                        let address = text.parse();
                        let address: IpAddr =
                            address.map_err(|_| failed(&format!("'{text}' is not an IP string literal.")))?;
                        Ok((address, bound.inclusive))
                    })
                    .transpose()
            };
            ValueTest::AddressRange(end(from)?, end(to)?)
        }
        Kind::Boolean => {
            let inside = |flag: bool| {
                let at = |bound: &RangeBound| flag_of(&bound.value).unwrap_or_default();
                from.is_none_or(|bound| flag && !at(bound) || bound.inclusive && flag == at(bound))
                    && to.is_none_or(|bound| !flag && at(bound) || bound.inclusive && flag == at(bound))
            };
            ValueTest::Flags([false, true].into_iter().filter(|flag| inside(*flag)).collect())
        }
        Kind::Flattened | Kind::Stored => return Ok(None),
    }))
}

/// The nearest whole number inside.
fn whole_end(bound: &RangeBound, upper: bool) -> Result<i64, QueryError> {
    let number = number_of(&bound.value).ok_or_else(|| not_a_number(&bound.value))?;
    if let (Some(whole), true) = (whole_of(&bound.value), number.fract() == 0.0) {
        let step = i64::from(!bound.inclusive);
        return Ok(if upper {
            whole.saturating_sub(step)
        } else {
            whole.saturating_add(step)
        });
    }
    Ok(if upper { number.floor() } else { number.ceil() } as i64)
}

fn date_end(field: &Field<'_>, bound: &RangeBound, round_up: bool, now: Option<Timestamp>) -> Result<i64, QueryError> {
    let text = scalar_text(&bound.value).unwrap_or_default();
    let zone = bound
        .time_zone
        .as_deref()
        .map_or(Ok(TimeZone::UTC), date_math::time_zone);
    let zone = zone.map_err(|error| failed(&error.to_string()))?;
    if let (Some(format), false) = (field.format(), text.starts_with("now") || text.contains("||")) {
        let read = date_math::parse_format(&text, format, &zone, round_up);
        // A bound in a format of its own has become ISO 8601 when the request was read.
        let read = read.ok().or_else(|| date_math::parse(&text, &zone, round_up));
        return read
            .map(Timestamp::as_millisecond)
            .ok_or_else(|| failed(&format!("failed to parse date field [{text}] with format [{format}]")));
    }
    date_math::resolve_in(&text, now.unwrap_or(Timestamp::UNIX_EPOCH), round_up, &zone)
        .map(Timestamp::as_millisecond)
        .map_err(|_| {
            failed(&format!(
                "failed to parse date field [{text}] with format [strict_date_optional_time||epoch_millis]"
            ))
        })
}

/// The test of a pattern. `None` for types that have no texts.
pub(super) fn pattern_test(field: &Field<'_>, pattern: TextPattern) -> Option<ValueTest> {
    matches!(field.kind(), Kind::Keyword | Kind::Version).then(|| ValueTest::Pattern {
        pattern,
        longest: field.ignore_above(),
    })
}

/// Whether the one value of a `constant_keyword` is among those.
pub(super) fn constant_is(field: &Field<'_>, values: &[Value]) -> bool {
    let constant = field.constant().and_then(scalar_text);
    constant.is_some_and(|constant| {
        values
            .iter()
            .filter_map(scalar_text)
            .any(|value| pattern::wildcard(&value, &constant))
    })
}
