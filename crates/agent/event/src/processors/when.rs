//! `when:` and `if:`: conditions over an event's fields.

use std::net::IpAddr;

use regex::Regex;
use serde_json::Value;

use crate::fields::{self, Fields};

/// A condition over an event's fields, as `when` in processors and outputs has it.
#[derive(Debug)]
pub struct When(Test);

impl When {
    /// Reads the map below `when`.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that starts with whose condition it is.
    pub fn parse(value: &Value) -> Result<Self, String> {
        Test::parse_at(value, 0).map(Self)
    }

    /// Whether it is true of `event`.
    pub fn holds(&self, event: &Fields) -> bool {
        self.0.holds(event)
    }
}

#[derive(Debug)]
enum Test {
    Equals(Vec<(String, Value)>),
    Contains(Vec<(String, Value)>),
    Regexp(Vec<(String, Regex)>),
    Range(Vec<(String, Bound, f64)>),
    Network(Vec<(String, Vec<Network>)>),
    HasFields(Vec<String>),
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug)]
enum Network {
    Named(&'static str),
    Range(IpAddr, u8),
}

const MAX_DEPTH: usize = 16;

impl Test {
    fn parse_at(value: &Value, depth: usize) -> Result<Self, String> {
        if depth > MAX_DEPTH {
            return Err("its condition is nested too deeply".to_owned());
        }
        let map = value.as_object().ok_or("its condition must be a map")?;
        let parts: Vec<Test> = map
            .iter()
            .map(|(kind, body)| Self::one(kind, body, depth))
            .collect::<Result<_, _>>()?;
        let count = parts.len();
        let mut parts = parts.into_iter();
        match (parts.next(), count) {
            (Some(only), 1) => Ok(only),
            (Some(first), _) => Ok(Self::And(std::iter::once(first).chain(parts).collect())),
            (None, _) => Err("its condition is empty".to_owned()),
        }
    }

    fn one(kind: &str, body: &Value, depth: usize) -> Result<Self, String> {
        match kind {
            "equals" => Ok(Self::Equals(leaves(body))),
            "contains" => Ok(Self::Contains(leaves(body))),
            "regexp" => leaves(body)
                .into_iter()
                .map(regex)
                .collect::<Result<_, _>>()
                .map(Self::Regexp),
            "range" => leaves(body)
                .into_iter()
                .map(bound)
                .collect::<Result<_, _>>()
                .map(Self::Range),
            "network" => leaves(body)
                .into_iter()
                .map(networks)
                .collect::<Result<_, _>>()
                .map(Self::Network),
            "has_fields" => texts(body)
                .map(Self::HasFields)
                .ok_or("`has_fields` must be a list of names".to_owned()),
            "and" => list(body, depth).map(Self::And),
            "or" => list(body, depth).map(Self::Or),
            "not" => Self::parse_at(body, depth + 1).map(|inner| Self::Not(Box::new(inner))),
            other => Err(format!("condition `{other}` is not known")),
        }
    }

    fn holds(&self, event: &Fields) -> bool {
        match self {
            Self::Equals(tests) => tests
                .iter()
                .all(|(field, wanted)| fields::get(event, field).is_some_and(|found| equal(found, wanted))),
            Self::Contains(tests) => tests
                .iter()
                .all(|(field, part)| fields::get(event, field).is_some_and(|found| contains(found, part))),
            Self::Regexp(tests) => tests
                .iter()
                .all(|(field, regex)| matches(event, field, |text| regex.is_match(text))),
            Self::Range(tests) => tests
                .iter()
                .all(|(field, bound, limit)| in_range(event, field, *bound, *limit)),
            Self::Network(tests) => tests.iter().all(|(field, networks)| {
                let inside = |text: &str| {
                    text.parse()
                        .is_ok_and(|ip| networks.iter().any(|network| network.contains(ip)))
                };
                matches(event, field, inside)
            }),
            Self::HasFields(names) => names.iter().all(|name| fields::get(event, name).is_some()),
            Self::And(parts) => parts.iter().all(|part| part.holds(event)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(event)),
            Self::Not(inner) => !inner.holds(event),
        }
    }
}

fn list(body: &Value, depth: usize) -> Result<Vec<Test>, String> {
    match body {
        Value::Array(items) => items.iter().map(|item| Test::parse_at(item, depth + 1)).collect(),
        Value::Object(_) => Ok(vec![Test::parse_at(body, depth + 1)?]),
        _ => Err("`and` and `or` must be lists".to_owned()),
    }
}

/// The values of a map by their whole paths, whether the policy wrote them dotted or nested.
fn leaves(value: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    collect_leaves("", value, &mut found);
    found
}

fn collect_leaves(path: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    let Value::Object(map) = value else {
        found.push((path.to_owned(), value.clone()));
        return;
    };
    for (key, value) in map {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        collect_leaves(&path, value, found);
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn regex((field, pattern): (String, Value)) -> Result<(String, Regex), String> {
    let text = pattern.as_str().map_or_else(|| pattern.to_string(), str::to_owned);
    let regex = Regex::new(&text).map_err(|_| format!("`{text}` is not a regular expression"))?;
    Ok((field, regex))
}

fn bound((path, limit): (String, Value)) -> Result<(String, Bound, f64), String> {
    let (field, bound) = path
        .rsplit_once('.')
        .ok_or("`range` needs `lt`, `lte`, `gt` or `gte`")?;
    let bound = match bound {
        "lt" => Bound::Less,
        "lte" => Bound::LessOrEqual,
        "gt" => Bound::Greater,
        "gte" => Bound::GreaterOrEqual,
        other => return Err(format!("`range` does not know `{other}`")),
    };
    let limit = limit
        .as_f64()
        .ok_or_else(|| format!("the bound of `{path}` must be a number"))?;
    Ok((field.to_owned(), bound, limit))
}

fn networks((field, value): (String, Value)) -> Result<(String, Vec<Network>), String> {
    let names = texts(&value).ok_or("`network` must hold names or address ranges")?;
    let networks = names
        .iter()
        .map(|name| Network::parse(name))
        .collect::<Result<_, _>>()?;
    Ok((field, networks))
}

fn equal(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Number(found), Value::Number(wanted)) => found.as_f64() == wanted.as_f64(),
        _ => found == wanted,
    }
}

fn contains(found: &Value, part: &Value) -> bool {
    match (found, part) {
        (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
        (Value::Array(items), Value::String(part)) => items
            .iter()
            .any(|item| item.as_str().is_some_and(|text| text.contains(part.as_str()))),
        (Value::Array(items), part) => items.contains(part),
        _ => false,
    }
}

/// Whether the text at `field`, or any text of the list there, passes.
fn matches(event: &Fields, field: &str, test: impl Fn(&str) -> bool) -> bool {
    match fields::get(event, field) {
        Some(Value::String(text)) => test(text),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).any(test),
        Some(number @ Value::Number(_)) => test(&number.to_string()),
        _ => false,
    }
}

fn in_range(event: &Fields, field: &str, bound: Bound, limit: f64) -> bool {
    let number = fields::get(event, field).and_then(|value| value.as_f64().or_else(|| value.as_str()?.parse().ok()));
    number.is_some_and(|number| match bound {
        Bound::Less => number < limit,
        Bound::LessOrEqual => number <= limit,
        Bound::Greater => number > limit,
        Bound::GreaterOrEqual => number >= limit,
    })
}

const NAMED: [&str; 10] = [
    "loopback",
    "unicast",
    "global_unicast",
    "multicast",
    "interface_local_multicast",
    "link_local_unicast",
    "link_local_multicast",
    "private",
    "public",
    "unspecified",
];

impl Network {
    fn parse(name: &str) -> Result<Self, String> {
        if let Some(known) = NAMED.iter().find(|known| **known == name) {
            return Ok(Self::Named(known));
        }
        let invalid = || format!("`{name}` is neither a named network nor an address range");
        let (address, length) = name.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length
            .parse::<u8>()
            .ok()
            .filter(|length| *length <= most)
            .ok_or_else(invalid)?;
        Ok(Self::Range(address, length))
    }

    fn contains(&self, ip: IpAddr) -> bool {
        match self {
            Self::Range(IpAddr::V4(network), length) => match ip {
                IpAddr::V4(ip) => same_start(network.to_bits().into(), ip.to_bits().into(), 32 - length),
                IpAddr::V6(_) => false,
            },
            Self::Range(IpAddr::V6(network), length) => match ip {
                IpAddr::V6(ip) => same_start(network.to_bits(), ip.to_bits(), 128 - length),
                IpAddr::V4(_) => false,
            },
            Self::Named(name) => named_contains(name, ip),
        }
    }
}

fn same_start(left: u128, right: u128, free_bits: u8) -> bool {
    left.checked_shr(free_bits.into()).unwrap_or(0) == right.checked_shr(free_bits.into()).unwrap_or(0)
}

fn named_contains(name: &str, ip: IpAddr) -> bool {
    let private = match ip {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local(),
    };
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let multicast_scope = match ip {
        IpAddr::V6(ip) if ip.is_multicast() => Some(ip.segments()[0] & 0xf),
        _ => None,
    };
    let link_local_multicast = match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(_) => multicast_scope == Some(2),
    };
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    let unicast = !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !broadcast;
    match name {
        "loopback" => ip.is_loopback(),
        "unicast" | "global_unicast" => unicast && !link_local,
        "multicast" => ip.is_multicast(),
        "interface_local_multicast" => multicast_scope == Some(1),
        "link_local_unicast" => link_local,
        "link_local_multicast" => link_local_multicast,
        "private" => private,
        "public" => unicast && !link_local && !private,
        _ => ip.is_unspecified(),
    }
}
