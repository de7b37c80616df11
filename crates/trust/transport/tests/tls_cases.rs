//! Every case of `fixtures/tls-cases.md`: what the documented rules make of certificates, files and settings.
//!
//! The page is the test: certificates are made from its tables, blocks and expected outcomes are read from its rows. The
//! peers of clients are OpenSSL's server, so that the whole of TLS takes part, old versions and weak keys as well.
#![expect(clippy::unwrap_used, reason = "a test ends with what is wrong")]

#[path = "tls_cases/artefacts.rs"]
mod artefacts;
#[path = "tls_cases/peers.rs"]
mod peers;
#[path = "tls_cases/table.rs"]
mod table;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use artefacts::Artefacts;
use peers::{OpensslServer, neutral_client};
use table::{Case, Kind, Outcome};
use tls::{ClientTls, LoadOptions, ServerTls, SslError, SslSettings};
use transport::diagnose::{CheckRequest, Report, TestServer, check};

const PAGE: &str = include_str!("fixtures/tls-cases.md");
const MORE: &str = include_str!("fixtures/more-cases.md");

#[test]
fn the_page_has_all_its_cases() {
    let cases = table::cases(PAGE);
    assert_eq!(cases.len(), 255);
    assert!(
        cases
            .iter()
            .all(|case| case.kind != Kind::Mutual || case.server_block.is_some())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_ends_as_the_page_says() {
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(
            std::env::var_os("FLOTILLA_NOTHING_SKIPPED").is_none(),
            "openssl is not installed"
        );
        eprintln!("SKIPPED: the cases of tls-cases.md, because openssl is not installed");
        return;
    }
    let artefacts = Arc::new(Artefacts::make(&[PAGE, MORE]));
    let mut wrong = Vec::new();
    let mut running = tokio::task::JoinSet::new();
    for case in [table::cases(PAGE), table::cases(MORE)].concat() {
        if running.len() >= 8 {
            wrong.extend(running.join_next().await.unwrap().unwrap());
        }
        let artefacts = artefacts.clone();
        running.spawn(async move {
            let (outcome, detail) = run(&artefacts, &case).await;
            let right = case.expected.allows(&outcome);
            (!right).then(|| format!("{}: {outcome:?} instead of {:?}\n  {detail}", case.name, case.expected))
        });
    }
    while let Some(finished) = running.join_next().await {
        wrong.extend(finished.unwrap());
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

async fn run(artefacts: &Artefacts, case: &Case) -> (Outcome, String) {
    let block = settings(artefacts, &case.block);
    match case.kind {
        Kind::LoadClient => loaded(block.and_then(|block| client_tls(&block)).map(drop)),
        Kind::LoadServer => loaded(block.and_then(|block| server_tls(&block)).map(drop)),
        Kind::Client => match block.and_then(|block| client_tls(&block)) {
            Err(error) => loaded(Err(error)),
            Ok(tls) => {
                let server = OpensslServer::start(artefacts, case);
                told(connect(&tls, case, server.address).await)
            }
        },
        Kind::Server => match block.and_then(|block| server_tls(&block)) {
            Err(error) => loaded(Err(error)),
            Ok(tls) => {
                let server = TestServer::bind("127.0.0.1:0".parse().unwrap(), Some(tls)).unwrap();
                let (served, ()) =
                    tokio::join!(server.serve_one(), neutral_client(artefacts, case, server.local_addr()));
                told(served.unwrap().report)
            }
        },
        Kind::Mutual => mutual(artefacts, case, block).await,
    }
}

async fn mutual(artefacts: &Artefacts, case: &Case, client: Result<SslSettings, SslError>) -> (Outcome, String) {
    let server = settings(artefacts, case.server_block.as_deref().unwrap())
        .and_then(|block| server_tls(&block))
        .unwrap();
    let client = match client.and_then(|block| client_tls(&block)) {
        Ok(client) => client,
        Err(error) => return loaded(Err(error)),
    };
    let server = TestServer::bind("127.0.0.1:0".parse().unwrap(), Some(server)).unwrap();
    let (served, checked) = tokio::join!(server.serve_one(), connect(&client, case, server.local_addr()));
    let served = served.unwrap().report;
    assert_eq!(
        served.ok, checked.ok,
        "{}: both ends must agree: {served} | {checked}",
        case.name
    );
    told(checked)
}

/// By way of YAML, as settings come from files.
fn settings(artefacts: &Artefacts, block: &str) -> Result<SslSettings, SslError> {
    let mut block = serde_json::from_str(&artefacts.fill(block)).unwrap();
    table::with_folder(&mut block, artefacts.path.as_str());
    let yaml = settings::to_yaml(&serde_json::json!({ "ssl": block }));
    let read = settings::from_yaml("ssl.yml", &yaml).unwrap();
    assert_eq!(read["ssl"], block, "{yaml}");
    SslSettings::from_value(&read["ssl"])
}

fn client_tls(block: &SslSettings) -> Result<Arc<ClientTls>, SslError> {
    ClientTls::load(
        block,
        LoadOptions {
            resumption: false,
            ..LoadOptions::default()
        },
    )
}

fn server_tls(block: &SslSettings) -> Result<Arc<ServerTls>, SslError> {
    ServerTls::load(
        block,
        LoadOptions {
            resumption: false,
            ..LoadOptions::default()
        },
    )
}

async fn connect(tls: &Arc<ClientTls>, case: &Case, address: std::net::SocketAddr) -> Report {
    let request = CheckRequest {
        host: if case.host.parse::<std::net::Ipv6Addr>().is_ok() {
            format!("[{}]", case.host)
        } else {
            case.host.clone()
        },
        port: address.port(),
        path: "/".to_owned(),
        connect_to: Some(address),
        proxy: None,
        timeout: Duration::from_mins(1),
    };
    check(tls, &request).await
}

fn loaded(result: Result<(), SslError>) -> (Outcome, String) {
    match result {
        Ok(()) => (None, String::new()),
        Err(error) => told(Report::from(&error)),
    }
}

fn told(report: Report) -> (Outcome, String) {
    assert!(!report.message.is_empty());
    assert!(
        report.ok || !report.hint.is_empty(),
        "nothing says what to do: {report}"
    );
    let text = format!("{report}");
    assert!(
        !text.contains("Abcd1234!") && !text.contains("PRIVATE KEY-----"),
        "a secret shows: {text}"
    );
    let outcome = (!report.ok).then(|| (report.stage.to_string(), report.error_class.clone()));
    (outcome, text)
}
