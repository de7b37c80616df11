//! How well a document matches: BM25 over the words and keywords of an index, as Lucene computes it.
//!
//! Source: Elasticsearch reference, similarity settings (BM25 with `k1` 1.2 and `b` 0.75); clauses without words or
//! keywords score 1.

use std::collections::{BTreeMap, HashMap};

use super::text::{TextTest, WordTest, phrase_count, placed_words};
use super::typed::ValueTest;
use super::{At, Below, Document, FieldTest, Matcher, Node, Test, holds};
use crate::dsl::ScoreMode;
use crate::evaluate::DocumentMeta;
use crate::functions::ScoreFunction;
use crate::parse::scalar_text;

const K1: f32 = 1.2;
const B: f32 = 0.75;

/// What of an index scores depend on.
#[derive(Debug, Default)]
pub struct Statistics {
    fields: BTreeMap<String, FieldStatistics>,
}

#[derive(Debug, Default)]
struct FieldStatistics {
    /// Texts have lengths; keywords do not.
    is_text: bool,
    documents: u64,
    words: u64,
    /// In how many documents each wanted word is.
    frequencies: HashMap<String, u64>,
}

impl Matcher {
    /// What must be counted before documents can be scored; `None` when all scores are the same without.
    pub fn statistics(&self) -> Option<Statistics> {
        let mut statistics = Statistics::default();
        collect(&self.root, &mut statistics);
        (!statistics.fields.is_empty()).then_some(statistics)
    }

    /// The score of a document; `None` when it does not match.
    pub fn score(&self, document: &dyn Document, meta: &DocumentMeta<'_>, statistics: &Statistics) -> Option<f32> {
        score(&self.root, document, meta, statistics)
    }
}

fn collect(node: &Node, statistics: &mut Statistics) {
    match node {
        Node::All | Node::Nothing | Node::Ids(_) | Node::Constant(..) => {}
        Node::Bool { must, should, .. } => must.iter().chain(should).for_each(|clause| collect(clause, statistics)),
        Node::Best(nodes, _) => nodes.iter().for_each(|node| collect(node, statistics)),
        Node::Weighted(inner, _)
        | Node::Demoted(inner, ..)
        | Node::Nested { inner, .. }
        | Node::Scored { inner, .. } => collect(inner, statistics),
        Node::Fields(tests) => tests.iter().for_each(|test| collect_test(test, statistics)),
    }
}

fn collect_test(test: &FieldTest, statistics: &mut Statistics) {
    let At::Path(path) = &test.at else { return };
    let words: Vec<&str> = match &test.test {
        Test::Text(TextTest::Words(words, _)) => words.iter().filter_map(word_of).collect(),
        Test::Text(TextTest::Phrase { words, .. }) => words.iter().map(String::as_str).collect(),
        // Several values at once are a constant, as `terms` is.
        Test::Value(ValueTest::Keywords { wanted, .. }) if wanted.len() == 1 => {
            wanted.iter().map(String::as_str).collect()
        }
        _ => return,
    };
    let is_text = matches!(test.test, Test::Text(_));
    let key = field_key(path, is_text);
    let field = statistics.fields.entry(key).or_default();
    field.is_text = is_text;
    for word in words {
        field.frequencies.entry(word.to_owned()).or_default();
    }
}

/// A path may hold a text and, as a sub-field, a keyword.
fn field_key(path: &str, is_text: bool) -> String {
    format!("{}{path}", if is_text { 't' } else { 'k' })
}

fn word_of(test: &WordTest) -> Option<&str> {
    match test {
        WordTest::Exact(word) => Some(word),
        WordTest::Fuzzy(fuzzy) => Some(&fuzzy.word),
        WordTest::Prefix(_) => None,
    }
}

impl Statistics {
    /// Takes in a document of the index, matching or not.
    pub fn observe(&mut self, document: &dyn Document) {
        for (key, field) in &mut self.fields {
            let mut texts = Vec::new();
            document.visit(&key[1..], &mut |value| texts.extend(scalar_text(value)));
            if texts.is_empty() {
                continue;
            }
            field.documents += 1;
            if field.is_text {
                let words = placed_words(&texts);
                field.words += words.len() as u64;
                for (word, count) in &mut field.frequencies {
                    *count += u64::from(words.iter().any(|(_, present)| present == word));
                }
            } else {
                for (word, count) in &mut field.frequencies {
                    *count += u64::from(texts.contains(word));
                }
            }
        }
    }

    fn field(&self, path: &str, is_text: bool) -> Option<&FieldStatistics> {
        self.fields.get(&field_key(path, is_text))
    }
}

impl FieldStatistics {
    fn rarity(&self, word: &str) -> f32 {
        let in_documents = self.frequencies.get(word).copied().unwrap_or(0) as f64;
        let all = self.documents as f64;
        (1.0 + (all - in_documents + 0.5) / (in_documents + 0.5)).ln() as f32
    }

    fn weight(&self, frequency: f32, length: usize) -> f32 {
        let norm = if self.is_text {
            let average = self.words as f32 / self.documents.max(1) as f32;
            K1 * (1.0 - B + B * length_as_kept(length) as f32 / average)
        } else {
            K1
        };
        frequency / (frequency + norm)
    }
}

/// Lengths above 40 are kept with fewer digits. Source: Lucene, `SmallFloat.intToByte4`.
fn length_as_kept(length: usize) -> usize {
    const EXACT: usize = 24;
    if length < EXACT {
        return length;
    }
    let rest = length - EXACT;
    let bits = usize::BITS - rest.leading_zeros();
    if bits <= 4 {
        length
    } else {
        (rest >> (bits - 4) << (bits - 4)) + EXACT
    }
}

fn score(node: &Node, document: &dyn Document, meta: &DocumentMeta<'_>, statistics: &Statistics) -> Option<f32> {
    let of = |node: &Node| score(node, document, meta, statistics);
    match node {
        Node::All => Some(1.0),
        Node::Nothing => None,
        Node::Ids(_) => holds(node, document, meta).then_some(1.0),
        Node::Bool {
            must,
            filter,
            should,
            must_not,
            minimum,
        } => {
            let there = |clause: &Node| holds(clause, document, meta);
            if !filter.iter().all(there) || must_not.iter().any(there) {
                return None;
            }
            let mut total = 0.0_f64;
            for clause in must {
                total += f64::from(of(clause)?);
            }
            let optional: Vec<f32> = should.iter().filter_map(of).collect();
            if optional.len() < *minimum {
                return None;
            }
            total += optional.into_iter().map(f64::from).sum::<f64>();
            Some(total as f32)
        }
        Node::Fields(tests) => tests
            .iter()
            .filter_map(|test| test.score(document, meta, statistics))
            .reduce(f32::max),
        Node::Best(nodes, tie_breaker) => best(nodes.iter().filter_map(of).collect(), *tie_breaker),
        Node::Constant(inner, boost) => holds(inner, document, meta).then_some(*boost),
        Node::Weighted(inner, boost) => of(inner).map(|score| score * boost),
        Node::Demoted(inner, less, factor) => of(inner).map(|score| {
            if holds(less, document, meta) {
                score * factor
            } else {
                score
            }
        }),
        Node::Scored {
            inner,
            filters,
            functions,
            now,
        } => of(inner).map(|score| {
            let value = |(filter, (_, function)): (&Option<Node>, &(_, ScoreFunction))| {
                let counts = filter.as_ref().is_none_or(|filter| holds(filter, document, meta));
                counts.then(|| function.value(document, meta, *now))
            };
            let values: Vec<Option<f64>> = filters.iter().zip(&functions.functions).map(value).collect();
            functions.score(score, &values)
        }),
        Node::Nested { path, inner, mode } => {
            let mut scores: Vec<f32> = Vec::new();
            document.visit(path, &mut |item| {
                if item.is_object() {
                    scores.extend(score(inner, &Below { path, item }, meta, statistics));
                }
            });
            together(&scores, *mode)
        }
    }
}

/// What several nested objects score; `None` when none matches.
fn together(scores: &[f32], mode: ScoreMode) -> Option<f32> {
    let sum = || scores.iter().sum::<f32>();
    let all = scores.iter().copied();
    match mode {
        _ if scores.is_empty() => None,
        ScoreMode::Avg => Some(sum() / scores.len() as f32),
        ScoreMode::Sum => Some(sum()),
        ScoreMode::Max => all.reduce(f32::max),
        ScoreMode::Min => all.reduce(f32::min),
        ScoreMode::None => Some(0.0),
    }
}

fn best(scores: Vec<f32>, tie_breaker: f32) -> Option<f32> {
    let highest = scores.iter().copied().reduce(f32::max)?;
    let others = scores.iter().sum::<f32>() - highest;
    Some(highest + others * tie_breaker)
}

impl FieldTest {
    fn score(&self, document: &dyn Document, meta: &DocumentMeta<'_>, statistics: &Statistics) -> Option<f32> {
        if !self.passes(document, meta) {
            return None;
        }
        let At::Path(path) = &self.at else { return Some(1.0) };
        match &self.test {
            Test::Text(test) => Some(match statistics.field(path, true) {
                Some(field) => text_score(test, &self.texts(document), field),
                None => 1.0,
            }),
            Test::Value(ValueTest::Keywords { wanted, .. }) if wanted.len() == 1 => {
                Some(statistics.field(path, false).map_or(1.0, |field| {
                    let word = wanted.iter().next().map_or("", String::as_str);
                    2.2 * field.rarity(word) * field.weight(1.0, 1)
                }))
            }
            _ => Some(1.0),
        }
    }
}

fn text_score(test: &TextTest, texts: &[String], field: &FieldStatistics) -> f32 {
    let words = placed_words(texts);
    match test {
        TextTest::Words(wanted, _) => {
            let one = |test: &WordTest| {
                let frequency = words.iter().filter(|(_, word)| test.fits(word)).count() as f32;
                match word_of(test) {
                    _ if frequency == 0.0 => 0.0,
                    Some(word) => 2.2 * field.rarity(word) * field.weight(frequency, words.len()),
                    None => 1.0,
                }
            };
            wanted.iter().map(|test| f64::from(one(test))).sum::<f64>() as f32
        }
        TextTest::Phrase {
            words: phrase,
            slop,
            prefix_last,
        } => {
            let frequency = phrase_count(&words, phrase, *slop, *prefix_last);
            let rarity: f32 = phrase.iter().map(|word| field.rarity(word)).sum();
            2.2 * rarity * field.weight(frequency, words.len())
        }
        _ => 1.0,
    }
}

/// A value as a document, for tests.
#[cfg(test)]
fn scores(
    documents: &[serde_json::Value],
    query: &serde_json::Value,
    mapping: &crate::mapping::Mapping,
) -> Vec<Option<f32>> {
    let query = crate::dsl::Query::from_json(query).unwrap();
    let matcher = Matcher::compile(&query, Some(mapping), None).unwrap();
    let mut statistics = matcher.statistics().unwrap_or_default();
    for document in documents {
        statistics.observe(document);
    }
    let meta = DocumentMeta::default();
    documents
        .iter()
        .map(|document| matcher.score(document, &meta, &statistics))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn rare_words_in_short_texts_score_high() {
        let mapping = crate::mapping::Mapping::parse(&json!({ "properties": {
            "title": { "type": "text" }, "tag": { "type": "keyword" }, "n": { "type": "long" },
        } }));
        let mapping = mapping.unwrap();
        let documents = [
            json!({ "title": "quick brown fox", "tag": "a", "n": 1 }),
            json!({ "title": "quick", "tag": "b", "n": 2 }),
            json!({ "title": "the lazy brown dog sleeps", "tag": "b", "n": 3 }),
        ];
        let of = |query: Value| scores(&documents, &query, &mapping);
        let quick = of(json!({ "match": { "title": "quick" } }));
        assert!(quick[1] > quick[0] && quick[2].is_none(), "{quick:?}");
        let both = of(json!({ "match": { "title": "quick fox" } }));
        assert!(both[0] > both[1], "{both:?}");
        assert_eq!(of(json!({ "term": { "n": 2 } })), [None, Some(1.0), None]);
        assert_eq!(
            of(json!({ "bool": { "filter": { "term": { "tag": "b" } } } }))[1],
            Some(0.0)
        );
        assert_eq!(
            of(json!({ "constant_score": { "filter": { "term": { "tag": "b" } }, "boost": 3 } }))[1],
            Some(3.0)
        );
    }

    #[test]
    fn long_lengths_are_rounded_down() {
        assert_eq!([5, 40, 41, 42, 43, 100].map(length_as_kept), [5, 40, 40, 42, 42, 96]);
    }
}
