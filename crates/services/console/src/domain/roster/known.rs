//! A value that agents have, with what lists want to know of it: found out once, for all agents that have it.

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

/// A value. Cheap to share.
#[derive(Clone, Debug)]
pub(crate) struct Known(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    value: Value,
    /// Of a text that is one.
    version: Option<Box<semver::Version>>,
    place: Place,
}

/// Where a value stands among others.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// A time, in milliseconds; it sorts as a number.
    Time(i64),
    Number(f64),
    /// The first octets.
    Text([u8; 8]),
    Flag(bool),
    /// Objects and lists; none is kept.
    Other,
}

impl Known {
    pub(super) fn new(value: Value) -> Self {
        let place = match &value {
            Value::String(text) => millis_of(text).map_or_else(|| Place::Text(beginning(text)), Place::Time),
            Value::Number(number) => Place::Number(number.as_f64().unwrap_or_default()),
            Value::Bool(flag) => Place::Flag(*flag),
            _ => Place::Other,
        };
        let version = value.as_str().and_then(|text| semver::Version::parse(text).ok());
        Self(Arc::new(Facts {
            value,
            version: version.map(Box::new),
            place,
        }))
    }

    pub(crate) fn value(&self) -> &Value {
        &self.0.value
    }

    /// The version that it is.
    pub(crate) fn version(&self) -> Option<&semver::Version> {
        self.0.version.as_deref()
    }

    /// Whether anybody but the vocabulary has it, which has it twice.
    pub(super) fn is_used(&self) -> bool {
        Arc::strong_count(&self.0) > 2
    }

    /// What it is sorted by: times as milliseconds.
    pub(crate) fn sort_value(&self) -> Cow<'_, Value> {
        match self.0.place {
            Place::Time(millis) => Cow::Owned(millis.into()),
            _ => Cow::Borrowed(&self.0.value),
        }
    }

    /// A number that is smaller for smaller values, and never larger: what it leaves open, [`Known::compare`] says.
    pub(crate) fn rank(&self) -> (u8, u64) {
        match self.0.place {
            Place::Flag(flag) => (1, flag.into()),
            #[expect(clippy::cast_precision_loss, reason = "what is lost is left open")]
            Place::Time(millis) => (2, rank_of(millis as f64)),
            Place::Number(number) => (2, rank_of(number)),
            Place::Text(beginning) => (3, u64::from_be_bytes(beginning)),
            Place::Other => (4, 0),
        }
    }

    /// The order of two by what they are sorted by.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        match (self.0.place, other.0.place) {
            (Place::Time(left), Place::Time(right)) => left.cmp(&right),
            _ => query::compare_values(&self.sort_value(), &other.sort_value()),
        }
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.value == other.0.value
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.value.hash(state);
    }
}

impl Borrow<Value> for Known {
    fn borrow(&self) -> &Value {
        &self.0.value
    }
}

/// The order of floating-point numbers as that of whole ones.
fn rank_of(number: f64) -> u64 {
    let bits = number.to_bits();
    if number.is_sign_negative() {
        !bits
    } else {
        bits | 1 << 63
    }
}

fn beginning(text: &str) -> [u8; 8] {
    let mut octets = [0; 8];
    for (place, octet) in octets.iter_mut().zip(text.as_bytes()) {
        *place = *octet;
    }
    octets
}

/// A text that looks like a date, as milliseconds.
fn millis_of(text: &str) -> Option<i64> {
    let looks_like_one = text.as_bytes().get(4) == Some(&b'-') && text.as_bytes().first()?.is_ascii_digit();
    let time: Timestamp = looks_like_one.then(|| text.parse().ok())??;
    Some(time.as_millisecond())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ranks_never_contradict_the_order() {
        let values = [
            json!(false),
            json!(true),
            json!(-3),
            json!(-2.5),
            json!(0),
            json!(7),
            json!(7.5),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(i64::MAX - 1),
            json!("2026-01-02T12:00:00Z"),
            json!("2026-01-02T12:00:00.001Z"),
            json!(1_767_355_200_000_i64),
            json!(""),
            json!("web"),
            json!("web-00001"),
            json!("web-00002"),
            json!("été"),
            json!("2026 is no time"),
            json!("9.6.0"),
        ];
        let known: Vec<Known> = values.iter().cloned().map(Known::new).collect();
        for left in &known {
            for right in &known {
                let expected = query::compare_values(&left.sort_value(), &right.sort_value());
                assert_eq!(left.compare(right), expected, "{left:?} {right:?}");
                let ranked = left.rank().cmp(&right.rank());
                assert!(ranked == expected || ranked.is_eq(), "{left:?} {right:?}");
            }
        }
    }
}
