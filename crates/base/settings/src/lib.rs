//! YAML as Elastic's programs read it, and dotted keys.
//!
//! [`from_yaml`] is the only place that reads YAML: YAML 1.1 booleans, octal numbers, merge keys, duplicate keys refused,
//! a budget against alias bombs, and error texts that never quote the file (it may hold a passphrase).
//! [`expand_dotted_keys`] turns `ssl.verification_mode: full` into the nested form, once, before serde sees it.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Why a YAML text could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not YAML, or not what the reader expects; `message` has line and column and never the file's text.
    #[error("`{name}` is not valid: {message}")]
    Invalid {
        /// The file or setting that was read.
        name: String,
        /// What is wrong and where.
        message: String,
    },
    /// `a: 1` and `a.b: 2` in one map.
    #[error("`{name}` sets `{key}` both as a value and as a group of settings")]
    Conflict {
        /// The file or setting that was read.
        name: String,
        /// The key that is both.
        key: String,
    },
}

/// Reads a YAML (or JSON) text into a value with all dotted keys expanded. `name` is the file or setting, for errors.
/// An empty text is an empty map.
pub fn from_yaml(name: &str, text: &str) -> Result<Value, SettingsError> {
    let value: Value = parse(name, text)?;
    let value = if value.is_null() {
        Value::Object(Map::new())
    } else {
        value
    };
    expand_dotted_keys(value).map_err(|key| SettingsError::Conflict {
        name: name.to_owned(),
        key,
    })
}

/// Reads a YAML text into a typed value, dotted keys expanded first.
pub fn typed_from_yaml<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, SettingsError> {
    T::deserialize(from_yaml(name, text)?).map_err(|error| SettingsError::Invalid {
        name: name.to_owned(),
        message: error.to_string(),
    })
}

/// Reads a YAML text as YAML 1.2 does (`yes` is a text, not a boolean), with every key left as it is written: package
/// manifests and rendered stream templates. An empty text is null.
pub fn from_yaml_as_written(name: &str, text: &str) -> Result<Value, SettingsError> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| SettingsError::Invalid {
        name: name.to_owned(),
        message: for_users(&error.to_string()),
    })
}

/// Writes a value as YAML that Elastic's readers read back unchanged (`on`, `yes` and the like are quoted).
/// Characters that YAML does not allow as they are stand escaped in double quotes.
pub fn to_yaml(value: &Value) -> String {
    let mut texts = Vec::new();
    let marked = is_unprintable_within(value).then(|| mark(value, &mut texts));
    let value = marked.as_ref().unwrap_or(value);
    let yaml = serde_saphyr::to_string(value).expect("a JSON value can always be written as YAML");
    if texts.is_empty() {
        yaml
    } else {
        unmarked(&yaml, &texts)
    }
}

/// Whether a character may not stand in YAML, or is a line break to some readers and none to others.
fn is_unprintable(character: char) -> bool {
    matches!(character, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{9f}')
        || matches!(
            character,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

fn is_unprintable_within(value: &Value) -> bool {
    let is_within = |text: &str| text.contains(is_unprintable);
    match value {
        Value::String(text) => is_within(text),
        Value::Array(items) => items.iter().any(is_unprintable_within),
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| is_within(key) || is_unprintable_within(value)),
        _ => false,
    }
}

/// Puts a mark in the place of each text that has such characters, or looks like a mark itself.
fn mark(value: &Value, texts: &mut Vec<String>) -> Value {
    let mut marked = |text: &str| {
        if !text.contains(is_unprintable) && !text.contains(MARK) {
            return text.to_owned();
        }
        texts.push(text.to_owned());
        mark_of(texts.len() - 1)
    };
    match value {
        Value::String(text) => Value::String(marked(text)),
        Value::Array(items) => items.iter().map(|item| mark(item, texts)).collect(),
        Value::Object(map) => {
            let keys: Vec<String> = map.keys().map(|key| marked(key)).collect();
            let values = map.values().map(|value| mark(value, texts));
            Value::Object(keys.into_iter().zip(values).collect())
        }
        other => other.clone(),
    }
}

/// A word that needs no quotes; a number and this end follow.
const MARK: &str = "TextInDoubleQuotes";
const END_OF_MARK: char = 'x';

fn mark_of(number: usize) -> String {
    format!("{MARK}{number}{END_OF_MARK}")
}

/// Puts the texts in the place of their marks.
fn unmarked(yaml: &str, texts: &[String]) -> String {
    let mut parts = yaml.split(MARK);
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_once(END_OF_MARK).expect("no text has a mark but ours");
        let text = number.parse().ok().and_then(|number: usize| texts.get(number));
        whole.push_str(&in_double_quotes(text.expect("each mark has its text")));
        whole.push_str(rest);
    }
    whole
}

/// JSON's escapes are YAML's, too.
fn in_double_quotes(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    for character in Value::from(text).to_string().chars() {
        if is_unprintable(character) {
            let escape = format!("\\u{:04x}", u32::from(character));
            quoted.push_str(&escape);
        } else {
            quoted.push(character);
        }
    }
    quoted
}

fn parse(name: &str, text: &str) -> Result<Value, SettingsError> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| SettingsError::Invalid {
        name: name.to_owned(),
        message: for_users(&error.to_string()),
    })
}

/// An error of the YAML library without what it says to programmers.
fn for_users(message: &str) -> String {
    message
        .replace(", set DuplicateKeyPolicy in Options if acceptable", "")
        .replace(
            "; use from_str_multiple or from_str_multiple_with_options",
            "; one is expected",
        )
}

/// Nests every dotted key at every depth: `{"a.b": 1, "a": {"c": 2}}` becomes `{"a": {"b": 1, "c": 2}}`.
///
/// # Errors
/// The dotted path that is both a value and a group.
pub fn expand_dotted_keys(value: Value) -> Result<Value, String> {
    match value {
        Value::Object(map) => {
            let mut expanded = Map::new();
            for (key, value) in map {
                insert_path(&mut expanded, &key, &key, expand_dotted_keys(value)?)?;
            }
            Ok(Value::Object(expanded))
        }
        Value::Array(items) => items
            .into_iter()
            .map(expand_dotted_keys)
            .collect::<Result<_, _>>()
            .map(Value::Array),
        other => Ok(other),
    }
}

fn insert_path(map: &mut Map<String, Value>, whole: &str, path: &str, value: Value) -> Result<(), String> {
    let Some((head, rest)) = path.split_once('.') else {
        return merge_into(map, whole, path, value);
    };
    if head.is_empty() || rest.is_empty() {
        return merge_into(map, whole, path, value);
    }
    match map.entry(head).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(inner) => insert_path(inner, whole, rest, value),
        slot @ Value::Null => {
            *slot = Value::Object(Map::new());
            insert_path(slot.as_object_mut().expect("just made a map"), whole, rest, value)
        }
        _ => Err(whole.to_owned()),
    }
}

fn merge_into(map: &mut Map<String, Value>, whole: &str, key: &str, value: Value) -> Result<(), String> {
    match (map.get_mut(key), value) {
        (None, value) => {
            map.insert(key.to_owned(), value);
            Ok(())
        }
        (Some(Value::Object(old)), Value::Object(new)) => {
            for (inner_key, inner) in new {
                merge_into(old, whole, &inner_key, inner)?;
            }
            Ok(())
        }
        (Some(_), _) => Err(whole.to_owned()),
    }
}

/// Go's duration text (`300ms`, `1h30m`, `10s`; a bare number is seconds), as Elastic's settings use it.
pub fn parse_duration(text: &str) -> Option<std::time::Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds >= 0.0 && seconds.is_finite()).then(|| std::time::Duration::from_secs_f64(seconds));
    }
    let mut total = 0.0_f64;
    let mut rest = text;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = next;
    }
    (!text.is_empty() && total.is_finite() && total < 1e15).then(|| std::time::Duration::from_secs_f64(total))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn dotted_and_nested_keys_are_one_form() {
        let value = from_yaml(
            "f",
            "ssl.verification_mode: none\nssl:\n  certificate_authorities: [a]\n",
        )
        .unwrap();
        assert_eq!(
            value,
            json!({"ssl": {"verification_mode": "none", "certificate_authorities": ["a"]}})
        );
    }

    #[test]
    fn yaml_is_read_as_the_stack_reads_it() {
        assert_eq!(
            from_yaml("f", "a: yes\nb: 0600\nc: \"on\"").unwrap(),
            json!({"a": true, "b": 384, "c": "on"})
        );
        assert_eq!(from_yaml("f", "").unwrap(), json!({}));
    }

    #[test]
    fn what_yaml_does_not_allow_is_escaped_and_read_back() {
        for text in [
            "a\u{96}b",
            "\u{0}",
            "\u{85}",
            "\u{7f}: \"quoted\" \\ and\nbroken",
            "\u{2028}",
            "\u{feff}x",
            "\u{ffff}",
            "TextInDoubleQuotes0x",
            "\u{1}TextInDoubleQuotes1x",
        ] {
            for value in [
                json!(text),
                json!([text, "plain"]),
                json!({text: {"key": [text], "other": "plain"}}),
            ] {
                let yaml = to_yaml(&value);
                assert!(!yaml.contains(is_unprintable), "{yaml:?}");
                assert_eq!(from_yaml_as_written("f", &yaml).unwrap(), value, "{yaml}");
            }
        }
        assert_eq!(to_yaml(&json!({"a": "b"})), "a: b\n");
    }

    #[test]
    fn as_written_keeps_dotted_keys_and_words() {
        let value = from_yaml_as_written("f", "cpu.metrics: [yes, 10s]\nprocessors:\n- add_locale: ~\n").unwrap();
        assert_eq!(
            value,
            json!({"cpu.metrics": ["yes", "10s"], "processors": [{"add_locale": null}]})
        );
        assert_eq!(from_yaml_as_written("f", " \n").unwrap(), Value::Null);
    }

    #[test]
    fn a_key_set_twice_is_an_error_and_the_file_is_not_quoted() {
        let error = from_yaml("f.yml", "key_passphrase: hunter2\nkey_passphrase: hunter3\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("f.yml") && error.contains("line"), "{error}");
        assert!(!error.contains("hunter"), "{error}");
    }

    #[test]
    fn a_value_and_a_group_conflict() {
        let error = from_yaml("f.yml", "ssl: true\nssl.enabled: true\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("ssl.enabled"), "{error}");
    }

    #[test]
    fn durations_are_go_durations() {
        for (text, expected) in [
            ("5m", 300.0),
            ("1h30m", 5400.0),
            ("300ms", 0.3),
            ("1.5s", 1.5),
            ("10", 10.0),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs_f64(expected)), "{text}");
        }
        for text in ["", "5x", "m", "-1s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
