//! `${provider.key}` in policies.
//!
//! A reference lists alternatives, the first that exists wins: `${env.A|host.name|'x'}`; `${env.A:x}` is short for a
//! constant at the end; a name without a provider belongs to the default provider; `$${` stands for a literal `${`.

use serde_json::{Map, Value};

use crate::fields;

/// What the providers know.
#[derive(Clone, Debug)]
pub struct Variables {
    providers: Map<String, Value>,
    default_provider: String,
}

impl Default for Variables {
    fn default() -> Self {
        Self {
            providers: Map::new(),
            default_provider: "env".to_owned(),
        }
    }
}

/// Why a text with references has no value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum VariableError {
    /// No provider knows any of the alternatives; the input that uses it is left out.
    #[error("no provider has a value for `${{{name}}}`")]
    Missing {
        /// What stands between the braces.
        name: String,
    },
    /// `${` without `}`.
    #[error("`{text}` has a `${{` that is not closed; write `$${{` for a literal one")]
    Unclosed {
        /// The whole text.
        text: String,
    },
    /// Something between the braces that is no name and no quoted constant.
    #[error("`${{{name}}}` is not a variable: {problem}")]
    Syntax {
        /// What stands between the braces.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
}

impl Variables {
    /// No provider at all; the default provider is `env`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces what one provider knows.
    pub fn with(mut self, provider: &str, value: Value) -> Self {
        self.set(provider, value);
        self
    }

    /// Adds or replaces what one provider knows.
    pub fn set(&mut self, provider: &str, value: Value) {
        self.providers.insert(provider.to_owned(), value);
    }

    /// Names the provider of names without one (`agent.providers.default`).
    pub fn set_default_provider(&mut self, provider: &str) {
        provider.clone_into(&mut self.default_provider);
    }

    /// The value of `provider.key`; null counts as missing.
    pub fn lookup(&self, name: &str) -> Option<&Value> {
        let (provider, key) = name.split_once('.').unwrap_or((&self.default_provider, name));
        let value = fields::get(self.providers.get(provider)?.as_object()?, key)?;
        (!value.is_null()).then_some(value)
    }
}

/// Replaces every reference in `value`, at every depth; keys stay as they are. A text that is nothing but one reference
/// takes the variable's type.
pub fn substitute(value: &Value, variables: &Variables) -> Result<Value, VariableError> {
    match value {
        Value::String(text) => substitute_text(text, variables),
        Value::Array(items) => items.iter().map(|item| substitute(item, variables)).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| Ok((key.clone(), substitute(value, variables)?)))
            .collect::<Result<Map<_, _>, _>>()
            .map(Value::Object),
        other => Ok(other.clone()),
    }
}

fn substitute_text(text: &str, variables: &Variables) -> Result<Value, VariableError> {
    if !text.contains("${") {
        return Ok(Value::String(text.to_owned()));
    }
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find("${") {
        let (before, from_dollar) = rest.split_at(dollar);
        if let Some(before) = before.strip_suffix('$') {
            replaced.push_str(before);
            replaced.push_str("${");
            rest = &from_dollar[2..];
            continue;
        }
        replaced.push_str(before);
        let inside = &from_dollar[2..];
        let end = end_of_reference(inside).ok_or_else(|| VariableError::Unclosed { text: text.to_owned() })?;
        let reference = Reference::parse(&inside[..end])?;
        let value = reference.value(variables).ok_or_else(|| VariableError::Missing {
            name: inside[..end].to_owned(),
        })?;
        rest = &inside[end + 1..];
        if replaced.is_empty() && before.is_empty() && rest.is_empty() && dollar == 0 && text.len() == end + 3 {
            return Ok(value);
        }
        push_text(&mut replaced, &value);
    }
    replaced.push_str(rest);
    Ok(Value::String(replaced))
}

fn push_text(text: &mut String, value: &Value) {
    match value {
        Value::String(value) => text.push_str(value),
        other => text.push_str(&other.to_string()),
    }
}

/// Where the closing brace stands; braces in quotes do not count.
pub(crate) fn end_of_reference(inside: &str) -> Option<usize> {
    let mut quote = None;
    for (at, character) in inside.char_indices() {
        match (quote, character) {
            (None, '}') => return Some(at),
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
    }
    None
}

/// The inside of `${..}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reference(Vec<Alternative>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Alternative {
    Name(String),
    Constant(String),
}

impl Reference {
    pub(crate) fn parse(inside: &str) -> Result<Self, VariableError> {
        let mut alternatives = Vec::new();
        for part in split_outside_quotes(inside, '|') {
            parse_alternative(part.trim(), &mut alternatives).map_err(|problem| VariableError::Syntax {
                name: inside.to_owned(),
                problem,
            })?;
        }
        Ok(Self(alternatives))
    }

    /// The first alternative that exists.
    pub(crate) fn value(&self, variables: &Variables) -> Option<Value> {
        self.0.iter().find_map(|alternative| match alternative {
            Alternative::Name(name) => variables.lookup(name).cloned(),
            Alternative::Constant(text) => Some(Value::String(text.clone())),
        })
    }

    /// The names that it mentions, with or without a provider.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|alternative| match alternative {
            Alternative::Name(name) => Some(name.as_str()),
            Alternative::Constant(_) => None,
        })
    }
}

fn parse_alternative(part: &str, alternatives: &mut Vec<Alternative>) -> Result<(), &'static str> {
    if let Some(constant) = unquoted(part)? {
        alternatives.push(Alternative::Constant(constant.to_owned()));
        return Ok(());
    }
    let (name, constant) = part
        .split_once(':')
        .map_or((part, None), |(name, constant)| (name, Some(constant)));
    let name = name.trim();
    if name.is_empty() && constant.is_none() {
        return Err("an alternative is empty");
    }
    if name.contains(['{', '$', '\'', '"']) {
        return Err("a name may not contain braces, dollars or quotes");
    }
    if !name.is_empty() {
        alternatives.push(Alternative::Name(name.to_owned()));
    }
    if let Some(constant) = constant {
        let constant = unquoted(constant.trim())?.unwrap_or(constant);
        alternatives.push(Alternative::Constant(constant.to_owned()));
    }
    Ok(())
}

fn unquoted(part: &str) -> Result<Option<&str>, &'static str> {
    let Some(quote @ ('\'' | '"')) = part.chars().next() else {
        return Ok(None);
    };
    match part[1..].strip_suffix(quote) {
        Some(inside) if !inside.contains(quote) => Ok(Some(inside)),
        _ => Err("a quoted constant is not closed or goes on behind its quote"),
    }
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut quote = None;
    let mut start = 0;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (None, found) if found == separator => {
                parts.push(&text[start..at]);
                start = at + separator.len_utf8();
            }
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// The names of all variables in `value`, whether they exist or not; broken references are left out.
pub fn names_in(value: &Value) -> Vec<String> {
    let mut names = Vec::new();
    collect_names(value, &mut names);
    names
}

fn collect_names(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::String(text) => collect_names_of_text(text, names),
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        Value::Object(map) => map.values().for_each(|value| collect_names(value, names)),
        _ => {}
    }
}

fn collect_names_of_text(text: &str, names: &mut Vec<String>) {
    let mut rest = text;
    while let Some(dollar) = rest.find("${") {
        let escaped = rest[..dollar].ends_with('$');
        rest = &rest[dollar + 2..];
        if escaped {
            continue;
        }
        let Some(end) = end_of_reference(rest) else { return };
        if let Ok(reference) = Reference::parse(&rest[..end]) {
            names.extend(reference.names().map(str::to_owned));
        }
        rest = &rest[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn variables() -> Variables {
        Variables::new()
            .with("env", json!({"HOME": "/root", "EMPTY": ""}))
            .with("host", json!({"name": "web-01", "ip": ["10.0.0.5"], "cores": 4}))
    }

    #[track_caller]
    fn check(text: &str, expected: Value) {
        assert_eq!(substitute(&json!(text), &variables()), Ok(expected), "{text}");
    }

    #[test]
    fn references_are_replaced() {
        check("plain", json!("plain"));
        check("${host.name}", json!("web-01"));
        check("${HOME}/x", json!("/root/x"));
        check("a ${host.cores} b ${host.ip}", json!("a 4 b [\"10.0.0.5\"]"));
        check("${host.ip}", json!(["10.0.0.5"]));
        check("${env.NONE|host.name}", json!("web-01"));
        check("${env.NONE|'x|}y'}", json!("x|}y"));
        check("${env.NONE:fallback}", json!("fallback"));
        check("${env.NONE:'a b'}", json!("a b"));
        check("${env.EMPTY}", json!(""));
        check("$${host.name}", json!("${host.name}"));
        check("x$${a}${host.name}", json!("x${a}web-01"));
        check("${env.EMPTY}${host.cores}", json!("4"));
    }

    #[test]
    fn what_cannot_be_replaced_says_why() {
        let error = |text: &str| substitute(&json!({"a": [text]}), &variables()).unwrap_err().to_string();
        assert_eq!(error("${env.NONE}"), "no provider has a value for `${env.NONE}`");
        assert!(error("${env.HOME").contains("not closed"));
        assert!(error("${}").contains("empty"));
        assert!(error("${'x}").contains("not closed"));
        assert!(error("${a${b}}").contains("braces"));
    }

    #[test]
    fn names_are_found() {
        let value = json!({"a": "${local.x|env.Y}", "b": ["$${no.n}", "${z:1}"]});
        assert_eq!(names_in(&value), ["local.x", "env.Y", "z"]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[${}|:'\"a. \u{e9}]{0,24}") {
            let _outcome = substitute(&json!(text), &variables());
            names_in(&json!(text));
        }
    }
}
