//! Searching one backing index: hits in order, totals, and columns for aggregations.

use jiff::Timestamp;
use query::aggregate::{Plan, State};
use query::{Query, SearchRequest, Sort, SortOrder, compare_values};
use serde_json::{Map, Value};
use store::{Document, Hit, Source, StoreError};
use tantivy::columnar::{Cardinality, Column, ColumnType, DynamicColumn, StrColumn};
use tantivy::query::{EnableScoring, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::schema::document::Value as _;
use tantivy::{DocAddress, DocId, Searcher, SegmentReader, TantivyDocument, Term};

use super::answers::Answers;
use super::backing::{Backing, index_error, io_error};
use super::narrowed::Narrowed;
use super::schema::{Kind, LAYOUT};
use super::translate::{Translator, other_columns};
use crate::aggregations::SegmentView;
use crate::results::Page;

/// Adds a backing index's part to a search; returns how many documents match.
///
/// The segments with the best documents come first: those whose best is worse than all of the page are only counted.
pub(crate) fn search(
    backing: &Backing,
    searcher: &Searcher,
    request: &SearchRequest,
    now: Timestamp,
    answers: &Answers,
    page: &mut Page,
    aggregating: Option<(&Plan, &mut State)>,
) -> Result<u64, StoreError> {
    let translator = Translator::new(backing, searcher, now);
    let mut narrowed = Narrowed::new(&translator, searcher, &request.query, answers)?;
    let mut total = 0;
    let mut aggregating = aggregating;
    for (ordinal, keys) in best_first(backing, searcher, &request.sort)? {
        let segment = searcher.segment_reader(ordinal);
        let query = narrowed.in_segment(segment)?;
        let mut best = Best::of(&keys, page);
        if aggregating.is_none() && best.is_hopeless(page) {
            total += query.count(segment, answers)?;
            continue;
        }
        let mut failed = None;
        let mut view = match &aggregating {
            Some((plan, _)) => Some(SegmentView::open(plan, backing, searcher, ordinal, &translator)?),
            None => None,
        };
        let mut matching = 0;
        query
            .weight
            .for_each_no_score(segment, &mut |documents| {
                matching += documents.len() as u64;
                if let (Some(view), Some((plan, state))) = (&mut view, &mut aggregating) {
                    for document in documents {
                        view.document = *document;
                        if let Err(error) = plan.collect(state, view) {
                            failed = Some(StoreError::Unsupported(error.message));
                            break;
                        }
                    }
                }
                best.offer(documents, page);
            })
            .map_err(index_error)?;
        if let Some(error) = failed.or_else(|| view.and_then(|view| view.error)) {
            return Err(error);
        }
        query.counted(segment, matching, answers);
        total += matching;
        for (keys, document) in best.settled(page) {
            if page.wants(&keys, None) {
                let address = DocAddress::new(ordinal, document);
                page.push(hit(backing, searcher, address, keys, request)?);
            }
        }
        page.settle();
    }
    Ok(total)
}

/// The segments with what they are sorted by, those that begin with the best first.
fn best_first(backing: &Backing, searcher: &Searcher, sort: &[Sort]) -> Result<Vec<(u32, SortKeys)>, StoreError> {
    let segments = (0_u32..).zip(searcher.segment_readers());
    let opened = segments.map(|(ordinal, segment)| Ok((ordinal, SortKeys::open(segment, backing, sort)?)));
    let mut opened: Vec<(u32, SortKeys)> = opened.collect::<Result<_, StoreError>>()?;
    opened.sort_by_key(|(_, keys)| keys.leading().map(|leading| leading.best()));
    Ok(opened)
}

pub(crate) fn count(
    backing: &Backing,
    searcher: &Searcher,
    query: &Query,
    now: Timestamp,
    answers: &Answers,
) -> Result<u64, StoreError> {
    if *query == Query::MatchAll {
        return Ok(searcher.num_docs());
    }
    let translator = Translator::new(backing, searcher, now);
    let mut narrowed = Narrowed::new(&translator, searcher, query, answers)?;
    let mut total = 0;
    for segment in searcher.segment_readers() {
        total += narrowed.in_segment(segment)?.count(segment, answers)?;
    }
    Ok(total)
}

fn hit(
    backing: &Backing,
    searcher: &Searcher,
    address: DocAddress,
    sort: Vec<Value>,
    request: &SearchRequest,
) -> Result<Hit, StoreError> {
    let document = document(backing, searcher, address)?;
    Ok(Hit {
        document,
        score: request.scores().then_some(1.0),
        sort,
        fields: Map::new(),
    })
}

/// The stored document at an address.
pub(crate) fn document(backing: &Backing, searcher: &Searcher, address: DocAddress) -> Result<Document, StoreError> {
    let stored: TantivyDocument = searcher.doc(address).map_err(index_error)?;
    let segment = searcher.segment_reader(address.segment_ord);
    let seq_no = segment
        .fast_fields()
        .u64("_seq_no")
        .map_err(index_error)?
        .first(address.doc_id)
        .unwrap_or(0);
    let id = stored
        .get_first(LAYOUT.id)
        .and_then(|value| value.as_str().map(ToOwned::to_owned));
    Ok(Document {
        index: backing.row.name.clone(),
        id: id.unwrap_or_else(|| backing.made_id(seq_no)),
        version: 1,
        seq_no,
        source: Source::from_checked(source(&stored).to_vec().into()),
    })
}

/// A document as it came: a text, in folders of format 1 octets.
fn source(stored: &TantivyDocument) -> &[u8] {
    let Some(value) = stored.get_first(LAYOUT.source) else {
        return &[];
    };
    value
        .as_str()
        .map(str::as_bytes)
        .or(value.as_bytes())
        .unwrap_or_default()
}

/// The committed document of that id.
pub(crate) fn get(backing: &Backing, id: &str) -> Result<Option<Document>, StoreError> {
    let searcher = backing.searcher()?;
    match address_of(backing, &searcher, id)? {
        Some(address) => document(backing, &searcher, address).map(Some),
        None => Ok(None),
    }
}

/// Whether a committed document has an id that its client gave.
pub(crate) fn has_id(backing: &Backing, id: &str) -> Result<bool, StoreError> {
    let term = Term::from_field_text(LAYOUT.id, id);
    let searcher = backing.searcher()?;
    for segment in searcher.segment_readers() {
        let index = segment.inverted_index(LAYOUT.id).map_err(index_error)?;
        if index.get_term_info(&term).map_err(|error| io_error(&error))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn address_of(backing: &Backing, searcher: &Searcher, id: &str) -> Result<Option<DocAddress>, StoreError> {
    if let Some(seq_no) = backing.seq_of(id) {
        for (ordinal, segment) in searcher.segment_readers().iter().enumerate() {
            let column = segment.fast_fields().u64("_seq_no").map_err(index_error)?;
            if !(column.min_value()..=column.max_value()).contains(&seq_no) {
                continue;
            }
            if let Some(document) = (0..segment.max_doc()).find(|document| column.first(*document) == Some(seq_no)) {
                return Ok(Some(DocAddress::new(ordinal as u32, document)));
            }
        }
        return Ok(None);
    }
    let query = TermQuery::new(Term::from_field_text(LAYOUT.id, id), IndexRecordOption::Basic);
    let weight =
        tantivy::query::Query::weight(&query, EnableScoring::disabled_from_searcher(searcher)).map_err(index_error)?;
    for (ordinal, segment) in searcher.segment_readers().iter().enumerate() {
        let mut found = None;
        weight
            .for_each_no_score(segment, &mut |documents| found = found.or(documents.first().copied()))
            .map_err(index_error)?;
        if let Some(document) = found {
            return Ok(Some(DocAddress::new(ordinal as u32, document)));
        }
    }
    Ok(None)
}

/// Columns of one field in one segment, whatever their types.
pub(crate) struct FieldColumns(Vec<DynamicColumn>);

impl FieldColumns {
    pub(crate) fn open(segment: &SegmentReader, name: &str) -> Result<Self, StoreError> {
        let mut columns = Vec::new();
        for column in LAYOUT.columns(name) {
            let handles = segment
                .fast_fields()
                .dynamic_column_handles(&column)
                .map_err(index_error)?;
            for handle in handles {
                columns.push(handle.open().map_err(|error| io_error(&error))?);
            }
        }
        if columns.is_empty()
            && let Some(plain) = name.strip_suffix(".keyword")
        {
            return Self::open(segment, plain);
        }
        Ok(Self(columns))
    }

    /// Calls `visit` with each value of a document; dates as milliseconds.
    pub(crate) fn visit(&self, document: DocId, visit: &mut dyn FnMut(ColumnValue<'_>)) {
        for column in &self.0 {
            match column {
                DynamicColumn::Bool(column) => column
                    .values_for_doc(document)
                    .for_each(|value| visit(ColumnValue::Flag(value))),
                DynamicColumn::I64(column) => column
                    .values_for_doc(document)
                    .for_each(|value| visit(ColumnValue::Whole(value))),
                DynamicColumn::U64(column) => {
                    column
                        .values_for_doc(document)
                        .for_each(|value| visit(ColumnValue::Whole(value as i64)));
                }
                DynamicColumn::F64(column) => {
                    column
                        .values_for_doc(document)
                        .for_each(|value| visit(ColumnValue::Fraction(value)));
                }
                DynamicColumn::DateTime(column) => column
                    .values_for_doc(document)
                    .for_each(|value| visit(ColumnValue::Date(value.into_timestamp_millis()))),
                DynamicColumn::Str(column) => visit_texts(column, document, visit),
                DynamicColumn::IpAddr(_) | DynamicColumn::Bytes(_) => {}
            }
        }
    }
}

fn visit_texts(column: &StrColumn, document: DocId, visit: &mut dyn FnMut(ColumnValue<'_>)) {
    let ordinals: &Column<u64> = column.ords();
    let mut text = String::new();
    for ordinal in ordinals.values_for_doc(document) {
        text.clear();
        if column.ord_to_str(ordinal, &mut text).unwrap_or(false) {
            visit(ColumnValue::Text(&text));
        }
    }
}

/// One value of a column.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ColumnValue<'a> {
    Flag(bool),
    Whole(i64),
    Fraction(f64),
    /// Milliseconds since 1970.
    Date(i64),
    Text(&'a str),
}

impl ColumnValue<'_> {
    fn to_json(self) -> Value {
        match self {
            Self::Flag(flag) => Value::from(flag),
            Self::Whole(number) | Self::Date(number) => Value::from(number),
            Self::Fraction(number) => Value::from(number),
            Self::Text(text) => Value::from(text),
        }
    }
}

/// Where a sort key comes from.
enum KeySource {
    Columns(FieldColumns),
    SequenceNumber(Column<u64>),
    Constant(Value),
    /// Ids are stored, not columns: refused when the request is read.
    Document,
}

pub(crate) struct SortKeys {
    sort: Vec<Sort>,
    sources: Vec<KeySource>,
}

impl SortKeys {
    pub(crate) fn open(segment: &SegmentReader, backing: &Backing, sort: &[Sort]) -> Result<Self, StoreError> {
        let source = |key: &Sort| {
            Ok(match key.field.as_str() {
                "_seq_no" | "_shard_doc" => {
                    KeySource::SequenceNumber(segment.fast_fields().u64("_seq_no").map_err(index_error)?)
                }
                "_doc" => KeySource::Document,
                "_score" => KeySource::Constant(Value::from(1.0)),
                "_index" => KeySource::Constant(Value::from(backing.row.name.as_str())),
                "_id" => {
                    return Err(StoreError::Unsupported(
                        "Fielddata access on the _id field is disallowed: data streams cannot be sorted by it"
                            .to_owned(),
                    ));
                }
                name if matches!(LAYOUT.named(name), Some((_, Kind::Text))) || backing.is_text(name) => {
                    return Err(query::mapping::no_columns(&backing.row.name, name).into());
                }
                name => KeySource::Columns(FieldColumns::open(segment, name)?),
            })
        };
        Ok(Self {
            sort: sort.to_vec(),
            sources: sort.iter().map(source).collect::<Result<_, StoreError>>()?,
        })
    }

    /// Whether the keys are for this order.
    pub(crate) fn is_for(&self, sort: &[Sort]) -> bool {
        self.sort == sort
    }

    pub(crate) fn keys(&self, document: DocId) -> Vec<Value> {
        let key = |(source, sort): (&KeySource, &Sort)| match source {
            KeySource::Constant(value) => value.clone(),
            KeySource::Document => Value::from(document),
            KeySource::SequenceNumber(column) => column.first(document).map_or(Value::Null, Value::from),
            KeySource::Columns(columns) => best_value(columns, document, sort.order),
        };
        self.sources.iter().zip(&self.sort).map(key).collect()
    }

    /// The column that decides first, when each document has exactly one whole number in it.
    fn leading(&self) -> Option<Leading<'_>> {
        let (first, source) = (self.sort.first()?, self.sources.first()?);
        let KeySource::Columns(FieldColumns(columns)) = source else {
            return None;
        };
        let column = match columns.as_slice() {
            [DynamicColumn::DateTime(column)] if is_full(column) => Whole::Dates(column),
            [DynamicColumn::I64(column)] if is_full(column) => Whole::Numbers(column),
            _ => return None,
        };
        let is_descending = first.order == SortOrder::Descending;
        Some(Leading { column, is_descending })
    }
}

fn is_full<T: PartialOrd + Copy + std::fmt::Debug + Send + Sync + 'static>(column: &Column<T>) -> bool {
    column.get_cardinality() == Cardinality::Full
}

/// One whole number for each document of a segment.
enum Whole<'a> {
    Dates(&'a Column<tantivy::DateTime>),
    Numbers(&'a Column<i64>),
}

/// What decides first about the order of a segment's documents: nearly all of many documents are passed over by it alone.
struct Leading<'a> {
    column: Whole<'a>,
    is_descending: bool,
}

impl Leading<'_> {
    /// Smaller sorts first.
    fn rank(&self, document: DocId) -> i64 {
        let number = match self.column {
            Whole::Dates(column) => column.first(document).map(tantivy::DateTime::into_timestamp_millis),
            Whole::Numbers(column) => column.first(document),
        };
        self.rank_of(number.unwrap_or_default())
    }

    /// That of the best document there could be.
    fn best(&self) -> i64 {
        let (least, most) = match self.column {
            Whole::Dates(column) => (
                column.min_value().into_timestamp_millis(),
                column.max_value().into_timestamp_millis(),
            ),
            Whole::Numbers(column) => (column.min_value(), column.max_value()),
        };
        self.rank_of(if self.is_descending { most } else { least })
    }

    fn rank_of(&self, number: i64) -> i64 {
        if self.is_descending {
            number.saturating_neg()
        } else {
            number
        }
    }
}

/// The best documents of a segment, as far as it was gone through.
struct Best<'a> {
    keys: &'a SortKeys,
    leading: Option<Leading<'a>>,
    /// What ranks behind it cannot get in.
    limit: i64,
    found: Vec<(Vec<Value>, DocId)>,
}

impl<'a> Best<'a> {
    fn of(keys: &'a SortKeys, page: &Page) -> Self {
        let leading = keys.leading();
        let worst = page.worst().and_then(Value::as_i64);
        let limit = leading
            .as_ref()
            .zip(worst)
            .map(|(leading, worst)| leading.rank_of(worst));
        Self {
            keys,
            leading,
            limit: limit.unwrap_or(i64::MAX),
            found: Vec::new(),
        }
    }

    /// Whether no document of the segment can get into the page.
    fn is_hopeless(&self, page: &Page) -> bool {
        page.room() == 0 || self.leading.as_ref().is_some_and(|leading| leading.best() > self.limit)
    }

    fn offer(&mut self, documents: &[DocId], page: &Page) {
        if page.room() == 0 {
            return;
        }
        for document in documents {
            let is_behind = |leading: &Leading<'_>| leading.rank(*document) > self.limit;
            if self.keys.sort.is_empty() {
                if self.found.len() >= page.room() {
                    return;
                }
                self.found.push((Vec::new(), *document));
            } else if !self.leading.as_ref().is_some_and(is_behind) {
                self.consider(*document, page);
            }
        }
    }

    fn consider(&mut self, document: DocId, page: &Page) {
        let keys = self.keys.keys(document);
        if !page.wants(&keys, None) {
            return;
        }
        self.found.push((keys, document));
        if self.found.len() >= page.room() * 2 + 1000 {
            self.settle(page);
        }
    }

    fn settle(&mut self, page: &Page) {
        let sort = &self.keys.sort;
        self.found
            .sort_by(|left, right| query::compare_sort_values(sort, &left.0, &right.0));
        self.found.truncate(page.room());
        let worst = self.found.get(page.room().wrapping_sub(1));
        let worst = worst.and_then(|(keys, _)| keys.first()?.as_i64());
        if let (Some(leading), Some(worst)) = (&self.leading, worst) {
            self.limit = self.limit.min(leading.rank_of(worst));
        }
    }

    fn settled(mut self, page: &Page) -> Vec<(Vec<Value>, DocId)> {
        self.settle(page);
        self.found
    }
}

fn best_value(columns: &FieldColumns, document: DocId, order: SortOrder) -> Value {
    let mut best = Value::Null;
    columns.visit(document, &mut |value| {
        let value = value.to_json();
        let better = match order {
            SortOrder::Ascending => compare_values(&value, &best).is_lt(),
            SortOrder::Descending => compare_values(&value, &best).is_gt(),
        };
        if best.is_null() || better {
            best = value;
        }
    });
    best
}

/// Milliseconds of the newest `@timestamp`.
pub(crate) fn newest(searcher: &Searcher) -> Result<Option<i64>, StoreError> {
    let mut newest = None;
    for segment in searcher.segment_readers() {
        let column = segment.fast_fields().date("@timestamp").map_err(index_error)?;
        newest = newest.max(Some(column.max_value().into_timestamp_millis()));
    }
    Ok(newest)
}

/// Names and mapping types of the fields that occur.
pub(crate) fn field_types(searcher: &Searcher) -> Result<Vec<(String, &'static str)>, StoreError> {
    let mut found = Vec::new();
    for (name, field, kind) in LAYOUT.all_named() {
        let entry = LAYOUT.schema.get_field_name(field);
        let mut occurs = false;
        for segment in searcher.segment_readers() {
            occurs |= if kind == Kind::Text {
                segment.inverted_index(field).map_err(index_error)?.terms().num_terms() > 0
            } else {
                let handles = segment
                    .fast_fields()
                    .dynamic_column_handles(entry)
                    .map_err(index_error)?;
                let mut filled = false;
                for handle in handles {
                    let column = handle.open().map_err(|error| io_error(&error))?;
                    filled |= column.num_values() > 0;
                }
                filled
            };
        }
        if occurs {
            found.push((
                name.to_owned(),
                match kind {
                    Kind::Keyword => "keyword",
                    Kind::Long => "long",
                    Kind::Date => "date",
                    Kind::Text => "text",
                },
            ));
        }
    }
    for (name, kind) in other_columns(searcher)? {
        found.push((
            name,
            match kind {
                ColumnType::Bool => "boolean",
                ColumnType::I64 | ColumnType::U64 => "long",
                ColumnType::F64 => "double",
                ColumnType::DateTime => "date",
                _ => "keyword",
            },
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_format_1_can_still_be_read() {
        let text = r#"{"@timestamp":1}"#;
        let mut old = TantivyDocument::new();
        old.add_bytes(LAYOUT.source, text.as_bytes());
        let mut new = TantivyDocument::new();
        new.add_text(LAYOUT.source, text);
        assert_eq!(source(&old), text.as_bytes());
        assert_eq!(source(&new), source(&old));
    }
}
