//! Searching ordinary indices: SQL narrows the candidates down, a [`Matcher`] decides.

use std::sync::PoisonError;

use jiff::Timestamp;
use query::aggregate::Plan;
use query::mapping::Mapping;
use query::matcher::{Document as Fields, FieldNames, Matcher, Statistics, field_names};
use query::{DocumentMeta, Query, RangeBound, SearchRequest, Sort, SortOrder, compare_values, date_math, field};
use rusqlite::{Connection, OptionalExtension, params_from_iter, types};
use serde_json::{Map, Value};
use store::{Document, Hit, Source, StoreError};

use super::projection::{Projected, Row};
use super::{IndexMeta, State, store_error};
use crate::results::Page;

/// More values than this in one clause are not handed to SQL.
const MOST_VALUES: usize = 500;
/// Fewer candidates than this are parsed as they come.
const WORTH_HOLDING: usize = 50;

/// One index that is searched.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) state: &'a State,
    pub(crate) name: &'a str,
    pub(crate) index: &'a IndexMeta,
    pub(crate) now: Timestamp,
}

impl<'a> Place<'a> {
    fn mapping(&self) -> Option<&'a Mapping> {
        self.index.mapping.as_deref()
    }

    /// Refuses what the fields of the index cannot do.
    fn check(&self, request: &SearchRequest, plan: Option<&Plan>) -> Result<(), StoreError> {
        let Some(mapping) = self.mapping() else { return Ok(()) };
        request
            .sort
            .iter()
            .try_for_each(|sort| mapping.check_sort(self.name, sort))?;
        mapping.check_shown(self.name, &request.fields)?;
        for field in plan.into_iter().flat_map(Plan::fields) {
            mapping.check_columns(self.name, field)?;
        }
        Ok(())
    }

    /// The fields that a search looks at in each document.
    fn looked_at(&self, request: &SearchRequest, plan: Option<&Plan>) -> FieldNames {
        let mapping = self.mapping();
        let mut names = FieldNames::none();
        field_names(&request.query, mapping, &mut names);
        for sort in request.sort.iter().filter(|sort| !sort.field.starts_with('_')) {
            names.add(
                &sort.field,
                mapping.filter(|mapping| mapping.field(&sort.field).is_some()),
            );
        }
        if let Some(plan) = plan {
            let fields = plan.fields().iter().map(String::as_str).chain(plan.sorted_by());
            for name in fields.filter(|name| !name.starts_with('_')) {
                names.add(name, mapping.filter(|mapping| mapping.field(name).is_some()));
            }
            plan.filters()
                .iter()
                .for_each(|filter| field_names(filter, mapping, &mut names));
        }
        names
    }
}

/// Adds the index's part to a search: returns how many documents match. `each` sees every match.
pub(crate) fn search(
    place: Place<'_>,
    request: &SearchRequest,
    plan: Option<&Plan>,
    page: &mut Page,
    each: &mut dyn FnMut(&Found<'_>),
) -> Result<u64, StoreError> {
    place.check(request, plan)?;
    let matcher = Matcher::compile(&request.query, place.mapping(), Some(place.now))?;
    let looked_at = place.looked_at(request, plan);
    let statistics = if request.scores() {
        statistics(place, &matcher, &looked_at)?
    } else {
        None
    };
    let sort = page.sort().to_vec();
    let after = request
        .search_after
        .as_ref()
        .map(|after| cursor(place.mapping(), &request.sort, after));
    let mut total = 0;
    scan(place, &request.query, &looked_at, &mut |found| {
        let score = match &statistics {
            Some(statistics) => match matcher.score(found.fields, &found.meta(), statistics) {
                Some(score) => score,
                None => return,
            },
            None if matcher.holds(found.fields, &found.meta()) => 0.0,
            None => return,
        };
        if request.min_score.is_some_and(|least| score < least) {
            return;
        }
        total += 1;
        each(found);
        let keys: Vec<Value> = sort.iter().map(|sort| found.sort_value(sort, score)).collect();
        if page.wants(&keys, after.as_deref()) {
            page.push(Hit {
                document: found.without_source(),
                score: statistics.is_some().then_some(score),
                sort: keys,
                fields: Map::new(),
            });
        }
    })?;
    Ok(total)
}

/// What scores depend on, counted over the whole index.
fn statistics(place: Place<'_>, matcher: &Matcher, looked_at: &FieldNames) -> Result<Option<Statistics>, StoreError> {
    let Some(mut statistics) = matcher.statistics() else {
        return Ok(Some(Statistics::default()));
    };
    scan(place, &Query::MatchAll, looked_at, &mut |found| {
        statistics.observe(found.fields);
    })?;
    Ok(Some(statistics))
}

fn cursor(mapping: Option<&Mapping>, sort: &[Sort], after: &[Value]) -> Vec<Value> {
    let one =
        |(sort, value): (&Sort, &Value)| mapping.map_or_else(|| value.clone(), |mapping| mapping.cursor(sort, value));
    sort.iter().zip(after).map(one).collect()
}

/// How many documents match.
pub(crate) fn count(place: Place<'_>, query: &Query) -> Result<u64, StoreError> {
    if *query == Query::MatchAll {
        let sql = format!("SELECT count(*) FROM d{}", place.index.number);
        return place
            .connection
            .query_row(&sql, [], |row| row.get(0))
            .map_err(store_error);
    }
    let matcher = Matcher::compile(query, place.mapping(), Some(place.now))?;
    let mut looked_at = FieldNames::none();
    field_names(query, place.mapping(), &mut looked_at);
    let mut total = 0;
    scan(place, query, &looked_at, &mut |found| {
        total += u64::from(matcher.holds(found.fields, &found.meta()));
    })?;
    Ok(total)
}

/// The document of that id.
pub(crate) fn get(
    connection: &Connection,
    name: &str,
    index: &IndexMeta,
    id: &str,
) -> Result<Option<Document>, StoreError> {
    let sql = format!("SELECT seq, version, body FROM d{} WHERE id = ?", index.number);
    let mut statement = connection.prepare_cached(&sql).map_err(store_error)?;
    let found = statement.query_row([id], |row| {
        let body: Vec<u8> = row.get(2)?;
        Ok(Document {
            index: name.to_owned(),
            seq_no: row.get(0)?,
            id: id.to_owned(),
            version: row.get(1)?,
            source: Source::from_checked(body.into()),
        })
    });
    found.optional().map_err(store_error)
}

/// The number of the last write of that id.
pub(crate) fn seq_no(connection: &Connection, index: &IndexMeta, id: &str) -> Result<Option<u64>, StoreError> {
    let sql = format!("SELECT seq FROM d{} WHERE id = ?", index.number);
    let mut statement = connection.prepare_cached(&sql).map_err(store_error)?;
    let found = statement.query_row([id], |row| row.get(0));
    found.optional().map_err(store_error)
}

/// The text of the document with that number.
pub(crate) fn source(connection: &Connection, index: &IndexMeta, seq_no: u64) -> Result<Source, StoreError> {
    let sql = format!("SELECT body FROM d{} WHERE seq = ?", index.number);
    let mut statement = connection.prepare_cached(&sql).map_err(store_error)?;
    let body: Vec<u8> = statement.query_row([seq_no], |row| row.get(0)).map_err(store_error)?;
    Ok(Source::from_checked(body.into()))
}

/// A document while it is looked at.
pub(crate) struct Found<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) id: &'a str,
    pub(crate) seq_no: u64,
    pub(crate) version: u64,
    pub(crate) fields: &'a dyn Fields,
}

impl Found<'_> {
    pub(crate) fn meta(&self) -> DocumentMeta<'_> {
        DocumentMeta {
            id: self.id,
            seq_no: self.seq_no,
            index: self.place.name,
        }
    }

    fn without_source(&self) -> Document {
        Document {
            index: self.place.name.to_owned(),
            id: self.id.to_owned(),
            version: self.version,
            seq_no: self.seq_no,
            source: Source::from_checked(bytes::Bytes::new()),
        }
    }

    pub(crate) fn document(&self) -> Result<Document, StoreError> {
        let source = source(self.place.connection, self.place.index, self.seq_no)?;
        Ok(Document {
            source,
            ..self.without_source()
        })
    }

    /// A document's value for one sort key.
    pub(crate) fn sort_value(&self, sort: &Sort, score: f32) -> Value {
        match sort.field.as_str() {
            "_seq_no" | "_doc" | "_shard_doc" => Value::from(self.seq_no),
            "_id" => Value::from(self.id),
            "_index" => Value::from(self.place.name),
            "_score" => Value::from(score),
            _ => match self.place.mapping() {
                Some(mapping) => mapping.sort_value(self.fields, sort),
                None => loose_sort_value(self.fields, sort),
            },
        }
    }
}

/// The smallest or largest of several; dates as milliseconds; null when missing.
fn loose_sort_value(fields: &dyn Fields, sort: &Sort) -> Value {
    let name = sort.field.strip_suffix(".keyword").unwrap_or(&sort.field);
    let mut best = Value::Null;
    fields.visit(name, &mut |value| {
        if value.is_null() || value.is_object() {
            return;
        }
        let better = match sort.order {
            SortOrder::Ascending => compare_values(value, &best).is_lt(),
            SortOrder::Descending => compare_values(value, &best).is_gt(),
        };
        if best.is_null() || better {
            best = value.clone();
        }
    });
    date_as_millis(best)
}

fn date_as_millis(value: Value) -> Value {
    match &value {
        Value::String(text) if date_math::looks_like_date_time(text) => {
            date_math::millis(text).map_or(value, Value::from)
        }
        _ => value,
    }
}

/// Shows `visit` every candidate, in the order of their numbers.
fn scan(
    place: Place<'_>,
    query: &Query,
    looked_at: &FieldNames,
    visit: &mut dyn FnMut(&Found<'_>),
) -> Result<(), StoreError> {
    // What is read below belongs together.
    let outer = !place.connection.is_autocommit();
    let transaction = if outer {
        None
    } else {
        Some(place.connection.unchecked_transaction().map_err(store_error)?)
    };
    let numbers = candidates(place, query)?;
    let held = match looked_at {
        FieldNames::These(names) if numbers.len() >= WORTH_HOLDING => {
            place.state.projections.of(place.index.number, &mut names.iter())
        }
        _ => None,
    };
    match held {
        Some(held) => scan_held(place, &numbers, &held, visit)?,
        None => read_each(place, &numbers, &mut |seq_no, id, version, source| {
            visit(&Found {
                place,
                id,
                seq_no,
                version,
                fields: source,
            });
        })?,
    }
    transaction
        .map_or(Ok(()), rusqlite::Transaction::commit)
        .map_err(store_error)
}

fn scan_held(
    place: Place<'_>,
    numbers: &[u64],
    held: &std::sync::RwLock<super::projection::Projection>,
    visit: &mut dyn FnMut(&Found<'_>),
) -> Result<(), StoreError> {
    let (fields, missing) = {
        let held = held.read().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<u64> = numbers
            .iter()
            .copied()
            .filter(|number| held.row(*number).is_none())
            .collect();
        (held.fields().to_vec(), missing)
    };
    let mut rows = Vec::with_capacity(missing.len());
    read_each(place, &missing, &mut |seq_no, id, version, source| {
        rows.push((seq_no, Row::new(id, version, source, &fields)));
    })?;
    if !rows.is_empty() {
        let mut held = held.write().unwrap_or_else(PoisonError::into_inner);
        held.insert(rows, numbers.len());
    }
    let held = held.read().unwrap_or_else(PoisonError::into_inner);
    let mut rest = Vec::new();
    for number in numbers {
        let Some(row) = held.row(*number) else {
            // Another search has made room, or asked for more fields, meanwhile.
            rest.push(*number);
            continue;
        };
        let fields = Projected {
            fields: held.fields(),
            row,
        };
        visit(&Found {
            place,
            id: &row.id,
            seq_no: *number,
            version: row.version,
            fields: &fields,
        });
    }
    drop(held);
    read_each(place, &rest, &mut |seq_no, id, version, source| {
        visit(&Found {
            place,
            id,
            seq_no,
            version,
            fields: source,
        });
    })
}

/// Reads and parses documents by their numbers.
fn read_each(
    place: Place<'_>,
    numbers: &[u64],
    each: &mut dyn FnMut(u64, &str, u64, &Value),
) -> Result<(), StoreError> {
    let sql = format!("SELECT id, version, body FROM d{} WHERE seq = ?", place.index.number);
    let mut statement = place.connection.prepare_cached(&sql).map_err(store_error)?;
    for number in numbers {
        let mut rows = statement.query([number]).map_err(store_error)?;
        if let Some(row) = rows.next().map_err(store_error)? {
            let read = || -> rusqlite::Result<(&str, u64, Value)> {
                let source = serde_json::from_slice(row.get_ref(2)?.as_blob()?).unwrap_or(Value::Null);
                Ok((row.get_ref(0)?.as_str()?, row.get(1)?, source))
            };
            let (id, version, source) = read().map_err(store_error)?;
            each(*number, id, version, &source);
        }
    }
    Ok(())
}

/// The numbers of the documents that may match, rising.
fn candidates(place: Place<'_>, query: &Query) -> Result<Vec<u64>, StoreError> {
    let mut narrowing = Narrowing {
        index: place.index,
        conditions: Vec::new(),
        values: Vec::new(),
    };
    narrowing.add(query);
    let condition = if narrowing.conditions.is_empty() {
        "1".to_owned()
    } else {
        narrowing.conditions.join(" AND ")
    };
    // Without an order of its own the small index of ids answers; the large table need not be read.
    let sql = format!("SELECT seq FROM d{} WHERE {condition}", place.index.number);
    let mut statement = place.connection.prepare_cached(&sql).map_err(store_error)?;
    let numbers = statement
        .query_map(params_from_iter(narrowing.values), |row| row.get(0))
        .map_err(store_error)?;
    let mut numbers: Vec<u64> = numbers.collect::<rusqlite::Result<_>>().map_err(store_error)?;
    numbers.sort_unstable();
    Ok(numbers)
}

/// Conditions that every match fulfils.
struct Narrowing<'a> {
    index: &'a IndexMeta,
    conditions: Vec<String>,
    values: Vec<types::Value>,
}

impl Narrowing<'_> {
    fn add(&mut self, query: &Query) {
        match query {
            Query::Bool { must, filter, .. } => must.iter().chain(filter).for_each(|clause| self.add(clause)),
            Query::Constant(inner, _) | Query::Weighted(inner, _) => self.add(inner),
            Query::Scored(scored) => self.add(&scored.query),
            Query::Ids(ids) if ids.len() <= MOST_VALUES => self.any_of("id", ids.iter().cloned(), false),
            Query::Term(name, Value::String(text)) => self.text(name, std::slice::from_ref(text)),
            Query::Terms(name, values) if values.len() <= MOST_VALUES => {
                let texts: Option<Vec<String>> = values
                    .iter()
                    .map(|value| value.as_str().map(ToOwned::to_owned))
                    .collect();
                if let Some(texts) = texts {
                    self.text(name, &texts);
                }
            }
            Query::Range { field, from, to } if field == "_seq_no" => {
                self.bound(from.as_ref(), ">");
                self.bound(to.as_ref(), "<");
            }
            _ => {}
        }
    }

    fn text(&mut self, name: &str, texts: &[String]) {
        if name == "_id" {
            self.any_of("id", texts.iter().cloned(), false);
        } else if let Some(column) = self.index.looked_up.iter().position(|field| *field == name) {
            self.any_of(&format!("k{column}"), texts.iter().cloned(), true);
        }
    }

    /// Columns are null where a document has several values: those stay candidates.
    fn any_of(&mut self, column: &str, texts: impl Iterator<Item = String>, or_null: bool) {
        let before = self.values.len();
        self.values.extend(texts.map(types::Value::from));
        let marks = vec!["?"; self.values.len() - before].join(", ");
        let null = if or_null {
            format!(" OR {column} IS NULL")
        } else {
            String::new()
        };
        self.conditions.push(format!("({column} IN ({marks}){null})"));
    }

    fn bound(&mut self, bound: Option<&RangeBound>, sign: &str) {
        if let Some(RangeBound { value, inclusive, .. }) = bound
            && let Some(number) = value.as_i64()
        {
            self.conditions
                .push(format!("seq {sign}{} ?", if *inclusive { "=" } else { "" }));
            self.values.push(types::Value::from(number));
        }
    }
}

/// How many documents an index has, and roughly how many bytes.
pub(crate) fn size(connection: &Connection, index: &IndexMeta) -> Result<(u64, u64), StoreError> {
    let sql = format!(
        "SELECT count(*), coalesce(sum(length(body) + length(id)), 0) FROM d{}",
        index.number
    );
    connection
        .query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(store_error)
}

/// The declared mapping, with what the newest documents show beside it.
pub(crate) fn mapping(connection: &Connection, index: &IndexMeta) -> Result<Value, StoreError> {
    if let Some(mapping) = &index.mapping {
        return Ok(mapping.to_json());
    }
    let body: String = connection
        .query_row("SELECT body FROM indices WHERE number = ?", [index.number], |row| {
            row.get(0)
        })
        .map_err(store_error)?;
    let body: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let mut properties = body
        .pointer("/mappings/properties")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let sql = format!("SELECT body FROM d{} ORDER BY seq DESC LIMIT 100", index.number);
    let mut statement = connection.prepare(&sql).map_err(store_error)?;
    let mut rows = statement.query([]).map_err(store_error)?;
    while let Some(row) = rows.next().map_err(store_error)? {
        let body: Vec<u8> = row.get(0).map_err(store_error)?;
        let source: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        field::visit_all(&source, &mut |name, value| {
            let kind = match value {
                Value::Null | Value::Array(_) | Value::Object(_) => return,
                Value::Bool(_) => "boolean",
                Value::Number(number) if number.is_f64() => "double",
                Value::Number(_) => "long",
                Value::String(text) if date_math::looks_like_date_time(text) => "date",
                Value::String(_) => "keyword",
            };
            add_property(&mut properties, name, kind);
        });
    }
    Ok(serde_json::json!({ "properties": properties }))
}

/// Puts a full name into nested `properties`, unless it is there.
pub(crate) fn add_property(properties: &mut Map<String, Value>, name: &str, kind: &str) {
    let (first, rest) = name
        .split_once('.')
        .map_or((name, None), |(first, rest)| (first, Some(rest)));
    let entry = properties.entry(first).or_insert_with(|| Value::Object(Map::new()));
    let Some(entry) = entry.as_object_mut() else { return };
    match rest {
        None if entry.is_empty() => {
            entry.insert("type".to_owned(), Value::from(kind));
        }
        Some(rest) if !entry.contains_key("type") => {
            let inner = entry.entry("properties").or_insert_with(|| Value::Object(Map::new()));
            if let Some(inner) = inner.as_object_mut() {
                add_property(inner, rest, kind);
            }
        }
        _ => {}
    }
}
