//! Listeners and clients over loopback: who gets in, who is told what, and what strangers cannot hold.

use std::time::Duration;

use crate::support::{Folder, Server, class, fetch, http_client, router};
use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use pki::{Authority, AuthorityRequest, KeyType, LeafRequest, Usages};
use serde_json::json;
use tls::{Alpn, LoadOptions, Reloadable, ServerTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use transport::diagnose::{CheckRequest, check};
use transport::{BindError, Listener, ServeOptions, Stopped};

const URL: &str = "https://fleet.test:8220/";

#[tokio::test]
async fn a_request_carries_the_certificate_of_its_client() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    folder.issue("agent", Usages::Client);
    let tls = folder.server_tls(json!({
        "certificate": "server.crt", "key": "server.key",
        "certificate_authorities": ["ca.crt"], "client_authentication": "optional"
    }));
    let server = Server::start(Some(tls), ServeOptions::default());
    let with = folder.client(
        json!({"certificate_authorities": ["ca.crt"], "certificate": "agent.crt", "key": "agent.key"}),
        server.address,
    );
    let without = folder.client(json!({"certificate_authorities": ["ca.crt"]}), server.address);
    assert_eq!(fetch(&with, URL).await.unwrap(), "CN=agent");
    assert_eq!(fetch(&without, URL).await.unwrap(), "nobody");
    drop((with, without));
    assert_eq!(server.stop().await, Stopped::Clean);
}

#[tokio::test]
async fn a_resumed_session_still_knows_the_client() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    folder.issue("agent", Usages::Client);
    let tls = folder.server_tls(json!({
        "certificate": "server.crt", "key": "server.key", "certificate_authorities": ["ca.crt"]
    }));
    let options = ServeOptions::default();
    let counts = options.counts.clone();
    let server = Server::start(Some(tls), options);
    let client_tls = folder
        .client_tls(json!({"certificate_authorities": ["ca.crt"], "certificate": "agent.crt", "key": "agent.key"}));
    for _ in 0..3 {
        // A new client has no open connection, but the same sessions.
        let client = http_client(client_tls.clone(), Some(server.address), None);
        assert_eq!(fetch(&client, URL).await.unwrap(), "CN=agent");
    }
    assert_eq!((counts.accepted(), counts.handshakes()), (3, (1, 2)));
    server.stop().await;
    assert_eq!((counts.open(), counts.failed().len()), (0, 0));
}

#[tokio::test]
async fn failures_are_explained_on_the_client() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    let other = Authority::generate(AuthorityRequest {
        subject_cn: "Other CA".into(),
        ..Default::default()
    })
    .unwrap();
    folder.issue_by(&other, "stranger", Usages::Client);
    folder.write("other.crt", &other.certificate_pem());
    let tls = folder.server_tls(json!({
        "certificate": "server.crt", "key": "server.key", "certificate_authorities": ["ca.crt"]
    }));
    let options = ServeOptions::default();
    let counts = options.counts.clone();
    let server = Server::start(Some(tls), options);
    let check = |block, url: &'static str, expected: &'static str| {
        let client = folder.client(block, server.address);
        async move { assert_eq!(class(&client, url).await, expected, "{url}") }
    };
    check(
        json!({"certificate_authorities": ["other.crt"]}),
        URL,
        "unknown_authority",
    )
    .await;
    check(
        json!({"certificate_authorities": ["ca.crt"]}),
        "https://wrong.test/",
        "hostname_mismatch",
    )
    .await;
    check(
        json!({"certificate_authorities": ["ca.crt"]}),
        URL,
        "client_certificate_missing",
    )
    .await;
    check(
        json!({"certificate_authorities": ["ca.crt"], "certificate": "stranger.crt", "key": "stranger.key"}),
        URL,
        "client_rejected_unknown_authority",
    )
    .await;
    server.stop().await;
    let failed: Vec<(String, u64)> = counts.failed().into_iter().collect();
    let expected = [
        ("client_certificate_missing", 1),
        ("handshake_failure", 2),
        ("unknown_authority", 1),
    ];
    let expected = expected.map(|(class, number)| (class.to_owned(), number));
    assert_eq!(failed, expected);
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_told_so() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    let server = Server::start(
        Some(folder.server_tls(json!({"certificate": "server.crt", "key": "server.key"}))),
        ServeOptions::default(),
    );
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.0 400") && answer.contains("https://"),
        "{answer}"
    );
    let client = http_client(
        folder.client_tls(json!({})),
        Some(Server::start(None, ServeOptions::default()).address),
        None,
    );
    assert_eq!(class(&client, URL).await, "not_tls");
}

#[tokio::test]
async fn who_says_nothing_is_cut_off() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    let soon = Duration::from_millis(50);
    let options = ServeOptions {
        handshake_timeout: soon,
        header_timeout: soon,
        ..ServeOptions::default()
    };
    let tls = folder.server_tls(json!({"certificate": "server.crt", "key": "server.key"}));
    for server in [Server::start(Some(tls), options.clone()), Server::start(None, options)] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        let mut rest = Vec::new();
        // Ends because the server closes; a hang would be a failure of the whole test.
        let read = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut rest)).await;
        assert!(read.is_ok());
    }
}

/// Says something on a TLS connection and reads to its end, which is an error when the server ends it without a `close_notify`.
async fn say(folder: &Folder, address: std::net::SocketAddr, said: &str) -> std::io::Result<String> {
    let tls = folder.client_tls(json!({"certificate_authorities": ["ca.crt"]}));
    let (config, name) = tls.prepare("fleet.test", Alpn::Http1).unwrap();
    let socket = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(config).connect(name, socket).await?;
    stream.write_all(said.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_connection_that_the_server_ends_is_ended_in_tls_as_well() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    let soon = Duration::from_millis(50);
    let options = ServeOptions {
        header_timeout: soon,
        idle_timeout: soon,
        ..ServeOptions::default()
    };
    let tls = folder.server_tls(json!({"certificate": "server.crt", "key": "server.key"}));
    let server = Server::start(Some(tls), options);
    for (said, expected) in [
        ("", ""),
        ("GET / HT", ""),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /", "HTTP/1.1 200"),
        ("what is this\r\n\r\n", "HTTP/1.1 400"),
    ] {
        let answer = say(&folder, server.address, said).await;
        assert!(
            answer.as_ref().is_ok_and(|text| text.starts_with(expected)),
            "{said:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_at_the_end_is_ended_in_tls_as_well() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    let (entered, mut inside) = mpsc::unbounded_channel();
    let router = Router::new().route(
        "/",
        get(move || {
            entered.send(()).unwrap();
            std::future::pending::<&'static str>()
        }),
    );
    let options = ServeOptions {
        grace: Duration::from_millis(20),
        ..ServeOptions::default()
    };
    let tls = folder.server_tls(json!({"certificate": "server.crt", "key": "server.key"}));
    let server = Server::start_with(Some(tls), options, router);
    let asking = say(&folder, server.address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let stopping = async {
        inside.recv().await.unwrap();
        server.stop.cancel();
    };
    let (answer, ()) = tokio::join!(asking, stopping);
    assert_eq!(answer.unwrap(), "");
    assert_eq!(server.task.await.unwrap(), Stopped::GraceExceeded { still_running: 1 });
}

#[tokio::test]
async fn headers_are_bounded() {
    let server = Server::start(
        None,
        ServeOptions {
            max_header_bytes: 8 << 10,
            ..ServeOptions::default()
        },
    );
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(20 << 10));
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
}

#[tokio::test]
async fn a_source_of_failed_handshakes_is_shut_out() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    let options = ServeOptions {
        failed_handshakes_per_source: 3,
        ..ServeOptions::default()
    };
    let tls = folder.server_tls(json!({"certificate": "server.crt", "key": "server.key"}));
    let server = Server::start(Some(tls), options);
    for _ in 0..3 {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.0 400"));
    }
    let good = folder.client(json!({"certificate_authorities": ["ca.crt"]}), server.address);
    assert!(fetch(&good, URL).await.is_err());
}

#[tokio::test]
async fn handshakes_beyond_the_limit_wait_for_a_place() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    for places in [1, 2] {
        let tls = folder.server_tls(json!({"certificate": "server.crt", "key": "server.key"}));
        let options = ServeOptions {
            max_concurrent_handshakes: places,
            ..ServeOptions::default()
        };
        let server = Server::start(Some(tls), options);
        let mut stalled = TcpStream::connect(server.address).await.unwrap();
        // The beginning of a record whose rest never comes: it holds one place.
        stalled.write_all(&[0x16, 3, 1]).await.unwrap();
        let good = folder.client(json!({"certificate_authorities": ["ca.crt"]}), server.address);
        let mut asking = Box::pin(fetch(&good, URL));
        let at_once = tokio::time::timeout(Duration::from_millis(500), &mut asking).await;
        assert_eq!(at_once.is_ok(), places == 2, "{places} places");
        drop(stalled);
        if let Ok(answer) = at_once {
            assert_eq!(answer.unwrap(), "nobody");
        } else {
            assert_eq!(asking.await.unwrap(), "nobody");
        }
    }
}

/// The client sends more than a handshake may hold; the server says so, and no verifier was asked about the content.
#[tokio::test]
async fn a_chain_of_nine_or_of_more_than_32_kib_is_refused() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    folder.issue("agent", Usages::Client);
    folder.issue("other", Usages::Client);
    let text = |name: &str| fs_err::read_to_string(folder.path(name)).unwrap();
    let (leaf, other) = (text("agent.crt"), text("other.crt"));
    let names: Vec<String> = (0..400)
        .map(|number| format!("host-{number:03}.a-rather-long-domain-name.test"))
        .collect();
    folder.issue_request(
        "large",
        LeafRequest {
            dns: names,
            ..Folder::request("large", Usages::Client)
        },
    );
    let large = text("large.crt");
    let tls = folder.server_tls(json!({
        "certificate": "server.crt", "key": "server.key", "certificate_authorities": ["ca.crt"]
    }));
    let server = Server::start(Some(tls), ServeOptions::default());
    let first = |text: &str| {
        let end = "-----END CERTIFICATE-----\n";
        text[..text.find(end).unwrap() + end.len()].to_owned()
    };
    for (chain, accepted) in [
        (first(&leaf) + &first(&other).repeat(7), true),
        (first(&leaf) + &first(&other).repeat(8), false),
        (first(&leaf) + &first(&large), true),
        (first(&leaf) + &first(&large).repeat(2), false),
    ] {
        folder.write("agent.crt", &chain);
        let client = folder.client(
            json!({"certificate_authorities": ["ca.crt"], "certificate": "agent.crt", "key": "agent.key"}),
            server.address,
        );
        let answer = fetch(&client, URL).await;
        assert_eq!(answer.is_ok(), accepted, "{} octets of PEM: {answer:?}", chain.len());
    }
}

#[tokio::test]
async fn stopping_answers_what_runs() {
    let (entered, mut inside) = mpsc::unbounded_channel();
    let (leave, gate) = tokio::sync::watch::channel(false);
    let router = Router::new().route(
        "/",
        get(move || {
            let mut gate = gate.clone();
            entered.send(()).unwrap();
            async move {
                gate.wait_for(|open| *open).await.unwrap();
                "answered"
            }
        }),
    );
    let server = Server::start_with(None, ServeOptions::default(), router);
    let client = http_client(tls::ClientTls::system(), Some(server.address), None);
    let request = tokio::spawn(async move { fetch(&client, "http://fleet.test/").await });
    inside.recv().await.unwrap();
    server.stop.cancel();
    leave.send(true).unwrap();
    assert_eq!(request.await.unwrap().unwrap(), "answered");
    assert_eq!(server.task.await.unwrap(), Stopped::Clean);
}

#[tokio::test]
async fn the_grace_period_ends() {
    let (entered, mut inside) = mpsc::unbounded_channel();
    let router = Router::new().route(
        "/",
        get(move || {
            entered.send(()).unwrap();
            std::future::pending::<&'static str>()
        }),
    );
    let options = ServeOptions {
        grace: Duration::from_millis(20),
        ..ServeOptions::default()
    };
    let server = Server::start_with(None, options, router);
    let client = http_client(tls::ClientTls::system(), Some(server.address), None);
    let request = tokio::spawn(async move { fetch(&client, "http://fleet.test/").await });
    inside.recv().await.unwrap();
    assert_eq!(server.stop().await, Stopped::GraceExceeded { still_running: 1 });
    assert!(request.await.unwrap().is_err());
}

/// Each costs its own request alone: who does not read an answer, who sends half a request, and who sends half its headers.
#[tokio::test]
async fn slow_readers_and_half_open_connections_hold_up_nobody() {
    const LARGE: usize = 64 << 20;
    let large = Bytes::from(vec![b'x'; LARGE]);
    let router = Router::new()
        .route("/large", get(move || std::future::ready(large.clone())))
        .route("/echo", post(|body: Bytes| async { body }))
        .merge(router());
    let options = ServeOptions {
        grace: Duration::from_millis(20),
        ..ServeOptions::default()
    };
    let counts = options.counts.clone();
    let server = Server::start_with(None, options, router);
    let mut held = Vec::new();
    for _ in 0..20 {
        for part in [
            "GET /large HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
            "POST /echo HTTP/1.1\r\nHost: x\r\nConte",
        ] {
            let mut socket = TcpStream::connect(server.address).await.unwrap();
            socket.write_all(part.as_bytes()).await.unwrap();
            held.push(socket);
        }
    }
    let client = http_client(tls::ClientTls::system(), Some(server.address), None);
    for _ in 0..20 {
        assert_eq!(fetch(&client, "http://fleet.test/").await.unwrap(), "nobody");
    }
    assert_eq!(counts.open(), held.len() + 1);
    // Who reads at last gets it all.
    let mut answer = Vec::new();
    let mut late = held.swap_remove(0);
    while answer.len() < LARGE {
        assert!(late.read_buf(&mut answer).await.unwrap() > 0);
    }
    drop((held, late));
    assert!(matches!(
        server.stop().await,
        Stopped::Clean | Stopped::GraceExceeded { .. }
    ));
    assert_eq!(counts.open(), 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let server = Server::start(
        None,
        ServeOptions {
            max_connections: 1,
            ..ServeOptions::default()
        },
    );
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    let mut second = TcpStream::connect(server.address).await.unwrap();
    second.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(100), second.read_exact(&mut answer))
            .await
            .is_err()
    );
    drop(first);
    second.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let first = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = Listener::bind(first.local_addr()).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }));
    assert!(error.to_string().contains(&first.local_addr().to_string()));
}

#[tokio::test]
async fn a_replaced_pair_serves_new_connections_and_leaves_open_ones() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    let tls = folder.server_tls(json!({"certificate": "server.crt", "key": "server.key"}));
    let server = Server::start(Some(tls.clone()), ServeOptions::default());
    let old = folder.client(json!({"certificate_authorities": ["ca.crt"]}), server.address);
    assert_eq!(fetch(&old, URL).await.unwrap(), "nobody");

    let other = Authority::generate(AuthorityRequest {
        subject_cn: "Other CA".into(),
        ..Default::default()
    })
    .unwrap();
    folder.issue_by(&other, "server", Usages::Server);
    assert_eq!(tls.reload_if_changed(), tls::ReloadOutcome::Replaced);

    assert_eq!(
        fetch(&old, URL).await.unwrap(),
        "nobody",
        "the open connection is still good"
    );
    let new = folder.client(json!({"certificate_authorities": ["ca.crt"]}), server.address);
    assert_eq!(class(&new, URL).await, "unknown_authority");
}

#[tokio::test]
async fn clients_of_a_new_authority_get_in_without_a_restart_and_those_of_the_old_do_not() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    let (first, second) = (
        Authority::generate(AuthorityRequest {
            subject_cn: "Agents A".into(),
            ..Default::default()
        })
        .unwrap(),
        Authority::generate(AuthorityRequest {
            subject_cn: "Agents B".into(),
            ..Default::default()
        })
        .unwrap(),
    );
    folder.issue_by(&first, "a", Usages::Client);
    folder.issue_by(&second, "b", Usages::Client);
    folder.write("agents.crt", &first.certificate_pem());
    let tls = folder.server_tls(json!({
        "certificate": "server.crt", "key": "server.key", "certificate_authorities": ["agents.crt"]
    }));
    let server = Server::start(Some(tls.clone()), ServeOptions::default());
    let client = |name: &str| {
        let block = json!({
            "certificate_authorities": ["ca.crt"],
            "certificate": format!("{name}.crt"), "key": format!("{name}.key")
        });
        folder.client_tls(block)
    };
    let (a, b) = (client("a"), client("b"));
    let ask = |tls: &std::sync::Arc<tls::ClientTls>| {
        let client = http_client(tls.clone(), Some(server.address), None);
        async move { class(&client, URL).await }
    };
    assert_eq!(
        (ask(&a).await, ask(&b).await),
        ("none".into(), "client_rejected_unknown_authority".into())
    );
    folder.write("agents.crt", &second.certificate_pem());
    assert_eq!(tls.reload_if_changed(), tls::ReloadOutcome::Replaced);
    // Not even by the session that `a` could resume.
    assert_eq!(
        (ask(&a).await, ask(&b).await),
        ("client_rejected_unknown_authority".into(), "none".into())
    );
}

#[tokio::test]
async fn rsa_and_ecdsa_pairs_serve_side_by_side() {
    let folder = Folder::new();
    folder.issue("ecdsa", Usages::Server);
    folder.issue_request(
        "rsa",
        LeafRequest {
            key_type: KeyType::Rsa(2048),
            ..Folder::request("rsa", Usages::Server)
        },
    );
    let pair =
        |name: &str| folder.settings(json!({"certificate": format!("{name}.crt"), "key": format!("{name}.key")}));
    let tls = ServerTls::load_pairs(&[pair("rsa"), pair("ecdsa")], LoadOptions::named("server")).unwrap();
    let server = Server::start(Some(tls), ServeOptions::default());
    let shown = |block: serde_json::Value| {
        let tls = folder.client_tls(block);
        let mut request = CheckRequest::from_url(URL, Duration::from_secs(10)).unwrap();
        request.connect_to = Some(server.address);
        async move {
            let report = check(&tls, &request).await;
            assert!(report.ok, "{report}");
            report.presented[0].key_type.clone()
        }
    };
    let trust = json!({"certificate_authorities": ["ca.crt"], "supported_protocols": "TLSv1.2"});
    let with_suite = |suite: &str| {
        let mut block = trust.clone();
        block["cipher_suites"] = json!(suite);
        block
    };
    assert_eq!(
        shown(json!({"certificate_authorities": ["ca.crt"]})).await,
        "ECDSA P-256"
    );
    assert_eq!(shown(with_suite("ECDHE-RSA-AES-128-GCM-SHA256")).await, "RSA 2048");
    assert_eq!(shown(with_suite("ECDHE-ECDSA-AES-128-GCM-SHA256")).await, "ECDSA P-256");
}
