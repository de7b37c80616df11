//! The command line: one or two dashes, a value after `=` or as the next word, unambiguous abbreviations.
//!
//! These are the habits of the option parser that the original is built on, which no Rust parser shares; the rules are
//! few enough to be ours.

use crate::failure::{Failure, usage};

/// What the tool is to make.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    Ca,
    Cert,
    Csr,
    Http,
}

impl Mode {
    pub(crate) const ALL: [(Self, &'static str); 4] = [
        (Self::Csr, "csr"),
        (Self::Cert, "cert"),
        (Self::Ca, "ca"),
        (Self::Http, "http"),
    ];

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(mode, _)| *mode)
    }
}

/// Whether a flag has a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Arity {
    Switch,
    Required(&'static str),
    /// The next word is the value unless it begins with a dash.
    Optional(&'static str),
}

/// One flag, declared once.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) arity: Arity,
    pub(crate) modes: &'static [Mode],
    pub(crate) repeatable: bool,
    /// Cannot stand together with these.
    excludes: &'static [&'static str],
    pub(crate) help: &'static str,
}

const fn flag(name: &'static str, arity: Arity, modes: &'static [Mode], help: &'static str) -> Flag {
    Flag {
        name,
        short: None,
        arity,
        modes,
        repeatable: false,
        excludes: &[],
        help,
    }
}

impl Flag {
    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    const fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    const fn excludes(mut self, others: &'static [&'static str]) -> Self {
        self.excludes = others;
        self
    }
}

const EVERY: &[Mode] = &[Mode::Ca, Mode::Cert, Mode::Csr, Mode::Http];
const MAKERS: &[Mode] = &[Mode::Ca, Mode::Cert, Mode::Csr];
const SIGNERS: &[Mode] = &[Mode::Ca, Mode::Cert];
const INSTANCES: &[Mode] = &[Mode::Cert, Mode::Csr];
const CERT: &[Mode] = &[Mode::Cert];

/// Every flag. Source: elasticsearch-certutil 9.5; `key-type`, `key-format` and `chain` are ours.
pub(crate) const FLAGS: &[Flag] = &[
    flag(
        "ca",
        Arity::Required("file"),
        CERT,
        "the CA that signs: PKCS#12, or PEM with certificate and key",
    )
    .excludes(&["ca-cert", "ca-key", "self-signed", "ca-dn"]),
    flag(
        "ca-cert",
        Arity::Required("file"),
        CERT,
        "the certificate of the CA that signs",
    )
    .excludes(&["self-signed", "ca-dn"]),
    flag("ca-key", Arity::Required("file"), CERT, "the key of the CA that signs"),
    flag(
        "ca-pass",
        Arity::Optional("password"),
        CERT,
        "the password of the CA's file or key; without a value it is asked for",
    ),
    flag(
        "ca-dn",
        Arity::Required("name"),
        SIGNERS,
        "the distinguished name of a new CA",
    ),
    flag(
        "chain",
        Arity::Switch,
        CERT,
        "put the CA's certificates behind each certificate",
    ),
    flag(
        "days",
        Arity::Required("number"),
        SIGNERS,
        "how long the certificates are valid (1095)",
    ),
    flag(
        "dns",
        Arity::Required("names"),
        INSTANCES,
        "host names of the instance, separated by commas",
    )
    .repeatable(),
    flag(
        "in",
        Arity::Required("file"),
        INSTANCES,
        "a YAML file that lists the instances",
    ),
    flag(
        "ip",
        Arity::Required("addresses"),
        INSTANCES,
        "addresses of the instance, separated by commas",
    )
    .repeatable(),
    flag("keep-ca-key", Arity::Switch, CERT, ""),
    flag(
        "key-format",
        Arity::Required("format"),
        MAKERS,
        "how PEM keys are written: traditional (default) or pkcs8",
    ),
    flag(
        "key-type",
        Arity::Required("type"),
        MAKERS,
        "rsa (default), ecdsa or ed25519",
    ),
    flag(
        "keysize",
        Arity::Required("bits"),
        MAKERS,
        "size of RSA keys, 1024 to 8192 (2048); 2048, 3072, 4096 and 8192 are made quickest",
    ),
    flag(
        "keyusage",
        Arity::Required("usages"),
        &[Mode::Ca],
        "key usage of the CA, separated by commas (keyCertSign,cRLSign)",
    ),
    flag("multiple", Arity::Switch, INSTANCES, "ask for several instances").excludes(&["name", "dns", "ip"]),
    flag(
        "name",
        Arity::Required("name"),
        INSTANCES,
        "name of the instance: common name and file name (instance)",
    ),
    flag("out", Arity::Required("file"), MAKERS, "the file to write"),
    flag(
        "pass",
        Arity::Optional("password"),
        MAKERS,
        "protects keys and PKCS#12 files; without a value it is asked for",
    ),
    flag(
        "pem",
        Arity::Switch,
        SIGNERS,
        "write PEM files into a zip instead of PKCS#12",
    ),
    flag("self-signed", Arity::Switch, CERT, "make certificates without a CA"),
    flag("E", Arity::Required("key=value"), EVERY, "ignored")
        .short('E')
        .repeatable(),
    flag("help", Arity::Switch, EVERY, "show this help").short('h'),
    flag("silent", Arity::Switch, EVERY, "say only what matters").short('s'),
    flag("verbose", Arity::Switch, EVERY, "say more").short('v'),
];

/// What the words of the command line ask for.
#[derive(Debug)]
pub(crate) enum Invocation {
    Help(Option<Mode>),
    Run(Mode, Options),
}

/// The flags that were given, each with its value.
#[derive(Debug, Default)]
pub(crate) struct Options {
    given: Vec<(&'static str, Option<String>)>,
}

impl Options {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == name)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.given
            .iter()
            .find(|(given, _)| *given == name)
            .and_then(|(_, value)| value.as_deref())
    }

    /// The parts of a comma list that may be given several times.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let given = self.given.iter().filter(|(given, _)| *given == name);
        given
            .filter_map(|(_, value)| value.as_deref())
            .flat_map(split_list)
            .collect()
    }

    pub(crate) fn number(&self, name: &str, default: u32) -> Result<u32, Failure> {
        let Some(text) = self.value(name) else {
            return Ok(default);
        };
        // The original reads signed numbers and finds what is below one later.
        match text.parse::<i64>() {
            Ok(number) => Ok(number.clamp(0, i64::from(u32::MAX)) as u32),
            Err(_) => Err(usage(format!("`{text}` is not a number, but `--{name}` needs one"))),
        }
    }
}

/// The parts of a comma list, without blanks and empty parts.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

/// Reads the command line.
pub(crate) fn read(words: &[String]) -> Result<Invocation, Failure> {
    let (mode, rest) = split_at_mode(words)?;
    let options = read_options(mode, &rest)?;
    if options.has("help") {
        return Ok(Invocation::Help(mode));
    }
    let Some(mode) = mode else {
        return Err(usage("no mode is given").with_hint("use one of ca, cert, csr, http; see `--help`"));
    };
    check_combinations(&options)?;
    Ok(Invocation::Run(mode, options))
}

/// The first word that is no flag is the mode; the flags before it are common ones.
fn split_at_mode(words: &[String]) -> Result<(Option<Mode>, Vec<String>), Failure> {
    let mut skip_value = false;
    for (position, word) in words.iter().enumerate() {
        if std::mem::take(&mut skip_value) {
            continue;
        }
        if word.starts_with('-') {
            skip_value = word == "-E" || word == "--E";
            continue;
        }
        let Some(mode) = Mode::from_name(word) else {
            return Err(usage(format!("`{word}` is not a mode")).with_hint("use one of ca, cert, csr, http"));
        };
        return Ok((Some(mode), [&words[..position], &words[position + 1..]].concat()));
    }
    Ok((None, words.to_vec()))
}

fn read_options(mode: Option<Mode>, words: &[String]) -> Result<Options, Failure> {
    let mut options = Options::default();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        // The original takes further words without a dash and does nothing with them.
        let Some(name) = word
            .strip_prefix("--")
            .or_else(|| word.strip_prefix('-'))
            .filter(|name| !name.is_empty())
        else {
            continue;
        };
        let (name, attached) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let flag = find(mode, name)?;
        if !flag.repeatable && flag.arity != Arity::Switch && options.has(flag.name) {
            return Err(usage(format!("`--{}` is given more than once", flag.name)));
        }
        let value = match (flag.arity, attached) {
            (Arity::Switch, Some(_)) => return Err(usage(format!("`--{}` takes no value", flag.name))),
            (Arity::Switch, None) => None,
            (Arity::Required(_), Some(value)) => Some(value),
            (Arity::Required(what), None) => match words.next() {
                Some(value) => Some(value.clone()),
                None => return Err(usage(format!("`--{}` needs a value: {what}", flag.name))),
            },
            // As in the original an empty attached value counts as none: the password is asked for.
            (Arity::Optional(_), Some(value)) => Some(value).filter(|value| !value.is_empty()),
            (Arity::Optional(_), None) => words.next_if(|next| !next.starts_with('-')).cloned(),
        };
        options.given.push((flag.name, value));
    }
    Ok(options)
}

fn find(mode: Option<Mode>, name: &str) -> Result<&'static Flag, Failure> {
    let known = || {
        FLAGS
            .iter()
            .filter(|flag| mode.map_or(flag.modes == EVERY, |mode| flag.modes.contains(&mode)))
    };
    let is_short = |flag: &&Flag| flag.short.is_some_and(|short| name.chars().eq([short]));
    if let Some(exact) = known().find(|flag| flag.name == name || is_short(flag)) {
        return Ok(exact);
    }
    let candidates: Vec<_> = known().filter(|flag| flag.name.starts_with(name)).collect();
    match candidates[..] {
        [only] => Ok(only),
        [] => Err(usage(format!("`{name}` is not a flag of this mode")).with_hint("see `--help`")),
        _ => {
            let names = candidates
                .iter()
                .map(|flag| format!("--{}", flag.name))
                .collect::<Vec<_>>()
                .join(", ");
            Err(usage(format!("`{name}` may mean {names}")))
        }
    }
}

fn check_combinations(options: &Options) -> Result<(), Failure> {
    if options.has("keep-ca-key") {
        return Err(usage("`--keep-ca-key` does not exist any more")
            .with_hint("make a CA first with `ca`, then name it with `--ca` or `--ca-cert` and `--ca-key`"));
    }
    for flag in FLAGS.iter().filter(|flag| options.has(flag.name)) {
        if let Some(other) = flag.excludes.iter().find(|other| options.has(other)) {
            return Err(usage(format!(
                "`--{}` cannot stand together with `--{other}`",
                flag.name
            )));
        }
    }
    for (half, other) in [("ca-cert", "ca-key"), ("ca-key", "ca-cert")] {
        if options.has(half) && !options.has(other) {
            return Err(usage(format!("`--{half}` needs `--{other}`")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(ToOwned::to_owned).collect()
    }

    #[track_caller]
    fn check(line: &str, expected: &[(&str, Option<&str>)]) {
        let Ok(Invocation::Run(_, options)) = read(&words(line)) else {
            panic!("{line} is refused")
        };
        let given: Vec<_> = options
            .given
            .iter()
            .map(|(name, value)| (*name, value.as_deref()))
            .collect();
        assert_eq!(given, expected, "{line}");
    }

    #[test]
    fn the_ways_to_write_a_flag() {
        check("ca --pem --out x.zip", &[("pem", None), ("out", Some("x.zip"))]);
        check("ca -pem -out=x.zip", &[("pem", None), ("out", Some("x.zip"))]);
        check("-s ca --pe", &[("silent", None), ("pem", None)]);
        check(
            "cert --self --pass --dns a,b --dns c",
            &[
                ("self-signed", None),
                ("pass", None),
                ("dns", Some("a,b")),
                ("dns", Some("c")),
            ],
        );
        check(
            "cert --self-signed --pass secret",
            &[("self-signed", None), ("pass", Some("secret"))],
        );
        check("ca --pass=", &[("pass", None)]);
        check("-E a=b ca -E c=d", &[("E", Some("a=b")), ("E", Some("c=d"))]);
        check("ca ignored --pem -- --nonsense", &[("pem", None)]);
    }

    #[track_caller]
    fn refused(line: &str, part: &str) {
        let failure = read(&words(line)).unwrap_err();
        assert_eq!(failure.status(), crate::ExitStatus::USAGE, "{line}");
        assert!(failure.message().contains(part), "{line}: {failure}");
    }

    #[test]
    fn wrong_command_lines() {
        refused("", "no mode");
        refused("frob", "`frob`");
        refused("ca --frob", "`frob`");
        refused("csr --ca x", "not a flag of this mode");
        refused("ca --out", "needs a value");
        refused("ca --pem=yes", "takes no value");
        refused("ca --out a --out b", "more than once");
        refused("cert --ca a --self-signed", "cannot stand together");
        refused("cert --ca-cert a", "needs `--ca-key`");
        refused("cert --ca-key a", "needs `--ca-cert`");
        refused("cert --multiple --name a", "cannot stand together");
        refused("cert --keep-ca-key", "does not exist any more");
        refused("ca --key a", "may mean");
    }

    #[test]
    fn help_wins() {
        assert!(matches!(
            read(&words("cert --help --ca-cert x")),
            Ok(Invocation::Help(Some(Mode::Cert)))
        ));
        assert!(matches!(read(&words("-h")), Ok(Invocation::Help(None))));
    }
}
