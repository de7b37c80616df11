//! Grok: named regular expressions put together. The names are the usual ones; the expressions are our own.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};
use serde_json::{Value, json};

/// Patterns in patterns; deeper is a circle.
const DEEPEST: usize = 32;
/// Compiled size of one pattern, bytes.
const LARGEST: usize = 8 * 1024 * 1024;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    /// Group number, field, type.
    captures: Vec<Capture>,
}

#[derive(Clone, Debug)]
struct Capture {
    group: String,
    field: String,
    to: Type,
}

/// Which names the fields of whole log lines get: `ecs_compatibility`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Naming {
    /// Those of old, as the original has them by default.
    Old,
    /// Those of the Elastic Common Schema.
    Common,
}

#[derive(Clone, Copy, Debug)]
enum Type {
    Text,
    Whole,
    Fraction,
    Boolean,
}

impl Pattern {
    /// Compiles `text`; `definitions` come before the built-in patterns.
    pub(crate) fn compile(text: &str, definitions: &HashMap<String, String>, naming: Naming) -> Result<Self, String> {
        let mut captures = Vec::new();
        let expanded = expand(text, (definitions, naming), &mut captures, 0)?;
        let regex = RegexBuilder::new(&expanded).size_limit(LARGEST).build();
        let regex = regex.map_err(|error| format!("[{text}] is not a supported expression: {error}"))?;
        // Groups that the pattern itself names: (?<field>..).
        let own = regex.capture_names().flatten().filter(|name| !name.starts_with(GROUP));
        let own: Vec<_> = own
            .map(|name| Capture {
                group: name.to_owned(),
                field: name.to_owned(),
                to: Type::Text,
            })
            .collect();
        captures.extend(own);
        Ok(Self { regex, captures })
    }

    /// Fields and values, when it matches anywhere in `text`.
    pub(crate) fn matched(&self, text: &str) -> Option<Vec<(String, Value)>> {
        let found = self.regex.captures(text)?;
        let mut fields: Vec<(String, Value)> = Vec::new();
        for capture in &self.captures {
            let Some(value) = found.name(&capture.group) else {
                continue;
            };
            let value = capture.to.convert(value.as_str());
            match fields.iter_mut().find(|(field, _)| *field == capture.field) {
                None => fields.push((capture.field.clone(), value)),
                Some((_, Value::Array(list))) => list.push(value),
                Some((_, present)) => *present = Value::Array(vec![present.take(), value]),
            }
        }
        Some(fields)
    }
}

impl Type {
    fn convert(self, text: &str) -> Value {
        let converted = match self {
            Self::Text => None,
            Self::Whole => text.parse::<i64>().ok().map(|number| json!(number)),
            Self::Fraction => text
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
                .map(|number| json!(number)),
            Self::Boolean => text.parse::<bool>().ok().map(Value::Bool),
        };
        converted.unwrap_or_else(|| Value::String(text.to_owned()))
    }
}

const GROUP: &str = "grok_";

/// Replaces each `%{NAME:field:type}` by its expression.
fn expand(
    text: &str,
    known: (&HashMap<String, String>, Naming),
    captures: &mut Vec<Capture>,
    depth: usize,
) -> Result<String, String> {
    if depth > DEEPEST {
        return Err(format!("circular reference in pattern [{text}]"));
    }
    let mut expanded = String::with_capacity(text.len() * 4);
    let mut rest = text;
    while let Some(open) = rest.find("%{") {
        expanded.push_str(&rest[..open]);
        let inner = &rest[open + 2..];
        let close = inner
            .find('}')
            .ok_or_else(|| format!("[{text}] has `%{{` without `}}`"))?;
        let mut parts = inner[..close].splitn(3, ':');
        let name = parts.next().unwrap_or_default();
        let definition = known
            .0
            .get(name)
            .map(String::as_str)
            .or_else(|| old(name).filter(|_| known.1 == Naming::Old))
            .or_else(|| builtin(name))
            .ok_or_else(|| format!("Unable to find pattern [{name}] in Grok's pattern dictionary"))?;
        let inner_text = |captures: &mut Vec<Capture>| expand(definition, known, captures, depth + 1);
        match parts.next().filter(|field| !field.is_empty()) {
            None => expanded.extend(["(?:", &inner_text(captures)?, ")"]),
            Some(field) => {
                let to = match parts.next() {
                    None | Some("string") => Type::Text,
                    Some("int" | "long") => Type::Whole,
                    Some("float" | "double") => Type::Fraction,
                    Some("boolean") => Type::Boolean,
                    Some(other) => return Err(format!("[{other}] is not a type that grok converts to")),
                };
                let group = format!("{GROUP}{}", captures.len());
                captures.push(Capture {
                    group: group.clone(),
                    field: field.to_owned(),
                    to,
                });
                expanded.extend(["(?P<", &group, ">", &inner_text(captures)?, ")"]);
            }
        }
        rest = &inner[close + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The dictionary.
/// Whole log lines with the field names of old.
fn old(name: &str) -> Option<&'static str> {
    Some(match name {
        "SYSLOGPROG" => r"%{PROG:program}(?:\[%{POSINT:pid}\])?",
        "SYSLOGFACILITY" => r"<%{NONNEGINT:facility}\.%{NONNEGINT:priority}>",
        "SYSLOGBASE" => r"%{SYSLOGTIMESTAMP:timestamp} (?:%{SYSLOGFACILITY} )?%{SYSLOGHOST:logsource} %{SYSLOGPROG}:",
        "SYSLOGLINE" => {
            r"(?:%{SYSLOGTIMESTAMP:timestamp}|%{TIMESTAMP_ISO8601:timestamp8601}) (?:%{SYSLOGFACILITY} )?%{SYSLOGHOST:logsource}(?: %{SYSLOGPROG}:)? %{GREEDYDATA:message}"
        }
        "COMMONAPACHELOG" | "HTTPD_COMMONLOG" => {
            r#"%{IPORHOST:clientip} %{DATA:ident} %{DATA:auth} \[%{HTTPDATE:timestamp}\] "(?:%{WORD:verb} %{NOTSPACE:request}(?: HTTP/%{NUMBER:httpversion})?|%{DATA:rawrequest})" %{NUMBER:response} (?:%{NUMBER:bytes}|-)"#
        }
        "COMBINEDAPACHELOG" | "HTTPD_COMBINEDLOG" => r"%{COMMONAPACHELOG} %{QS:referrer} %{QS:agent}",
        _ => return None,
    })
}

fn builtin(name: &str) -> Option<&'static str> {
    Some(match name {
        // Words and numbers.
        "WORD" => r"\b\w+\b",
        "NOTSPACE" => r"\S+",
        "SPACE" => r"\s*",
        "DATA" => r".*?",
        "GREEDYDATA" => r".*",
        "GREEDYMULTILINE" => r"(?s:.*)",
        "INT" => r"[+-]?[0-9]+",
        "BASE10NUM" | "NUMBER" => r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)",
        "BASE16NUM" => r"[+-]?(?:0x)?[0-9A-Fa-f]+",
        "BASE16FLOAT" => r"[+-]?(?:0x)?[0-9A-Fa-f]+(?:\.[0-9A-Fa-f]*)?",
        "POSINT" => r"\b[1-9][0-9]*\b",
        "NONNEGINT" => r"\b[0-9]+\b",
        "BOOL" | "BOOLEAN" => r"(?i:true|false)",
        "QUOTEDSTRING" | "QS" => r#""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`"#,
        "UUID" => r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}",
        "URN" => r"urn:[0-9A-Za-z][0-9A-Za-z-]{0,31}:[0-9a-zA-Z()+,.:=@;$_!*'/?#-]+",
        // Names.
        "USERNAME" | "USER" => r"[A-Za-z0-9._-]+",
        "EMAILLOCALPART" => r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}",
        "EMAILADDRESS" => r"%{EMAILLOCALPART}@%{HOSTNAME}",
        "HTTPDUSER" => r"%{EMAILADDRESS}|%{USER}",
        // Networks.
        "MAC" => r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}",
        "IPV4" => r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])",
        "IPV6" => {
            r"(?:[0-9A-Fa-f]{1,4}:){6}%{IPV4}|(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}|(?:[0-9A-Fa-f]{1,4}:){1,6}(?::[0-9A-Fa-f]{1,4}){1,6}(?:%[0-9A-Za-z]+)?|(?:[0-9A-Fa-f]{1,4}:){1,7}:(?:%[0-9A-Za-z]+)?|::(?:[Ff]{4}:)?%{IPV4}|:(?::[0-9A-Fa-f]{1,4}){1,7}|::"
        }
        "IP" => r"%{IPV6}|%{IPV4}",
        "HOSTNAME" => r"\b[0-9A-Za-z_][0-9A-Za-z_-]{0,62}(?:\.[0-9A-Za-z_][0-9A-Za-z_-]{0,62})*\.?",
        "IPORHOST" | "SYSLOGHOST" => r"%{IP}|%{HOSTNAME}",
        "HOSTPORT" => r"%{IPORHOST}:%{POSINT}",
        // Paths and addresses.
        "UNIXPATH" => r"(?:/[\w%!$@:.,+~=-]*)+",
        "TTY" => r"/dev/(?:pts|tty[a-z]*)(?:/?[0-9]+)?",
        "WINPATH" => r"(?:[A-Za-z]:|\\)(?:\\[^\\?*]*)+",
        "PATH" => r"%{UNIXPATH}|%{WINPATH}",
        "URIPROTO" => r"[A-Za-z][A-Za-z0-9+.-]*",
        "URIHOST" => r"%{IPORHOST}(?::%{POSINT})?",
        "URIPATH" => r"(?:/[A-Za-z0-9$.+!*'(){},~:;=@#%&_-]*)+",
        "URIQUERY" => r"[A-Za-z0-9$.+!*'|(){},~@#%&/=:;_?\[\]<>-]*",
        "URIPARAM" => r"\?%{URIQUERY}",
        "URIPATHPARAM" => r"%{URIPATH}(?:%{URIPARAM})?",
        "URI" => r"%{URIPROTO}://(?:%{USER}(?::[^@]*)?@)?(?:%{URIHOST})?(?:%{URIPATHPARAM})?",
        // Dates and times.
        "MONTH" => {
            r"\b(?:[Jj]an(?:uary)?|[Ff]eb(?:ruary)?|[Mm]ar(?:ch)?|[Aa]pr(?:il)?|[Mm]ay|[Jj]une?|[Jj]uly?|[Aa]ug(?:ust)?|[Ss]ep(?:tember)?|[Oo]ct(?:ober)?|[Nn]ov(?:ember)?|[Dd]ec(?:ember)?)\b"
        }
        "MONTHNUM" => r"0?[1-9]|1[0-2]",
        "MONTHNUM2" => r"0[1-9]|1[0-2]",
        "MONTHDAY" => r"3[01]|[12][0-9]|0?[1-9]",
        "DAY" => r"\b(?:Mon(?:day)?|Tue(?:sday)?|Wed(?:nesday)?|Thu(?:rsday)?|Fri(?:day)?|Sat(?:urday)?|Sun(?:day)?)\b",
        "YEAR" => r"[0-9]{4}|[0-9]{2}",
        "HOUR" => r"2[0-3]|[01]?[0-9]",
        "MINUTE" => r"[0-5][0-9]",
        "SECOND" => r"(?:[0-5]?[0-9]|60)(?:[:.,][0-9]+)?",
        "TIME" => r"%{HOUR}:%{MINUTE}(?::%{SECOND})",
        "DATE_US" => r"%{MONTHNUM}[/-]%{MONTHDAY}[/-]%{YEAR}",
        "DATE_EU" => r"%{MONTHDAY}[./-]%{MONTHNUM}[./-]%{YEAR}",
        "DATE" => r"%{DATE_US}|%{DATE_EU}",
        "DATESTAMP" => r"(?:%{DATE})[- ]%{TIME}",
        "TZ" => r"[A-Z]{3,4}",
        "ISO8601_TIMEZONE" => r"Z|[+-]%{HOUR}(?::?%{MINUTE})",
        "ISO8601_SECOND" => r"%{SECOND}",
        "TIMESTAMP_ISO8601" => {
            r"%{YEAR}-%{MONTHNUM}-%{MONTHDAY}[T ]%{HOUR}:?%{MINUTE}(?::?%{SECOND})?(?:%{ISO8601_TIMEZONE})?"
        }
        "DATESTAMP_RFC822" => r"%{DAY} %{MONTH} %{MONTHDAY} %{YEAR} %{TIME} %{TZ}",
        "DATESTAMP_RFC2822" => r"%{DAY}, %{MONTHDAY} %{MONTH} %{YEAR} %{TIME} %{ISO8601_TIMEZONE}",
        "DATESTAMP_OTHER" => r"%{DAY} %{MONTH} %{MONTHDAY} %{TIME} %{TZ} %{YEAR}",
        "HTTPDATE" => r"%{MONTHDAY}/%{MONTH}/%{YEAR}:%{TIME} %{INT}",
        "SYSLOGTIMESTAMP" => r"%{MONTH} +%{MONTHDAY} %{TIME}",
        // Logs.
        "PROG" => r"[\x21-\x5a\x5c\x5e-\x7e]+",
        "SYSLOGPROG" => r"%{PROG:process.name}(?:\[%{POSINT:process.pid:int}\])?",
        "SYSLOGFACILITY" => r"<%{NONNEGINT:log.syslog.facility.code:int}\.%{NONNEGINT:log.syslog.priority:int}>",
        "SYSLOGLINE" => {
            r"(?:%{SYSLOGTIMESTAMP:timestamp}|%{TIMESTAMP_ISO8601:timestamp}) (?:%{SYSLOGFACILITY} )?%{SYSLOGHOST:host.hostname}(?: %{SYSLOGPROG}:)? %{GREEDYDATA:message}"
        }
        "SYSLOGBASE" => {
            r"%{SYSLOGTIMESTAMP:timestamp} (?:%{SYSLOGFACILITY} )?%{SYSLOGHOST:host.hostname} %{SYSLOGPROG}:"
        }
        "LOGLEVEL" => {
            r"(?i:alert|trace|debug|notice|info(?:rmation)?|warn(?:ing)?|err(?:or)?|crit(?:ical)?|fatal|severe|emerg(?:ency)?)"
        }
        "COMMONAPACHELOG" | "HTTPD_COMMONLOG" => {
            r#"%{IPORHOST:source.address} (?:-|%{HTTPDUSER:apache.access.user.identity}) (?:-|%{HTTPDUSER:user.name}) \[%{HTTPDATE:timestamp}\] "(?:%{WORD:http.request.method} %{NOTSPACE:url.original}(?: HTTP/%{NUMBER:http.version})?|%{DATA})" (?:-|%{INT:http.response.status_code:int}) (?:-|%{INT:http.response.body.bytes:int})"#
        }
        "COMBINEDAPACHELOG" | "HTTPD_COMBINEDLOG" => {
            r#"%{COMMONAPACHELOG} "(?:-|%{DATA:http.request.referrer})" "(?:-|%{DATA:user_agent.original})""#
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, text: &str) -> Option<Value> {
        let pattern = Pattern::compile(pattern, &HashMap::new(), Naming::Common).unwrap();
        let fields = pattern.matched(text)?;
        Some(Value::Object(fields.into_iter().collect()))
    }

    #[test]
    fn every_builtin_pattern_compiles() {
        let source = include_str!("grok.rs");
        let dictionary = &source[source.find("fn builtin(").unwrap()..source.find("#[cfg(test)]").unwrap()];
        let names: Vec<_> = dictionary
            .split('"')
            .filter(|text| {
                text.len() > 1
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
                    && builtin(text).is_some()
            })
            .collect();
        assert!(names.len() > 60, "{names:?}");
        for (name, naming) in names
            .iter()
            .flat_map(|name| [(name, Naming::Old), (name, Naming::Common)])
        {
            Pattern::compile(&format!("%{{{name}}}"), &HashMap::new(), naming)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn lines_have_the_names_of_old_unless_told_otherwise() {
        let line = "Oct 11 22:14:15 host su[230]: 'su root' failed";
        let pattern = Pattern::compile("%{SYSLOGLINE}", &HashMap::new(), Naming::Old).unwrap();
        let fields: serde_json::Map<String, Value> = pattern.matched(line).unwrap().into_iter().collect();
        let expected = json!({
            "timestamp": "Oct 11 22:14:15", "logsource": "host", "program": "su", "pid": "230", "message": "'su root' failed",
        });
        assert_eq!(Value::Object(fields), expected);
    }

    #[test]
    fn a_line_becomes_fields() {
        assert_eq!(
            found(
                "%{IPORHOST:source.ip} %{WORD:verb} %{NUMBER:took:float} %{INT:n:int}",
                "10.0.0.1 GET 0.5 12"
            ),
            Some(json!({"source.ip": "10.0.0.1", "verb": "GET", "took": 0.5, "n": 12}))
        );
        assert_eq!(found("%{INT:n}", "no digits"), None);
        assert_eq!(found("(?<who>[a-z]+)@", "me@x"), Some(json!({"who": "me"})));
        let apache = r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326"#;
        let fields = found("%{COMMONAPACHELOG}", apache).unwrap();
        assert_eq!(
            (&fields["user.name"], &fields["http.response.status_code"]),
            (&json!("frank"), &json!(200))
        );
    }

    #[test]
    fn addresses_of_both_kinds_are_found() {
        for address in [
            "10.1.2.3",
            "::1",
            "fe80::1",
            "2001:db8:85a3::8a2e:370:7334",
            "1:2:3:4:5:6:7:8",
        ] {
            assert_eq!(found("^%{IP:a}$", address), Some(json!({ "a": address })), "{address}");
        }
        assert_eq!(found("^%{IP:a}$", "300.1.1.1"), None);
    }

    #[test]
    fn circles_and_unknown_names_are_refused() {
        let definitions = HashMap::from([("A".to_owned(), "%{B}".to_owned()), ("B".to_owned(), "%{A}".to_owned())]);
        assert!(
            Pattern::compile("%{A}", &definitions, Naming::Old)
                .unwrap_err()
                .contains("circular")
        );
        assert!(
            Pattern::compile("%{NOPE}", &HashMap::new(), Naming::Old)
                .unwrap_err()
                .contains("[NOPE]")
        );
    }
}
