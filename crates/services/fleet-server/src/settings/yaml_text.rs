//! What the stock file's text needs beyond YAML: variables, and the line of a key.

use std::collections::BTreeMap;

use serde_json::Value;

use super::SettingsProblem;

/// Fills `${NAME}` and `${NAME:default}` in every text; a text that was nothing but one of them is read again, so that
/// `${PORT:8220}` is a number.
pub(super) fn expand_variables(
    name: &str,
    path: &str,
    value: &mut Value,
    variables: &BTreeMap<String, String>,
) -> Result<(), SettingsProblem> {
    let below = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match value {
        Value::Object(map) => {
            for (key, item) in map {
                expand_variables(name, &below(key), item, variables)?;
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                expand_variables(name, &below(&index.to_string()), item, variables)?;
            }
        }
        Value::String(text) if text.contains("${") => {
            let missing = |variable: &str| SettingsProblem::Variable {
                name: name.to_owned(),
                key: path.to_owned(),
                variable: variable.to_owned(),
            };
            let is_only_a_variable = text.starts_with("${") && text.find('}') == Some(text.len() - 1);
            let expanded = expand_text(text, variables).map_err(|variable| missing(&variable))?;
            *value = match expanded.parse::<i64>() {
                Ok(number) if is_only_a_variable => Value::from(number),
                _ if is_only_a_variable && matches!(expanded.as_str(), "true" | "false") => {
                    Value::Bool(expanded == "true")
                }
                _ => Value::String(expanded),
            };
        }
        _ => {}
    }
    Ok(())
}

/// The text with every variable filled in, or the name of the one that has no value.
fn expand_text(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else { break };
        expanded.push_str(&rest[..start]);
        let inner = &rest[start + 2..start + length];
        let (variable, default) = inner
            .split_once(':')
            .map_or((inner, None), |(name, default)| (name, Some(default)));
        let value = variables.get(variable).map(String::as_str).or(default);
        expanded.push_str(value.ok_or_else(|| variable.to_owned())?);
        rest = &rest[start + length + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The line of a dotted key in a block-style YAML text, counted from 1; list positions in the key are passed over.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let wanted: Vec<&str> = key.split('.').filter(|part| part.parse::<usize>().is_err()).collect();
    let mut open: Vec<(usize, Vec<&str>)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let content = line.trim_start().trim_start_matches("- ").trim_start();
        let Some((found, _)) = content.split_once(':').filter(|_| !content.starts_with('#')) else {
            continue;
        };
        let indent = line.len() - content.len();
        open.retain(|(outer, _)| *outer < indent);
        open.push((indent, found.trim_matches(['"', '\'']).split('.').collect()));
        let path: Vec<&str> = open.iter().flat_map(|(_, parts)| parts.iter().copied()).collect();
        if path.starts_with(&wanted) && !wanted.is_empty() {
            return Some(index + 1);
        }
    }
    None
}
