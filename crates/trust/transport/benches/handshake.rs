//! What TLS costs a server: CPU of one handshake, memory of one connection at rest.
//!
//! `cargo bench -p transport --bench handshake`. Budgets: full mutual handshake with P-256 0.35 ms, resumed 0.2 ms, 12 KiB for a
//! connection at rest. Both ends run in memory; only the time inside the server's calls counts as the server's.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench ends with what is wrong and prints what it measured"
)]

use std::io::{self, BufRead, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use camino::{Utf8Path, Utf8PathBuf};
use certs::KeyFormat;
use pki::{Authority, AuthorityRequest, KeyType, LeafRequest, Usages};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use tls::{Alpn, ClientTls, LoadOptions, ServerTls, SslSettings};
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;
use transport::{Listener, ServeOptions, serve};

/// What the bench asks its own program to do as a child: hold connections.
const HOLD: &str = "--hold-connections";

/// Or: accept mutual TLS, echo one octet, close.
const ECHO: &str = "--echo";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == HOLD) {
        return hold(
            &arguments[place + 1],
            &arguments[place + 2],
            arguments[place + 3].parse().unwrap(),
            arguments[place + 4] == Held::Answered.word(),
        );
    }
    if let Some(place) = arguments.iter().position(|argument| argument == ECHO) {
        return echo(Utf8Path::new(&arguments[place + 1]));
    }
    // Under `cargo test` only that it works is of interest.
    let rounds = if arguments.iter().any(|argument| argument == "--bench") {
        2000
    } else {
        20
    };
    for (name, key_type) in [("P-256", KeyType::EcdsaP256), ("RSA 2048", KeyType::Rsa(2048))] {
        let folder = Folder::new(key_type);
        for (leg, mutual) in [("one-way", false), ("mutual", true)] {
            handshakes(&folder, &format!("{name} {leg}"), mutual, rounds);
        }
    }
    let folder = Folder::new(KeyType::EcdsaP256);
    at_rest(&folder, rounds.min(1000), Held::Silent);
    at_rest(&folder, rounds.min(1000), Held::Answered);
    if rounds >= 1000 {
        beside_go(&folder, rounds);
    }
}

fn handshakes(folder: &Folder, name: &str, mutual: bool, rounds: u32) {
    for (kind, resumption) in [("full", false), ("resumed", true)] {
        let (client, server) = (folder.client(mutual, resumption), folder.server(mutual));
        let (client, server) = (client.config_for(Alpn::None), server.config());
        let mut costs = Vec::new();
        for _ in 0..rounds {
            let (spent, found) = handshake(&client, &server);
            if (found == HandshakeKind::Resumed) == resumption {
                costs.push(spent);
            }
        }
        costs.sort_unstable();
        // The middle one: on a machine that does other things, some are interrupted in the midst.
        println!(
            "{name:<20} {kind:<8} server CPU {:>7.3} ms (median of {} handshakes)",
            costs[costs.len() / 2].as_secs_f64() * 1e3,
            costs.len()
        );
    }
}

/// One handshake in memory; the time spent inside the server.
fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> (Duration, HandshakeKind) {
    let name = ServerName::try_from("fleet.test").unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut spent = Duration::ZERO;
    let started = Instant::now();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    spent += started.elapsed();
    let mut wire = Vec::new();
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let started = Instant::now();
        let mut incoming = wire.as_slice();
        while !incoming.is_empty() {
            server.read_tls(&mut incoming).unwrap();
            server.process_new_packets().unwrap();
        }
        let mut answer = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut answer).unwrap();
        }
        spent += started.elapsed();
        let mut incoming = answer.as_slice();
        while !incoming.is_empty() {
            client.read_tls(&mut incoming).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    (spent, server.handshake_kind().unwrap())
}

/// The whole cost of a connection to a server process, ours and one of Go's `crypto/tls`, with the same client: TCP, full
/// mutual handshake, an octet each way.
fn beside_go(folder: &Folder, rounds: u32) {
    let mut ours = Command::new(std::env::current_exe().unwrap());
    ours.args([ECHO, folder.path.as_str()]);
    let ours = cost_of_connections(ours, folder, rounds);
    println!("P-256 mutual over TCP, this program: server process CPU {ours:.3} ms ({rounds} connections)");
    let program = folder.path.join("go-server");
    let source = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/handshake.go");
    let built = Command::new("go")
        .args(["build", "-o", program.as_str(), source.as_str()])
        .status();
    if !built.is_ok_and(|status| status.success()) {
        println!("SKIPPED: no `go` that builds the server to compare with");
        return;
    }
    let mut theirs = Command::new(program);
    theirs.arg(&folder.path);
    let theirs = cost_of_connections(theirs, folder, rounds);
    println!(
        "P-256 mutual over TCP, Go crypto/tls: server process CPU {theirs:.3} ms ({:.2} times ours)",
        theirs / ours
    );
}

/// Starts a server that prints its address; its CPU for one connection, in milliseconds.
fn cost_of_connections(mut server: Command, folder: &Folder, rounds: u32) -> f64 {
    let mut child = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    io::BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut address)
        .unwrap();
    let address: SocketAddr = address.trim().parse().unwrap();
    let client = folder.client(true, false).config_for(Alpn::None);
    // The first ones warm caches and heaps up.
    (0..rounds / 10).for_each(|_| connect(&client, address));
    let before = cpu_ticks(child.id());
    (0..rounds).for_each(|_| connect(&client, address));
    let spent = cpu_ticks(child.id()) - before;
    child.kill().unwrap();
    child.wait().unwrap();
    // A tick is 10 ms on every Linux that this is run on.
    spent as f64 * 10.0 / f64::from(rounds)
}

fn connect(client: &Arc<ClientConfig>, address: SocketAddr) {
    let name = ServerName::try_from("fleet.test").unwrap();
    let mut session = ClientConnection::new(client.clone(), name).unwrap();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

/// User and system time of a process so far, in ticks.
fn cpu_ticks(process: u32) -> u64 {
    let stat = fs_err::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The child: our half of the comparison, until it is killed.
fn echo(folder: &Utf8Path) {
    let mut block = pair(folder, "server");
    block["certificate_authorities"] = json!([folder.join("ca.crt")]);
    let tls = ServerTls::load(&SslSettings::from_value(&block).unwrap(), LoadOptions::named("bench")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        io::stdout().flush().unwrap();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            let accepting = tokio_rustls::TlsAcceptor::from(tls.config()).accept(socket);
            tokio::spawn(async move {
                let mut stream = accepting.await.unwrap();
                let mut octet = [0];
                tokio::io::AsyncReadExt::read_exact(&mut stream, &mut octet)
                    .await
                    .unwrap();
                stream.write_all(&octet).await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
}

/// What a held connection has done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Held {
    /// The handshake, no more.
    Silent,
    /// One request, which was answered.
    Answered,
}

impl Held {
    fn word(self) -> &'static str {
        match self {
            Self::Silent => "after the handshake",
            Self::Answered => "after a request",
        }
    }
}

/// Connections of a child process, at rest in this one.
fn at_rest(folder: &Folder, connections: u32, held: Held) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", axum::routing::get(|| async { "ok" }));
        let serving = tokio::spawn(serve(
            listener,
            Some(folder.server(true)),
            router,
            ServeOptions::default(),
            stop.clone(),
        ));
        let before = resident_bytes();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                HOLD,
                folder.path.as_str(),
                &address.to_string(),
                &connections.to_string(),
                held.word(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        io::BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        assert_eq!(ready.trim(), "ready");
        let each = resident_bytes().saturating_sub(before) / u64::from(connections);
        println!(
            "a mutual connection at rest {}: {:.1} KiB ({connections} connections)",
            held.word(),
            each as f64 / 1024.0
        );
        drop(child.stdin.take());
        child.wait().unwrap();
        stop.cancel();
        serving.await.unwrap();
    });
}

fn resident_bytes() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The child: opens connections, says so, and holds them until its input ends.
fn hold(folder: &str, address: &str, connections: u32, asking: bool) {
    let address: SocketAddr = address.parse().unwrap();
    let tls = client_tls(Utf8Path::new(folder), true, true);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut held = Vec::new();
        for _ in 0..connections {
            let socket = tokio::net::TcpStream::connect(address).await.unwrap();
            let (config, name) = tls.prepare("fleet.test", Alpn::Http1).unwrap();
            let mut stream = tokio_rustls::TlsConnector::from(config)
                .connect(name, socket)
                .await
                .unwrap();
            if asking {
                stream
                    .write_all(b"GET / HTTP/1.1\r\nHost: fleet.test\r\n\r\n")
                    .await
                    .unwrap();
                let mut answer = [0; 1024];
                assert!(tokio::io::AsyncReadExt::read(&mut stream, &mut answer).await.unwrap() > 0);
            }
            held.push(stream);
        }
        println!("ready");
        io::stdout().flush().unwrap();
        let _until_the_parent_is_done = io::stdin().read(&mut [0]);
    });
}

struct Folder {
    _folder: tempfile::TempDir,
    path: Utf8PathBuf,
}

impl Folder {
    fn new(key_type: KeyType) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().to_owned();
        let authority = Authority::generate(AuthorityRequest {
            key_type,
            ..Default::default()
        })
        .unwrap();
        fs_err::write(path.join("ca.crt"), authority.certificate_pem()).unwrap();
        for (name, usages) in [("server", Usages::Server), ("client", Usages::Client)] {
            let request = LeafRequest {
                dns: vec!["fleet.test".into()],
                key_type,
                usages,
                ..Default::default()
            };
            let identity = authority.issue(request).unwrap();
            fs_err::write(
                path.join(format!("{name}.crt")),
                certs::write_pem_certificates(&identity.chain[..1]),
            )
            .unwrap();
            let key = certs::write_pem_key(&identity.key, KeyFormat::Pkcs8).unwrap();
            fs_err::write(path.join(format!("{name}.key")), key.expose()).unwrap();
        }
        Self { _folder: folder, path }
    }

    fn client(&self, mutual: bool, resumption: bool) -> Arc<ClientTls> {
        client_tls(&self.path, mutual, resumption)
    }

    fn server(&self, mutual: bool) -> Arc<ServerTls> {
        let mut block = pair(&self.path, "server");
        if mutual {
            block["certificate_authorities"] = json!([self.path.join("ca.crt")]);
        }
        ServerTls::load(&SslSettings::from_value(&block).unwrap(), LoadOptions::named("bench")).unwrap()
    }
}

fn client_tls(folder: &Utf8Path, mutual: bool, resumption: bool) -> Arc<ClientTls> {
    let mut block = if mutual { pair(folder, "client") } else { json!({}) };
    block["certificate_authorities"] = json!([folder.join("ca.crt")]);
    let options = LoadOptions {
        resumption,
        ..LoadOptions::named("bench")
    };
    ClientTls::load(&SslSettings::from_value(&block).unwrap(), options).unwrap()
}

fn pair(folder: &Utf8Path, name: &str) -> Value {
    json!({"certificate": folder.join(format!("{name}.crt")), "key": folder.join(format!("{name}.key"))})
}
