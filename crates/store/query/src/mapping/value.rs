//! Whether a value fits a type, and what it is then.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::{Kind, Leaf};
use crate::date_math;

/// Checks one value of a field; the error says why it does not fit.
pub(super) fn check(leaf: &Leaf, value: &Value) -> Result<(), String> {
    match leaf.kind {
        Kind::Stored => Ok(()),
        Kind::Flattened if value.is_object() => Ok(()),
        Kind::Flattened => Err("Expected object, but found a concrete value".to_owned()),
        _ if value.is_object() => Err("Can't get text on a START_OBJECT".to_owned()),
        Kind::Text | Kind::Version => Ok(()),
        Kind::Keyword => check_constant(leaf, value),
        Kind::Whole { min, max } => check_whole(leaf, value, min, max),
        Kind::Fraction => number(value).map(|_| ()),
        Kind::Date => match instant(value, leaf.format.as_deref(), &TimeZone::UTC, false) {
            Some(_) => Ok(()),
            None => Err(format!(
                "failed to parse date field [{}] with format [{}]",
                text(value),
                leaf.format
                    .as_deref()
                    .unwrap_or("strict_date_optional_time||epoch_millis")
            )),
        },
        Kind::Boolean => match value {
            Value::Bool(_) => Ok(()),
            Value::String(text) if matches!(text.as_str(), "true" | "false" | "") => Ok(()),
            other => Err(format!(
                "Failed to parse value [{}] as only [true] or [false] are allowed.",
                text(other)
            )),
        },
        Kind::Ip => match text(value).parse::<IpAddr>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("'{}' is not an IP string literal.", text(value))),
        },
    }
}

fn check_constant(leaf: &Leaf, value: &Value) -> Result<(), String> {
    match &leaf.constant {
        Some(constant) if text(constant) != text(value) => Err(format!(
            "[constant_keyword] field only accepts values that are equal to the value defined in the mappings [{}], but got [{}]",
            text(constant),
            text(value)
        )),
        _ => Ok(()),
    }
}

fn check_whole(leaf: &Leaf, value: &Value, min: i64, max: i64) -> Result<(), String> {
    let number = number(value)?;
    if !leaf.coerce && (value.is_string() || number.fract() != 0.0) {
        return Err(format!(
            "{} value passed as [{}] cannot be coerced",
            leaf.type_name(),
            text(value)
        ));
    }
    if number < min as f64 - 1.0
        || number > max as f64 + 1.0
        || number.trunc() < min as f64
        || number.trunc() > max as f64
    {
        return Err(match leaf.type_name() {
            "integer" => format!(
                "Numeric value ({}) out of range of int (-2147483648 - 2147483647)",
                text(value)
            ),
            kind => format!("Value [{}] is out of range for a {kind}", text(value)),
        });
    }
    Ok(())
}

fn number(value: &Value) -> Result<f64, String> {
    let found = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        other => {
            return Err(format!(
                "Current token ({other}) not numeric, can not use numeric value accessors"
            ));
        }
    };
    found
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| format!("For input string: \"{}\"", text(value)))
}

/// A whole number, without what stands behind the point.
pub(crate) fn whole_of(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.as_f64().map(|number| number.trunc() as i64)),
        Value::String(text) => text
            .trim()
            .parse()
            .ok()
            .or_else(|| text.trim().parse::<f64>().ok().map(|number| number.trunc() as i64)),
        _ => None,
    }
}

/// The instant of a date field's value or of a bound.
pub(crate) fn instant(value: &Value, format: Option<&str>, zone: &TimeZone, round_up: bool) -> Option<Timestamp> {
    let shown = match value {
        Value::Number(number) => number.as_i64().map_or_else(
            || number.as_f64().map(|millis| (millis as i64).to_string()),
            |millis| Some(millis.to_string()),
        )?,
        Value::String(text) => text.clone(),
        _ => return None,
    };
    match format {
        None => date_math::parse(&shown, zone, round_up),
        Some(format) => date_math::parse_format(&shown, format, zone, round_up).ok(),
    }
}

/// Whether an address is `wanted` or lies in it (`10.0.0.0/8`).
pub(crate) fn ip_matches(value: &str, wanted: &str) -> bool {
    let Ok(address) = value.parse::<IpAddr>() else {
        return false;
    };
    match wanted.split_once('/') {
        None => wanted.parse() == Ok(address),
        Some((network, bits)) => match (network.parse::<IpAddr>(), bits.parse::<u32>()) {
            (Ok(network), Ok(bits)) => in_network(address, network, bits),
            _ => false,
        },
    }
}

fn in_network(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}
