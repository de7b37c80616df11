//! Proxies of Debian's between `tls check` and a server: tunnels, interception, and TLS that ends before the Fleet Server.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use camino::Utf8PathBuf;
use pki::Usages;
use testkit::{Flotilla, eventually, free_ports, run};

use crate::support::{FLOTILLA, Outcome, Place, authority};

/// What squid forges certificates with; only one of Debian's two packages brings it.
const CERTGEN: &str = "/usr/lib/squid/security_file_certgen";

/// A proxy, ended with the test.
struct Proxy {
    child: Child,
    port: u16,
}

impl Proxy {
    /// Starts it and waits until it listens.
    fn start(program: &str, arguments: &[&str], port: u16) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut proxy = Self { child, port };
        eventually(program, Duration::from_mins(1), || {
            assert_eq!(proxy.child.try_wait().unwrap(), None, "{program} ended by itself");
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// True, said aloud, where the test cannot run.
fn missing(program: &str) -> bool {
    let missing = !testkit::is_installed(program);
    if missing {
        testkit::skip(&format!("`{program}` is not installed"));
    }
    missing
}

/// squid with these lines (`@` is the place's folder, `PORT` its port) on top of a quiet configuration.
fn squid(place: &Place, lines: &str) -> Proxy {
    let [port] = free_ports();
    // It changes to a user of its own, who must be able to read the files.
    open_to_all(place);
    let quiet = "cache deny all\npid_filename none\naccess_log none\ncache_log @squid.log\ncache_store_log none\n\
                 shutdown_lifetime 0 seconds\nvisible_hostname proxy.test\ncoredump_dir /tmp\n";
    let config = place.settings(
        "squid.conf",
        &format!("{lines}\n{quiet}").replace("PORT", &port.to_string()),
    );
    Proxy::start("/usr/sbin/squid", &["-N", "-f", config.as_str()], port)
}

fn open_to_all(place: &Place) {
    fs_err::set_permissions(place.path(""), std::fs::Permissions::from_mode(0o777)).unwrap();
}

/// `tls check` of `localhost` through a proxy.
fn check(place: &Place, target: SocketAddr, proxy: &str, more: &str) -> Outcome {
    check_host(place, &format!("localhost:{}", target.port()), proxy, more)
}

fn check_host(place: &Place, authority: &str, proxy: &str, more: &str) -> Outcome {
    let url = format!("https://{authority}/");
    let more = place.words(more);
    let mut arguments = vec!["tls", "check", &url, "--json", "--proxy-url", proxy];
    arguments.extend(more.iter().map(String::as_str));
    crate::support::run(&arguments)
}

const OURS: &str = "-a @ca.crt --certificate @client.crt --key @client.key";

/// A server that lets only clients with a certificate in.
fn mutual(place: &Place) -> crate::support::TlsServe {
    place.serve("certificate_authorities: [@ca.crt]\nclient_authentication: required")
}

#[test]
fn squid_with_basic_authentication_carries_mutual_tls() {
    if missing("squid") {
        return;
    }
    let place = Place::new();
    let server = mutual(&place);
    let hash = run("openssl", ["passwd", "-apr1", "se:cret"]).stdout;
    place.write("users", [b"user:", hash.as_slice()].concat());
    let proxy = squid(
        &place,
        "http_port 127.0.0.1:PORT\nauth_param basic program /usr/lib/squid/basic_ncsa_auth @users\n\
         acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all",
    );
    let with = |user: &str| format!("http://{user}127.0.0.1:{}", proxy.port);
    assert_eq!(
        check(&place, server.address, &with("user:se%3Acret@"), OURS).class(),
        "none"
    );
    assert!(server.lines.next()["message"].as_str().unwrap().contains("CN=client"));
    for user in ["", "user:wrong@"] {
        let refused = check(&place, server.address, &with(user), OURS);
        assert_eq!(refused.class(), "proxy_authentication_required", "{user}");
        assert!(!refused.stdout.contains("wrong"), "{refused:?}");
    }
    let header = "--proxy-header Proxy-Authorization=Basic";
    let words = format!("{header} {OURS}");
    let refused = check(&place, server.address, &with(""), &words);
    assert_eq!(refused.class(), "proxy_authentication_required");
    // The name is that of the final host, whatever the proxy is called.
    let by_address = check_host(
        &place,
        &format!("127.0.0.2:{}", server.address.port()),
        &with("user:se%3Acret@"),
        OURS,
    );
    assert_ne!(by_address.class(), "none");
}

#[test]
fn squid_lets_requests_with_a_header_through_only() {
    if missing("squid") {
        return;
    }
    let place = Place::new();
    let server = mutual(&place);
    let proxy = squid(
        &place,
        "http_port 127.0.0.1:PORT\nacl tenant req_header X-Tenant ^blue$\nhttp_access allow tenant\nhttp_access deny all",
    );
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let blue = check(
        &place,
        server.address,
        &url,
        &format!("--proxy-header X-Tenant=blue {OURS}"),
    );
    assert_eq!(blue.class(), "none");
    for more in ["", "--proxy-header X-Tenant=red"] {
        let refused = check(&place, server.address, &url, &format!("{more} {OURS}"));
        assert_eq!(refused.class(), "proxy_refused", "{more}");
    }
}

#[test]
fn no_proxy_of_the_environment_leads_past_its_proxy() {
    let check = |excepted: &str, more: &[&str]| {
        let output = Command::new(FLOTILLA)
            // No name server knows this name, and nothing listens at the proxy: who was asked is told by the failure.
            .args(["tls", "check", "https://fleet.invalid:8220/", "--json"])
            .args(more)
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
            .env("NO_PROXY", excepted)
            .output();
        let outcome = Outcome::from(output.unwrap());
        assert_ne!(outcome.class(), "none");
        outcome.stdout.contains("127.0.0.1:1")
    };
    for (excepted, more, through_proxy) in [
        ("", &[][..], true),
        ("example.test,10.0.0.0/8", &[], true),
        ("fleet.invalid", &[], false),
        (".invalid", &[], false),
        ("*", &[], false),
        ("", &["--proxy-disabled"], false),
    ] {
        assert_eq!(check(excepted, more), through_proxy, "{excepted} {more:?}");
    }
}

#[test]
fn squid_over_https_may_demand_a_client_certificate() {
    if missing(CERTGEN) {
        return;
    }
    let place = Place::new();
    place.issue("proxy", Usages::Server);
    let server = mutual(&place);
    let proxy = squid(
        &place,
        "https_port 127.0.0.1:PORT tls-cert=@proxy.crt tls-key=@proxy.key clientca=@ca.crt tls-cafile=@ca.crt\n\
         http_access allow all",
    );
    let url = format!("https://localhost:{}", proxy.port);
    // One block serves both legs: the same certificate is shown to the proxy and to the server.
    assert_eq!(check(&place, server.address, &url, OURS).class(), "none");
    assert_eq!(server.class(), "none");
    let nobody = check(&place, server.address, &url, "-a @ca.crt");
    assert_eq!(nobody.status, Some(1), "{nobody:?}");
    assert!(
        nobody.stdout.contains("proxy"),
        "it says that the proxy refused: {nobody:?}"
    );
    // The proxy itself is verified, by its name and its authority.
    let renamed = check(
        &place,
        server.address,
        &format!("https://127.0.0.2:{}", proxy.port),
        OURS,
    );
    assert_ne!(renamed.class(), "none");
    place.write("other-ca.crt", authority("Other CA").certificate_pem());
    let stranger = check(
        &place,
        server.address,
        &url,
        "-a @other-ca.crt --certificate @client.crt --key @client.key",
    );
    assert_eq!(stranger.class(), "unknown_authority");
}

#[test]
fn an_intercepting_squid_is_trusted_by_its_own_authority_only() {
    if missing(CERTGEN) {
        return;
    }
    let place = Place::new();
    let server = place.serve("");
    let interception = authority("Interception CA");
    place.write("interception.crt", interception.certificate_pem());
    let key = interception.key_pem(certs::KeyFormat::Pkcs8);
    place.write(
        "interception.pem",
        format!("{}{}", interception.certificate_pem(), key.expose()),
    );
    let database = place.path("forged");
    let made = run(CERTGEN, ["-c", "-s", database.as_str(), "-M", "4MB"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    run("chown", ["-R", "proxy", database.as_str()]);
    let proxy = squid(
        &place,
        &format!(
            "http_port 127.0.0.1:PORT ssl-bump generate-host-certificates=on tls-cert=@interception.pem\n\
             sslcrtd_program {CERTGEN} -s @forged -M 4MB\nsslcrtd_children 1 startup=1\nssl_bump server-first all\n\
             tls_outgoing_options cafile=@ca.crt\nhttp_access allow all"
        ),
    );
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let through = |more: &str| check(&place, server.address, &url, more);
    assert_eq!(
        through("-a @interception.crt").class(),
        "none",
        "{}",
        place.read("squid.log")
    );
    let real = through("-a @ca.crt --details").line();
    assert_eq!(real["error_class"], "unknown_authority");
    assert!(
        real["presented"][0]["issuer"]
            .as_str()
            .unwrap()
            .contains("Interception CA"),
        "{real}"
    );
    let pin = certs::spki_pin(&place.authority.chain()[0]);
    let pinned = through(&format!("-a @interception.crt --ca-sha256 {pin}"));
    assert_eq!(
        pinned.class(),
        "pin_mismatch",
        "a pin of the real authority cannot match"
    );
}

#[test]
fn tinyproxy_carries_a_tunnel_to_allowed_ports_only() {
    if missing("tinyproxy") {
        return;
    }
    let place = Place::new();
    let server = mutual(&place);
    let [port] = free_ports();
    let config = place.write(
        "tinyproxy.conf",
        format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nConnectPort {}\n",
            server.address.port()
        ),
    );
    let _proxy = Proxy::start("tinyproxy", &["-d", "-c", config.as_str()], port);
    let url = format!("http://localhost:{port}");
    assert_eq!(check(&place, server.address, &url, OURS).class(), "none");
    assert_eq!(server.class(), "none");
    assert_eq!(check_host(&place, "localhost:1", &url, OURS).class(), "proxy_refused");
}

/// Agents verify the proxy, the proxy verifies agents and the Fleet Server: nothing else changes for an agent.
#[test]
fn an_agent_enrolls_through_a_haproxy_that_ends_tls() {
    if missing("haproxy") {
        return;
    }
    let place = Place::new();
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    place.write(
        "proxy.pem",
        format!("{}{}", place.read("server.crt"), place.read("server.key")),
    );
    let behind: Utf8PathBuf = flotilla.text("/ca/path").into();
    let [port] = free_ports();
    let address = flotilla.text("/urls/fleet_server");
    let address = address.trim_start_matches("https://");
    let config = place.settings(
        "haproxy.cfg",
        &format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5m\n  timeout server 5m\n\
             frontend agents\n  bind 127.0.0.1:{port} ssl crt @proxy.pem ca-file @ca.crt verify required\n  \
             default_backend fleet\n\
             backend fleet\n  server fleet {address} ssl ca-file {behind} verify required verifyhost localhost sni str(localhost)\n"
        ),
    );
    let _proxy = Proxy::start("haproxy", &["-db", "-f", config.as_str()], port);
    let link = testkit::Link::new(FLOTILLA, "elastic-agent");
    let enroll = |more: &str| {
        let home = tempfile::tempdir().unwrap();
        let line = format!(
            "enroll --path.home={} --url=https://localhost:{port} --enrollment-token={} --force {more}",
            home.path().display(),
            flotilla.text("/enrollment_token")
        );
        run(link.path(), place.words(&line))
    };
    let enrolled = enroll(
        "--certificate-authorities=@ca.crt --elastic-agent-cert=@client.crt --elastic-agent-cert-key=@client.key",
    );
    let said = format!("{enrolled:?}");
    assert!(enrolled.status.success(), "{said}");
    let without = enroll("--certificate-authorities=@ca.crt");
    assert!(!without.status.success(), "{without:?}");
    let direct = format!(
        "--certificate-authorities={behind} --elastic-agent-cert=@client.crt --elastic-agent-cert-key=@client.key"
    );
    assert!(
        !enroll(&direct).status.success(),
        "the authority behind the proxy says nothing about the proxy"
    );
}
