//! Parameters become a plan's nodes; what is wrong with them is named.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::Scalar;
use super::bucket::{Fixed, Histogram, RangeSlot, Terms};
use super::composite::Composite;
use super::interval::{self, Interval};
use super::metric::Metric;
use super::plan::{Kind, Node, TopHits};
use crate::date_math;
use crate::dsl::{Aggregation, AggregationKind, Query, QueryError, SearchRequest};

/// The fields and filters that the nodes ask for by position, and the nodes.
type Compiled = (Vec<String>, Vec<Query>, Vec<Node>);

/// Compiles aggregations; date math is resolved against `now`.
pub(crate) fn compile(aggregations: &[Aggregation], now: Timestamp) -> Result<Compiled, QueryError> {
    let mut compiler = Compiler {
        fields: Vec::new(),
        filters: Vec::new(),
        now,
    };
    let nodes = compiler.nodes(aggregations)?;
    Ok((compiler.fields, compiler.filters, nodes))
}

struct Compiler {
    fields: Vec<String>,
    filters: Vec<Query>,
    now: Timestamp,
}

impl Compiler {
    fn nodes(&mut self, aggregations: &[Aggregation]) -> Result<Vec<Node>, QueryError> {
        aggregations.iter().map(|aggregation| self.node(aggregation)).collect()
    }

    fn node(&mut self, aggregation: &Aggregation) -> Result<Node, QueryError> {
        let children = self.nodes(&aggregation.children)?;
        let AggregationKind::Validated(kind, parameters) = &aggregation.kind;
        let name = &aggregation.name;
        let kind = self.kind(kind, parameters).map_err(|error| QueryError {
            message: format!("aggregation [{name}] of type [{kind}]: {}", error.message),
            ..error
        })?;
        if matches!(kind, Kind::Metric { .. } | Kind::TopHits(_)) && !children.is_empty() {
            return Err(QueryError::argument(format!(
                "aggregation [{name}] cannot have sub-aggregations"
            )));
        }
        Ok(Node {
            name: name.clone(),
            kind,
            children,
        })
    }

    fn kind(&mut self, kind: &str, parameters: &Value) -> Result<Kind, QueryError> {
        let metric = match kind {
            "terms" => return self.terms(parameters),
            "date_histogram" => return self.date_histogram(parameters),
            "histogram" => return self.histogram(parameters),
            "range" | "date_range" => return self.ranges(parameters, kind == "date_range"),
            "filter" => {
                let filter = self.filter(parameters)?;
                return Ok(Kind::Fixed(Fixed::One(filter)));
            }
            "filters" => return self.filters(parameters),
            "missing" => return Ok(Kind::Fixed(Fixed::Missing(self.field(parameters)?))),
            "global" => return Err(QueryError::argument("it is not supported")),
            "composite" => return self.composite(parameters),
            "top_hits" => return top_hits(parameters).map(Kind::TopHits),
            "min" => Metric::Min,
            "max" => Metric::Max,
            "avg" => Metric::Avg,
            "sum" => Metric::Sum,
            "value_count" => Metric::Count,
            "stats" => Metric::Stats,
            "extended_stats" => Metric::ExtendedStats,
            "cardinality" => Metric::Cardinality,
            "percentiles" => Metric::Percentiles {
                percents: percents(parameters)?,
                keyed: flag(parameters, "keyed", true)?,
            },
            other => return Err(QueryError::argument(format!("unknown type [{other}]"))),
        };
        Ok(Kind::Metric {
            field: self.field(parameters)?,
            missing: missing(parameters),
            metric,
            format: parameters.get("format").and_then(Value::as_str).map(ToOwned::to_owned),
        })
    }

    fn field(&mut self, parameters: &Value) -> Result<usize, QueryError> {
        let name = parameters
            .get("field")
            .and_then(Value::as_str)
            .ok_or_else(|| QueryError::argument("it needs [field]"))?;
        let known = self.fields.iter().position(|field| field == name);
        Ok(known.unwrap_or_else(|| {
            self.fields.push(name.to_owned());
            self.fields.len() - 1
        }))
    }

    fn filter(&mut self, query: &Value) -> Result<usize, QueryError> {
        self.filters.push(Query::from_json(query)?);
        Ok(self.filters.len() - 1)
    }

    fn terms(&mut self, parameters: &Value) -> Result<Kind, QueryError> {
        let size = number(parameters, "size", 10)?;
        if size == 0 {
            return Err(QueryError::argument("[size] must be greater than 0"));
        }
        Ok(Kind::Terms(Terms {
            field: self.field(parameters)?,
            size,
            minimum: number(parameters, "min_doc_count", 1)? as u64,
            missing: missing(parameters),
            order: super::bucket::order(parameters.get("order"))?,
            include: super::bucket::Selection::parse("include", parameters.get("include"))?,
            exclude: super::bucket::Selection::parse("exclude", parameters.get("exclude"))?,
            format: parameters.get("format").and_then(Value::as_str).map(ToOwned::to_owned),
            show_errors: flag(parameters, "show_term_doc_count_error", false)?,
        }))
    }

    fn date_interval(parameters: &Value) -> Result<Interval, QueryError> {
        let text = |key: &str| parameters.get(key).and_then(Value::as_str);
        let zone = text("time_zone").map_or(Ok(TimeZone::UTC), date_math::time_zone);
        let zone = zone.map_err(|error| QueryError::argument(error.to_string()))?;
        let offset = text("offset").map_or(Ok(0), interval::fixed)?;
        match (text("fixed_interval"), text("calendar_interval")) {
            (Some(step), None) => match interval::fixed(step)? {
                step if step > 0 => Ok(Interval::Fixed { step, offset, zone }),
                _ => Err(QueryError::argument("[fixed_interval] must be greater than 0")),
            },
            (None, Some(unit)) => Ok(Interval::Calendar {
                unit: interval::calendar(unit)?,
                offset,
                zone,
                last: std::cell::Cell::new((0, 0)),
            }),
            _ => Err(QueryError::argument(
                "it needs either [fixed_interval] or [calendar_interval]",
            )),
        }
    }

    fn date_histogram(&mut self, parameters: &Value) -> Result<Kind, QueryError> {
        let interval = Self::date_interval(parameters)?;
        self.with_interval(parameters, interval, true)
    }

    fn histogram(&mut self, parameters: &Value) -> Result<Kind, QueryError> {
        let step = parameters
            .get("interval")
            .and_then(Value::as_f64)
            .filter(|step| *step > 0.0);
        let step = step.ok_or_else(|| QueryError::argument("[interval] must be a number greater than 0"))?;
        let offset = parameters.get("offset").and_then(Value::as_f64).unwrap_or(0.0);
        self.with_interval(parameters, Interval::Number { step, offset }, false)
    }

    fn with_interval(&mut self, parameters: &Value, interval: Interval, dates: bool) -> Result<Kind, QueryError> {
        let zone = interval.zone().cloned().unwrap_or(TimeZone::UTC);
        Ok(Kind::Histogram(Histogram {
            field: self.field(parameters)?,
            dates,
            missing: missing(parameters).map(|scalar| self.as_date(scalar, dates)),
            minimum: number(parameters, "min_doc_count", 0)? as u64,
            keyed: flag(parameters, "keyed", false)?,
            format: parameters.get("format").and_then(Value::as_str).map(ToOwned::to_owned),
            order: super::bucket::order(parameters.get("order").or(Some(&json!({"_key": "asc"}))))?,
            extended: self.limits(parameters.get("extended_bounds"), "extended_bounds", &zone)?,
            hard: self.limits(parameters.get("hard_bounds"), "hard_bounds", &zone)?,
            interval,
        }))
    }

    fn as_date(&self, scalar: Scalar, dates: bool) -> Scalar {
        match &scalar {
            Scalar::Text(text) if dates => date_math::resolve(text, self.now, false)
                .map_or_else(|_| scalar.clone(), |time| Scalar::Date(time.as_millisecond())),
            _ => scalar,
        }
    }

    fn limits(&self, bounds: Option<&Value>, owner: &str, zone: &TimeZone) -> Result<Option<(f64, f64)>, QueryError> {
        let Some(bounds) = bounds else { return Ok(None) };
        let wrong = || QueryError::argument(format!("[{owner}] needs [min] and [max] as numbers or dates"));
        let bound = |key: &str| self.point(bounds.get(key).ok_or_else(wrong)?, zone).ok_or_else(wrong);
        Ok(Some((bound("min")?, bound("max")?)))
    }

    fn point(&self, value: &Value, zone: &TimeZone) -> Option<f64> {
        match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => date_math::resolve_in(text, self.now, false, zone)
                .ok()
                .map(|time| time.as_millisecond() as f64),
            _ => None,
        }
    }

    fn ranges(&mut self, parameters: &Value, dates: bool) -> Result<Kind, QueryError> {
        let list = parameters
            .get("ranges")
            .and_then(Value::as_array)
            .filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| QueryError::argument("it needs a list of [ranges]"))?;
        let zone = parameters
            .get("time_zone")
            .and_then(Value::as_str)
            .map_or(Ok(TimeZone::UTC), date_math::time_zone);
        let zone = zone.map_err(|error| QueryError::argument(error.to_string()))?;
        let format = parameters.get("format").and_then(Value::as_str);
        let end = |range: &Value, key: &str| match range.get(key).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => {
                let point = match (value.as_str(), format) {
                    (Some(text), Some(format)) if dates && !text.starts_with("now") => {
                        date_math::parse_format(text, format, &zone, false)
                            .ok()
                            .map(|time| time.as_millisecond() as f64)
                    }
                    (Some(text), _) if !dates => text.parse().ok(),
                    _ => self.point(value, &zone),
                };
                point
                    .map(Some)
                    .ok_or_else(|| QueryError::argument(format!("[ranges] cannot read [{key}] [{value}]")))
            }
        };
        let mut slots = Vec::new();
        for range in list {
            let known = ["from", "to", "key"];
            if let Some(unknown) = range
                .as_object()
                .into_iter()
                .flat_map(Map::keys)
                .find(|key| !known.contains(&key.as_str()))
            {
                return Err(QueryError::argument(format!("[ranges] does not support [{unknown}]")));
            }
            let key = range.get("key").and_then(Value::as_str).map(ToOwned::to_owned);
            slots.push(RangeSlot {
                key,
                from: end(range, "from")?,
                to: end(range, "to")?,
            });
        }
        slots.sort_by(|left, right| {
            let start = |slot: &RangeSlot| slot.from.unwrap_or(f64::NEG_INFINITY);
            start(left).total_cmp(&start(right))
        });
        Ok(Kind::Fixed(Fixed::Ranges {
            field: self.field(parameters)?,
            missing: missing(parameters),
            slots,
            dates,
            keyed: flag(parameters, "keyed", false)?,
            format: format.map(ToOwned::to_owned),
            zone,
        }))
    }

    fn filters(&mut self, parameters: &Value) -> Result<Kind, QueryError> {
        let mut filters = Vec::new();
        match parameters.get("filters") {
            Some(Value::Object(named)) => {
                for (name, query) in named {
                    filters.push((Some(name.clone()), self.filter(query)?));
                }
            }
            Some(Value::Array(list)) => {
                for query in list {
                    filters.push((None, self.filter(query)?));
                }
            }
            _ => return Err(QueryError::argument("it needs [filters]")),
        }
        let other_key = parameters.get("other_bucket_key").and_then(Value::as_str);
        let other = (other_key.is_some() || flag(parameters, "other_bucket", false)?)
            .then(|| other_key.unwrap_or("_other_").to_owned());
        Ok(Kind::Fixed(Fixed::Several { filters, other }))
    }

    fn composite(&mut self, parameters: &Value) -> Result<Kind, QueryError> {
        let list = parameters
            .get("sources")
            .and_then(Value::as_array)
            .filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| QueryError::argument("it needs a list of [sources]"))?;
        let mut sources = Vec::new();
        for source in list {
            let (name, body) = crate::parse::single("sources", source)?;
            let (kind, inner) = crate::parse::single(name, body)?;
            only(inner, name, SOURCE_KEYS)?;
            let interval = match kind {
                "terms" => None,
                "date_histogram" => Some(Self::date_interval(inner)?),
                "histogram" => {
                    let step = inner.get("interval").and_then(Value::as_f64).filter(|step| *step > 0.0);
                    let step = step.ok_or_else(|| QueryError::argument(format!("source [{name}] needs [interval]")))?;
                    Some(Interval::Number { step, offset: 0.0 })
                }
                other => {
                    return Err(QueryError::argument(format!(
                        "source [{name}] has the unknown type [{other}]"
                    )));
                }
            };
            sources.push(super::composite::Source {
                name: name.to_owned(),
                field: self.field(inner)?,
                interval,
                dates: kind == "date_histogram",
                descending: inner.get("order").and_then(Value::as_str) == Some("desc"),
                missing_bucket: flag(inner, "missing_bucket", false)?,
                format: inner.get("format").and_then(Value::as_str).map(ToOwned::to_owned),
            });
        }
        Composite::new(sources, number(parameters, "size", 10)?, parameters.get("after")).map(Kind::Composite)
    }
}

/// Of a source of `composite`.
const SOURCE_KEYS: &[&str] = &[
    "calendar_interval",
    "field",
    "fixed_interval",
    "format",
    "interval",
    "missing_bucket",
    "offset",
    "order",
    "time_zone",
];

/// Refuses what would be passed over otherwise.
fn only(body: &Value, owner: &str, known: &[&str]) -> Result<(), QueryError> {
    let keys = body.as_object().into_iter().flat_map(Map::keys);
    match keys.into_iter().find(|key| !known.contains(&key.as_str())) {
        Some(unknown) => Err(QueryError::argument(format!("[{owner}] does not support [{unknown}]"))),
        None => Ok(()),
    }
}

fn top_hits(parameters: &Value) -> Result<TopHits, QueryError> {
    let mut body = parameters.clone();
    if let Value::Object(body) = &mut body {
        body.entry("size").or_insert_with(|| json!(3));
    }
    let request = SearchRequest::from_json(&body)?;
    if request.from + request.size > 100 {
        return Err(QueryError::argument("[from] + [size] must be at most 100"));
    }
    Ok(TopHits {
        from: request.from,
        size: request.size,
        sort: request.sort,
        source: request.source,
        version: request.version,
        seq_no_primary_term: request.seq_no_primary_term,
    })
}

fn missing(parameters: &Value) -> Option<Scalar> {
    parameters.get("missing").and_then(Scalar::of)
}

fn number(parameters: &Value, key: &str, default: usize) -> Result<usize, QueryError> {
    match parameters.get(key) {
        None => Ok(default),
        Some(value) => value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| QueryError::argument(format!("[{key}] must be a number from 0"))),
    }
}

fn flag(parameters: &Value, key: &str, default: bool) -> Result<bool, QueryError> {
    match parameters.get(key) {
        None => Ok(default),
        Some(value) => value
            .as_bool()
            .ok_or_else(|| QueryError::argument(format!("[{key}] must be true or false"))),
    }
}

fn percents(parameters: &Value) -> Result<Vec<f64>, QueryError> {
    let wrong = || QueryError::argument("[percents] must be a list of numbers from 0 to 100");
    match parameters.get("percents") {
        None => Ok(vec![1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0]),
        Some(Value::Array(list)) => list
            .iter()
            .map(|value| {
                value
                    .as_f64()
                    .filter(|percent| (0.0..=100.0).contains(percent))
                    .ok_or_else(wrong)
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}
