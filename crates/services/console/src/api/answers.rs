//! The shapes of answers, for the description that is served.

use serde_json::{Value, json};

/// What a route answers with 200.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// An object of its own kind.
    Object,
    /// `{"item": {..}}`.
    Item,
    /// `{"item": {..}}`, or a text in place of the object.
    ItemOrText,
    /// `{"items": [..], "total", "page", "perPage"}`.
    Page,
    /// `{"items": [..]}`.
    Items,
    /// `[..]`.
    List,
    /// `{"id": ".."}`.
    Id,
    /// `{"action": ".."}`.
    Done,
    /// `{"actionId": ".."}`.
    ActionId,
    /// `{}`.
    Empty,
    /// A file of that type.
    File(&'static str),
    /// An object, or a file of that type that says the same.
    ObjectOrFile(&'static str),
}

impl Answer {
    /// As an OpenAPI response.
    pub(crate) fn to_openapi(self) -> Value {
        let text = json!({"type": "string"});
        let number = json!({"type": "integer", "minimum": 0});
        let list = json!({"type": "array", "items": {}});
        let item = json!({"type": "object", "properties": {"id": text}});
        let object = |properties: Value| {
            let required: Vec<String> = properties
                .as_object()
                .map(|map| map.keys().cloned().collect())
                .unwrap_or_default();
            if required.is_empty() {
                json!({"type": "object"})
            } else {
                json!({"type": "object", "required": required, "properties": properties})
            }
        };
        let schema = match self {
            Self::ObjectOrFile(kind) => {
                let content = json!({"application/json": {"schema": {"type": "object"}}, kind: {"schema": {}}});
                return json!({"description": "Done", "content": content});
            }
            Self::Object | Self::Empty => object(json!({})),
            Self::Item => object(json!({"item": item})),
            Self::ItemOrText => object(json!({"item": {"anyOf": [item, text]}})),
            Self::Page => object(json!({"items": list, "total": number, "page": number, "perPage": number})),
            Self::Items => object(json!({"items": list})),
            Self::List => list,
            Self::Id => object(json!({"id": text})),
            Self::Done => object(json!({"action": text})),
            Self::ActionId => object(json!({"actionId": text})),
            // Readers of such a file see what it says, not its text.
            Self::File(kind @ "text/x-yaml") => {
                return json!({"description": "Done", "content": {kind: {"schema": {}}}});
            }
            Self::File(kind) => {
                return json!({"description": "Done", "content": {kind: {"schema": {"type": "string", "format": "binary"}}}});
            }
        };
        json!({"description": "Done", "content": {"application/json": {"schema": schema}}})
    }
}
