//! Searching ordinary indices: SQL narrows the candidates down, [`query::matches_at`] decides.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use query::{
    DocumentMeta, Query, RangeBound, SearchRequest, Sort, SortOrder, compare_values, date_math, field, matches_at,
};
use rusqlite::{Connection, Row, params_from_iter, types};
use serde_json::{Map, Value};
use store::{Document, Hit, Source, StoreError};

use super::{IndexMeta, store_error};
use crate::results::Page;

/// More values than this in one clause are not handed to SQL.
const MOST_VALUES: usize = 500;

/// Adds the index's part to a search: returns how many documents match. `each` sees every match.
pub(crate) fn search(
    connection: &Connection,
    name: &str,
    index: &IndexMeta,
    request: &SearchRequest,
    now: Timestamp,
    page: &mut Page,
    each: &mut dyn FnMut(&Found<'_>),
) -> Result<u64, StoreError> {
    let mut total = 0;
    scan(connection, name, index, &request.query, now, &mut |found| {
        total += 1;
        each(found);
        let keys: Vec<Value> = request.sort.iter().map(|sort| sort_value(sort, found)).collect();
        if page.wants(&keys) {
            page.push(Hit {
                document: found.document(),
                score: request.sort.is_empty().then_some(1.0),
                sort: keys,
                fields: Map::new(),
            });
        }
    })?;
    Ok(total)
}

/// How many documents match.
pub(crate) fn count(
    connection: &Connection,
    name: &str,
    index: &IndexMeta,
    query: &Query,
    now: Timestamp,
) -> Result<u64, StoreError> {
    if *query == Query::MatchAll {
        let sql = format!("SELECT count(*) FROM d{}", index.number);
        return connection.query_row(&sql, [], |row| row.get(0)).map_err(store_error);
    }
    let mut total = 0;
    scan(connection, name, index, query, now, &mut |_| total += 1)?;
    Ok(total)
}

/// The document of that id.
pub(crate) fn get(
    connection: &Connection,
    name: &str,
    index: &IndexMeta,
    id: &str,
) -> Result<Option<Document>, StoreError> {
    let sql = format!("SELECT seq, id, version, body FROM d{} WHERE id = ?", index.number);
    let mut statement = connection.prepare_cached(&sql).map_err(store_error)?;
    let mut rows = statement.query([id]).map_err(store_error)?;
    match rows.next().map_err(store_error)? {
        Some(row) => read_row(row, name).map(Some).map_err(store_error),
        None => Ok(None),
    }
}

fn read_row(row: &Row<'_>, name: &str) -> rusqlite::Result<Document> {
    let body: Vec<u8> = row.get(3)?;
    Ok(Document {
        index: name.to_owned(),
        seq_no: row.get(0)?,
        id: row.get(1)?,
        version: row.get(2)?,
        source: Source::from_checked(body.into()),
    })
}

/// A matching document while it is looked at.
pub(crate) struct Found<'a> {
    pub(crate) index: &'a str,
    pub(crate) id: &'a str,
    pub(crate) seq_no: u64,
    pub(crate) version: u64,
    pub(crate) source: &'a Value,
    body: &'a [u8],
}

impl Found<'_> {
    pub(crate) fn document(&self) -> Document {
        Document {
            index: self.index.to_owned(),
            id: self.id.to_owned(),
            version: self.version,
            seq_no: self.seq_no,
            source: Source::from_checked(self.body.to_vec().into()),
        }
    }
}

fn scan(
    connection: &Connection,
    name: &str,
    index: &IndexMeta,
    query: &Query,
    now: Timestamp,
    visit: &mut dyn FnMut(&Found<'_>),
) -> Result<(), StoreError> {
    let mut narrowing = Narrowing {
        index,
        conditions: Vec::new(),
        values: Vec::new(),
    };
    narrowing.add(query);
    let condition = if narrowing.conditions.is_empty() {
        "1".to_owned()
    } else {
        narrowing.conditions.join(" AND ")
    };
    let sql = format!(
        "SELECT seq, id, version, body FROM d{} WHERE {condition} ORDER BY seq",
        index.number
    );
    let mut statement = connection.prepare_cached(&sql).map_err(store_error)?;
    let mut rows = statement
        .query(params_from_iter(narrowing.values))
        .map_err(store_error)?;
    while let Some(row) = rows.next().map_err(store_error)? {
        let read = || -> rusqlite::Result<(u64, &str, u64, &[u8])> {
            Ok((
                row.get(0)?,
                row.get_ref(1)?.as_str()?,
                row.get(2)?,
                row.get_ref(3)?.as_blob()?,
            ))
        };
        let (seq_no, id, version, body) = read().map_err(store_error)?;
        let source: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        if matches_at(
            query,
            &source,
            &DocumentMeta {
                id,
                seq_no,
                index: name,
            },
            Some(now),
        ) {
            visit(&Found {
                index: name,
                id,
                seq_no,
                version,
                source: &source,
                body,
            });
        }
    }
    Ok(())
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

    /// Columns are null where a document has none or several values: those stay candidates.
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

/// A document's value for one sort key: the smallest or largest of several; dates as milliseconds; null when missing.
pub(crate) fn sort_value(sort: &Sort, found: &Found<'_>) -> Value {
    match sort.field.as_str() {
        "_seq_no" | "_doc" | "_shard_doc" => return Value::from(found.seq_no),
        "_id" => return Value::from(found.id),
        "_index" => return Value::from(found.index),
        "_score" => return Value::from(1.0),
        _ => {}
    }
    let name = sort.field.strip_suffix(".keyword").unwrap_or(&sort.field);
    let candidates = field::values(found.source, name)
        .into_iter()
        .filter(|value| !value.is_null() && !value.is_object());
    let best = match sort.order {
        SortOrder::Ascending => candidates.min_by(|left, right| compare_values(left, right)),
        SortOrder::Descending => candidates.max_by(|left, right| compare_values(left, right)),
    };
    best.map_or(Value::Null, date_as_millis)
}

fn date_as_millis(value: &Value) -> Value {
    match value {
        Value::String(text) if date_math::looks_like_date_time(text) => date_math::parse(text, &TimeZone::UTC, false)
            .map_or_else(|| value.clone(), |time| Value::from(time.as_millisecond())),
        other => other.clone(),
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
