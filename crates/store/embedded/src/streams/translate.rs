//! Query DSL clauses become tantivy queries, for one searcher at a time: which columns and words there are decides what a
//! name or a pattern means.

use std::cell::OnceCell;
use std::ops::Bound;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use query::{Minimum, Query, RangeBound, analysis, date_math, pattern};
use serde_json::Value;
use store::StoreError;
use tantivy::columnar::{ColumnType, ColumnarReader};
use tantivy::index::SegmentComponent;
use tantivy::query::{
    AllQuery, BooleanQuery, EmptyQuery, ExistsQuery, FuzzyTermQuery, Occur, PhrasePrefixQuery, PhraseQuery, RangeQuery,
    TermQuery, TermSetQuery,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{Searcher, Term};

use super::backing::{Backing, index_error, io_error};
use super::schema::{Kind, LAYOUT, date};

/// Words that one pattern may stand for.
const MOST_WORDS: usize = 50_000;

type Translated = Box<dyn tantivy::query::Query>;

/// Translates clauses for one backing index.
pub(crate) struct Translator<'a> {
    pub(crate) backing: &'a Backing,
    pub(crate) searcher: &'a Searcher,
    pub(crate) now: Timestamp,
    columns: OnceCell<Vec<(String, ColumnType)>>,
}

/// Where a named field's values are.
#[derive(Clone, Debug)]
enum Target {
    Named(Field, Kind),
    /// Outside the named fields, by full name.
    Other(String),
}

impl<'a> Translator<'a> {
    pub(crate) fn new(backing: &'a Backing, searcher: &'a Searcher, now: Timestamp) -> Self {
        Self {
            backing,
            searcher,
            now,
            columns: OnceCell::new(),
        }
    }

    pub(crate) fn query(&self, query: &Query) -> Result<Translated, StoreError> {
        match query {
            Query::MatchAll => Ok(Box::new(AllQuery)),
            Query::MatchNone
            | Query::Nested {
                ignore_unmapped: true, ..
            } => Ok(nothing()),
            Query::Bool {
                must,
                filter,
                should,
                must_not,
                minimum_should_match,
            } => self.boolean(must, filter, should, must_not, *minimum_should_match),
            Query::Term(name, value) => self.any_target(name, &|target| self.term(target, value)),
            Query::Terms(name, values) => {
                let one = |value: &Value| self.any_target(name, &|target| self.term(target, value));
                Ok(any_of(values.iter().map(one).collect::<Result<_, _>>()?))
            }
            Query::Ids(ids) => Ok(any_of(ids.iter().map(|id| self.id(id)).collect())),
            Query::Range { field, from, to } => {
                self.any_target(field, &|target| self.range(target, from.as_ref(), to.as_ref()))
            }
            Query::Exists(name) => self.exists(name),
            Query::Prefix(name, prefix) => self.words_like(name, &format!("{}.*", regex::escape(prefix))),
            Query::Wildcard {
                field,
                pattern,
                case_insensitive,
            } => {
                let expression = wildcard_expression(pattern);
                self.words_like(
                    field,
                    &if *case_insensitive {
                        format!("(?i){expression}")
                    } else {
                        expression
                    },
                )
            }
            Query::Regexp(name, expression) => self.words_like(name, expression),
            Query::Match { field, text, all } => self.any_target(field, &|target| self.words(target, text, *all)),
            Query::MatchPhrase(field, text) => self.any_target(field, &|target| self.phrase(target, text, 0, false)),
            Query::LoosePhrase {
                field,
                text,
                slop,
                prefix_last,
            } => self.any_target(field, &|target| self.phrase(target, text, *slop, *prefix_last)),
            Query::MatchSome { field, .. } => self.any_target(field, &|target| self.some_words(target, query)),
            Query::Fuzzy(field, text, fuzziness) => {
                let distance = fuzziness.distance_of(text);
                self.any_target(field, &|target| Ok(fuzzy(target, text, distance)))
            }
            Query::Nested { path, .. } => Err(StoreError::Misfit(query::QueryError {
                kind: "query_shard_exception",
                message: format!("failed to create query: [nested] failed to find nested object under path [{path}]"),
            })),
            Query::Best { queries, .. } => Ok(any_of(
                queries
                    .iter()
                    .map(|query| self.query(query))
                    .collect::<Result<_, _>>()?,
            )),
            // Hits of data streams have no scores: they come by time.
            Query::Constant(inner, _) | Query::Weighted(inner, _) | Query::Demoted(inner, ..) => self.query(inner),
            Query::Scored(scored) => self.query(&scored.query),
        }
    }

    fn boolean(
        &self,
        must: &[Query],
        filter: &[Query],
        should: &[Query],
        must_not: &[Query],
        minimum_should_match: usize,
    ) -> Result<Translated, StoreError> {
        let mut clauses: Vec<(Occur, Translated)> = Vec::new();
        for clause in must.iter().chain(filter) {
            clauses.push((Occur::Must, self.query(clause)?));
        }
        if minimum_should_match > 0 {
            let options = should.iter().map(|clause| Ok((Occur::Should, self.query(clause)?)));
            let options: Vec<(Occur, Translated)> = options.collect::<Result<_, StoreError>>()?;
            let enough = BooleanQuery::with_minimum_required_clauses(options, minimum_should_match);
            clauses.push((Occur::Must, Box::new(enough)));
        }
        // Exclusions alone exclude from everything.
        if clauses.is_empty() {
            clauses.push((Occur::Must, Box::new(AllQuery)));
        }
        for clause in must_not {
            clauses.push((Occur::MustNot, self.query(clause)?));
        }
        Ok(Box::new(BooleanQuery::new(clauses)))
    }

    /// Joins what a clause means for each field that the name, perhaps a pattern, stands for.
    fn any_target(
        &self,
        name: &str,
        clause: &dyn Fn(&Target) -> Result<Translated, StoreError>,
    ) -> Result<Translated, StoreError> {
        let targets = self.targets(name)?;
        Ok(any_of(targets.iter().map(clause).collect::<Result<_, _>>()?))
    }

    fn targets(&self, name: &str) -> Result<Vec<Target>, StoreError> {
        if !pattern::is_pattern(name) {
            return Ok(vec![self.target(name)?]);
        }
        let named = LAYOUT.all_named().filter(|(known, ..)| pattern::wildcard(name, known));
        let mut targets: Vec<Target> = named.map(|(_, field, kind)| Target::Named(field, kind)).collect();
        let mut others: Vec<String> = self.other_columns()?.iter().map(|(column, _)| column.clone()).collect();
        others.dedup();
        targets.extend(
            others
                .into_iter()
                .filter(|other| pattern::wildcard(name, other))
                .map(Target::Other),
        );
        Ok(targets)
    }

    fn target(&self, name: &str) -> Result<Target, StoreError> {
        if let Some((field, kind)) = LAYOUT.named(name) {
            return Ok(Target::Named(field, kind));
        }
        // `x.keyword` is `x`, unless a document has a field of that very name.
        if let Some(plain) = name.strip_suffix(".keyword")
            && !self.other_columns()?.iter().any(|(column, _)| column == name)
        {
            return self.target(plain);
        }
        Ok(Target::Other(name.to_owned()))
    }

    /// Names and types of the columns outside the named fields, read once.
    fn other_columns(&self) -> Result<&[(String, ColumnType)], StoreError> {
        if self.columns.get().is_none() {
            drop(self.columns.set(other_columns(self.searcher)?));
        }
        Ok(self.columns.get().map_or(&[], Vec::as_slice))
    }

    fn term(&self, target: &Target, value: &Value) -> Result<Translated, StoreError> {
        match target {
            Target::Other(name) if name == "_id" => Ok(value.as_str().map_or_else(nothing, |id| self.id(id))),
            Target::Other(name) if name == "_index" => {
                let row = &self.backing.row;
                let same = value
                    .as_str()
                    .is_some_and(|index| index == row.name || index == row.stream);
                Ok(if same { Box::new(AllQuery) } else { nothing() })
            }
            Target::Other(_) if value.is_number() => self.exactly(target, value),
            Target::Other(name) => self.other_term(name, value, target),
            Target::Named(_, Kind::Long | Kind::Date) => self.exactly(target, value),
            Target::Named(field, Kind::Keyword | Kind::Text) => {
                Ok(term_query(Term::from_field_text(*field, &text_of(value))))
            }
        }
    }

    fn exactly(&self, target: &Target, value: &Value) -> Result<Translated, StoreError> {
        let bound = RangeBound {
            value: value.clone(),
            inclusive: true,
            time_zone: None,
        };
        self.range(target, Some(&bound), Some(&bound))
    }

    fn other_term(&self, name: &str, value: &Value, target: &Target) -> Result<Translated, StoreError> {
        if self.backing.is_text(name) {
            let word = text_of(value);
            return self.values_that(name, &|text| analysis::words(text).any(|one| one == word));
        }
        let mut options = Vec::new();
        match value {
            Value::Bool(flag) => options.push(flag_term(name, *flag)),
            Value::String(text) => {
                options.push(term_query(text_term(name, text)));
                if let Ok(flag) = text.parse() {
                    options.push(flag_term(name, flag));
                }
                if text.parse::<f64>().is_ok() || date_math::looks_like_date_time(text) {
                    options.push(self.exactly(target, value)?);
                }
            }
            _ => {}
        }
        Ok(any_of(options))
    }

    fn id(&self, id: &str) -> Translated {
        if let Some(seq_no) = self.backing.seq_of(id) {
            let term = || Bound::Included(Term::from_field_u64(LAYOUT.seq_no, seq_no));
            return Box::new(RangeQuery::new(term(), term()));
        }
        term_query(Term::from_field_text(LAYOUT.id, id))
    }

    fn range(
        &self,
        target: &Target,
        from: Option<&RangeBound>,
        to: Option<&RangeBound>,
    ) -> Result<Translated, StoreError> {
        if from.is_none() && to.is_none() {
            return match target {
                Target::Named(field, _) => self.exists(LAYOUT.schema.get_field_name(*field)),
                Target::Other(name) => self.exists(name),
            };
        }
        let mut options = Vec::new();
        match target {
            Target::Other(name) if name == "_seq_no" => {
                let term = |bound: &RangeBound, _| {
                    number_of(&bound.value).map(|number| Term::from_field_u64(LAYOUT.seq_no, number.max(0.0) as u64))
                };
                options.extend(bounds(from, to, &term));
            }
            Target::Named(field, Kind::Long) => options.extend(long_range(*field, from, to)),
            Target::Named(field, Kind::Date) => {
                let term =
                    |bound: &RangeBound, up| self.instant(bound, up).map(|time| Term::from_field_date(*field, time));
                match bounds(from, to, &term) {
                    Some(range) => options.push(range),
                    None => return Err(unreadable_date(from, to)),
                }
            }
            Target::Named(field, Kind::Keyword) => {
                let term = |bound: &RangeBound, _| Some(Term::from_field_text(*field, &text_of(&bound.value)));
                options.extend(bounds(from, to, &term));
            }
            Target::Named(field, Kind::Text) => {
                let name = LAYOUT.schema.get_field_name(*field);
                return Err(StoreError::Unsupported(format!(
                    "[range] cannot be used on the text field [{name}]"
                )));
            }
            Target::Other(name) => options.extend(self.other_range(name, from, to)?),
        }
        Ok(any_of(options))
    }

    /// Numbers, dates or texts, by what columns there are.
    fn other_range(
        &self,
        name: &str,
        from: Option<&RangeBound>,
        to: Option<&RangeBound>,
    ) -> Result<Vec<Translated>, StoreError> {
        let mut options = Vec::new();
        for (_, kind) in self.other_columns()?.iter().filter(|(column, _)| column == name) {
            let range = match kind {
                ColumnType::I64 | ColumnType::U64 | ColumnType::F64 => bounds(from, to, &|bound, _| {
                    number_of(&bound.value).map(|number| number_term(name, number))
                }),
                ColumnType::DateTime => bounds(from, to, &|bound, up| {
                    let time = self.instant(bound, up)?;
                    let mut term = Term::from_field_json_path(LAYOUT.numbers, name, true);
                    term.append_type_and_fast_value(time);
                    Some(term)
                }),
                ColumnType::Str => bounds(from, to, &|bound, _| Some(text_term(name, &text_of(&bound.value)))),
                _ => None,
            };
            options.extend(range);
        }
        Ok(options)
    }

    pub(crate) fn instant(&self, bound: &RangeBound, round_up: bool) -> Option<tantivy::DateTime> {
        let zone = bound
            .time_zone
            .as_deref()
            .map_or(Some(TimeZone::UTC), |name| date_math::time_zone(name).ok())?;
        let time = date_math::resolve_in(&text_of(&bound.value), self.now, round_up, &zone).ok()?;
        Some(date(time.as_millisecond()))
    }

    fn exists(&self, name: &str) -> Result<Translated, StoreError> {
        if matches!(name, "_id" | "_index" | "_seq_no" | "_source") {
            return Ok(Box::new(AllQuery));
        }
        let below = format!("{name}.");
        let fits = |known: &str| {
            known == name || known.starts_with(&below) || pattern::is_pattern(name) && pattern::wildcard(name, known)
        };
        let mut options: Vec<Translated> = Vec::new();
        for (known, field, kind) in LAYOUT.all_named().filter(|(known, ..)| fits(known)) {
            options.push(match kind {
                Kind::Text => term_query(Term::from_field_text(LAYOUT.present, known)),
                _ => Box::new(ExistsQuery::new(LAYOUT.schema.get_field_name(field).to_owned(), false)),
            });
        }
        let mut others: Vec<(String, bool)> = self
            .other_columns()?
            .iter()
            .filter(|(column, _)| fits(column))
            .map(|(column, kind)| (column.clone(), matches!(kind, ColumnType::Str | ColumnType::Bool)))
            .collect();
        others.dedup();
        for (column, text) in others {
            options.push(Box::new(ExistsQuery::new(
                format!("{}.{column}", if text { "s" } else { "n" }),
                false,
            )));
        }
        Ok(any_of(options))
    }

    /// `match`: the words of a text field; the whole of a keyword; the value of a number.
    fn words(&self, target: &Target, text: &str, all: bool) -> Result<Translated, StoreError> {
        let Target::Named(field, Kind::Text) = target else {
            let value = Value::from(text);
            return match target {
                Target::Other(name) if self.backing.is_text(name) => {
                    let wanted: Vec<String> = analysis::words(text).collect();
                    self.values_that(name, &|value| {
                        let present: Vec<String> = analysis::words(value).collect();
                        let there = |word: &String| present.contains(word);
                        !wanted.is_empty()
                            && if all {
                                wanted.iter().all(there)
                            } else {
                                wanted.iter().any(there)
                            }
                    })
                }
                Target::Named(_, Kind::Long) if number_of(&value).is_none() => Ok(nothing()),
                Target::Named(_, Kind::Date) if date_math::resolve(text, self.now, false).is_err() => Ok(nothing()),
                _ => self.term(target, &value),
            };
        };
        let terms: Vec<Translated> = analysis::words(text)
            .map(|word| term_query(Term::from_field_text(*field, &word)))
            .collect();
        match (terms.is_empty(), all) {
            (true, _) => Ok(nothing()),
            (false, false) => Ok(any_of(terms)),
            (false, true) => Ok(Box::new(BooleanQuery::intersection(terms))),
        }
    }

    fn phrase(&self, target: &Target, text: &str, slop: usize, prefix_last: bool) -> Result<Translated, StoreError> {
        let words: Vec<String> = analysis::words(text).collect();
        let Target::Named(field, Kind::Text) = target else {
            return match target {
                Target::Other(name) if self.backing.is_text(name) => {
                    self.values_that(name, &|value| analysis::contains_phrase(value, &words))
                }
                _ => self.words(target, text, true),
            };
        };
        let terms: Vec<(usize, Term)> = words
            .iter()
            .map(|word| Term::from_field_text(*field, word))
            .enumerate()
            .collect();
        match terms.len() {
            0 => Ok(nothing()),
            1 if prefix_last => self.words_like(
                LAYOUT.schema.get_field_name(*field),
                &format!("{}.*", regex::escape(&words[0])),
            ),
            1 => Ok(term_query(terms[0].1.clone())),
            _ if prefix_last => Ok(Box::new(PhrasePrefixQuery::new_with_offset(terms))),
            _ => Ok(Box::new(PhraseQuery::new_with_offset_and_slop(terms, slop as u32))),
        }
    }

    /// `match` with a minimum, fuzziness or a prefix at the end.
    fn some_words(&self, target: &Target, query: &Query) -> Result<Translated, StoreError> {
        let Query::MatchSome {
            text,
            minimum,
            fuzziness,
            prefix_last,
            ..
        } = query
        else {
            return Ok(nothing());
        };
        let Target::Named(field, Kind::Text) = target else {
            return match fuzziness {
                Some(fuzziness) => Ok(fuzzy(target, text, fuzziness.distance_of(text))),
                None => self.words(target, text, *minimum == Minimum::All),
            };
        };
        let words: Vec<String> = analysis::words(text).collect();
        let minimum = minimum.of(words.len()).max(1);
        let last = words.len().saturating_sub(1);
        let mut clauses: Vec<(Occur, Translated)> = Vec::with_capacity(words.len());
        for (at, word) in words.iter().enumerate() {
            let clause = match fuzziness {
                _ if *prefix_last && at == last => self.words_like(
                    LAYOUT.schema.get_field_name(*field),
                    &format!("{}.*", regex::escape(word)),
                )?,
                Some(fuzziness) => fuzzy(target, word, fuzziness.distance_of(word)),
                None => term_query(Term::from_field_text(*field, word)),
            };
            clauses.push((Occur::Should, clause));
        }
        if clauses.is_empty() {
            return Ok(nothing());
        }
        Ok(Box::new(BooleanQuery::with_minimum_required_clauses(clauses, minimum)))
    }

    /// The texts outside the named fields whose whole value passes the test.
    fn values_that(&self, name: &str, passes: &dyn Fn(&str) -> bool) -> Result<Translated, StoreError> {
        let prefix = text_term(name, "");
        self.matching_terms(LAYOUT.texts, prefix.serialized_value_bytes(), &|word| {
            std::str::from_utf8(word).is_ok_and(passes)
        })
    }

    /// All words of the dictionary that fit an anchored expression.
    fn words_like(&self, name: &str, expression: &str) -> Result<Translated, StoreError> {
        let regex = regex::bytes::RegexBuilder::new(&format!("(?s)^(?:{expression})$"))
            .size_limit(1 << 20)
            .build()
            .map_err(|error| StoreError::Unsupported(format!("cannot read the expression [{expression}]: {error}")))?;
        self.any_target(name, &|target| match target {
            Target::Named(field, Kind::Keyword | Kind::Text) => {
                self.matching_terms(*field, &[], &|word| regex.is_match(word))
            }
            Target::Named(..) => Ok(nothing()),
            Target::Other(name) => {
                let prefix = text_term(name, "");
                self.matching_terms(LAYOUT.texts, prefix.serialized_value_bytes(), &|word| {
                    regex.is_match(word)
                })
            }
        })
    }

    fn matching_terms(
        &self,
        field: Field,
        prefix: &[u8],
        fits: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Translated, StoreError> {
        let mut terms = Vec::new();
        for segment in self.searcher.segment_readers() {
            let index = segment.inverted_index(field).map_err(index_error)?;
            let mut stream = index
                .terms()
                .range()
                .ge(prefix)
                .into_stream()
                .map_err(|error| io_error(&error))?;
            while stream.advance() {
                let Some(word) = stream.key().strip_prefix(prefix) else {
                    break;
                };
                if fits(word) {
                    let mut term = if field == LAYOUT.texts {
                        Term::from_field_json_path(field, "", true)
                    } else {
                        Term::from_field_text(field, "")
                    };
                    term.truncate_value_bytes(0);
                    term.append_bytes(stream.key());
                    terms.push(term);
                }
                if terms.len() > MOST_WORDS {
                    let reason = format!("a pattern stands for more than {MOST_WORDS} values; make it narrower");
                    return Err(StoreError::Unsupported(reason));
                }
            }
        }
        Ok(Box::new(TermSetQuery::new(terms)))
    }
}

/// `None` when a bound cannot be had in the wanted type.
fn bounds(
    from: Option<&RangeBound>,
    to: Option<&RangeBound>,
    term: &dyn Fn(&RangeBound, bool) -> Option<Term>,
) -> Option<Translated> {
    let bound = |bound: Option<&RangeBound>, upper: bool| {
        let Some(bound) = bound else {
            return Some(Bound::Unbounded);
        };
        // `gt` and `lte` mean the end of a date that is given in part.
        let term = term(bound, bound.inclusive == upper)?;
        Some(if bound.inclusive {
            Bound::Included(term)
        } else {
            Bound::Excluded(term)
        })
    };
    Some(Box::new(RangeQuery::new(bound(from, false)?, bound(to, true)?)))
}

fn long_range(field: Field, from: Option<&RangeBound>, to: Option<&RangeBound>) -> Option<Translated> {
    // A bound between two whole numbers moves to the nearer one inside.
    let bound = |bound: Option<&RangeBound>, upper: bool| {
        let Some(bound) = bound else {
            return Some(Bound::Unbounded);
        };
        let number = number_of(&bound.value)?;
        let whole = if upper { number.floor() } else { number.ceil() };
        let term = Term::from_field_i64(field, whole as i64);
        let included = bound.inclusive || number.fract() != 0.0;
        Some(if included {
            Bound::Included(term)
        } else {
            Bound::Excluded(term)
        })
    };
    Some(Box::new(RangeQuery::new(bound(from, false)?, bound(to, true)?)))
}

/// Names and types of the columns outside the named fields, over all segments.
pub(crate) fn other_columns(searcher: &Searcher) -> Result<Vec<(String, ColumnType)>, StoreError> {
    let mut found = Vec::new();
    for segment in searcher.segment_readers() {
        let file = segment
            .open_read(SegmentComponent::FastFields)
            .map_err(|error| index_error(error.into()))?;
        let columns = ColumnarReader::open(file).map_err(|error| io_error(&error))?;
        for (name, handle) in columns.iter_columns().map_err(|error| io_error(&error))? {
            // Parts of a name in a JSON field are separated by this byte.
            if let Some((_, path)) = name.split_once('\u{1}') {
                found.push((path.replace('\u{1}', "."), handle.column_type()));
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn nothing() -> Translated {
    Box::new(EmptyQuery)
}

fn any_of(mut options: Vec<Translated>) -> Translated {
    match options.len() {
        0 => nothing(),
        1 => options.remove(0),
        _ => Box::new(BooleanQuery::union(options)),
    }
}

fn term_query(term: Term) -> Translated {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

fn fuzzy(target: &Target, word: &str, distance: usize) -> Translated {
    let term = match target {
        Target::Named(field, Kind::Keyword | Kind::Text) => Term::from_field_text(*field, word),
        Target::Named(..) => return nothing(),
        Target::Other(name) => return term_query(text_term(name, word)),
    };
    Box::new(FuzzyTermQuery::new(term, distance.min(2) as u8, true))
}

fn text_term(name: &str, text: &str) -> Term {
    let mut term = Term::from_field_json_path(LAYOUT.texts, name, true);
    term.append_type_and_str(text);
    term
}

fn flag_term(name: &str, flag: bool) -> Translated {
    let mut term = Term::from_field_json_path(LAYOUT.texts, name, true);
    term.append_type_and_fast_value(flag);
    term_query(term)
}

fn number_term(name: &str, number: f64) -> Term {
    let mut term = Term::from_field_json_path(LAYOUT.numbers, name, true);
    if number.fract() == 0.0 && number.abs() < 9e15 {
        term.append_type_and_fast_value(number as i64);
    } else {
        term.append_type_and_fast_value(number);
    }
    term
}

fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn unreadable_date(from: Option<&RangeBound>, to: Option<&RangeBound>) -> StoreError {
    let shown: Vec<String> = from
        .iter()
        .chain(to.iter())
        .map(|bound| text_of(&bound.value))
        .collect();
    StoreError::Unsupported(format!("failed to parse date field [{}]", shown.join(", ")))
}

fn wildcard_expression(pattern: &str) -> String {
    pattern
        .chars()
        .map(|c| match c {
            '*' => ".*".to_owned(),
            '?' => ".".to_owned(),
            other => regex::escape(&other.to_string()),
        })
        .collect()
}
