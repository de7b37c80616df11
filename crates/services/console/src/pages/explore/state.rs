//! What is looked for, as it stands in the URL: a search can be sent to a colleague, reloaded and saved.

use jiff::Timestamp;
use query::{Query, QueryError};
use url::form_urlencoded::{Serializer, parse};

use crate::pages::timeline::{RANGES, Span};

/// The page's path.
pub(in crate::pages) const PATH: &str = "/app/explore";
/// Only what agents ship may be searched here, none of the fleet's own indices.
const KINDS: [&str; 4] = ["logs-", "metrics-", "traces-", "synthetics-"];
/// A URL with more is not one of ours.
const MOST: usize = 20;

/// How an opened document is shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum View {
    /// Field by field.
    #[default]
    Fields,
    /// As it is stored.
    Json,
    /// With what its source said before and after.
    Surrounding,
}

impl View {
    pub(super) const ALL: [(Self, &'static str, &'static str); 3] = [
        (Self::Fields, "", "Fields"),
        (Self::Json, "json", "JSON"),
        (Self::Surrounding, "surrounding", "Surrounding"),
    ];
}

/// Everything that decides what the page shows.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pages) struct State {
    /// A data stream, a pattern, or several with commas.
    pub(in crate::pages) index: String,
    /// KQL.
    pub(in crate::pages) query: String,
    pub(in crate::pages) span: Span,
    /// More KQL, each shown as a chip.
    pub(in crate::pages) filters: Vec<String>,
    /// Instead of host, dataset and message.
    pub(super) columns: Vec<String>,
    /// Whose most frequent values are shown.
    pub(super) field: String,
    /// Index and id of the opened document.
    pub(super) open: Option<(String, String)>,
    pub(super) view: View,
    /// The sort values after which the page begins, as JSON.
    pub(super) after: String,
    pub(super) live: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            index: "logs-*".to_owned(),
            query: String::new(),
            span: Span::Last(RANGES[1]),
            filters: Vec::new(),
            columns: Vec::new(),
            field: String::new(),
            open: None,
            view: View::Fields,
            after: String::new(),
            live: false,
        }
    }
}

impl State {
    /// What was logged on a host.
    pub(in crate::pages) fn of_host(name: &str) -> Self {
        Self {
            filters: vec![kql("host.name", name)],
            ..Self::default()
        }
    }

    /// A search of that time, each filter a chip.
    pub(in crate::pages) fn of(index: &str, query: &str, span: Span, filters: Vec<String>) -> Self {
        Self {
            index: index.to_owned(),
            query: query.to_owned(),
            span,
            filters,
            ..Self::default()
        }
    }

    /// From the query part of a URL; what makes no sense is left at its default.
    pub(super) fn parse(text: &str) -> Self {
        let mut state = Self::default();
        let (mut from, mut to) = (None, None);
        for (key, value) in parse(text.as_bytes()) {
            let value = value.into_owned();
            match &*key {
                "index" if is_searchable(&value) => state.index = value,
                "q" => state.query = value.trim().to_owned(),
                "range" => state.span = Span::named(&value).unwrap_or(state.span),
                "from" => from = value.parse::<Timestamp>().ok(),
                "to" => to = value.parse::<Timestamp>().ok(),
                "f" if state.filters.len() < MOST && !state.filters.contains(&value) => state.filters.push(value),
                "column" if state.columns.len() < MOST && !state.columns.contains(&value) => state.columns.push(value),
                "field" => state.field = value,
                "open" => {
                    state.open = value
                        .split_once('/')
                        .map(|(index, id)| (index.to_owned(), id.to_owned()));
                }
                "view" => {
                    let named = View::ALL.iter().find(|(_, name, _)| *name == value);
                    state.view = named.map_or(View::Fields, |(view, ..)| *view);
                }
                "after" => state.after = value,
                "live" => state.live = value == "1",
                _ => {}
            }
        }
        if let (Some(from), Some(to)) = (from, to)
            && from < to
        {
            state.span = Span::Between(from, to);
        }
        state
    }

    /// The URL that shows it.
    pub(in crate::pages) fn href(&self) -> String {
        let written = self.written();
        if written.is_empty() {
            PATH.to_owned()
        } else {
            format!("{PATH}?{written}")
        }
    }

    /// The query part of that URL: only what is not the default.
    pub(super) fn written(&self) -> String {
        let default = Self::default();
        let mut url = Serializer::new(String::new());
        let mut add = |key: &str, value: &str| {
            url.append_pair(key, value);
        };
        if self.index != default.index {
            add("index", &self.index);
        }
        if !self.query.is_empty() {
            add("q", &self.query);
        }
        for (key, value) in self.span.written() {
            if self.span != default.span {
                add(key, &value);
            }
        }
        self.filters.iter().for_each(|filter| add("f", filter));
        self.columns.iter().for_each(|column| add("column", column));
        for (key, value) in [("field", &self.field), ("after", &self.after)] {
            if !value.is_empty() {
                add(key, value);
            }
        }
        if let Some((index, id)) = &self.open {
            add("open", &format!("{index}/{id}"));
        }
        if self.view != View::Fields {
            let named = View::ALL.iter().find(|(view, ..)| *view == self.view);
            add("view", named.map_or("", |(_, name, _)| *name));
        }
        if self.live {
            add("live", "1");
        }
        url.finish()
    }

    /// The URL after a change of what is looked for: back to the newest, nothing opened.
    pub(in crate::pages) fn narrowed(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut state = self.clone();
        state.after.clear();
        state.open = None;
        state.view = View::Fields;
        change(&mut state);
        state.href()
    }

    /// The URL after a change of how it is shown.
    pub(super) fn shown(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut state = self.clone();
        change(&mut state);
        state.href()
    }

    /// Search bar and chips as one clause.
    ///
    /// # Errors
    /// One of them is not KQL.
    pub(super) fn clause(&self) -> Result<Query, QueryError> {
        let texts = std::iter::once(&self.query).chain(&self.filters);
        let clauses = texts.map(|text| query::kql::parse(text)).collect::<Result<_, _>>()?;
        Ok(Query::all_of(clauses))
    }

    /// The pairs of the URL that name the time.
    pub(super) fn span_pairs(&self) -> Vec<(&'static str, String)> {
        self.span.written()
    }

    pub(super) fn is_narrowed(&self) -> bool {
        !self.query.is_empty() || !self.filters.is_empty()
    }
}

/// `field : "value"`, so that the search bar reads it back.
pub(in crate::pages) fn kql(field: &str, value: &str) -> String {
    let plain = !value.is_empty() && value.chars().all(|c| c.is_alphanumeric() || "-_./".contains(c));
    let is_word = ["and", "or", "not"].iter().any(|word| value.eq_ignore_ascii_case(word));
    if plain && !is_word {
        format!("{field} : {value}")
    } else {
        format!("{field} : \"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

pub(super) fn is_searchable(index: &str) -> bool {
    index
        .split(',')
        .all(|part| KINDS.iter().any(|kind| part.starts_with(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_back_what_made_it() {
        let check = |text: &str| assert_eq!(State::parse(text).written(), text);
        check("");
        check("index=metrics-*&q=log.level+%3A+error&range=24h");
        check("from=2026-03-01T12%3A00%3A00Z&to=2026-03-01T12%3A05%3A00Z");
        check(
            "f=host.name+%3A+a&f=not+host.name+%3A+b&column=message&field=host.name&open=.ds-logs-a-default-1%2Fx&view=json&live=1",
        );
    }

    #[test]
    fn only_what_agents_ship_is_searched() {
        let check = |index: &str, expected: &str| {
            assert_eq!(State::parse(&format!("index={index}")).index, expected, "{index}");
        };
        check("metrics-system.*", "metrics-system.*");
        check(".fleet-agents", "logs-*");
        check("logs-*,.flotilla-sessions", "logs-*");
        check("*", "logs-*");
    }

    #[test]
    fn times_that_run_backwards_are_left_out() {
        let state = State::parse("from=2026-03-01T12:00:00Z&to=2026-03-01T11:00:00Z");
        assert_eq!(state.span, State::default().span);
    }

    #[test]
    fn filters_read_back_as_they_were_meant() {
        let check = |value: &str, expected: &str| {
            let text = kql("message", value);
            assert_eq!(text, expected);
            assert!(query::kql::parse(&text).is_ok(), "{text}");
        };
        check("web-1", "message : web-1");
        check("connection refused", "message : \"connection refused\"");
        check("a \"b\" \\ c", "message : \"a \\\"b\\\" \\\\ c\"");
        check("or", "message : \"or\"");
    }
}
