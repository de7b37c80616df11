//! `dynamic_templates`: what a new field becomes.

use regex::Regex;
use serde_json::{Map, Value};

use super::parse::read_leaf;
use super::{Leaf, types};
use crate::dsl::QueryError;
use crate::pattern;

/// One rule; the first that fits counts.
#[derive(Clone, Debug)]
pub(super) struct DynamicTemplate {
    types: Vec<String>,
    names: Names,
    paths: Names,
    mapping: Map<String, Value>,
}

#[derive(Clone, Debug, Default)]
struct Names {
    fits: Vec<String>,
    except: Vec<String>,
    expressions: Option<Regex>,
}

impl DynamicTemplate {
    pub(super) fn parse_all(value: &Value) -> Result<Vec<Self>, QueryError> {
        let Value::Array(items) = value else {
            return Err(wrong(
                "Dynamic template syntax error. An array of named objects is expected.",
            ));
        };
        items.iter().map(Self::parse).collect()
    }

    fn parse(item: &Value) -> Result<Self, QueryError> {
        let named = item
            .as_object()
            .filter(|map| map.len() == 1)
            .and_then(|map| map.iter().next());
        let Some((name, Value::Object(body))) = named else {
            return Err(wrong("A dynamic template must be defined with a name"));
        };
        let list = |key: &str| match body.get(key) {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let known = [
            "match",
            "unmatch",
            "path_match",
            "path_unmatch",
            "match_mapping_type",
            "unmatch_mapping_type",
            "match_pattern",
            "mapping",
            "runtime",
        ];
        if let Some(key) = body.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(wrong(format!("Illegal dynamic template parameter: [{key}]")));
        }
        let expressions = match body.get("match_pattern").and_then(Value::as_str) {
            Some("regex") => {
                let text = list("match").join("|");
                let regex = crate::evaluate::anchored(&text);
                Some(
                    regex
                        .ok_or_else(|| wrong(format!("dynamic template [{name}] has the wrong expression [{text}]")))?,
                )
            }
            _ => None,
        };
        Ok(Self {
            types: list("match_mapping_type"),
            names: Names {
                fits: list("match"),
                except: list("unmatch"),
                expressions,
            },
            paths: Names {
                fits: list("path_match"),
                except: list("path_unmatch"),
                expressions: None,
            },
            mapping: body
                .get("mapping")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
        })
    }

    fn fits(&self, path: &str, kind: &str) -> bool {
        let name = path.rsplit('.').next().unwrap_or(path);
        let by_type = self.types.is_empty() || self.types.iter().any(|known| known == "*" || known == kind);
        by_type && self.names.fit(name) && self.paths.fit(path)
    }

    /// The `type` that the rule gives, `{dynamic_type}` filled in; objects have `object` or `nested`.
    fn type_for<'a>(&'a self, kind: &'a str) -> &'a str {
        match self.mapping.get("type").and_then(Value::as_str) {
            Some("{dynamic_type}") => kind,
            Some(named) => named,
            None => default_type(kind),
        }
    }

    fn leaf(&self, path: &str, kind: &str) -> Option<Leaf> {
        let name = path.rsplit('.').next().unwrap_or(path);
        let fill = |value: &Value| match value {
            Value::String(text) => Value::from(text.replace("{name}", name).replace("{dynamic_type}", kind)),
            other => other.clone(),
        };
        let mapping: Map<String, Value> = self
            .mapping
            .iter()
            .map(|(key, value)| (key.clone(), fill(value)))
            .collect();
        read_leaf(name, self.type_for(kind), &mapping).ok()
    }
}

impl Names {
    fn fit(&self, name: &str) -> bool {
        let fits = match &self.expressions {
            Some(regex) => regex.is_match(name),
            None => self.fits.is_empty() || self.fits.iter().any(|one| pattern::wildcard(one, name)),
        };
        fits && !self.except.iter().any(|one| pattern::wildcard(one, name))
    }
}

/// What a new field of this dynamic type (`string`, `long`, ..) at `path` becomes by the rules; `None` without a rule.
pub(super) fn leaf_by_rules(rules: &[DynamicTemplate], path: &str, kind: &str) -> Option<Leaf> {
    let rule = rules.iter().find(|rule| rule.fits(path, kind))?;
    rule.leaf(path, kind)
}

/// Whether a rule makes the object at `path` a single field, such as `flattened`; and which.
pub(super) fn object_by_rules(rules: &[DynamicTemplate], path: &str) -> Option<Leaf> {
    let rule = rules.iter().find(|rule| rule.fits(path, "object"))?;
    match rule.type_for("object") {
        "object" | "nested" => None,
        kind => types::kind_of(kind).and_then(|_| rule.leaf(path, "object")),
    }
}

fn default_type(kind: &str) -> &str {
    match kind {
        "string" => "text",
        "double" => "float",
        other => other,
    }
}

fn wrong(message: impl Into<String>) -> QueryError {
    QueryError {
        kind: "mapper_parsing_exception",
        message: message.into(),
    }
}
