//! What bodies and queries may hold, as data: one table checks requests, fills in defaults, and is written out as OpenAPI.
//!
//! Error texts are those of the original, which clients and their tests look at.

use serde_json::{Map, Number, Value, json};

use super::error::ApiError;

/// A field of a body or a parameter of a query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    pub(crate) nullable: bool,
    /// JSON text.
    pub(crate) default: Option<&'static str>,
}

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    /// At least one character.
    NonEmptyText,
    /// Of this shape; the handler says what is wrong with another.
    Shaped(&'static str),
    /// A URL; the handler says what is wrong with another text.
    Url,
    /// One of these.
    Choice(&'static [&'static str]),
    Bool,
    /// Yes, in so many words; the handler says why another is refused.
    True,
    Integer {
        min: i64,
        max: i64,
    },
    Number,
    /// A list of so many.
    List {
        of: &'static Kind,
        min: usize,
        max: usize,
    },
    /// An object with these fields and no others.
    Object(&'static [Field]),
    /// An object with any keys.
    Map(&'static Kind),
    /// The first that fits.
    Either(&'static [Kind]),
    Any,
}

pub(crate) const ANY_INTEGER: Kind = Kind::Integer {
    min: i64::MIN,
    max: i64::MAX,
};
/// The largest whole number that every JSON reader keeps.
const LARGEST_INTEGER: i64 = (1 << 53) - 1;
pub(crate) const NATURAL: Kind = Kind::Integer {
    min: 0,
    max: LARGEST_INTEGER,
};
pub(crate) const MAP: Kind = Kind::Map(&Kind::Any);
pub(crate) const TEXTS: Kind = Kind::List {
    of: &Kind::Text,
    min: 0,
    max: usize::MAX,
};

pub(crate) const fn field(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        required: false,
        nullable: false,
        default: None,
    }
}

/// The id of what is made; none and an empty one mean a new one.
pub(crate) const ID: Field = field("id", Kind::Shaped(r"^[^/\\\u0000-\u001f]{0,255}$"));
/// Part of the names of data streams.
pub(crate) const NAMESPACE: Kind = Kind::Shaped(r#"^[^A-Z\\/*?"<>| ,#:\-]{1,100}$"#);

pub(crate) const fn text(name: &'static str) -> Field {
    field(name, Kind::Text)
}

pub(crate) const fn flag(name: &'static str) -> Field {
    field(name, Kind::Bool)
}

impl Field {
    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(crate) const fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    pub(crate) const fn default(mut self, json: &'static str) -> Self {
        self.default = Some(json);
        self
    }
}

/// Checks a body and fills in its defaults.
///
/// # Errors
/// The first field that does not fit, in the original's words.
pub(crate) fn check_body(fields: &[Field], body: Value) -> Result<Map<String, Value>, ApiError> {
    match body {
        Value::Object(map) => check_object(fields, map, "request body"),
        other => Err(ApiError::BadRequest(format!(
            "[request body]: expected a plain object value, but found [{}] instead.",
            if other.is_null() { "null" } else { type_name(&other) }
        ))),
    }
}

fn check_object(fields: &[Field], mut given: Map<String, Value>, place: &str) -> Result<Map<String, Value>, ApiError> {
    let mut checked = Map::new();
    for field in fields {
        match given.remove(field.name) {
            Some(value) => {
                let value = check(field, value, &format!("{place}.{}", field.name))?;
                checked.insert(field.name.to_owned(), value);
            }
            None if field.required && !matches!(field.kind, Kind::True) => {
                let message = format!(
                    "[{place}.{}]: expected value of type [{}] but got [undefined]",
                    field.name,
                    expected(&field.kind)
                );
                return Err(ApiError::BadRequest(message));
            }
            None => {
                if let Some(default) = field.default {
                    let value =
                        serde_json::from_str(default).expect("defaults in the tables are JSON: a test reads them all");
                    checked.insert(field.name.to_owned(), value);
                }
            }
        }
    }
    match given.keys().next() {
        None => Ok(checked),
        Some(key) => Err(ApiError::BadRequest(format!(
            "[{place}.{key}]: definition for this key is missing"
        ))),
    }
}

fn check(field: &Field, value: Value, place: &str) -> Result<Value, ApiError> {
    if value.is_null() && field.nullable {
        return Ok(Value::Null);
    }
    check_kind(&field.kind, value, place)
}

fn check_kind(kind: &Kind, value: Value, place: &str) -> Result<Value, ApiError> {
    let wrong = |value: &Value| {
        let message = format!(
            "[{place}]: expected value of type [{}] but got [{}]",
            expected(kind),
            type_name(value)
        );
        ApiError::BadRequest(message)
    };
    match (kind, value) {
        (Kind::NonEmptyText, Value::String(text)) if text.is_empty() => Err(ApiError::BadRequest(format!(
            "[{place}]: value has length [0] but it must have a minimum length of [1]."
        ))),
        (Kind::Any, value)
        | (Kind::Text | Kind::NonEmptyText | Kind::Shaped(_) | Kind::Url, value @ Value::String(_))
        | (Kind::Bool | Kind::True, value @ Value::Bool(_))
        | (Kind::Number, value @ Value::Number(_)) => Ok(value),
        (Kind::Choice(choices), Value::String(text)) => {
            if choices.contains(&text.as_str()) {
                return Ok(Value::String(text));
            }
            let each = choices.iter().enumerate();
            let lines: Vec<String> = each
                .map(|(index, choice)| format!("- [{place}.{index}]: expected value to equal [{choice}]"))
                .collect();
            Err(ApiError::BadRequest(format!(
                "[{place}]: types that failed validation:\n{}",
                lines.join("\n")
            )))
        }
        (Kind::Integer { min, max }, Value::Number(number)) => check_integer(&number, *min, *max, place),
        (Kind::List { of, min, max }, Value::Array(items)) => {
            if items.len() < *min {
                let message = format!(
                    "[{place}]: array size is [{}], but cannot be smaller than [{min}]",
                    items.len()
                );
                return Err(ApiError::BadRequest(message));
            }
            if items.len() > *max {
                let message = format!(
                    "[{place}]: array size is [{}], but cannot be greater than [{max}]",
                    items.len()
                );
                return Err(ApiError::BadRequest(message));
            }
            let each = items.into_iter().enumerate();
            each.map(|(index, item)| check_kind(of, item, &format!("{place}.{index}")))
                .collect::<Result<_, _>>()
                .map(Value::Array)
        }
        (Kind::Object(fields), Value::Object(map)) => check_object(fields, map, place).map(Value::Object),
        (Kind::Map(of), Value::Object(map)) => {
            let checked = map.into_iter().map(|(key, item)| {
                let place = format!("{place}.{key}");
                check_kind(of, item, &place).map(|item| (key, item))
            });
            checked.collect::<Result<_, _>>().map(Value::Object)
        }
        (Kind::Either(kinds), value) => check_either(kinds, value, place),
        (_, value) => Err(wrong(&value)),
    }
}

fn check_either(kinds: &[Kind], value: Value, place: &str) -> Result<Value, ApiError> {
    // A kind of the same shape has the better error than one that cannot be meant.
    let mut best = None;
    for kind in kinds {
        match check_kind(kind, value.clone(), place) {
            Ok(value) => return Ok(value),
            Err(error) if best.is_none() || expected(kind) == type_name(&value) => best = Some(error),
            Err(_) => {}
        }
    }
    Err(best.unwrap_or_else(|| ApiError::BadRequest(format!("[{place}]: no value fits"))))
}

fn check_integer(number: &Number, min: i64, max: i64, place: &str) -> Result<Value, ApiError> {
    let Some(value) = number.as_i64().or_else(|| {
        number
            .as_f64()
            .filter(|n| n.fract() == 0.0 && n.abs() < 1e15)
            .map(|n| n as i64)
    }) else {
        return Err(ApiError::BadRequest(format!(
            "[{place}]: expected a whole number but got [{number}]"
        )));
    };
    if value < min {
        return Err(ApiError::BadRequest(format!(
            "[{place}]: Value must be equal to or greater than [{min}]."
        )));
    }
    if value > max {
        return Err(ApiError::BadRequest(format!(
            "[{place}]: Value must be equal to or lower than [{max}]."
        )));
    }
    Ok(value.into())
}

/// Checks a query string: its texts become the kinds of the table first.
///
/// # Errors
/// The first parameter that does not fit.
pub(crate) fn check_query(fields: &[Field], query: &str) -> Result<Map<String, Value>, ApiError> {
    let mut given = Map::new();
    for (name, text) in url::form_urlencoded::parse(query.as_bytes()) {
        let kind = fields
            .iter()
            .find(|field| field.name == name)
            .map_or(Kind::Text, |field| field.kind);
        let is_list = matches!(kind, Kind::List { .. });
        let value = from_text(&kind, &text);
        match given.get_mut(name.as_ref()) {
            Some(Value::Array(list)) if is_list => match value {
                Value::Array(more) => list.extend(more),
                one => list.push(one),
            },
            _ => {
                given.insert(name.into_owned(), value);
            }
        }
    }
    check_object(fields, given, "request query")
}

fn from_text(kind: &Kind, text: &str) -> Value {
    match kind {
        Kind::Bool | Kind::True => match text {
            "true" => true.into(),
            "false" => false.into(),
            other => other.into(),
        },
        Kind::Integer { .. } | Kind::Number => match text.parse::<i64>() {
            Ok(number) => number.into(),
            Err(_) => text
                .parse::<f64>()
                .ok()
                .and_then(Number::from_f64)
                .map_or(text.into(), Value::Number),
        },
        Kind::List { of, .. } => text.split(',').map(|part| from_text(of, part)).collect(),
        _ => text.into(),
    }
}

fn expected(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::NonEmptyText | Kind::Shaped(_) | Kind::Url | Kind::Choice(_) => "string",
        Kind::Bool | Kind::True => "boolean",
        Kind::Integer { .. } | Kind::Number => "number",
        Kind::List { .. } => "array",
        Kind::Object(_) | Kind::Map(_) => "object",
        Kind::Either(kinds) => kinds.first().map_or("any", expected),
        Kind::Any => "any",
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "Array",
        Value::Object(_) => "Object",
    }
}

/// The fields as an OpenAPI object schema.
pub(crate) fn to_openapi(fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| (field.name.to_owned(), field_to_openapi(field)))
        .collect();
    let required: Vec<&str> = fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// One field as an OpenAPI schema.
pub(crate) fn field_to_openapi(field: &Field) -> Value {
    let mut schema = kind_to_openapi(&field.kind);
    if field.nullable {
        schema["nullable"] = true.into();
    }
    if let Some(default) = field.default {
        schema["default"] = serde_json::from_str(default).unwrap_or_default();
    }
    schema
}

/// One parameter of a query. A list may be several parameters, several texts with commas, or one.
pub(crate) fn parameter_to_openapi(field: &Field) -> Value {
    let schema = field_to_openapi(field);
    match field.kind {
        Kind::List { of, .. } => json!({"anyOf": [schema, kind_to_openapi(of)]}),
        _ => schema,
    }
}

fn kind_to_openapi(kind: &Kind) -> Value {
    match kind {
        Kind::Text => json!({"type": "string"}),
        Kind::NonEmptyText => json!({"type": "string", "minLength": 1}),
        Kind::Shaped(pattern) => json!({"type": "string", "pattern": pattern}),
        Kind::Url => json!({"type": "string", "format": "uri"}),
        Kind::Choice(choices) => json!({"type": "string", "enum": choices}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::True => json!({"type": "boolean", "enum": [true]}),
        Kind::Integer { min, max } => {
            let mut schema = json!({"type": "integer"});
            if *min > i64::MIN {
                schema["minimum"] = (*min).into();
            }
            if *max < i64::MAX {
                schema["maximum"] = (*max).into();
            }
            schema
        }
        Kind::Number => json!({"type": "number"}),
        Kind::List { of, min, max } => {
            let mut schema = json!({"type": "array", "items": kind_to_openapi(of)});
            if *min > 0 {
                schema["minItems"] = (*min).into();
            }
            if *max < usize::MAX {
                schema["maxItems"] = (*max).into();
            }
            schema
        }
        Kind::Object(fields) => to_openapi(fields),
        Kind::Map(of) => json!({"type": "object", "additionalProperties": kind_to_openapi(of)}),
        Kind::Either(kinds) => json!({"anyOf": kinds.iter().map(kind_to_openapi).collect::<Vec<_>>()}),
        Kind::Any => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field] = &[
        field("name", Kind::NonEmptyText).required(),
        field(
            "urls",
            Kind::List {
                of: &Kind::Text,
                min: 1,
                max: 2,
            },
        ),
        flag("on").default("false"),
        text("proxy_id").nullable(),
        field("mode", Kind::Choice(&["a", "b"])),
        field("port", Kind::Integer { min: 1, max: 65_535 }),
        field("ssl", Kind::Object(&[text("key")])).nullable(),
    ];

    fn refused(body: Value) -> String {
        check_body(FIELDS, body).unwrap_err().to_string()
    }

    #[test]
    fn errors_have_the_original_s_words() {
        for (body, expected) in [
            (
                json!({}),
                "[request body.name]: expected value of type [string] but got [undefined]",
            ),
            (
                json!({"name": 1}),
                "[request body.name]: expected value of type [string] but got [number]",
            ),
            (
                json!({"name": "a", "foo": 1}),
                "[request body.foo]: definition for this key is missing",
            ),
            (
                json!({"name": "a", "urls": []}),
                "[request body.urls]: array size is [0], but cannot be smaller than [1]",
            ),
            (
                json!({"name": "a", "urls": ["a", 2]}),
                "[request body.urls.1]: expected value of type [string] but got [number]",
            ),
            (
                json!({"name": "a", "ssl": {"kee": "x"}}),
                "[request body.ssl.kee]: definition for this key is missing",
            ),
            (
                json!({"name": "a", "port": 0}),
                "[request body.port]: Value must be equal to or greater than [1].",
            ),
            (
                json!({"name": "a", "on": null}),
                "[request body.on]: expected value of type [boolean] but got [null]",
            ),
            (
                json!(null),
                "[request body]: expected a plain object value, but found [null] instead.",
            ),
        ] {
            assert_eq!(refused(body), expected);
        }
        assert!(refused(json!({"name": "a", "mode": "c"})).contains("expected value to equal [b]"));
    }

    #[test]
    fn defaults_and_nulls_are_kept() {
        let checked = check_body(FIELDS, json!({"name": "a", "proxy_id": null, "ssl": null})).unwrap();
        assert_eq!(
            Value::Object(checked),
            json!({"name": "a", "on": false, "proxy_id": null, "ssl": null})
        );
    }

    #[test]
    fn queries_are_read_as_their_kinds() {
        let fields = &[
            field("perPage", NATURAL).default("20"),
            flag("full"),
            field("ids", TEXTS),
            text("kuery"),
        ];
        let checked = check_query(fields, "full=true&ids=a,b&ids=c&kuery=status%3Aonline").unwrap();
        assert_eq!(
            Value::Object(checked),
            json!({"perPage": 20, "full": true, "ids": ["a", "b", "c"], "kuery": "status:online"})
        );
        let refused = check_query(fields, "perPage=x").unwrap_err().to_string();
        assert_eq!(
            refused,
            "[request query.perPage]: expected value of type [number] but got [string]"
        );
        assert!(
            check_query(fields, "nope=1")
                .unwrap_err()
                .to_string()
                .contains("[request query.nope]")
        );
    }
}
