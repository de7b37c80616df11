//! The questions of the dialogue. Each repeats until its answer is good; the end of the input takes the default.

use std::fmt;
use std::net::IpAddr;

use camino::Utf8PathBuf;
use certs::{Content, IdentityNames, LoadError, PemSource, load_identity, recognize};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use pki::{Authority, DistinguishedName, KeyUsage};
use secret::Secret;

use crate::arguments::split_list;
use crate::failure::{ExitStatus, Failure, usage};
use crate::instances::is_file_name;
use crate::passwords::{self, Protects};
use crate::terminal::Terminal;

pub(super) use crate::passwords::confirm;

/// What follows is about something else.
pub(super) fn heading(terminal: &mut dyn Terminal, text: &str) {
    terminal.error(&format!("\n## {text}\n"));
}

pub(super) fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// A question with a default, asked again while `parse` refuses the answer.
pub(super) fn ask_or<T>(
    terminal: &mut dyn Terminal,
    what: &str,
    default: &T,
    parse: impl Fn(&str) -> Result<T, String>,
) -> T
where
    T: Clone + fmt::Display,
{
    loop {
        let answer = terminal.ask(&format!("{what} [{default}]: ")).unwrap_or_default();
        if answer.trim().is_empty() {
            return default.clone();
        }
        match parse(answer.trim()) {
            Ok(value) => return value,
            Err(problem) => terminal.error(&problem),
        }
    }
}

pub(super) fn file_name(text: &str) -> Result<String, String> {
    if is_file_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` cannot be the name of a file"))
    }
}

pub(super) fn distinguished_name(
    terminal: &mut dyn Terminal,
    what: &str,
    default: &DistinguishedName,
) -> DistinguishedName {
    ask_or(terminal, what, default, |text| {
        DistinguishedName::parse(text).map_err(|error| format!("`{text}` is not a distinguished name: {error}"))
    })
}

pub(super) fn key_size(terminal: &mut dyn Terminal, default: u32) -> u32 {
    ask_or(terminal, "Key size", &default, |text| match text.parse() {
        Ok(bits @ 1024..=8192) if bits % 1024 == 0 => Ok(bits),
        _ => Err(format!(
            "`{text}` is not possible; give 1024, 2048, 3072 and so on up to 8192"
        )),
    })
}

pub(super) fn names(usages: &[KeyUsage]) -> String {
    let name = |usage: &KeyUsage| {
        KeyUsage::ALL
            .iter()
            .find(|(known, _)| known == usage)
            .map_or("", |(_, name)| *name)
    };
    usages.iter().map(name).collect::<Vec<_>>().join(",")
}

pub(super) fn key_usages(terminal: &mut dyn Terminal, default: &[KeyUsage]) -> Vec<KeyUsage> {
    let answer = ask_or(terminal, "Key usage", &names(default), |text| {
        match split_list(text).iter().find(|name| KeyUsage::from_name(name).is_none()) {
            Some(unknown) => {
                let known = KeyUsage::ALL.map(|(_, name)| name).join(", ");
                Err(format!("`{unknown}` is not a key usage; use some of {known}"))
            }
            None => Ok(text.to_owned()),
        }
    });
    split_list(&answer)
        .iter()
        .filter_map(|name| KeyUsage::from_name(name))
        .collect()
}

pub(super) fn node_name(terminal: &mut dyn Terminal, number: usize) -> Result<String, Failure> {
    heading(terminal, &format!("What is the name of node {number}?"));
    loop {
        let Some(name) = terminal.ask(&format!("Name of node {number}: ")) else {
            return Err(usage("the input ended before the last node had a name"));
        };
        match file_name(name.trim()) {
            Ok(name) => return Ok(name),
            Err(problem) => terminal.error(&problem),
        }
    }
}

pub(super) fn host_names(terminal: &mut dyn Terminal) -> Vec<String> {
    list(terminal, "host names", |text| {
        let good = text.is_ascii() && !text.contains(char::is_whitespace);
        if good {
            Ok(text.to_owned())
        } else {
            Err(format!("`{text}` is not an ASCII host name"))
        }
    })
}

pub(super) fn addresses(terminal: &mut dyn Terminal) -> Vec<IpAddr> {
    list(terminal, "IP addresses", |text| {
        text.parse().map_err(|_| format!("`{text}` is not an IP address"))
    })
}

/// Lines up to an empty one, shown and confirmed.
fn list<T: fmt::Display>(terminal: &mut dyn Terminal, what: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
    loop {
        let mut items = Vec::new();
        while let Some(line) = terminal.ask("").filter(|line| !line.trim().is_empty()) {
            match parse(line.trim()) {
                Ok(item) => items.push(item),
                Err(problem) => terminal.error(&problem),
            }
        }
        if items.is_empty() {
            terminal.error(&format!("No {what}."));
        } else {
            let lines: Vec<_> = items.iter().map(|item| format!("  {item}")).collect();
            terminal.error(&format!("The {what}:\n{}", lines.join("\n")));
        }
        if confirm(terminal, "Is this right?", true) {
            return items;
        }
    }
}

/// A new password, typed twice unless it is blank.
pub(super) fn new_password(terminal: &mut dyn Terminal, what: &str, protects: Protects) -> Result<Secret, Failure> {
    loop {
        let Some(password) = terminal.ask_hidden(&format!("Password for {what} [empty for none]: ")) else {
            return Ok(Secret::from(""));
        };
        if password.is_empty() {
            return Ok(password);
        }
        if let Err(failure) = passwords::check(&password, protects).and_then(|()| ascii(&password)) {
            terminal.error(failure.message());
            continue;
        }
        if passwords::is_long(&password) {
            terminal.error(&passwords::long_warning());
            if !confirm(terminal, "Use it all the same?", true) {
                continue;
            }
        }
        match terminal.ask_hidden("The password once more: ") {
            Some(again) if again == password => return Ok(password),
            Some(_) => terminal.error("the two are not the same"),
            None => return Err(usage("the input ended before the password was confirmed")),
        }
    }
}

fn ascii(password: &Secret) -> Result<(), Failure> {
    if password.expose().is_ascii() {
        Ok(())
    } else {
        Err(usage("the password must be plain ASCII"))
    }
}

/// The CA in a file, its key in the same or another.
pub(super) fn existing_authority(terminal: &mut dyn Terminal) -> Result<Authority, Failure> {
    heading(terminal, "Where is the CA? PKCS#12, or PEM with certificate or key.");
    let first = file(terminal, "CA file: ")?;
    let names = IdentityNames {
        certificate: "CA file",
        key: "CA key file",
        passphrase: "the password",
    };
    let kind = Kind::of(&first)?;
    let (certificate, key) = match kind {
        Kind::Bundle | Kind::Both => (first.clone(), first),
        Kind::Certificate => {
            heading(terminal, "Where is the key of the CA?");
            (first, file(terminal, "CA key file: ")?)
        }
        Kind::Key => {
            heading(terminal, "Where is the certificate of the CA?");
            (file(terminal, "CA certificate file: ")?, first)
        }
    };
    let (certificate, key_source) = (PemSource::Path(certificate), PemSource::Path(key.clone()));
    let load = |password: Option<&Secret>| load_identity(&certificate, Some(&key_source), password, names);
    let mut ask = || {
        terminal
            .ask_hidden(&format!("Password for {key}: "))
            .unwrap_or_else(|| Secret::from(""))
    };
    let identity = if kind == Kind::Bundle {
        load(Some(&ask()))?
    } else {
        match load(None) {
            Err(LoadError::KeyNeedsPassphrase { .. }) => load(Some(&ask()))?,
            other => other?,
        }
    };
    Ok(Authority::from_identity(identity)?)
}

/// Asks for a file until there is one.
fn file(terminal: &mut dyn Terminal, question: &str) -> Result<Utf8PathBuf, Failure> {
    loop {
        let Some(answer) = terminal.ask(question) else {
            return Err(usage("the input ended before the CA was named"));
        };
        let path = Utf8PathBuf::from(answer.trim());
        if path.is_file() {
            return Ok(path);
        }
        terminal.error(&format!("`{path}` is not a file"));
    }
}

/// What a CA file holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Bundle,
    Certificate,
    Key,
    /// A certificate and its key, PEM.
    Both,
}

impl Kind {
    fn of(path: &Utf8PathBuf) -> Result<Self, Failure> {
        let data = |message: String| Failure::new(ExitStatus::DATA, message);
        let bytes = PemSource::Path(path.clone()).read("CA file")?;
        let (certificates, keys) = match recognize(&bytes) {
            Content::Pkcs12(_) => return Ok(Self::Bundle),
            Content::Certificate(_) => (1, 0),
            Content::Key(_) | Content::EncryptedKey(_) => (0, 1),
            Content::Pem(blocks) => {
                let certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE").count();
                (
                    certificates,
                    blocks.iter().filter(|block| block.is_private_key()).count(),
                )
            }
            Content::Other(found) => return Err(data(format!("`{path}` cannot be used as a CA: {found}"))),
        };
        match (certificates, keys) {
            (1, 0) => Ok(Self::Certificate),
            (0, 1) => Ok(Self::Key),
            (1, 1) => Ok(Self::Both),
            _ => Err(data(format!(
                "`{path}` holds {certificates} certificates and {keys} keys, but a CA has one of each"
            ))),
        }
    }
}

/// A time span in one unit, as `3Y`, `18M` or `90D`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Period {
    Years(u16),
    Months(u16),
    Days(u16),
}

impl Period {
    pub(super) const FIVE_YEARS: Self = Self::Years(5);

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a time span; give for example 3Y, 18M or 90D");
        let unit = text.chars().last().ok_or_else(wrong)?;
        let number = text[..text.len() - unit.len_utf8()]
            .trim()
            .parse()
            .map_err(|_| wrong())?;
        if !(1..=9_999).contains(&number) {
            return Err(wrong());
        }
        match unit.to_ascii_uppercase() {
            'Y' if number <= 1_000 => Ok(Self::Years(number)),
            'M' => Ok(Self::Months(number)),
            'D' => Ok(Self::Days(number)),
            _ => Err(wrong()),
        }
    }

    /// Asks, and asks again whether it is meant when it is shorter than `short` days.
    pub(super) fn ask(terminal: &mut dyn Terminal, what: &str, default: Self, short: u32) -> Self {
        loop {
            let period = ask_or(terminal, what, &default, Self::parse);
            let question = format!("{period} is short. Is it meant?");
            if period.days_from(Timestamp::now()) >= short || confirm(terminal, &question, false) {
                return period;
            }
            // The end of the input would ask for ever.
            if period == default {
                return period;
            }
        }
    }

    /// Days from a moment to the same time of day after this period.
    pub(super) fn days_from(self, start: Timestamp) -> u32 {
        let span = match self {
            Self::Years(years) => Span::new().years(i64::from(years)),
            Self::Months(months) => Span::new().months(i64::from(months)),
            Self::Days(days) => return u32::from(days),
        };
        let start = start.to_zoned(TimeZone::UTC);
        let end = start.checked_add(span).unwrap_or_else(|_| start.clone());
        u32::try_from(end.timestamp().duration_since(start.timestamp()).as_hours() / 24).unwrap_or_default()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Years(number) => write!(f, "{number}Y"),
            Self::Months(number) => write!(f, "{number}M"),
            Self::Days(number) => write!(f, "{number}D"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods() {
        let start: Timestamp = "2026-01-31T10:00:00Z".parse().unwrap();
        let check = |text: &str, days: Option<u32>| {
            assert_eq!(
                Period::parse(text).ok().map(|period| period.days_from(start)),
                days,
                "{text}"
            );
        };
        check("5y", Some(1826));
        check("18M", Some(546));
        check("90 D", Some(90));
        for wrong in ["", "5", "y", "0D", "-1D", "5w", "1.5Y", "99999D", "5000Y", "é"] {
            check(wrong, None);
        }
    }
}
