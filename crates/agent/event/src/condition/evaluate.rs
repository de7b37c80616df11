//! Expression to value.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::{Expression, Operator};
use crate::variables::Variables;

pub(super) fn evaluate(expression: &Expression, variables: &Variables) -> Result<Value, String> {
    match expression {
        Expression::Literal(value) => Ok(value.clone()),
        Expression::Variable(reference) => Ok(reference.value(variables).unwrap_or(Value::Null)),
        Expression::Array(items) => evaluate_all(items, variables).map(Value::Array),
        Expression::Dict(entries) => entries
            .iter()
            .map(|(key, value)| Ok((key.clone(), evaluate(value, variables)?)))
            .collect::<Result<Map<_, _>, String>>()
            .map(Value::Object),
        Expression::Not(inner) => boolean(&evaluate(inner, variables)?).map(|value| Value::Bool(!value)),
        Expression::Negative(inner) => arithmetic(Operator::Subtract, &Value::from(0), &evaluate(inner, variables)?),
        Expression::Binary(operator, left, right) => {
            binary(*operator, &evaluate(left, variables)?, &evaluate(right, variables)?)
        }
        Expression::Call(function, arguments) => function.call(&evaluate_all(arguments, variables)?),
    }
}

fn evaluate_all(items: &[Expression], variables: &Variables) -> Result<Vec<Value>, String> {
    items.iter().map(|item| evaluate(item, variables)).collect()
}

fn binary(operator: Operator, left: &Value, right: &Value) -> Result<Value, String> {
    let holds = match operator {
        Operator::Or => boolean(left)? | boolean(right)?,
        Operator::And => boolean(left)? & boolean(right)?,
        Operator::Equal => equal(left, right),
        Operator::NotEqual => !equal(left, right),
        Operator::Less => order(left, right)?.is_some_and(Ordering::is_lt),
        Operator::LessOrEqual => order(left, right)?.is_some_and(Ordering::is_le),
        Operator::Greater => order(left, right)?.is_some_and(Ordering::is_gt),
        Operator::GreaterOrEqual => order(left, right)?.is_some_and(Ordering::is_ge),
        _ => return arithmetic(operator, left, right),
    };
    Ok(Value::Bool(holds))
}

fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("`{value}` is not true or false"))
}

/// Equality across the two kinds of numbers; different types are never equal.
pub(super) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => left == right,
            _ => left.as_f64() == right.as_f64(),
        },
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        _ => left == right,
    }
}

/// The order of two numbers or two texts; nothing is before or after null.
fn order(left: &Value, right: &Value) -> Result<Option<Ordering>, String> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(None),
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Ok(Some(left.cmp(&right))),
            _ => Ok(left.as_f64().partial_cmp(&right.as_f64())),
        },
        (Value::String(left), Value::String(right)) => Ok(Some(left.cmp(right))),
        _ => Err(format!("`{left}` and `{right}` have no order")),
    }
}

pub(super) fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Result<Value, String> {
    let (Value::Number(left), Value::Number(right)) = (left, right) else {
        return Err(format!("`{left}` and `{right}` must both be a number"));
    };
    match (left.as_i64(), right.as_i64()) {
        (Some(left), Some(right)) => integers(operator, left, right).map(Value::from),
        _ => floats(
            operator,
            left.as_f64().unwrap_or(f64::NAN),
            right.as_f64().unwrap_or(f64::NAN),
        ),
    }
}

fn integers(operator: Operator, left: i64, right: i64) -> Result<i64, String> {
    if right == 0 && matches!(operator, Operator::Divide | Operator::Modulo) {
        return Err("division by zero".to_owned());
    }
    let result = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::Divide => left.checked_div(right),
        _ => left.checked_rem(right),
    };
    result.ok_or_else(|| "the result is too large for a 64-bit number".to_owned())
}

fn floats(operator: Operator, left: f64, right: f64) -> Result<Value, String> {
    let result = match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        _ => left % right,
    };
    let number = Number::from_f64(result).ok_or("division by zero or a result that is too large")?;
    Ok(Value::Number(number))
}
