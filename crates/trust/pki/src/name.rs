//! Distinguished names: from the text form of RFC 2253 to DER.

use std::fmt;

use certs::der;

/// What is wrong with the text of a distinguished name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// A part without `=`.
    #[error("`{0}` has no `=`; a comma in a value is written `\\,`")]
    NoEqualsSign(String),
    /// An attribute that nobody knows.
    #[error("`{0}` is not a known attribute")]
    UnknownAttribute(String),
    /// A value that is empty, cut short or wrongly escaped.
    #[error("the value of `{0}` is empty or wrongly escaped")]
    Value(String),
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
}

/// A distinguished name, ready to be written into a certificate.
#[derive(Clone, Eq, PartialEq)]
pub struct DistinguishedName {
    /// In the order of the text, which is the reverse of the order in DER.
    parts: Vec<Vec<Attribute>>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Attribute {
    keyword: String,
    value: Value,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Value {
    Text(String),
    /// DER that was given as `#hex`.
    Encoded(Vec<u8>),
}

/// Keywords and their object identifiers. Source: RFC 2253, RFC 4519, and what Java accepts beyond them.
const ATTRIBUTES: [(&str, &str); 20] = [
    ("CN", "2.5.4.3"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("S", "2.5.4.8"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("T", "2.5.4.12"),
    ("TITLE", "2.5.4.12"),
    ("STREET", "2.5.4.9"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("SERIALNUMBER", "2.5.4.5"),
    ("SURNAME", "2.5.4.4"),
    ("GIVENNAME", "2.5.4.42"),
    ("INITIALS", "2.5.4.43"),
    ("GENERATION", "2.5.4.44"),
    ("DNQUALIFIER", "2.5.4.46"),
    ("DNQ", "2.5.4.46"),
    ("EMAILADDRESS", "1.2.840.113549.1.9.1"),
];

impl DistinguishedName {
    /// `CN=<name>`.
    pub fn common_name(name: &str) -> Self {
        let attribute = Attribute {
            keyword: "CN".to_owned(),
            value: Value::Text(name.to_owned()),
        };
        Self {
            parts: vec![vec![attribute]],
        }
    }

    /// The rule of certutil: a text with `=` is a distinguished name, any other a common name.
    pub fn from_name(name: &str) -> Result<Self, NameError> {
        if name.contains('=') {
            Self::parse(name)
        } else {
            Ok(Self::common_name(name))
        }
    }

    /// `CN=<first label>` and one `DC` for each further label of a host name.
    pub fn from_host(host: &str) -> Self {
        let text = |keyword: &str, value: &str| {
            vec![Attribute {
                keyword: keyword.to_owned(),
                value: Value::Text(value.to_owned()),
            }]
        };
        let mut labels = host.split('.').filter(|label| !label.is_empty());
        let first = text("CN", labels.next().unwrap_or(host));
        Self {
            parts: std::iter::once(first)
                .chain(labels.map(|label| text("DC", label)))
                .collect(),
        }
    }

    /// Parses the text form: `CN=agents,OU=edge,O=Example`, with `+` for several attributes of one part, `\` and quotes
    /// for special characters, `#` and hex for DER.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.trim().is_empty() {
            return Err(NameError::Empty);
        }
        let parts = split(text, &[',', ';']).into_iter().map(|part| {
            split(part, &['+'])
                .into_iter()
                .map(Attribute::parse)
                .collect::<Result<Vec<_>, _>>()
        });
        Ok(Self {
            parts: parts.collect::<Result<_, _>>()?,
        })
    }

    /// The first common name.
    pub fn first_common_name(&self) -> Option<&str> {
        self.parts
            .iter()
            .flatten()
            .find(|attribute| attribute.keyword == "CN")
            .and_then(|attribute| match &attribute.value {
                Value::Text(text) => Some(text.as_str()),
                Value::Encoded(_) => None,
            })
    }

    /// The DER of the Name, last part of the text first.
    pub fn to_der(&self) -> Vec<u8> {
        let parts: Vec<Vec<u8>> = self
            .parts
            .iter()
            .rev()
            .map(|part| der::set_of(part.iter().map(Attribute::to_der).collect()))
            .collect();
        der::element(der::SEQUENCE, &parts.concat())
    }
}

/// The text form.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: &Vec<Attribute>| part.iter().map(ToString::to_string).collect::<Vec<_>>().join("+");
        f.write_str(&self.parts.iter().map(part).collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DistinguishedName({self})")
    }
}

impl Attribute {
    fn parse(text: &str) -> Result<Self, NameError> {
        let Some((keyword, value)) = text.split_once('=') else {
            return Err(NameError::NoEqualsSign(text.trim().to_owned()));
        };
        let keyword = keyword.trim().to_ascii_uppercase();
        let keyword = keyword.strip_prefix("OID.").unwrap_or(&keyword).to_owned();
        if object_identifier(&keyword).is_none() {
            return Err(NameError::UnknownAttribute(keyword));
        }
        match parse_value(value.trim()) {
            Some(value) => Ok(Self { keyword, value }),
            None => Err(NameError::Value(keyword)),
        }
    }

    fn to_der(&self) -> Vec<u8> {
        const UTF8_STRING: u8 = 0x0c;
        const PRINTABLE_STRING: u8 = 0x13;
        const IA5_STRING: u8 = 0x16;
        let identifier = object_identifier(&self.keyword).expect("checked when it was parsed");
        let value = match &self.value {
            Value::Encoded(der) => der.clone(),
            Value::Text(text) if matches!(self.keyword.as_str(), "DC" | "EMAILADDRESS") && text.is_ascii() => {
                der::element(IA5_STRING, text.as_bytes())
            }
            Value::Text(text) if text.chars().all(is_printable) => der::element(PRINTABLE_STRING, text.as_bytes()),
            Value::Text(text) => der::element(UTF8_STRING, text.as_bytes()),
        };
        der::sequence(&[&identifier, &value])
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.keyword)?;
        match &self.value {
            Value::Text(text) => f.write_str(&escape(text)),
            Value::Encoded(der) => {
                f.write_str("#")?;
                der.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
            }
        }
    }
}

fn escape(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut escaped = String::with_capacity(text.len());
    for (position, c) in text.chars().enumerate() {
        let at_an_end = position == 0 || position == last;
        if c.is_control() || (at_an_end && c.is_whitespace()) {
            // Whoever reads it drops white space at the ends, so it is written as hex.
            for octet in c.encode_utf8(&mut [0; 4]).bytes() {
                escaped.push('\\');
                escaped.push_str(&hex_digits(octet));
            }
            continue;
        }
        if (c == '#' && position == 0) || matches!(c, ',' | ';' | '+' | '"' | '\\' | '<' | '>' | '=') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn hex_digits(octet: u8) -> String {
    format!("{octet:02x}")
}

fn object_identifier(keyword: &str) -> Option<Vec<u8>> {
    let known = ATTRIBUTES
        .iter()
        .find(|(name, _)| *name == keyword)
        .map(|(_, dotted)| *dotted);
    der::object_identifier(known.unwrap_or(keyword))
}

fn is_printable(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(
            c,
            ' ' | '\'' | '(' | ')' | '+' | ',' | '-' | '.' | '/' | ':' | '=' | '?'
        )
}

/// Splits at separators that are neither quoted nor escaped.
fn split<'a>(text: &'a str, separators: &[char]) -> Vec<&'a str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (position, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        } else if !quoted && separators.contains(&c) {
            parts.push(&text[start..position]);
            start = position + c.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_value(text: &str) -> Option<Value> {
    if let Some(hex) = text.strip_prefix('#') {
        let encoded = decode_hex(hex)?;
        let whole = der::Reader::new(&encoded)
            .any()
            .is_some_and(|element| element.whole.len() == encoded.len());
        return whole.then_some(Value::Encoded(encoded));
    }
    let text = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => text,
    };
    let unescaped = unescape(text)?;
    (!unescaped.is_empty()).then_some(Value::Text(unescaped))
}

fn unescape(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            octets.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let next = rest.next()?;
        if let Some(high) = next.to_digit(16) {
            octets.push((high * 16 + rest.next()?.to_digit(16)?) as u8);
        } else {
            octets.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    String::from_utf8(octets).ok()
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| !digits.is_empty() && digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, NameError>) {
        assert_eq!(
            DistinguishedName::parse(text).map(|name| name.to_string()),
            expected.map(ToOwned::to_owned)
        );
    }

    #[test]
    fn texts_that_are_names() {
        check("CN=agents,OU=edge,O=Example", Ok("CN=agents,OU=edge,O=Example"));
        check(" cn = a ; o = \"b, c\" ", Ok("CN=a,O=b\\, c"));
        check("CN=a\\,b+OU=c", Ok("CN=a\\,b+OU=c"));
        check("CN=J\\c3\\bcrgen", Ok("CN=Jürgen"));
        check("2.5.4.3=x,OID.2.5.4.10=y", Ok("2.5.4.3=x,2.5.4.10=y"));
        check("CN=#0c0161", Ok("CN=#0c0161"));
        check("DC=a,DC=b", Ok("DC=a,DC=b"));
        check("CN=\\ a\\20", Ok("CN=\\20a\\20"));
        check("CN=\\20a\\20", Ok("CN=\\20a\\20"));
        check("CN=\\09x\\0ay\\e2\\80\\83", Ok("CN=\\09x\\0ay\\e2\\80\\83"));
        check("CN=\\#x#", Ok("CN=\\#x#"));
    }

    #[test]
    fn texts_that_are_not() {
        check("", Err(NameError::Empty));
        check("CN=a, inc", Err(NameError::NoEqualsSign("inc".to_owned())));
        check("XX=a", Err(NameError::UnknownAttribute("XX".to_owned())));
        check("CN=", Err(NameError::Value("CN".to_owned())));
        check("CN=a\\", Err(NameError::Value("CN".to_owned())));
        check("CN=\"a", Err(NameError::Value("CN".to_owned())));
        check("CN=#0c02", Err(NameError::Value("CN".to_owned())));
        check("CN=a,", Err(NameError::NoEqualsSign(String::new())));
    }

    #[test]
    fn the_last_part_is_written_first_and_strings_have_their_types() {
        let der = DistinguishedName::parse("CN=a_b,DC=x,O=y").unwrap().to_der();
        let position = |needle: &[u8]| der.windows(needle.len()).position(|window| window == needle).unwrap();
        let (printable, ia5, utf8) = (
            position(&[0x13, 1, b'y']),
            position(&[0x16, 1, b'x']),
            position(b"\x0c\x03a_b"),
        );
        assert!(printable < ia5 && ia5 < utf8);
    }

    #[test]
    fn host_names_become_domain_components() {
        assert_eq!(
            DistinguishedName::from_host("fleet.lab.example").to_string(),
            "CN=fleet,DC=lab,DC=example"
        );
        assert_eq!(DistinguishedName::from_host("fleet").to_string(), "CN=fleet");
    }
}
