//! The fields that searches look at, held in memory: a search over many documents parses each document once, not each
//! time.
//!
//! A row belongs to a sequence number, and a write gives its document a new one: rows never go stale. Only the fields that
//! were asked for are held, and no more than [`MOST_BYTES`] in all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use query::field;
use query::matcher::Document;
use serde_json::Value;

/// Of all indices together, roughly.
const MOST_BYTES: usize = 32 << 20;
/// Fields of one index that are held.
const MOST_FIELDS: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Projections {
    by_index: Mutex<HashMap<i64, Arc<RwLock<Projection>>>>,
    bytes: Arc<AtomicUsize>,
}

/// The rows of one index.
#[derive(Debug)]
pub(crate) struct Projection {
    fields: Vec<String>,
    rows: HashMap<u64, Row>,
    bytes: usize,
    total: Arc<AtomicUsize>,
}

/// What is held of one document.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: Box<str>,
    pub(crate) version: u64,
    /// So many of the index's fields were looked for.
    covered: usize,
    values: Box<[(u16, Value)]>,
}

impl Projections {
    /// The rows of an index that hold these fields; `None` when there would be too many.
    pub(crate) fn of(&self, number: i64, wanted: &mut dyn Iterator<Item = &String>) -> Option<Arc<RwLock<Projection>>> {
        let mut all = self.by_index.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bytes.load(Ordering::Relaxed) > MOST_BYTES {
            all.clear();
        }
        let total = self.bytes.clone();
        let one = all.entry(number).or_insert_with(|| {
            Arc::new(RwLock::new(Projection {
                fields: Vec::new(),
                rows: HashMap::new(),
                bytes: 0,
                total,
            }))
        });
        let mut projection = one.write().unwrap_or_else(PoisonError::into_inner);
        for field in wanted {
            if !projection.fields.contains(field) {
                projection.fields.push(field.clone());
            }
        }
        if projection.fields.len() > MOST_FIELDS {
            projection.clear();
            projection.fields.clear();
            return None;
        }
        drop(projection);
        Some(one.clone())
    }

    pub(crate) fn forget(&self, number: i64) {
        self.by_index
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
    }
}

impl Drop for Projection {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Projection {
    fn clear(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
        self.rows.clear();
    }

    pub(crate) fn fields(&self) -> &[String] {
        &self.fields
    }

    /// The row of a document, when it holds all fields.
    pub(crate) fn row(&self, seq: u64) -> Option<&Row> {
        self.rows.get(&seq).filter(|row| row.covered == self.fields.len())
    }

    /// Takes rows in. `present` is about how many documents there are: rows of documents that are gone are dropped at times.
    pub(crate) fn insert(&mut self, rows: Vec<(u64, Row)>, present: usize) {
        if self.rows.len() > present * 2 + 1000 || self.total.load(Ordering::Relaxed) > MOST_BYTES {
            self.clear();
        }
        for (seq, row) in rows {
            let bytes = row.bytes();
            self.bytes += bytes;
            self.total.fetch_add(bytes, Ordering::Relaxed);
            if let Some(before) = self.rows.insert(seq, row) {
                let bytes = before.bytes();
                self.bytes -= bytes;
                self.total.fetch_sub(bytes, Ordering::Relaxed);
            }
        }
    }
}

impl Row {
    /// Picks the fields out of a document.
    pub(crate) fn new(id: &str, version: u64, source: &Value, fields: &[String]) -> Self {
        let mut values = Vec::new();
        for (place, name) in (0_u16..).zip(fields) {
            field::visit(source, name, &mut |value| {
                // Of an object only that it is there can be asked for.
                let kept = if value.is_object() {
                    Value::Object(serde_json::Map::new())
                } else {
                    value.clone()
                };
                values.push((place, kept));
            });
        }
        Self {
            id: id.into(),
            version,
            covered: fields.len(),
            values: values.into_boxed_slice(),
        }
    }

    fn bytes(&self) -> usize {
        let text = |value: &Value| value.as_str().map_or(0, str::len);
        let values: usize = self
            .values
            .iter()
            .map(|(_, value)| size_of::<(u16, Value)>() + text(value))
            .sum();
        96 + self.id.len() + values
    }
}

/// A row as a document.
pub(crate) struct Projected<'a> {
    pub(crate) fields: &'a [String],
    pub(crate) row: &'a Row,
}

impl Document for Projected<'_> {
    fn visit(&self, path: &str, each: &mut dyn FnMut(&Value)) {
        let Some(place) = self.fields.iter().position(|name| name == path) else {
            return;
        };
        for (at, value) in &self.row.values {
            if usize::from(*at) == place {
                each(value);
            }
        }
    }

    fn visit_all(&self, each: &mut dyn FnMut(&str, &Value)) {
        for (at, value) in &self.row.values {
            each(&self.fields[usize::from(*at)], value);
        }
    }
}
