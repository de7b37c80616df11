//! The answer of `_bulk`, written without a tree for what went well.

use serde_json::{Value, json};
use store::{Outcome, WriteResult, Written};

use super::{Fate, Item};
use crate::error::ApiError;
use crate::write::Kind;

/// Writes the answer; `filter` is `filter_path`.
pub(super) fn render(
    items: &[Item],
    outcomes: Vec<Outcome>,
    filter: Option<&str>,
    forced_refresh: bool,
    took: u64,
) -> Vec<u8> {
    let mut outcomes = outcomes.into_iter();
    let mut errors = false;
    let mut list = Vec::with_capacity(items.len() * 64);
    let mut wanted = Wanted::of(filter);
    wanted.forced_refresh = forced_refresh && filter.is_none();
    for item in items {
        let fate = match &item.fate {
            Fate::Sent => match outcomes.next().map(Outcome::written) {
                Some(Ok(written)) => Ok(written),
                Some(Err(rejection)) => {
                    let id = rejection.id.clone();
                    Err((Some(id).filter(|id| !id.is_empty()), ApiError::from(rejection)))
                }
                None => Err((
                    item.id.clone(),
                    ApiError::too_busy("the store did not answer for this document"),
                )),
            },
            Fate::Dropped => Ok(dropped(item)),
            Fate::Refused(error) => Err((item.id.clone(), error.clone())),
        };
        let before = list.len();
        if before > 0 {
            list.push(b',');
        }
        let start = list.len();
        match fate {
            Ok(written) => wanted.write_success(item.kind, &written, &mut list),
            Err((id, error)) => {
                errors = true;
                write_failure(item, id.or_else(|| item.id.clone()), &error, filter, &mut list);
            }
        }
        if list.len() == start {
            list.truncate(before);
        }
    }
    wanted.frame(errors, took, &list)
}

/// Which fields `filter_path` lets through, found once by filtering a sample.
struct Wanted {
    errors: bool,
    took: bool,
    create: Fields,
    index: Fields,
    update: Fields,
    delete: Fields,
    any: bool,
    forced_refresh: bool,
}

#[derive(Clone, Copy)]
struct Fields {
    index: bool,
    id: bool,
    version: bool,
    result: bool,
    shards: bool,
    seq_no: bool,
    primary_term: bool,
    status: bool,
    item: bool,
}

impl Wanted {
    fn of(filter: Option<&str>) -> Self {
        let Some(filter) = filter else {
            let all = Fields::of(Some(&sample()));
            return Self {
                errors: true,
                took: true,
                create: all,
                index: all,
                update: all,
                delete: all,
                any: true,
                forced_refresh: false,
            };
        };
        let items: Vec<_> = Kind::ALL.iter().map(|kind| json!({ kind.name(): sample() })).collect();
        let mut answer = json!({ "errors": false, "took": 0, "items": items });
        query::filter_path::apply(&mut answer, filter);
        let fields = |kind: Kind| {
            let list = answer.get("items").and_then(Value::as_array);
            Fields::of(list.and_then(|list| list.iter().find_map(|item| item.get(kind.name()))))
        };
        Self {
            errors: answer.get("errors").is_some(),
            took: answer.get("took").is_some(),
            create: fields(Kind::Create),
            index: fields(Kind::Index),
            update: fields(Kind::Update),
            delete: fields(Kind::Delete),
            any: false,
            forced_refresh: false,
        }
    }

    fn write_success(&self, kind: Kind, written: &Written, list: &mut Vec<u8>) {
        let fields = match kind {
            Kind::Create => self.create,
            Kind::Index => self.index,
            Kind::Update => self.update,
            Kind::Delete => self.delete,
        };
        if !fields.item {
            return;
        }
        list.extend_from_slice(b"{\"");
        list.extend_from_slice(kind.name().as_bytes());
        list.extend_from_slice(b"\":{");
        let mut writer = FieldWriter { list, first: true };
        let (result, status) = result_of(written.result);
        writer.text(fields.index, "_index", &written.index);
        writer.text(fields.id, "_id", &written.id);
        if fields.version {
            writer.raw("_version", if written.version == DROPPED { "-3" } else { "" });
            if written.version != DROPPED {
                writer.append(&written.version.to_string());
            }
        }
        writer.text(fields.result, "result", result);
        if self.forced_refresh && written.version != DROPPED {
            writer.raw("forced_refresh", "true");
        }
        if fields.shards {
            writer.raw("_shards", r#"{"total":1,"successful":1,"failed":0}"#);
        }
        if written.version != DROPPED {
            if fields.seq_no {
                writer.raw("_seq_no", &written.seq_no.to_string());
            }
            if fields.primary_term {
                writer.raw("_primary_term", "1");
            }
        }
        if fields.status {
            writer.raw("status", status);
        }
        list.extend_from_slice(b"}}");
    }

    fn frame(&self, errors: bool, took: u64, list: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(list.len() + 48);
        text.push(b'{');
        let mut writer = FieldWriter {
            list: &mut text,
            first: true,
        };
        if self.errors {
            writer.raw("errors", if errors { "true" } else { "false" });
        }
        if self.took {
            writer.raw("took", &took.to_string());
        }
        if self.any || !list.is_empty() {
            writer.raw("items", "[");
            text.extend_from_slice(list);
            text.push(b']');
        }
        text.push(b'}');
        text
    }
}

impl Fields {
    fn of(sample: Option<&Value>) -> Self {
        let has = |name: &str| sample.is_some_and(|sample| sample.get(name).is_some());
        Self {
            index: has("_index"),
            id: has("_id"),
            version: has("_version"),
            result: has("result"),
            shards: has("_shards"),
            seq_no: has("_seq_no"),
            primary_term: has("_primary_term"),
            status: has("status"),
            item: sample.is_some(),
        }
    }
}

/// An item with every field that a success has.
fn sample() -> Value {
    json!({
        "_index": "", "_id": "", "_version": 1, "result": "", "_shards": { "total": 1, "successful": 1, "failed": 0 },
        "_seq_no": 0, "_primary_term": 1, "status": 200,
    })
}

struct FieldWriter<'a> {
    list: &'a mut Vec<u8>,
    first: bool,
}

impl FieldWriter<'_> {
    fn raw(&mut self, name: &str, value: &str) {
        if !self.first {
            self.list.push(b',');
        }
        self.first = false;
        self.list.push(b'"');
        self.list.extend_from_slice(name.as_bytes());
        self.list.extend_from_slice(b"\":");
        self.list.extend_from_slice(value.as_bytes());
    }

    fn append(&mut self, value: &str) {
        self.list.extend_from_slice(value.as_bytes());
    }

    fn text(&mut self, wanted: bool, name: &str, value: &str) {
        if wanted {
            self.raw(name, "");
            serde_json::to_writer(&mut *self.list, value).expect("a text can always be written to memory");
        }
    }
}

/// `_version` of a document that a pipeline dropped, as the original has it: -3.
const DROPPED: u64 = u64::MAX;

fn dropped(item: &Item) -> Written {
    Written {
        index: item.index.clone(),
        id: item.id.clone().unwrap_or_else(|| "auto-generated".to_owned()),
        version: DROPPED,
        seq_no: 0,
        result: WriteResult::Noop,
    }
}

/// `result` and status.
pub(crate) fn result_of(result: WriteResult) -> (&'static str, &'static str) {
    match result {
        WriteResult::Created => ("created", "201"),
        WriteResult::Updated => ("updated", "200"),
        WriteResult::Deleted => ("deleted", "200"),
        WriteResult::Noop => ("noop", "200"),
        WriteResult::NotFound => ("not_found", "404"),
    }
}

/// Failures are rare: a tree is fine.
fn write_failure(item: &Item, id: Option<String>, error: &ApiError, filter: Option<&str>, list: &mut Vec<u8>) {
    let failure = json!({
        item.kind.name(): { "_index": item.index, "_id": id, "status": error.status.as_u16(), "error": error.cause() },
    });
    let shown = match filter {
        None => Some(failure),
        Some(filter) => {
            let mut answer = json!({ "items": [failure] });
            query::filter_path::apply(&mut answer, filter);
            answer
                .get_mut("items")
                .and_then(|items| items.get_mut(0))
                .map(Value::take)
        }
    };
    if let Some(shown) = shown {
        serde_json::to_writer(list, &shown).expect("a JSON value can always be written to memory");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(kind: Kind) -> Item {
        Item {
            kind,
            index: "i".to_owned(),
            id: None,
            fate: Fate::Sent,
        }
    }

    fn done() -> Outcome {
        Outcome::Done(Written {
            index: "i".to_owned(),
            id: "a\"b".to_owned(),
            version: 1,
            seq_no: 5,
            result: WriteResult::Created,
        })
    }

    fn refused() -> Item {
        let fate = Fate::Refused(ApiError::forbidden("no"));
        Item {
            kind: Kind::Create,
            index: "x".to_owned(),
            id: None,
            fate,
        }
    }

    fn check(filter: Option<&str>, expected: Value) {
        let items = [sent(Kind::Create), refused(), sent(Kind::Create)];
        let text = render(&items, vec![done(), done()], filter, false, 3);
        let found: Value =
            serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)));
        assert_eq!(found, expected, "{filter:?}");
    }

    #[test]
    fn without_a_filter_everything_is_there() {
        let success = json!({"create": {
            "_index": "i", "_id": "a\"b", "_version": 1, "result": "created",
            "_shards": {"total": 1, "successful": 1, "failed": 0}, "_seq_no": 5, "_primary_term": 1, "status": 201,
        }});
        let failure = json!({"create": {
            "_index": "x", "_id": null, "status": 403, "error": {"type": "security_exception", "reason": "no"},
        }});
        check(
            None,
            json!({"errors": true, "took": 3, "items": [success, failure, success]}),
        );
    }

    #[test]
    fn the_filters_of_shippers_are_applied_while_writing() {
        check(
            Some("errors,items.*.error,items.*.status,items.*.failure_store"),
            json!({"errors": true, "items": [
                {"create": {"status": 201}},
                {"create": {"status": 403, "error": {"type": "security_exception", "reason": "no"}}},
                {"create": {"status": 201}},
            ]}),
        );
        check(
            Some("items.*.error.type"),
            json!({"items": [{"create": {"error": {"type": "security_exception"}}}]}),
        );
        check(Some("took"), json!({"took": 3}));
    }
}
