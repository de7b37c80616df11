//! The Lucene syntax of `query_string` (`level:error AND (host:web* OR -"log in")`) and the forgiving one of
//! `simple_query_string` (`+error -debug "log in" | warn*`).

use serde_json::Value;

use crate::dsl::{Fuzziness, Minimum, Query, QueryError, RangeBound};

const DEEPEST: usize = 30;

/// Reads the Lucene syntax. `fields` are searched where the text names none; `and` joins words that stand side by side.
///
/// # Errors
/// When brackets or quotes do not close, or an operator has nothing to work on.
pub fn parse(text: &str, fields: &[String], and: bool) -> Result<Query, QueryError> {
    let mut parser = Parser {
        rest: text,
        fields: fields.to_vec(),
        and,
        depth: 0,
    };
    let query = parser.alternatives()?;
    if parser.skip_space().is_empty() {
        Ok(query)
    } else {
        Err(parser.error("unexpected text"))
    }
}

/// Reads the simple syntax; never fails: what cannot be an operator is text.
pub fn parse_simple(text: &str, fields: &[String], and: bool) -> Query {
    let mut groups: Vec<Vec<Query>> = vec![Vec::new()];
    let mut excluded = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('|') {
            groups.push(Vec::new());
            rest = after.trim_start();
            continue;
        }
        let (negated, body) = match rest.strip_prefix('-') {
            Some(body) => (true, body),
            None => (false, rest.strip_prefix('+').unwrap_or(rest)),
        };
        let (query, after) = simple_term(body, fields, and);
        if let Some(query) = query {
            let list = if negated {
                &mut excluded
            } else {
                groups.last_mut().expect("a group is always there")
            };
            list.push(query);
        }
        rest = after.trim_start();
    }
    let join = |group: Vec<Query>| Query::Bool {
        must: if and { group.clone() } else { Vec::new() },
        filter: Vec::new(),
        minimum_should_match: usize::from(!and),
        should: if and { Vec::new() } else { group },
        must_not: Vec::new(),
    };
    let groups: Vec<Query> = groups.into_iter().filter(|group| !group.is_empty()).map(join).collect();
    match (groups.is_empty(), excluded.is_empty()) {
        (true, true) => Query::MatchNone,
        (true, false) => Query::none_of(excluded),
        (false, true) => Query::any_of(groups),
        (false, false) => Query::Bool {
            must: vec![Query::any_of(groups)],
            filter: Vec::new(),
            should: Vec::new(),
            must_not: excluded,
            minimum_should_match: 0,
        },
    }
}

fn simple_term<'a>(text: &'a str, fields: &[String], and: bool) -> (Option<Query>, &'a str) {
    if let Some(quoted) = text.strip_prefix('"') {
        let end = quoted.find('"').unwrap_or(quoted.len());
        let phrase = quoted[..end].to_owned();
        let query = over(fields, |field| Query::MatchPhrase(field, phrase.clone()));
        return (Some(query), quoted.get(end + 1..).unwrap_or(""));
    }
    let end = text.find(|c: char| c.is_whitespace() || c == '|').unwrap_or(text.len());
    let word = text[..end].trim_matches(['(', ')']);
    let query = match word.strip_suffix('*') {
        _ if word.is_empty() => None,
        Some(prefix) => Some(over(fields, |field| prefix_of(field, prefix))),
        None => Some(over(fields, |field| Query::Match {
            field,
            text: word.to_owned(),
            all: and,
        })),
    };
    (query, &text[end..])
}

fn prefix_of(field: String, prefix: &str) -> Query {
    Query::Wildcard {
        field,
        pattern: format!("{prefix}*"),
        case_insensitive: true,
    }
}

fn over(fields: &[String], clause: impl Fn(String) -> Query) -> Query {
    match fields {
        [one] => clause(one.clone()),
        many => Query::Best {
            queries: many.iter().map(|field| clause(field.clone())).collect(),
            tie_breaker: 0.0,
        },
    }
}

struct Parser<'a> {
    rest: &'a str,
    fields: Vec<String>,
    and: bool,
    depth: usize,
}

/// How a clause takes part in its sequence.
enum Role {
    Must,
    MustNot,
    Should,
}

impl<'a> Parser<'a> {
    fn error(&self, what: &str) -> QueryError {
        let near: String = self.rest.chars().take(20).collect();
        QueryError::parsing(format!("[query_string] cannot be read: {what} near [{near}]"))
    }

    fn skip_space(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    fn word(&mut self, words: &[&str]) -> bool {
        self.skip_space();
        for word in words {
            if let Some(after) = self.rest.strip_prefix(word)
                && (word.starts_with(['&', '|', '!'])
                    || (after.is_empty() || after.starts_with(|c: char| c.is_whitespace() || c == '(')))
            {
                self.rest = after;
                return true;
            }
        }
        false
    }

    fn alternatives(&mut self) -> Result<Query, QueryError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error("too many brackets"));
        }
        let mut options = vec![self.sequence()?];
        while self.word(&["OR", "||"]) {
            options.push(self.sequence()?);
        }
        self.depth -= 1;
        Ok(if options.len() == 1 {
            options.remove(0)
        } else {
            Query::any_of(options)
        })
    }

    fn sequence(&mut self) -> Result<Query, QueryError> {
        let (mut must, mut should, mut must_not) = (Vec::new(), Vec::new(), Vec::new());
        let mut joined = false;
        loop {
            if self.skip_space().is_empty() || self.rest.starts_with(')') || self.at_or() {
                break;
            }
            let (role, query) = self.clause()?;
            let next_joined = self.word(&["AND", "&&"]);
            match role {
                Role::MustNot => must_not.push(query),
                Role::Must => must.push(query),
                Role::Should if joined || next_joined || self.and => must.push(query),
                Role::Should => should.push(query),
            }
            joined = next_joined;
        }
        if joined {
            return Err(self.error("an operator without a right side"));
        }
        if must.is_empty() && should.is_empty() && must_not.is_empty() {
            return if self.depth == 1 && self.rest.is_empty() {
                Ok(Query::MatchNone)
            } else {
                Err(self.error("nothing to search for"))
            };
        }
        if must.is_empty() && must_not.is_empty() && should.len() == 1 {
            return Ok(should.remove(0));
        }
        let minimum_should_match = usize::from(must.is_empty() && !should.is_empty());
        Ok(Query::Bool {
            must,
            filter: Vec::new(),
            should,
            must_not,
            minimum_should_match,
        })
    }

    fn at_or(&self) -> bool {
        self.rest.starts_with("||")
            || self
                .rest
                .strip_prefix("OR")
                .is_some_and(|after| after.starts_with(char::is_whitespace))
    }

    fn clause(&mut self) -> Result<(Role, Query), QueryError> {
        if self.word(&["NOT", "!"]) || self.symbol('-') {
            return Ok((Role::MustNot, self.clause()?.1));
        }
        if self.symbol('+') {
            return Ok((Role::Must, self.clause()?.1));
        }
        Ok((Role::Should, self.operand()?))
    }

    fn symbol(&mut self, symbol: char) -> bool {
        match self.rest.strip_prefix(symbol) {
            Some(after) => {
                self.rest = after;
                true
            }
            None => false,
        }
    }

    fn operand(&mut self) -> Result<Query, QueryError> {
        if self.symbol('(') {
            return self.group();
        }
        if let Some((field, after)) = field_name(self.rest) {
            self.rest = after;
            if field == "_exists_" {
                let name = self.token()?;
                return Ok(Query::Exists(name.text));
            }
            let outer = std::mem::replace(&mut self.fields, vec![field]);
            let query = if self.symbol('(') { self.group() } else { self.value() };
            self.fields = outer;
            return query;
        }
        self.value()
    }

    fn group(&mut self) -> Result<Query, QueryError> {
        let query = self.alternatives()?;
        self.skip_space();
        if !self.symbol(')') {
            return Err(self.error("a bracket does not close"));
        }
        Ok(query)
    }

    fn value(&mut self) -> Result<Query, QueryError> {
        if self.symbol('"') {
            let phrase = self.quoted('"')?;
            return Ok(over(&self.fields, |field| Query::MatchPhrase(field, phrase.clone())));
        }
        if let Some(expression) = self.rest.strip_prefix('/') {
            self.rest = expression;
            let expression = self.quoted('/')?;
            if crate::evaluate::anchored(&expression).is_none() {
                return Err(self.error("a regular expression is wrong"));
            }
            return Ok(over(&self.fields, |field| Query::Regexp(field, expression.clone())));
        }
        if self.rest.starts_with(['[', '{']) {
            return self.bracket_range();
        }
        for (sign, inclusive, lower) in [
            (">=", true, true),
            ("<=", true, false),
            (">", false, true),
            ("<", false, false),
        ] {
            if let Some(after) = self.rest.strip_prefix(sign) {
                self.rest = after;
                let value = Value::from(self.token()?.text);
                let bound = Some(RangeBound {
                    value,
                    inclusive,
                    time_zone: None,
                });
                let (from, to) = if lower { (bound, None) } else { (None, bound) };
                return Ok(over(&self.fields, |field| Query::Range {
                    field,
                    from: from.clone(),
                    to: to.clone(),
                }));
            }
        }
        let token = self.token()?;
        if token.text == "*" && token.wild {
            return Ok(over(&self.fields, |field| {
                if field == "*" {
                    Query::MatchAll
                } else {
                    Query::Exists(field)
                }
            }));
        }
        let and = self.and;
        if let Some((word, fuzziness)) = token.fuzzy() {
            return Ok(over(&self.fields, |field| Query::MatchSome {
                field,
                text: word.clone(),
                minimum: Minimum::Any,
                fuzziness: Some(fuzziness),
                prefix_last: false,
            }));
        }
        Ok(over(&self.fields, |field| {
            if token.wild {
                Query::Wildcard {
                    field,
                    pattern: token.text.clone(),
                    case_insensitive: true,
                }
            } else {
                Query::Match {
                    field,
                    text: token.text.clone(),
                    all: and,
                }
            }
        }))
    }

    fn bracket_range(&mut self) -> Result<Query, QueryError> {
        let lower_inclusive = self.rest.starts_with('[');
        let end = self
            .rest
            .find([']', '}'])
            .ok_or_else(|| self.error("a range does not close"))?;
        let upper_inclusive = self.rest[end..].starts_with(']');
        let inner = &self.rest[1..end];
        let (low, high) = inner.split_once(" TO ").ok_or_else(|| self.error("a range needs TO"))?;
        self.rest = &self.rest[end + 1..];
        let bound = |text: &str, inclusive| {
            let text = text.trim().trim_matches('"');
            (text != "*").then(|| RangeBound {
                value: Value::from(text),
                inclusive,
                time_zone: None,
            })
        };
        let (from, to) = (bound(low, lower_inclusive), bound(high, upper_inclusive));
        Ok(over(&self.fields, |field| Query::Range {
            field,
            from: from.clone(),
            to: to.clone(),
        }))
    }

    fn quoted(&mut self, end: char) -> Result<String, QueryError> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => text.extend(chars.next().map(|(_, next)| next)),
                c if c == end => {
                    self.rest = &self.rest[at + c.len_utf8()..];
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        Err(self.error("quotes do not close"))
    }

    fn token(&mut self) -> Result<Token, QueryError> {
        let mut token = Token {
            text: String::new(),
            wild: false,
        };
        let mut end = self.rest.len();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => token.text.extend(chars.next().map(|(_, next)| next)),
                c if c.is_whitespace() || matches!(c, '(' | ')' | '"') => {
                    end = at;
                    break;
                }
                c => {
                    token.wild |= matches!(c, '*' | '?');
                    token.text.push(c);
                }
            }
        }
        self.rest = &self.rest[end..];
        // Weights and fuzziness: `error^2` is `error`.
        if let Some((word, weight)) = token.text.rsplit_once('^')
            && weight.parse::<f32>().is_ok()
        {
            token.text.truncate(word.len());
        }
        if token.text.is_empty() {
            Err(self.error("nothing to search for"))
        } else {
            Ok(token)
        }
    }
}

struct Token {
    text: String,
    wild: bool,
}

impl Token {
    /// `error~` and `error~1`.
    fn fuzzy(&self) -> Option<(String, Fuzziness)> {
        let (word, distance) = self
            .text
            .rsplit_once('~')
            .filter(|(word, _)| !self.wild && !word.is_empty())?;
        let distance = match distance {
            "" => None,
            number => Some(number.parse().ok().filter(|distance| *distance <= 2)?),
        };
        Some((word.to_owned(), Fuzziness { distance, prefix: 0 }))
    }
}

/// `name:` at the start, with `\` taking the meaning off the next character.
fn field_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ':' if !name.is_empty() => return Some((name, &text[at + 1..])),
            '\\' => name.extend(chars.next().map(|(_, next)| next)),
            c if c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '*') => name.push(c),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DocumentMeta, matches};
    use proptest::prelude::*;
    use serde_json::json;

    fn document() -> Value {
        json!({"message": "user log in failed", "level": "error", "host": {"name": "web-1"}, "n": 7})
    }

    fn fields() -> Vec<String> {
        vec!["*".to_owned()]
    }

    #[test]
    fn lucene_syntax() {
        let check = |text: &str, expected: bool| {
            let query = parse(text, &fields(), false).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                matches(&query, &document(), &DocumentMeta::default()),
                expected,
                "{text}: {query:?}"
            );
        };
        check("failed", true);
        check("banana", false);
        check("banana failed", true);
        check("banana AND failed", false);
        check("level:error AND host.name:web*", true);
        check("level:(info OR error)", true);
        check("level:error -failed", false);
        check("NOT level:info", true);
        check("\"log in\"", true);
        check("\"in log\"", false);
        check("n:[5 TO 9]", true);
        check("n:[5 TO 7}", false);
        check("n:>=7", true);
        check("n:<7", false);
        check("_exists_:host.name", true);
        check("_exists_:absent", false);
        check("level:/err.*/", true);
        check("level:*", true);
        check("*", true);
        check("+failed +user", true);
        check("(level:info OR level:error) AND !banana", true);
    }

    #[test]
    fn simple_syntax() {
        let check = |text: &str, expected: bool| {
            let query = parse_simple(text, &fields(), true);
            assert_eq!(
                matches(&query, &document(), &DocumentMeta::default()),
                expected,
                "{text}: {query:?}"
            );
        };
        check("user failed", true);
        check("user banana", false);
        check("banana | failed", true);
        check("failed -user", false);
        check("\"log in\"", true);
        check("fail*", true);
        check("\"open", false);
        check("", false);
    }

    #[test]
    fn mistakes_are_told() {
        for text in ["(a", "a AND", "\"a", "n:[1 2]", "level:", ")"] {
            assert!(parse(text, &fields(), false).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in ".{0,60}") {
            drop(parse(&text, &fields(), true));
            drop(parse_simple(&text, &fields(), true));
        }

        #[test]
        fn no_mix_of_operators_makes_it_panic(text in "[a-b:()\\[\\]{}\"/*? +\\-!|&<>=\\\\TO]{0,40}") {
            drop(parse(&text, &fields(), false));
            drop(parse_simple(&text, &fields(), false));
        }
    }
}
