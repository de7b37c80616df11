//! Clients of others with files of our certutil: against `tls serve`, and against every listener of `flotilla up`.

use std::io::Cursor;
use std::path::Path;
use std::process::{Command, Stdio};

use camino::Utf8PathBuf;
use certs::{IdentityNames, KeyFormat, P12Identity, PemSource};
use pki::{Authority, LeafRequest, Usages};
use secret::Secret;
use testkit::Flotilla;

use crate::support::{FLOTILLA, TlsServe, authority};

/// Of every PKCS#12 file here.
const PASSWORD: &str = "changeit";

/// What a client trusts and shows: `NAME.crt`, `NAME.key` and `NAME.p12` in one folder.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn empty() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// `ca`, `server`, `client` and, of another authority, `stranger`, all made by our certutil.
    fn of_certutil() -> Self {
        let files = Self::empty();
        files.certutil("ca --pem", "ca");
        let signed = "--ca-cert @ca.crt --ca-key @ca.key --dns localhost,fleet.test --ip 127.0.0.1";
        for (name, kind) in [("server", "rsa"), ("client", "ecdsa")] {
            files.certutil(&format!("cert --pem --name {name} --key-type {kind} {signed}"), name);
            let bundle = format!("cert --name {name} --key-type {kind} {signed} --pass {PASSWORD} --out @{name}.p12");
            files.run_certutil(&bundle);
        }
        files.certutil("cert --pem --self-signed --name stranger", "stranger");
        files.trust_bundle();
        files
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.folder.path().join(name)).unwrap()
    }

    fn run_certutil(&self, line: &str) {
        let folder = self.path("");
        let words = line.split_whitespace().map(|word| word.replace('@', folder.as_str()));
        let mut arguments = vec!["certutil".to_owned()];
        arguments.extend(words);
        let output = testkit::run(FLOTILLA, &arguments);
        assert!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Unpacks the one pair of an archive beside each other.
    fn certutil(&self, line: &str, name: &str) {
        self.run_certutil(&format!("{line} --out @{name}.zip"));
        let bytes = fs_err::read(self.path(&format!("{name}.zip"))).unwrap();
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        for ending in ["crt", "key"] {
            let mut entry = archive.by_name(&format!("{name}/{name}.{ending}")).unwrap();
            let mut file = fs_err::File::create(self.path(&format!("{name}.{ending}"))).unwrap();
            std::io::copy(&mut entry, &mut file).unwrap();
        }
    }

    /// `ca.p12` with nothing but the trusted certificates of `ca.crt`.
    fn trust_bundle(&self) {
        let trusted = certs::load_certificates(&self.path("ca.crt").as_path().into(), "ca").unwrap();
        let bundle = certs::write_p12(None, &[("ca", &trusted[0])], &Secret::from(PASSWORD)).unwrap();
        fs_err::write(self.path("ca.p12"), bundle).unwrap();
    }

    /// `client` of an installation's authority for agents, and the `ca` that its listeners are verified with.
    fn of_agent(flotilla: &Flotilla) -> Self {
        let files = Self::empty();
        let made = |name: &str| {
            let path = flotilla.data_dir().join("certs").join(name);
            PemSource::from(Utf8PathBuf::from_path_buf(path).unwrap().as_path())
        };
        let pair = (made("agent-ca.crt"), made("agent-ca.key"));
        let agents = certs::load_identity(&pair.0, Some(&pair.1), None, IdentityNames::default()).unwrap();
        let request = LeafRequest {
            common_name: "agent-1".into(),
            usages: Usages::Client,
            ..LeafRequest::default()
        };
        let agent = Authority::from_identity(agents).unwrap().issue(request).unwrap();
        let key = certs::write_pem_key(&agent.key, KeyFormat::Pkcs8).unwrap();
        fs_err::write(files.path("client.crt"), certs::write_pem_certificates(&agent.chain)).unwrap();
        fs_err::write(files.path("client.key"), key.expose()).unwrap();
        let bundle = P12Identity {
            alias: "agent",
            key: &agent.key,
            chain: &agent.chain,
            created: jiff::Timestamp::UNIX_EPOCH,
        };
        let bundle = certs::write_p12(Some(&bundle), &[], &Secret::from(PASSWORD)).unwrap();
        fs_err::write(files.path("client.p12"), bundle).unwrap();
        fs_err::copy(flotilla.text("/ca/path"), files.path("ca.crt")).unwrap();
        files.trust_bundle();
        files
    }
}

/// A client of others.
struct Client {
    program: &'static str,
    /// Runs it against a URL, with the files of a name shown when there is one; what it printed.
    run: fn(&Files, &str, Option<&str>) -> String,
}

const CURL: Client = Client {
    program: "curl",
    run: |files, url, shown| {
        let fixed = [
            "-sSi",
            "--max-time",
            "30",
            "--cacert",
            files.path("ca.crt").as_str(),
            url,
        ]
        .map(str::to_owned);
        let shown = pem(files, shown).into_iter();
        let shown = ["--cert", "--key"].into_iter().zip(shown);
        let mut arguments = Vec::from(fixed);
        arguments.extend(shown.flat_map(|(flag, path)| [flag.to_owned(), path]));
        said("curl", arguments)
    },
};

const OPENSSL: Client = Client {
    program: "openssl",
    run: |files, url, shown| {
        let (place, path) = url.trim_start_matches("https://").split_once('/').unwrap();
        let shown = pem(files, shown).into_iter();
        let shown = ["-cert", "-key"].into_iter().zip(shown);
        let shown: Vec<String> = shown.map(|(flag, path)| format!(" {flag} {path}")).collect();
        let shown = shown.concat();
        let chain = shown
            .contains("-cert")
            .then(|| format!(" -cert_chain {}", files.path("client.crt")));
        let line = format!(
            "printf 'GET /{path} HTTP/1.1\\r\\nHost: {place}\\r\\nConnection: close\\r\\n\\r\\n' | \
             openssl s_client -connect {place} -servername localhost -verify_hostname localhost -verify_return_error \
             -CAfile {} -quiet -ign_eof{shown}{}",
            files.path("ca.crt"),
            chain.unwrap_or_default()
        );
        said("sh", vec!["-c".to_owned(), line])
    },
};

const PYTHON: Client = Client {
    program: "python3",
    run: |files, url, shown| said("python3", script(files, "client.py", url, shown)),
};

const NODE: Client = Client {
    program: "node",
    run: |files, url, shown| said("node", script(files, "client.mjs", url, shown)),
};

const GO: Client = Client {
    program: "go",
    run: |files, url, shown| {
        let mut arguments = script(files, "client.go", url, shown);
        arguments.insert(0, "run".to_owned());
        said("go", arguments)
    },
};

const JAVA: Client = Client {
    program: "javac",
    run: |files, url, shown| {
        let mut arguments = vec![
            source("Client.java"),
            PASSWORD.to_owned(),
            url.to_owned(),
            files.path("ca.p12").into_string(),
        ];
        arguments.extend(shown.map(|name| files.path(&format!("{name}.p12")).into_string()));
        said("java", arguments)
    },
};

const CLIENTS: [Client; 6] = [CURL, OPENSSL, PYTHON, NODE, GO, JAVA];

fn source(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    folder.join(name).to_str().unwrap().to_owned()
}

/// Certificate and key of a name.
fn pem(files: &Files, name: Option<&str>) -> Vec<String> {
    let pair = name.map(|name| ["crt", "key"].map(|ending| files.path(&format!("{name}.{ending}")).into_string()));
    pair.into_iter().flatten().collect()
}

fn script(files: &Files, name: &str, url: &str, shown: Option<&str>) -> Vec<String> {
    let mut arguments = vec![source(name), url.to_owned(), files.path("ca.crt").into_string()];
    arguments.extend(pem(files, shown));
    arguments
}

/// Runs a client; whether it failed is seen in what it says.
fn said(program: &str, arguments: Vec<String>) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("GO111MODULE", "off")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The HTTP status, when an answer came.
fn status(said: &str) -> Option<u16> {
    let line = said.lines().find(|line| line.starts_with("HTTP/"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// With its certificate a client is let in and known; without one, and where it does not trust the server, it is not.
fn shakes_hands(client: &Client) {
    if !testkit::is_installed(client.program) {
        return testkit::skip(&format!("`{}` is not installed", client.program));
    }
    let files = Files::of_certutil();
    let folder = files.path("");
    for (pair, protocols) in [
        ("certificate: @server.crt\n  key: @server.key", "TLSv1.3"),
        (
            "certificate: @server.p12\n  key: @server.p12\n  key_passphrase: changeit",
            "TLSv1.2",
        ),
    ] {
        let settings = format!(
            "ssl:\n  {pair}\n  certificate_authorities: [@ca.crt]\n  client_authentication: required\n  \
             supported_protocols: [{protocols}]\n"
        );
        let config = files.path("serve.yml");
        fs_err::write(&config, settings.replace('@', folder.as_str())).unwrap();
        let server = TlsServe::start(&config);
        let url = format!("https://localhost:{}/", server.address.port());
        let run = |shown| (client.run)(&files, &url, shown);

        let known = run(Some("client"));
        assert_eq!(status(&known), Some(200), "{protocols}: {known}");
        let line = server.lines.next();
        assert!(line["message"].as_str().unwrap().contains("CN=client"), "{line}");

        let nobody = run(None);
        assert_eq!(status(&nobody), None, "{protocols}: {nobody}");
        assert_eq!(server.class(), "client_certificate_missing", "{protocols}");
    }
    let server = TlsServe::start(&files.path("serve.yml"));
    fs_err::write(files.path("ca.crt"), authority("Other CA").certificate_pem()).unwrap();
    files.trust_bundle();
    let url = format!("https://localhost:{}/", server.address.port());
    let distrustful = (client.run)(&files, &url, Some("client"));
    assert_eq!(status(&distrustful), None, "{distrustful}");
    assert_ne!(server.class(), "none");
}

#[test]
fn curl() {
    shakes_hands(&CURL);
}

#[test]
fn openssl() {
    shakes_hands(&OPENSSL);
}

#[test]
fn python() {
    shakes_hands(&PYTHON);
}

#[test]
fn node() {
    shakes_hands(&NODE);
}

#[test]
fn go() {
    shakes_hands(&GO);
}

#[test]
fn java() {
    shakes_hands(&JAVA);
}

#[test]
fn every_listener_of_up_serves_them_with_a_certificate_of_an_agent() {
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let files = Files::of_agent(&flotilla);
    for client in &CLIENTS {
        if !testkit::is_installed(client.program) {
            testkit::skip(&format!("`{}` is not installed", client.program));
            continue;
        }
        for (url, path, expected) in [
            ("/urls/fleet_server", "/api/status", 200),
            // Without a login; that it answers is enough.
            ("/urls/elasticsearch", "/_cat/health", 401),
            ("/urls/console", "/login", 200),
        ] {
            let url = format!("{}{path}", flotilla.text(url));
            let said = (client.run)(&files, &url, Some("client"));
            assert_eq!(status(&said), Some(expected), "{} {url}: {said}", client.program);
        }
    }
}

#[test]
fn a_certificate_of_a_stranger_is_refused_by_the_listeners_that_ask() {
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let made = Files::of_certutil();
    fs_err::copy(flotilla.text("/ca/path"), made.path("ca.crt")).unwrap();
    for (url, expected) in [
        ("/urls/fleet_server", None),
        ("/urls/elasticsearch", None),
        // The console asks for none.
        ("/urls/console", Some(200)),
    ] {
        let url = format!("{}/login", flotilla.text(url));
        let said = (CURL.run)(&made, &url, Some("stranger"));
        assert_eq!(status(&said), expected, "{url}: {said}");
    }
}
