//! Pipeline aggregations: worked out on the finished results of others, whichever store they came from.
//!
//! [`Pipelines::take_out_of`] takes them out of the `aggs` that a store is asked for; [`Pipelines::apply`] adds what they
//! yield to its answer. Kinds that have no place here (`moving_fn`, ..) are refused by name.

mod formula;
mod kind;
mod path;

use serde_json::{Map, Value};

use crate::dsl::QueryError;
use kind::Kind;

/// The pipeline aggregations of one level, and the levels below.
#[derive(Clone, Debug, Default)]
pub struct Pipelines {
    here: Vec<Pipeline>,
    below: Vec<(String, Pipelines)>,
}

#[derive(Clone, Debug)]
struct Pipeline {
    name: String,
    kind: Kind,
}

impl Pipelines {
    /// Takes them out of `aggs`.
    ///
    /// # Errors
    /// Names the aggregation and what of it is not understood.
    pub fn take_out_of(aggs: &mut Value) -> Result<Self, QueryError> {
        take(aggs, None)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.here.is_empty() && self.below.is_empty()
    }

    /// Adds what they yield to `results`.
    pub fn apply(&self, results: &mut Map<String, Value>) {
        for (name, below) in &self.below {
            if let Some(result) = results.get_mut(name) {
                below.apply_below(result);
            }
        }
        for pipeline in &self.here {
            if let Some(yielded) = pipeline.kind.of_siblings(results) {
                results.insert(pipeline.name.clone(), yielded);
            }
        }
    }

    /// `result` is that of the aggregation that holds this level.
    fn apply_below(&self, result: &mut Value) {
        match result.get_mut("buckets") {
            None => {
                if let Value::Object(single) = result {
                    self.apply(single);
                }
            }
            Some(Value::Array(buckets)) => {
                buckets
                    .iter_mut()
                    .filter_map(Value::as_object_mut)
                    .for_each(|bucket| self.apply(bucket));
                for pipeline in &self.here {
                    pipeline.kind.over_buckets(&pipeline.name, buckets);
                }
            }
            Some(Value::Object(keyed)) => {
                keyed
                    .values_mut()
                    .filter_map(Value::as_object_mut)
                    .for_each(|bucket| self.apply(bucket));
                self.over_keyed(keyed);
            }
            Some(_) => {}
        }
    }

    fn over_keyed(&self, keyed: &mut Map<String, Value>) {
        if self.here.is_empty() {
            return;
        }
        const NAME: &str = "_name_of_the_bucket";
        let named = std::mem::take(keyed).into_iter().map(|(name, mut bucket)| {
            bucket[NAME] = Value::String(name);
            bucket
        });
        let mut buckets: Vec<Value> = named.collect();
        for pipeline in &self.here {
            pipeline.kind.over_buckets(&pipeline.name, &mut buckets);
        }
        for mut bucket in buckets {
            if let Some(Value::String(name)) = bucket.as_object_mut().and_then(|bucket| bucket.shift_remove(NAME)) {
                keyed.insert(name, bucket);
            }
        }
    }
}

/// `parent` is the kind of the aggregation that holds `aggs`.
fn take(aggs: &mut Value, parent: Option<&str>) -> Result<Pipelines, QueryError> {
    let Value::Object(level) = aggs else {
        return Ok(Pipelines::default());
    };
    let mut found = Pipelines::default();
    let names: Vec<String> = level.keys().cloned().collect();
    for name in &names {
        let Some(Value::Object(body)) = level.get_mut(name) else {
            continue;
        };
        let kind = body
            .keys()
            .find(|key| !matches!(key.as_str(), "aggs" | "aggregations" | "meta"))
            .cloned();
        let Some(kind) = kind else { continue };
        if let Some(parsed) = Kind::parse(name, &kind, &body[&kind])? {
            parsed.check_place(name, &kind, parent)?;
            found.here.push(Pipeline {
                name: name.clone(),
                kind: parsed,
            });
            continue;
        }
        for key in ["aggs", "aggregations"] {
            if let Some(below) = body.get_mut(key) {
                let below = take(below, Some(&kind))?;
                if !below.is_empty() {
                    found.below.push((name.clone(), below));
                }
            }
        }
    }
    for pipeline in &found.here {
        pipeline.kind.check_paths(&names)?;
        level.shift_remove(&pipeline.name);
    }
    found.here = in_order(found.here)?;
    Ok(found)
}

/// Those that others look at come first.
fn in_order(mut open: Vec<Pipeline>) -> Result<Vec<Pipeline>, QueryError> {
    let mut ordered = Vec::with_capacity(open.len());
    while !open.is_empty() {
        let is_free = |one: &Pipeline| {
            !open
                .iter()
                .any(|other| one.kind.paths().iter().any(|path| path.first() == other.name))
        };
        let Some(at) = open.iter().position(is_free) else {
            return Err(QueryError::argument(format!(
                "Cyclical dependency found with pipeline aggregator [{}]",
                open[0].name
            )));
        };
        ordered.push(open.remove(at));
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn histogram() -> Value {
        json!({ "h": { "buckets": [
            { "key": 0.0, "doc_count": 2, "s": { "value": 3.0 } },
            { "key": 1.0, "doc_count": 0, "s": { "value": 0.0 } },
            { "key": 2.0, "doc_count": 4, "s": { "value": 10.0 } },
        ] } })
    }

    /// Each bucket as its key and what `name` yielded.
    #[track_caller]
    fn check(pipeline: Value, expected: Value) {
        let mut aggs = json!({ "h": { "histogram": { "field": "n", "interval": 1 }, "aggs": { "s": { "sum": { "field": "n" } }, "p": pipeline } } });
        let pipelines = Pipelines::take_out_of(&mut aggs).unwrap();
        assert!(aggs["h"]["aggs"].get("p").is_none() && aggs["h"]["aggs"].get("s").is_some());
        let mut results = histogram();
        pipelines.apply(results.as_object_mut().unwrap());
        let buckets = results["h"]["buckets"].as_array().unwrap();
        let found: Vec<Value> = buckets
            .iter()
            .map(|bucket| {
                json!([
                    bucket["key"],
                    bucket.get("p").map_or(Value::Null, |yielded| yielded["value"].clone())
                ])
            })
            .collect();
        assert_eq!(Value::Array(found), expected);
    }

    #[test]
    fn buckets_are_compared_with_those_before() {
        check(
            json!({ "derivative": { "buckets_path": "s", "gap_policy": "insert_zeros" } }),
            json!([[0.0, null], [1.0, -3.0], [2.0, 10.0]]),
        );
        check(
            json!({ "cumulative_sum": { "buckets_path": "_count" } }),
            json!([[0.0, 2.0], [1.0, 2.0], [2.0, 6.0]]),
        );
        check(
            json!({ "serial_diff": { "buckets_path": "_count", "lag": 2 } }),
            json!([[0.0, null], [1.0, null], [2.0, 2.0]]),
        );
    }

    #[test]
    fn scripts_compute_and_choose() {
        let paths = json!({ "s": "s", "n": "_count" });
        check(
            json!({ "bucket_script": { "buckets_path": paths, "script": "params.s / params.n" } }),
            json!([[0.0, 1.5], [1.0, null], [2.0, 2.5]]),
        );
        check(
            json!({ "bucket_selector": { "buckets_path": paths, "script": { "source": "params.n > params.least", "params": { "least": 3 } } } }),
            json!([[2.0, null]]),
        );
        check(
            json!({ "bucket_sort": { "sort": [{ "s": "desc" }], "size": 2 } }),
            json!([[2.0, null], [0.0, null]]),
        );
    }

    #[test]
    fn siblings_are_summed_up() {
        let check = |kind: &str, expected: Value| {
            let mut aggs = json!({ "h": { "histogram": { "field": "n", "interval": 1 }, "aggs": { "s": { "sum": { "field": "n" } } } }, "p": { kind: { "buckets_path": "h>s" } } });
            let pipelines = Pipelines::take_out_of(&mut aggs).unwrap();
            let mut results = histogram();
            pipelines.apply(results.as_object_mut().unwrap());
            assert_eq!(results["p"], expected, "{kind}");
        };
        check("avg_bucket", json!({ "value": 6.5 }));
        check("max_bucket", json!({ "value": 10.0, "keys": ["2.0"] }));
        check(
            "stats_bucket",
            json!({ "count": 2, "min": 3.0, "max": 10.0, "avg": 6.5, "sum": 13.0 }),
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let check = |pipeline: Value, names: &str| {
            let mut aggs = json!({ "h": { "terms": { "field": "n" }, "aggs": { "s": { "sum": { "field": "n" } }, "p": pipeline } } });
            let error = Pipelines::take_out_of(&mut aggs).unwrap_err();
            assert!(error.message.contains(names), "{error}");
        };
        check(json!({ "moving_fn": { "buckets_path": "s" } }), "[moving_fn]");
        check(json!({ "derivative": { "buckets_path": "s" } }), "histogram");
        check(json!({ "bucket_sort": { "sort": ["s"], "nonsense": 1 } }), "[nonsense]");
        check(
            json!({ "bucket_script": { "buckets_path": "s", "script": "for (;;) {}" } }),
            "not supported",
        );
        check(
            json!({ "bucket_script": { "buckets_path": { "a": "gone" }, "script": "params.a" } }),
            "[gone]",
        );
        check(
            json!({ "bucket_script": { "buckets_path": { "a": "p" }, "script": "params.a" } }),
            "Cyclical",
        );
    }
}
