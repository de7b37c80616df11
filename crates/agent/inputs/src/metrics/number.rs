//! Numbers as the documents have them.

use serde_json::{Number, Value};

/// Rounded half away from zero to four decimals; a whole number is written without a fraction.
pub(super) fn ratio(value: f64) -> Value {
    decimals(value, 10_000.0)
}

/// Rounded to two decimals, as load averages are.
pub(super) fn two_decimals(value: f64) -> Value {
    decimals(value, 100.0)
}

fn decimals(value: f64, factor: f64) -> Value {
    let rounded = (value * factor).round() / factor;
    if rounded.fract() == 0.0 && rounded.abs() < 9e15 {
        return Value::from(rounded as i64);
    }
    Number::from_f64(rounded).map_or(Value::Null, Value::Number)
}

/// `part / whole` as a ratio; `None` when there is no whole.
pub(super) fn share(part: u64, whole: u64) -> Option<Value> {
    (whole > 0).then(|| ratio(part as f64 / whole as f64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ratios_have_four_decimals() {
        assert_eq!(ratio(0.123_45), json!(0.1235));
        assert_eq!(ratio(0.0), json!(0));
        assert_eq!(ratio(2.0), json!(2));
        assert_eq!(ratio(f64::NAN), Value::Null);
        assert_eq!(two_decimals(0.105), json!(0.11));
        assert_eq!(share(1, 0), None);
        assert_eq!(share(1, 4), Some(json!(0.25)));
    }
}
