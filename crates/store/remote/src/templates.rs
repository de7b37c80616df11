//! Index templates: those of callers, fitted to the peer, and ours for the data streams that everybody expects.

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::StoreError;

use crate::mappings;
use crate::peer::Kind;
use crate::ready::STREAM_PATTERNS;
use crate::store::Inner;
use crate::wire::{Call, segment};

/// Raised when what our templates say changes.
const VERSION: u64 = 1;
/// Below what people's own templates have, and the built-in ones of Elasticsearch (100).
const PRIORITY: u64 = 50;

#[derive(Deserialize)]
struct Listed {
    index_templates: Vec<ListedOne>,
}

#[derive(Deserialize)]
struct ListedOne {
    name: String,
    index_template: TemplateBody,
}

#[derive(Deserialize)]
struct TemplateBody {
    #[serde(default)]
    version: u64,
    #[serde(default)]
    index_patterns: Value,
    #[serde(default)]
    priority: i64,
}

impl Inner {
    pub(crate) async fn put_index_template(&self, name: &str, mut body: Value) -> Result<(), StoreError> {
        if self.peer.kind == Kind::OpenSearch {
            fit_to_opensearch(&mut body);
        }
        let call = Call::new(Method::PUT, format!("/_index_template/{}", segment(name))).json(&body);
        let _acknowledged: Value = self.send(call).await?.ok(name).await?;
        Ok(())
    }

    pub(crate) async fn delete_index_template(&self, name: &str) -> Result<bool, StoreError> {
        let call = Call::new(Method::DELETE, format!("/_index_template/{}", segment(name)));
        let answer = self.send(call).await?;
        match answer.status {
            404 => Ok(false),
            _ if answer.is_success() => Ok(true),
            _ => Err(answer.into_error(name)),
        }
    }

    /// A pipeline with a processor that the peer does not have is not put.
    pub(crate) async fn put_pipeline(&self, name: &str, body: &Value) -> Result<bool, StoreError> {
        let call = Call::new(Method::PUT, format!("/_ingest/pipeline/{}", segment(name))).json(body);
        let answer = self.send(call).await?;
        match answer.status {
            400 => {
                let reason = answer.into_error(name);
                tracing::warn!(pipeline = %name, %reason, "the cluster does not take a pipeline");
                Ok(false)
            }
            _ if answer.is_success() => Ok(true),
            _ => Err(answer.into_error(name)),
        }
    }

    pub(crate) async fn delete_pipeline(&self, name: &str) -> Result<(), StoreError> {
        let call = Call::new(Method::DELETE, format!("/_ingest/pipeline/{}", segment(name)));
        let answer = self.send(call).await?;
        // With 400 the peer says that an index still uses it.
        if matches!(answer.status, 400 | 404) || answer.is_success() {
            return Ok(());
        }
        Err(answer.into_error(name))
    }

    /// Sets our templates for `logs-*-*` and its like where neither the peer nor an earlier start has any.
    pub(crate) async fn install_templates(&self) -> Result<(), StoreError> {
        if self.peer.kind == Kind::Flotilla || self.has_template("logs").await? {
            return Ok(());
        }
        for pattern in STREAM_PATTERNS {
            let kind = pattern.split('-').next().unwrap_or(pattern);
            let name = format!("flotilla-{kind}");
            if !self.has_current_template(&name).await? {
                self.put_index_template(&name, own_template(pattern)).await?;
            }
        }
        Ok(())
    }

    async fn has_template(&self, name: &str) -> Result<bool, StoreError> {
        let answer = self.send(Call::get(format!("/_index_template/{name}"))).await?;
        match answer.status {
            404 => Ok(false),
            _ if answer.is_success() => Ok(true),
            _ => Err(answer.into_error(name)),
        }
    }

    async fn has_current_template(&self, name: &str) -> Result<bool, StoreError> {
        let answer = self.send(Call::get(format!("/_index_template/{name}"))).await?;
        if answer.status == 404 {
            return Ok(false);
        }
        let listed: Listed = answer.ok(name).await?;
        Ok(listed
            .index_templates
            .iter()
            .any(|one| one.index_template.version >= VERSION))
    }

    /// The template that a data stream of this name is made from.
    pub(crate) async fn template_of(&self, data_stream: &str) -> Result<Option<String>, StoreError> {
        let answer = self.send(Call::get("/_index_template")).await?;
        if matches!(answer.status, 401 | 403 | 404) {
            return Ok(None);
        }
        let listed: Listed = answer.ok("_index_template").await?;
        let fitting = listed.index_templates.into_iter().filter(|one| {
            let patterns = match &one.index_template.index_patterns {
                Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
                Value::String(single) => vec![single.as_str()],
                _ => Vec::new(),
            };
            patterns
                .iter()
                .any(|pattern| query::pattern::wildcard(pattern, data_stream))
        });
        Ok(fitting
            .max_by_key(|one| one.index_template.priority)
            .map(|one| one.name))
    }
}

fn own_template(pattern: &str) -> Value {
    json!({
        "index_patterns": [pattern],
        "data_stream": {},
        "priority": PRIORITY,
        "version": VERSION,
        "template": {
            "settings": { "index": { "number_of_shards": 1, "auto_expand_replicas": "0-1" } },
            "mappings": {
                "properties": { "@timestamp": { "type": "date" } },
                "dynamic_templates": mappings::dynamic_templates(),
            },
        },
        "_meta": { "description": "data streams without a template of their own", "managed_by": "flotilla" },
    })
}

/// Takes out what OpenSearch refuses. Source: opensearch, what differs.
pub(crate) fn fit_to_opensearch(body: &mut Value) {
    let Some(body) = body.as_object_mut() else { return };
    for key in [
        "data_stream_options",
        "lifecycle",
        "allow_auto_create",
        "deprecated",
        "ignore_missing_component_templates",
    ] {
        body.shift_remove(key);
    }
    if let Some(Value::Object(options)) = body.get_mut("data_stream") {
        options.retain(|key, _| key == "timestamp_field");
    }
    if let Some(Value::Object(template)) = body.get_mut("template") {
        template.shift_remove("lifecycle");
        template.shift_remove("data_stream_options");
        fit_index(template);
    }
    fit_index(body);
}

/// The settings and mappings of an index or template.
fn fit_index(body: &mut Map<String, Value>) {
    if let Some(Value::Object(settings)) = body.get_mut("settings") {
        fit_settings(settings);
        if let Some(Value::Object(index)) = settings.get_mut("index") {
            fit_settings(index);
        }
    }
    if let Some(mappings) = body.get_mut("mappings") {
        fit_mappings(mappings);
    }
}

fn fit_settings(settings: &mut Map<String, Value>) {
    settings.retain(|key, _| {
        let name = key.strip_prefix("index.").unwrap_or(key);
        !(matches!(name, "lifecycle" | "mode" | "lookup" | "mapping.source")
            || name.starts_with("lifecycle.")
            || name.starts_with("mapping.source."))
    });
}

fn fit_mappings(mappings: &mut Value) {
    match mappings {
        Value::Object(map) => {
            if let Some(Value::Object(source)) = map.get_mut("_source") {
                source.shift_remove("mode");
            }
            if map.get("type") == Some(&json!("flattened")) {
                map.retain(|key, _| key == "type");
                map.insert("type".to_owned(), json!("flat_object"));
            }
            map.values_mut().for_each(fit_mappings);
        }
        Value::Array(items) => items.iter_mut().for_each(fit_mappings),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opensearch_gets_what_it_takes() {
        let mut body = json!({
            "index_patterns": ["a-*"], "data_stream": {"hidden": true}, "priority": 200, "allow_auto_create": true,
            "template": {
                "lifecycle": {"data_retention": "30d"},
                "settings": {"index.lifecycle.name": "logs", "index": {"mode": "logsdb", "codec": "best_compression"}},
                "mappings": {"_source": {"mode": "synthetic"}, "properties": {"labels": {"type": "flattened", "depth_limit": 3}, "a": {"type": "keyword"}}},
            },
        });
        fit_to_opensearch(&mut body);
        assert_eq!(
            body,
            json!({
                "index_patterns": ["a-*"], "data_stream": {}, "priority": 200,
                "template": {
                    "settings": {"index": {"codec": "best_compression"}},
                    "mappings": {"_source": {}, "properties": {"labels": {"type": "flat_object"}, "a": {"type": "keyword"}}},
                },
            })
        );
    }
}
