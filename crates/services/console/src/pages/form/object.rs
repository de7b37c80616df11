//! From what stands in a form to the object of the API.

use serde_json::{Map, Value, json};

use super::super::problem::Problem;
use super::spec::{Group, Kind, Spec};
use super::values::Values;
use crate::domain::documents::Fields;
use crate::domain::error::FleetError;
use crate::domain::objects::is_pem;

/// The object that the form says, to be given to a domain function: blank fields are null when `present` has them, else absent.
/// Groups of fields (`ssl`, `secrets`) come whole, with what `present` has beside the form's fields.
pub(in crate::pages) fn object(groups: &[Group], values: &Values, present: Option<&Fields>) -> Fields {
    let nothing = Fields::new();
    let present = present.unwrap_or(&nothing);
    let mut fields = Value::Object(Map::new());
    let specs: Vec<&Spec> = groups.iter().flat_map(|group| &group.fields).collect();
    for spec in &specs {
        for root in roots(spec) {
            if let Some(whole) = present
                .get(&root)
                .filter(|_| spec.path.contains('.') || root == "secrets")
            {
                let whole = whole.clone();
                set_default(&mut fields, &root, whole);
            }
        }
    }
    for group in groups {
        for spec in &group.fields {
            if applies(group, values) {
                put(&mut fields, spec, values, present);
            } else {
                set(&mut fields, &spec.path, Value::Null);
                spec.secret_path()
                    .iter()
                    .for_each(|secret| set(&mut fields, secret, Value::Null));
            }
        }
    }
    let Value::Object(mut fields) = fields else {
        return Fields::new();
    };
    for value in fields.values_mut() {
        prune(value);
    }
    fields.retain(|key, value| !value.is_null() || present.get(key).is_some_and(|value| !value.is_null()));
    fields
}

/// The top-level fields that a field changes.
fn roots(spec: &Spec) -> Vec<String> {
    let own = spec.path.split('.').next().unwrap_or_default().to_owned();
    match spec.secret_path() {
        Some(_) => vec![own, "secrets".to_owned()],
        None => vec![own],
    }
}

fn set_default(fields: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = fields {
        map.entry(key).or_insert(value);
    }
}

fn put(fields: &mut Value, spec: &Spec, values: &Values, present: &Fields) {
    let path = spec.path.as_str();
    let value = match &spec.kind {
        Kind::Rows | Kind::Certificates => {
            let texts = values.all(path);
            if texts.is_empty() { Value::Null } else { json!(texts) }
        }
        Kind::Switch => Value::Bool(values.is_on(path)),
        Kind::Number | Kind::NumberSelect(_) => number(values.one(path)),
        Kind::Pairs => pairs(values.one(path)),
        Kind::PairList(name) => pair_list(values.one(path), name),
        Kind::Key(_) | Kind::Secret => return put_secret(fields, spec, values, present),
        _ => plain(values.one(path)),
    };
    set(fields, path, value);
}

fn plain(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

fn number(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(number) => number.into(),
        Err(_) => plain(text),
    }
}

/// A typed secret takes the place of the stored one, a path is no secret, and nothing typed keeps what is stored. A key that an
/// older client stored in plain becomes a secret.
fn put_secret(fields: &mut Value, spec: &Spec, values: &Values, present: &Fields) {
    let path = spec.path.as_str();
    let secret = spec.secret_path().unwrap_or_default();
    let typed = values.one(path);
    if values.is_on(&format!("{path}.remove")) {
        set(fields, path, Value::Null);
        set(fields, &secret, Value::Null);
    } else if !typed.is_empty() {
        let is_path = matches!(spec.kind, Kind::Key(_)) && !is_pem(typed);
        let (plain, kept) = if is_path {
            (typed.into(), Value::Null)
        } else {
            (Value::Null, typed.into())
        };
        set(fields, path, plain);
        set(fields, &secret, kept);
    } else {
        let stored_plain = at(present, path).and_then(Value::as_str).unwrap_or_default();
        if is_hidden(spec, stored_plain) {
            set(fields, &secret, stored_plain.into());
        }
        set(fields, path, Value::Null);
    }
}

/// Whether a plain value must not be shown.
pub(super) fn is_hidden(spec: &Spec, plain: &str) -> bool {
    !plain.is_empty() && (matches!(spec.kind, Kind::Secret) || is_pem(plain))
}

/// What is wrong before the domain looks: required fields that are blank, numbers that are none.
pub(in crate::pages) fn problems(groups: &[Group], values: &Values) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    for spec in groups
        .iter()
        .filter(|group| applies(group, values))
        .flat_map(|group| &group.fields)
    {
        let path = spec.path.as_str();
        let stored = spec.secret_path().is_some_and(|secret| values.is_stored(&secret));
        if !spec.optional && !stored && !matches!(spec.kind, Kind::Switch) && values.all(path).is_empty() {
            problems.push((path.to_owned(), format!("{} is required", spec.label)));
        }
        let text = values.one(path);
        if matches!(spec.kind, Kind::Number) && !text.is_empty() && text.parse::<i64>().is_err() {
            problems.push((path.to_owned(), format!("`{text}` is not a whole number")));
        }
        if matches!(spec.kind, Kind::Pairs | Kind::PairList(_))
            && let Some(line) = text.lines().find(|line| !line.trim().is_empty() && !line.contains(':'))
        {
            problems.push((path.to_owned(), format!("`{line}` has no colon between name and value")));
        }
    }
    problems
}

/// A domain error about a field of a form, with the field; others are problems of the page.
///
/// # Errors
/// What is not about the form.
pub(in crate::pages) fn problem_of(error: FleetError) -> Result<(String, String), Problem> {
    match error {
        FleetError::Invalid { message, .. } => Ok(field_of(&message)),
        FleetError::Conflict(message) => Ok(("name".to_owned(), message)),
        FleetError::Forbidden(message) => Ok((String::new(), message)),
        other => Err(other.into()),
    }
}

/// The field that a domain error names: `[request body.host_urls.0]: ...`.
fn field_of(message: &str) -> (String, String) {
    let named = message
        .strip_prefix("[request body.")
        .and_then(|rest| rest.split_once("]: "));
    match named {
        Some((field, text)) => (field.to_owned(), text.to_owned()),
        None => (String::new(), message.to_owned()),
    }
}

/// Whether the group's condition holds.
pub(in crate::pages) fn applies(group: &Group, values: &Values) -> bool {
    match group.when.split_once('=') {
        Some((name, wanted)) => wanted.split('|').any(|wanted| values.one(name) == wanted),
        None => true,
    }
}

fn split_lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
        .filter(|(name, _)| !name.is_empty())
}

fn pairs(text: &str) -> Value {
    let map: Map<String, Value> = split_lines(text)
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    if map.is_empty() { Value::Null } else { map.into() }
}

fn pair_list(text: &str, name: &str) -> Value {
    let items: Vec<Value> = split_lines(text)
        .map(|(key, value)| json!({name: key, "value": value}))
        .collect();
    if items.is_empty() { Value::Null } else { items.into() }
}

/// Sets `path`, making the objects on the way.
fn set(fields: &mut Value, path: &str, value: Value) {
    let Some((parent, last)) = path.rsplit_once('.') else {
        if let Value::Object(map) = fields {
            map.insert(path.to_owned(), value);
        }
        return;
    };
    let mut place = fields;
    for part in parent.split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        let Value::Object(map) = place else { return };
        place = map.entry(part).or_insert_with(|| json!({}));
    }
    if !place.is_object() {
        *place = json!({});
    }
    if let Value::Object(map) = place {
        map.insert(last.to_owned(), value);
    }
}

/// The value at a path.
pub(super) fn at<'a>(fields: &'a Fields, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let first = fields.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

/// Removes nulls below; an object without anything is null.
fn prune(value: &mut Value) {
    if let Value::Object(map) = value {
        map.values_mut().for_each(prune);
        map.retain(|_, value| !value.is_null());
        if map.is_empty() {
            *value = Value::Null;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Vec<Group> {
        vec![Group::new(
            "",
            vec![
                Spec::new("name", "Name", Kind::Text),
                Spec::new("proxy_id", "Proxy", Kind::Text).optional(),
                Spec::new("ssl.certificate", "Certificate", Kind::Certificate).optional(),
                Spec::new("ssl.key", "Key", Kind::Key("ssl.certificate")).optional(),
            ],
        )]
    }

    fn check(present: Value, typed: &[(&str, &str)], expected: Value) {
        let mut values = Values::default();
        for (path, text) in typed {
            values.push(path, (*text).to_owned());
        }
        let made = object(&groups(), &values, present.as_object());
        assert_eq!(Value::Object(made), expected);
    }

    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----";

    #[test]
    fn blank_fields_are_absent_in_a_new_object_and_null_in_one_that_has_them() {
        check(Value::Null, &[("name", "a"), ("proxy_id", " ")], json!({"name": "a"}));
        check(
            json!({"proxy_id": "p"}),
            &[("name", "a")],
            json!({"name": "a", "proxy_id": null}),
        );
        check(
            json!({"ssl": {"certificate": "/c", "verification_mode": "full"}}),
            &[("name", "a"), ("ssl.certificate", "/d")],
            json!({"name": "a", "ssl": {"certificate": "/d", "verification_mode": "full"}}),
        );
        check(
            json!({"ssl": {"certificate": "/c"}}),
            &[("name", "a")],
            json!({"name": "a", "ssl": null}),
        );
    }

    #[test]
    fn keys_are_secrets_and_paths_are_not() {
        check(
            Value::Null,
            &[("name", "a"), ("ssl.key", PEM)],
            json!({"name": "a", "secrets": {"ssl": {"key": PEM}}}),
        );
        check(
            Value::Null,
            &[("name", "a"), ("ssl.key", "/k")],
            json!({"name": "a", "ssl": {"key": "/k"}}),
        );
        let stored = json!({"secrets": {"ssl": {"key": {"id": "1"}}}});
        check(
            stored.clone(),
            &[("name", "a")],
            json!({"name": "a", "secrets": {"ssl": {"key": {"id": "1"}}}}),
        );
        check(
            stored.clone(),
            &[("name", "a"), ("ssl.key", PEM)],
            json!({"name": "a", "secrets": {"ssl": {"key": PEM}}}),
        );
        check(
            stored,
            &[("name", "a"), ("ssl.key.remove", "on")],
            json!({"name": "a", "secrets": null}),
        );
        check(
            json!({"ssl": {"key": PEM}}),
            &[("name", "a")],
            json!({"name": "a", "ssl": null, "secrets": {"ssl": {"key": PEM}}}),
        );
    }

    #[test]
    fn a_blank_field_that_is_required_is_named() {
        assert_eq!(
            problems(&groups(), &Values::default()),
            [("name".to_owned(), "Name is required".to_owned())]
        );
    }

    #[test]
    fn domain_errors_name_their_field() {
        assert_eq!(
            field_of("[request body.ssl.key]: no"),
            ("ssl.key".to_owned(), "no".to_owned())
        );
        assert_eq!(field_of("no"), (String::new(), "no".to_owned()));
    }
}
