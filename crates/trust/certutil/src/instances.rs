//! What certificates are made for: from flags, from questions, or from a YAML file.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::net::IpAddr;

use pki::DistinguishedName;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::arguments::{Options, split_list};
use crate::failure::{ExitStatus, Failure, config, usage, with_causes};
use crate::terminal::Terminal;

/// The most that is read of an instances file.
const MAX_FILE_BYTES: u64 = 32 << 20;

/// One instance, checked.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// As it was given; in PKCS#12 it is the alias.
    pub(crate) name: String,
    pub(crate) dn: DistinguishedName,
    /// The name of its folder and files.
    pub(crate) file: String,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) dns: Vec<String>,
    pub(crate) common_names: Vec<String>,
}

/// What is wrong with one instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InstanceError {
    /// Its name, or its place when it has none.
    pub instance: String,
    /// Each problem in a sentence.
    pub problems: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a group with the key `instances`")]
struct InstancesFile {
    instances: Vec<Draft>,
}

/// One instance as it was written, not yet checked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an instance with `name` and other fields")]
struct Draft {
    name: Option<String>,
    filename: Option<String>,
    #[serde(default)]
    ip: Texts,
    #[serde(default)]
    dns: Texts,
    #[serde(default)]
    cn: Texts,
}

/// A text or a list of texts.
#[derive(Clone, Debug, Default)]
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts (words such as `yes` and numbers need quotes)")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}

impl Draft {
    fn check(self) -> Result<Instance, Vec<String>> {
        let mut problems = Vec::new();
        let name = self.name.unwrap_or_default();
        let dn = check_name(&name).map_err(|problem| problems.push(problem));
        let file = self.filename.unwrap_or_else(|| name.clone());
        if !is_file_name(&file) {
            problems.push(format!("`{file}` cannot be the name of a folder; set `filename`"));
        }
        let mut ips = Vec::new();
        for ip in self.ip.0 {
            match ip.trim().parse() {
                Ok(ip) => ips.push(ip),
                Err(_) => problems.push(format!("`{ip}` is not an IP address")),
            }
        }
        let dns = self.dns.0;
        for name in dns.iter().filter(|name| name.is_empty() || !name.is_ascii()) {
            problems.push(format!(
                "`{name}` is not an ASCII host name; write it in its `xn--` form"
            ));
        }
        match dn {
            Ok(dn) if problems.is_empty() => Ok(Instance {
                name,
                dn,
                file,
                ips,
                dns,
                common_names: self.cn.0,
            }),
            _ => Err(problems),
        }
    }
}

fn check_name(name: &str) -> Result<DistinguishedName, String> {
    if name.is_empty() {
        return Err("`name` is missing".to_owned());
    }
    if name == "ca" {
        return Err("`ca` is the name of the CA; choose another".to_owned());
    }
    DistinguishedName::from_name(name).map_err(|error| format!("`{name}` is not a distinguished name: {error}"))
}

/// Whether a text can be the name of a folder in an archive and of a file on every system.
pub(crate) fn is_file_name(name: &str) -> bool {
    const SPECIAL: &str = "!@#$%^&{}[]()_+-=,.~'` ";
    !name.is_empty()
        && name.len() <= 251
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || SPECIAL.contains(c))
}

/// The instances that the command line asks for, at least one.
pub(crate) fn collect(options: &Options, terminal: &mut dyn Terminal) -> Result<Vec<Instance>, Failure> {
    if let Some(path) = options.value("in") {
        from_file(path, terminal)
    } else if options.has("multiple") {
        ask_for_several(terminal)
    } else {
        from_flags(options, terminal).map(|instance| vec![instance])
    }
}

fn from_file(path: &str, terminal: &mut dyn Terminal) -> Result<Vec<Instance>, Failure> {
    let bytes = read_bounded(path).map_err(|error| Failure::new(ExitStatus::IO, with_causes(&error)))?;
    let text = String::from_utf8(bytes).map_err(|_| config(format!("`{path}` is not UTF-8 text, so it is no YAML")))?;
    parse_file(path, &text).map_err(|errors| {
        print_errors(&errors, terminal);
        config(format!("`{path}` cannot be used; nothing was written"))
    })
}

fn read_bounded(path: &str) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = fs_err::File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!("`{path}` is larger than 32 MiB")));
    }
    Ok(bytes)
}

fn print_errors(errors: &[InstanceError], terminal: &mut dyn Terminal) {
    for error in errors {
        terminal.error(&format!("{}:", error.instance));
        for problem in &error.problems {
            terminal.error(&format!("  {problem}"));
        }
    }
}

/// Checks the text of an instances file and says how many instances it holds. `name` is what errors call the file.
///
/// # Errors
/// Every instance with problems, or the file itself when it cannot be read at all.
pub fn check_instances_file(name: &str, text: &str) -> Result<usize, Vec<InstanceError>> {
    parse_file(name, text).map(|instances| instances.len())
}

fn parse_file(name: &str, text: &str) -> Result<Vec<Instance>, Vec<InstanceError>> {
    let whole = |problem: String| {
        vec![InstanceError {
            instance: name.to_owned(),
            problems: vec![problem],
        }]
    };
    let file: InstancesFile = settings::typed_from_yaml(name, text).map_err(|error| whole(with_causes(&error)))?;
    if file.instances.is_empty() {
        return Err(whole("it lists no instance".to_owned()));
    }
    let mut files = BTreeSet::new();
    let (mut instances, mut errors) = (Vec::new(), Vec::new());
    for (position, draft) in file.instances.into_iter().enumerate() {
        let place = draft
            .name
            .clone()
            .unwrap_or_else(|| format!("instance {}", position + 1));
        match draft.check() {
            Ok(instance) if files.insert(instance.file.clone()) => instances.push(instance),
            Ok(instance) => {
                let problem = format!("another instance has the file name `{}` already", instance.file);
                errors.push(InstanceError {
                    instance: place,
                    problems: vec![problem],
                });
            }
            Err(problems) => errors.push(InstanceError {
                instance: place,
                problems,
            }),
        }
    }
    if errors.is_empty() { Ok(instances) } else { Err(errors) }
}

fn from_flags(options: &Options, terminal: &mut dyn Terminal) -> Result<Instance, Failure> {
    let name = options.value("name").unwrap_or("instance").to_owned();
    let mut filename: Option<String> = None;
    while !is_file_name(filename.as_deref().unwrap_or(&name)) {
        let question = format!("Name for the folder and files of `{name}`: ");
        let Some(answer) = terminal.ask(&question) else {
            return Err(config(format!("`{name}` cannot be the name of a file"))
                .with_hint("list the instance in a file for `--in`, with a `filename`"));
        };
        filename = Some(answer);
    }
    let (ip, dns) = (Texts(options.list("ip")), Texts(options.list("dns")));
    let draft = Draft {
        name: Some(name.clone()),
        filename,
        ip,
        dns,
        cn: Texts::default(),
    };
    draft.check().map_err(|problems| {
        print_errors(
            &[InstanceError {
                instance: name.clone(),
                problems,
            }],
            terminal,
        );
        config(format!("`{name}` cannot be used; nothing was written"))
    })
}

fn ask_for_several(terminal: &mut dyn Terminal) -> Result<Vec<Instance>, Failure> {
    let mut instances: Vec<Instance> = Vec::new();
    while let Some(draft) = ask_for_one(terminal) {
        let name = draft.name.clone().unwrap_or_default();
        match draft.check() {
            Ok(instance) => {
                instances.retain(|former| former.name != instance.name);
                instances.push(instance);
            }
            Err(problems) => {
                print_errors(
                    &[InstanceError {
                        instance: name,
                        problems,
                    }],
                    terminal,
                );
                terminal.error("this instance is left out");
            }
        }
        if terminal.ask("Another instance? [y/N] ").as_deref() != Some("y") {
            break;
        }
    }
    if instances.is_empty() {
        return Err(usage("no instance was given"));
    }
    Ok(instances)
}

/// `None` at the end of the input.
fn ask_for_one(terminal: &mut dyn Terminal) -> Option<Draft> {
    let name = loop {
        let name = terminal.ask("Instance name: ")?;
        if !name.is_empty() {
            break name;
        }
        terminal.error("an instance needs a name");
    };
    let default = if is_file_name(&name) {
        name.clone()
    } else {
        String::new()
    };
    let filename = loop {
        let answer = terminal.ask(&format!("Name for the folder and files of {name} [{default}]: "))?;
        let filename = if answer.is_empty() { default.clone() } else { answer };
        if is_file_name(&filename) {
            break filename;
        }
        terminal.error(&format!("`{filename}` cannot be the name of a folder"));
    };
    let ip = terminal
        .ask("IP addresses, separated by commas []: ")
        .unwrap_or_default();
    let dns = terminal.ask("Host names, separated by commas []: ").unwrap_or_default();
    Some(Draft {
        name: Some(name),
        filename: Some(filename),
        ip: Texts(split_list(&ip)),
        dns: Texts(split_list(&dns)),
        cn: Texts::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<usize, &[&str]>) {
        let found = check_instances_file("instances.yml", text);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(errors), Err(parts)) => {
                let problems: Vec<_> = errors.iter().flat_map(|error| error.problems.clone()).collect();
                assert_eq!(problems.len(), parts.len(), "{problems:?}");
                for (problem, part) in problems.iter().zip(parts) {
                    assert!(problem.contains(part), "`{part}` is missing in `{problem}`");
                }
            }
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn files_that_are_good() {
        check(
            "instances:\n  - name: fleet-1\n    dns: [a.test, b.test]\n    ip: [\"10.0.0.5\"]\n",
            Ok(1),
        );
        check(
            "instances: [{name: a, ip: \"::1\", dns: a.test, cn: x}, {name: \"CN=b,O=c\", filename: b}]",
            Ok(2),
        );
        check("{\"instances\": [{\"name\": \"a\"}]}", Ok(1));
    }

    #[test]
    fn every_problem_of_every_instance_is_told() {
        check(
            "instances:\n - name: a\n   ip: [x, z]\n - name: ca\n - filename: z\n",
            Err(&[
                "`x` is not an IP",
                "`z` is not an IP",
                "`ca` is the name of the CA",
                "`name` is missing",
            ]),
        );
        check("instances: [{name: \"a/b\"}]", Err(&["cannot be the name of a folder"]));
        check(
            "instances: [{name: \"XX=b\", filename: b}]",
            Err(&["not a known attribute"]),
        );
        check(
            "instances: [{name: a, dns: \"mü.test\"}]",
            Err(&["not an ASCII host name"]),
        );
        check(
            "instances: [{name: a}, {name: b, filename: a}]",
            Err(&["another instance"]),
        );
        check("instances: [{name: a, foo: 1}]", Err(&["foo"]));
        check("instances: [{name: a, dns: yes}]", Err(&["need quotes"]));
        check("instances: []", Err(&["no instance"]));
        check("", Err(&["instances"]));
        check("instances: {", Err(&["instances.yml"]));
    }

    #[test]
    fn file_names() {
        for good in ["a", "a b", "[x]", "a.b", "x~'`"] {
            assert!(is_file_name(good), "{good}");
        }
        for bad in ["", ".a", "a/b", "a\\b", "a:b", "a*", "ä", "\"", &"a".repeat(252)] {
            assert!(!is_file_name(bad), "{bad}");
        }
    }
}
