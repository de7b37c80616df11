//! The last change to a document on its way into a data stream: when it came, and whether its agent is who it says.
//!
//! Most documents go through no pipeline, so this works on their bytes: one pass that checks the JSON and finds the few
//! places that matter, then one copy with the stamp spliced in. No tree is built.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Documents with this tag keep `event.original`.
const PRESERVE_ORIGINAL: &str = "preserve_original_event";

/// `event.agent_id_status`: what is known about `agent.id`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AgentIdStatus {
    /// The API key was made for this agent by a Fleet Server.
    Verified,
    /// The API key was made for another agent.
    Mismatch,
    /// The document names no agent.
    Missing,
    /// Nobody vouches for the sender.
    AuthMetadataMissing,
}

impl AgentIdStatus {
    /// Compares what the document says with what its API key says.
    pub fn of(agent_id: Option<&str>, vouched_for: Option<&str>) -> Self {
        match (agent_id, vouched_for) {
            (None, _) => Self::Missing,
            (Some(_), None) => Self::AuthMetadataMissing,
            (Some(said), Some(vouched)) if said == vouched => Self::Verified,
            (Some(_), Some(_)) => Self::Mismatch,
        }
    }

    /// The value of the field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Mismatch => "mismatch",
            Self::Missing => "missing",
            Self::AuthMetadataMissing => "auth_metadata_missing",
        }
    }
}

/// The places of a document that the stamp looks at.
#[derive(Debug)]
pub struct Outline<'a> {
    text: &'a str,
    /// Where the value of the top-level `event` stands.
    event: Option<Range<usize>>,
    agent_id: Option<Cow<'a, str>>,
    keep_original: bool,
    is_empty: bool,
    /// It has `@timestamp`.
    pub has_timestamp: bool,
}

/// Checks that `text` is one JSON object and finds the places.
pub fn outline(text: &str) -> Result<Outline<'_>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = deserializer.deserialize_map(Places)?;
    deserializer.end()?;
    Ok(Outline {
        text,
        event: found.event.map(|raw| position(text, raw)),
        agent_id: found.agent_id,
        keep_original: found.keep_original,
        is_empty: found.is_empty,
        has_timestamp: found.has_timestamp,
    })
}

impl Outline<'_> {
    /// Whether the sender vouches for the document's `agent.id`.
    pub fn agent_id_status(&self, vouched_for: Option<&str>) -> AgentIdStatus {
        AgentIdStatus::of(self.agent_id.as_deref(), vouched_for)
    }

    /// The document with the stamp; `ingested` is RFC 3339.
    ///
    /// # Errors
    /// When `event` is neither an object nor null.
    pub fn stamped(&self, ingested: &str, status: AgentIdStatus) -> Result<Vec<u8>, serde_json::Error> {
        let stamp = format!(r#""agent_id_status":"{}","ingested":"{ingested}""#, status.as_str());
        let mut stamped = Vec::with_capacity(self.text.len() + stamp.len() + 16);
        if let Some(event) = &self.event {
            stamped.extend_from_slice(&self.text.as_bytes()[..event.start]);
            self.write_event(&self.text[event.clone()], &stamp, &mut stamped)?;
            stamped.extend_from_slice(&self.text.as_bytes()[event.end..]);
        } else {
            let open = self.text.find('{').map_or(0, |at| at + 1);
            stamped.extend_from_slice(&self.text.as_bytes()[..open]);
            stamped.extend_from_slice(b"\"event\":{");
            stamped.extend_from_slice(stamp.as_bytes());
            stamped.extend_from_slice(if self.is_empty { b"}" } else { b"}," });
            stamped.extend_from_slice(&self.text.as_bytes()[open..]);
        }
        Ok(stamped)
    }

    fn write_event(&self, event: &str, stamp: &str, stamped: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        stamped.push(b'{');
        stamped.extend_from_slice(stamp.as_bytes());
        if event == "null" {
            stamped.push(b'}');
            return Ok(());
        }
        let Some(inner) = event.strip_prefix('{') else {
            return Err(serde_json::Error::custom(
                "object mapping for [event] tried to parse field [event] as object, but found a concrete value",
            ));
        };
        if inner.trim_start().starts_with('}') {
            stamped.push(b'}');
        } else if self.must_rewrite(inner) {
            self.write_event_fields(event, stamped)?;
            stamped.push(b'}');
        } else {
            stamped.push(b',');
            stamped.extend_from_slice(inner.as_bytes());
        }
        Ok(())
    }

    /// Rare: a key that the stamp sets or removes may be there already.
    fn must_rewrite(&self, event: &str) -> bool {
        event.contains("\"agent_id_status\"")
            || event.contains("\"ingested\"")
            || (!self.keep_original && event.contains("\"original\""))
            || event.contains('\\')
    }

    fn write_event_fields(&self, event: &str, stamped: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(event)?;
        for (name, value) in fields {
            let removed =
                name == "agent_id_status" || name == "ingested" || (name == "original" && !self.keep_original);
            if !removed {
                stamped.push(b',');
                serde_json::to_writer(&mut *stamped, &name)?;
                stamped.push(b':');
                serde_json::to_writer(&mut *stamped, &value)?;
            }
        }
        Ok(())
    }
}

/// Where `part` stands in `whole`; both are slices of one text.
fn position(whole: &str, part: &RawValue) -> Range<usize> {
    let start = part.get().as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.get().len()
}

#[derive(Default)]
struct Found<'a> {
    event: Option<&'a RawValue>,
    agent_id: Option<Cow<'a, str>>,
    keep_original: bool,
    is_empty: bool,
    has_timestamp: bool,
}

struct Places;

impl<'de> Visitor<'de> for Places {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Found {
            is_empty: true,
            ..Found::default()
        };
        while let Some(key) = map.next_key::<Key>()? {
            found.is_empty = false;
            match key {
                Key::Timestamp => {
                    found.has_timestamp = true;
                    map.next_value::<IgnoredAny>()?;
                }
                Key::Event if found.event.is_some() => return Err(A::Error::custom("Duplicate field 'event'")),
                Key::Event => found.event = Some(map.next_value()?),
                Key::Agent => {
                    let raw: &RawValue = map.next_value()?;
                    // An agent that is no object, or whose id is no text, is a mapping error for the store to report.
                    if let Ok(agent) = serde_json::from_str::<Agent<'de>>(raw.get()) {
                        found.agent_id = agent.id;
                    }
                }
                Key::AgentId => found.agent_id = map.next_value::<Option<Text<'de>>>()?.map(|text| text.0),
                Key::Tags => found.keep_original |= map.next_value::<&RawValue>()?.get().contains(PRESERVE_ORIGINAL),
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

#[derive(serde::Deserialize)]
struct Agent<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
}

#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The top-level keys that matter.
enum Key {
    Timestamp,
    Event,
    Agent,
    AgentId,
    Tags,
    Other,
}

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl Visitor<'_> for Keys {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }
            fn visit_str<E>(self, name: &str) -> Result<Key, E> {
                Ok(match name {
                    "@timestamp" => Key::Timestamp,
                    "event" => Key::Event,
                    "agent" => Key::Agent,
                    "agent.id" => Key::AgentId,
                    "tags" => Key::Tags,
                    _ => Key::Other,
                })
            }
        }
        deserializer.deserialize_identifier(Keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(document: &str, vouched_for: Option<&str>, expected: &str) {
        let outline = outline(document).unwrap();
        let stamped = outline
            .stamped("2026-01-02T03:04:05Z", outline.agent_id_status(vouched_for))
            .unwrap();
        let found: serde_json::Value = serde_json::from_slice(&stamped).unwrap();
        assert_eq!(
            found,
            serde_json::from_str::<serde_json::Value>(expected).unwrap(),
            "{document}"
        );
    }

    #[test]
    fn the_stamp_joins_what_is_there() {
        check(
            r#"{"@timestamp":1,"agent":{"id":"a","name":"n"},"event":{"dataset":"x"},"message":"m"}"#,
            Some("a"),
            r#"{"@timestamp":1,"agent":{"id":"a","name":"n"},"event":{"agent_id_status":"verified","ingested":"2026-01-02T03:04:05Z","dataset":"x"},"message":"m"}"#,
        );
        check(
            r#"{"agent.id":"a","message":"m"}"#,
            Some("b"),
            r#"{"event":{"agent_id_status":"mismatch","ingested":"2026-01-02T03:04:05Z"},"agent.id":"a","message":"m"}"#,
        );
        check(
            " { } ",
            None,
            r#"{"event":{"agent_id_status":"missing","ingested":"2026-01-02T03:04:05Z"}}"#,
        );
        check(
            r#"{"event":{ },"agent":{"id":"a"}}"#,
            None,
            r#"{"event":{"agent_id_status":"auth_metadata_missing","ingested":"2026-01-02T03:04:05Z"},"agent":{"id":"a"}}"#,
        );
        check(
            r#"{"event":null}"#,
            None,
            r#"{"event":{"agent_id_status":"missing","ingested":"2026-01-02T03:04:05Z"}}"#,
        );
    }

    #[test]
    fn what_the_sender_claims_about_itself_is_replaced() {
        check(
            r#"{"event":{"agent_id_status":"verified","kind":"event","ingested":"x","original":"o"}}"#,
            None,
            r#"{"event":{"agent_id_status":"missing","ingested":"2026-01-02T03:04:05Z","kind":"event"}}"#,
        );
        check(
            r#"{"event":{"agent_id_\u0073tatus":"verified"}}"#,
            None,
            r#"{"event":{"agent_id_status":"missing","ingested":"2026-01-02T03:04:05Z"}}"#,
        );
        check(
            r#"{"tags":["preserve_original_event"],"event":{"original":"o"}}"#,
            None,
            r#"{"tags":["preserve_original_event"],"event":{"agent_id_status":"missing","ingested":"2026-01-02T03:04:05Z","original":"o"}}"#,
        );
    }

    #[test]
    fn only_one_object_is_accepted() {
        for text in ["", "[]", "1", "{", "{}{}", r#"{"a":}"#, r#"{"event":{},"event":{}}"#] {
            assert!(outline(text).is_err(), "{text}");
        }
        let outline = outline(r#"{"event":1}"#).unwrap();
        assert!(outline.stamped("x", AgentIdStatus::Missing).is_err());
    }
}
