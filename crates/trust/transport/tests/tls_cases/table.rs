//! The page of cases, read: certificates, files, cases with their expected outcome.

use serde_json::Value;

/// A row of any table: its cells, without the bars.
pub(crate) fn rows<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let section = page
        .split_once(heading)
        .unwrap_or_else(|| panic!("no section {heading}"))
        .1;
    let section = section.split("\n#").next().unwrap_or(section);
    let lines = section.lines().filter(|line| line.starts_with("| "));
    lines.skip(1).map(cells).collect()
}

fn cells(line: &str) -> Vec<&str> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(str::trim).collect()
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Client,
    Server,
    LoadClient,
    LoadServer,
    Mutual,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) host: String,
    /// File names, in the order they are sent.
    pub(crate) peer_sends: Vec<String>,
    pub(crate) peer_limits: Vec<(String, String)>,
    /// The block under test; of a mutual case the client's.
    pub(crate) block: String,
    /// Of a mutual case.
    pub(crate) server_block: Option<String>,
    pub(crate) expected: Expected,
}

/// What counts as right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Expected {
    pub(crate) ok: bool,
    /// Stage and classes of a failure that counts.
    pub(crate) failure: Option<(String, Vec<String>)>,
    /// Any failure counts.
    pub(crate) any_failure: bool,
}

/// What was found: `None` for success, else stage and class.
pub(crate) type Outcome = Option<(String, String)>;

impl Expected {
    pub(crate) fn allows(&self, outcome: &Outcome) -> bool {
        match outcome {
            None => self.ok,
            Some(_) if self.any_failure => true,
            Some((stage, class)) => self
                .failure
                .as_ref()
                .is_some_and(|(wanted, classes)| wanted == stage && classes.contains(class)),
        }
    }

    fn parse(result: &str, ours: &str) -> Self {
        let measured = Self::parse_result(result);
        let (word, _) = ours.split_once([':', ' ']).unwrap_or((ours, ""));
        match word {
            "" | "match" => measured,
            "accept" => Self {
                ok: true,
                failure: None,
                any_failure: false,
            },
            "may_accept" => Self { ok: true, ..measured },
            "may_reject" => Self {
                any_failure: true,
                ..measured
            },
            "reject_at_load" | "reject_at_handshake" => {
                let stage = word.trim_start_matches("reject_at_");
                let classes = ours.split_once('[').unwrap().1.split_once(']').unwrap().0;
                let classes = classes.split(',').map(|class| class.trim().to_owned()).collect();
                Self {
                    ok: false,
                    failure: Some((stage.to_owned(), classes)),
                    any_failure: false,
                }
            }
            other => panic!("unknown word in the column ours: {other}"),
        }
    }

    fn parse_result(result: &str) -> Self {
        let Some(failure) = result.strip_prefix("fail at ") else {
            assert!(result.starts_with("ok"), "{result}");
            return Self {
                ok: true,
                failure: None,
                any_failure: false,
            };
        };
        let (stage, rest) = failure.split_once(": ").unwrap();
        let classes = rest.split(" (alert").next().unwrap_or(rest).replace(", also ", ", ");
        let classes = classes.split(", ").map(|class| class.trim().to_owned()).collect();
        Self {
            ok: false,
            failure: Some((stage.to_owned(), classes)),
            any_failure: false,
        }
    }
}

/// All cases of the page.
pub(crate) fn cases(page: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let (_, sections) = page.split_once("\n## Cases").unwrap();
    for section in sections.split("\n### ").skip(1) {
        let heading = section.lines().next().unwrap();
        let kind = match heading.split_once("(kind ").unwrap().1.trim_end_matches(')') {
            "client" => Kind::Client,
            "server" => Kind::Server,
            "load_client" => Kind::LoadClient,
            "load_server" => Kind::LoadServer,
            "mutual" => Kind::Mutual,
            other => panic!("unknown kind {other}"),
        };
        let lines: Vec<Vec<&str>> = section
            .lines()
            .filter(|line| line.starts_with("| "))
            .map(cells)
            .collect();
        let columns = &lines[0];
        for row in &lines[1..] {
            assert_eq!(row.len(), columns.len(), "{row:?}");
            let cell = |name: &str| {
                columns
                    .iter()
                    .position(|column| *column == name)
                    .map_or("", |place| row[place])
            };
            cases.push(case(&kind, &cell));
        }
    }
    cases
}

fn case<'a>(kind: &Kind, cell: &dyn Fn(&str) -> &'a str) -> Case {
    let host = cell("host");
    let (peer_sends, peer_limits) = peer(cell("peer sends"));
    let blocks: Vec<&str> = cell("ssl block under test").split('`').skip(1).step_by(2).collect();
    Case {
        name: cell("case").to_owned(),
        kind: kind.clone(),
        host: if host == "(empty)" {
            String::new()
        } else {
            host.to_owned()
        },
        peer_sends,
        peer_limits,
        block: blocks[0].to_owned(),
        server_block: blocks.get(1).map(|block| (*block).to_owned()),
        expected: Expected::parse(cell("result"), cell("ours")),
    }
}

/// `srv_ok.crt (min=1.0, max=1.1)`, `no certificate`.
fn peer(text: &str) -> (Vec<String>, Vec<(String, String)>) {
    let (names, limits) = match text.split_once('(') {
        Some((names, limits)) => (names, limits.trim_end_matches(')')),
        None => (text, ""),
    };
    let names = names
        .split(',')
        .map(str::trim)
        .filter(|name| is_file_name(name))
        .map(str::to_owned)
        .collect();
    let limits = limits.split(", ").filter_map(|limit| limit.split_once('='));
    (
        names,
        limits.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    )
}

/// Whether a text stands for a file of the folder of certificates.
pub(crate) fn is_file_name(text: &str) -> bool {
    let known = ["crt", "key", "txt", "pem", "p12", "p7b"];
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    plain && text.rsplit_once('.').is_some_and(|(_, ending)| known.contains(&ending))
}

/// Puts the folder before every file name of a block.
pub(crate) fn with_folder(block: &mut Value, folder: &str) {
    for key in ["certificate", "key", "key_passphrase_path", "certificate_authorities"] {
        if let Some(value) = block.get_mut(key) {
            let entries = match value {
                Value::Array(entries) => entries.as_mut_slice(),
                one => std::slice::from_mut(one),
            };
            for entry in entries {
                if let Some(name) = entry.as_str().filter(|name| is_file_name(name)) {
                    *entry = Value::String(format!("{folder}/{name}"));
                }
            }
        }
    }
}
