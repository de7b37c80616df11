//! `if`: the part of Painless that conditions are written in. Comparisons, `&&`, `||`, `!`, null-safe paths, a few methods.

use serde_json::Value;

use crate::document::Context;

/// A parsed condition.
#[derive(Clone, Debug)]
pub(crate) struct Condition(Expression);

#[derive(Clone, Debug)]
enum Expression {
    Literal(Value),
    /// `ctx.a?.b`: the steps after `ctx`. `true` for null-safe steps.
    Path(Vec<(String, bool)>),
    Method {
        on: Box<Expression>,
        null_safe: bool,
        name: Method,
        arguments: Vec<Expression>,
    },
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Compare(Comparison, Box<Expression>, Box<Expression>),
    List(Vec<Expression>),
}

#[derive(Clone, Copy, Debug)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug)]
enum Method {
    Contains,
    StartsWith,
    EndsWith,
    IsEmpty,
    Size,
    ContainsKey,
    EqualsIgnoreCase,
    ToLowerCase,
}

impl Condition {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens, at: 0 };
        let expression = parser.or()?;
        match parser.peek() {
            None => Ok(Self(expression)),
            Some(token) => Err(format!("is not understood at [{token}] in [{text}]")),
        }
    }

    pub(crate) fn holds(&self, context: &Context) -> Result<bool, String> {
        match self.0.evaluate(context)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(format!("the condition is [{other}], neither true nor false")),
        }
    }
}

impl Expression {
    fn evaluate(&self, context: &Context) -> Result<Value, String> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::List(items) => Value::Array(
                items
                    .iter()
                    .map(|item| item.evaluate(context))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Path(steps) => path(context, steps)?,
            Self::Not(inner) => Value::Bool(!truth(&inner.evaluate(context)?)?),
            Self::And(left, right) => {
                Value::Bool(truth(&left.evaluate(context)?)? && truth(&right.evaluate(context)?)?)
            }
            Self::Or(left, right) => Value::Bool(truth(&left.evaluate(context)?)? || truth(&right.evaluate(context)?)?),
            Self::Compare(comparison, left, right) => {
                Value::Bool(comparison.holds(&left.evaluate(context)?, &right.evaluate(context)?)?)
            }
            Self::Method {
                on,
                null_safe,
                name,
                arguments,
            } => {
                let on = on.evaluate(context)?;
                if on.is_null() && *null_safe {
                    return Ok(Value::Null);
                }
                let arguments: Vec<_> = arguments
                    .iter()
                    .map(|argument| argument.evaluate(context))
                    .collect::<Result<_, _>>()?;
                name.call(&on, &arguments)?
            }
        })
    }
}

fn truth(value: &Value) -> Result<bool, String> {
    value
        .as_bool()
        .ok_or_else(|| format!("[{value}] is neither true nor false"))
}

fn path(context: &Context, steps: &[(String, bool)]) -> Result<Value, String> {
    let Some(((first, _), rest)) = steps.split_first() else {
        return Ok(Value::Object(context.document.source.clone()));
    };
    let mut value = match first.as_str() {
        "_index" | "_id" => return Ok(context.value(first).unwrap_or(Value::Null)),
        name => context.document.source.get(name).unwrap_or(&Value::Null),
    };
    for (name, null_safe) in rest {
        value = match value {
            Value::Object(map) => map.get(name).unwrap_or(&Value::Null),
            Value::Null if *null_safe => return Ok(Value::Null),
            other => return Err(format!("cannot look up [{name}] in [{other}]; write [?.{name}]")),
        };
    }
    Ok(value.clone())
}

impl Comparison {
    fn holds(self, left: &Value, right: &Value) -> Result<bool, String> {
        match self {
            Self::Equal => Ok(equal(left, right)),
            Self::NotEqual => Ok(!equal(left, right)),
            _ => {
                let (Some(left), Some(right)) = (left.as_f64(), right.as_f64()) else {
                    return Err(format!("cannot order [{left}] and [{right}]"));
                };
                Ok(match self {
                    Self::Less => left < right,
                    Self::LessOrEqual => left <= right,
                    Self::Greater => left > right,
                    _ => left >= right,
                })
            }
        }
    }
}

/// Numbers are equal by value: 1 and 1.0.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        _ => left == right,
    }
}

impl Method {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "contains" => Self::Contains,
            "startsWith" => Self::StartsWith,
            "endsWith" => Self::EndsWith,
            "isEmpty" => Self::IsEmpty,
            "size" | "length" => Self::Size,
            "containsKey" => Self::ContainsKey,
            "equalsIgnoreCase" => Self::EqualsIgnoreCase,
            "toLowerCase" => Self::ToLowerCase,
            _ => return None,
        })
    }

    fn call(self, on: &Value, arguments: &[Value]) -> Result<Value, String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let argument = arguments.first();
        let found = match (self, on, argument) {
            (Self::Contains, Value::Array(list), Some(wanted)) => list.iter().any(|item| equal(item, wanted)),
            (Self::Contains, Value::String(on), Some(Value::String(part))) => on.contains(part.as_str()),
            (Self::StartsWith, Value::String(on), Some(Value::String(part))) => on.starts_with(part.as_str()),
            (Self::EndsWith, Value::String(on), Some(Value::String(part))) => on.ends_with(part.as_str()),
            (Self::ContainsKey, Value::Object(map), Some(Value::String(key))) => map.contains_key(key),
            (Self::EqualsIgnoreCase, Value::String(on), Some(other)) => {
                text(other).is_some_and(|other| on.to_lowercase() == other.to_lowercase())
            }
            (Self::IsEmpty, Value::String(on), None) => on.is_empty(),
            (Self::IsEmpty, Value::Array(on), None) => on.is_empty(),
            (Self::IsEmpty, Value::Object(on), None) => on.is_empty(),
            (Self::Size, Value::String(on), None) => return Ok(on.chars().count().into()),
            (Self::Size, Value::Array(on), None) => return Ok(on.len().into()),
            (Self::Size, Value::Object(on), None) => return Ok(on.len().into()),
            (Self::ToLowerCase, Value::String(on), None) => return Ok(on.to_lowercase().into()),
            _ => return Err(format!("cannot call [{self:?}] on [{on}]")),
        };
        Ok(Value::Bool(found))
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Literal(Value),
    Sign(&'static str),
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Literal(value) => write!(f, "{value}"),
            Self::Sign(sign) => f.write_str(sign),
        }
    }
}

/// Longer signs first.
const SIGNS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "?.", "!", "<", ">", ".", "(", ")", "[", "]", ",", ";",
];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first == '\'' || first == '"' {
            let (value, length) = quoted(rest, first)?;
            tokens.push(Token::Literal(Value::String(value)));
            length
        } else if first.is_ascii_digit() || (first == '-' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            let length = rest[1..]
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .map_or(rest.len(), |at| at + 1);
            let digits = rest[..length].trim_end_matches('.');
            let number = serde_json::from_str(digits).map_err(|_| format!("holds [{digits}], which is no number"))?;
            tokens.push(Token::Literal(number));
            digits.len()
        } else if first.is_alphabetic() || first == '_' || first == '@' {
            let length = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_' && c != '@')
                .unwrap_or(rest.len());
            tokens.push(match &rest[..length] {
                "true" => Token::Literal(Value::Bool(true)),
                "false" => Token::Literal(Value::Bool(false)),
                "null" => Token::Literal(Value::Null),
                name => Token::Name(name.to_owned()),
            });
            length
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.ok_or_else(|| format!("is not understood at [{first}] in [{text}]"))?;
            tokens.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// A quoted text and its length with quotes.
fn quoted(text: &str, quote: char) -> Result<(String, usize), String> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, other)) => value.push(other),
                None => break,
            },
            character if character == quote => return Ok((value, at + 1)),
            character => value.push(character),
        }
    }
    Err(format!("has a text without an end: [{text}]"))
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(present)) if *present == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) {
            Ok(())
        } else {
            Err(format!("lacks a [{sign}]"))
        }
    }

    fn or(&mut self) -> Result<Expression, String> {
        let mut left = self.and()?;
        while self.take("||") {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        self.take(";");
        Ok(left)
    }

    fn and(&mut self) -> Result<Expression, String> {
        let mut left = self.comparison()?;
        while self.take("&&") {
            left = Expression::And(Box::new(left), Box::new(self.comparison()?));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        let left = self.unary()?;
        let comparison = match self.peek() {
            Some(Token::Sign("==")) => Comparison::Equal,
            Some(Token::Sign("!=")) => Comparison::NotEqual,
            Some(Token::Sign("<=")) => Comparison::LessOrEqual,
            Some(Token::Sign(">=")) => Comparison::GreaterOrEqual,
            Some(Token::Sign("<")) => Comparison::Less,
            Some(Token::Sign(">")) => Comparison::Greater,
            _ => return Ok(left),
        };
        self.at += 1;
        Ok(Expression::Compare(comparison, Box::new(left), Box::new(self.unary()?)))
    }

    fn unary(&mut self) -> Result<Expression, String> {
        if self.take("!") {
            return Ok(Expression::Not(Box::new(self.unary()?)));
        }
        let mut expression = self.primary()?;
        loop {
            let null_safe = if self.take("?.") {
                true
            } else if self.take(".") {
                false
            } else if self.take("[") {
                let Some(Token::Literal(Value::String(name))) = self.next() else {
                    return Err("lacks a quoted field name after `[`".to_owned());
                };
                self.expect("]")?;
                expression = field(expression, name, false)?;
                continue;
            } else {
                return Ok(expression);
            };
            let Some(Token::Name(name)) = self.next() else {
                return Err("lacks a name after a dot".to_owned());
            };
            expression = if self.take("(") {
                self.method(expression, null_safe, &name)?
            } else {
                field(expression, name, null_safe)?
            };
        }
    }

    fn method(&mut self, on: Expression, null_safe: bool, name: &str) -> Result<Expression, String> {
        let method = Method::of(name).ok_or_else(|| format!("calls the method [{name}], which is not supported"))?;
        let mut arguments = Vec::new();
        while !self.take(")") {
            arguments.push(self.or()?);
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(Expression::Method {
            on: Box::new(on),
            null_safe,
            name: method,
            arguments,
        })
    }

    fn primary(&mut self) -> Result<Expression, String> {
        match self.next() {
            Some(Token::Literal(value)) => Ok(Expression::Literal(value)),
            Some(Token::Name(name)) if name == "ctx" => Ok(Expression::Path(Vec::new())),
            Some(Token::Sign("(")) => {
                let inner = self.or()?;
                self.expect(")")?;
                Ok(inner)
            }
            Some(Token::Sign("[")) => {
                let mut items = Vec::new();
                while !self.take("]") {
                    items.push(self.or()?);
                    if !self.take(",") {
                        self.expect("]")?;
                        break;
                    }
                }
                Ok(Expression::List(items))
            }
            Some(token) => Err(format!("is not understood at [{token}]")),
            None => Err("ends too early".to_owned()),
        }
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }
}

fn field(on: Expression, name: String, null_safe: bool) -> Result<Expression, String> {
    match on {
        Expression::Path(mut steps) => {
            steps.push((name, null_safe));
            Ok(Expression::Path(steps))
        }
        _ => Err(format!("looks up [{name}] in something that is not a field")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::tests::context;
    use serde_json::json;

    #[test]
    fn conditions_of_real_pipelines() {
        let context = context(json!({
            "event": {"kind": "event", "code": 7}, "tags": ["a", "b"], "message": "Accepted password", "host": {"os": {"type": "linux"}},
        }));
        let check = |text: &str, expected: bool| {
            assert_eq!(Condition::parse(text).unwrap().holds(&context), Ok(expected), "{text}");
        };
        check("ctx.event?.kind == 'event'", true);
        check("ctx?.event?.kind != \"event\"", false);
        check("ctx.gone?.deep?.er == null", true);
        check("ctx.tags != null && ctx.tags.contains('b')", true);
        check("ctx.tags?.contains('z') == true || ctx.event.code >= 7", true);
        check("!(ctx.message.startsWith('Accepted') && ctx.event.code < 7)", true);
        check("ctx['event']['kind'] == 'event'", true);
        check("['linux','macos'].contains(ctx.host.os.type)", true);
        check("ctx.containsKey('message') && ctx.tags.size() == 2", true);
        check("!ctx.message.isEmpty()", true);
        check("ctx.event.code == 7.0", true);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (text, names) in [
            ("ctx.a.matches('x')", "matches"),
            ("ctx.a =~ /x/", "=~"),
            ("ctx.a ==", "early"),
            ("ctx.a == 'x", "without an end"),
            ("emit(1)", "emit"),
        ] {
            let error = Condition::parse(text).unwrap_err();
            assert!(error.contains(names) || error.contains('='), "{text}: {error}");
        }
        let context = context(json!({}));
        assert!(Condition::parse("ctx.a.b == 1").unwrap().holds(&context).is_err());
    }
}
