//! Handlebars as handlebars.js renders it, with HTML escaping off and the helpers of stream templates.
//!
//! The crate differs from the original in five ways that templates can meet; each is settled here before or while rendering:
//! `list.length` and `text.length` are numbers, `{}` is true in `#if`, a printed list is joined with commas, and a printed
//! object is `[object Object]`.
//! Source: packages, Handlebars helpers.

use std::sync::OnceLock;

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, JsonRender, Output, RenderContext, RenderError,
    RenderErrorReason, Renderable, ScopedJson,
};
use serde_json::Value;

/// Renders `template` with `data`.
pub(crate) fn render(template: &str, data: &Value) -> Result<String, String> {
    engine()
        .render_template(&rewritten(template), data)
        .map_err(|error| error.to_string())
}

fn engine() -> &'static Handlebars<'static> {
    static ENGINE: OnceLock<Handlebars<'static>> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut engine = Handlebars::new();
        engine.register_escape_fn(handlebars::no_escape);
        engine.register_helper("if", Box::new(Conditional { positive: true }));
        engine.register_helper("unless", Box::new(Conditional { positive: false }));
        engine.register_helper("contains", Box::new(Contains));
        engine.register_helper("semverSatisfies", Box::new(SemverSatisfies));
        engine.register_helper("length", Box::new(Computed(length)));
        engine.register_helper("print", Box::new(Computed(printed)));
        engine.register_helper("escape_string", Box::new(Computed(escape_string)));
        engine.register_helper("escape_multiline_string", Box::new(Computed(escape_multiline_string)));
        engine.register_helper("to_json", Box::new(Computed(to_json)));
        engine.register_helper("url_encode", Box::new(Computed(url_encode)));
        engine
    })
}

/// `{{#if}}` and `{{#unless}}` with the truth of JavaScript, save that an empty list is false.
struct Conditional {
    positive: bool,
}

impl HelperDef for Conditional {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        engine: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render_context: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let holds = helper.param(0).is_some_and(|param| is_true(param.value())) == self.positive;
        match if holds { helper.template() } else { helper.inverse() } {
            Some(block) => block.render(engine, context, render_context, out),
            None => Ok(()),
        }
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(_) => true,
    }
}

/// `{{#contains item list}}` as a block, `{{contains item list}}` as a value.
struct Contains;

impl HelperDef for Contains {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        engine: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render_context: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let (item, list) = (helper.param(0), helper.param(1));
        let found = match (
            item.map(handlebars::PathAndJson::value),
            list.map(handlebars::PathAndJson::value),
        ) {
            (Some(item), Some(Value::Array(list))) => list.contains(item),
            (Some(Value::String(part)), Some(Value::String(text))) => text.contains(part.as_str()),
            _ => false,
        };
        if !helper.is_block() {
            return Ok(out.write(if found { "true" } else { "false" })?);
        }
        match if found { helper.template() } else { helper.inverse() } {
            Some(block) => block.render(engine, context, render_context, out),
            None => Ok(()),
        }
    }
}

/// `{{#semverSatisfies version range}}`; without a version the `else` part.
struct SemverSatisfies;

impl HelperDef for SemverSatisfies {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        engine: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render_context: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let text = |index| helper.param(index).and_then(|param| param.value().as_str());
        let satisfied = text(0)
            .zip(text(1))
            .is_some_and(|(version, range)| satisfies(version, range));
        match if satisfied { helper.template() } else { helper.inverse() } {
            Some(block) => block.render(engine, context, render_context, out),
            None => Ok(()),
        }
    }
}

/// A range of npm: alternatives with `||`, each a list of comparators.
pub(crate) fn satisfies(version: &str, range: &str) -> bool {
    let Ok(version) = semver::Version::parse(version.trim_start_matches('v')) else {
        return false;
    };
    range.split("||").any(|part| {
        let comparators = part.split_whitespace().collect::<Vec<_>>().join(", ");
        semver::VersionReq::parse(&comparators).is_ok_and(|range| range.matches(&version))
    })
}

/// A helper that turns one value into another.
struct Computed(fn(&Value) -> Value);

impl HelperDef for Computed {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let param = helper
            .param(0)
            .ok_or(RenderErrorReason::ParamNotFoundForIndex("helper", 0))?;
        Ok(ScopedJson::Derived(self.0(param.value())))
    }
}

fn length(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.len().into(),
        Value::String(text) => text.encode_utf16().count().into(),
        Value::Object(map) => map.get("length").cloned().unwrap_or_default(),
        _ => Value::Null,
    }
}

fn printed(value: &Value) -> Value {
    match value {
        Value::Array(list) => list
            .iter()
            .map(|item| printed(item).render())
            .collect::<Vec<_>>()
            .join(",")
            .into(),
        Value::Object(_) => "[object Object]".into(),
        other => other.clone(),
    }
}

fn escape_string(value: &Value) -> Value {
    let text = printed(value).render();
    if text.is_empty() {
        return Value::Null;
    }
    if !text.contains('\n') {
        return format!("'{}'", text.replace('\'', "''")).into();
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"").into()
}

fn escape_multiline_string(value: &Value) -> Value {
    printed(value)
        .render()
        .replace("\n ", "\n")
        .replace('\'', "''")
        .replace('\n', "\\n")
        .into()
}

fn to_json(value: &Value) -> Value {
    match value {
        Value::String(text) => text.clone().into(),
        other => other.to_string().into(),
    }
}

fn url_encode(value: &Value) -> Value {
    let mut encoded = String::new();
    for byte in printed(value).render().bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.extend(format!("{byte:02X}").chars());
        }
    }
    encoded.into()
}

/// `x.length` becomes `(length x)`, and a tag that only prints a path becomes `print path`.
fn rewritten(template: &str) -> String {
    let mut out = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let (open, close) = if tag.starts_with("{{{") {
            ("{{{", "}}}")
        } else {
            ("{{", "}}")
        };
        let Some(end) = tag.find(close) else { break };
        let inner = &tag[open.len()..end];
        out.push_str(open);
        out.push_str(&rewritten_tag(inner));
        out.push_str(close);
        rest = &tag[end + close.len()..];
        if rest.is_empty() {
            return out;
        }
    }
    out.push_str(rest);
    out
}

fn rewritten_tag(inner: &str) -> String {
    let content = inner.trim_matches('~').trim();
    if content.starts_with(['!', '>', '/', '&', '*']) || matches!(content, "else" | "^") {
        return inner.to_owned();
    }
    let words: Vec<&str> = words(content);
    let text = match words.as_slice() {
        [path] if !path.starts_with(['#', '^', '(', '"', '\'']) => match path.strip_suffix(".length") {
            Some(list) => format!("length {list}"),
            None => format!("print {path}"),
        },
        _ => words.iter().map(|word| with_length(word)).collect::<Vec<_>>().join(" "),
    };
    let before = if inner.starts_with('~') { "~" } else { "" };
    let after = if inner.len() > 1 && inner.ends_with('~') {
        "~"
    } else {
        ""
    };
    format!("{before}{text}{after}")
}

fn with_length(word: &str) -> String {
    let closing = word.len() - word.trim_end_matches(')').len();
    let (path, parentheses) = word.split_at(word.len() - closing);
    match path.strip_suffix(".length") {
        Some(list) if !list.starts_with(['"', '\'', '(', '#']) => format!("(length {list}){parentheses}"),
        _ => word.to_owned(),
    }
}

/// The words of a tag; a quoted text is one word.
fn words(content: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    for (index, character) in content.char_indices() {
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if character == '"' || character == '\'' => {
                quote = Some(character);
                start.get_or_insert(index);
            }
            None if character.is_whitespace() => {
                if let Some(begin) = start.take() {
                    words.push(&content[begin..index]);
                }
            }
            None => {
                start.get_or_insert(index);
            }
        }
    }
    words.extend(start.map(|begin| &content[begin..]));
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(template: &str, expected: &str) {
        let data = json!({
            "list": ["a", "b"], "none": [], "text": "it's", "empty": "", "object": {}, "zero": 0, "flag": true,
            "lines": "one\n two \"x\"", "deep": {"list": [1]}, "nothing": null, "version": "9.1.0",
        });
        assert_eq!(render(template, &data).as_deref(), Ok(expected), "{template}");
    }

    #[test]
    fn lengths_are_numbers() {
        check("{{#if list.length}}yes{{/if}}{{#if none.length}}no{{/if}}", "yes");
        check("{{list.length}} {{text.length}} {{ deep.list.length }}", "2 4 1");
        check("{{#if none.length}}a{{else if deep.list.length}}b{{else}}c{{/if}}", "b");
        check("{{#unless none.length}}empty{{/unless}}", "empty");
    }

    #[test]
    fn truth_is_that_of_the_original() {
        check("{{#if object}}yes{{/if}}", "yes");
        check(
            "{{#if zero}}a{{else if empty}}b{{else if none}}c{{else if nothing}}d{{else}}e{{/if}}",
            "e",
        );
    }

    #[test]
    fn lists_print_with_commas_and_loops_have_names() {
        check("{{list}}", "a,b");
        check("{{deep}} {{object}}", "[object Object] [object Object]");
        check(
            "{{#each list as |item i|}}{{i}}:{{item}} {{@index}} {{../text}};{{/each}}",
            "0:a 0 it's;1:b 1 it's;",
        );
        check("{{#each list}}{{this}}{{/each}}", "ab");
        check("a{{missing}}b{{~ flag ~}} c", "abtruec");
    }

    #[test]
    fn helpers_do_what_stream_templates_expect() {
        check("{{#contains \"a\" list}}in{{else}}out{{/contains}}", "in");
        check("{{#contains \"z\" list}}in{{else}}out{{/contains}}", "out");
        check(
            "{{escape_string text}}|{{escape_string lines}}|{{escape_string empty}}",
            "'it''s'|\"one\\n two \\\"x\\\"\"|",
        );
        check("'{{escape_multiline_string lines}}'", "'one\\ntwo \"x\"'");
        check("{{to_json deep}} {{to_json text}}", "{\"list\":[1]} it's");
        check("{{url_encode text}}", "it%27s");
        check(
            "{{#semverSatisfies version \"^8.0.0 || >=9.1.0\"}}new{{else}}old{{/semverSatisfies}}",
            "new",
        );
        check(
            "{{#semverSatisfies nothing \">=9.1.0\"}}new{{else}}old{{/semverSatisfies}}",
            "old",
        );
    }

    #[test]
    fn a_broken_template_is_an_error() {
        assert!(render("{{#if x}}", &json!({})).is_err());
    }
}
