//! The functions that conditions may call. Names are case sensitive.

use regex::RegexBuilder;
use serde_json::{Number, Value};

use super::Operator;
use super::evaluate::{arithmetic, equal};

/// One of the functions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Function {
    ArrayContains,
    HasKey,
    Length,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Concat,
    EndsWith,
    IndexOf,
    Match,
    Number,
    StartsWith,
    String,
    StringContains,
}

/// A compiled regular expression of a condition may take this many bytes.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

impl Function {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "arrayContains" => Self::ArrayContains,
            "hasKey" => Self::HasKey,
            "length" => Self::Length,
            "add" => Self::Add,
            "subtract" => Self::Subtract,
            "multiply" => Self::Multiply,
            "divide" => Self::Divide,
            "modulo" => Self::Modulo,
            "concat" => Self::Concat,
            "endsWith" => Self::EndsWith,
            "indexOf" => Self::IndexOf,
            "match" => Self::Match,
            "number" => Self::Number,
            "startsWith" => Self::StartsWith,
            "string" => Self::String,
            "stringContains" => Self::StringContains,
            _ => return None,
        })
    }

    /// Checks the number of arguments.
    pub(super) fn accepts(self, count: usize) -> Result<(), String> {
        let (least, most) = match self {
            Self::ArrayContains | Self::HasKey | Self::Match | Self::Concat => (2, usize::MAX),
            Self::Length | Self::String => (1, 1),
            Self::Number => (1, 2),
            Self::IndexOf => (2, 3),
            _ => (2, 2),
        };
        match count {
            count if count < least => Err(format!("the function takes at least {least} arguments, not {count}")),
            count if count > most => Err(format!("the function takes at most {most} arguments, not {count}")),
            _ => Ok(()),
        }
    }

    /// Calls it; the number of arguments has been checked.
    pub(super) fn call(self, arguments: &[Value]) -> Result<Value, String> {
        match self {
            Self::ArrayContains => any_of(arguments, array_contains),
            Self::HasKey => any_of(arguments, has_key),
            Self::Length => length(&arguments[0]),
            Self::Add => arithmetic(Operator::Add, &arguments[0], &arguments[1]),
            Self::Subtract => arithmetic(Operator::Subtract, &arguments[0], &arguments[1]),
            Self::Multiply => arithmetic(Operator::Multiply, &arguments[0], &arguments[1]),
            Self::Divide => arithmetic(Operator::Divide, &arguments[0], &arguments[1]),
            Self::Modulo => arithmetic(Operator::Modulo, &arguments[0], &arguments[1]),
            Self::Concat => Ok(Value::String(arguments.iter().map(text_of).collect())),
            Self::EndsWith => any_of(arguments, |text, end| texts(text, end, |text, end| text.ends_with(end))),
            Self::StartsWith => any_of(arguments, |text, start| {
                texts(text, start, |text, start| text.starts_with(start))
            }),
            Self::StringContains => any_of(arguments, |text, part| {
                texts(text, part, |text, part| text.contains(part))
            }),
            Self::Match => any_of(arguments, matches),
            Self::IndexOf => index_of(arguments),
            Self::Number => number(arguments),
            Self::String => Ok(Value::String(text_of(&arguments[0]))),
        }
    }
}

/// Whether `test` holds for the first argument and any of the others; never for null.
fn any_of(arguments: &[Value], test: impl Fn(&Value, &Value) -> Result<bool, String>) -> Result<Value, String> {
    if arguments[0].is_null() {
        return Ok(Value::Bool(false));
    }
    let mut holds = false;
    for other in &arguments[1..] {
        holds |= test(&arguments[0], other)?;
    }
    Ok(Value::Bool(holds))
}

fn array_contains(array: &Value, wanted: &Value) -> Result<bool, String> {
    let items = array.as_array().ok_or_else(|| format!("`{array}` is not an array"))?;
    Ok(items.iter().any(|item| equal(item, wanted)))
}

fn has_key(dict: &Value, key: &Value) -> Result<bool, String> {
    let map = dict
        .as_object()
        .ok_or_else(|| format!("`{dict}` is not a dictionary"))?;
    Ok(map.contains_key(text(key)?))
}

fn texts(left: &Value, right: &Value, test: impl Fn(&str, &str) -> bool) -> Result<bool, String> {
    Ok(test(text(left)?, text(right)?))
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("`{value}` is not a text"))
}

fn matches(value: &Value, pattern: &Value) -> Result<bool, String> {
    let pattern = text(pattern)?;
    let regex = RegexBuilder::new(pattern).size_limit(REGEX_SIZE_LIMIT).build();
    let regex = regex.map_err(|_| format!("`{pattern}` is not a regular expression"))?;
    Ok(regex.is_match(text(value)?))
}

fn length(value: &Value) -> Result<Value, String> {
    let length = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        Value::Null => 0,
        other => return Err(format!("`{other}` has no length")),
    };
    Ok(Value::from(length))
}

fn index_of(arguments: &[Value]) -> Result<Value, String> {
    let (whole, part) = (text(&arguments[0])?, text(&arguments[1])?);
    let start = match arguments.get(2) {
        Some(start) => start
            .as_u64()
            .and_then(|start| usize::try_from(start).ok())
            .ok_or("the start is not a position")?,
        None => 0,
    };
    let found = whole.get(start..).and_then(|rest| rest.find(part));
    Ok(found.map_or(Value::from(-1), |at| Value::from(at + start)))
}

fn number(arguments: &[Value]) -> Result<Value, String> {
    let text = text(&arguments[0])?.trim();
    let invalid = || format!("`{text}` is not a number");
    if let Some(base) = arguments.get(1) {
        let base = base
            .as_u64()
            .and_then(|base| u32::try_from(base).ok())
            .filter(|base| (2..=36).contains(base));
        let base = base.ok_or("the base must be a number from 2 to 36")?;
        return i64::from_str_radix(text, base).map(Value::from).map_err(|_| invalid());
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).map(Value::from).map_err(|_| invalid());
    }
    if let Ok(integer) = text.parse::<i64>() {
        return Ok(Value::from(integer));
    }
    text.parse::<f64>()
        .ok()
        .and_then(Number::from_f64)
        .map(Value::Number)
        .ok_or_else(invalid)
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
