//! How a text becomes words: runs of letters and digits, lower case. Stores with an index use the same rule.

/// Words longer than this many bytes are neither indexed nor searched for.
pub const LONGEST_WORD: usize = 255;

/// The words of `text`, in order.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && word.len() <= LONGEST_WORD)
        .map(str::to_lowercase)
}

/// The words of `text` as Elasticsearch's `standard` analyzer cuts it, each with the bytes that it takes: `example.com`,
/// `fox's`, `3.14` and `under_score` stay whole.
///
/// Source: Unicode Standard Annex 29, word boundaries; Elasticsearch reference, standard tokenizer.
pub fn standard(text: &str) -> Vec<(std::ops::Range<usize>, String)> {
    let letters: Vec<(usize, char)> = text.char_indices().collect();
    let mut found = Vec::new();
    let mut start: Option<usize> = None;
    for (place, (at, letter)) in letters.iter().enumerate() {
        let previous = place.checked_sub(1).and_then(|before| letters.get(before));
        let next = letters.get(place + 1);
        let inside = letter.is_alphanumeric()
            || *letter == '_'
            || start.is_some()
                && joins(
                    *letter,
                    previous.map(|(_, letter)| *letter),
                    next.map(|(_, letter)| *letter),
                );
        match (inside, start) {
            (true, None) => start = Some(*at),
            (false, Some(from)) => {
                push_word(text, from..*at, &mut found);
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        push_word(text, from..text.len(), &mut found);
    }
    found
}

/// Whether a sign between two letters or digits belongs to their word.
fn joins(sign: char, previous: Option<char>, next: Option<char>) -> bool {
    let both = |fits: fn(char) -> bool| previous.is_some_and(fits) && next.is_some_and(fits);
    match sign {
        '.' | '\'' | '\u{2019}' => both(char::is_alphabetic) || both(char::is_numeric),
        ':' | '\u{b7}' => both(char::is_alphabetic),
        ',' | ';' => both(char::is_numeric),
        _ => false,
    }
}

fn push_word(text: &str, range: std::ops::Range<usize>, found: &mut Vec<(std::ops::Range<usize>, String)>) {
    let word = &text[range.clone()];
    if range.len() <= LONGEST_WORD && word.contains(|letter: char| letter != '_') {
        found.push((range, word.to_lowercase()));
    }
}

/// Whether `phrase` occurs in `text` as consecutive words.
pub fn contains_phrase(text: &str, phrase: &[String]) -> bool {
    if phrase.is_empty() {
        return false;
    }
    let words: Vec<String> = words(text).collect();
    words.windows(phrase.len()).any(|window| window == phrase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_runs_of_letters_and_digits() {
        let found: Vec<String> = words("Failed password for root@10.0.0.1, Ünder_score").collect();
        assert_eq!(
            found,
            [
                "failed", "password", "for", "root", "10", "0", "0", "1", "ünder", "score"
            ]
        );
        assert!(contains_phrase(
            "Failed password for root",
            &["password".into(), "for".into()]
        ));
        assert!(!contains_phrase(
            "Failed password for root",
            &["for".into(), "password".into()]
        ));
    }

    #[test]
    fn the_standard_words_are_those_of_the_original() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<String> = standard(text).into_iter().map(|(_, word)| word).collect();
            assert_eq!(found, expected, "{text}");
        };
        check(
            "The Quick-brown fox's 2nd jump!",
            &["the", "quick", "brown", "fox's", "2nd", "jump"],
        );
        check(
            "refused by web-1.example.com at 10.0.0.1:9200",
            &["refused", "by", "web", "1", "example.com", "at", "10.0.0.1", "9200"],
        );
        check(
            "snake_case 3,14 a,b 'quoted'. _",
            &["snake_case", "3,14", "a", "b", "quoted"],
        );
    }
}
