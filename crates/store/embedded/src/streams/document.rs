//! A document's JSON text becomes what tantivy indexes, in one pass and without a tree.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use query::date_math;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use tantivy::TantivyDocument;
use tantivy::schema::document::{ReferenceValue, ReferenceValueLeaf, Value};

use super::schema::{Kind, LAYOUT, LONGEST_KEYWORD, date};

/// Fields that a document may have beyond the named ones. Source: `index.mapping.total_fields.limit`, generously.
const MOST_FIELDS: usize = 10_000;

/// Reads a document. The error says what does not fit.
pub(crate) fn parse(source: &Bytes) -> Result<TantivyDocument, String> {
    let text = std::str::from_utf8(source).map_err(|error| error.to_string())?;
    let mut builder = Builder {
        document: TantivyDocument::with_capacity(source.len() * 2),
        path: String::with_capacity(64),
        texts: Vec::new(),
        numbers: Vec::new(),
        timestamps: 0,
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    builder.document.add_text(LAYOUT.source, text);
    Node {
        builder: &mut builder,
        root: true,
    }
    .deserialize(&mut deserializer)
    .map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    builder.finish()
}

struct Builder {
    document: TantivyDocument,
    path: String,
    texts: Vec<(String, Leaf)>,
    numbers: Vec<(String, Leaf)>,
    timestamps: usize,
}

impl Builder {
    fn finish(mut self) -> Result<TantivyDocument, String> {
        match self.timestamps {
            0 => return Err("data stream timestamp field [@timestamp] is missing".to_owned()),
            1 => {}
            _ => return Err("data stream timestamp field [@timestamp] encountered multiple values".to_owned()),
        }
        if !self.texts.is_empty() {
            self.document.add_field_value(LAYOUT.texts, Flat::Object(&self.texts));
        }
        if !self.numbers.is_empty() {
            self.document
                .add_field_value(LAYOUT.numbers, Flat::Object(&self.numbers));
        }
        Ok(self.document)
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        match LAYOUT.named(&self.path) {
            Some((field, Kind::Keyword)) if text.len() <= LONGEST_KEYWORD => self.document.add_text(field, text),
            Some((field, Kind::Text)) => {
                self.document.add_text(field, text);
                self.document.add_text(LAYOUT.present, &self.path);
            }
            Some((field, Kind::Date)) => {
                let time = parse_date(text).ok_or_else(|| self.misfit("date", text))?;
                self.date(field, time);
            }
            Some((field, Kind::Long)) => {
                let number = text.trim().parse().map_err(|_| self.misfit("long", text))?;
                self.document.add_i64(field, number);
            }
            None if date_math::looks_like_date_time(text) && parse_date(text).is_some() => {
                let time = parse_date(text).unwrap_or_default();
                self.numbers
                    .push((self.path.clone(), Leaf::Date(time.as_millisecond())));
            }
            None if text.len() <= LONGEST_KEYWORD => self.texts.push((self.path.clone(), Leaf::Text(text.to_owned()))),
            // Too long for a keyword: only in `_source`.
            Some((_, Kind::Keyword)) | None => {}
        }
        self.check_count()
    }

    fn number(&mut self, number: Leaf) -> Result<(), String> {
        match LAYOUT.named(&self.path) {
            Some((field, Kind::Keyword | Kind::Text)) => self.document.add_text(field, number.to_string()),
            Some((field, Kind::Long)) => {
                let whole = number
                    .as_i64()
                    .ok_or_else(|| self.misfit("long", &number.to_string()))?;
                self.document.add_i64(field, whole);
            }
            Some((field, Kind::Date)) => {
                let millis = number
                    .as_i64()
                    .ok_or_else(|| self.misfit("date", &number.to_string()))?;
                let time = Timestamp::from_millisecond(millis).map_err(|_| self.misfit("date", &number.to_string()))?;
                self.date(field, time);
            }
            None => self.numbers.push((self.path.clone(), number)),
        }
        self.check_count()
    }

    fn flag(&mut self, flag: bool) -> Result<(), String> {
        match LAYOUT.named(&self.path) {
            Some((field, Kind::Keyword | Kind::Text)) => {
                self.document.add_text(field, if flag { "true" } else { "false" });
            }
            Some((_, Kind::Long)) => return Err(self.misfit("long", &flag.to_string())),
            Some((_, Kind::Date)) => return Err(self.misfit("date", &flag.to_string())),
            None => self.texts.push((self.path.clone(), Leaf::Flag(flag))),
        }
        self.check_count()
    }

    fn date(&mut self, field: tantivy::schema::Field, time: Timestamp) {
        if self.path == "@timestamp" {
            self.timestamps += 1;
        }
        self.document.add_date(field, date(time.as_millisecond()));
    }

    fn misfit(&self, kind: &str, text: &str) -> String {
        let shown: String = text.chars().take(100).collect();
        format!(
            "failed to parse field [{}] of type [{kind}]: it holds [{shown}]",
            self.path
        )
    }

    fn check_count(&self) -> Result<(), String> {
        if self.texts.len() + self.numbers.len() > MOST_FIELDS {
            return Err(format!("the document has more than {MOST_FIELDS} values"));
        }
        Ok(())
    }
}

fn parse_date(text: &str) -> Option<Timestamp> {
    // The usual shape first: it is many times faster than the lenient reader.
    text.parse()
        .ok()
        .or_else(|| date_math::parse(text, &TimeZone::UTC, false))
}

/// One JSON value at the builder's present path.
struct Node<'b> {
    builder: &'b mut Builder,
    root: bool,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Node<'_> {
    fn leaf<E: Error>(self, add: impl FnOnce(&mut Builder) -> Result<(), String>) -> Result<(), E> {
        if self.root {
            return Err(E::custom("a document must be a JSON object"));
        }
        add(self.builder).map_err(E::custom)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let length = self.builder.path.len();
        while map
            .next_key_seed(Key {
                path: &mut self.builder.path,
                length,
            })?
            .is_some()
        {
            map.next_value_seed(Node {
                builder: self.builder,
                root: false,
            })?;
            self.builder.path.truncate(length);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if self.root {
            return Err(A::Error::custom("a document must be a JSON object"));
        }
        while items
            .next_element_seed(Node {
                builder: self.builder,
                root: false,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.leaf(|builder| builder.text(text))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.leaf(|builder| builder.number(Leaf::Whole(number)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        let leaf = i64::try_from(number).map_or(Leaf::Fraction(number as f64), Leaf::Whole);
        self.leaf(|builder| builder.number(leaf))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.leaf(|builder| builder.number(Leaf::Fraction(number)))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        self.leaf(|builder| builder.flag(flag))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.leaf(|_| Ok(()))
    }
}

/// A key, put behind the path that leads to its object.
struct Key<'b> {
    path: &'b mut String,
    length: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        self.path.truncate(self.length);
        if self.length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        Ok(())
    }
}

/// A value outside the named fields.
#[derive(Clone, Debug)]
enum Leaf {
    Text(String),
    Flag(bool),
    Whole(i64),
    Fraction(f64),
    /// Milliseconds since 1970.
    Date(i64),
}

impl Leaf {
    fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Whole(number) => Some(*number),
            Self::Fraction(number) if number.abs() < 9e15 => Some(*number as i64),
            _ => None,
        }
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Whole(number) | Self::Date(number) => write!(f, "{number}"),
            Self::Fraction(number) => write!(f, "{number}"),
        }
    }
}

/// Full names and values as the one object that tantivy takes for a JSON field.
#[derive(Clone, Copy, Debug)]
enum Flat<'a> {
    Object(&'a [(String, Leaf)]),
    Leaf(&'a Leaf),
}

impl<'a> Value<'a> for Flat<'a> {
    type ArrayIter = std::iter::Empty<Self>;
    type ObjectIter = FlatEntries<'a>;

    fn as_value(&self) -> ReferenceValue<'a, Self> {
        match *self {
            Self::Object(entries) => ReferenceValue::Object(FlatEntries(entries.iter())),
            Self::Leaf(leaf) => ReferenceValue::Leaf(match leaf {
                Leaf::Text(text) => ReferenceValueLeaf::Str(text),
                Leaf::Flag(flag) => ReferenceValueLeaf::Bool(*flag),
                Leaf::Whole(number) => ReferenceValueLeaf::I64(*number),
                Leaf::Fraction(number) => ReferenceValueLeaf::F64(*number),
                Leaf::Date(millis) => ReferenceValueLeaf::Date(date(*millis)),
            }),
        }
    }
}

#[derive(Clone, Debug)]
struct FlatEntries<'a>(std::slice::Iter<'a, (String, Leaf)>);

impl<'a> Iterator for FlatEntries<'a> {
    type Item = (&'a str, Flat<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, leaf)| (name.as_str(), Flat::Leaf(leaf)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check_error(text: &'static str, names: &str) {
        let error = parse(&Bytes::from_static(text.as_bytes())).expect_err("it must be refused");
        assert!(error.contains(names), "{error}");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        check_error("[]", "object");
        check_error("{", "EOF");
        check_error("{}", "[@timestamp] is missing");
        check_error(r#"{"@timestamp":"yesterday"}"#, "[@timestamp] of type [date]");
        check_error(r#"{"@timestamp":["2026-01-01","2026-01-02"]}"#, "multiple values");
        check_error(
            r#"{"@timestamp":1,"log":{"offset":"x"}}"#,
            "[log.offset] of type [long]",
        );
        check_error(r#"{"@timestamp":1} x"#, "trailing");
    }

    #[test]
    fn everything_else_is_taken() {
        for text in [
            r#"{"@timestamp":"2026-01-02T03:04:05.678Z","message":"a","host":{"name":"h","ip":["1","2"]},"x":{"y":[{"z":1},{"z":2.5}]}}"#,
            r#"{"@timestamp":1767225600000,"host.name":5,"message":true,"n":null,"big":18446744073709551615,"t":"2026-01-01T00:00:00Z"}"#,
        ] {
            parse(&Bytes::from_static(text.as_bytes())).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[\\[\\]{}\":,a@.0-9 e\\-]{0,60}") {
            drop(parse(&Bytes::from(text)));
        }
    }
}
