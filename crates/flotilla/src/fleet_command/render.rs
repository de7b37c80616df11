//! Answers on the terminal: tables, YAML, or the JSON as it came.

use comfy_table::Table;
use serde_json::Value;

use super::kind::{Column, Kind};
use crate::printer;

/// Shows answers for a person or for a script.
#[derive(Clone, Copy, Debug)]
pub(super) struct Printer {
    json: bool,
}

impl Printer {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// The answer as it came.
    pub(super) fn json(answer: &Value) {
        match answer {
            Value::String(text) => printer::text(text),
            _ => printer::line(format!("{answer:#}")),
        }
    }

    /// A list as a table; a note when the answer holds only a part.
    pub(super) fn list(self, answer: &Value, kind: &Kind) {
        if self.json {
            return Self::json(answer);
        }
        let items: &[Value] = answer
            .pointer(kind.items)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice);
        if items.is_empty() {
            printer::note(format!("no {}", kind.name));
            return;
        }
        printer::line(table(items, kind.columns));
        let total = answer.get("total").and_then(Value::as_u64).unwrap_or_default();
        if total > items.len() as u64 {
            printer::note(format!("{} of {total} shown", items.len()));
        }
    }

    /// One object, as YAML.
    pub(super) fn item(self, answer: &Value) {
        if self.json {
            return Self::json(answer);
        }
        let item = answer.get("item").unwrap_or(answer);
        printer::text(settings::to_yaml(item));
    }

    /// Names with numbers.
    pub(super) fn counts(self, answer: &Value, at: &str) {
        if self.json {
            return Self::json(answer);
        }
        for (name, count) in answer.pointer(at).and_then(Value::as_object).into_iter().flatten() {
            printer::field(name, text_of(count));
        }
    }

    /// What was done.
    pub(super) fn done(self, answer: &Value, words: &str) {
        if self.json {
            return Self::json(answer);
        }
        printer::line(words);
    }
}

fn table(items: &[Value], columns: &[Column]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(columns.iter().map(|(head, _)| *head));
    for item in items {
        table.add_row(columns.iter().map(|(_, pointers)| cell(item, pointers)));
    }
    table.trim_fmt()
}

fn cell(item: &Value, pointers: &[&str]) -> String {
    let value = pointers.iter().find_map(|pointer| item.pointer(pointer));
    value.map_or_else(|| "-".to_owned(), text_of)
}

/// A value in few words; control characters of foreign texts do not reach the terminal.
fn text_of(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text_of).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    text.chars().filter(|character| !character.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_show_the_first_value_that_is_there() {
        let items = [
            json!({"id": "a", "agent": {"version": "9.6.0"}, "tags": ["x", "y"], "ok": true}),
            json!({"id": "b\u{1b}[31m", "old": "9.0.0"}),
        ];
        let columns: &[Column] = &[
            ("ID", &["/id"]),
            ("VERSION", &["/agent/version", "/old"]),
            ("TAGS", &["/tags"]),
            ("OK", &["/ok"]),
        ];
        let shown: Vec<Vec<String>> = table(&items, columns)
            .lines()
            .map(|line| {
                line.split("  ")
                    .map(|cell| cell.trim().to_owned())
                    .filter(|cell| !cell.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(shown[0], ["ID", "VERSION", "TAGS", "OK"]);
        assert_eq!(shown[1], ["a", "9.6.0", "x, y", "yes"]);
        assert_eq!(shown[2], ["b[31m", "9.0.0", "-", "-"]);
    }
}
