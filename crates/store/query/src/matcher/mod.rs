//! A query made ready to be asked about many documents: bounds are resolved, expressions compiled, words split.
//!
//! With a [`Mapping`] fields are compared by their types, as Elasticsearch does it; without one strings count as keywords,
//! `match` and its relatives compare words, and dates are recognised by their shape.

mod compile;
mod fields;
mod loose;
mod rows;
mod score;
mod text;
mod typed;

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::dsl::{Query, QueryError, ScoreMode};
use crate::evaluate::DocumentMeta;
use crate::field;
use crate::functions::ScoreFunctions;
use crate::mapping::Mapping;
use crate::pattern;

pub use fields::{FieldNames, field_names};
pub use rows::{Columns, Rows};
pub use score::Statistics;

use loose::LooseTest;
use text::TextTest;
use typed::ValueTest;
pub(crate) use typed::millis_of;

/// Whether a word is at most so many changes away from another.
pub(crate) fn is_near(wanted: &str, word: &str, distance: usize) -> bool {
    let fuzzy = text::Fuzzy {
        word: wanted.to_owned(),
        distance,
        prefix: 0,
    };
    fuzzy.fits(word)
}

/// Where a matcher finds a document's values.
pub trait Document {
    /// Calls `each` with every value (never an array) at a field's full name; objects count as one value.
    fn visit(&self, path: &str, each: &mut dyn FnMut(&Value));

    /// Calls `each` with the full name and value of every leaf.
    fn visit_all(&self, each: &mut dyn FnMut(&str, &Value));
}

impl Document for Value {
    fn visit(&self, path: &str, each: &mut dyn FnMut(&Value)) {
        field::visit(self, path, &mut |value| each(value));
    }

    fn visit_all(&self, each: &mut dyn FnMut(&str, &Value)) {
        field::visit_all(self, &mut |name, value| each(name, value));
    }
}

/// A query, ready.
#[derive(Debug)]
pub struct Matcher {
    root: Node,
}

#[derive(Debug)]
enum Node {
    All,
    Nothing,
    Bool {
        must: Vec<Node>,
        filter: Vec<Node>,
        should: Vec<Node>,
        must_not: Vec<Node>,
        minimum: usize,
    },
    /// Any of the fields passes its test; the best one scores.
    Fields(Vec<FieldTest>),
    Ids(HashSet<String>),
    /// `dis_max`: the best one scores, and the others by a share.
    Best(Vec<Node>, f32),
    Constant(Box<Node>, f32),
    Weighted(Box<Node>, f32),
    /// `boosting`: what also matches the second scores less.
    Demoted(Box<Node>, Box<Node>, f32),
    Nested {
        path: String,
        inner: Box<Node>,
        mode: ScoreMode,
    },
    /// `function_score`: each function with its filter.
    Scored {
        inner: Box<Node>,
        filters: Vec<Option<Node>>,
        functions: Box<ScoreFunctions>,
        now: Option<Timestamp>,
    },
}

#[derive(Debug)]
struct FieldTest {
    at: At,
    test: Test,
}

/// Where the values of a test come from.
#[derive(Debug)]
enum At {
    Id,
    SeqNo,
    Index,
    Path(String),
    /// `x.keyword`: itself, else `x`.
    Either(String, String),
    /// All fields that fit a pattern.
    Names(String),
}

#[derive(Debug)]
enum Test {
    Loose(LooseTest),
    Value(ValueTest),
    Text(TextTest),
}

impl Matcher {
    /// Makes a query ready. `now` is what date math counts from; without it a range with `now` matches nothing.
    ///
    /// # Errors
    /// With a mapping: a value that does not fit the type of its field, as `query_shard_exception`.
    pub fn compile(query: &Query, mapping: Option<&Mapping>, now: Option<Timestamp>) -> Result<Self, QueryError> {
        let root = compile::Compiler {
            mapping,
            now,
            nested: None,
        }
        .node(query)?;
        Ok(Self { root })
    }

    /// Whether the document matches.
    pub fn holds(&self, document: &dyn Document, meta: &DocumentMeta<'_>) -> bool {
        holds(&self.root, document, meta)
    }
}

fn holds(node: &Node, document: &dyn Document, meta: &DocumentMeta<'_>) -> bool {
    match node {
        Node::All => true,
        Node::Nothing => false,
        Node::Bool {
            must,
            filter,
            should,
            must_not,
            minimum,
        } => {
            let one = |clause: &Node| holds(clause, document, meta);
            must.iter().chain(filter).all(one)
                && !must_not.iter().any(one)
                && (*minimum == 0 || should.iter().filter(|clause| one(clause)).take(*minimum).count() >= *minimum)
        }
        Node::Fields(tests) => tests.iter().any(|test| test.passes(document, meta)),
        Node::Ids(ids) => ids.contains(meta.id),
        Node::Best(nodes, _) => nodes.iter().any(|node| holds(node, document, meta)),
        Node::Constant(inner, _) | Node::Weighted(inner, _) | Node::Demoted(inner, ..) | Node::Scored { inner, .. } => {
            holds(inner, document, meta)
        }
        Node::Nested { path, inner, .. } => {
            let mut found = false;
            document.visit(path, &mut |item| {
                found = found || item.is_object() && holds(inner, &Below { path, item }, meta);
            });
            found
        }
    }
}

/// One nested object, seen under its full name.
struct Below<'a> {
    path: &'a str,
    item: &'a Value,
}

impl Document for Below<'_> {
    fn visit(&self, path: &str, each: &mut dyn FnMut(&Value)) {
        if let Some(rest) = path.strip_prefix(self.path).and_then(|rest| rest.strip_prefix('.')) {
            field::visit(self.item, rest, &mut |value| each(value));
        }
    }

    fn visit_all(&self, each: &mut dyn FnMut(&str, &Value)) {
        field::visit_all(self.item, &mut |name, value| {
            each(&format!("{}.{name}", self.path), value);
        });
    }
}

impl FieldTest {
    fn passes(&self, document: &dyn Document, meta: &DocumentMeta<'_>) -> bool {
        match &self.test {
            Test::Text(test) => test.passes(&self.texts(document)),
            Test::Value(test) => self.any(document, meta, &mut |value| test.passes(value)),
            Test::Loose(test) => self.any(document, meta, &mut |value| test.passes(value)),
        }
    }

    /// The texts of a text field, numbers and flags included.
    fn texts(&self, document: &dyn Document) -> Vec<String> {
        let mut texts = Vec::new();
        if let At::Path(path) = &self.at {
            document.visit(path, &mut |value| texts.extend(crate::parse::scalar_text(value)));
        }
        texts
    }

    fn any(&self, document: &dyn Document, meta: &DocumentMeta<'_>, test: &mut dyn FnMut(&Value) -> bool) -> bool {
        let mut found = false;
        match &self.at {
            At::Id => return test(&Value::from(meta.id)),
            At::SeqNo => return test(&Value::from(meta.seq_no)),
            At::Index => return test(&Value::from(meta.index)),
            At::Path(path) => document.visit(path, &mut |value| found = found || test(value)),
            At::Either(name, plain) => {
                document.visit(name, &mut |value| found = found || test(value));
                if !found {
                    document.visit(plain, &mut |value| found = found || test(value));
                }
            }
            At::Names(names) => document.visit_all(&mut |path, value| {
                found = found || pattern::wildcard(names, path) && test(value);
            }),
        }
        found
    }
}
