//! `metadata.local` of an enrolment: kept as the text that it came as. Thousands of hosts enrol in one burst, and a tree of
//! values is many small pieces of memory that nobody looks at.

use std::borrow::Cow;
use std::collections::HashMap;

use protocol::AgentId;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::ApiError;

/// Objects and lists in one another; readers of documents take 128.
const DEEPEST: usize = 64;

/// The description, with the agent's id as `elastic.agent.id`, whatever the agent sent, if it sent any. None is an empty one.
pub(crate) fn with_id(local: Option<&RawValue>, id: &AgentId) -> Result<Box<RawValue>, ApiError> {
    let text = local.map_or("{}", RawValue::get);
    let refuse = |reason| ApiError::BadRequest(format!("unable to decode enroll request: metadata.local {reason}"));
    if !text.starts_with('{') {
        return Err(refuse("must be an object"));
    }
    if depth(text) > DEEPEST {
        return Err(refuse("has too many objects in one another"));
    }
    let given = local.and_then(|local| field(field(field(local, "elastic")?, "agent")?, "id"));
    let own = given.map_or_else(|| text.to_owned(), |given| replaced(text, given.get(), id));
    RawValue::from_string(own).map_err(ApiError::store)
}

/// `host.hostname`.
pub(crate) fn host_name(local_metadata: &RawValue) -> Option<String> {
    let name = field(field(local_metadata, "host")?, "hostname")?;
    serde_json::from_str(name.get()).ok()
}

/// A name without a copy where it has no escapes.
#[derive(Deserialize, Eq, Hash, PartialEq)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The value of a field, if the text is an object that has it.
fn field<'a>(object: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    let mut fields: HashMap<Name<'_>, &RawValue> = serde_json::from_str(object.get()).ok()?;
    fields.remove(&Name(Cow::Borrowed(name)))
}

/// `text` with the id in place of `given`, which is a part of it.
fn replaced(text: &str, given: &str, id: &AgentId) -> String {
    let start = given.as_ptr().addr() - text.as_ptr().addr();
    let mut own = text.as_bytes()[..start].to_vec();
    crate::json_text::write_string(id.as_str(), &mut own);
    own.extend_from_slice(&text.as_bytes()[start + given.len()..]);
    String::from_utf8(own).expect("texts put together at their ends are a text")
}

/// How many objects and lists stand in one another.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn the_agent_s_id_is_put_in_only_where_it_was() {
        let check = |given: &str, expected: &str| {
            let found = with_id(Some(&raw(given)), &"a1".into()).unwrap();
            assert_eq!(found.get(), expected);
        };
        check(
            r#"{"elastic": {"agent": {"id": "", "v": 1}}, "x": 1.50}"#,
            r#"{"elastic": {"agent": {"id": "a1", "v": 1}}, "x": 1.50}"#,
        );
        check(
            r#"{"elastic":{"\u0061gent":{"v":"id","id":{"a":[1]}}}}"#,
            r#"{"elastic":{"\u0061gent":{"v":"id","id":"a1"}}}"#,
        );
        check(r#"{"elastic":{"agent":{"v":1}}}"#, r#"{"elastic":{"agent":{"v":1}}}"#);
        check(r#"{"elastic":"agent"}"#, r#"{"elastic":"agent"}"#);
        assert_eq!(with_id(None, &"a1".into()).unwrap().get(), "{}");
    }

    #[test]
    fn only_objects_of_some_depth_are_taken() {
        let too_deep = "{\"a\":".repeat(65) + "1" + &"}".repeat(65);
        for refused in ["[]", "1", &too_deep] {
            let error = with_id(Some(&raw(refused)), &"a1".into()).unwrap_err();
            assert_eq!(error.code(), "BadRequest", "{refused}");
        }
        let brackets_in_a_text = format!(r#"{{"a":"{}\"{{"}}"#, "[".repeat(100));
        assert!(with_id(Some(&raw(&brackets_in_a_text)), &"a1".into()).is_ok());
    }

    #[test]
    fn the_host_s_name_is_found() {
        let check =
            |given: &str, expected: Option<&str>| assert_eq!(host_name(&raw(given)).as_deref(), expected, "{given}");
        check(r#"{"host": {"hostname": "h\u00e4"}}"#, Some("h\u{e4}"));
        check(r#"{"host": {"hostname": 1}}"#, None);
        check("{}", None);
    }
}
