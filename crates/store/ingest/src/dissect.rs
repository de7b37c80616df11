//! Dissect: a text cut at fixed delimiters.

/// A parsed pattern: `%{key} %{+append} %{?skipped} %{*name}=%{&name}`.
#[derive(Clone, Debug)]
pub(crate) struct Dissection {
    start: String,
    keys: Vec<Key>,
    separator: String,
}

#[derive(Clone, Debug)]
struct Key {
    name: String,
    role: Role,
    /// `->`: the delimiter may come several times.
    padded: bool,
    /// What follows it; empty for the last one.
    delimiter: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Value,
    /// With its place among the parts of the same name.
    Append(u32),
    Skip,
    NameOf,
    ValueOf,
}

impl Dissection {
    pub(crate) fn parse(pattern: &str, separator: &str) -> Result<Self, String> {
        let open = pattern.find("%{").ok_or_else(|| format!("[{pattern}] has no keys"))?;
        let (start, mut rest) = pattern.split_at(open);
        let mut keys = Vec::new();
        while let Some(inner) = rest.strip_prefix("%{") {
            let close = inner
                .find('}')
                .ok_or_else(|| format!("[{pattern}] has `%{{` without `}}`"))?;
            let after = &inner[close + 1..];
            let end = after.find("%{").unwrap_or(after.len());
            let (delimiter, next) = after.split_at(end);
            if delimiter.is_empty() && !next.is_empty() {
                return Err(format!("[{pattern}] has two keys without a delimiter between them"));
            }
            keys.push(Key::parse(&inner[..close], delimiter)?);
            rest = next;
        }
        Ok(Self {
            start: start.to_owned(),
            keys,
            separator: separator.to_owned(),
        })
    }

    /// Fields and their texts, in the pattern's order.
    pub(crate) fn apply(&self, text: &str) -> Result<Vec<(String, String)>, String> {
        let wrong = || format!("Unable to find match for dissect pattern against source: [{text}]");
        let mut rest = text.strip_prefix(self.start.as_str()).ok_or_else(wrong)?;
        let mut values = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            let end = if key.delimiter.is_empty() {
                rest.len()
            } else {
                rest.find(&key.delimiter).ok_or_else(wrong)?
            };
            values.push(&rest[..end]);
            rest = &rest[end..];
            rest = rest.strip_prefix(key.delimiter.as_str()).unwrap_or(rest);
            while key.padded && !key.delimiter.is_empty() {
                let Some(next) = rest.strip_prefix(key.delimiter.as_str()) else {
                    break;
                };
                rest = next;
            }
        }
        Ok(self.fields(&values))
    }

    fn fields(&self, values: &[&str]) -> Vec<(String, String)> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for (key, value) in self.keys.iter().zip(values) {
            match key.role {
                Role::Value if !key.name.is_empty() && !self.is_appended(&key.name) => {
                    fields.push((key.name.clone(), (*value).to_owned()));
                }
                Role::NameOf => {
                    let of = self
                        .keys
                        .iter()
                        .zip(values)
                        .find(|(other, _)| other.role == Role::ValueOf && other.name == key.name);
                    fields.extend(of.map(|(_, of)| ((*value).to_owned(), (*of).to_owned())));
                }
                _ => {}
            }
        }
        let mut appended: Vec<&str> = Vec::new();
        for key in self.keys.iter().filter(|key| matches!(key.role, Role::Append(_))) {
            if !appended.contains(&key.name.as_str()) {
                appended.push(&key.name);
                fields.push((key.name.clone(), self.joined(&key.name, values)));
            }
        }
        fields
    }

    fn is_appended(&self, name: &str) -> bool {
        self.keys
            .iter()
            .any(|key| key.name == name && matches!(key.role, Role::Append(_)))
    }

    fn joined(&self, name: &str, values: &[&str]) -> String {
        let place = |role: Role| match role {
            Role::Append(place) => Some(place),
            Role::Value => Some(0),
            _ => None,
        };
        let mut parts: Vec<_> = self
            .keys
            .iter()
            .zip(values)
            .filter(|(key, _)| key.name == name)
            .filter_map(|(key, value)| Some((place(key.role)?, *value)))
            .collect();
        parts.sort_by_key(|(place, _)| *place);
        parts
            .into_iter()
            .map(|(_, value)| value)
            .collect::<Vec<_>>()
            .join(&self.separator)
    }
}

impl Key {
    fn parse(text: &str, delimiter: &str) -> Result<Self, String> {
        let padded = text.ends_with("->");
        let text = text.strip_suffix("->").unwrap_or(text);
        let (role, name) = match text.chars().next() {
            Some('?') => (Role::Skip, &text[1..]),
            Some('*') => (Role::NameOf, &text[1..]),
            Some('&') => (Role::ValueOf, &text[1..]),
            Some('+') => match text[1..].split_once('/') {
                None => (Role::Append(0), &text[1..]),
                Some((name, place)) => {
                    let place = place
                        .parse()
                        .map_err(|_| format!("[{text}] has a place that is no number"))?;
                    (Role::Append(place), name)
                }
            },
            None => (Role::Skip, text),
            Some(_) => (Role::Value, text),
        };
        Ok(Self {
            name: name.to_owned(),
            role,
            padded,
            delimiter: delimiter.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, expected: &[(&str, &str)]) {
        let found = Dissection::parse(pattern, " ").unwrap().apply(text).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, expected, "{pattern}");
    }

    #[test]
    fn keys_of_each_kind() {
        check("%{a} - %{b}", "1 - 2 - 3", &[("a", "1"), ("b", "2 - 3")]);
        check("<%{n}>%{?x}:%{}|%{c}", "<5>skip:me|end", &[("n", "5"), ("c", "end")]);
        check("%{+t} %{m} %{+t}", "Jan x 3", &[("m", "x"), ("t", "Jan 3")]);
        check("%{+t/2} %{+t/1}", "b a", &[("t", "a b")]);
        check("%{a->} %{b}", "1    2", &[("a", "1"), ("b", "2")]);
        check("%{*k}=%{&k}", "name=value", &[("name", "value")]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Dissection::parse("no keys", "").is_err());
        assert!(Dissection::parse("%{a}%{b}", "").is_err());
        assert!(Dissection::parse("%{a", "").is_err());
        assert!(Dissection::parse("%{a}:%{b}", "").unwrap().apply("no colon").is_err());
    }
}
