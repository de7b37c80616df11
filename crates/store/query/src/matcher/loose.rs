//! Tests of values whose type is not known.

use std::cmp::Ordering;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::text::TextPattern;
use crate::dsl::RangeBound;
use crate::evaluate::{compare_values, equal};
use crate::{analysis, date_math};

#[derive(Debug)]
pub(super) enum LooseTest {
    Present,
    Equal(Vec<Value>),
    Range(Option<Box<LooseBound>>, Option<Box<LooseBound>>),
    Pattern(TextPattern),
    /// The words, the text as it was, all of them or any.
    Words(Vec<String>, String, bool),
    Phrase(Vec<String>, String),
}

/// A bound with what it is as a number, a text and an instant.
#[derive(Debug)]
pub(super) struct LooseBound {
    value: Value,
    number: Option<f64>,
    text: String,
    millis: Option<i64>,
    inclusive: bool,
    side: Ordering,
}

impl LooseBound {
    pub(super) fn new(bound: &RangeBound, side: Ordering, now: Option<Timestamp>) -> Self {
        let text = bound
            .value
            .as_str()
            .map_or_else(|| bound.value.to_string(), ToOwned::to_owned);
        let round_up = bound.inclusive == (side == Ordering::Less);
        let zone = match &bound.time_zone {
            Some(name) => date_math::time_zone(name).ok(),
            None => Some(TimeZone::UTC),
        };
        let resolved = zone
            .filter(|_| now.is_some() || !text.starts_with("now"))
            .and_then(|zone| date_math::resolve_in(&text, now.unwrap_or(Timestamp::UNIX_EPOCH), round_up, &zone).ok());
        Self {
            value: bound.value.clone(),
            number: bound.value.as_f64().or_else(|| text.parse().ok()),
            millis: resolved.map(Timestamp::as_millisecond),
            text,
            inclusive: bound.inclusive,
            side,
        }
    }

    fn admits(&self, value: &Value) -> bool {
        let ordering = match (value, &self.value) {
            (Value::Number(_), Value::Number(_)) => compare_values(value, &self.value),
            (Value::Number(number), Value::String(_)) => match (self.number, number.as_i64(), self.millis) {
                (Some(wanted), ..) => number
                    .as_f64()
                    .unwrap_or(f64::NAN)
                    .partial_cmp(&wanted)
                    .unwrap_or(Ordering::Equal),
                (None, Some(millis), Some(wanted)) => millis.cmp(&wanted),
                _ => return false,
            },
            (Value::String(text), _) => match date_math::millis(text).zip(self.millis) {
                Some((millis, wanted)) => millis.cmp(&wanted),
                None if self.text.starts_with("now") => return false,
                None => text.as_str().cmp(&self.text),
            },
            _ => return false,
        };
        ordering == self.side || (self.inclusive && ordering == Ordering::Equal)
    }
}

impl LooseTest {
    pub(super) fn passes(&self, value: &Value) -> bool {
        match self {
            Self::Present => !value.is_null(),
            Self::Equal(wanted) => wanted.iter().any(|one| equal(value, one)),
            Self::Range(from, to) => {
                !value.is_null()
                    && from.as_ref().is_none_or(|bound| bound.admits(value))
                    && to.as_ref().is_none_or(|bound| bound.admits(value))
            }
            Self::Pattern(pattern) => with_text(value, &|text| whole_or_word(text, pattern)),
            Self::Words(wanted, whole, all) => with_text(value, &|text| has_words(text, wanted, whole, *all)),
            Self::Phrase(words, whole) => {
                with_text(value, &|text| text == whole || analysis::contains_phrase(text, words))
            }
        }
    }
}

fn with_text(value: &Value, test: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => test(text),
        Value::Number(number) => test(&number.to_string()),
        Value::Bool(flag) => test(if *flag { "true" } else { "false" }),
        _ => false,
    }
}

/// Patterns look at the whole value and, in a text of several words, at each of them.
fn whole_or_word(text: &str, pattern: &TextPattern) -> bool {
    pattern.fits(text)
        || !matches!(pattern, TextPattern::Expression(_))
            && text.contains(' ')
            && analysis::words(text).any(|word| pattern.fits(&word))
}

fn has_words(value: &str, wanted: &[String], whole: &str, all: bool) -> bool {
    // A value without a space counts as a keyword: it matches as a whole.
    if !value.contains(' ') {
        return value.eq_ignore_ascii_case(whole) || !all && whole.split_whitespace().any(|word| word == value);
    }
    let present: Vec<String> = analysis::words(value).collect();
    if all {
        !wanted.is_empty() && wanted.iter().all(|word| present.contains(word))
    } else {
        wanted.iter().any(|word| present.contains(word))
    }
}
