//! Texts with places for an event's fields: `logs-%{[data_stream.dataset]}`, `%{[service.name]:unknown}`, `%{+yyyy.MM.dd}`.

use event::fields::{self, Fields};
use jiff::Timestamp;
use serde_json::Value;

/// A text that may differ from event to event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FormatString(Vec<Part>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Text(String),
    Field {
        path: String,
        default: Option<String>,
    },
    /// The event's time in UTC, as `strftime` writes it.
    Time(String),
}

/// The letters of a time's pattern that may stand in a format.
const TIME: [(&str, &str); 8] = [
    ("yyyy", "%Y"),
    ("yy", "%y"),
    ("MM", "%m"),
    ("dd", "%d"),
    ("HH", "%H"),
    ("mm", "%M"),
    ("ss", "%S"),
    ("ww", "%V"),
];

impl FormatString {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("%{") {
            let (inner, after) = after
                .split_once('}')
                .ok_or_else(|| format!("a format whose `%{{` ends with `}}`, unlike `{text}`"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::parse(inner)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// Whether it is the same for every event.
    pub(crate) fn is_constant(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// The text for an event; `Err` names the field that it lacks.
    pub(crate) fn render(&self, event: &Fields) -> Result<String, String> {
        self.0.iter().map(|part| part.render(event)).collect()
    }
}

impl Part {
    fn parse(inner: &str) -> Result<Self, String> {
        if let Some(pattern) = inner.strip_prefix('+') {
            return time_pattern(pattern).map(Self::Time);
        }
        let (path, default) = match inner.split_once("]:") {
            Some((path, default)) => (path, Some(default.to_owned())),
            None => (inner.strip_suffix(']').unwrap_or_default(), None),
        };
        match path.strip_prefix('[') {
            Some(path) if !path.is_empty() && !path.contains(['[', ']']) => Ok(Self::Field {
                path: path.to_owned(),
                default,
            }),
            _ => Err(format!(
                "a format with fields such as `%{{[data_stream.dataset]}}`; `%{{{inner}}}` is none"
            )),
        }
    }

    fn render(&self, event: &Fields) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Field { path, default } => fields::get(event, path)
                .and_then(plain)
                .or_else(|| default.clone())
                .ok_or_else(|| path.clone()),
            Self::Time(pattern) => fields::get(event, "@timestamp")
                .and_then(Value::as_str)
                .and_then(|text| text.parse::<Timestamp>().ok())
                .map(|time| time.strftime(pattern).to_string())
                .ok_or_else(|| "@timestamp".to_owned()),
        }
    }
}

/// A value as it stands in a text; groups and lists cannot.
pub(crate) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn time_pattern(pattern: &str) -> Result<String, String> {
    let mut written = String::new();
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        if let Some((letters, directive)) = TIME.iter().find(|(letters, _)| rest.starts_with(letters)) {
            written.push_str(directive);
            rest = &rest[letters.len()..];
        } else if next.is_ascii_alphabetic() {
            return Err(format!(
                "a time pattern of yyyy, yy, MM, dd, HH, mm, ss and ww; `{next}` in `{pattern}` is not known"
            ));
        } else {
            written.push_str(if next == '%' { "%%" } else { &rest[..next.len_utf8()] });
            rest = &rest[next.len_utf8()..];
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Fields {
        let value = serde_json::json!({
            "@timestamp": "2026-03-09T07:05:00.000Z", "data_stream": {"dataset": "nginx"}, "n": 7, "list": [1],
        });
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn places_are_filled_from_the_event() {
        let check = |format: &str, expected: Result<&str, &str>| {
            let rendered = FormatString::parse(format).expect("a good format").render(&event());
            assert_eq!(rendered.as_deref().map_err(String::as_str), expected, "{format}");
        };
        check("logs", Ok("logs"));
        check("logs-%{[data_stream.dataset]}-%{[n]}", Ok("logs-nginx-7"));
        check("%{[service.name]:none}", Ok("none"));
        check("%{[service.name]}", Err("service.name"));
        check("%{[list]}", Err("list"));
        check("t-%{+yyyy.MM.dd_HH}%", Ok("t-2026.03.09_07%"));
    }

    #[test]
    fn formats_that_cannot_be_meant_are_refused() {
        for format in ["%{[a]", "%{a}", "%{[a][b]}", "%{+EEE}", "%{[]}"] {
            assert!(FormatString::parse(format).is_err(), "{format}");
        }
    }
}
