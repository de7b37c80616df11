//! The arithmetic of `bucket_script` and `bucket_selector`: numbers, parameters, operators and a few functions of `Math`.
//!
//! There is no script engine: what goes beyond an expression is refused by name.

use crate::dsl::QueryError;

/// An expression, parsed once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Formula {
    Number(f64),
    Parameter(String),
    Negative(Box<Formula>),
    Not(Box<Formula>),
    Binary(Operator, Box<Formula>, Box<Formula>),
    Choice(Box<Formula>, Box<Formula>, Box<Formula>),
    Call(Function, Vec<Formula>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Plus,
    Minus,
    Times,
    Divided,
    Remainder,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Function {
    Abs,
    Ceil,
    Floor,
    Round,
    Sqrt,
    Log,
    Exp,
    Min,
    Max,
    Pow,
}

/// By rising precedence; longer spellings first.
const LEVELS: &[&[(&str, Operator)]] = &[
    &[("||", Operator::Or)],
    &[("&&", Operator::And)],
    &[("==", Operator::Equal), ("!=", Operator::NotEqual)],
    &[
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ],
    &[("+", Operator::Plus), ("-", Operator::Minus)],
    &[
        ("*", Operator::Times),
        ("/", Operator::Divided),
        ("%", Operator::Remainder),
    ],
];

impl Formula {
    /// Reads an expression; `return` before it and `;` behind it are allowed.
    pub(crate) fn parse(text: &str) -> Result<Self, QueryError> {
        let inner = text.trim().trim_end_matches(';').trim();
        let inner = inner.strip_prefix("return ").unwrap_or(inner);
        let mut parser = Parser {
            whole: text,
            rest: inner,
        };
        let formula = parser.choice(0)?;
        if parser.rest.trim_start().is_empty() {
            Ok(formula)
        } else {
            Err(parser.refused())
        }
    }

    /// Its value; conditions are 1 and 0.
    pub(crate) fn value(&self, parameter: &dyn Fn(&str) -> f64) -> f64 {
        let of = |inner: &Self| inner.value(parameter);
        match self {
            Self::Number(number) => *number,
            Self::Parameter(name) => parameter(name),
            Self::Negative(inner) => -of(inner),
            Self::Not(inner) => truth(of(inner) == 0.0),
            Self::Choice(condition, yes, no) => of(if of(condition) == 0.0 { no } else { yes }),
            Self::Binary(operator, left, right) => operator.apply(of(left), || of(right)),
            Self::Call(function, arguments) => function.apply(&arguments.iter().map(of).collect::<Vec<_>>()),
        }
    }

    /// The names of all parameters.
    pub(crate) fn parameters<'a>(&'a self, found: &mut Vec<&'a str>) {
        match self {
            Self::Number(_) => {}
            Self::Parameter(name) => found.push(name),
            Self::Negative(inner) | Self::Not(inner) => inner.parameters(found),
            Self::Binary(_, left, right) => [left, right].into_iter().for_each(|one| one.parameters(found)),
            Self::Choice(condition, yes, no) => {
                for one in [condition, yes, no] {
                    one.parameters(found);
                }
            }
            Self::Call(_, arguments) => arguments.iter().for_each(|one| one.parameters(found)),
        }
    }
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

impl Operator {
    #[expect(clippy::float_cmp, reason = "that is what the client asked for")]
    fn apply(self, left: f64, right: impl Fn() -> f64) -> f64 {
        match self {
            Self::Or => truth(left != 0.0 || right() != 0.0),
            Self::And => truth(left != 0.0 && right() != 0.0),
            Self::Equal => truth(left == right()),
            Self::NotEqual => truth(left != right()),
            Self::Less => truth(left < right()),
            Self::LessOrEqual => truth(left <= right()),
            Self::Greater => truth(left > right()),
            Self::GreaterOrEqual => truth(left >= right()),
            Self::Plus => left + right(),
            Self::Minus => left - right(),
            Self::Times => left * right(),
            Self::Divided => left / right(),
            Self::Remainder => left % right(),
        }
    }
}

impl Function {
    /// The function and how many arguments it takes.
    fn named(name: &str) -> Option<(Self, usize)> {
        Some(match name {
            "abs" => (Self::Abs, 1),
            "ceil" => (Self::Ceil, 1),
            "floor" => (Self::Floor, 1),
            "round" => (Self::Round, 1),
            "sqrt" => (Self::Sqrt, 1),
            "log" => (Self::Log, 1),
            "exp" => (Self::Exp, 1),
            "min" => (Self::Min, 2),
            "max" => (Self::Max, 2),
            "pow" => (Self::Pow, 2),
            _ => return None,
        })
    }

    fn apply(self, arguments: &[f64]) -> f64 {
        let at = |place: usize| arguments.get(place).copied().unwrap_or(f64::NAN);
        match self {
            Self::Abs => at(0).abs(),
            Self::Ceil => at(0).ceil(),
            Self::Floor => at(0).floor(),
            // Java rounds halves up.
            Self::Round => (at(0) + 0.5).floor(),
            Self::Sqrt => at(0).sqrt(),
            Self::Log => at(0).ln(),
            Self::Exp => at(0).exp(),
            Self::Min => at(0).min(at(1)),
            Self::Max => at(0).max(at(1)),
            Self::Pow => at(0).powf(at(1)),
        }
    }
}

/// Deeper expressions are refused.
const DEEPEST: usize = 50;

struct Parser<'a> {
    whole: &'a str,
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn refused(&self) -> QueryError {
        QueryError::argument(format!(
            "script [{}] is not supported at [{}]: only expressions of numbers and parameters are",
            self.whole,
            self.rest.trim()
        ))
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), QueryError> {
        if self.eat(token) { Ok(()) } else { Err(self.refused()) }
    }

    fn choice(&mut self, depth: usize) -> Result<Formula, QueryError> {
        if depth > DEEPEST {
            return Err(self.refused());
        }
        let condition = self.binary(0, depth)?;
        if !self.eat("?") {
            return Ok(condition);
        }
        let yes = self.choice(depth + 1)?;
        self.expect(":")?;
        let no = self.choice(depth + 1)?;
        Ok(Formula::Choice(Box::new(condition), Box::new(yes), Box::new(no)))
    }

    fn binary(&mut self, level: usize, depth: usize) -> Result<Formula, QueryError> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary(depth);
        };
        let mut left = self.binary(level + 1, depth)?;
        while let Some((_, operator)) = operators.iter().find(|(token, _)| self.eat(token)) {
            let right = self.binary(level + 1, depth)?;
            left = Formula::Binary(*operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self, depth: usize) -> Result<Formula, QueryError> {
        if depth > DEEPEST {
            return Err(self.refused());
        }
        if self.eat("-") {
            return Ok(Formula::Negative(Box::new(self.unary(depth + 1)?)));
        }
        if self.eat("!") {
            return Ok(Formula::Not(Box::new(self.unary(depth + 1)?)));
        }
        if self.eat("(") {
            let inner = self.choice(depth + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let word = self.word();
        match word.strip_prefix("Math.") {
            Some(name) => self.call(name, depth),
            None => self.operand(word),
        }
    }

    /// Letters, digits, dots and underlines.
    fn word(&mut self) -> &'a str {
        let rest = self.rest.trim_start();
        let end = rest
            .find(|letter: char| !(letter.is_alphanumeric() || matches!(letter, '.' | '_')))
            .unwrap_or(rest.len());
        self.rest = &rest[end..];
        &rest[..end]
    }

    fn call(&mut self, name: &str, depth: usize) -> Result<Formula, QueryError> {
        let (function, takes) = Function::named(name).ok_or_else(|| self.refused())?;
        self.expect("(")?;
        let mut arguments = vec![self.choice(depth + 1)?];
        while self.eat(",") {
            arguments.push(self.choice(depth + 1)?);
        }
        self.expect(")")?;
        if arguments.len() == takes {
            Ok(Formula::Call(function, arguments))
        } else {
            Err(self.refused())
        }
    }

    fn operand(&mut self, word: &str) -> Result<Formula, QueryError> {
        let number = word.trim_end_matches(['L', 'D', 'F', 'd', 'f']);
        match number.parse::<f64>() {
            Ok(number) => Ok(Formula::Number(number)),
            Err(_) if word.is_empty() || word.starts_with('.') => Err(self.refused()),
            Err(_) => match word.strip_prefix("params.").unwrap_or(word) {
                name if name.contains('.') => Err(self.refused()),
                name => Ok(Formula::Parameter(name.to_owned())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_have_their_value() {
        let check = |text: &str, expected: f64| {
            let formula = Formula::parse(text).unwrap();
            let parameter = |name: &str| if name == "a" { 6.0 } else { 4.0 };
            let found = formula.value(&parameter);
            assert!((found - expected).abs() < 1e-9, "{text}: {found}");
        };
        check("params.a / params.b * 100", 150.0);
        check("return 1 + 2 * 3;", 7.0);
        check("-(a - b) - 1", -3.0);
        check("params.a > 5 && !(params.b >= 5)", 1.0);
        check("a == 6 ? Math.max(a, 10) : 0", 10.0);
        check("Math.round(2.5) % 2", 1.0);
        check("1L + 2.5d", 3.5);
    }

    #[test]
    fn statements_are_refused() {
        for text in [
            "",
            "int x = 1; x",
            "doc['a'].value",
            "Math.random()",
            "a +",
            "(a",
            "params.a.b",
            "a b",
        ] {
            let error = Formula::parse(text).unwrap_err();
            assert!(error.message.contains("not supported"), "{text}: {error}");
        }
    }
}
