//! The UPGRADE action end to end: from a site with a CA, a client certificate and a proxy of its own, and from Fleet Server.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use agent::upgrade::{Marker, roll_back};
use agent::{DaemonEnd, enroll};
use axum::Router;
use axum::routing::get;
use camino::Utf8PathBuf;
use certs::KeyFormat;
use flate2::Compression;
use flate2::write::GzEncoder;
use fs_err as fs;
use pki::{Authority, AuthorityRequest, LeafRequest};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use testkit::Signer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use transport::{Listener, ServeOptions};

use crate::support::{Folder, Running, Seen, Server, folder, server_tls};

/// An enrolled agent whose folder looks as `install` leaves it.
async fn installed() -> (Server, Folder) {
    let server = Server::start();
    let folder = folder();
    let home = folder.path.join("data/elastic-agent-first");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("elastic-agent"), "first").unwrap();
    fs::os::unix::fs::symlink(home.join("elastic-agent"), folder.path.join("elastic-agent")).unwrap();
    fs::write(folder.paths.installed_marker(), "").unwrap();
    enroll(server.enroll_options(&folder.paths)).await.unwrap();
    (server, folder)
}

fn program(version: &str) -> String {
    format!("#!/bin/sh\necho {version}\n")
}

fn state_is(state: &'static str) -> impl Fn(&Seen) -> bool {
    move |seen| seen.body["upgrade_details"]["state"] == state
}

fn upgrade(id: &str, version: &str, source: Option<&str>) -> Value {
    let mut action = json!({"id": id, "type": "UPGRADE", "data": {"version": version}});
    if let Some(source) = source {
        action["data"]["source_uri"] = json!(source);
    }
    action
}

/// A download site over TLS that asks for client certificates, and the package on it.
struct Site {
    url: String,
    ca: Authority,
    clients: Authority,
    stop: CancellationToken,
}

impl Site {
    fn start(version: &str, signer: &Signer) -> Self {
        let (ca, clients) = (authority(), authority());
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let url = format!("https://127.0.0.1:{}", listener.local_addr().port());
        let architecture = std::env::consts::ARCH.replace("aarch64", "arm64");
        let name = format!("elastic-agent-{version}-linux-{architecture}.tar.gz");
        let package = package(version);
        let signature = signer.sign(&signer.file("package", &package), &[]);
        let sum = format!("{}  {name}\n", hex::encode(Sha512::digest(&package)));
        let path = format!("/downloads/beats/elastic-agent/{name}");
        let router = Router::new()
            .route(&path, get(move || async move { package.clone() }))
            .route(&format!("{path}.sha512"), get(move || async move { sum.clone() }))
            .route(&format!("{path}.asc"), get(move || async move { signature.clone() }));
        let stop = CancellationToken::new();
        let tls = server_tls(&ca, Some(&clients));
        tokio::spawn(transport::serve(
            listener,
            Some(tls),
            router,
            ServeOptions::default(),
            stop.clone(),
        ));
        Self {
            url: format!("{url}/downloads"),
            ca,
            clients,
            stop,
        }
    }

    /// `agent.download` of a policy that may fetch from here.
    fn block(&self, proxy: &Proxy) -> Value {
        let pair = self.clients.issue(LeafRequest::default()).unwrap();
        json!({
            "sourceURI": self.url,
            "ssl": {
                "certificate_authorities": [self.ca.certificate_pem()],
                "certificate": certs::write_pem_certificates(&pair.chain),
                "key": certs::write_pem_key(&pair.key, KeyFormat::Pkcs8).unwrap().expose(),
            },
            "proxy_url": proxy.url,
        })
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn authority() -> Authority {
    Authority::generate(AuthorityRequest::default()).unwrap()
}

fn package(version: &str) -> Vec<u8> {
    let script = program(version);
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(script.len() as u64);
    header.set_mode(0o755);
    let path = format!("elastic-agent-{version}/elastic-agent");
    tar.append_data(&mut header, path, script.as_bytes()).unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}

/// A CONNECT proxy that counts.
struct Proxy {
    url: String,
    targets: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let targets = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&targets);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, Arc::clone(&seen)));
            }
        });
        Self { url, targets }
    }
}

async fn pass_on(mut client: TcpStream, seen: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let mut server = TcpStream::connect(&target).await?;
    seen.lock().unwrap().push(target);
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

fn policy(server: &Server, folder: &Folder, download: &Value) -> Value {
    json!({
        "outputs": {"default": {"type": "file", "path": folder.path.join("out")}},
        "agent": {"monitoring": {"enabled": false}, "download": download},
        "fleet": {"hosts": [server.url]},
        "inputs": [],
    })
}

fn linked_home(folder: &Folder) -> Utf8PathBuf {
    let target = fs::read_link(folder.path.join("elastic-agent")).unwrap();
    Utf8PathBuf::from_path_buf(target.parent().unwrap().to_owned()).unwrap()
}

#[tokio::test]
async fn a_package_comes_from_a_site_with_tls_and_a_proxy_of_its_own() {
    let Some(signer) = Signer::new("ed25519") else { return };
    let (server, folder) = installed().await;
    let (site, proxy) = (Site::start("9.9.9", &signer), Proxy::start().await);
    let running = Running::start(&folder.paths);
    server.vouch_for(signer.public_key());
    server.send_policy(1, policy(&server, &folder, &site.block(&proxy)));
    server.acknowledged("policy:p:1").await;

    server.send_action(upgrade("up", "9.9.9", None));
    assert!(server.acknowledged("up").await.get("error").is_none());
    assert_eq!(running.ended().await, DaemonEnd::Replaced);
    let home = linked_home(&folder);
    assert!(home.file_name().unwrap().starts_with("elastic-agent-9.9.9-"), "{home}");
    let mode = fs::metadata(home.join("elastic-agent")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let targets = proxy.targets.lock().unwrap().clone();
    assert!(
        !targets.is_empty() && targets.iter().all(|target| site.url.contains(target.as_str())),
        "{targets:?}"
    );

    // The next version is on probation, then taken back.
    let running = Running::start(&folder.paths);
    let seen = server.wait_for("checkin", state_is("UPG_WATCHING")).await;
    assert_eq!(seen.body["upgrade_details"]["target_version"], "9.9.9");
    assert_eq!(seen.body["upgrade_details"]["action_id"], "up");
    running.stop().await;
    roll_back(&folder.paths, "it did not check in").unwrap();
    assert!(linked_home(&folder).ends_with("elastic-agent-first"));
    let running = Running::start(&folder.paths);
    let seen = server.wait_for("checkin", state_is("UPG_ROLLBACK")).await;
    assert_eq!(
        seen.body["upgrade_details"]["metadata"]["reason"],
        "it did not check in"
    );
    assert!(
        Marker::read(&folder.paths).unwrap().is_none(),
        "told, so it may be tried again"
    );
    running.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_download_is_told_and_the_agent_goes_on() {
    let (Some(signer), Some(stranger)) = (Signer::new("ed25519"), Signer::new("ed25519")) else {
        return;
    };
    let (server, folder) = installed().await;
    let (site, proxy) = (Site::start("9.9.9", &signer), Proxy::start().await);
    let running = Running::start(&folder.paths);
    let block = site.block(&proxy);
    let without = |keys: &[&str]| {
        let mut block = block.clone();
        for key in keys {
            block["ssl"].as_object_mut().unwrap().remove(*key);
        }
        block
    };
    let mut revision = 0;
    let mut check = async |block: Value, key: Vec<u8>, expected: &str, failed_state: &str| {
        revision += 1;
        server.vouch_for(key);
        server.send_policy(revision, policy(&server, &folder, &block));
        server.acknowledged(&format!("policy:p:{revision}")).await;
        let id = format!("up-{revision}");
        server.send_action(upgrade(&id, "9.9.9", None));
        server.acknowledged(&id).await;
        let failed = |seen: &Seen| {
            let details = &seen.body["upgrade_details"];
            details["state"] == "UPG_FAILED" && details["action_id"] == id.as_str()
        };
        let seen = server.wait_for("checkin", failed).await;
        let metadata = &seen.body["upgrade_details"]["metadata"];
        let message = metadata["error_msg"].as_str().unwrap();
        assert!(message.contains(expected), "{expected}: {message}");
        assert_eq!(metadata["failed_state"], failed_state, "{message}");
    };
    let (foreign, own) = (stranger.public_key(), signer.public_key());
    check(block.clone(), foreign, "signature cannot be trusted", "UPG_EXTRACTING").await;
    let nobody = without(&["certificate", "key"]);
    check(nobody, own.clone(), "certificate", "UPG_DOWNLOADING").await;
    let system_roots = without(&["certificate_authorities"]);
    check(system_roots, own, "cannot get the package", "UPG_DOWNLOADING").await;
    assert!(linked_home(&folder).ends_with("elastic-agent-first"));
    running.stop().await;
}

#[tokio::test]
async fn fleet_server_itself_is_the_source_when_none_is_named() {
    let (server, folder) = installed().await;
    let running = Running::start(&folder.paths);
    // What policies say when nobody chose a source.
    let vendor = json!({"sourceURI": "https://artifacts.elastic.co/downloads/"});
    server.send_policy(1, policy(&server, &folder, &vendor));
    server.acknowledged("policy:p:1").await;
    server.hand_out(&program("9.8.7"));
    server.send_action(upgrade("too-new", "9.9.9", None));
    let seen = server.wait_for("checkin", state_is("UPG_FAILED")).await;
    let message = seen.body["upgrade_details"]["metadata"]["error_msg"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.contains("should say that it is 9.9.9, and says `9.8.7`"),
        "{message}"
    );
    server.hand_out(&program("9.9.9"));
    server.send_action(upgrade("up", "9.9.9", None));
    assert_eq!(running.ended().await, DaemonEnd::Replaced);
    assert!(linked_home(&folder).as_str().contains("elastic-agent-9.9.9-"));
}
