//! A plan gathers documents and writes results.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::bucket::{Bucket, Fixed, Histogram, Terms};
use super::composite::Composite;
use super::metric::{Gathered, Metric};
use super::{MOST_BUCKETS, Scalar, View, compile};
use crate::dsl::{Aggregation, Query, QueryError, Sort, SourceFilter};
use crate::evaluate::compare_sort_values;

/// Distinct keys that may be held while gathering.
const MOST_KEYS: usize = 1_000_000;

/// Compiled aggregations.
#[derive(Clone, Debug)]
pub struct Plan {
    fields: Vec<String>,
    filters: Vec<Query>,
    roots: Vec<Node>,
}

/// What has been gathered so far.
#[derive(Clone, Debug)]
pub struct State {
    nodes: Vec<NodeState>,
    keys: usize,
    documents: u64,
}

/// A `top_hits` aggregation.
#[derive(Clone, Debug)]
pub struct TopHits {
    /// Hits to skip.
    pub from: usize,
    /// Hits to return.
    pub size: usize,
    /// The order; empty is the order in which documents come.
    pub sort: Vec<Sort>,
    /// What of `_source` comes back.
    pub source: SourceFilter,
    /// Return `_version`.
    pub version: bool,
    /// Return `_seq_no` and `_primary_term`.
    pub seq_no_primary_term: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) children: Vec<Node>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Metric {
        field: usize,
        missing: Option<Scalar>,
        metric: Metric,
        /// How dates are written.
        format: Option<String>,
    },
    Terms(Terms),
    Histogram(Histogram),
    Fixed(Fixed),
    Composite(Composite),
    TopHits(TopHits),
}

#[derive(Clone, Debug)]
pub(crate) enum NodeState {
    Metric(Box<Gathered>),
    Keyed(HashMap<Scalar, Bucket>),
    Fixed(Vec<Bucket>),
    Composite(BTreeMap<super::composite::Key, Bucket>),
    Hits(Vec<(Vec<Value>, Value)>),
}

impl Plan {
    /// Compiles aggregations whose date math means no particular time: to check them.
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn compile(aggregations: &[Aggregation]) -> Result<Self, QueryError> {
        Self::compile_at(aggregations, Timestamp::UNIX_EPOCH)
    }

    /// Compiles aggregations.
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn compile_at(aggregations: &[Aggregation], now: Timestamp) -> Result<Self, QueryError> {
        let (fields, filters, roots) = compile::compile(aggregations, now)?;
        Ok(Self { fields, filters, roots })
    }

    /// The fields whose values the plan asks for.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// The fields by which `top_hits` sort.
    pub fn sorted_by(&self) -> Vec<&str> {
        let mut found = Vec::new();
        sorted_by(&self.roots, &mut found);
        found
    }

    /// The filters that the plan asks for.
    pub fn filters(&self) -> &[Query] {
        &self.filters
    }

    /// Nothing gathered yet.
    pub fn start(&self) -> State {
        State {
            nodes: start(&self.roots),
            keys: 0,
            documents: 0,
        }
    }

    /// Takes a document in.
    ///
    /// # Errors
    /// When there are too many buckets.
    pub fn collect(&self, state: &mut State, view: &mut dyn View) -> Result<(), QueryError> {
        collect(&self.roots, &mut state.nodes, &mut state.keys, view);
        state.documents += 1;
        if state.keys > MOST_KEYS {
            return Err(too_many_buckets(MOST_KEYS));
        }
        Ok(())
    }

    /// Writes the results.
    ///
    /// # Errors
    /// When there are too many buckets.
    pub fn finish(&self, state: State) -> Result<Map<String, Value>, QueryError> {
        let mut buckets = 0;
        let mut results = finish(&self.roots, state.nodes, &mut buckets)?;
        super::bucket::set_totals(&mut results, state.documents);
        Ok(results)
    }
}

fn sorted_by<'a>(nodes: &'a [Node], found: &mut Vec<&'a str>) {
    for node in nodes {
        if let Kind::TopHits(top_hits) = &node.kind {
            found.extend(top_hits.sort.iter().map(|sort| sort.field.as_str()));
        }
        sorted_by(&node.children, found);
    }
}

pub(crate) fn too_many_buckets(limit: usize) -> QueryError {
    QueryError {
        kind: "too_many_buckets_exception",
        message: format!("trying to create too many buckets; must be less than or equal to: [{limit}]"),
    }
}

pub(crate) fn start(nodes: &[Node]) -> Vec<NodeState> {
    nodes
        .iter()
        .map(|node| match &node.kind {
            Kind::Metric { .. } => NodeState::Metric(Box::default()),
            Kind::Terms(_) | Kind::Histogram(_) => NodeState::Keyed(HashMap::new()),
            Kind::Fixed(fixed) => NodeState::Fixed((0..fixed.len()).map(|_| Bucket::start(&node.children)).collect()),
            Kind::Composite(_) => NodeState::Composite(BTreeMap::new()),
            Kind::TopHits(_) => NodeState::Hits(Vec::new()),
        })
        .collect()
}

pub(crate) fn collect(nodes: &[Node], states: &mut [NodeState], keys: &mut usize, view: &mut dyn View) {
    for (node, state) in nodes.iter().zip(states) {
        match (&node.kind, state) {
            (
                Kind::Metric {
                    field, missing, metric, ..
                },
                NodeState::Metric(gathered),
            ) => {
                for value in values_or(view, *field, missing.as_ref()) {
                    gathered.add(metric, &value);
                }
            }
            (Kind::Terms(terms), NodeState::Keyed(buckets)) => {
                let mut values = values_or(view, terms.field, terms.missing.as_ref());
                values.retain(|value| terms.wants(value));
                into_buckets(node, buckets, values, keys, view);
            }
            (Kind::Histogram(histogram), NodeState::Keyed(buckets)) => {
                let values = values_or(view, histogram.field, histogram.missing.as_ref());
                let bucket_keys = values
                    .iter()
                    .filter_map(|value| histogram.key(value))
                    .map(Scalar::Fraction)
                    .collect();
                into_buckets(node, buckets, bucket_keys, keys, view);
            }
            (Kind::Fixed(fixed), NodeState::Fixed(buckets)) => {
                let fits = fixed.fits(view);
                for (bucket, _) in buckets.iter_mut().zip(fits).filter(|(_, fits)| *fits) {
                    bucket.collect(&node.children, keys, view);
                }
            }
            (Kind::Composite(composite), NodeState::Composite(buckets)) => {
                for key in composite.keys(view) {
                    let bucket = buckets.entry(key).or_insert_with(|| {
                        *keys += 1;
                        Bucket::start(&node.children)
                    });
                    bucket.collect(&node.children, keys, view);
                }
                *keys -= composite.prune(buckets);
            }
            (Kind::TopHits(top_hits), NodeState::Hits(hits)) => top_hits.collect(hits, view),
            _ => unreachable!("states are made from the same nodes"),
        }
    }
}

fn values_or(view: &mut dyn View, field: usize, missing: Option<&Scalar>) -> Vec<Scalar> {
    let mut values = Vec::new();
    view.values(field, &mut values);
    if values.is_empty() {
        values.extend(missing.cloned());
    }
    values
}

/// A document counts once in a bucket, however many of its values fall into it.
fn into_buckets(
    node: &Node,
    buckets: &mut HashMap<Scalar, Bucket>,
    mut values: Vec<Scalar>,
    keys: &mut usize,
    view: &mut dyn View,
) {
    if values.len() > 1 {
        values.sort();
        values.dedup();
    }
    for value in values {
        let bucket = buckets.entry(value).or_insert_with(|| {
            *keys += 1;
            Bucket::start(&node.children)
        });
        bucket.collect(&node.children, keys, view);
    }
}

pub(crate) fn finish(
    nodes: &[Node],
    states: Vec<NodeState>,
    buckets: &mut usize,
) -> Result<Map<String, Value>, QueryError> {
    let mut results = Map::new();
    for (node, state) in nodes.iter().zip(states) {
        let result = match (&node.kind, state) {
            (Kind::Metric { metric, format, .. }, NodeState::Metric(gathered)) => {
                gathered.finish(metric, format.as_deref())
            }
            (Kind::Terms(terms), NodeState::Keyed(found)) => terms.finish(&node.children, found, buckets)?,
            (Kind::Histogram(histogram), NodeState::Keyed(found)) => {
                histogram.finish(&node.children, found, buckets)?
            }
            (Kind::Fixed(fixed), NodeState::Fixed(found)) => fixed.finish(&node.children, found, buckets)?,
            (Kind::Composite(composite), NodeState::Composite(found)) => {
                composite.finish(&node.children, found, buckets)?
            }
            (Kind::TopHits(top_hits), NodeState::Hits(hits)) => top_hits.finish(hits),
            _ => unreachable!("states are made from the same nodes"),
        };
        if *buckets > MOST_BUCKETS {
            return Err(too_many_buckets(MOST_BUCKETS));
        }
        results.insert(node.name.clone(), result);
    }
    Ok(results)
}

/// The number that an `order` such as `{"cpu.avg": "desc"}` looks at.
pub(crate) fn order_value(nodes: &[Node], states: &[NodeState], path: &str) -> f64 {
    let (name, property) = path.split_once('.').or(path.split_once('>')).unwrap_or((path, ""));
    let found = nodes.iter().zip(states).find(|(node, _)| node.name == name);
    match found {
        Some((
            Node {
                kind: Kind::Metric { metric, .. },
                ..
            },
            NodeState::Metric(gathered),
        )) => gathered.property(metric, property),
        Some((
            Node {
                kind: Kind::Fixed(_),
                children,
                ..
            },
            NodeState::Fixed(buckets),
        )) => match buckets.first() {
            Some(bucket) if property.is_empty() || property == "_count" => bucket.count as f64,
            Some(bucket) => order_value(children, &bucket.children, property),
            None => 0.0,
        },
        _ => 0.0,
    }
}

impl TopHits {
    fn collect(&self, hits: &mut Vec<(Vec<Value>, Value)>, view: &mut dyn View) {
        let keep = self.from + self.size;
        let keys = view.sort_values(self);
        let full = hits.len() >= keep;
        if full {
            let beaten = hits
                .last()
                .is_some_and(|(last, _)| compare_sort_values(&self.sort, &keys, last).is_lt());
            if self.sort.is_empty() || !beaten {
                return;
            }
            hits.pop();
        }
        let hit = view.hit(self);
        let place = hits.partition_point(|(known, _)| compare_sort_values(&self.sort, known, &keys).is_le());
        hits.insert(place, (keys, hit));
    }

    fn finish(&self, hits: Vec<(Vec<Value>, Value)>) -> Value {
        let shown: Vec<Value> = hits
            .into_iter()
            .skip(self.from)
            .map(|(keys, mut hit)| {
                if let Value::Object(hit) = &mut hit {
                    let score = if self.sort.is_empty() { json!(1.0) } else { Value::Null };
                    hit.insert("_score".to_owned(), score);
                    if !self.sort.is_empty() {
                        hit.insert("sort".to_owned(), Value::Array(keys));
                    }
                }
                hit
            })
            .collect();
        let highest = if self.sort.is_empty() && !shown.is_empty() {
            json!(1.0)
        } else {
            Value::Null
        };
        // The total is set by the bucket that holds the hits.
        json!({ "hits": { "total": { "value": shown.len(), "relation": "eq" }, "max_score": highest, "hits": shown } })
    }
}
