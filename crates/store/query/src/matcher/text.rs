//! Tests of words: what `text` fields are made of.

use regex::Regex;

use crate::{analysis, pattern};

/// A pattern for a whole keyword or one word.
#[derive(Debug)]
pub(super) enum TextPattern {
    Prefix(String),
    Wildcard(String),
    /// In lower case.
    Insensitive(String),
    Expression(Regex),
    Fuzzy(Fuzzy),
}

/// A word and how far from it another may be.
#[derive(Debug)]
pub(super) struct Fuzzy {
    pub(super) word: String,
    pub(super) distance: usize,
    pub(super) prefix: usize,
}

impl TextPattern {
    pub(super) fn fits(&self, text: &str) -> bool {
        match self {
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Wildcard(pattern) => pattern::wildcard(pattern, text),
            Self::Insensitive(pattern) => pattern::wildcard(pattern, &text.to_lowercase()),
            Self::Expression(regex) => regex.is_match(text),
            Self::Fuzzy(fuzzy) => fuzzy.fits(text),
        }
    }
}

impl Fuzzy {
    pub(super) fn fits(&self, text: &str) -> bool {
        let wanted: Vec<char> = self.word.chars().collect();
        let present: Vec<char> = text.chars().collect();
        let prefix = self.prefix.min(wanted.len());
        present.get(..prefix) == Some(&wanted[..prefix]) && distance(&wanted, &present, self.distance) <= self.distance
    }
}

/// Insertions, deletions, changes and swaps of neighbours between two words; anything above `most` counts as more.
fn distance(left: &[char], right: &[char], most: usize) -> usize {
    if left.len().abs_diff(right.len()) > most {
        return most + 1;
    }
    let width = right.len() + 1;
    let mut rows: Vec<Vec<usize>> = vec![(0..width).collect()];
    for (place, letter) in left.iter().enumerate() {
        let mut row = vec![place + 1; width];
        for (at, other) in right.iter().enumerate() {
            let above = &rows[place];
            let change = above[at] + usize::from(letter != other);
            row[at + 1] = change.min(above[at + 1] + 1).min(row[at] + 1);
            if place > 0 && at > 0 && left[place - 1] == *other && right[at - 1] == *letter {
                row[at + 1] = row[at + 1].min(rows[place - 1][at - 1] + 1);
            }
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(0)
}

#[derive(Debug)]
pub(super) enum TextTest {
    /// At least so many of the words.
    Words(Vec<WordTest>, usize),
    /// All in this order, with at most so many moves.
    Phrase {
        words: Vec<String>,
        slop: usize,
        prefix_last: bool,
    },
    Pattern(TextPattern),
    /// Words between two, each end with whether it counts.
    Range(Option<(String, bool)>, Option<(String, bool)>),
    Present,
}

/// One word of a `match`.
#[derive(Debug)]
pub(super) enum WordTest {
    Exact(String),
    Prefix(String),
    Fuzzy(Fuzzy),
}

impl WordTest {
    pub(super) fn fits(&self, word: &str) -> bool {
        match self {
            Self::Exact(wanted) => word == wanted,
            Self::Prefix(prefix) => word.starts_with(prefix.as_str()),
            Self::Fuzzy(fuzzy) => fuzzy.fits(word),
        }
    }
}

/// The words of several values, each with its place; values lie far apart, so that no phrase spans two.
/// Source: Elasticsearch, `position_increment_gap`.
pub(super) fn placed_words(texts: &[String]) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    let mut start = 0;
    for text in texts {
        let before = words.len();
        words.extend(
            analysis::standard(text)
                .into_iter()
                .enumerate()
                .map(|(at, (_, word))| (start + at, word)),
        );
        start += words.len() - before + 100;
    }
    words
}

impl TextTest {
    pub(super) fn passes(&self, texts: &[String]) -> bool {
        if texts.is_empty() {
            return false;
        }
        match self {
            Self::Present => true,
            Self::Words(wanted, minimum) => {
                let words = placed_words(texts);
                let there = |one: &&WordTest| words.iter().any(|(_, word)| one.fits(word));
                wanted.iter().filter(there).take(*minimum).count() >= *minimum
            }
            Self::Phrase {
                words,
                slop,
                prefix_last,
            } => phrase_count(&placed_words(texts), words, *slop, *prefix_last) > 0.0,
            Self::Pattern(pattern) => placed_words(texts).iter().any(|(_, word)| pattern.fits(word)),
            Self::Range(from, to) => placed_words(texts).iter().any(|(_, word)| {
                from.as_ref()
                    .is_none_or(|(end, inclusive)| word > end || *inclusive && word == end)
                    && to
                        .as_ref()
                        .is_none_or(|(end, inclusive)| word < end || *inclusive && word == end)
            }),
        }
    }
}

/// How often a phrase occurs; sloppy occurrences count less the more moves they need.
pub(super) fn phrase_count(words: &[(usize, String)], phrase: &[String], slop: usize, prefix_last: bool) -> f32 {
    let fits = |at: usize, word: &str| {
        if prefix_last && at + 1 == phrase.len() {
            word.starts_with(phrase[at].as_str())
        } else {
            word == phrase[at]
        }
    };
    let Some(first) = phrase.first() else { return 0.0 };
    let mut count = 0.0;
    for (start, _) in words
        .iter()
        .filter(|(_, word)| fits(0, word) && (phrase.len() > 1 || prefix_last || word == first))
    {
        // Each word may stand anywhere within the slop: the moves are how far apart the shifted places are.
        let mut shifted = vec![*start as i64];
        let found = (1..phrase.len()).all(|at| {
            let wanted = *start as i64 + at as i64;
            let nearest = words
                .iter()
                .filter(|(_, word)| fits(at, word))
                .map(|(place, _)| *place as i64 - at as i64)
                .min_by_key(|place| (place - (wanted - at as i64)).abs());
            nearest.inspect(|place| shifted.push(*place)).is_some()
        });
        let spread = shifted.iter().max().unwrap_or(&0) - shifted.iter().min().unwrap_or(&0);
        if found && spread <= slop as i64 {
            count += 1.0 / (1.0 + spread as f32);
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzzy_words_are_near() {
        let near = |word: &str, text: &str, distance: usize| {
            Fuzzy {
                word: word.to_owned(),
                distance,
                prefix: 0,
            }
            .fits(text)
        };
        assert!(near("quikc", "quick", 1), "a swap is one change");
        assert!(near("dig", "dog", 1) && near("abc", "ab", 1) && near("abc", "xabc", 1));
        assert!(!near("dig", "cat", 1) && !near("abcd", "ab", 1));
        assert!(
            !Fuzzy {
                word: "dog".to_owned(),
                distance: 1,
                prefix: 2
            }
            .fits("dig")
        );
    }

    #[test]
    fn phrases_may_be_sloppy() {
        let words = placed_words(&["the quick brown fox".to_owned(), "fox jumps".to_owned()]);
        let count = |phrase: &[&str], slop: usize, prefix: bool| {
            let phrase: Vec<String> = phrase.iter().map(ToString::to_string).collect();
            phrase_count(&words, &phrase, slop, prefix) > 0.0
        };
        assert!(count(&["quick", "brown"], 0, false) && !count(&["quick", "fox"], 0, false));
        assert!(count(&["quick", "fox"], 1, false) && count(&["quick", "bro"], 0, true));
        assert!(!count(&["brown", "jumps"], 5, false), "two values");
        assert!(count(&["brown", "quick"], 2, false) && !count(&["brown", "quick"], 1, false));
    }
}
