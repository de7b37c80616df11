//! How a text becomes words: runs of letters and digits, lower case. Stores with an index use the same rule.

/// Words longer than this many bytes are neither indexed nor searched for.
pub const LONGEST_WORD: usize = 255;

/// The words of `text`, in order.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && word.len() <= LONGEST_WORD)
        .map(str::to_lowercase)
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
}
