//! Values with `{{field}}` in them.

use serde_json::{Map, Value};

use crate::document::{Context, text_of};

/// A text, parsed once.
#[derive(Clone, Debug)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Field(String),
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            let (opening, closing) = if rest[open..].starts_with("{{{") {
                (3, "}}}")
            } else {
                (2, "}}")
            };
            let inner = &rest[open + opening..];
            let close = inner
                .find(closing)
                .ok_or_else(|| format!("[{text}] has an opening without [{closing}]"))?;
            let name = inner[..close].trim();
            if name.starts_with(['#', '/', '^', '>', '!', '&']) {
                return Err(format!(
                    "[{text}] uses [{name}], which is not supported; only fields are"
                ));
            }
            parts.push(Part::Field(name.to_owned()));
            rest = &inner[close + closing.len()..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The text with each field's value; missing ones are empty.
    pub(crate) fn render(&self, context: &Context) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Field(path) => context.value(path).map(|value| shown(&value)).unwrap_or_default(),
            })
            .collect()
    }
}

/// Lists are shown with their positions, as the original's templates do it.
fn shown(value: &Value) -> String {
    let Value::Array(list) = value else {
        return text_of(value);
    };
    let positions = list
        .iter()
        .enumerate()
        .map(|(at, value)| (at.to_string(), value.clone()));
    text_of(&Value::Object(positions.collect()))
}

/// A JSON value whose texts are templates.
#[derive(Clone, Debug)]
pub(crate) enum ValueTemplate {
    Text(Template),
    List(Vec<ValueTemplate>),
    Object(Vec<(String, ValueTemplate)>),
    Plain(Value),
}

impl ValueTemplate {
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => Self::Text(Template::parse(text)?),
            Value::Array(list) => Self::List(list.iter().map(Self::parse).collect::<Result<_, _>>()?),
            Value::Object(map) => {
                let entries = map.iter().map(|(key, value)| Ok((key.clone(), Self::parse(value)?)));
                Self::Object(entries.collect::<Result<_, String>>()?)
            }
            other => Self::Plain(other.clone()),
        })
    }

    pub(crate) fn render(&self, context: &Context) -> Value {
        match self {
            Self::Text(template) => Value::String(template.render(context)),
            Self::List(list) => Value::Array(list.iter().map(|one| one.render(context)).collect()),
            Self::Object(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.clone(), value.render(context)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
            Self::Plain(value) => value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::tests::context;
    use serde_json::json;

    #[test]
    fn fields_are_put_in() {
        let context = context(json!({"a": {"b": 1}, "c": "x"}));
        let check = |text: &str, expected: &str| {
            assert_eq!(Template::parse(text).unwrap().render(&context), expected, "{text}");
        };
        check("plain", "plain");
        check("{{a.b}}-{{{ c }}}-{{gone}}", "1-x-");
        let lists = crate::document::tests::context(json!({"l": ["b", {"k": null}], "o": {"m": [1, 2]}}));
        let rendered = Template::parse("{{l}} {{o}}").unwrap().render(&lists);
        assert_eq!(rendered, "{0=b, 1={k=null}} {m=[1, 2]}");
        check("{{_ingest.timestamp}}", "2026-06-02T03:04:05Z");
        assert!(Template::parse("{{#list}}x{{/list}}").is_err());
        assert!(Template::parse("{{a").is_err());
    }
}
