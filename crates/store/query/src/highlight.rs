//! Marked words in the texts of a hit.
//!
//! Source: Elasticsearch reference, highlighting (the unified highlighter: sentences, cut at words to the fragment size).

use std::ops::Range;

use serde_json::{Map, Value};

use crate::dsl::{Highlight, HighlightField, Query};
use crate::mapping::{Kind, Mapping};
use crate::{analysis, field, pattern};

/// What is to be marked in a field.
enum Mark {
    Word(String),
    Prefix(String),
    /// A whole value, of a keyword.
    Whole(String),
    Pattern(String),
    Phrase(Vec<String>),
    Near(String, usize),
}

/// The fragments of each field that has marks.
pub fn highlight(query: &Query, wanted: &Highlight, mapping: Option<&Mapping>, source: &Value) -> Map<String, Value> {
    let mut shown = Map::new();
    for (pattern, options) in &wanted.fields {
        for name in names(pattern, mapping, source) {
            let kind = mapping
                .and_then(|mapping| mapping.field(&name))
                .map(|field| (field.kind(), field.path_length));
            let (whole, path) = match kind {
                Some((Kind::Text, length)) => (false, &name[..length]),
                Some((Kind::Keyword, length)) => (true, &name[..length]),
                Some(_) => continue,
                None => (false, name.as_str()),
            };
            let mut marks = Vec::new();
            collect(query, &name, wanted.same_field_only, &mut marks);
            let mut fragments = Vec::new();
            field::visit(source, path, &mut |value| {
                if let Value::String(text) = value {
                    fragments.extend(fragments_of(text, &marks, options, whole));
                }
            });
            if options.most > 0 {
                fragments.truncate(options.most);
            }
            if !fragments.is_empty() {
                shown.insert(name, Value::from(fragments));
            }
        }
    }
    shown
}

fn names(pattern: &str, mapping: Option<&Mapping>, source: &Value) -> Vec<String> {
    if !pattern::is_pattern(pattern) {
        return vec![pattern.to_owned()];
    }
    let mut found: Vec<String> = if let Some(mapping) = mapping {
        // Keywords are highlighted when they are named.
        let is_text = |name: &String| mapping.field(name).is_some_and(|field| field.kind() == Kind::Text);
        mapping.names().into_iter().filter(is_text).collect()
    } else {
        let mut names = Vec::new();
        field::visit_all(source, &mut |name, _| names.push(name.to_owned()));
        names
    };
    found.retain(|name| pattern::wildcard(pattern, name));
    found.sort();
    found.dedup();
    found
}

fn collect(query: &Query, name: &str, same_field_only: bool, marks: &mut Vec<Mark>) {
    let ours =
        |field: &str| !same_field_only || field == name || pattern::is_pattern(field) && pattern::wildcard(field, name);
    let mut all = |queries: &[Query]| {
        for one in queries {
            collect(one, name, same_field_only, marks);
        }
    };
    match query {
        Query::Bool {
            must, filter, should, ..
        } => {
            all(must);
            all(filter);
            all(should);
        }
        Query::Best { queries, .. } => all(queries),
        Query::Constant(inner, _) | Query::Weighted(inner, _) | Query::Demoted(inner, ..) => {
            collect(inner, name, same_field_only, marks);
        }
        Query::Scored(scored) => collect(&scored.query, name, same_field_only, marks),
        Query::Nested { query, .. } => collect(query, name, same_field_only, marks),
        Query::Term(field, value) if ours(field) => marks.extend(exact(value)),
        Query::Terms(field, values) if ours(field) => marks.extend(values.iter().filter_map(exact)),
        Query::Match { field, text, .. } if ours(field) => {
            marks.push(Mark::Whole(text.clone()));
            marks.extend(words_of(text).map(Mark::Word));
        }
        Query::MatchSome {
            field,
            text,
            fuzziness,
            prefix_last,
            ..
        } if ours(field) => {
            let words: Vec<String> = words_of(text).collect();
            let last = words.len().saturating_sub(1);
            marks.extend(words.into_iter().enumerate().map(|(at, word)| match fuzziness {
                _ if *prefix_last && at == last => Mark::Prefix(word),
                Some(fuzziness) => {
                    let distance = fuzziness.distance_of(&word);
                    Mark::Near(word, distance)
                }
                None => Mark::Word(word),
            }));
        }
        Query::MatchPhrase(field, text) | Query::LoosePhrase { field, text, .. } if ours(field) => {
            marks.push(Mark::Whole(text.clone()));
            marks.push(Mark::Phrase(words_of(text).collect()));
        }
        Query::Prefix(field, prefix) if ours(field) => marks.push(Mark::Prefix(prefix.clone())),
        Query::Wildcard { field, pattern, .. } if ours(field) => marks.push(Mark::Pattern(pattern.to_lowercase())),
        Query::Fuzzy(field, text, fuzziness) if ours(field) => {
            marks.push(Mark::Near(text.clone(), fuzziness.distance_of(text)));
        }
        _ => {}
    }
}

fn words_of(text: &str) -> impl Iterator<Item = String> {
    analysis::standard(text).into_iter().map(|(_, word)| word)
}

fn exact(value: &Value) -> Option<Mark> {
    crate::parse::scalar_text(value).map(Mark::Whole)
}

impl Mark {
    fn fits_word(&self, word: &str) -> bool {
        match self {
            Self::Word(wanted) | Self::Whole(wanted) => wanted == word,
            Self::Prefix(prefix) => word.starts_with(prefix.as_str()),
            Self::Pattern(pattern) => pattern::wildcard(pattern, word),
            Self::Near(wanted, distance) => crate::matcher::is_near(wanted, word, *distance),
            Self::Phrase(_) => false,
        }
    }

    fn fits_whole(&self, text: &str) -> bool {
        match self {
            Self::Whole(wanted) => wanted == text,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Pattern(pattern) => pattern::wildcard(pattern, &text.to_lowercase()),
            _ => false,
        }
    }
}

fn fragments_of(text: &str, marks: &[Mark], options: &HighlightField, whole: bool) -> Vec<String> {
    if whole {
        let hit = marks.iter().any(|mark| mark.fits_whole(text));
        return if hit {
            vec![format!("{}{text}{}", options.before, options.after)]
        } else {
            Vec::new()
        };
    }
    let places = places_of(text, marks);
    if places.is_empty() {
        let shown: String = text.chars().take(options.unmarked).collect();
        return if shown.is_empty() { Vec::new() } else { vec![shown] };
    }
    if options.most == 0 {
        return vec![marked(text, &(0..text.len()), &places, options)];
    }
    let mut cut: Vec<(usize, Range<usize>)> = passages(text, &places, options.fragment)
        .into_iter()
        .map(|passage| {
            (
                places.iter().filter(|place| passage.contains(&place.start)).count(),
                passage,
            )
        })
        .collect();
    if options.by_score || cut.len() > options.most {
        cut.sort_by_key(|(count, passage)| (std::cmp::Reverse(*count), passage.start));
        cut.truncate(options.most);
    }
    if !options.by_score {
        cut.sort_by_key(|(_, passage)| passage.start);
    }
    cut.iter()
        .map(|(_, passage)| marked(text, passage, &places, options))
        .collect()
}

/// Where words to be marked stand; the words of a phrase are one place.
fn places_of(text: &str, marks: &[Mark]) -> Vec<Range<usize>> {
    let words = analysis::standard(text);
    let mut places: Vec<Range<usize>> = Vec::new();
    for (range, word) in &words {
        if marks.iter().any(|mark| mark.fits_word(word)) {
            places.push(range.clone());
        }
    }
    for mark in marks {
        let Mark::Phrase(phrase) = mark else { continue };
        for window in words.windows(phrase.len().max(1)) {
            if !phrase.is_empty() && window.iter().map(|(_, word)| word).eq(phrase.iter()) {
                places.push(window[0].0.start..window[window.len() - 1].0.end);
            }
        }
    }
    places.sort_by_key(|place| (place.start, std::cmp::Reverse(place.end)));
    let mut kept: Vec<Range<usize>> = Vec::new();
    for place in places {
        if kept.last().is_none_or(|last| place.start >= last.end) {
            kept.push(place);
        }
    }
    kept
}

/// Stretches of text around the marks: from the begin of a sentence, as many sentences as fit, cut at a word.
fn passages(text: &str, places: &[Range<usize>], size: usize) -> Vec<Range<usize>> {
    let sentences = sentences(text);
    let mut passages: Vec<Range<usize>> = Vec::new();
    for place in places {
        if passages.last().is_some_and(|last| place.end <= last.end) {
            continue;
        }
        let Some(first) = sentences.iter().position(|sentence| sentence.contains(&place.start)) else {
            continue;
        };
        let start = sentences[first].start.max(passages.last().map_or(0, |last| last.end));
        let mut end = sentences[first].end;
        for sentence in &sentences[first + 1..] {
            if sentence.end - start > size {
                break;
            }
            end = sentence.end;
        }
        if end - start > size {
            end = cut_at_word(text, start, place.end.max(start + size));
        }
        passages.push(start..end.max(place.end));
    }
    passages
}

fn cut_at_word(text: &str, start: usize, wanted: usize) -> usize {
    let from = (wanted..text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(text.len());
    text[from..]
        .find(char::is_whitespace)
        .map_or(text.len(), |space| from + space)
        .max(start)
}

/// A sentence ends behind `.`, `!` or `?` with a space after it, or at the end of a line.
fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut letters = text.char_indices().peekable();
    while let Some((_, letter)) = letters.next() {
        let next = letters.peek().copied();
        let ends =
            letter == '\n' || matches!(letter, '.' | '!' | '?') && next.is_some_and(|(_, next)| next.is_whitespace());
        if ends {
            let end = next.map_or(text.len(), |(at, _)| at);
            let end = text[end..]
                .find(|c: char| !c.is_whitespace())
                .map_or(text.len(), |gap| end + gap);
            if end > start {
                found.push(start..end);
                start = end;
            }
        }
    }
    if start < text.len() {
        found.push(start..text.len());
    }
    found
}

fn marked(text: &str, passage: &Range<usize>, places: &[Range<usize>], options: &HighlightField) -> String {
    let mut shown = String::new();
    let mut at = passage.start;
    for place in places
        .iter()
        .filter(|place| place.start >= passage.start && place.end <= passage.end)
    {
        shown.push_str(&text[at..place.start]);
        shown.push_str(&options.before);
        shown.push_str(&text[place.clone()]);
        shown.push_str(&options.after);
        at = place.end;
    }
    shown.push_str(&text[at..passage.end]);
    shown.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsl::SearchRequest;
    use serde_json::json;

    const LAZY: &str = "Lazy dogs sleep. They sleep all day long. Nobody wakes the lazy dog, for it is lazy.";

    #[track_caller]
    fn check(query: Value, highlight_body: Value, expected: Value) {
        let request = SearchRequest::from_json(&json!({ "query": query, "highlight": highlight_body })).unwrap();
        let mapping = json!({ "properties": { "title": { "type": "text" }, "tag": { "type": "keyword" } } });
        let mapping = Mapping::parse(&mapping).unwrap();
        let source = json!({ "title": LAZY, "tag": ["animal", "dog"] });
        let shown = highlight(&request.query, &request.highlight.unwrap(), Some(&mapping), &source);
        assert_eq!(Value::Object(shown), expected);
    }

    /// The expected texts are a real Elasticsearch's.
    #[test]
    fn fragments_are_those_of_the_original() {
        check(
            json!({ "match": { "title": "lazy dog" } }),
            json!({ "fields": { "title": {} } }),
            json!({ "title": ["<em>Lazy</em> dogs sleep. They sleep all day long. Nobody wakes the <em>lazy</em> <em>dog</em>, for it is <em>lazy</em>."] }),
        );
        check(
            json!({ "match": { "title": "lazy" } }),
            json!({ "fields": { "title": { "fragment_size": 20, "number_of_fragments": 2 } } }),
            json!({ "title": ["<em>Lazy</em> dogs sleep.", "Nobody wakes the <em>lazy</em>"] }),
        );
        check(
            json!({ "term": { "tag": "dog" } }),
            json!({ "fields": { "tag": {} } }),
            json!({ "tag": ["<em>dog</em>"] }),
        );
        check(
            json!({ "match_phrase": { "title": "lazy dog" } }),
            json!({ "fields": { "title": { "number_of_fragments": 0 } }, "pre_tags": ["<b>"], "post_tags": ["</b>"] }),
            json!({ "title": ["Lazy dogs sleep. They sleep all day long. Nobody wakes the <b>lazy dog</b>, for it is lazy."] }),
        );
        check(
            json!({ "match": { "title": "nothing" } }),
            json!({ "fields": { "*": {} } }),
            json!({}),
        );
    }
}
