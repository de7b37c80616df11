//! Mappings: which fields an index has and of what type. Read from Elasticsearch's JSON, extended by documents with new
//! fields, written back as JSON.
//!
//! Whoever keeps documents asks [`Mapping::admit`] before it keeps one; evaluation asks [`Mapping::field`] what a name means.

mod admit;
mod columns;
mod parse;
mod shown;
mod template;
mod types;
mod value;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

pub use admit::Misfit;
pub use columns::no_columns;
pub use types::Kind;
pub(crate) use value::{instant, ip_matches, whole_of};

use template::DynamicTemplate;

/// What an index knows of its fields.
#[derive(Clone, Debug)]
pub struct Mapping {
    root: ObjectField,
    templates: Vec<DynamicTemplate>,
    date_detection: bool,
    numeric_detection: bool,
    /// Top-level keys that are shown again and change nothing here, such as `_meta`.
    kept: Map<String, Value>,
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            root: ObjectField::default(),
            templates: Vec::new(),
            date_detection: true,
            numeric_detection: false,
            kept: Map::new(),
        }
    }
}

/// What happens to a field that the mapping does not know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dynamic {
    /// It is added.
    Add,
    /// It is kept in `_source` and cannot be searched.
    Ignore,
    /// The document is refused.
    Strict,
}

/// An object or a list of nested documents.
#[derive(Clone, Debug)]
pub(crate) struct ObjectField {
    pub(crate) dynamic: Option<Dynamic>,
    pub(crate) enabled: bool,
    pub(crate) nested: bool,
    /// Its own keys as they came, without `properties`.
    pub(crate) kept: Map<String, Value>,
    pub(crate) fields: BTreeMap<String, Node>,
}

impl Default for ObjectField {
    fn default() -> Self {
        Self {
            dynamic: None,
            enabled: true,
            nested: false,
            kept: Map::new(),
            fields: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Object(ObjectField),
    Leaf(Leaf),
}

/// A field with values.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) kind: Kind,
    /// `type` and all other keys as they came, without `fields`.
    pub(crate) kept: Map<String, Value>,
    pub(crate) fields: BTreeMap<String, Leaf>,
    pub(crate) indexed: bool,
    pub(crate) ignore_above: usize,
    pub(crate) ignore_malformed: bool,
    pub(crate) coerce: bool,
    pub(crate) format: Option<String>,
    /// Of a `constant_keyword`.
    pub(crate) constant: Option<Value>,
}

/// What a name in a request stands for.
#[derive(Clone, Copy, Debug)]
pub struct Field<'m> {
    leaf: &'m Leaf,
    /// Where its values stand in `_source`: that of the field above for `title.raw`.
    pub path_length: usize,
    /// A key within a `flattened` field.
    pub flattened_key: bool,
    /// It lies in a `nested` object.
    pub nested: bool,
}

impl<'m> Field<'m> {
    /// Its type.
    pub fn kind(&self) -> Kind {
        if self.leaf.kind == Kind::Flattened {
            Kind::Keyword
        } else {
            self.leaf.kind
        }
    }

    /// Whether values that are none of its type are kept without being searched.
    pub fn ignore_malformed(&self) -> bool {
        self.leaf.ignore_malformed
    }

    /// `type` as it is written.
    pub fn type_name(&self) -> &'m str {
        self.leaf.type_name()
    }

    /// Whether it can be searched.
    pub fn indexed(&self) -> bool {
        self.leaf.indexed
    }

    /// Longer keywords are not searchable.
    pub fn ignore_above(&self) -> usize {
        self.leaf.ignore_above
    }

    /// The date format, when one is set.
    pub fn format(&self) -> Option<&'m str> {
        self.leaf.format.as_deref()
    }

    /// The one value of a `constant_keyword`.
    pub fn constant(&self) -> Option<&'m Value> {
        self.leaf.constant.as_ref()
    }

    /// The whole of a `flattened` field.
    pub fn is_flattened(&self) -> bool {
        self.leaf.kind == Kind::Flattened
    }
}

impl Leaf {
    pub(crate) fn type_name(&self) -> &str {
        self.kept.get("type").and_then(Value::as_str).unwrap_or("keyword")
    }

    fn to_json(&self) -> Value {
        let mut shown = self.kept.clone();
        if !self.fields.is_empty() {
            let fields = self.fields.iter().map(|(name, leaf)| (name.clone(), leaf.to_json()));
            shown.insert("fields".to_owned(), Value::Object(fields.collect()));
        }
        Value::Object(shown)
    }
}

impl ObjectField {
    fn to_json(&self) -> Map<String, Value> {
        let mut shown = self.kept.clone();
        if !self.fields.is_empty() {
            let fields = self.fields.iter().map(|(name, node)| (name.clone(), node.to_json()));
            shown.insert("properties".to_owned(), Value::Object(fields.collect()));
        }
        shown
    }
}

impl Node {
    fn to_json(&self) -> Value {
        match self {
            Self::Object(object) => {
                let mut shown = object.to_json();
                // That it is an object is told where no fields do.
                if object.fields.is_empty() && !object.nested {
                    shown.shift_insert(0, "type".to_owned(), Value::from("object"));
                }
                Value::Object(shown)
            }
            Self::Leaf(leaf) => leaf.to_json(),
        }
    }
}

impl Mapping {
    /// Elasticsearch's JSON: fields by name, in alphabetical order.
    pub fn to_json(&self) -> Value {
        let mut shown = self.kept.clone();
        shown.extend(self.root.to_json());
        json!(shown)
    }

    /// What `name` stands for; `None` when there is no such field with values.
    pub fn field<'m>(&'m self, name: &str) -> Option<Field<'m>> {
        let mut object = &self.root;
        let mut nested = false;
        let mut start = 0;
        loop {
            let end = name[start..].find('.').map_or(name.len(), |dot| start + dot);
            match object.fields.get(&name[start..end])? {
                Node::Object(inner) => {
                    if end == name.len() || !inner.enabled {
                        return None;
                    }
                    nested |= inner.nested;
                    object = inner;
                    start = end + 1;
                }
                Node::Leaf(leaf) => return leaf_field(leaf, name, end, nested),
            }
        }
    }

    /// Whether `name` is an object with fields, and whether a nested one.
    pub fn object(&self, name: &str) -> Option<bool> {
        let mut object = &self.root;
        for part in name.split('.') {
            match object.fields.get(part)? {
                Node::Object(inner) => object = inner,
                Node::Leaf(_) => return None,
            }
        }
        Some(object.nested)
    }

    /// Full names of all fields with values, sub-fields included.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        collect_names(&self.root, &mut String::new(), &mut names);
        names
    }
}

fn leaf_field<'m>(leaf: &'m Leaf, name: &str, end: usize, nested: bool) -> Option<Field<'m>> {
    let found = |leaf: &'m Leaf, path_length, flattened_key| Field {
        leaf,
        path_length,
        flattened_key,
        nested,
    };
    if end == name.len() {
        return Some(found(leaf, end, false));
    }
    if leaf.kind == Kind::Flattened {
        return Some(found(leaf, name.len(), true));
    }
    let sub = &name[end + 1..];
    // `x.keyword` is `x` where that is a keyword already: what a client asks for who does not know the mapping.
    let same = (sub == "keyword" && leaf.kind == Kind::Keyword).then_some(leaf);
    let inner = leaf.fields.get(sub).or(same)?;
    Some(found(inner, end, false))
}

fn collect_names(object: &ObjectField, path: &mut String, names: &mut Vec<String>) {
    for (name, node) in &object.fields {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(name);
        match node {
            Node::Object(inner) if inner.enabled => collect_names(inner, path, names),
            Node::Object(_) => {}
            Node::Leaf(leaf) => {
                names.push(path.clone());
                names.extend(leaf.fields.keys().map(|sub| format!("{path}.{sub}")));
            }
        }
        path.truncate(length);
    }
}

#[cfg(test)]
mod tests;
