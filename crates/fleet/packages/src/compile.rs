//! A template and the variables of a package policy -> the JSON object that goes into the agent policy.
//!
//! Variables of type `yaml` are parsed on their own and put in after the template was rendered and read, so that their
//! text can neither break the template's structure nor be broken by it. Source: packages, compilation steps.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::template;

/// Why a template could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A name that no template may read.
    #[error("a variable may not be named `{0}`")]
    ForbiddenName(String),
    /// A variable of type `yaml` whose text is not YAML.
    #[error("the variable `{name}` is not valid YAML: {message}")]
    Variable {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The template itself.
    #[error("the template cannot be rendered: {0}")]
    Template(String),
    /// What was rendered is not YAML; mostly a value with a character that the template does not expect.
    #[error("the rendered template is not valid YAML: {0}")]
    Rendered(String),
}

/// Variables by name, each `{"type": .., "value": ..}`. A later scope (input, then stream) replaces an earlier one.
pub type Variables = Map<String, Value>;

/// Renders `template` with `variables`; `meta` is what it sees as `_meta`.
///
/// # Errors
/// A variable or the rendered text that is not valid.
pub fn compile(template: &str, variables: &Variables, meta: &Value) -> Result<Map<String, Value>, CompileError> {
    let (context, placeholders) = context_of(variables, meta)?;
    let rendered = template::render(template, &context).map_err(CompileError::Template)?;
    let text = join_flow_values(&put_blocks_in(&rendered, &placeholders));
    let parsed = settings::from_yaml_as_written("stream template", &text)
        .map_err(|error| CompileError::Rendered(error.to_string()))?;
    let mut object = match parsed {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        _ => return Err(CompileError::Rendered("it is not a map".to_owned())),
    };
    restore_blank_texts(&mut object, variables);
    for value in object.values_mut() {
        replace_placeholders(value, &placeholders);
    }
    Ok(object)
}

type Placeholders = BTreeMap<String, Value>;

fn context_of(variables: &Variables, meta: &Value) -> Result<(Value, Placeholders), CompileError> {
    let mut context = json!({});
    let mut placeholders = Placeholders::new();
    for (name, variable) in variables {
        if name
            .split('.')
            .any(|part| ["__proto__", "constructor", "prototype"].contains(&part))
        {
            return Err(CompileError::ForbiddenName(name.clone()));
        }
        let value = variable.get("value").cloned().unwrap_or_default();
        let is_yaml = variable.get("type").and_then(Value::as_str) == Some("yaml");
        let value = match secret_reference(&value) {
            Some(reference) => reference,
            None if is_yaml => yaml_placeholder(name, &value, &mut placeholders)?,
            None => value,
        };
        insert_at(&mut context, name, value);
    }
    if !meta.is_null() {
        context["_meta"] = meta.clone();
    }
    Ok((context, placeholders))
}

/// What stands for a stored secret until Fleet Server fills it in.
fn secret_reference(value: &Value) -> Option<Value> {
    let reference = value.as_object()?;
    if reference.get("isSecretRef").and_then(Value::as_bool) != Some(true) {
        return None;
    }
    let text = |id: &Value| id.as_str().map(|id| Value::from(format!("$co.elastic.secret{{{id}}}")));
    match reference.get("ids").and_then(Value::as_array) {
        Some(ids) => Some(Value::Array(ids.iter().filter_map(text).collect())),
        None => text(reference.get("id")?),
    }
}

fn yaml_placeholder(name: &str, value: &Value, placeholders: &mut Placeholders) -> Result<Value, CompileError> {
    let parsed = match value {
        Value::String(text) => settings::from_yaml_as_written(name, text).map_err(|error| CompileError::Variable {
            name: name.to_owned(),
            message: error.to_string(),
        })?,
        other => other.clone(),
    };
    let is_empty = parsed.is_null() || parsed.as_array().is_some_and(Vec::is_empty);
    if is_empty {
        return Ok(Value::Null);
    }
    let marker = format!("##{name}##");
    placeholders.insert(marker.clone(), parsed);
    Ok(Value::String(format!("\"{marker}\"")))
}

/// `a.b` goes to `{"a": {"b": ..}}`.
fn insert_at(context: &mut Value, name: &str, value: Value) {
    let mut place = context;
    for part in name.split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[part];
    }
    *place = value;
}

/// A placeholder at the start of a line is replaced by the block form of its value.
fn put_blocks_in(rendered: &str, placeholders: &Placeholders) -> String {
    let mut text = String::with_capacity(rendered.len());
    for line in rendered.lines() {
        let marker = line
            .trim_end()
            .strip_prefix('"')
            .and_then(|line| line.strip_suffix('"'));
        match marker.and_then(|marker| placeholders.get(marker)) {
            Some(value) => text.push_str(settings::to_yaml(value).trim_end()),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// `key:` followed by a line that is only `[]` or `{}` is one line, `key: []`.
fn join_flow_values(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    for line in text.lines() {
        if matches!(line.trim_end(), "[]" | "{}") && joined.trim_end().ends_with(':') {
            joined.truncate(joined.trim_end().len());
            joined.push(' ');
        }
        joined.push_str(line);
        joined.push('\n');
    }
    joined
}

/// A text of blanks renders to nothing, which YAML reads as null; it stays a text.
fn restore_blank_texts(object: &mut Map<String, Value>, variables: &Variables) {
    for (key, value) in object.iter_mut().filter(|(_, value)| value.is_null()) {
        let text = variables
            .get(key)
            .and_then(|variable| variable.get("value"))
            .and_then(Value::as_str);
        if text.is_some_and(|text| !text.is_empty() && text.trim().is_empty()) {
            *value = Value::String(String::new());
        }
    }
}

fn replace_placeholders(value: &mut Value, placeholders: &Placeholders) {
    match value {
        Value::String(text) => {
            if let Some(replacement) = placeholders.get(text.as_str()) {
                *value = replacement.clone();
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| replace_placeholders(item, placeholders)),
        Value::Object(map) => map
            .values_mut()
            .for_each(|item| replace_placeholders(item, placeholders)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, variables: Value, expected: Value) {
        let variables = variables.as_object().unwrap().clone();
        let compiled =
            compile(template, &variables, &Value::Null).unwrap_or_else(|error| panic!("{template}: {error}"));
        assert_eq!(Value::Object(compiled), expected, "{template}");
    }

    fn yaml(text: &str) -> Value {
        json!({"type": "yaml", "value": text})
    }

    #[test]
    fn a_yaml_variable_fits_at_the_root_as_a_value_and_in_a_list() {
        let processors = yaml("- add_locale: ~\n- add_tags:\n    tags: [a]\n");
        let list = json!([{"add_locale": null}, {"add_tags": {"tags": ["a"]}}]);
        check(
            "processors:\n{{processors}}\n",
            json!({"processors": processors}),
            json!({"processors": list}),
        );
        check(
            "processors: {{processors}}\n",
            json!({"processors": processors}),
            json!({"processors": list}),
        );
        check(
            "{{custom}}\na: 1\n",
            json!({"custom": yaml("b.c: 2\nd: [x]")}),
            json!({"b.c": 2, "d": ["x"], "a": 1}),
        );
        check(
            "all:\n- {{one}}\n",
            json!({"one": yaml("k: v")}),
            json!({"all": [{"k": "v"}]}),
        );
        check(
            "processors:\n- x: ~\n{{processors}}\n",
            json!({"processors": yaml("- y: 1")}),
            json!({"processors": [{"x": null}, {"y": 1}]}),
        );
    }

    #[test]
    fn an_empty_yaml_variable_is_nothing() {
        for empty in ["", "  ", "# a comment only", "[]"] {
            check(
                "a: 1\n{{#if p}}\np:\n{{p}}\n{{/if}}\n",
                json!({"p": yaml(empty)}),
                json!({"a": 1}),
            );
        }
    }

    #[test]
    fn names_with_dots_are_paths() {
        let variables = json!({"process.include_top_n.by_cpu": {"type": "integer", "value": 5}});
        check("n: {{process.include_top_n.by_cpu}}", variables, json!({"n": 5}));
    }

    #[test]
    fn secrets_stay_references() {
        let one = json!({"type": "password", "value": {"isSecretRef": true, "id": "s1"}});
        check(
            "password: {{password}}",
            json!({"password": one}),
            json!({"password": "$co.elastic.secret{s1}"}),
        );
        let many = json!({"type": "password", "value": {"isSecretRef": true, "ids": ["a", "b"]}});
        let expected = json!({"p": ["$co.elastic.secret{a}", "$co.elastic.secret{b}"]});
        check("p:\n{{#each p}}\n- {{this}}\n{{/each}}", json!({"p": many}), expected);
    }

    #[test]
    fn texts_and_flow_values_keep_their_kind() {
        check(
            "period: {{period}}",
            json!({"period": {"value": "10s"}}),
            json!({"period": "10s"}),
        );
        check(
            "a: {{a}}\nb: {{b}}",
            json!({"a": {"value": "  "}, "b": {"value": ""}}),
            json!({"a": "", "b": null}),
        );
        check("tags:\n[]\n", json!({}), json!({"tags": []}));
        check(
            "list:\n{{#each list}}\n- {{this}}\n{{/each}}\n",
            json!({"list": {"value": []}}),
            json!({"list": null}),
        );
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let error = |template: &str, variables: Value| {
            compile(template, variables.as_object().unwrap(), &Value::Null)
                .unwrap_err()
                .to_string()
        };
        assert!(error("a: 1\na: 2", json!({})).contains("not valid YAML"));
        assert!(error("a: {{p}}", json!({"p": yaml("[")})).contains("`p` is not valid YAML"));
        assert!(error("a: {{p", json!({})).contains("cannot be rendered"));
        assert!(error("", json!({"a.__proto__": {"value": 1}})).contains("__proto__"));
    }
}
