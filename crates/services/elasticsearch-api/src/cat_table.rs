//! A table of `_cat`: its columns, their order, its text and JSON.

use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::params::Params;
use crate::{answer, names};

/// Columns in their order and rows of the same length.
pub(crate) struct Table {
    pub(crate) columns: &'static [&'static str],
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn answer(mut self, params: &Params) -> Result<Response, ApiError> {
        if params.flag("help")? {
            return Ok(plain(self.columns.join("\n") + "\n"));
        }
        let shown = self.shown(params);
        self.sort(params)?;
        match params.text("format").unwrap_or("text") {
            "json" => Ok(answer::json(&self.as_json(&shown))),
            "text" | "txt" => Ok(plain(self.as_text(&shown, params.flag("v")?))),
            other => Err(ApiError::illegal(format!(
                "[format] [{other}] is not supported; use [text] or [json]"
            ))),
        }
    }

    /// The columns that `h` asks for, by position. Names may hold `*`; unknown ones stay empty, as in the original.
    fn shown(&self, params: &Params) -> Vec<Shown> {
        let Some(wanted) = params.list("h") else {
            return (0..self.columns.len())
                .map(|at| Shown {
                    name: self.columns[at].to_owned(),
                    at: Some(at),
                })
                .collect();
        };
        let mut shown = Vec::new();
        for name in wanted {
            let full = full_name(&name);
            let before = shown.len();
            for at in (0..self.columns.len()).filter(|at| names::matches(full, self.columns[*at])) {
                let name = if name.contains('*') {
                    self.columns[at].to_owned()
                } else {
                    name.clone()
                };
                shown.push(Shown { name, at: Some(at) });
            }
            if shown.len() == before && !name.contains('*') {
                shown.push(Shown { name, at: None });
            }
        }
        shown
    }

    fn sort(&mut self, params: &Params) -> Result<(), ApiError> {
        for key in params.list("s").unwrap_or_default().iter().rev() {
            let (name, order) = key.split_once(':').unwrap_or((key, "asc"));
            let Some(at) = self.columns.iter().position(|column| *column == full_name(name)) else {
                return Err(ApiError::illegal(format!(
                    "Unable to sort by unknown sort key `{name}`"
                )));
            };
            let number = |row: &Vec<String>| row[at].parse::<u64>().ok();
            self.rows
                .sort_by(|left, right| number(left).cmp(&number(right)).then_with(|| left[at].cmp(&right[at])));
            if order == "desc" {
                self.rows.reverse();
            }
        }
        Ok(())
    }

    fn as_json(&self, shown: &[Shown]) -> Value {
        let known: Vec<&Shown> = shown.iter().filter(|column| column.at.is_some()).collect();
        let row = |row: &Vec<String>| {
            let cells = known
                .iter()
                .map(|column| (column.name.clone(), Value::from(column.cell(row))));
            Value::Object(cells.collect::<Map<_, _>>())
        };
        Value::Array(self.rows.iter().map(row).collect())
    }

    /// Numbers stand at the right of their column, texts at the left.
    fn as_text(&self, shown: &[Shown], with_header: bool) -> String {
        let header: Option<Vec<&str>> = with_header.then(|| shown.iter().map(|column| column.name.as_str()).collect());
        let rows: Vec<Vec<&str>> = self
            .rows
            .iter()
            .map(|row| shown.iter().map(|column| column.cell(row)).collect())
            .collect();
        let length = |cell: &str| cell.chars().count();
        let widths: Vec<usize> = (0..shown.len())
            .map(|at| header.iter().chain(&rows).map(|row| length(row[at])).max().unwrap_or(0))
            .collect();
        let at_right: Vec<bool> = (0..shown.len())
            .map(|at| {
                !rows.is_empty()
                    && rows.iter().all(|row| {
                        row[at].starts_with(|c: char| c.is_ascii_digit()) && !row[at].contains([':', '.'])
                            || is_size(row[at])
                    })
            })
            .collect();
        let mut text = String::new();
        for row in header.iter().chain(&rows) {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .zip(&at_right)
                .map(|((cell, width), right)| {
                    if *right {
                        format!("{cell:>width$}")
                    } else {
                        format!("{cell:<width$}")
                    }
                })
                .collect();
            text.push_str(cells.join(" ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// A column that is shown, under the name that was asked for.
struct Shown {
    name: String,
    at: Option<usize>,
}

impl Shown {
    fn cell<'a>(&self, row: &'a [String]) -> &'a str {
        self.at.map_or("", |at| row[at].as_str())
    }
}

/// `1.5kb`, `100.0%`.
fn is_size(cell: &str) -> bool {
    let number = cell.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    number.parse::<f64>().is_ok()
}

/// The short names that people type.
fn full_name(name: &str) -> &str {
    match name {
        "i" | "idx" => "index",
        "h" => "health",
        "p" | "shards.primary" => "pri",
        "r" | "shards.replica" => "rep",
        "id" => "uuid",
        "dd" | "docsDeleted" => "docs.deleted",
        "dc" | "docsCount" => "docs.count",
        "ss" | "storeSize" => "store.size",
        "s" => "status",
        "n" => "name",
        other => other,
    }
}

pub(crate) fn plain(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=UTF-8")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let rows = [["b", "10"], ["a", "9"]];
        let rows = rows
            .iter()
            .map(|row| row.iter().map(|&cell| cell.to_owned()).collect())
            .collect();
        Table {
            columns: &["index", "docs.count"],
            rows,
        }
    }

    fn text(query: &str) -> String {
        let params = Params::parse(query).unwrap();
        let mut table = table();
        let shown = table.shown(&params);
        table.sort(&params).unwrap();
        table.as_text(&shown, params.flag("v").unwrap())
    }

    #[test]
    fn columns_are_chosen_and_rows_sorted() {
        assert_eq!(text("v"), "index docs.count\nb             10\na              9\n");
        assert_eq!(text("h=dc&s=docs.count:desc"), "10\n 9\n");
        assert_eq!(text("h=index&s=index"), "a\nb\n");
        assert_eq!(text("h=nonsense"), "\n\n");
    }
}
