//! One query asked about many documents at once: what a field holds is tested once for all documents that hold the same.

use std::collections::HashSet;

use serde_json::Value;

use super::{At, Below, Document, FieldTest, Matcher, Node, Test, holds};
use crate::evaluate::DocumentMeta;
use crate::parse::scalar_text;
use crate::pattern;

/// Documents in rows, kept by what their fields hold.
pub trait Columns {
    /// How many there are.
    fn count(&self) -> usize;

    /// The rows whose values at a field's full name pass. A test may be asked about equal values once for all rows that have them.
    fn holding(&self, path: &str, test: &mut dyn FnMut(&[&Value]) -> bool) -> Rows;

    /// The rows with a value that passes, in any field whose full name fits.
    fn holding_anywhere(&self, fits: &dyn Fn(&str) -> bool, test: &mut dyn FnMut(&Value) -> bool) -> Rows;

    /// The rows of these ids.
    fn of_ids(&self, ids: &HashSet<String>) -> Rows;

    /// The rows whose documents pass, each looked at alone.
    fn each(&self, test: &mut dyn FnMut(&dyn Document, &DocumentMeta<'_>) -> bool) -> Rows;
}

/// A set of rows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rows {
    words: Vec<u64>,
    count: usize,
}

impl Rows {
    /// None of so many.
    pub fn none(count: usize) -> Self {
        Self {
            words: vec![0; count.div_ceil(64)],
            count,
        }
    }

    /// All of so many.
    pub fn all(count: usize) -> Self {
        Self::of(count, |_| true)
    }

    /// Those that pass, of so many.
    pub fn of(count: usize, mut passes: impl FnMut(usize) -> bool) -> Self {
        let mut rows = Self::none(count);
        for (number, word) in rows.words.iter_mut().enumerate() {
            let first = number * 64;
            for row in first..count.min(first + 64) {
                *word |= u64::from(passes(row)) << (row - first);
            }
        }
        rows
    }

    /// Those whose code passes.
    pub fn of_codes(codes: &[u32], passes: &[bool]) -> Self {
        Self::of(codes.len(), |row| passes[codes[row] as usize])
    }

    /// Takes a row in.
    pub fn insert(&mut self, row: usize) {
        self.words[row / 64] |= 1 << (row % 64);
    }

    /// Whether a row is one of them.
    pub fn contains(&self, row: usize) -> bool {
        self.words.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Keeps those that are in the other set, too.
    pub fn keep(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    /// Takes those of the other set in.
    pub fn add(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// Takes those of the other set out.
    pub fn remove(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= !other;
        }
    }

    /// Their numbers, from the first on.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(number, word)| {
            let rest = std::iter::successors(Some(*word), |word| Some(word & word.wrapping_sub(1)));
            let left = rest.take_while(|word| *word != 0);
            left.map(move |word| number * 64 + word.trailing_zeros() as usize)
        })
    }
}

impl Matcher {
    /// The rows that match: those for which [`Matcher::holds`] does.
    pub fn rows(&self, columns: &dyn Columns) -> Rows {
        rows(&self.root, columns)
    }
}

fn rows(node: &Node, columns: &dyn Columns) -> Rows {
    match node {
        Node::All => Rows::all(columns.count()),
        Node::Nothing => Rows::none(columns.count()),
        Node::Bool { minimum, .. } if *minimum > 1 => columns.each(&mut |document, meta| holds(node, document, meta)),
        Node::Bool {
            must,
            filter,
            should,
            must_not,
            minimum,
        } => {
            let mut found = match minimum {
                0 => Rows::all(columns.count()),
                _ => any_of(should.iter().map(|clause| rows(clause, columns)), columns),
            };
            for clause in must.iter().chain(filter) {
                found.keep(&rows(clause, columns));
            }
            for clause in must_not {
                found.remove(&rows(clause, columns));
            }
            found
        }
        Node::Fields(tests) => any_of(tests.iter().map(|test| test.rows(columns)), columns),
        Node::Ids(ids) => columns.of_ids(ids),
        Node::Best(nodes, _) => any_of(nodes.iter().map(|node| rows(node, columns)), columns),
        Node::Constant(inner, _) | Node::Weighted(inner, _) | Node::Demoted(inner, ..) | Node::Scored { inner, .. } => {
            rows(inner, columns)
        }
        Node::Nested { path, inner, .. } => columns.holding(path, &mut |items| {
            let fits = |item: &&Value| holds(inner, &Below { path, item }, &DocumentMeta::default());
            items
                .iter()
                .copied()
                .filter(|item| item.is_object())
                .any(|item| fits(&item))
        }),
    }
}

fn any_of(parts: impl Iterator<Item = Rows>, columns: &dyn Columns) -> Rows {
    let mut found = Rows::none(columns.count());
    for part in parts {
        found.add(&part);
    }
    found
}

impl FieldTest {
    fn rows(&self, columns: &dyn Columns) -> Rows {
        let mut passes = |values: &[&Value]| match &self.test {
            Test::Text(test) => test.passes(&values.iter().copied().filter_map(scalar_text).collect::<Vec<_>>()),
            Test::Value(test) => values.iter().any(|value| test.passes(value)),
            Test::Loose(test) => values.iter().any(|value| test.passes(value)),
        };
        match &self.at {
            At::Path(path) => columns.holding(path, &mut passes),
            At::Either(name, plain) => {
                let mut found = columns.holding(name, &mut passes);
                found.add(&columns.holding(plain, &mut passes));
                found
            }
            At::Names(names) => {
                columns.holding_anywhere(&|name| pattern::wildcard(names, name), &mut |value| passes(&[value]))
            }
            At::Id | At::SeqNo | At::Index => columns.each(&mut |document, meta| self.passes(document, meta)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Documents, each looked at alone.
    struct Plain(Vec<(String, Value)>);

    impl Columns for Plain {
        fn count(&self) -> usize {
            self.0.len()
        }

        fn holding(&self, path: &str, test: &mut dyn FnMut(&[&Value]) -> bool) -> Rows {
            Rows::of(self.count(), |row| {
                let mut values = Vec::new();
                crate::field::visit(&self.0[row].1, path, &mut |value| values.push(value.clone()));
                test(&values.iter().collect::<Vec<_>>())
            })
        }

        fn holding_anywhere(&self, fits: &dyn Fn(&str) -> bool, test: &mut dyn FnMut(&Value) -> bool) -> Rows {
            Rows::of(self.count(), |row| {
                let mut found = false;
                self.0[row]
                    .1
                    .visit_all(&mut |name, value| found = found || fits(name) && test(value));
                found
            })
        }

        fn of_ids(&self, ids: &HashSet<String>) -> Rows {
            Rows::of(self.count(), |row| ids.contains(&self.0[row].0))
        }

        fn each(&self, test: &mut dyn FnMut(&dyn Document, &DocumentMeta<'_>) -> bool) -> Rows {
            Rows::of(self.count(), |row| {
                let (id, document) = &self.0[row];
                test(document, &meta(id))
            })
        }
    }

    fn meta(id: &str) -> DocumentMeta<'_> {
        DocumentMeta {
            id,
            ..DocumentMeta::default()
        }
    }

    fn documents() -> Plain {
        let of = |number: usize| match number % 5 {
            0 => json!({"host": {"name": format!("web-{number}")}, "tags": ["edge", "core"], "count": number}),
            1 => json!({"host": {"name": "db"}, "tags": "edge", "flag": number.is_multiple_of(2)}),
            2 => json!({"tags": [], "count": [1, number], "items": [{"a": 1, "b": 2}, {"a": 2, "b": 1}]}),
            3 => json!({"time": "2026-01-02T12:00:00Z", "host": null, "items": [{"a": 1, "b": 1}]}),
            _ => json!({}),
        };
        Plain((0..150).map(|number| (format!("id-{number}"), of(number))).collect())
    }

    #[test]
    fn all_at_once_are_those_that_match_one_by_one() {
        let documents = documents();
        let queries = [
            "",
            "host.name: web-1*",
            "tags: (edge and not core) or count >= 100",
            "not tags: *",
            "host: *",
            "items: {a: 1 and b: 1}",
            "time < now",
            "flag: true",
            "db",
            "*.name: db",
            "_id: (id-3 or id-64)",
            "tags.keyword: core",
            "host.name: \"web-5\" and not (count: 10)",
        ];
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        for text in queries {
            let query = match text {
                "" => crate::Query::MatchAll,
                text => crate::kql::parse(text).unwrap(),
            };
            let matcher = Matcher::compile(&query, None, Some(now)).unwrap();
            let one_by_one = |row: &usize| matcher.holds(&documents.0[*row].1, &meta(&documents.0[*row].0));
            let expected: Vec<usize> = (0..documents.count()).filter(one_by_one).collect();
            let found: Vec<usize> = matcher.rows(&documents).iter().collect();
            assert_eq!(found, expected, "{text}");
            assert!(!found.is_empty(), "{text} finds something, else this says nothing");
        }
        let two_of_three = crate::Query::Bool {
            must: vec![],
            filter: vec![],
            should: ["tags: edge", "tags: core", "host.name: db"]
                .map(|text| crate::kql::parse(text).unwrap())
                .to_vec(),
            must_not: vec![],
            minimum_should_match: 2,
        };
        let matcher = Matcher::compile(&two_of_three, None, None).unwrap();
        assert_eq!(matcher.rows(&documents).iter().count(), 60);
    }

    #[test]
    fn sets_of_rows() {
        let third = Rows::of(130, |row| row % 3 == 0);
        let mut both = Rows::of(130, |row| row % 2 == 0);
        both.keep(&third);
        assert_eq!(both, Rows::of(130, |row| row % 6 == 0));
        both.add(&Rows::of(130, |row| row == 129));
        assert!(both.contains(129) && !both.contains(128) && !both.contains(4_000));
        let mut rest = Rows::all(130);
        rest.remove(&third);
        rest.insert(0);
        assert_eq!(rest.iter().take(3).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(rest.iter().count(), 130 - 44 + 1);
        assert_eq!(
            Rows::of_codes(&[0, 1, 0], &[true, false]).iter().collect::<Vec<_>>(),
            [0, 2]
        );
    }
}
