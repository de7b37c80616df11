//! What is wrong with a search, in words for who typed it.

/// The parser's words and the column of `text` where it stopped.
pub(super) fn told(text: &str, message: &str, example: &str) -> String {
    let message = message.trim_start_matches("KQLSyntaxError: ");
    if let Some(field) = unknown_field(message) {
        return format!("No field is called {field}. An example: {example}");
    }
    let near = message
        .rsplit_once(" near [")
        .and_then(|(_, rest)| rest.strip_suffix(']'));
    let column = near.and_then(|near| {
        let at = if near.is_empty() { text.len() } else { text.rfind(near)? };
        Some(text[..at].chars().count() + 1)
    });
    let what = message.trim_start_matches("the KQL expression cannot be read: ");
    let what = what.rsplit_once(" near [").map_or(what, |(what, _)| what);
    match column {
        Some(column) => format!("This is not KQL: {what}, at column {column}. An example: {example}"),
        None => format!("A filter is not KQL: {what}. Remove it."),
    }
}

/// The Fleet API says it in the original's words.
fn unknown_field(message: &str) -> Option<&str> {
    let (field, _) = message.strip_prefix("This key '")?.split_once('\'')?;
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_names_its_column() {
        let check = |text: &str, expected: &str| {
            let error = query::kql::parse(text).unwrap_err();
            let said = told(text, &format!("KQLSyntaxError: {error}"), "a : b");
            assert!(said.contains(expected), "{said}");
        };
        check("not (kql", "at column 9");
        check("a : \"b", "quotes do not close");
    }

    #[test]
    fn an_unknown_field_is_named() {
        let said = "KQLSyntaxError: This key 'colour' does not exist in fleet-agents index mappings";
        assert_eq!(
            told("colour : red", said, "tags : edge"),
            "No field is called colour. An example: tags : edge"
        );
    }
}
