//! The views through which [`query::aggregate`] sees documents of either half.

use query::aggregate::{Plan, Scalar, TopHits, View};
use query::matcher::Matcher;
use serde_json::{Map, Value, json};
use store::{Document, StoreError};
use tantivy::query::{EnableScoring, Query as _};
use tantivy::{BitSet, DocAddress, DocId, Searcher, SegmentReader};

use crate::state::search::Found;
use crate::streams::backing::{Backing, index_error};
use crate::streams::schema::{Kind, LAYOUT};
use crate::streams::search::{ColumnValue, FieldColumns, SortKeys, document};
use crate::streams::translate::Translator;

/// A document of an ordinary index.
pub(crate) struct StateView<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) filters: &'a [Matcher],
    pub(crate) found: &'a Found<'a>,
    pub(crate) error: Option<StoreError>,
}

impl StateView<'_> {
    fn field(&self, name: &str, out: &mut Vec<Scalar>) {
        if let Some(mapping) = &self.found.place.index.mapping {
            mapping.scalars(self.found.fields, name, out);
            return;
        }
        self.found
            .fields
            .visit(name, &mut |value| out.extend(Scalar::of(value)));
        if out.is_empty()
            && let Some(plain) = name.strip_suffix(".keyword")
        {
            self.found
                .fields
                .visit(plain, &mut |value| out.extend(Scalar::of(value)));
        }
    }
}

impl View for StateView<'_> {
    fn values(&mut self, field: usize, out: &mut Vec<Scalar>) {
        match self.plan.fields()[field].as_str() {
            "_id" => out.push(Scalar::Text(self.found.id.into())),
            "_index" => out.push(Scalar::Text(self.found.place.name.into())),
            "_seq_no" => out.push(Scalar::Whole(self.found.seq_no as i64)),
            name => self.field(name, out),
        }
    }

    fn holds(&mut self, filter: usize) -> bool {
        self.filters[filter].holds(self.found.fields, &self.found.meta())
    }

    fn hit(&mut self, top_hits: &TopHits) -> Value {
        match self.found.document() {
            Ok(document) => shown(&document, top_hits),
            Err(error) => {
                self.error = Some(error);
                Value::Null
            }
        }
    }

    fn sort_values(&mut self, top_hits: &TopHits) -> Vec<Value> {
        top_hits
            .sort
            .iter()
            .map(|sort| self.found.sort_value(sort, 1.0))
            .collect()
    }
}

/// One segment of a backing index, moved from document to document.
pub(crate) struct SegmentView<'a> {
    plan: &'a Plan,
    backing: &'a Backing,
    searcher: &'a Searcher,
    ordinal: u32,
    segment: &'a SegmentReader,
    columns: Vec<FieldColumns>,
    filters: Vec<BitSet>,
    /// Opened by the first document that needs them.
    sorts: Vec<SortKeys>,
    pub(crate) document: DocId,
    pub(crate) error: Option<StoreError>,
}

impl<'a> SegmentView<'a> {
    pub(crate) fn open(
        plan: &'a Plan,
        backing: &'a Backing,
        searcher: &'a Searcher,
        ordinal: u32,
        translator: &Translator<'_>,
    ) -> Result<Self, StoreError> {
        let segment = searcher.segment_reader(ordinal);
        let columns = plan.fields().iter().map(|name| {
            if matches!(LAYOUT.named(name), Some((_, Kind::Text))) || name == "_id" {
                return Err(query::mapping::no_columns(&backing.row.name, name).into());
            }
            FieldColumns::open(segment, name)
        });
        let filters = plan.filters().iter().map(|filter| {
            let query = translator.query(filter)?;
            let weight = query
                .weight(EnableScoring::disabled_from_searcher(searcher))
                .map_err(index_error)?;
            let mut holds = BitSet::with_max_value(segment.max_doc());
            weight
                .for_each_no_score(segment, &mut |documents| {
                    for one in documents {
                        holds.insert(*one);
                    }
                })
                .map_err(index_error)?;
            Ok::<BitSet, StoreError>(holds)
        });
        Ok(Self {
            columns: columns.collect::<Result<_, _>>()?,
            filters: filters.collect::<Result<_, _>>()?,
            plan,
            backing,
            searcher,
            ordinal,
            segment,
            sorts: Vec::new(),
            document: 0,
            error: None,
        })
    }
}

impl View for SegmentView<'_> {
    fn values(&mut self, field: usize, out: &mut Vec<Scalar>) {
        if self.plan.fields()[field] == "_index" {
            out.push(Scalar::Text(self.backing.row.name.as_str().into()));
            return;
        }
        self.columns[field].visit(self.document, &mut |value| {
            out.push(match value {
                ColumnValue::Flag(flag) => Scalar::Flag(flag),
                ColumnValue::Whole(number) => Scalar::Whole(number),
                ColumnValue::Fraction(number) => Scalar::Fraction(number),
                ColumnValue::Date(millis) => Scalar::Date(millis),
                ColumnValue::Text(text) => Scalar::Text(text.into()),
            });
        });
    }

    fn holds(&mut self, filter: usize) -> bool {
        self.filters[filter].contains(self.document)
    }

    fn hit(&mut self, top_hits: &TopHits) -> Value {
        match document(
            self.backing,
            self.searcher,
            DocAddress::new(self.ordinal, self.document),
        ) {
            Ok(document) => shown(&document, top_hits),
            Err(error) => {
                self.error = Some(error);
                Value::Null
            }
        }
    }

    fn sort_values(&mut self, top_hits: &TopHits) -> Vec<Value> {
        if let Some(keys) = self.sorts.iter().find(|keys| keys.is_for(&top_hits.sort)) {
            return keys.keys(self.document);
        }
        match SortKeys::open(self.segment, self.backing, &top_hits.sort) {
            Ok(keys) => {
                let values = keys.keys(self.document);
                self.sorts.push(keys);
                values
            }
            Err(error) => {
                self.error = Some(error);
                vec![Value::Null; top_hits.sort.len()]
            }
        }
    }
}

fn shown(document: &Document, top_hits: &TopHits) -> Value {
    let mut hit = Map::new();
    hit.insert("_index".to_owned(), json!(document.index));
    hit.insert("_id".to_owned(), json!(document.id));
    if top_hits.version {
        hit.insert("_version".to_owned(), json!(document.version));
    }
    if top_hits.seq_no_primary_term {
        hit.insert("_seq_no".to_owned(), json!(document.seq_no));
        hit.insert("_primary_term".to_owned(), json!(1));
    }
    if let Some(source) = top_hits.source.apply(document.source.to_value()) {
        hit.insert("_source".to_owned(), source);
    }
    Value::Object(hit)
}
