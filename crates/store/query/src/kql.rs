//! KQL, the language of the console's search bar: `log.level: error and host.name: web*`.
//!
//! Source: Kibana guide, Kibana Query Language.

use serde_json::Value;

use crate::dsl::{Query, QueryError, RangeBound, ScoreMode};

const DEEPEST: usize = 30;

/// Reads a line of KQL; an empty one matches everything.
///
/// # Errors
/// When brackets or quotes do not close, or an operator has nothing to work on.
pub fn parse(text: &str) -> Result<Query, QueryError> {
    let mut parser = Parser {
        rest: text,
        depth: 0,
        within: String::new(),
    };
    if parser.skip_space().is_empty() {
        return Ok(Query::MatchAll);
    }
    let query = parser.or(None)?;
    if parser.skip_space().is_empty() {
        Ok(query)
    } else {
        Err(parser.error("unexpected text"))
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
    /// Before the names of fields inside `list: { .. }`.
    within: String,
}

struct Text {
    content: String,
    wild: bool,
    quoted: bool,
}

impl<'a> Parser<'a> {
    fn error(&self, what: &str) -> QueryError {
        let near: String = self.rest.chars().take(20).collect();
        QueryError::parsing(format!("the KQL expression cannot be read: {what} near [{near}]"))
    }

    fn skip_space(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    fn word(&mut self, word: &str) -> bool {
        self.skip_space();
        let Some(head) = self.rest.get(..word.len()) else {
            return false;
        };
        let after = &self.rest[word.len()..];
        let ends = after.is_empty() || after.starts_with(|c: char| c.is_whitespace() || c == '(');
        if head.eq_ignore_ascii_case(word) && ends {
            self.rest = after;
            return true;
        }
        false
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(symbol) {
            Some(after) => {
                self.rest = after;
                true
            }
            None => false,
        }
    }

    /// Inside `field: ( .. )` the `field` is given and operands are values.
    fn or(&mut self, field: Option<&str>) -> Result<Query, QueryError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error("too many brackets"));
        }
        let mut options = vec![self.and(field)?];
        while self.word("or") {
            options.push(self.and(field)?);
        }
        self.depth -= 1;
        Ok(if options.len() == 1 {
            options.remove(0)
        } else {
            Query::any_of(options)
        })
    }

    fn and(&mut self, field: Option<&str>) -> Result<Query, QueryError> {
        let mut all = vec![self.not(field)?];
        while self.word("and") {
            all.push(self.not(field)?);
        }
        Ok(if all.len() == 1 {
            all.remove(0)
        } else {
            Query::all_of(all)
        })
    }

    fn not(&mut self, field: Option<&str>) -> Result<Query, QueryError> {
        if self.word("not") {
            self.depth += 1;
            if self.depth > DEEPEST {
                return Err(self.error("too many `not`"));
            }
            let inner = self.not(field)?;
            self.depth -= 1;
            return Ok(Query::none_of(vec![inner]));
        }
        if self.symbol("(") {
            let query = self.or(field)?;
            return if self.symbol(")") {
                Ok(query)
            } else {
                Err(self.error("a bracket does not close"))
            };
        }
        match field {
            Some(field) => {
                let text = self.words()?;
                Ok(value_query(field, &text))
            }
            None => self.expression(),
        }
    }

    fn expression(&mut self) -> Result<Query, QueryError> {
        let start = self.rest;
        let mut first = self.one_text()?;
        first.content.insert_str(0, &self.within);
        for (sign, inclusive, lower) in [
            (">=", true, true),
            ("<=", true, false),
            (">", false, true),
            ("<", false, false),
        ] {
            if self.symbol(sign) {
                let value = Value::from(self.one_text()?.content);
                let bound = Some(RangeBound {
                    value,
                    inclusive,
                    time_zone: None,
                });
                let (from, to) = if lower { (bound, None) } else { (None, bound) };
                return Ok(Query::Range {
                    field: first.content,
                    from,
                    to,
                });
            }
        }
        if self.symbol(":") {
            if self.symbol("{") {
                return self.one_object(first.content);
            }
            if self.symbol("(") {
                let query = self.or(Some(&first.content))?;
                return if self.symbol(")") {
                    Ok(query)
                } else {
                    Err(self.error("a bracket does not close"))
                };
            }
            let text = self.words()?;
            return Ok(value_query(&first.content, &text));
        }
        self.rest = start;
        let text = self.words()?;
        Ok(value_query("*", &text))
    }

    /// `list: { a: 1 and b: 2 }`: one object of the list has both.
    fn one_object(&mut self, path: String) -> Result<Query, QueryError> {
        let around = std::mem::replace(&mut self.within, format!("{path}."));
        let query = Box::new(self.or(None)?);
        self.within = around;
        if !self.symbol("}") {
            return Err(self.error("a bracket does not close"));
        }
        Ok(Query::Nested {
            path,
            query,
            ignore_unmapped: true,
            score_mode: ScoreMode::default(),
        })
    }

    /// One quoted text, or all words up to an operator.
    fn words(&mut self) -> Result<Text, QueryError> {
        let mut all = self.one_text()?;
        while !all.quoted {
            let before = self.rest;
            if self.at_operator() {
                break;
            }
            let Ok(next) = self.one_text() else { break };
            if next.quoted || self.skip_space().starts_with([':', '<', '>']) {
                self.rest = before;
                break;
            }
            all.content.push(' ');
            all.content.push_str(&next.content);
            all.wild |= next.wild;
        }
        Ok(all)
    }

    fn at_operator(&mut self) -> bool {
        let before = self.rest;
        let found = self.skip_space().is_empty()
            || self.rest.starts_with([')', '(', '{', '}'])
            || self.word("and")
            || self.word("or")
            || self.word("not");
        self.rest = before;
        found
    }

    fn one_text(&mut self) -> Result<Text, QueryError> {
        let quoted = self.symbol("\"");
        let mut found = Text {
            content: String::new(),
            wild: false,
            quoted,
        };
        let mut end = self.rest.len();
        let mut chars = self.rest.char_indices();
        let mut closed = !quoted;
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => found.content.extend(chars.next().map(|(_, next)| next)),
                '"' if quoted => {
                    closed = true;
                    end = at + 1;
                    break;
                }
                c if quoted => found.content.push(c),
                c if c.is_whitespace() || matches!(c, '(' | ')' | '{' | '}' | ':' | '<' | '>' | '"') => {
                    end = at;
                    break;
                }
                c => {
                    found.wild |= c == '*';
                    found.content.push(c);
                }
            }
        }
        if !closed {
            return Err(self.error("quotes do not close"));
        }
        if found.content.is_empty() && !quoted {
            return Err(self.error("nothing to search for"));
        }
        self.rest = &self.rest[end..];
        Ok(found)
    }
}

fn value_query(field: &str, text: &Text) -> Query {
    let field = field.to_owned();
    if text.quoted {
        return Query::MatchPhrase(field, text.content.clone());
    }
    if text.content == "*" {
        return if field == "*" {
            Query::MatchAll
        } else {
            Query::Exists(field)
        };
    }
    if text.wild {
        return Query::Wildcard {
            field,
            pattern: text.content.clone(),
            case_insensitive: false,
        };
    }
    Query::Match {
        field,
        text: text.content.clone(),
        all: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DocumentMeta, matches};
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn expressions() {
        let document = json!({
            "message": "user log in failed", "log": {"level": "error"}, "host": {"name": "web-1"}, "n": 7,
            "url": "http://a:80/", "units": [{"id": "a", "ok": true}, {"id": "b", "ok": false, "in": [{"x": 1}]}]
        });
        let check = |text: &str, expected: bool| {
            let query = parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                matches(&query, &document, &DocumentMeta::default()),
                expected,
                "{text}: {query:?}"
            );
        };
        check("", true);
        check("log.level:error and host.name:web*", true);
        check("log.level: error AND NOT host.name: db*", true);
        check("log.level:(info or error)", true);
        check("log.level:(info or (not error))", false);
        check("not log.level:error", false);
        check("failed", true);
        check("message: \"log in\"", true);
        check("message: \"in log\"", false);
        check("n >= 7", true);
        check("n < 7", false);
        check("host.name:*", true);
        check("absent:*", false);
        check("url: \"http://a:80/\"", true);
        check("log.level:info or n > 3 and n < 9", true);
        check("message: failed log", true);
        check("units: {id: a and ok: true}", true);
        check("units: { id: a and ok: false } or n: 8", false);
        check("units: {in: {x: 1} and not ok: true}", true);
    }

    #[test]
    fn mistakes_are_told() {
        for text in [
            "a:", "(a", "a and", "a: \"x", "a:(b", "a: {b: 1", "a: {}", "a}", "or", ":b", "a >",
        ] {
            assert!(parse(text).is_err() || text == "or", "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in ".{0,60}") {
            drop(parse(&text));
        }

        #[test]
        fn no_mix_of_operators_makes_it_panic(text in "[a-b:(){}\"* <>=\\\\nodrt]{0,40}") {
            drop(parse(&text));
        }
    }
}
