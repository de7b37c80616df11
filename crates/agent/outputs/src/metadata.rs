//! What travels with a document that does not go to Elasticsearch itself.

use event::Event;

/// The document with `@metadata` in front: where it belongs, as Logstash's Elasticsearch output reads it.
pub(crate) fn with_metadata(event: &Event) -> Vec<u8> {
    let mut metadata = serde_json::json!({"beat": "elastic-agent", "type": "_doc", "raw_index": event.stream.index});
    if let Some(pipeline) = &event.stream.pipeline {
        metadata["pipeline"] = pipeline.as_str().into();
    }
    if let Some(id) = &event.id {
        metadata["_id"] = id.as_str().into();
    }
    let mut json = format!("{{\"@metadata\":{metadata}").into_bytes();
    let fields = event.body.strip_prefix(b"{").unwrap_or(&event.body);
    if fields != b"}" {
        json.push(b',');
    }
    json.extend_from_slice(fields);
    json
}
