//! The kinds of pipeline aggregations and what each yields.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::formula::Formula;
use super::path::BucketsPath;
use crate::dsl::QueryError;
use crate::parse::{Keys, scalar_text};

/// Which, with its parameters.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Derivative {
        path: BucketsPath,
        gaps: Gaps,
        unit: Option<f64>,
    },
    CumulativeSum(BucketsPath),
    SerialDifference {
        path: BucketsPath,
        gaps: Gaps,
        lag: usize,
    },
    Script {
        script: Script,
        gaps: Gaps,
    },
    Selector {
        script: Script,
        gaps: Gaps,
    },
    Sort {
        keys: Vec<(BucketsPath, bool)>,
        from: usize,
        size: Option<usize>,
        gaps: Gaps,
    },
    Siblings {
        path: BucketsPath,
        gaps: Gaps,
        summary: Summary,
    },
}

/// What becomes of a bucket without a value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Gaps {
    #[default]
    Skip,
    Zeros,
    Keep,
}

#[derive(Clone, Debug)]
pub(super) struct Script {
    formula: Formula,
    variables: Vec<(String, BucketsPath)>,
    constants: Vec<(String, f64)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Summary {
    Avg,
    Max,
    Min,
    Sum,
    Stats,
}

/// Known to Elasticsearch and not to us.
const REFUSED: &[&str] = &[
    "bucket_correlation",
    "bucket_count_ks_test",
    "change_point",
    "cumulative_cardinality",
    "extended_stats_bucket",
    "inference",
    "moving_avg",
    "moving_fn",
    "moving_percentiles",
    "normalize",
    "percentiles_bucket",
];

impl Kind {
    /// `None` when `kind` is no pipeline aggregation.
    pub(super) fn parse(name: &str, kind: &str, body: &Value) -> Result<Option<Self>, QueryError> {
        let summary = match kind {
            "avg_bucket" => Some(Summary::Avg),
            "max_bucket" => Some(Summary::Max),
            "min_bucket" => Some(Summary::Min),
            "sum_bucket" => Some(Summary::Sum),
            "stats_bucket" => Some(Summary::Stats),
            "derivative" | "cumulative_sum" | "serial_diff" | "bucket_script" | "bucket_selector" | "bucket_sort" => {
                None
            }
            refused if REFUSED.contains(&refused) => {
                return Err(QueryError::parsing(format!(
                    "Unknown aggregation type [{kind}] of [{name}]"
                )));
            }
            _ => return Ok(None),
        };
        let mut keys = Keys::of(format!("aggregation [{name}] of type {kind}"), body)?;
        let gaps = Gaps::parse(&mut keys)?;
        // How a number is written as text; nothing else of it changes.
        keys.ignore(&["format"]);
        let parsed = match (summary, kind) {
            (Some(summary), _) => Self::Siblings {
                path: one_path(&mut keys)?,
                gaps,
                summary,
            },
            (None, "derivative") => Self::Derivative {
                path: one_path(&mut keys)?,
                gaps,
                unit: unit(&mut keys)?,
            },
            (None, "cumulative_sum") => Self::CumulativeSum(one_path(&mut keys)?),
            (None, "serial_diff") => Self::SerialDifference {
                path: one_path(&mut keys)?,
                gaps,
                lag: keys.size("lag")?.unwrap_or(1).max(1),
            },
            (None, "bucket_script") => Self::Script {
                script: Script::parse(&mut keys)?,
                gaps,
            },
            (None, "bucket_selector") => Self::Selector {
                script: Script::parse(&mut keys)?,
                gaps,
            },
            (None, _) => Self::Sort {
                keys: sort_keys(&mut keys)?,
                from: keys.size("from")?.unwrap_or(0),
                size: keys.size("size")?,
                gaps,
            },
        };
        keys.finish()?;
        Ok(Some(parsed))
    }

    /// All that it looks at.
    pub(super) fn paths(&self) -> Vec<&BucketsPath> {
        match self {
            Self::Derivative { path, .. }
            | Self::CumulativeSum(path)
            | Self::SerialDifference { path, .. }
            | Self::Siblings { path, .. } => vec![path],
            Self::Script { script, .. } | Self::Selector { script, .. } => {
                script.variables.iter().map(|(_, path)| path).collect()
            }
            Self::Sort { keys, .. } => keys.iter().map(|(path, _)| path).collect(),
        }
    }

    /// Refuses a path to what is not beside it.
    pub(super) fn check_paths(&self, names: &[String]) -> Result<(), QueryError> {
        let is_there = |path: &BucketsPath| path.is_own() || names.iter().any(|name| name == path.first());
        match self.paths().into_iter().find(|path| !is_there(path)) {
            None => Ok(()),
            Some(path) => Err(QueryError {
                kind: "action_request_validation_exception",
                message: format!(
                    "Validation Failed: 1: No aggregation found for path [{}];",
                    path.first()
                ),
            }),
        }
    }

    /// Refuses a place where there are no buckets to look at.
    pub(super) fn check_place(&self, name: &str, kind: &str, parent: Option<&str>) -> Result<(), QueryError> {
        let needs = match self {
            Self::Siblings { .. } => return Ok(()),
            Self::Script { .. } | Self::Selector { .. } | Self::Sort { .. } => {
                if parent.is_some() {
                    return Ok(());
                }
                "must be declared inside of another aggregation"
            }
            _ if matches!(parent, Some("histogram" | "date_histogram")) => return Ok(()),
            _ => "must have a histogram, date_histogram or auto_date_histogram as parent",
        };
        Err(QueryError {
            kind: "action_request_validation_exception",
            message: format!("Validation Failed: 1: {kind} aggregation [{name}] {needs};"),
        })
    }

    /// Adds to each bucket what it yields there, or orders and chooses buckets.
    pub(super) fn over_buckets(&self, name: &str, buckets: &mut Vec<Value>) {
        match self {
            Self::Siblings { .. } => {}
            Self::Derivative { path, gaps, unit } => derivative(name, path, *gaps, *unit, buckets),
            Self::CumulativeSum(path) => cumulative_sum(name, path, buckets),
            Self::SerialDifference { path, gaps, lag } => serial_difference(name, path, *gaps, *lag, buckets),
            Self::Script { script, gaps } => {
                for bucket in buckets.iter_mut().filter_map(Value::as_object_mut) {
                    let yielded = script.value(bucket, *gaps);
                    if let Some(value) = yielded {
                        bucket.insert(name.to_owned(), number(value));
                    }
                }
            }
            Self::Selector { script, gaps } => {
                buckets.retain(|bucket| bucket.as_object().is_some_and(|bucket| script.holds(bucket, *gaps)));
            }
            Self::Sort { keys, from, size, gaps } => sort(keys, *from, *size, *gaps, buckets),
        }
    }

    /// What it yields beside the aggregation that it looks at.
    pub(super) fn of_siblings(&self, results: &Map<String, Value>) -> Option<Value> {
        let Self::Siblings { path, gaps, summary } = self else {
            return None;
        };
        let inner = path.rest();
        let mut found: Vec<(String, f64)> = Vec::new();
        let mut look = |key: String, bucket: &Value| {
            let value = bucket.as_object().and_then(|bucket| gaps.number(&inner, bucket));
            found.extend(value.filter(|value| !value.is_nan()).map(|value| (key, value)));
        };
        match results.get(path.first())?.get("buckets")? {
            Value::Array(buckets) => buckets.iter().for_each(|bucket| look(key_of(bucket), bucket)),
            Value::Object(keyed) => keyed.iter().for_each(|(key, bucket)| look(key.clone(), bucket)),
            _ => return None,
        }
        Some(summary.of(&found))
    }
}

impl Gaps {
    fn parse(keys: &mut Keys<'_>) -> Result<Self, QueryError> {
        match keys.text("gap_policy")?.as_deref() {
            None | Some("skip") => Ok(Self::Skip),
            Some("insert_zeros") => Ok(Self::Zeros),
            Some("keep_values") => Ok(Self::Keep),
            Some(other) => Err(QueryError::parsing(format!(
                "Invalid gap policy: [{other}], accepted values: [insert_zeros, skip, keep_values]"
            ))),
        }
    }

    /// A number, or what stands for a gap: `NaN` where it is skipped.
    fn number(self, path: &BucketsPath, bucket: &Map<String, Value>) -> Option<f64> {
        let found = path.number(bucket);
        let empty = bucket.get("doc_count").is_some_and(|count| count == 0) && !path.is_own();
        match (found, self) {
            (None, _) => None,
            (Some(value), Self::Keep) => Some(value),
            (Some(value), _) if value.is_finite() && !empty => Some(value),
            (_, Self::Zeros) => Some(0.0),
            _ => Some(f64::NAN),
        }
    }
}

impl Script {
    fn parse(keys: &mut Keys<'_>) -> Result<Self, QueryError> {
        let variables = variables(keys)?;
        let (source, constants) = match keys.required("script")? {
            Value::String(source) => (source.clone(), Vec::new()),
            body => {
                let mut script = Keys::of("script", body)?;
                let source = script.text("source")?.or(script.text("inline")?);
                let source = source.ok_or_else(|| {
                    QueryError::argument(
                        "must specify either [source] for an inline script or [id] for a stored script",
                    )
                })?;
                script.ignore(&["lang"]);
                let constants = constants(script.take("params"))?;
                script.finish()?;
                (source, constants)
            }
        };
        let formula = Formula::parse(&source)?;
        let mut named = Vec::new();
        formula.parameters(&mut named);
        let known = |name: &str| {
            variables.iter().any(|(known, _)| known == name) || constants.iter().any(|(known, _)| known == name)
        };
        match named.into_iter().find(|name| !known(name)) {
            None => Ok(Self {
                formula,
                variables,
                constants,
            }),
            Some(unknown) => Err(QueryError::argument(format!(
                "script [{source}] uses [{unknown}], which is in neither [buckets_path] nor [params]"
            ))),
        }
    }

    /// `None` where a value is missing.
    fn value(&self, bucket: &Map<String, Value>, gaps: Gaps) -> Option<f64> {
        let values = self.values(bucket, gaps);
        if gaps == Gaps::Skip && values.iter().any(|(_, value)| value.is_nan()) {
            return None;
        }
        Some(self.evaluate(&values))
    }

    fn holds(&self, bucket: &Map<String, Value>, gaps: Gaps) -> bool {
        let value = self.evaluate(&self.values(bucket, gaps));
        value != 0.0 && !value.is_nan()
    }

    fn values(&self, bucket: &Map<String, Value>, gaps: Gaps) -> Vec<(&str, f64)> {
        self.variables
            .iter()
            .map(|(name, path)| (name.as_str(), gaps.number(path, bucket).unwrap_or(f64::NAN)))
            .collect()
    }

    fn evaluate(&self, values: &[(&str, f64)]) -> f64 {
        let constant = |name: &str| {
            self.constants
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| *value)
        };
        let variable = |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        self.formula
            .value(&|name| variable(name).or_else(|| constant(name)).unwrap_or(f64::NAN))
    }
}

impl Summary {
    fn of(self, found: &[(String, f64)]) -> Value {
        let values = || found.iter().map(|(_, value)| *value);
        let (count, sum) = (found.len(), values().sum::<f64>());
        let average = (count > 0).then(|| sum / count as f64);
        let (min, max) = (values().reduce(f64::min), values().reduce(f64::max));
        match self {
            Self::Avg => json!({ "value": average }),
            Self::Sum => json!({ "value": sum }),
            Self::Min => extreme(min, found),
            Self::Max => extreme(max, found),
            Self::Stats => json!({ "count": count, "min": min, "max": max, "avg": average, "sum": sum }),
        }
    }
}

fn extreme(value: Option<f64>, found: &[(String, f64)]) -> Value {
    let keys: Vec<&str> = found
        .iter()
        .filter(|(_, one)| Some(*one) == value)
        .map(|(key, _)| key.as_str())
        .collect();
    json!({ "value": value, "keys": keys })
}

fn key_of(bucket: &Value) -> String {
    let key = bucket.get("key_as_string").or_else(|| bucket.get("key"));
    match key {
        Some(Value::Number(number)) if number.is_f64() => format!("{:?}", number.as_f64().unwrap_or_default()),
        key => key.and_then(scalar_text).unwrap_or_default(),
    }
}

fn number(value: f64) -> Value {
    json!({ "value": value.is_finite().then_some(value) })
}

fn one_path(keys: &mut Keys<'_>) -> Result<BucketsPath, QueryError> {
    let text = match keys.required("buckets_path")? {
        Value::Array(list) if list.len() == 1 => scalar_text(&list[0]),
        value => scalar_text(value),
    };
    BucketsPath::parse(&text.ok_or_else(|| keys.wrong("buckets_path", "one path"))?)
}

/// A path, a list of paths (`_value0`, ..) or an object of named ones.
fn variables(keys: &mut Keys<'_>) -> Result<Vec<(String, BucketsPath)>, QueryError> {
    let given = keys.required("buckets_path")?;
    let named: Vec<(String, &Value)> = match given {
        Value::Object(map) => map.iter().map(|(name, path)| (name.clone(), path)).collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(at, path)| (format!("_value{at}"), path))
            .collect(),
        one => vec![("_value".to_owned(), one)],
    };
    let wrong = || keys.wrong("buckets_path", "a path, a list of paths or an object of paths");
    named
        .into_iter()
        .map(|(name, path)| Ok((name, BucketsPath::parse(path.as_str().ok_or_else(wrong)?)?)))
        .collect()
}

fn constants(params: Option<&Value>) -> Result<Vec<(String, f64)>, QueryError> {
    let Some(params) = params else { return Ok(Vec::new()) };
    let map = params
        .as_object()
        .ok_or_else(|| QueryError::argument("[script] [params] must be an object"))?;
    let one = |(name, value): (&String, &Value)| {
        let number = value.as_f64();
        let number =
            number.ok_or_else(|| QueryError::argument(format!("[script] [params] [{name}] must be a number")))?;
        Ok((name.clone(), number))
    };
    map.iter().map(one).collect()
}

/// Milliseconds of `unit`.
fn unit(keys: &mut Keys<'_>) -> Result<Option<f64>, QueryError> {
    let Some(text) = keys.text("unit")? else {
        return Ok(None);
    };
    let millis = match text.as_str() {
        "second" | "1s" => 1_000.0,
        "minute" | "1m" => 60_000.0,
        "hour" | "1h" => 3_600_000.0,
        "day" | "1d" => 86_400_000.0,
        "week" | "1w" => 604_800_000.0,
        other => crate::aggregate::fixed_interval(other)? as f64,
    };
    Ok(Some(millis))
}

fn sort_keys(keys: &mut Keys<'_>) -> Result<Vec<(BucketsPath, bool)>, QueryError> {
    let given: Vec<&Value> = match keys.take("sort") {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().collect(),
        Some(one) => vec![one],
    };
    let mut found = Vec::new();
    for one in given {
        match one {
            Value::String(path) => found.push((BucketsPath::parse(path)?, false)),
            Value::Object(map) => {
                for (path, options) in map {
                    let order = options.get("order").unwrap_or(options);
                    let descending = match order.as_str() {
                        Some("asc") => false,
                        Some("desc") => true,
                        _ if options.as_object().is_some_and(Map::is_empty) => false,
                        _ => return Err(keys.wrong("sort", "a list of paths with their [order]")),
                    };
                    found.push((BucketsPath::parse(path)?, descending));
                }
            }
            _ => return Err(keys.wrong("sort", "a list of paths with their [order]")),
        }
    }
    Ok(found)
}

fn derivative(name: &str, path: &BucketsPath, gaps: Gaps, unit: Option<f64>, buckets: &mut [Value]) {
    let mut before: Option<(f64, f64)> = None;
    for bucket in buckets.iter_mut().filter_map(Value::as_object_mut) {
        let key = bucket.get("key").and_then(Value::as_f64).unwrap_or_default();
        let Some(value) = gaps.number(path, bucket) else {
            before = None;
            continue;
        };
        if let Some((last_key, last)) = before {
            let mut yielded = number(value - last);
            if let Some(unit) = unit {
                let slope = (value - last) / ((key - last_key) / unit);
                yielded["normalized_value"] = json!(slope.is_finite().then_some(slope));
            }
            bucket.insert(name.to_owned(), yielded);
        }
        before = Some((key, value));
    }
}

fn cumulative_sum(name: &str, path: &BucketsPath, buckets: &mut [Value]) {
    let mut sum = 0.0;
    for bucket in buckets.iter_mut().filter_map(Value::as_object_mut) {
        sum += Gaps::Zeros.number(path, bucket).unwrap_or_default();
        bucket.insert(name.to_owned(), json!({ "value": sum }));
    }
}

fn serial_difference(name: &str, path: &BucketsPath, gaps: Gaps, lag: usize, buckets: &mut [Value]) {
    let values: Vec<f64> = buckets
        .iter()
        .map(|bucket| {
            bucket
                .as_object()
                .and_then(|bucket| gaps.number(path, bucket))
                .unwrap_or(f64::NAN)
        })
        .collect();
    for (at, bucket) in buckets.iter_mut().enumerate().skip(lag) {
        let difference = values[at] - values[at - lag];
        if let Some(bucket) = bucket.as_object_mut().filter(|_| !difference.is_nan()) {
            bucket.insert(name.to_owned(), json!({ "value": difference }));
        }
    }
}

/// Buckets without any of the values are left out; with all of them the order is stable.
fn sort(keys: &[(BucketsPath, bool)], from: usize, size: Option<usize>, gaps: Gaps, buckets: &mut Vec<Value>) {
    if !keys.is_empty() {
        let mut valued: Vec<(Vec<SortValue>, Value)> = std::mem::take(buckets)
            .into_iter()
            .map(|bucket| {
                (
                    keys.iter()
                        .map(|(path, _)| SortValue::of(path, &bucket, gaps))
                        .collect(),
                    bucket,
                )
            })
            .collect();
        valued.retain(|(values, _): &(Vec<SortValue>, Value)| {
            values.iter().any(|value| !matches!(value, SortValue::Missing))
        });
        valued.sort_by(|(left, _), (right, _)| {
            let one = |((left, right), (_, descending)): ((&SortValue, &SortValue), &(BucketsPath, bool))| {
                left.compare(right, *descending)
            };
            left.iter()
                .zip(right)
                .zip(keys)
                .map(one)
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        *buckets = valued.into_iter().map(|(_, bucket)| bucket).collect();
    }
    buckets.drain(..from.min(buckets.len()));
    buckets.truncate(size.unwrap_or(usize::MAX));
}

enum SortValue {
    Missing,
    Number(f64),
    Text(String),
}

impl SortValue {
    fn of(path: &BucketsPath, bucket: &Value, gaps: Gaps) -> Self {
        let Some(bucket) = bucket.as_object() else {
            return Self::Missing;
        };
        if let (true, Some(Value::String(key))) = (path.is_own() && path.first() == "_key", bucket.get("key")) {
            return Self::Text(key.clone());
        }
        match gaps.number(path, bucket) {
            Some(value) if !value.is_nan() => Self::Number(value),
            _ => Self::Missing,
        }
    }

    /// What is missing comes last.
    fn compare(&self, other: &Self, descending: bool) -> Ordering {
        let order = match (self, other) {
            (Self::Missing, Self::Missing) => return Ordering::Equal,
            (Self::Missing, _) => return Ordering::Greater,
            (_, Self::Missing) => return Ordering::Less,
            (Self::Number(left), Self::Number(right)) => left.total_cmp(right),
            (Self::Text(left), Self::Text(right)) => left.cmp(right),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        };
        if descending { order.reverse() } else { order }
    }
}
