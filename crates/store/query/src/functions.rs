//! `function_score`: functions that change the score of what a clause matches.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::aggregate::fixed_interval;
use crate::date_math;
use crate::dsl::{Query, QueryError};
use crate::evaluate::DocumentMeta;
use crate::matcher::Document;
use crate::parse::{Keys, scalar_text};

/// A clause and its functions.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreFunctions {
    /// What is matched.
    pub query: Query,
    /// Each with the filter that decides whether it counts.
    pub functions: Vec<(Option<Query>, ScoreFunction)>,
    /// How the functions become one number.
    pub score_mode: Combination,
    /// How that number and the clause's score become one.
    pub boost_mode: Combination,
    /// The number is at most this.
    pub most: f32,
    /// As the client wrote it.
    pub body: Value,
}

/// One function.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreFunction {
    weight: f64,
    kind: FunctionKind,
}

/// How numbers become one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Combination {
    /// Their product.
    Multiply,
    /// Their sum.
    Sum,
    /// Their average, weighted.
    Avg,
    /// The first of them.
    First,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// The functions' alone.
    Replace,
}

#[derive(Clone, Debug, PartialEq)]
enum FunctionKind {
    Weight,
    Field {
        field: String,
        factor: f64,
        modifier: Modifier,
        missing: f64,
    },
    Random {
        seed: String,
        field: Option<String>,
    },
    Decay(Box<Decay>),
}

/// The farther from the origin, the less.
#[derive(Clone, Debug, PartialEq)]
struct Decay {
    shape: Shape,
    field: String,
    origin: Value,
    scale: Value,
    offset: Option<Value>,
    /// What is left of 1 at this distance.
    left: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Modifier {
    None,
    Log,
    Log1p,
    Log2p,
    Ln,
    Ln1p,
    Ln2p,
    Square,
    Sqrt,
    Reciprocal,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Gauss,
    Exp,
    Linear,
}

/// Of `function_score` itself; a single function may stand beside them.
const OWN: &[&str] = &[
    "query",
    "functions",
    "score_mode",
    "boost_mode",
    "max_boost",
    "boost",
    "_name",
];
const KINDS: &[&str] = &["weight", "field_value_factor", "random_score", "gauss", "exp", "linear"];

impl ScoreFunctions {
    /// Reads a `function_score`; `query` reads the clauses in it.
    pub(crate) fn parse(
        body: &Value,
        query: &dyn Fn(&Value) -> Result<Query, QueryError>,
    ) -> Result<(Self, f32), QueryError> {
        let mut keys = Keys::of("function_score", body)?;
        let clause = keys.take("query").map_or(Ok(Query::MatchAll), query)?;
        let functions = match keys.take("functions") {
            Some(Value::Array(list)) => list.iter().map(|one| function(one, query)).collect::<Result<_, _>>()?,
            Some(_) => return Err(keys.wrong("functions", "a list")),
            None => single(body, query)?,
        };
        let score_mode = combination(&mut keys, "score_mode")?;
        let boost_mode = combination(&mut keys, "boost_mode")?;
        let most = keys.number("max_boost")?.unwrap_or(f64::from(f32::MAX)) as f32;
        let boost = keys.number("boost")?.unwrap_or(1.0) as f32;
        keys.ignore(&["_name"]);
        keys.ignore(KINDS);
        keys.finish()?;
        if boost_mode == Combination::First || score_mode == Combination::Replace {
            return Err(QueryError::argument(
                "[function_score] [boost_mode] cannot be `first`, [score_mode] cannot be `replace`",
            ));
        }
        let parsed = Self {
            query: clause,
            functions,
            score_mode,
            boost_mode,
            most,
            body: body.clone(),
        };
        Ok((parsed, boost))
    }

    /// The body for a peer, with the clauses as `query` writes them.
    ///
    /// # Errors
    /// Those of `query`.
    pub fn to_json<E>(&self, query: &dyn Fn(&Query) -> Result<Value, E>) -> Result<Value, E> {
        let mut body = self.body.clone();
        body["query"] = query(&self.query)?;
        if let Some(functions) = body.get_mut("functions").and_then(Value::as_array_mut) {
            for (function, (filter, _)) in functions.iter_mut().zip(&self.functions) {
                if let Some(filter) = filter {
                    function["filter"] = query(filter)?;
                }
            }
        }
        Ok(json!({ "function_score": body }))
    }

    /// The score of a document that the clause gives `score`; `counts` tells whether a function's filter holds.
    pub(crate) fn score(&self, score: f32, values: &[Option<f64>]) -> f32 {
        let counted: Vec<(f64, f64)> = self
            .functions
            .iter()
            .zip(values)
            .filter_map(|((_, function), value)| Some((function.weight, (*value)?)))
            .collect();
        let number = self.score_mode.of_functions(&counted).min(f64::from(self.most));
        self.boost_mode.with_score(f64::from(score), number) as f32
    }

    /// The field that a function looks at.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.functions.iter().filter_map(|(_, function)| match &function.kind {
            FunctionKind::Weight => None,
            FunctionKind::Random { field, .. } => field.as_deref(),
            FunctionKind::Field { field, .. } => Some(field),
            FunctionKind::Decay(decay) => Some(&decay.field),
        })
    }
}

impl Combination {
    /// Of `(weight, weighted value)`; 1 when no function counts.
    fn of_functions(self, counted: &[(f64, f64)]) -> f64 {
        let values = || counted.iter().map(|(_, value)| *value);
        if counted.is_empty() {
            return 1.0;
        }
        match self {
            Self::Multiply | Self::Replace => values().product(),
            Self::Sum => values().sum(),
            Self::Avg => values().sum::<f64>() / counted.iter().map(|(weight, _)| weight).sum::<f64>(),
            Self::First => counted[0].1,
            Self::Max => values().fold(f64::NEG_INFINITY, f64::max),
            Self::Min => values().fold(f64::INFINITY, f64::min),
        }
    }

    fn with_score(self, score: f64, number: f64) -> f64 {
        match self {
            Self::Multiply => score * number,
            Self::Sum => score + number,
            Self::Avg => f64::midpoint(score, number),
            Self::First | Self::Replace => number,
            Self::Max => score.max(number),
            Self::Min => score.min(number),
        }
    }
}

impl ScoreFunction {
    /// Its weighted value for a document.
    pub(crate) fn value(&self, document: &dyn Document, meta: &DocumentMeta<'_>, now: Option<Timestamp>) -> f64 {
        let value = match &self.kind {
            FunctionKind::Weight => 1.0,
            FunctionKind::Field {
                field,
                factor,
                modifier,
                missing,
            } => {
                let found = first_number(document, field).unwrap_or(*missing);
                modifier.apply(found * factor)
            }
            FunctionKind::Random { seed, field } => random(seed, field.as_deref(), document, meta),
            FunctionKind::Decay(decay) => decay.value(document, now),
        };
        value * self.weight
    }
}

impl Decay {
    /// 1 for a document without the field.
    fn value(&self, document: &dyn Document, now: Option<Timestamp>) -> f64 {
        let far = distance(document, &self.field, &self.origin, self.offset.as_ref(), now);
        let scale = span(&self.scale).unwrap_or(1.0);
        far.map_or(1.0, |far| self.shape.at(far, scale, self.left))
    }
}

fn first_number(document: &dyn Document, field: &str) -> Option<f64> {
    let mut found = None;
    document.visit(field, &mut |value| {
        let number = value
            .as_f64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        found = found.or(number);
    });
    found
}

/// The same seed gives the same document the same number from 0 to 1.
fn random(seed: &str, field: Option<&str>, document: &dyn Document, meta: &DocumentMeta<'_>) -> f64 {
    let mut value = meta.seq_no.to_string();
    if let Some(field) = field.filter(|field| *field != "_seq_no") {
        value.clear();
        document.visit(field, &mut |found| {
            value.push_str(&scalar_text(found).unwrap_or_default());
        });
    }
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((seed, value));
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// How far the nearest value is from the origin, the offset taken off; `None` without a value.
fn distance(
    document: &dyn Document,
    field: &str,
    origin: &Value,
    offset: Option<&Value>,
    now: Option<Timestamp>,
) -> Option<f64> {
    let from = point(origin, now)?;
    let offset = offset.and_then(span).unwrap_or(0.0);
    let mut nearest: Option<f64> = None;
    document.visit(field, &mut |value| {
        if let Some(at) = point(value, now) {
            let far = ((at - from).abs() - offset).max(0.0);
            nearest = Some(nearest.map_or(far, |known| known.min(far)));
        }
    });
    nearest
}

/// A number, or a date in milliseconds.
fn point(value: &Value, now: Option<Timestamp>) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok().or_else(|| {
            let time = date_math::resolve(text, now.unwrap_or(Timestamp::UNIX_EPOCH), false).ok()?;
            Some(time.as_millisecond() as f64)
        }),
        _ => None,
    }
}

/// A number, or a time such as `10d` in milliseconds.
fn span(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text
            .parse()
            .ok()
            .or_else(|| fixed_interval(text).ok().map(|millis| millis as f64)),
        _ => None,
    }
}

impl Shape {
    fn at(self, distance: f64, scale: f64, decay: f64) -> f64 {
        match self {
            Self::Gauss => (distance.powi(2) * decay.ln() / scale.powi(2)).exp(),
            Self::Exp => (distance * decay.ln() / scale).exp(),
            Self::Linear => {
                let end = scale / (1.0 - decay);
                ((end - distance) / end).max(0.0)
            }
        }
    }
}

impl Modifier {
    fn apply(self, value: f64) -> f64 {
        match self {
            Self::None => value,
            Self::Log => value.log10(),
            Self::Log1p => (value + 1.0).log10(),
            Self::Log2p => (value + 2.0).log10(),
            Self::Ln => value.ln(),
            Self::Ln1p => value.ln_1p(),
            Self::Ln2p => (value + 1.0).ln_1p(),
            Self::Square => value * value,
            Self::Sqrt => value.sqrt(),
            Self::Reciprocal => 1.0 / value,
        }
    }
}

fn combination(keys: &mut Keys<'_>, key: &'static str) -> Result<Combination, QueryError> {
    Ok(match keys.text(key)?.as_deref() {
        None | Some("multiply") => Combination::Multiply,
        Some("sum") => Combination::Sum,
        Some("avg") => Combination::Avg,
        Some("first") => Combination::First,
        Some("max") => Combination::Max,
        Some("min") => Combination::Min,
        Some("replace") => Combination::Replace,
        Some(other) => {
            return Err(QueryError::argument(format!(
                "[function_score] illegal {key} [{other}]"
            )));
        }
    })
}

/// A function that stands in `function_score` itself.
fn single(
    body: &Value,
    query: &dyn Fn(&Value) -> Result<Query, QueryError>,
) -> Result<Vec<(Option<Query>, ScoreFunction)>, QueryError> {
    let own = body.as_object().into_iter().flatten();
    let parts: Map<String, Value> = own
        .filter(|(key, _)| !OWN.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![function(&Value::Object(parts), query)?])
}

fn function(
    body: &Value,
    query: &dyn Fn(&Value) -> Result<Query, QueryError>,
) -> Result<(Option<Query>, ScoreFunction), QueryError> {
    let mut keys = Keys::of("function_score", body)?;
    let filter = keys.take("filter").map(query).transpose()?;
    let weight = keys.number("weight")?;
    let mut kind = None;
    let mut found = |parsed: FunctionKind| match kind.replace(parsed) {
        None => Ok(()),
        Some(_) => Err(QueryError::parsing(
            "failed to parse [function_score] query. already found function, now encountering another one",
        )),
    };
    if let Some(inner) = keys.take("field_value_factor") {
        found(field_value_factor(inner)?)?;
    }
    if let Some(inner) = keys.take("random_score") {
        found(random_score(inner)?)?;
    }
    for (key, shape) in [("gauss", Shape::Gauss), ("exp", Shape::Exp), ("linear", Shape::Linear)] {
        if let Some(inner) = keys.take(key) {
            found(decay(key, shape, inner)?)?;
        }
    }
    keys.finish()?;
    match (kind, weight) {
        (None, None) => Err(QueryError::parsing("an entry in functions list is missing a function.")),
        (kind, weight) => Ok((
            filter,
            ScoreFunction {
                weight: weight.unwrap_or(1.0),
                kind: kind.unwrap_or(FunctionKind::Weight),
            },
        )),
    }
}

fn field_value_factor(body: &Value) -> Result<FunctionKind, QueryError> {
    let mut keys = Keys::of("field_value_factor", body)?;
    keys.required("field")?;
    let field = keys.text("field")?.unwrap_or_default();
    let modifier = match keys.text("modifier")?.unwrap_or_default().to_lowercase().as_str() {
        "" | "none" => Modifier::None,
        "log" => Modifier::Log,
        "log1p" => Modifier::Log1p,
        "log2p" => Modifier::Log2p,
        "ln" => Modifier::Ln,
        "ln1p" => Modifier::Ln1p,
        "ln2p" => Modifier::Ln2p,
        "square" => Modifier::Square,
        "sqrt" => Modifier::Sqrt,
        "reciprocal" => Modifier::Reciprocal,
        other => {
            return Err(QueryError::argument(format!(
                "[field_value_factor] [modifier] [{other}] is unknown"
            )));
        }
    };
    // The original fails at the first document without the field.
    keys.required("missing")?;
    let missing = keys.number("missing")?.unwrap_or_default();
    let factor = keys.number("factor")?.unwrap_or(1.0);
    keys.finish()?;
    Ok(FunctionKind::Field {
        field,
        factor,
        modifier,
        missing,
    })
}

fn random_score(body: &Value) -> Result<FunctionKind, QueryError> {
    let mut keys = Keys::of("random_score", body)?;
    let parsed = FunctionKind::Random {
        seed: keys.text("seed")?.unwrap_or_default(),
        field: keys.text("field")?,
    };
    keys.finish()?;
    Ok(parsed)
}

fn decay(kind: &'static str, shape: Shape, body: &Value) -> Result<FunctionKind, QueryError> {
    let mut keys = Keys::of(kind, body)?;
    if let Some(mode) = keys
        .text("multi_value_mode")?
        .filter(|mode| !mode.eq_ignore_ascii_case("min"))
    {
        return Err(QueryError::argument(format!(
            "[{kind}] [multi_value_mode] [{mode}] is not supported, only [min] is"
        )));
    }
    let object = body.as_object().into_iter().flatten();
    let mut fields = object.filter(|(key, _)| *key != "multi_value_mode");
    let (Some((field, options)), None) = (fields.next(), fields.next()) else {
        return Err(QueryError::parsing(format!("[{kind}] takes exactly one field")));
    };
    let mut keys = Keys::of(kind, options)?;
    let origin = keys.take("origin").cloned().unwrap_or_else(|| Value::from("now"));
    let scale = keys.required("scale")?.clone();
    let offset = keys.take("offset").cloned();
    let decay = keys.number("decay")?.unwrap_or(0.5);
    keys.finish()?;
    for value in std::iter::once(&scale).chain(&offset) {
        span(value).ok_or_else(|| {
            QueryError::parsing(format!(
                "[{kind}] cannot read [{value}] as a distance; geo points are not supported"
            ))
        })?;
    }
    if point(&origin, None).is_none() {
        return Err(QueryError::parsing(format!(
            "[{kind}] cannot read [{origin}] as an [origin]; geo points are not supported"
        )));
    }
    if decay <= 0.0 || decay >= 1.0 {
        return Err(QueryError::argument(format!(
            "decay must be in the range (0..1), but got [{decay}]"
        )));
    }
    Ok(FunctionKind::Decay(Box::new(Decay {
        shape,
        field: field.clone(),
        origin,
        scale,
        offset,
        left: decay,
    })))
}
