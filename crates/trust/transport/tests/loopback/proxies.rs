//! Requests through proxies: one of our own that takes notes, and those of Debian where they are installed.

use std::net::{SocketAddr, TcpListener as Probe};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Folder, Server, class, fetch, http_client};
use http::{HeaderMap, HeaderValue};
use pki::{Authority, AuthorityRequest, Usages};
use serde_json::json;
use tls::ServerTls;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use transport::ProxySettings;
use transport::diagnose::{CheckRequest, check};

const URL: &str = "https://fleet.test:8220/";

/// A CONNECT proxy that leads every tunnel to one place and keeps the heads of its requests.
struct NotingProxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl NotingProxy {
    async fn start(target: SocketAddr, tls: Option<Arc<ServerTls>>, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = heads.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (kept, tls) = (kept.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => tunnel(socket, target, answer, &kept).await,
                        Some(tls) => {
                            if let Ok(stream) = TlsAcceptor::from(tls.config()).accept(socket).await {
                                tunnel(stream, target, answer, &kept).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, heads }
    }

    fn settings(&self, scheme: &str, user: &str) -> ProxySettings {
        let url = format!("{scheme}://{user}localhost:{}", self.address.port());
        let mut headers = HeaderMap::new();
        headers.insert("x-tenant", HeaderValue::from_static("blue"));
        ProxySettings {
            url: url.parse().unwrap(),
            headers,
            tls: None,
            disable: false,
        }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    target: SocketAddr,
    answer: &str,
    heads: &Mutex<Vec<String>>,
) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    heads.lock().unwrap().push(head.clone());
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    if answer.contains(" 200 ") && head.starts_with("CONNECT ") {
        let mut onward = TcpStream::connect(target).await.unwrap();
        let _ends_with_either_side = copy_bidirectional(&mut stream, &mut onward).await;
    }
}

const OPEN: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

struct Place {
    folder: Folder,
    server: Server,
}

impl Place {
    /// A server that wants client certificates.
    fn new() -> Self {
        let folder = Folder::new();
        folder.issue("server", Usages::Server);
        folder.issue("agent", Usages::Client);
        let tls = folder.server_tls(json!({
            "certificate": "server.crt", "key": "server.key", "certificate_authorities": ["ca.crt"]
        }));
        let server = Server::start(Some(tls), transport::ServeOptions::default());
        Self { folder, server }
    }

    fn agent(&self, mode: &str) -> Arc<tls::ClientTls> {
        self.folder.client_tls(json!({
            "certificate_authorities": ["ca.crt"], "certificate": "agent.crt", "key": "agent.key",
            "verification_mode": mode
        }))
    }
}

#[tokio::test]
async fn tls_runs_end_to_end_through_a_tunnel_that_gets_headers_and_authentication() {
    let place = Place::new();
    let proxy = NotingProxy::start(place.server.address, None, OPEN).await;
    let client = http_client(place.agent("full"), None, Some(proxy.settings("http", "user:p%40ss@")));
    assert_eq!(fetch(&client, URL).await.unwrap(), "CN=agent");
    let heads = proxy.heads();
    let head = heads[0].to_ascii_lowercase();
    assert!(
        head.starts_with("connect fleet.test:8220 http/1.1\r\nhost: fleet.test:8220\r\n"),
        "{head}"
    );
    assert!(head.contains("x-tenant: blue\r\n"), "{head}");
    assert!(heads[0].contains("Basic dXNlcjpwQHNz"), "{head}");
}

#[tokio::test]
async fn the_name_of_the_final_host_is_verified_through_every_proxy() {
    let place = Place::new();
    let proxy_tls = place
        .folder
        .server_tls(json!({"certificate": "server.crt", "key": "server.key"}));
    let plain = NotingProxy::start(place.server.address, None, OPEN).await;
    let encrypted = NotingProxy::start(place.server.address, Some(proxy_tls), OPEN).await;
    for (mode, expected) in [
        ("full", "hostname_mismatch"),
        ("strict", "hostname_mismatch"),
        ("certificate", "none"),
    ] {
        for (proxy, scheme) in [(&plain, "http"), (&encrypted, "https")] {
            let client = http_client(place.agent(mode), None, Some(proxy.settings(scheme, "")));
            assert_eq!(
                class(&client, "https://wrong.test:8220/").await,
                expected,
                "{mode} {scheme}"
            );
        }
    }
}

#[tokio::test]
async fn an_https_proxy_may_want_a_client_certificate_of_its_own_authority() {
    let place = Place::new();
    let other = Authority::generate(AuthorityRequest {
        subject_cn: "Proxy CA".into(),
        ..Default::default()
    })
    .unwrap();
    place.folder.write("proxy-ca.crt", &other.certificate_pem());
    place.folder.issue_by(&other, "proxy", Usages::Server);
    place.folder.issue_by(&other, "visitor", Usages::Client);
    let proxy_tls = place.folder.server_tls(json!({
        "certificate": "proxy.crt", "key": "proxy.key", "certificate_authorities": ["proxy-ca.crt"]
    }));
    let proxy = NotingProxy::start(place.server.address, Some(proxy_tls), OPEN).await;
    let visitor = place.folder.client_tls(json!({
        "certificate_authorities": ["proxy-ca.crt"], "certificate": "visitor.crt", "key": "visitor.key"
    }));
    let with = |tls| ProxySettings {
        tls,
        ..proxy.settings("https", "")
    };
    let client = http_client(place.agent("full"), None, Some(with(Some(visitor))));
    assert_eq!(fetch(&client, URL).await.unwrap(), "CN=agent");
    // One block for both legs, as in the original: this one does not know the proxy's authority.
    let client = http_client(place.agent("full"), None, Some(with(None)));
    let error = fetch(&client, URL).await.unwrap_err();
    assert_eq!(error.explanation().unwrap().class, "unknown_authority");
    assert!(error.to_string().contains("the proxy"), "{error}");
}

#[tokio::test]
async fn refusals_of_a_proxy_are_told() {
    let place = Place::new();
    for (answer, expected) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "proxy_authentication_required",
        ),
        ("HTTP/1.1 403 Filtered\r\n\r\n", "proxy_refused"),
        ("HTTP/1.1 503 Down\r\n\r\n", "proxy_refused"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "proxy_failed"),
    ] {
        let proxy = NotingProxy::start(place.server.address, None, answer).await;
        let client = http_client(place.agent("full"), None, Some(proxy.settings("http", "user:secret@")));
        let error = fetch(&client, URL).await.unwrap_err();
        assert_eq!(error.explanation().unwrap().class, expected);
        assert!(error.is_connect());
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}

#[tokio::test]
async fn plain_http_goes_to_the_proxy_as_it_is() {
    let place = Place::new();
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nthrough";
    let proxy = NotingProxy::start(place.server.address, None, answer).await;
    let client = http_client(
        tls::ClientTls::system(),
        None,
        Some(proxy.settings("http", "user:pass@")),
    );
    assert_eq!(fetch(&client, "http://fleet.test:8220/x").await.unwrap(), "through");
    let head = proxy.heads()[0].to_ascii_lowercase();
    assert!(head.starts_with("get http://fleet.test:8220/x http/1.1\r\n"), "{head}");
    assert!(
        head.contains("x-tenant: blue") && head.contains("proxy-authorization: basic "),
        "{head}"
    );
}

#[tokio::test]
async fn a_disabled_proxy_is_passed_by() {
    let place = Place::new();
    let proxy = NotingProxy::start(place.server.address, None, OPEN).await;
    let settings = ProxySettings {
        disable: true,
        ..proxy.settings("http", "")
    };
    let client = http_client(place.agent("full"), Some(place.server.address), Some(settings));
    assert_eq!(fetch(&client, URL).await.unwrap(), "CN=agent");
    assert!(proxy.heads().is_empty());
}

/// The only test that sets the proxies of the process; the others configure theirs or dial a fixed address.
#[tokio::test]
async fn the_environment_says_which_hosts_take_a_proxy() {
    let place = Place::new();
    let proxy = NotingProxy::start(place.server.address, None, OPEN).await;
    let url = proxy.settings("http", "").url.to_string();
    let (found, errors) = transport::EnvironmentProxies::read(|name| match name {
        "https_proxy" => Some(url.clone()),
        "NO_PROXY" => Some("direct.invalid".to_owned()),
        _ => None,
    });
    assert!(errors.is_empty());
    found.install();
    let asked = |heads: Vec<String>| heads.iter().filter(|head| head.starts_with("CONNECT ")).count();
    let client = |connect_to, settings| http_client(place.agent("full"), connect_to, settings);
    assert_eq!(fetch(&client(None, None), URL).await.unwrap(), "CN=agent");
    assert_eq!(asked(proxy.heads()), 1);
    // Each of these goes around it.
    assert_eq!(
        class(&client(None, None), "https://direct.invalid/").await,
        "name_not_resolved"
    );
    let disabled = client(None, Some(ProxySettings::disabled()));
    assert_eq!(class(&disabled, "https://fleet.invalid/").await, "name_not_resolved");
    let here = format!("https://localhost:{}/", place.server.address.port());
    assert_eq!(fetch(&client(None, None), &here).await.unwrap(), "CN=agent");
    assert_eq!(
        fetch(&client(Some(place.server.address), None), URL).await.unwrap(),
        "CN=agent"
    );
    assert_eq!(asked(proxy.heads()), 1);
}

#[tokio::test]
async fn errors_do_not_repeat_the_password_of_a_url() {
    let place = Place::new();
    let client = http_client(place.agent("full"), None, None);
    for url in ["https://user:geheim@localhost:1/", "ftp://user:geheim@localhost/"] {
        let request = http::Request::get(url).body(bytes::Bytes::new()).unwrap();
        let error = client.send(request).await.unwrap_err();
        assert!(
            !error.to_string().contains("geheim") && !format!("{error:?}").contains("geheim"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_check_goes_through_a_proxy() {
    let place = Place::new();
    let proxy = NotingProxy::start(place.server.address, None, OPEN).await;
    let mut request = CheckRequest::from_url(URL, Duration::from_secs(10)).unwrap();
    request.proxy = Some(proxy.settings("http", ""));
    let report = check(&place.agent("full"), &request).await;
    assert!(report.ok, "{report}");
    let stranger = place.folder.client_tls(json!({"certificate_authorities": ["ca.crt"]}));
    assert_eq!(
        check(&stranger, &request).await.error_class,
        "client_certificate_missing"
    );
}

/// A proxy of Debian's, ended with the test.
struct RealProxy(Child);

impl Drop for RealProxy {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// `None`, said aloud, where the program is not installed.
#[expect(clippy::print_stderr, reason = "what is skipped is said aloud")]
fn real_proxy(program: &str, arguments: &[&str]) -> Option<RealProxy> {
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match spawned {
        Ok(child) => Some(RealProxy(child)),
        Err(error) => {
            assert!(
                std::env::var_os("FLOTILLA_NOTHING_SKIPPED").is_none(),
                "{program} is not installed"
            );
            eprintln!("SKIPPED: the test with the real proxy {program}: {error}");
            None
        }
    }
}

fn free_port() -> u16 {
    Probe::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn wait_until_it_listens(port: u16) {
    let listening = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), listening).await.unwrap();
}

#[tokio::test]
async fn through_tinyproxy() {
    let place = Place::new();
    let (port, target) = (free_port(), place.server.address.port());
    place.folder.write(
        "tinyproxy.conf",
        &format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nConnectPort {target}\nBasicAuth user pass\n"
        ),
    );
    let config = place.folder.path("tinyproxy.conf");
    let Some(_running) = real_proxy("tinyproxy", &["-d", "-c", config.as_str()]) else {
        return;
    };
    wait_until_it_listens(port).await;
    let proxy = |user: &str| ProxySettings {
        url: format!("http://{user}127.0.0.1:{port}").parse().unwrap(),
        headers: HeaderMap::new(),
        tls: None,
        disable: false,
    };
    let url = format!("https://localhost:{target}/");
    let client = http_client(place.agent("full"), None, Some(proxy("user:pass@")));
    assert_eq!(fetch(&client, &url).await.unwrap(), "CN=agent");
    let client = http_client(place.agent("full"), None, Some(proxy("")));
    assert!(["proxy_authentication_required", "proxy_refused"].contains(&class(&client, &url).await.as_str()));
    let client = http_client(place.agent("full"), None, Some(proxy("user:pass@")));
    assert_eq!(class(&client, "https://localhost:1/").await, "proxy_refused");
}

#[tokio::test]
async fn through_squid_over_https() {
    let place = Place::new();
    let (port, target) = (free_port(), place.server.address.port());
    let (certificate, key) = (place.folder.path("server.crt"), place.folder.path("server.key"));
    place.folder.write(
        "squid.conf",
        &format!(
            "https_port 127.0.0.1:{port} tls-cert={certificate} tls-key={key}\nhttp_access allow all\ncache deny all\n\
             pid_filename none\naccess_log none\ncache_log /dev/null\ncache_store_log none\nshutdown_lifetime 0 seconds\n\
             visible_hostname proxy.test\ncoredump_dir /tmp\n"
        ),
    );
    let config = place.folder.path("squid.conf");
    let Some(_running) = real_proxy("squid", &["-N", "-f", config.as_str()]) else {
        return;
    };
    wait_until_it_listens(port).await;
    let proxy = ProxySettings {
        url: format!("https://localhost:{port}").parse().unwrap(),
        headers: HeaderMap::new(),
        tls: None,
        disable: false,
    };
    let url = format!("https://localhost:{target}/");
    let client = http_client(place.agent("strict"), None, Some(proxy.clone()));
    assert_eq!(fetch(&client, &url).await.unwrap(), "CN=agent");
    let client = http_client(place.agent("full"), None, Some(proxy));
    assert_eq!(class(&client, "https://localhost:1/").await, "proxy_refused");
}
