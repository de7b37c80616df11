//! Text to expression: recursive descent, from the loosest operator to the tightest.

use serde_json::{Number, Value};

use super::functions::Function;
use super::{ConditionError, Expression, Operator};
use crate::variables::{Reference, end_of_reference};

/// Deeper nesting is refused, so that hostile input cannot exhaust the stack.
const MAX_DEPTH: usize = 64;

pub(super) fn parse(text: &str) -> Result<Expression, ConditionError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let parsed = parser.expression().and_then(|expression| {
        parser.skip_space();
        if parser.at == text.len() {
            Ok(expression)
        } else {
            Err("an operator is missing here".to_owned())
        }
    });
    parsed.map_err(|problem| ConditionError::Syntax {
        text: text.to_owned(),
        position: text[..parser.at].chars().count() + 1,
        problem,
    })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

type Parsed = Result<Expression, String>;

/// Binary operators, loosest first.
const LEVELS: [&[(&str, Operator)]; 5] = [
    &[("or", Operator::Or), ("OR", Operator::Or)],
    &[("and", Operator::And), ("AND", Operator::And)],
    &[
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ],
    &[("+", Operator::Add), ("-", Operator::Subtract)],
    &[
        ("*", Operator::Multiply),
        ("/", Operator::Divide),
        ("%", Operator::Modulo),
    ],
];
/// `not` binds looser than comparisons and tighter than `and`.
const NOT_LEVEL: usize = 2;

impl<'a> Parser<'a> {
    fn expression(&mut self) -> Parsed {
        self.nested(|parser| parser.level(0))
    }

    fn nested(&mut self, parse: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn level(&mut self, level: usize) -> Parsed {
        if level == NOT_LEVEL && (self.word("not") || self.word("NOT")) {
            let inner = self.nested(|parser| parser.level(NOT_LEVEL))?;
            return Ok(Expression::Not(Box::new(inner)));
        }
        let Some(operators) = LEVELS.get(level) else {
            return self.operand();
        };
        let mut left = self.level(level + 1)?;
        while let Some(operator) = self.operator(operators) {
            let right = self.level(level + 1)?;
            left = Expression::Binary(operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn operator(&mut self, operators: &[(&str, Operator)]) -> Option<Operator> {
        operators
            .iter()
            .find(|(sign, _)| self.sign_or_word(sign))
            .map(|(_, operator)| *operator)
    }

    fn sign_or_word(&mut self, sign: &str) -> bool {
        if sign.starts_with(|first: char| first.is_ascii_alphabetic()) {
            self.word(sign)
        } else {
            self.take(sign)
        }
    }

    fn operand(&mut self) -> Parsed {
        if self.take("(") {
            let inner = self.expression()?;
            return self.expect(")").map(|()| inner);
        }
        if self.take("[") {
            return self.list("]", Self::expression).map(Expression::Array);
        }
        if self.take("${") {
            return self.variable();
        }
        if self.take("{") {
            return self.list("}", Self::entry).map(Expression::Dict);
        }
        if self.take("-") {
            let inner = self.nested(Self::operand)?;
            return Ok(Expression::Negative(Box::new(inner)));
        }
        match self.rest().chars().next() {
            Some('\'' | '"') => self.quoted().map(|text| Expression::Literal(Value::String(text))),
            Some(digit) if digit.is_ascii_digit() => self.number(),
            Some(letter) if letter.is_ascii_alphabetic() || letter == '_' => self.name_or_call(),
            _ => Err("a value, a variable or a function is missing here".to_owned()),
        }
    }

    fn variable(&mut self) -> Parsed {
        let end = end_of_reference(self.rest()).ok_or("this `${` is not closed")?;
        let reference = Reference::parse(&self.rest()[..end]).map_err(|error| error.to_string())?;
        self.at += end + 1;
        Ok(Expression::Variable(reference))
    }

    fn entry(&mut self) -> Result<(String, Expression), String> {
        self.skip_space();
        let key = match self.rest().chars().next() {
            Some('\'' | '"') => self.quoted()?,
            _ => self.identifier().to_owned(),
        };
        if key.is_empty() {
            return Err("a key is missing here".to_owned());
        }
        self.expect(":")?;
        Ok((key, self.expression()?))
    }

    fn list<T>(&mut self, close: &str, mut item: impl FnMut(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        let mut items = Vec::new();
        if self.take(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if !self.take(",") {
                return self.expect(close).map(|()| items);
            }
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut characters = self.rest().char_indices();
        let quote = characters.next().map(|(_, quote)| quote);
        let mut text = String::new();
        while let Some((at, character)) = characters.next() {
            if Some(character) == quote {
                self.at += at + 1;
                return Ok(text);
            }
            match (character, character == '\\') {
                (_, true) => text.push(unescaped(characters.next().ok_or("this text is not closed")?.1)),
                (character, false) => text.push(character),
            }
        }
        Err("this text is not closed".to_owned())
    }

    fn number(&mut self) -> Parsed {
        let rest = self.rest();
        let end = rest
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .unwrap_or(rest.len());
        let text = &rest[..end];
        let number = match text.parse::<i64>() {
            Ok(integer) => Number::from(integer),
            Err(_) => text
                .parse::<f64>()
                .ok()
                .and_then(Number::from_f64)
                .ok_or("this is not a number")?,
        };
        self.at += end;
        Ok(Expression::Literal(Value::Number(number)))
    }

    fn name_or_call(&mut self) -> Parsed {
        let start = self.at;
        let name = self.identifier();
        if self.take("(") {
            let Some(function) = Function::named(name) else {
                self.at = start;
                return Err(format!("there is no function `{name}`"));
            };
            let arguments = self.list(")", Self::expression)?;
            return function
                .accepts(arguments.len())
                .map(|()| Expression::Call(function, arguments));
        }
        match name {
            "true" | "TRUE" => Ok(Expression::Literal(Value::Bool(true))),
            "false" | "FALSE" => Ok(Expression::Literal(Value::Bool(false))),
            "null" => Ok(Expression::Literal(Value::Null)),
            _ => {
                self.at = start;
                Err(format!(
                    "`{name}` is no value; write `${{{name}}}` for a variable and '{name}' for a text"
                ))
            }
        }
    }

    fn identifier(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest
            .find(|character: char| !character.is_ascii_alphanumeric() && character != '_')
            .unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn word(&mut self, word: &str) -> bool {
        self.skip_space();
        let Some(after) = self.rest().strip_prefix(word) else {
            return false;
        };
        let ends = !after.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
        if ends {
            self.at += word.len();
        }
        ends
    }

    fn take(&mut self, sign: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len();
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) {
            Ok(())
        } else {
            Err(format!("`{sign}` is missing here"))
        }
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
}

fn unescaped(character: char) -> char {
    match character {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        other => other,
    }
}
