//! A document is checked against the mapping, and new fields are found.

use serde_json::{Map, Value};

use super::parse::{java, read_leaf};
use super::template::{leaf_by_rules, object_by_rules};
use super::{Dynamic, Kind, Leaf, Mapping, Node, ObjectField, value};
use crate::date_math;

/// Fields that one index may have. Source: Elasticsearch, `index.mapping.total_fields.limit`.
const MOST_FIELDS: usize = 1000;
/// Fields may lie within fields this deep. Source: Elasticsearch, `index.mapping.depth.limit`.
const DEEPEST: usize = 20;

/// Why a document does not fit.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Misfit {
    /// A value does not fit its field: `document_parsing_exception`.
    #[error("{0}")]
    Value(String),
    /// A field is not known and may not be added: `strict_dynamic_mapping_exception`.
    #[error("{0}")]
    Strict(String),
}

impl Mapping {
    /// Checks a document. The mapping with the fields that it adds, when it adds some.
    ///
    /// # Errors
    /// Names the first value that does not fit.
    pub fn admit(&self, id: &str, source: &Value) -> Result<Option<Self>, Misfit> {
        let Value::Object(map) = source else {
            return Err(Misfit::Value("a document must be a JSON object".to_owned()));
        };
        let mut admission = Admission {
            mapping: self,
            id,
            extended: None,
            path: String::new(),
            depth: 0,
        };
        admission.object(map, Some(&self.root), Dynamic::Add)?;
        let Some(extended) = admission.extended else {
            return Ok(None);
        };
        let count = extended.names().len();
        if count > MOST_FIELDS {
            return Err(Misfit::Value(format!(
                "Limit of total fields [{MOST_FIELDS}] has been exceeded while adding new fields"
            )));
        }
        Ok(Some(extended))
    }
}

struct Admission<'a> {
    mapping: &'a Mapping,
    id: &'a str,
    /// With new fields.
    extended: Option<Mapping>,
    path: String,
    depth: usize,
}

impl Admission<'_> {
    fn object(&mut self, map: &Map<String, Value>, known: Option<&ObjectField>, outer: Dynamic) -> Result<(), Misfit> {
        let dynamic = known.and_then(|object| object.dynamic).unwrap_or(outer);
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Misfit::Value(format!(
                "Limit of mapping depth [{DEEPEST}] has been exceeded"
            )));
        }
        for (key, value) in map {
            self.entry(key, value, known, dynamic)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn entry(&mut self, key: &str, value: &Value, known: Option<&ObjectField>, dynamic: Dynamic) -> Result<(), Misfit> {
        let (first, rest) = key
            .split_once('.')
            .map_or((key, None), |(first, rest)| (first, Some(rest)));
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(first);
        let node = known.and_then(|object| object.fields.get(first));
        let done = match (rest, node) {
            (Some(rest), Some(Node::Object(inner))) if inner.enabled => {
                self.entry(rest, value, Some(inner), inner.dynamic.unwrap_or(dynamic))
            }
            (Some(rest), None) => self.entry(rest, value, None, dynamic),
            (Some(_), _) => Ok(()),
            (None, Some(node)) => self.known(value, node, dynamic),
            (None, None) => self.unknown(value, dynamic),
        };
        self.path.truncate(length);
        done
    }

    fn known(&mut self, value: &Value, node: &Node, dynamic: Dynamic) -> Result<(), Misfit> {
        match node {
            Node::Object(object) if !object.enabled => Ok(()),
            Node::Object(object) => self.known_object(value, object, dynamic),
            Node::Leaf(leaf) => self.leaf(value, leaf),
        }
    }

    fn known_object(&mut self, value: &Value, object: &ObjectField, dynamic: Dynamic) -> Result<(), Misfit> {
        match value {
            Value::Null => Ok(()),
            Value::Object(map) => self.object(map, Some(object), dynamic),
            Value::Array(items) => items
                .iter()
                .try_for_each(|item| self.known_object(item, object, dynamic)),
            _ => {
                let name = self.path.rsplit('.').next().unwrap_or(&self.path);
                Err(Misfit::Value(format!(
                    "object mapping for [{}] tried to parse field [{name}] as object, but found a concrete value",
                    self.path
                )))
            }
        }
    }

    fn leaf(&self, value: &Value, leaf: &Leaf) -> Result<(), Misfit> {
        match value {
            Value::Null => Ok(()),
            Value::Array(items) if leaf.kind != Kind::Stored => items.iter().try_for_each(|item| self.leaf(item, leaf)),
            value => match value::check(leaf, value) {
                Ok(()) => Ok(()),
                Err(_) if leaf.ignore_malformed && !value.is_object() => Ok(()),
                Err(_) => Err(Misfit::Value(format!(
                    "failed to parse field [{}] of type [{}] in document with id '{}'. Preview of field's value: '{}'",
                    self.path,
                    leaf.type_name(),
                    self.id,
                    java(value)
                ))),
            },
        }
    }

    fn unknown(&mut self, value: &Value, dynamic: Dynamic) -> Result<(), Misfit> {
        if is_empty(value) {
            return Ok(());
        }
        match dynamic {
            Dynamic::Ignore => Ok(()),
            Dynamic::Strict => {
                let (outer, name) = self.path.rsplit_once('.').unwrap_or(("_doc", &self.path));
                Err(Misfit::Strict(format!(
                    "mapping set to strict, dynamic introduction of [{name}] within [{outer}] is not allowed"
                )))
            }
            Dynamic::Add => self.add(value),
        }
    }

    fn add(&mut self, value: &Value) -> Result<(), Misfit> {
        match value {
            Value::Null => Ok(()),
            Value::Object(map) => {
                if let Some(leaf) = object_by_rules(&self.mapping.templates, &self.path) {
                    return self.insert(Node::Leaf(leaf));
                }
                self.insert(Node::Object(ObjectField::default()))?;
                self.object(map, None, Dynamic::Add)
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.add(item)),
            scalar => {
                let leaf = self.inferred(scalar);
                self.insert(Node::Leaf(leaf))
            }
        }
    }

    fn inferred(&self, value: &Value) -> Leaf {
        let (kind, format) = self.dynamic_type(value);
        if let Some(leaf) = leaf_by_rules(&self.mapping.templates, &self.path, kind) {
            return leaf;
        }
        let mut body = Map::new();
        let name = match kind {
            "string" => {
                let keyword = serde_json::json!({ "keyword": { "type": "keyword", "ignore_above": 256 } });
                body.insert("fields".to_owned(), keyword);
                "text"
            }
            "double" => "float",
            "date" => {
                if let Some(format) = format {
                    body.insert("format".to_owned(), Value::from(format));
                }
                "date"
            }
            other => other,
        };
        read_leaf(&self.path, name, &body).expect("the types that are inferred are known")
    }

    /// The dynamic type of a value, and the format of a date that is not ISO 8601.
    fn dynamic_type(&self, value: &Value) -> (&'static str, Option<&'static str>) {
        match value {
            Value::Bool(_) => ("boolean", None),
            Value::Number(number) if number.is_f64() => ("double", None),
            Value::Number(_) => ("long", None),
            Value::String(text) => self.text_type(text),
            _ => ("string", None),
        }
    }

    fn text_type(&self, text: &str) -> (&'static str, Option<&'static str>) {
        // Source: Elasticsearch, dynamic field mapping, `dynamic_date_formats`.
        const SLASHED: &str = "yyyy/MM/dd HH:mm:ss||yyyy/MM/dd||epoch_millis";
        if self.mapping.date_detection && text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(' ') {
            let iso = text.len() >= 8 && text.contains('-');
            if iso && date_math::parse(text, &jiff::tz::TimeZone::UTC, false).is_some() {
                return ("date", None);
            }
        }
        if self.mapping.date_detection
            && text.contains('/')
            && date_math::parse_format(text, "yyyy/MM/dd HH:mm:ss||yyyy/MM/dd", &jiff::tz::TimeZone::UTC, false).is_ok()
        {
            return ("date", Some(SLASHED));
        }
        if self.mapping.numeric_detection {
            if text.parse::<i64>().is_ok() {
                return ("long", None);
            }
            if text.parse::<f64>().is_ok_and(f64::is_finite) {
                return ("double", None);
            }
        }
        ("string", None)
    }

    /// Puts a new field at the present path; what another value of the document made it must fit.
    fn insert(&mut self, node: Node) -> Result<(), Misfit> {
        let extended = self.extended.get_or_insert_with(|| self.mapping.clone());
        let mut object = &mut extended.root;
        let (above, name) = self
            .path
            .rsplit_once('.')
            .map_or((None, self.path.as_str()), |(a, n)| (Some(a), n));
        for part in above.into_iter().flat_map(|above| above.split('.')) {
            let entry = object
                .fields
                .entry(part.to_owned())
                .or_insert_with(|| Node::Object(ObjectField::default()));
            object = match entry {
                Node::Object(inner) => inner,
                // It became a single field by a rule: its keys are its own business.
                Node::Leaf(_) => return Ok(()),
            };
        }
        match (object.fields.get(name), node) {
            (None, node) => {
                object.fields.insert(name.to_owned(), node);
                Ok(())
            }
            (Some(Node::Object(_)), Node::Object(_)) => Ok(()),
            (Some(Node::Leaf(known)), Node::Leaf(leaf)) if same_family(known.kind, leaf.kind) => Ok(()),
            (Some(Node::Leaf(known)), _) => Err(Misfit::Value(format!(
                "failed to parse field [{}] of type [{}] in document with id '{}'",
                self.path,
                known.type_name(),
                self.id
            ))),
            (Some(Node::Object(_)), Node::Leaf(_)) => Err(Misfit::Value(format!(
                "object mapping for [{}] tried to parse field [{name}] as object, but found a concrete value",
                self.path
            ))),
        }
    }
}

/// Several values of one new field need not have the same type where the first takes the others.
fn same_family(first: Kind, other: Kind) -> bool {
    let number = |kind| matches!(kind, Kind::Whole { .. } | Kind::Fraction);
    first == other || number(first) && number(other) || matches!(first, Kind::Text | Kind::Keyword)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().all(is_empty),
        _ => false,
    }
}
