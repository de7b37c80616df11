//! The found documents as rows, and one of them opened.

use query::{Query, SearchRequest, Sort, SortOrder};
use serde_json::Value;
use store::{Document, Hit};

use super::fields::{flatten, shown};
use super::state::{State, View, kql};
use crate::Console;
use crate::domain::error::FleetError;
use crate::pages::look::Moment;

/// Longer values are cut in a row; the opened document has them whole.
const LONGEST_CELL: usize = 400;
/// Lines of the same source on either side of a document.
const AROUND: usize = 6;

/// A row of the table.
pub(super) struct Row {
    /// For what changes the page in place.
    pub(super) id: String,
    pub(super) time: Moment,
    pub(super) clock: String,
    pub(super) level: String,
    /// Colours it.
    pub(super) class: &'static str,
    /// A muted first part: host and dataset.
    pub(super) cells: Vec<Vec<Piece>>,
    pub(super) message: Vec<Piece>,
    /// Opens or closes it.
    pub(super) href: String,
    pub(super) open: Option<Opened>,
}

/// A part of a text, and whether it is what was looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) is_hit: bool,
}

/// Everything about one document.
pub(super) struct Opened {
    pub(super) tabs: Vec<(&'static str, String, bool)>,
    pub(super) fields: Vec<FieldRow>,
    pub(super) json: String,
    pub(super) around: Vec<(String, String, &'static str, bool)>,
    pub(super) host: Option<(String, String)>,
}

pub(super) struct FieldRow {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) with: String,
    pub(super) without: String,
    pub(super) column: String,
    pub(super) is_column: bool,
}

/// How documents are ordered: newest first, and no two at the same place.
pub(super) fn order() -> Vec<Sort> {
    let key = |field: &str, order| Sort {
        field: field.to_owned(),
        order,
        ..Sort::default()
    };
    vec![
        key("@timestamp", SortOrder::Descending),
        key("_index", SortOrder::Ascending),
        key("_seq_no", SortOrder::Descending),
    ]
}

impl Row {
    pub(super) fn of(hit: &Hit, state: &State, words: &[String], now: jiff::Timestamp) -> Self {
        let source = hit.document.source.to_value();
        let key = (hit.document.index.clone(), hit.document.id.clone());
        let is_open = state.open.as_ref() == Some(&key);
        let level = field(&source, "log.level").unwrap_or_default().to_lowercase();
        let columns: &[String] = &state.columns;
        let cells = if columns.is_empty() {
            vec!["host.name".to_owned(), "data_stream.dataset".to_owned()]
        } else {
            columns.to_vec()
        };
        let time = source["@timestamp"].as_str();
        Self {
            id: hit.document.id.clone(),
            clock: clock_time(time),
            time: Moment::parse(now, time),
            class: class(&level),
            level,
            cells: cells
                .iter()
                .map(|name| marked(&field(&source, name).unwrap_or_else(|| "–".to_owned()), words))
                .collect(),
            message: if columns.is_empty() {
                marked(&message(&source), words)
            } else {
                Vec::new()
            },
            href: state.shown(|state| {
                state.view = View::Fields;
                state.open = (!is_open).then_some(key);
            }),
            open: is_open.then(|| Opened::of(&source, state)),
        }
    }
}

impl Opened {
    fn of(source: &Value, state: &State) -> Self {
        let tab = |(view, _, name): &(View, &str, &'static str)| {
            (*name, state.shown(|state| state.view = *view), state.view == *view)
        };
        Self {
            tabs: View::ALL.iter().map(tab).collect(),
            fields: if state.view == View::Fields {
                flatten(source)
                    .into_iter()
                    .map(|(name, value)| FieldRow::of(name, value, state))
                    .collect()
            } else {
                Vec::new()
            },
            json: serde_json::to_string_pretty(source).unwrap_or_default(),
            around: Vec::new(),
            host: field(source, "host.name").map(|name| {
                let link = format!("/app/hosts/{}", crate::pages::look::url_part(&name));
                (name, link)
            }),
        }
    }
}

impl FieldRow {
    fn of(name: String, value: &Value, state: &State) -> Self {
        let one = match value {
            Value::Array(items) => items.first().map(shown).unwrap_or_default(),
            other => shown(other),
        };
        let clause = kql(&name, &one);
        let is_column = state.columns.contains(&name);
        Self {
            with: state.narrowed(|state| state.filters.push(clause.clone())),
            without: state.narrowed(|state| state.filters.push(format!("not {clause}"))),
            column: state.shown(|state| {
                if is_column {
                    state.columns.retain(|column| *column != name);
                } else {
                    state.columns.push(name.clone());
                }
            }),
            is_column,
            value: shown(value),
            name,
        }
    }
}

/// What the same source wrote just before and after, oldest first: time, text, class, whether it is the document itself.
pub(super) async fn around(
    console: &Console,
    document: &Document,
) -> Result<Vec<(String, String, &'static str, bool)>, FleetError> {
    let source = document.source.to_value();
    let Some(time) = source["@timestamp"].as_str() else {
        return Ok(Vec::new());
    };
    let same = |name: &str| field(&source, name).map(|value| Query::term(name, value));
    let mut same: Vec<Query> = ["host.name", "log.file.path"]
        .iter()
        .filter_map(|name| same(name))
        .collect();
    let mut clauses = same.clone();
    clauses.push(Query::less_than("@timestamp", time));
    let mut lines = lines(console, &document.index, clauses, SortOrder::Descending).await?;
    lines.reverse();
    lines.push(line(&source, true));
    same.push(Query::greater_than("@timestamp", time));
    lines.extend(self::lines(console, &document.index, same, SortOrder::Ascending).await?);
    Ok(lines)
}

async fn lines(
    console: &Console,
    index: &str,
    clauses: Vec<Query>,
    order: SortOrder,
) -> Result<Vec<(String, String, &'static str, bool)>, FleetError> {
    let request = SearchRequest::new(index).query(Query::all_of(clauses)).size(AROUND);
    let found = console.store.search(request.sort_by("@timestamp", order)).await?;
    let line = |hit: &Hit| line(&hit.document.source.to_value(), false);
    Ok(found.hits.iter().map(line).collect())
}

fn line(source: &Value, is_it: bool) -> (String, String, &'static str, bool) {
    let level = field(source, "log.level").unwrap_or_default().to_lowercase();
    (
        clock_time(source["@timestamp"].as_str()),
        message(source),
        class(&level),
        is_it,
    )
}

/// The value of a dotted name, whether the document nests it or not.
pub(in crate::pages) fn field(source: &Value, name: &str) -> Option<String> {
    fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
        let map = value.as_object()?;
        map.get(name).or_else(|| {
            name.match_indices('.')
                .find_map(|(at, _)| find(map.get(&name[..at])?, &name[at + 1..]))
        })
    }
    find(source, name).map(shown).filter(|text| !text.is_empty())
}

/// The message, or what a document without one is about: the fields of its own dataset.
pub(in crate::pages) fn message(source: &Value) -> String {
    if let Some(message) = field(source, "message") {
        return cut(message);
    }
    let module = field(source, "event.module").unwrap_or_else(|| "system".to_owned());
    let mut fields = flatten(source.get(&module).unwrap_or(source));
    if source.get(&module).is_none() {
        // What was measured is a number; names and addresses stand in every document.
        fields.retain(|(name, value)| value.is_number() && !name.starts_with("event."));
    }
    let text = fields.iter().map(|(name, value)| format!("{name} {}", shown(value)));
    cut(text.collect::<Vec<_>>().join(" · "))
}

fn cut(text: String) -> String {
    if text.chars().count() <= LONGEST_CELL {
        return text;
    }
    text.chars().take(LONGEST_CELL).chain("…".chars()).collect()
}

fn clock_time(time: Option<&str>) -> String {
    let time = time.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    time.map_or_else(|| "–".to_owned(), |time| time.strftime("%H:%M:%S%.3f").to_string())
}

fn class(level: &str) -> &'static str {
    match level {
        "error" | "critical" | "fatal" | "emergency" | "alert" => "l-error",
        "warn" | "warning" => "l-warn",
        _ => "l-info",
    }
}

/// The words that a query looks for, in lower case; what it excludes is not among them.
pub(super) fn words(query: &Query) -> Vec<String> {
    let mut words = Vec::new();
    collect(query, &mut words);
    words.retain(|word| word.len() > 1);
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words.dedup();
    words
}

fn collect(query: &Query, words: &mut Vec<String>) {
    match query {
        Query::Bool {
            must, filter, should, ..
        } => [must, filter, should]
            .into_iter()
            .flatten()
            .for_each(|inner| collect(inner, words)),
        Query::Match { text, .. } => words.extend(text.split_whitespace().map(str::to_lowercase)),
        Query::MatchPhrase(_, text) | Query::Prefix(_, text) | Query::Term(_, Value::String(text)) => {
            words.push(text.to_lowercase());
        }
        Query::Wildcard { pattern, .. } => {
            words.extend(pattern.split(['*', '?']).map(str::to_lowercase));
        }
        _ => {}
    }
}

/// A text in pieces, those that were looked for marked. Case is compared for ASCII only, so that places agree.
fn marked(text: &str, words: &[String]) -> Vec<Piece> {
    let lower = text.to_ascii_lowercase();
    let piece = |text: &str, is_hit: bool| Piece {
        text: text.to_owned(),
        is_hit,
    };
    let mut pieces = Vec::new();
    let mut done = 0;
    loop {
        let next = words
            .iter()
            .filter_map(|word| lower[done..].find(word.as_str()).map(|at| (done + at, word.len())))
            .min_by_key(|(at, length)| (*at, std::cmp::Reverse(*length)));
        let Some((at, length)) = next else { break };
        if at > done {
            pieces.push(piece(&text[done..at], false));
        }
        pieces.push(piece(&text[at..at + length], true));
        done = at + length;
    }
    if done < text.len() {
        pieces.push(piece(&text[done..], false));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_looked_for_is_marked() {
        let check = |kql: &str, text: &str, expected: &str| {
            let words = words(&query::kql::parse(kql).unwrap());
            let pieces = marked(text, &words);
            let shown: String = pieces
                .iter()
                .map(|piece| {
                    if piece.is_hit {
                        format!("[{}]", piece.text)
                    } else {
                        piece.text.clone()
                    }
                })
                .collect();
            assert_eq!(shown, expected);
        };
        check(
            "message : refused and not message : debug",
            "Connection REFUSED, debug",
            "Connection [REFUSED], debug",
        );
        check("message : \"could not\"", "it could not, äö", "it [could not], äö");
        check("message : conn*", "connection", "[conn]ection");
        check("", "nothing", "nothing");
    }

    #[test]
    fn fields_are_found_nested_and_dotted() {
        let source = json!({"log.level": "info", "log": {"file": {"path": "/a"}}, "host": {"os.name": "x"}});
        let check = |name: &str, expected: Option<&str>| assert_eq!(field(&source, name).as_deref(), expected);
        check("log.level", Some("info"));
        check("log.file.path", Some("/a"));
        check("host.os.name", Some("x"));
        check("host.name", None);
    }

    #[test]
    fn a_measurement_says_its_values() {
        let source = json!({"event": {"module": "system"}, "system": {"load": {"1": 0.5, "cores": 2}}});
        assert_eq!(message(&source), "load.1 0.5 · load.cores 2");
    }
}
