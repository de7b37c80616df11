//! The map of TLS connections: drawn, as a table, and one of them in full with a live test.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Form, Query as UrlQuery};
use axum::response::{Html, Redirect};
use jiff::Timestamp;
use serde::Deserialize;

use super::drawing::{Drawing, EdgeLook, Told, WIDTH};
use super::verdict::{SOON, Verdict, days};
use crate::domain::connection_tests::{self, Tested};
use crate::domain::connections::{self, Connection, Connections, Kind, Setting, common_name, short_hash};
use crate::domain::error::FleetError;
use crate::pages::frame::Frame;
use crate::pages::look::{Look, Moment, figure, url_part};
use crate::pages::problem::{Problem, show};
use crate::pages::session::SignedIn;

const PATH: &str = "/app/trust/map";

#[derive(Template)]
#[template(path = "tls_map.html")]
struct Page {
    frame: Frame,
    drawing: Drawing,
    width: i32,
    rows: Vec<Row>,
    panel: Option<Panel>,
    problems: usize,
    only_problems: bool,
    folded: usize,
    may_change: bool,
    live_url: String,
}

struct Row {
    href: String,
    from: String,
    to: String,
    kind: &'static str,
    presents: String,
    checked_with: String,
    look: Look,
    expires: String,
    tone: &'static str,
    peers: String,
    is_selected: bool,
}

/// Everything about the selected connection.
struct Panel {
    id: String,
    title: String,
    pills: Vec<Look>,
    facts: Vec<Fact>,
    rules: Vec<(&'static str, String, String)>,
    tested: String,
    url: String,
    cipher: String,
}

struct Fact {
    name: &'static str,
    configured: Vec<Setting>,
    presented: Vec<(String, String)>,
}

/// What stands in the URL.
#[derive(Deserialize)]
pub(in crate::pages) struct Wanted {
    #[serde(default)]
    edge: String,
    #[serde(default)]
    only: String,
    done: Option<String>,
}

#[derive(Deserialize)]
pub(in crate::pages) struct Which {
    #[serde(default)]
    csrf_token: String,
    #[serde(default)]
    edge: String,
}

/// A connection with what is known about it.
struct Known<'a> {
    connection: &'a Connection,
    tested: Option<Tested>,
    verdict: Verdict,
}

pub(in crate::pages) async fn page(
    reader: SignedIn,
    UrlQuery(wanted): UrlQuery<Wanted>,
) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let now = console.clock.now();
    let map = connections::all(console).await?;
    let known: Vec<Known> = map
        .connections
        .iter()
        .map(|connection| {
            let tested = connection_tests::outcome(console, connection);
            let verdict = Verdict::of(connection, tested.as_ref(), now);
            Known {
                connection,
                tested,
                verdict,
            }
        })
        .collect();
    let selected = known.iter().find(|one| one.connection.id == wanted.edge);
    let problems = known.iter().filter(|one| one.is_problem()).count();
    let only_problems = wanted.only == "problems";
    let title = selected.map_or_else(
        || "TLS map".to_owned(),
        |one| {
            let (from, to) = (&one.connection.from, &one.connection.to);
            format!("{} to {}", name(&map, from), name(&map, to))
        },
    );
    let page = Page {
        frame: Frame::new(&reader, "TLS map", title)
            .toast((wanted.done.as_deref() == Some("tested")).then_some("Every connection was tested.")),
        drawing: drawing(&map, &known, &wanted.edge),
        width: WIDTH,
        rows: known
            .iter()
            .filter(|one| !only_problems || one.is_problem())
            .map(|one| one.row(&map, &wanted.edge))
            .collect(),
        panel: selected.map(|one| one.panel(&map, now)),
        problems,
        only_problems,
        folded: map.folded,
        may_change: reader.may_change(),
        live_url: format!("{PATH}?edge={}&only={}", url_part(&wanted.edge), url_part(&wanted.only)),
    };
    show(&page)
}

/// Tries one connection now.
pub(in crate::pages) async fn test(reader: SignedIn, Form(which): Form<Which>) -> Result<Redirect, Problem> {
    reader.who_changes(&which.csrf_token)?;
    let map = connections::all(&reader.console).await?;
    let connection = map.connections.iter().find(|one| one.id == which.edge);
    let connection = connection
        .ok_or_else(|| FleetError::NotFound("This connection is not in the settings any more.".to_owned()))?;
    connection_tests::test(&reader.console, connection).await;
    Ok(Redirect::to(&format!(
        "{PATH}?edge={}#connection",
        url_part(&which.edge)
    )))
}

/// Tries them all now.
pub(in crate::pages) async fn test_all(reader: SignedIn, Form(which): Form<Which>) -> Result<Redirect, Problem> {
    reader.who_changes(&which.csrf_token)?;
    connection_tests::round(&reader.console).await?;
    Ok(Redirect::to(&format!("{PATH}?done=tested")))
}

fn name<'a>(map: &'a Connections, id: &'a str) -> &'a str {
    map.parties
        .iter()
        .find(|party| party.id == id)
        .map_or(id, |party| &party.name)
}

fn joined(settings: &[Setting]) -> String {
    settings
        .iter()
        .map(|setting| setting.text.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn drawing(map: &Connections, known: &[Known], edge: &str) -> Drawing {
    let told = map
        .parties
        .iter()
        .map(|party| (party.id.clone(), told(party.kind, &party.id, party.unhealthy, known)));
    let looks = known.iter().map(|one| (one.connection.id.clone(), one.edge(map, edge)));
    Drawing::of(map, &told.collect(), &looks.collect::<BTreeMap<_, _>>())
}

/// What a party presents and checks with, over all its connections.
fn told(kind: Kind, id: &str, unhealthy: u64, known: &[Known]) -> Told {
    let outgoing = || known.iter().filter(|one| one.connection.from == id);
    let incoming = || known.iter().filter(|one| one.connection.to == id);
    let is_server = matches!(kind, Kind::Console | Kind::FleetServer | Kind::Output | Kind::Proxy);
    let own = outgoing().find_map(|one| one.connection.client_certificate.as_ref());
    let presents = if is_server {
        incoming()
            .find_map(Known::presents)
            .unwrap_or_else(|| "not seen yet".to_owned())
    } else {
        own.map_or_else(|| "nothing".to_owned(), |own| own.text.clone())
    };
    let control = || {
        outgoing()
            .find(|one| !one.connection.is_data)
            .or_else(|| outgoing().next())
    };
    let checks = match kind {
        Kind::Browsers => "what they trust".to_owned(),
        Kind::Agents | Kind::Proxy => {
            control().map_or_else(|| "nothing".to_owned(), |one| joined(&one.connection.trust))
        }
        _ => {
            let clients = incoming().find(|one| !one.connection.client_trust.is_empty());
            clients.map_or_else(
                || "keys and tokens".to_owned(),
                |one| joined(&one.connection.client_trust),
            )
        }
    };
    let tone = if is_server {
        incoming()
            .map(|one| one.verdict.look.tone)
            .find(|tone| *tone == "bad")
            .unwrap_or("")
    } else if outgoing().any(|one| one.connection.is_unverified()) {
        "unverified"
    } else if unhealthy > 0 {
        "warn"
    } else {
        ""
    };
    Told { presents, checks, tone }
}

impl Known<'_> {
    fn is_problem(&self) -> bool {
        matches!(self.verdict.look.tone, "warn" | "bad")
    }

    /// What the server presents, with the time left.
    fn presents(&self) -> Option<String> {
        let leaf = self.tested.as_ref()?.report.presented.first()?;
        let left = self.verdict.days.map(days).unwrap_or_default();
        Some(format!("{}, {left}", common_name(&leaf.subject)))
    }

    fn kind(&self) -> &'static str {
        let connection = self.connection;
        match (
            connection.is_encrypted(),
            connection.is_unverified(),
            connection.is_mutual(),
        ) {
            (false, ..) => "not encrypted",
            (_, true, _) => "unverified",
            (.., true) => "mutual",
            _ => "one-way",
        }
    }

    fn edge(&self, map: &Connections, selected: &str) -> EdgeLook {
        let connection = self.connection;
        let label = self.verdict.days.filter(|left| *left <= SOON).map(days);
        let failing = (self.verdict.look.tone == "bad" && label.is_none()).then(|| "failing".to_owned());
        EdgeLook {
            tone: match self.verdict.look.tone {
                "ok" | "off" => "off",
                other => other,
            },
            is_mutual: connection.is_mutual(),
            is_unverified: connection.is_unverified(),
            title: format!(
                "{} to {}: {}, {}",
                name(map, &connection.from),
                name(map, &connection.to),
                self.kind(),
                self.verdict.look.word
            ),
            label: label.or(failing),
            is_selected: connection.id == selected,
        }
    }

    fn row(&self, map: &Connections, selected: &str) -> Row {
        let connection = self.connection;
        let own = connection.client_certificate.as_ref().map(|own| own.text.clone());
        let server = self.tested.as_ref().and_then(|tested| tested.report.presented.first());
        let server = server.map(|leaf| common_name(&leaf.subject).to_owned());
        let dash = || "–".to_owned();
        Row {
            href: format!("{PATH}?edge={}#connection", url_part(&connection.id)),
            from: name(map, &connection.from).to_owned(),
            to: name(map, &connection.to).to_owned(),
            kind: self.kind(),
            presents: [server, own].into_iter().flatten().collect::<Vec<_>>().join(" · "),
            checked_with: [joined(&connection.trust), joined(&connection.client_trust)]
                .into_iter()
                .filter(|text| !text.is_empty())
                .collect::<Vec<_>>()
                .join(" · "),
            look: self.verdict.look.clone(),
            expires: self.verdict.days.map_or_else(dash, days),
            tone: self.verdict.days.map_or("", super::verdict::tone),
            peers: connection.peers.map_or_else(dash, figure),
            is_selected: connection.id == selected,
        }
    }

    fn panel(&self, map: &Connections, now: Timestamp) -> Panel {
        let connection = self.connection;
        let report = self.tested.as_ref().map(|tested| &tested.report);
        let presented = report.map(|report| report.presented.as_slice()).unwrap_or_default();
        let leaf = presented.first();
        let certificate = |summary: &certs::CertificateSummary| {
            (
                common_name(&summary.subject).to_owned(),
                short_hash(&summary.fingerprint.to_string()),
            )
        };
        let mut pills = vec![self.verdict.look.clone()];
        pills.push(Look::new(
            "",
            if connection.is_mutual() {
                "Mutual TLS"
            } else {
                "One-way TLS"
            },
        ));
        pills.extend(
            report
                .and_then(|report| report.protocol.clone())
                .map(|protocol| Look::new("", protocol)),
        );
        let own = connection.client_certificate.iter().cloned().collect();
        let host = connection
            .urls
            .iter()
            .map(|url| Setting {
                text: url.clone(),
                from: String::new(),
            })
            .collect();
        let facts = vec![
            Fact {
                name: "Server certificate",
                configured: connection.server_certificate.iter().cloned().collect(),
                presented: leaf.map(certificate).into_iter().collect(),
            },
            Fact {
                name: "Checked with",
                configured: connection.trust.clone(),
                presented: presented.iter().skip(1).map(certificate).collect(),
            },
            Fact {
                name: "Names",
                configured: host,
                presented: leaf.map(|leaf| (names(leaf), String::new())).into_iter().collect(),
            },
            Fact {
                name: "Client certificate",
                configured: own,
                presented: Vec::new(),
            },
            Fact {
                name: "Clients checked with",
                configured: connection.client_trust.clone(),
                presented: Vec::new(),
            },
            Fact {
                name: "Verification",
                configured: vec![connection.verification.clone()],
                presented: report
                    .map(|report| {
                        (
                            if report.ok { "passed" } else { "not passed" }.to_owned(),
                            String::new(),
                        )
                    })
                    .into_iter()
                    .collect(),
            },
        ];
        Panel {
            id: connection.id.clone(),
            title: format!("{} to {}", name(map, &connection.from), name(map, &connection.to)),
            pills,
            facts: facts
                .into_iter()
                .filter(|fact| !fact.configured.is_empty() || !fact.presented.is_empty())
                .collect(),
            rules: self.verdict.rules.clone(),
            tested: self.tested.as_ref().map_or_else(
                || "Not tested yet".to_owned(),
                |tested| {
                    format!(
                        "Tested {}, {} ms",
                        Moment::of(now, tested.at).relative,
                        tested.milliseconds
                    )
                },
            ),
            url: connection.urls.first().cloned().unwrap_or_default(),
            cipher: report
                .and_then(|report| report.cipher_suite.clone())
                .unwrap_or_default(),
        }
    }
}

fn names(leaf: &certs::CertificateSummary) -> String {
    use certs::SubjectAltName;
    let name = |name: &SubjectAltName| match name {
        SubjectAltName::Dns(text)
        | SubjectAltName::Email(text)
        | SubjectAltName::Uri(text)
        | SubjectAltName::Other(text) => text.clone(),
        SubjectAltName::Ip(address) => address.to_string(),
    };
    leaf.sans.iter().map(name).collect::<Vec<_>>().join(", ")
}
