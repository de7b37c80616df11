//! What can come next in the search bar: names of fields, their values, operators.

use askama::Template;
use axum::extract::RawQuery;
use axum::response::Html;
use query::Query;

use super::fields;
use super::state::State;
use crate::domain::error::FleetError;
use crate::pages::problem::{Problem, show};
use crate::pages::session::SignedIn;
use crate::pages::timeline::Timeline;

const SHOWN: usize = 8;

#[derive(Template)]
#[template(path = "explore_suggest.html")]
struct List {
    items: Vec<Suggestion>,
}

struct Suggestion {
    what: String,
    note: &'static str,
    /// The whole search bar after it was chosen.
    text: String,
}

/// What the end of a line of KQL is about.
#[derive(Debug, Eq, PartialEq)]
enum Next<'a> {
    Field {
        before: &'a str,
        begun: &'a str,
    },
    Value {
        before: &'a str,
        field: &'a str,
        begun: &'a str,
    },
    Operator,
}

/// A list of options; empty when there is nothing to suggest.
pub(in crate::pages) async fn list(reader: SignedIn, RawQuery(query): RawQuery) -> Result<Html<String>, Problem> {
    let state = State::parse(query.as_deref().unwrap_or_default());
    // The state's own text has lost its trailing blank, which says that a word is complete.
    let text = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(key, _)| key == "q")
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default();
    let timeline = Timeline::of(reader.console.clock.now(), state.span);
    let items = suggestions(&reader, &state.index, timeline.filter(), &text).await?;
    show(&List { items })
}

async fn suggestions(reader: &SignedIn, index: &str, time: Query, text: &str) -> Result<Vec<Suggestion>, FleetError> {
    match next(text) {
        Next::Operator => Ok(operators(text)),
        Next::Field { before, begun } => {
            let mut names = fields::sample(&reader.console, index, time).await?;
            names.retain(|name| name.contains(begun) && name != begun);
            names.sort_by_key(|name| (!name.starts_with(begun), name.clone()));
            let suggestion = |name: String| Suggestion {
                text: format!("{before}{name} : "),
                what: name,
                note: "field",
            };
            Ok(names.into_iter().take(SHOWN).map(suggestion).collect())
        }
        Next::Value { before, field, begun } => {
            let prefix = begun.trim_start_matches('"');
            let values = fields::frequent(&reader.console, index, time, field, Some(prefix), SHOWN).await?;
            let suggestion = |(value, _): (String, u64)| {
                let clause = super::state::kql(field, &value);
                Suggestion {
                    text: format!("{before}{clause} "),
                    what: value,
                    note: "value",
                }
            };
            Ok(values.into_iter().map(suggestion).collect())
        }
    }
}

fn operators(text: &str) -> Vec<Suggestion> {
    let suggestion = |word: &str, note: &'static str| Suggestion {
        what: word.to_owned(),
        note,
        text: format!("{}{word} ", text.trim_end().to_owned() + " "),
    };
    vec![suggestion("and", "both match"), suggestion("or", "one matches")]
}

fn next(text: &str) -> Next<'_> {
    let quoted = text.matches('"').count() % 2 == 1;
    let begin = if quoted {
        text.rfind('"').unwrap_or(0)
    } else {
        text.rfind(|c: char| c.is_whitespace() || c == '(' || c == ':')
            .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8))
    };
    let (before, begun) = text.split_at(begin);
    let lead = before.trim_end();
    if let Some(named) = lead.strip_suffix(':') {
        let named = named.trim_end();
        let field_at = named
            .rfind(|c: char| c.is_whitespace() || c == '(')
            .map_or(0, |at| at + 1);
        return Next::Value {
            before: &named[..field_at],
            field: &named[field_at..],
            begun,
        };
    }
    let last = lead
        .rsplit(|c: char| c.is_whitespace() || c == '(')
        .next()
        .unwrap_or_default();
    let expects_field = lead.is_empty()
        || lead.ends_with('(')
        || ["and", "or", "not"].iter().any(|word| last.eq_ignore_ascii_case(word));
    if expects_field || !begun.is_empty() {
        Next::Field { before, begun }
    } else {
        Next::Operator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_next_is_seen_from_what_is_there() {
        let field = |before, begun| Next::Field { before, begun };
        let value = |before, field, begun| Next::Value { before, field, begun };
        let check = |text: &'static str, expected: Next<'static>| assert_eq!(next(text), expected, "{text}");
        check("", field("", ""));
        check("log.l", field("", "log.l"));
        check("log.level : ", value("", "log.level", ""));
        check("log.level:err", value("", "log.level", "err"));
        check("a : b and (host.name : \"we", value("a : b and (", "host.name", "\"we"));
        check("a : b ", Next::Operator);
        check("a : b and ", field("a : b and ", ""));
        check("a : b and not ho", field("a : b and not ", "ho"));
    }
}
