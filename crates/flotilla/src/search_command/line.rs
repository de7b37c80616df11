//! A document as a line.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};

use serde_json::Value;
use store::Hit;

/// Fields in front of the message, where they are there.
const SHOWN: [&str; 4] = ["@timestamp", "host.name", "data_stream.dataset", "log.level"];

/// The document as it is.
pub(super) fn json(hit: &Hit) -> String {
    hit.document.source.to_value().to_string()
}

/// Time, host, data set, level and message; a document without a message in whole.
pub(super) fn text(hit: &Hit) -> String {
    let source = hit.document.source.to_value();
    let mut line = String::new();
    for name in SHOWN {
        if let Some(value) = field(&source, name) {
            push(&mut line, &plain(value));
            line.push_str("  ");
        }
    }
    match field(&source, "message") {
        Some(message) => push(&mut line, &plain(message)),
        None => push(&mut line, &source.to_string()),
    }
    line
}

/// A field by its dotted name, however it is nested.
pub(super) fn field<'a>(source: &'a Value, name: &str) -> Option<&'a Value> {
    if let Some(value) = source.get(name) {
        return Some(value);
    }
    name.match_indices('.').find_map(|(at, _)| {
        let inner = source.get(&name[..at])?;
        field(inner, &name[at + 1..])
    })
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What a log holds may not move the cursor of whoever reads it, nor make two lines of one.
fn push(line: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            write!(line, "{}", c.escape_default()).expect("a text can always be written to");
        } else {
            line.push(c);
        }
    }
}

/// Writes the lines; a reader that went away is an error, not a panic.
pub(super) fn write(lines: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}

pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use store::{Document, Source};

    #[test]
    fn a_document_is_one_line() {
        let check = |source: Value, expected: &str| {
            let document = Document {
                index: "i".to_owned(),
                id: "1".to_owned(),
                version: 1,
                seq_no: 0,
                source: Source::of(&source),
            };
            let hit = Hit {
                document,
                sort: Vec::new(),
                score: None,
                fields: serde_json::Map::new(),
            };
            assert_eq!(text(&hit), expected);
        };
        check(
            json!({"@timestamp": "t", "host": {"name": "web-1"}, "log.level": "error", "message": "a\nb\u{1b}[2J"}),
            "t  web-1  error  a\\nb\\u{1b}[2J",
        );
        check(json!({"@timestamp": "t", "n": 1}), r#"t  {"@timestamp":"t","n":1}"#);
    }
}
