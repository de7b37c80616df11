//! The common aggregations, done by tantivy's own collectors: many times faster than document by document.
//!
//! Only what gives exactly the same results is done here; for the rest the general engine of `query` runs. What large segments
//! had to say is kept; the others are asked side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use query::{Aggregation, AggregationKind, Query, compare_values};
use serde_json::{Map, Value, json};
use store::StoreError;
use tantivy::aggregation::agg_req::Aggregations;
use tantivy::aggregation::intermediate_agg_result::IntermediateAggregationResults;
use tantivy::aggregation::{AggContextParams, AggregationLimitsGuard, DistributedAggregationCollector};
use tantivy::collector::Collector;
use tantivy::columnar::ColumnType;
use tantivy::query::Weight;
use tantivy::{Searcher, SegmentReader};

use super::answers::{Answer, Answers};
use super::backing::{Backing, index_error, io_error};
use super::narrowed::Narrowed;
use super::schema::{Kind, LAYOUT};
use super::translate::{Translator, other_columns};

/// With more distinct texts than this the general engine counts.
const MOST_TERMS: usize = 10_000;
/// With more distinct numbers. How many there are is seen from the result alone.
const MOST_NUMBERS: usize = 100_000;
const MOST_BUCKETS: u32 = 1_000_000;
const MEMORY: u64 = 200 << 20;
/// Threads of one search.
const MOST_WORKERS: usize = 4;
/// Fewer documents are counted before a thread has started.
const WORTH_A_THREAD: u64 = 100_000;

/// What one segment says.
type Part = Arc<IntermediateAggregationResults>;

/// Results over these backing indices; `None` when the general engine must do it.
pub(crate) fn aggregate(
    backing: &[(std::sync::Arc<Backing>, Searcher)],
    aggregations: &[Aggregation],
    query: &Query,
    now: jiff::Timestamp,
    answers: &Answers,
) -> Result<Option<Map<String, Value>>, StoreError> {
    let fields = Fields::read(backing)?;
    let Some(request) = fields.translate_all(aggregations)? else {
        return Ok(None);
    };
    let about = request.to_string();
    let Ok(request) = serde_json::from_value::<Aggregations>(request) else {
        return Ok(None);
    };
    let limits = AggregationLimitsGuard::new(Some(MEMORY), Some(MOST_BUCKETS));
    let context = AggContextParams::new(limits.clone(), super::schema::tokenizers());
    let collector = DistributedAggregationCollector::from_aggs(request.clone(), context);
    let (mut merged, jobs) = known_and_not(backing, query, now, &about, answers)?;
    let collect = |job: &Job<'_>| collector.collect_segment(&*job.weight, job.ordinal, job.segment);
    for (job, found) in jobs.iter().zip(side_by_side(&jobs, collect)) {
        // Too many values, or too much memory.
        let Ok(Ok(found)) = found else { return Ok(None) };
        let found = Arc::new(found);
        if let Some(question) = &job.question {
            answers.keep(job.segment.segment_id(), question, Answer::Aggregated(found.clone()));
        }
        merged.push(found);
    }
    let Ok(found) = merge(merged)?.into_final_result(request, limits) else {
        return Ok(None);
    };
    let found = serde_json::to_value(found).unwrap_or(Value::Null);
    if has_left_out(&found) {
        return Ok(None);
    }
    Ok(Some(shape_all(aggregations, &found)))
}

/// A segment that has to be asked.
struct Job<'a> {
    segment: &'a SegmentReader,
    ordinal: u32,
    weight: Arc<dyn Weight>,
    /// What its answer is kept under.
    question: Option<Arc<str>>,
}

/// What is known of some segments, and the others, largest first.
fn known_and_not<'a>(
    backing: &'a [(Arc<Backing>, Searcher)],
    query: &Query,
    now: jiff::Timestamp,
    about: &str,
    answers: &Answers,
) -> Result<(Vec<Part>, Vec<Job<'a>>), StoreError> {
    let (mut known, mut jobs) = (Vec::new(), Vec::new());
    for (one, searcher) in backing {
        let translator = Translator::new(one, searcher, now);
        let mut narrowed = Narrowed::new(&translator, searcher, query, answers)?;
        for (ordinal, segment) in (0_u32..).zip(searcher.segment_readers()) {
            let inside = narrowed.in_segment(segment)?;
            let question = inside.question(about);
            let answer = question
                .as_ref()
                .and_then(|question| answers.get(segment.segment_id(), question));
            if let Some(Answer::Aggregated(answer)) = answer {
                known.push(answer);
                continue;
            }
            jobs.push(Job {
                segment,
                ordinal,
                weight: inside.weight,
                question,
            });
        }
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job.segment.max_doc()));
    Ok((known, jobs))
}

fn merge(parts: Vec<Part>) -> Result<IntermediateAggregationResults, StoreError> {
    let mut merged: Option<IntermediateAggregationResults> = None;
    for part in parts {
        let part = Arc::unwrap_or_clone(part);
        match &mut merged {
            Some(merged) => merged.merge_fruits(part).map_err(index_error)?,
            None => merged = Some(part),
        }
    }
    Ok(merged.unwrap_or_default())
}

/// Does the jobs on several processors when there is enough to do; results in the order of the jobs.
fn side_by_side<R: Send>(jobs: &[Job<'_>], work: impl Fn(&Job<'_>) -> R + Sync) -> Vec<R> {
    let documents: u64 = jobs.iter().map(|job| u64::from(job.segment.max_doc())).sum();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = processors.min(jobs.len()).min(MOST_WORKERS);
    if workers < 2 || documents < WORTH_A_THREAD {
        return jobs.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(at) else { return done };
            done.push((at, work(job)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(run)).collect();
        let mut done = run();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Whether some values were not counted, because there are too many.
fn has_left_out(found: &Value) -> bool {
    let counts = |key: &str| found.get(key).and_then(Value::as_u64).unwrap_or_default() > 0;
    match found {
        Value::Object(map) => {
            counts("sum_other_doc_count") || counts("doc_count_error_upper_bound") || map.values().any(has_left_out)
        }
        Value::Array(items) => items.iter().any(has_left_out),
        _ => false,
    }
}

/// What columns the indices have.
struct Fields<'a> {
    backing: &'a [(std::sync::Arc<Backing>, Searcher)],
    others: Vec<(String, ColumnType)>,
}

impl<'a> Fields<'a> {
    fn read(backing: &'a [(std::sync::Arc<Backing>, Searcher)]) -> Result<Self, StoreError> {
        let mut others = Vec::new();
        for (_, searcher) in backing {
            others.extend(other_columns(searcher)?);
        }
        Ok(Self { backing, others })
    }

    fn translate_all(&self, aggregations: &[Aggregation]) -> Result<Option<Value>, StoreError> {
        let mut translated = Map::new();
        for aggregation in aggregations {
            match self.translate(aggregation)? {
                Some(one) => translated.insert(aggregation.name.clone(), one),
                None => return Ok(None),
            };
        }
        Ok(Some(Value::Object(translated)))
    }

    fn translate(&self, aggregation: &Aggregation) -> Result<Option<Value>, StoreError> {
        let AggregationKind::Validated(kind, parameters) = &aggregation.kind else {
            return Ok(None);
        };
        let Some(children) = self.translate_all(&aggregation.children)? else {
            return Ok(None);
        };
        let only = |known: &[&str]| {
            parameters
                .as_object()
                .is_some_and(|map| map.keys().all(|key| known.contains(&key.as_str())))
        };
        let Some((column, kind_of)) = parameters
            .get("field")
            .and_then(Value::as_str)
            .and_then(|name| self.column(name))
        else {
            return Ok(None);
        };
        let body = match *kind {
            "terms"
                if only(&["field", "size", "order"])
                    && plain_order(parameters).is_some()
                    && kind_of != ColumnType::DateTime =>
            {
                let most = match kind_of {
                    ColumnType::Str if self.terms_of(&column)? > MOST_TERMS => return Ok(None),
                    ColumnType::Str => MOST_TERMS,
                    _ => MOST_NUMBERS,
                };
                json!({"field": column, "size": most, "segment_size": most})
            }
            "date_histogram"
                if only(&["field", "fixed_interval", "min_doc_count"]) && kind_of == ColumnType::DateTime =>
            {
                let minimum = parameters.get("min_doc_count").cloned().unwrap_or(json!(0));
                json!({"field": column, "fixed_interval": parameters.get("fixed_interval"), "min_doc_count": minimum})
            }
            "min" | "max" | "avg" | "sum" | "value_count" | "stats"
                if only(&["field"]) && matches!(kind_of, ColumnType::I64 | ColumnType::F64) =>
            {
                json!({ "field": column })
            }
            _ => return Ok(None),
        };
        let mut translated = Map::from_iter([((*kind).to_owned(), body)]);
        if !aggregation.children.is_empty() {
            translated.insert("aggs".to_owned(), children);
        }
        Ok(Some(Value::Object(translated)))
    }

    /// The one column of a field; `None` when there are several, or none.
    fn column(&self, name: &str) -> Option<(String, ColumnType)> {
        match LAYOUT.named(name) {
            Some((_, Kind::Keyword)) => return Some((name.to_owned(), ColumnType::Str)),
            Some((_, Kind::Long)) => return Some((name.to_owned(), ColumnType::I64)),
            Some((_, Kind::Date)) => return Some((name.to_owned(), ColumnType::DateTime)),
            Some((_, Kind::Text)) => return None,
            None => {}
        }
        let mut kinds: Vec<ColumnType> = self
            .others
            .iter()
            .filter(|(other, _)| other == name)
            .map(|(_, kind)| *kind)
            .collect();
        kinds.sort();
        kinds.dedup();
        match kinds.as_slice() {
            [kind @ (ColumnType::I64 | ColumnType::F64)] => Some((format!("n.{name}"), *kind)),
            [ColumnType::Str] => Some((format!("s.{name}"), ColumnType::Str)),
            _ => None,
        }
    }

    fn terms_of(&self, column: &str) -> Result<usize, StoreError> {
        let mut most = 0;
        for (_, searcher) in self.backing {
            for segment in searcher.segment_readers() {
                for handle in segment
                    .fast_fields()
                    .dynamic_column_handles(column)
                    .map_err(index_error)?
                {
                    most = most.max(match handle.open().map_err(|error| io_error(&error))? {
                        tantivy::columnar::DynamicColumn::Str(texts) => texts.num_terms(),
                        _ => usize::MAX,
                    });
                }
            }
        }
        Ok(most)
    }
}

/// What a bucket list is sorted by: the count or the key, descending or not.
fn plain_order(parameters: &Value) -> Option<(bool, bool)> {
    let Some(order) = parameters.get("order") else {
        return Some((true, true));
    };
    let mut entries = order.as_object()?.iter();
    let (key, direction) = entries
        .next()
        .filter(|_| order.as_object().is_some_and(|map| map.len() == 1))?;
    let by_count = match key.as_str() {
        "_count" => true,
        "_key" => false,
        _ => return None,
    };
    Some((by_count, direction.as_str()? == "desc"))
}

fn shape_all(aggregations: &[Aggregation], found: &Value) -> Map<String, Value> {
    let one = |aggregation: &Aggregation| {
        (
            aggregation.name.clone(),
            shape(aggregation, found.get(&aggregation.name)),
        )
    };
    aggregations.iter().map(one).collect()
}

fn shape(aggregation: &Aggregation, found: Option<&Value>) -> Value {
    let AggregationKind::Validated(kind, parameters) = &aggregation.kind else {
        return Value::Null;
    };
    let found = found.unwrap_or(&Value::Null);
    match *kind {
        "terms" => shape_terms(aggregation, parameters, found),
        "date_histogram" => {
            let buckets = buckets_of(found).iter().map(|bucket| {
                let millis = bucket.get("key").and_then(Value::as_f64).unwrap_or(0.0) as i64;
                let text = jiff::Timestamp::from_millisecond(millis)
                    .map(clock::rfc3339_millis)
                    .unwrap_or_default();
                let entries = Map::from_iter([
                    ("key_as_string".to_owned(), json!(text)),
                    ("key".to_owned(), json!(millis)),
                ]);
                shape_bucket(aggregation, entries, bucket)
            });
            json!({ "buckets": buckets.collect::<Vec<_>>() })
        }
        "value_count" => json!({ "value": found.get("value").and_then(Value::as_f64).unwrap_or(0.0) as u64 }),
        "sum" => json!({ "value": found.get("value").and_then(Value::as_f64).unwrap_or(0.0) }),
        "stats" => {
            let part = |key: &str| found.get(key).cloned().unwrap_or(Value::Null);
            json!({"count": part("count"), "min": part("min"), "max": part("max"), "avg": part("avg"), "sum": part("sum")})
        }
        _ => json!({ "value": found.get("value") }),
    }
}

fn buckets_of(found: &Value) -> &[Value] {
    found
        .get("buckets")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn shape_bucket(aggregation: &Aggregation, mut entries: Map<String, Value>, bucket: &Value) -> Value {
    entries.insert(
        "doc_count".to_owned(),
        bucket.get("doc_count").cloned().unwrap_or(json!(0)),
    );
    entries.extend(shape_all(&aggregation.children, bucket));
    Value::Object(entries)
}

fn shape_terms(aggregation: &Aggregation, parameters: &Value, found: &Value) -> Value {
    let (by_count, descending) = plain_order(parameters).unwrap_or((true, true));
    let size = parameters.get("size").and_then(Value::as_u64).unwrap_or(10) as usize;
    let count = |bucket: &Value| bucket.get("doc_count").and_then(Value::as_u64).unwrap_or(0);
    let null = Value::Null;
    let mut buckets: Vec<&Value> = buckets_of(found).iter().collect();
    buckets.sort_by(|left, right| {
        let keys = compare_values(left.get("key").unwrap_or(&null), right.get("key").unwrap_or(&null));
        let wanted = if by_count { count(left).cmp(&count(right)) } else { keys };
        let wanted = if descending { wanted.reverse() } else { wanted };
        wanted.then(keys)
    });
    let others: u64 = buckets.iter().skip(size).map(|bucket| count(bucket)).sum();
    let shown = buckets.into_iter().take(size).map(|bucket| {
        let entries = Map::from_iter([("key".to_owned(), bucket.get("key").cloned().unwrap_or(Value::Null))]);
        shape_bucket(aggregation, entries, bucket)
    });
    json!({"doc_count_error_upper_bound": 0, "sum_other_doc_count": others, "buckets": shown.collect::<Vec<_>>()})
}
