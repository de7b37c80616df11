//! `condition:` of inputs and streams: a boolean expression over variables (a subset of EQL).
//!
//! Both sides of every operator are evaluated; a missing variable is null, and null equals only null.

mod evaluate;
mod functions;
mod parse;

use serde_json::Value;

use crate::variables::{Reference, Variables};
use functions::Function;

/// A parsed condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition(Expression);

/// Why a condition has no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConditionError {
    /// The text is not a condition.
    #[error("condition `{text}` is not valid at character {position}: {problem}")]
    Syntax {
        /// The whole condition.
        text: String,
        /// Counted from 1.
        position: usize,
        /// What is wrong there.
        problem: String,
    },
    /// It cannot be computed with the present values.
    #[error("the condition cannot be evaluated: {0}")]
    Evaluation(String),
    /// It gives something else than true or false.
    #[error("the condition gives `{0}`, not true or false")]
    NotBoolean(String),
}

impl Condition {
    /// Reads a condition.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        parse::parse(text).map(Self)
    }

    /// Whether the condition holds.
    pub fn evaluate(&self, variables: &Variables) -> Result<bool, ConditionError> {
        match evaluate::evaluate(&self.0, variables).map_err(ConditionError::Evaluation)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(ConditionError::NotBoolean(other.to_string())),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    Literal(Value),
    Variable(Reference),
    Array(Vec<Expression>),
    Dict(Vec<(String, Expression)>),
    Not(Box<Expression>),
    Negative(Box<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
    Call(Function, Vec<Expression>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn variables() -> Variables {
        Variables::new().with("env", json!({"HOME": "/root"})).with(
            "host",
            json!({"platform": "linux", "cores": 4, "ip": ["10.0.0.5", "::1"], "load": 0.5}),
        )
    }

    #[track_caller]
    fn check(text: &str, expected: bool) {
        assert_eq!(
            Condition::parse(text).and_then(|condition| condition.evaluate(&variables())),
            Ok(expected),
            "{text}"
        );
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let error = Condition::parse(text)
            .and_then(|condition| condition.evaluate(&variables()))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }

    #[test]
    fn comparisons() {
        check("${host.platform} == 'linux'", true);
        check("${host.platform} != \"windows\"", true);
        check("${host.cores} >= 4 and ${host.cores} < 5", true);
        check("${host.load} < 1", true);
        check("1 == 1.0", true);
        check("'a' < 'b'", true);
        check("${nope.x} == null", true);
        check("${nope.x} == 'a'", false);
        check("${nope.x} != 'a'", true);
        check("'1' == 1", false);
        check("${host.ip} == ['10.0.0.5', '::1']", true);
        check("true", true);
        check("false OR true", true);
        check("NOT (true and false)", true);
        check("not true == false", true);
    }

    #[test]
    fn arithmetic() {
        check("1 + 2 * 3 == 7", true);
        check("(1 + 2) * 3 == 9", true);
        check("7 / 2 == 3", true);
        check("7 % 4 == 3", true);
        check("7.0 / 2 == 3.5", true);
        check("-2 + 3 == 1", true);
        check("10 - 2 - 3 == 5", true);
        check_error("1 / 0 == 1", "division by zero");
        check_error("9223372036854775807 + 1 == 0", "too large");
        check_error("'a' * 2 == 1", "number");
    }

    #[test]
    fn functions_of_every_group() {
        check("arrayContains(${host.ip}, '::2', '::1')", true);
        check("arrayContains([1, 2], 3)", false);
        check("hasKey({'a': 1, b: 2}, 'b')", true);
        check("length('héllo') == 6 or length('héllo') == 5", true);
        check("length([1,2,3]) == 3", true);
        check(
            "add(1, 2) == 3 and subtract(3, 1) == 2 and multiply(2, 3) == 6 and divide(6, 4) == 1 and modulo(5, 3) == 2",
            true,
        );
        check("concat('a', 1, true) == 'a1true'", true);
        check(
            "startsWith(${env.HOME}, '/r') and endsWith(${env.HOME}, 'ot') and stringContains('abc', 'b')",
            true,
        );
        check(
            "indexOf('abcabc', 'c') == 2 and indexOf('abcabc', 'c', 3) == 5 and indexOf('a', 'b') == -1",
            true,
        );
        check("match('web-01', '^db', '^web-[0-9]+$')", true);
        check(
            "number('0x1f') == 31 and number('11', 2) == 3 and number('1.5') == 1.5",
            true,
        );
        check("string(12) == '12'", true);
        check("startsWith(${nope.x}, 'a')", false);
    }

    #[test]
    fn wrong_conditions_say_where() {
        check_error("", "character 1");
        check_error("1 +", "character 4");
        check_error("${host.platform", "not closed");
        check_error("'abc", "not closed");
        check_error("arrayContains([1])", "at least 2");
        check_error("ArrayContains([1], 1)", "no function `ArrayContains`");
        check_error("1 == 1 garbage", "character 8");
        check_error("1 + 1", "not true or false");
        check_error("match('a', '(')", "regular expression");
        check_error(&"(".repeat(1000), "nested");
        check_error(&"not ".repeat(1000), "nested");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c0-9'\"${}()\\[\\], .:|=<>!+*/%-]{0,40}") {
            let _outcome = Condition::parse(&text).and_then(|condition| condition.evaluate(&variables()));
        }
    }
}
