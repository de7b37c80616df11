//! Elasticsearch's JSON becomes a mapping; one mapping is laid over another.

use serde_json::{Map, Value};

use super::template::DynamicTemplate;
use super::types::{Kind, PARAMETERS, kind_of};
use super::{Dynamic, Leaf, Mapping, Node, ObjectField};
use crate::dsl::QueryError;

/// Fields may lie within fields this deep. Source: Elasticsearch, `index.mapping.depth.limit`.
const DEEPEST: usize = 20;

/// Top-level keys beside `properties`, `dynamic` and their like.
const ROOT_KEYS: &[&str] = &[
    "_data_stream_timestamp",
    "_doc_count",
    "_field_names",
    "_meta",
    "_routing",
    "_size",
    "_source",
    "dynamic_date_formats",
    "enabled",
    "runtime",
    "subobjects",
];

impl Mapping {
    /// Reads `mappings` of a create-index body or a template.
    ///
    /// # Errors
    /// `mapper_parsing_exception` that names what is wrong.
    pub fn parse(body: &Value) -> Result<Self, QueryError> {
        let mut mapping = Self::default();
        let map = match body {
            Value::Null => return Ok(mapping),
            Value::Object(map) => map,
            _ => return Err(wrong("Failed to parse mapping: the mapping must be an object")),
        };
        // The form of old clients: one type name around it.
        if let (Some(inner), 1) = (map.get("_doc"), map.len()) {
            return Self::parse(inner);
        }
        for (key, value) in map {
            match key.as_str() {
                "properties" => {}
                "dynamic" => {
                    mapping.root.dynamic = Some(dynamic(value)?);
                    mapping.root.kept.insert("dynamic".to_owned(), shown_dynamic(value));
                }
                "date_detection" => mapping.date_detection = kept_flag(&mut mapping.root.kept, key, value)?,
                "numeric_detection" => mapping.numeric_detection = kept_flag(&mut mapping.root.kept, key, value)?,
                "dynamic_templates" => {
                    mapping.templates = DynamicTemplate::parse_all(value)?;
                    mapping.root.kept.insert(key.clone(), value.clone());
                }
                known if ROOT_KEYS.contains(&known) => {
                    mapping.kept.insert(key.clone(), value.clone());
                }
                _ => {
                    return Err(wrong(format!(
                        "Root mapping definition has unsupported parameters:  [{key} : {}]",
                        java(value)
                    )));
                }
            }
        }
        if let Some(properties) = map.get("properties") {
            read_properties(properties, &mut mapping.root, 0)?;
        }
        Ok(mapping)
    }

    /// Lays `other` over this one.
    ///
    /// # Errors
    /// `illegal_argument_exception` when a field would change its type.
    pub fn merge(&mut self, other: Self) -> Result<(), QueryError> {
        merge_objects(&mut self.root, other.root, "")?;
        if !other.templates.is_empty() {
            self.templates = other.templates;
        }
        self.date_detection = self
            .root
            .kept
            .get("date_detection")
            .and_then(Value::as_bool)
            .unwrap_or(true);
        self.numeric_detection = self
            .root
            .kept
            .get("numeric_detection")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        self.kept.extend(other.kept);
        Ok(())
    }
}

fn wrong(message: impl Into<String>) -> QueryError {
    QueryError {
        kind: "mapper_parsing_exception",
        message: message.into(),
    }
}

fn dynamic(value: &Value) -> Result<Dynamic, QueryError> {
    match value {
        Value::Bool(true) => Ok(Dynamic::Add),
        Value::Bool(false) => Ok(Dynamic::Ignore),
        Value::String(text) => match text.as_str() {
            "true" | "runtime" => Ok(Dynamic::Add),
            "false" => Ok(Dynamic::Ignore),
            "strict" => Ok(Dynamic::Strict),
            _ => Err(wrong(format!("No value of [dynamic] is [{text}]"))),
        },
        _ => Err(wrong("[dynamic] must be true, false, `strict` or `runtime`")),
    }
}

/// The original writes flags of `dynamic` as texts.
fn shown_dynamic(value: &Value) -> Value {
    value
        .as_bool()
        .map_or_else(|| value.clone(), |flag| Value::from(flag.to_string()))
}

fn kept_flag(kept: &mut Map<String, Value>, key: &str, value: &Value) -> Result<bool, QueryError> {
    let flag = match value {
        Value::Bool(flag) => *flag,
        Value::String(text) if text == "true" || text == "false" => text == "true",
        _ => return Err(wrong(format!("[{key}] must be true or false"))),
    };
    kept.insert(key.to_owned(), Value::Bool(flag));
    Ok(flag)
}

fn read_properties(properties: &Value, into: &mut ObjectField, depth: usize) -> Result<(), QueryError> {
    if depth > DEEPEST {
        return Err(wrong(format!("Limit of mapping depth [{DEEPEST}] has been exceeded")));
    }
    let Value::Object(properties) = properties else {
        return Err(wrong("Expected map for property [properties]"));
    };
    for (name, body) in properties {
        if name.is_empty() || name.split('.').any(|part| part.trim().is_empty()) {
            return Err(wrong("field name cannot be an empty string"));
        }
        let node = read_node(name, body, depth)?;
        insert_dotted(into, name, node)?;
    }
    Ok(())
}

/// A name with dots stands for objects within objects.
fn insert_dotted(into: &mut ObjectField, name: &str, node: Node) -> Result<(), QueryError> {
    match name.split_once('.') {
        None => match (into.fields.get_mut(name), node) {
            (Some(Node::Object(present)), Node::Object(added)) => merge_objects(present, added, name),
            (_, node) => {
                into.fields.insert(name.to_owned(), node);
                Ok(())
            }
        },
        Some((first, rest)) => {
            let entry = into
                .fields
                .entry(first.to_owned())
                .or_insert_with(|| Node::Object(ObjectField::default()));
            match entry {
                Node::Object(object) => insert_dotted(object, rest, node),
                Node::Leaf(_) => Err(wrong(format!("[{first}] is a field and cannot hold [{rest}]"))),
            }
        }
    }
}

fn read_node(name: &str, body: &Value, depth: usize) -> Result<Node, QueryError> {
    let Value::Object(map) = body else {
        return Err(wrong(format!(
            "Expected map for property [fields] on field [{name}] but got a class java.lang.String"
        )));
    };
    let kind = map.get("type").and_then(Value::as_str);
    match kind {
        Some("object" | "nested" | "passthrough") => read_object(name, map, depth).map(Node::Object),
        None if map.contains_key("properties") || map.keys().all(|key| OBJECT_KEYS.contains(&key.as_str())) => {
            read_object(name, map, depth).map(Node::Object)
        }
        None => Err(wrong(format!("No type specified for field [{name}]"))),
        Some(kind) => read_leaf(name, kind, map).map(Node::Leaf),
    }
}

const OBJECT_KEYS: &[&str] = &[
    "type",
    "dynamic",
    "enabled",
    "properties",
    "subobjects",
    "include_in_parent",
    "include_in_root",
    "priority",
    "time_series_dimension",
    "synthetic_source_keep",
];

fn read_object(name: &str, map: &Map<String, Value>, depth: usize) -> Result<ObjectField, QueryError> {
    let mut object = ObjectField::default();
    for (key, value) in map {
        match key.as_str() {
            "properties" => read_properties(value, &mut object, depth + 1)?,
            "dynamic" => {
                object.dynamic = Some(dynamic(value)?);
                object.kept.insert(key.clone(), shown_dynamic(value));
            }
            "enabled" => object.enabled = kept_flag(&mut object.kept, key, value)?,
            "type" => {
                object.nested = value == "nested";
                if object.nested {
                    object.kept.insert(key.clone(), value.clone());
                }
            }
            known if OBJECT_KEYS.contains(&known) => {
                object.kept.insert(key.clone(), value.clone());
            }
            _ => return Err(unknown_parameter(name, "object", key)),
        }
    }
    Ok(object)
}

fn unknown_parameter(name: &str, kind: &str, key: &str) -> QueryError {
    wrong(format!("unknown parameter [{key}] on mapper [{name}] of type [{kind}]"))
}

pub(super) fn read_leaf(name: &str, kind: &str, map: &Map<String, Value>) -> Result<Leaf, QueryError> {
    let Some(known) = kind_of(kind) else {
        return Err(wrong(format!(
            "The mapper type [{kind}] declared on field [{name}] does not exist. It might have been created within a future version or requires a plugin to be installed. Check the documentation."
        )));
    };
    let mut leaf = Leaf {
        kind: known,
        kept: Map::from_iter([("type".to_owned(), Value::from(kind))]),
        fields: std::collections::BTreeMap::new(),
        indexed: true,
        ignore_above: usize::MAX,
        ignore_malformed: false,
        coerce: true,
        format: None,
        constant: None,
    };
    for (key, value) in map {
        if !PARAMETERS.contains(&key.as_str()) {
            return Err(unknown_parameter(name, kind, key));
        }
        read_parameter(name, key, value, &mut leaf)?;
    }
    if leaf.kind == Kind::Keyword && kind == "constant_keyword" {
        leaf.constant = map.get("value").cloned();
    }
    Ok(leaf)
}

fn read_parameter(name: &str, key: &str, value: &Value, leaf: &mut Leaf) -> Result<(), QueryError> {
    match key {
        "type" => return Ok(()),
        "fields" => return read_sub_fields(name, value, leaf),
        "index" => leaf.indexed = kept_flag(&mut leaf.kept, key, value)?,
        "ignore_malformed" => leaf.ignore_malformed = kept_flag(&mut leaf.kept, key, value)?,
        "coerce" => leaf.coerce = kept_flag(&mut leaf.kept, key, value)?,
        "ignore_above" => {
            let most = value.as_u64().and_then(|most| usize::try_from(most).ok());
            leaf.ignore_above = most.ok_or_else(|| wrong(format!("[ignore_above] of [{name}] must be a number")))?;
        }
        "format" => {
            let format = value.as_str();
            leaf.format = Some(
                format
                    .ok_or_else(|| wrong(format!("[format] of [{name}] must be a text")))?
                    .to_owned(),
            );
        }
        _ => {}
    }
    leaf.kept.entry(key).or_insert_with(|| value.clone());
    Ok(())
}

fn read_sub_fields(name: &str, value: &Value, leaf: &mut Leaf) -> Result<(), QueryError> {
    let Value::Object(fields) = value else {
        return Err(wrong(format!("[fields] of [{name}] must be an object")));
    };
    for (sub, body) in fields {
        let Some(map) = body.as_object() else {
            return Err(wrong(format!("[fields] of [{name}] holds [{sub}], which is no object")));
        };
        let kind = map.get("type").and_then(Value::as_str);
        let kind = kind.ok_or_else(|| wrong(format!("No type specified for field [{sub}]")))?;
        leaf.fields.insert(sub.clone(), read_leaf(sub, kind, map)?);
    }
    Ok(())
}

fn merge_objects(present: &mut ObjectField, added: ObjectField, path: &str) -> Result<(), QueryError> {
    if added.dynamic.is_some() {
        present.dynamic = added.dynamic;
    }
    if added.nested != present.nested && !path.is_empty() {
        return Err(QueryError::argument(format!(
            "can't merge a non-nested mapping [{path}] with a nested mapping"
        )));
    }
    present.kept.extend(added.kept);
    for (name, node) in added.fields {
        let full = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        match (present.fields.get_mut(&name), node) {
            (None, node) => {
                present.fields.insert(name, node);
            }
            (Some(Node::Object(present)), Node::Object(added)) => merge_objects(present, added, &full)?,
            (Some(Node::Leaf(present)), Node::Leaf(added)) => merge_leaves(present, added, &full)?,
            (Some(Node::Object(_)), Node::Leaf(_)) => {
                return Err(QueryError::argument(format!(
                    "can't merge a non object mapping [{full}] with an object mapping"
                )));
            }
            (Some(Node::Leaf(leaf)), Node::Object(_)) => {
                let kind = leaf.type_name();
                return Err(QueryError::argument(format!(
                    "can't merge a non-object mapping [{full}] of type [{kind}] with an object mapping"
                )));
            }
        }
    }
    Ok(())
}

fn merge_leaves(present: &mut Leaf, added: Leaf, path: &str) -> Result<(), QueryError> {
    if present.type_name() != added.type_name() {
        return Err(QueryError::argument(format!(
            "mapper [{path}] cannot be changed from type [{}] to [{}]",
            present.type_name(),
            added.type_name()
        )));
    }
    let mut fields = std::mem::take(&mut present.fields);
    for (name, leaf) in added.fields.clone() {
        match fields.get_mut(&name) {
            Some(known) => merge_leaves(known, leaf, &format!("{path}.{name}"))?,
            None => {
                fields.insert(name, leaf);
            }
        }
    }
    *present = Leaf { fields, ..added };
    Ok(())
}

/// A value as the original prints it in its messages.
pub(super) fn java(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            let parts: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}={}", java(value)))
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().map(java).collect();
            format!("[{}]", parts.join(", "))
        }
        other => other.to_string(),
    }
}
