//! Updates of a document as a text: the fields that an update touches are parsed, all others stay the text that they were.
//!
//! An agent's document is mostly what the agent told of its host, and most updates leave that alone.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::Update;
use crate::update_script::{self, Effect};

/// What an update made of a document.
#[derive(Debug, Eq, PartialEq)]
pub enum Updated {
    /// This.
    Changed(Vec<u8>),
    /// The document is as it was.
    Noop,
    /// No known script has these parameters.
    Unknown,
}

/// Runs `update` on a document.
///
/// # Errors
/// When the text is not one JSON object.
pub fn run(text: &[u8], update: &Update) -> Result<Updated, serde_json::Error> {
    let Fields(fields) = serde_json::from_slice(text)?;
    let touches = |name: &str| touches(update, name);
    let mut touched = Map::new();
    for (name, value) in fields.iter().filter(|(name, _)| touches(name)) {
        touched.insert(name.to_string(), serde_json::from_str(value.get())?);
    }
    let effect = match update {
        Update::Merge { partial, .. } if update_script::merge(&mut touched, partial) => Effect::Changed,
        Update::Merge { .. } => Effect::Noop,
        Update::Script(params) => update_script::run(params, &mut touched),
    };
    Ok(match effect {
        Effect::Changed => Updated::Changed(write(&fields, touched, touches, text.len())),
        Effect::Noop => Updated::Noop,
        Effect::Unknown => Updated::Unknown,
    })
}

/// Whether `update` reads or writes the field `name`.
pub fn touches(update: &Update, name: &str) -> bool {
    match update {
        Update::Merge { partial, .. } => partial.contains_key(name),
        Update::Script(params) => update_script::touches(params, name),
    }
}

/// The texts of these fields of a document; all others are passed over unread.
pub fn fields<'a>(text: &'a [u8], names: &[&str]) -> Vec<Option<&'a RawValue>> {
    let Ok(Fields(fields)) = serde_json::from_slice(text) else {
        return vec![None; names.len()];
    };
    let find = |name: &&str| {
        let found = fields.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| *value)
    };
    names.iter().map(find).collect()
}

/// Each field at its place, new ones at the end.
fn write(
    fields: &[(Cow<'_, str>, &RawValue)],
    mut touched: Map<String, Value>,
    touches: impl Fn(&str) -> bool,
    length: usize,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 256);
    out.push(b'{');
    for (name, text) in fields {
        if !touches(name) {
            put(&mut out, name, text);
        } else if let Some(value) = touched.get_mut(&**name) {
            put(&mut out, name, &value.take());
            touched.shift_remove(&**name);
        }
    }
    for (name, value) in &touched {
        put(&mut out, name, value);
    }
    out.push(b'}');
    out
}

fn put<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, name: &str, value: &T) {
    if out.len() > 1 {
        out.push(b',');
    }
    let written = serde_json::to_writer(&mut *out, name).and_then(|()| {
        out.push(b':');
        serde_json::to_writer(&mut *out, value)
    });
    written.expect("JSON values can always be written to memory");
}

/// The fields of an object in order, their values unread.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// A name without a copy where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(32);
                while let Some((Name(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    /// What an update makes of a document that is parsed as a whole.
    fn whole(document: &Map<String, Value>, update: &Update) -> Updated {
        let mut document = document.clone();
        let effect = match update {
            Update::Merge { partial, .. } if update_script::merge(&mut document, partial) => Effect::Changed,
            Update::Merge { .. } => Effect::Noop,
            Update::Script(params) => update_script::run(params, &mut document),
        };
        match effect {
            Effect::Changed => Updated::Changed(serde_json::to_vec(&document).unwrap()),
            Effect::Noop => Updated::Noop,
            Effect::Unknown => Updated::Unknown,
        }
    }

    #[test]
    fn every_update_does_what_it_does_to_a_parsed_document() {
        let documents = [
            json!({}),
            json!({"policy_id": "p", "a\"b": {"c": [1.50, null]}, "default_api_key_history": [1], "policy_revision_idx": 1,
                "outputs": {"o": {"type": "t", "to_retire_api_key_ids": []}}, "agent": {"id": "i"}, "file": {"Status": "s"},
                "audit_unenrolled_time": "x", "unenrolled_at": "y", "transithash": 4, "local_metadata": {"x": 1}}),
        ];
        let merge = |partial| Update::Merge {
            partial: object(partial),
            upsert: None,
        };
        let script = |params| Update::Script(object(params));
        let updates = [
            merge(json!({})),
            merge(json!({"agent": {"version": "9"}, "new": 1})),
            merge(json!({"policy_id": "p"})),
            script(json!({"id": "p", "rev": 3, "ts": "t"})),
            script(json!({"id": "q", "rev": 3, "ts": "t"})),
            script(json!({"output_name": "o"})),
            script(json!({"output_name": "o", "api_key": "k", "to_retire_api_key_ids": {"id": "old"}})),
            script(json!({"output_name": "n", "type": "t"})),
            script(json!({"status": "READY", "hash": "h"})),
            script(
                json!({"TS": "t", "Now": "n", "Status": "online", "Meta": {"y": 2}, "Ver": "9", "SeqNoSet": true, "SeqNo": [1],
                "PolicyID": "p", "RevisionIDX": 4, "Components": [1]}),
            ),
            script(json!({"stranger": 1})),
        ];
        for document in documents.map(object) {
            for update in &updates {
                let found = run(&serde_json::to_vec(&document).unwrap(), update).unwrap();
                assert_eq!(found, whole(&document, update), "{update:?} of {document:?}");
            }
        }
    }

    #[test]
    fn what_is_not_touched_stays_as_it_was_written() {
        let partial = object(json!({"a": 2}));
        let update = Update::Merge { partial, upsert: None };
        let found = run(br#"{ "b" : [1.0,  1e3], "a": 1, "\u00e4": "\u00e4" }"#, &update).unwrap();
        let expected = "{\"b\":[1.0,  1e3],\"a\":2,\"ä\":\"\\u00e4\"}";
        assert_eq!(found, Updated::Changed(expected.into()));
        assert!(run(b"[]", &update).is_err() && run(b"{\"a\":", &update).is_err());
    }
}
