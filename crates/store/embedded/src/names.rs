//! Index names, and which of them are data streams.

use std::sync::Arc;
use std::time::Duration;

use query::mapping::Mapping;
use query::pattern;
use serde_json::Value;
use store::StoreError;

/// Names of these shapes are data streams without any template. Source: Elasticsearch, the built-in templates of the
/// data stream naming scheme.
const BUILT_IN: &[&str] = &["logs-*-*", "metrics-*-*", "traces-*-*", "synthetics-*-*"];

/// Checks a name that is about to be made. Source: Elasticsearch, create index, name rules.
pub(crate) fn check(name: &str) -> Result<(), String> {
    let refuse = |reason: &str| Err(format!("Invalid index name [{name}], {reason}"));
    if name.is_empty() || name == "." || name == ".." {
        return refuse("must not be empty, `.` or `..`");
    }
    if name.len() > 255 {
        return refuse("must not be longer than 255 bytes");
    }
    if name.starts_with(['-', '_', '+']) {
        return refuse("must not start with '_', '-', or '+'");
    }
    if name.chars().any(char::is_uppercase) {
        return refuse("must be lowercase");
    }
    if name.contains(['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':'])
        || name.chars().any(char::is_control)
    {
        return refuse(
            "must not contain the following characters ['\\', '/', '*', '?', '\"', '<', '>', '|', ' ', ',', '#', ':']",
        );
    }
    Ok(())
}

/// An index template, as far as stores care.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) name: String,
    pub(crate) patterns: Vec<String>,
    pub(crate) priority: i64,
    pub(crate) data_stream: bool,
    pub(crate) body: Value,
}

impl Template {
    pub(crate) fn parse(name: &str, body: Value) -> Result<Self, StoreError> {
        let patterns = match body.get("index_patterns") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many
                .iter()
                .filter_map(|item| item.as_str().map(ToOwned::to_owned))
                .collect(),
            _ => Vec::new(),
        };
        if patterns.is_empty() {
            return Err(StoreError::Unsupported(format!(
                "index template [{name}] needs [index_patterns]"
            )));
        }
        let priority = body.get("priority").and_then(Value::as_i64).unwrap_or(0);
        let data_stream = body.get("data_stream").is_some_and(Value::is_object);
        Ok(Self {
            name: name.to_owned(),
            patterns,
            priority,
            data_stream,
            body,
        })
    }

    fn fits(&self, index: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern::wildcard(pattern, index))
    }
}

/// The template that a new index of this name gets: the highest priority wins.
pub(crate) fn template_for<'a>(templates: &'a [Template], index: &str) -> Option<&'a Template> {
    templates
        .iter()
        .filter(|template| template.fits(index))
        .max_by_key(|template| template.priority)
}

/// The mapping that a template declares; `None` when it declares no field and is not strict.
pub(crate) fn mapping_of(template: &Template) -> Option<Arc<Mapping>> {
    let mappings = template.body.pointer("/template/mappings")?;
    // Only mappings that can be read are kept.
    let mapping = Mapping::parse(mappings).ok()?;
    (!mapping.names().is_empty() || mappings.get("dynamic").is_some()).then(|| Arc::new(mapping))
}

/// `template.lifecycle.data_retention`, such as `30d`. Source: Elasticsearch, data stream lifecycle.
pub(crate) fn retention_of(template: &Template) -> Option<Duration> {
    let text = template.body.pointer("/template/lifecycle/data_retention")?.as_str()?;
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let seconds = match &text[digits..] {
        "d" => 86_400,
        "h" => 3600,
        "m" => 60,
        "s" => 1,
        "ms" => return Some(Duration::from_millis(number)),
        _ => return None,
    };
    Some(Duration::from_secs(number.saturating_mul(seconds)))
}

/// Whether a new index of this name is a data stream, and by which template.
pub(crate) fn data_stream_template(templates: &[Template], index: &str) -> Option<String> {
    if let Some(template) = template_for(templates, index) {
        template.data_stream.then(|| template.name.clone())
    } else {
        let built_in = BUILT_IN.iter().find(|pattern| pattern::wildcard(pattern, index))?;
        Some(built_in.split('-').next().unwrap_or(built_in).to_owned())
    }
}

/// `.ds-logs-x-default-2026.01.02-000001`.
pub(crate) fn backing_index(stream: &str, now: jiff::Timestamp, generation: u64) -> String {
    format!(".ds-{stream}-{}-{generation:06}", now.strftime("%Y.%m.%d"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_checked() {
        for (name, good) in [
            ("logs-a-b", true),
            (".fleet-agents", true),
            ("Upper", false),
            ("_x", false),
            ("a b", false),
            ("", false),
            ("a/b", false),
        ] {
            assert_eq!(check(name).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn templates_decide_what_is_a_data_stream() {
        let template = |name: &str, body: Value| Template::parse(name, body).unwrap();
        let templates = [
            template("plain", json!({"index_patterns": ["logs-plain-*"], "priority": 10})),
            template("mine", json!({"index_patterns": "mine-*", "data_stream": {}})),
        ];
        assert_eq!(
            data_stream_template(&templates, "logs-x-default"),
            Some("logs".to_owned())
        );
        assert_eq!(data_stream_template(&templates, "logs-plain-a"), None);
        assert_eq!(data_stream_template(&templates, "mine-a"), Some("mine".to_owned()));
        assert_eq!(data_stream_template(&templates, ".fleet-agents"), None);
    }
}
