//! Packages: where they are, how they come here, and whether their program runs on this host.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::process::Stdio;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use flate2::read::MultiGzDecoder;
use fs_err as fs;
use http_body_util::BodyExt;
use serde_json::Value;
use sha2::{Digest, Sha512};
use tls::{ClientTls, LoadOptions, SslSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use transport::{HeaderMap, HttpClient, HttpClientSettings, ProxySettings, read_body};

use super::{PROGRAM, UpgradeError, UpgradeRequest};

/// Larger than any package of the original's.
const LARGEST: u64 = 2 * 1024 * 1024 * 1024;
const LARGEST_TEXT: usize = 1024 * 1024;
/// The program and the package beside it, unpacked at about three times its size.
const ROOM: u64 = 4;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A download that brings nothing for so long is dead.
const STALLED: Duration = Duration::from_mins(1);
/// A program that has not told its version by then hangs.
pub(super) const TRIAL: Duration = Duration::from_secs(30);
/// What a program says of its version is a line or two.
const LARGEST_ANSWER: u64 = 64 * 1024;
const SUFFIX: &str = ".tar.gz";

/// Where packages are.
#[derive(Clone, Debug)]
pub enum Source {
    /// A package, or a folder of them.
    Path(Utf8PathBuf),
    /// The root of a download site, or one package there.
    Url(String),
    /// A Fleet Server, which hands out the program that it is itself.
    FleetServer(FleetSite),
}

/// A Fleet Server as a source: the connection that check-ins take vouches for what comes over it.
#[derive(Clone, Debug)]
pub struct FleetSite {
    pub(crate) client: HttpClient,
    pub(crate) url: String,
}

impl Source {
    /// From a setting: `file://..`, a path, or a URL (https when it names no scheme).
    pub fn parse(text: &str) -> Self {
        if let Some(path) = text.strip_prefix("file://") {
            return Self::Path(path.into());
        }
        if text.starts_with(['/', '.']) {
            return Self::Path(text.into());
        }
        let url = if text.contains("://") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        Self::Url(url.trim_end_matches('/').to_owned())
    }
}

/// How packages are fetched: `agent.download` of a policy.
#[derive(Clone, Debug, Default)]
pub struct Downloads {
    /// `ssl`.
    pub ssl: Value,
    /// `proxy_url`.
    pub proxy_url: Option<String>,
    /// `proxy_headers`.
    pub proxy_headers: BTreeMap<String, String>,
    /// `proxy_disable`.
    pub proxy_disable: bool,
}

impl Downloads {
    /// From the block `agent.download`.
    pub fn of_policy(block: &Value) -> Self {
        let headers = block.get("proxy_headers").and_then(Value::as_object);
        Self {
            ssl: block.get("ssl").cloned().unwrap_or_default(),
            proxy_url: block.get("proxy_url").and_then(Value::as_str).map(str::to_owned),
            proxy_headers: headers
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect(),
            proxy_disable: block.get("proxy_disable").and_then(Value::as_bool).unwrap_or_default(),
        }
    }

    /// A client with these settings.
    ///
    /// # Errors
    /// [`UpgradeError::Fetch`], which names the setting that cannot be used.
    pub fn client(&self) -> Result<HttpClient, UpgradeError> {
        let settings = if self.ssl.is_null() {
            SslSettings::default()
        } else {
            SslSettings::from_value(&self.ssl).map_err(|error| UpgradeError::Fetch(error.to_string()))?
        };
        let tls = ClientTls::load(&settings, LoadOptions::named("agent.download.ssl"))
            .map_err(|error| UpgradeError::Fetch(format!("agent.download.ssl: {error}")))?;
        Ok(HttpClient::new(HttpClientSettings {
            tls,
            proxy: self.proxy()?,
            connect_timeout: CONNECT_TIMEOUT,
            headers: HeaderMap::new(),
            connect_to: None,
        }))
    }

    fn proxy(&self) -> Result<Option<ProxySettings>, UpgradeError> {
        let invalid = |what: String| UpgradeError::Fetch(format!("agent.download.{what}"));
        if self.proxy_disable {
            return Ok(Some(ProxySettings::disabled()));
        }
        let Some(url) = self.proxy_url.as_deref() else {
            return Ok(None);
        };
        let proxy =
            ProxySettings::from_url(url).map_err(|error| invalid(format!("proxy_url: {}", error.in_one_line())))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &self.proxy_headers {
            let name: transport::HeaderName = name
                .parse()
                .map_err(|_| invalid(format!("proxy_headers: `{name}` is no header")))?;
            let value = value
                .parse()
                .map_err(|_| invalid(format!("proxy_headers: the value of `{name}` is no header's")))?;
            headers.insert(name, value);
        }
        Ok(Some(ProxySettings { headers, ..proxy }))
    }
}

/// The name of a version's package. Source: the original's artefacts.
pub(super) fn file_name(version: &str) -> String {
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        other => other,
    };
    format!("elastic-agent-{version}-linux-{architecture}.tar.gz")
}

/// The program in `staging`, from a Fleet Server, with its hash checked. There is no signature: the key to check one with
/// would come from the same server.
async fn program_of(
    site: &FleetSite,
    staging: &Utf8Path,
    downloaded: impl Fn(f64),
) -> Result<Utf8PathBuf, UpgradeError> {
    let name = format!("flotilla-linux-{}", std::env::consts::ARCH);
    let url = format!("{}/install/{name}", site.url);
    let program = staging.join(PROGRAM);
    download(&site.client, &url, &program, downloaded).await?;
    let hash = text(&site.client, &format!("{url}.sha512")).await?;
    let checked = program.clone();
    super::blocking(move || {
        check_hash(&checked, &name, &hash)?;
        make_executable(&checked)
    })
    .await?;
    Ok(program)
}

/// A package that came here, with what lies beside it at its source.
struct Fetched {
    /// The file's name at the source, by which its `.sha512` calls it.
    name: String,
    hash: String,
    signature: String,
}

/// The program in `staging`, out of a package whose hash (and signature) was checked.
pub(super) async fn fetch(
    request: &UpgradeRequest,
    staging: &Utf8Path,
    downloaded: impl Fn(f64),
    extracting: impl FnOnce(),
) -> Result<Utf8PathBuf, UpgradeError> {
    let archive = staging.join(file_name(&request.version));
    let fetched = match &request.source {
        Source::Path(path) => from_folder(path, request, &archive).await?,
        Source::Url(url) => from_site(url, request, &archive, downloaded).await?,
        Source::FleetServer(site) => {
            let program = program_of(site, staging, downloaded).await?;
            // Nothing to unpack, but what comes now is the same: it is tried.
            extracting();
            return Ok(program);
        }
    };
    extracting();
    let (program, keys) = (staging.join(PROGRAM), request.keys.clone());
    super::blocking(move || {
        check_hash(&archive, &fetched.name, &fetched.hash)?;
        if let Some(keys) = keys {
            keys.verify(&archive, &fetched.signature)?;
        }
        take_program(&archive, &program)?;
        Ok(program)
    })
    .await
}

/// The version's package of a site, or the one that the URL names.
async fn from_site(
    site: &str,
    request: &UpgradeRequest,
    archive: &Utf8Path,
    downloaded: impl Fn(f64),
) -> Result<Fetched, UpgradeError> {
    let client = request.downloads.client()?;
    let url = if site.ends_with(SUFFIX) {
        site.to_owned()
    } else {
        format!("{site}/beats/elastic-agent/{}", file_name(&request.version))
    };
    download(&client, &url, archive, downloaded).await?;
    Ok(Fetched {
        name: url.rsplit('/').next().unwrap_or_default().to_owned(),
        hash: text(&client, &format!("{url}.sha512")).await?,
        signature: match request.keys {
            None => String::new(),
            Some(_) => text(&client, &format!("{url}.asc")).await?,
        },
    })
}

/// A package of a folder, or the one that is named.
async fn from_folder(path: &Utf8Path, request: &UpgradeRequest, archive: &Utf8Path) -> Result<Fetched, UpgradeError> {
    let package = if path.is_dir() {
        path.join(file_name(&request.version))
    } else {
        path.to_owned()
    };
    let beside = |extension: &str| {
        let file = Utf8PathBuf::from(format!("{package}.{extension}"));
        read_text(&file).map_err(|error| UpgradeError::Fetch(format!("{error}; it lies beside the package")))
    };
    let size = fs::metadata(&package)
        .map_err(|error| UpgradeError::Fetch(error.to_string()))?
        .len();
    check_room(archive.parent().unwrap_or(archive), size)?;
    let fetched = Fetched {
        name: package.file_name().unwrap_or_default().to_owned(),
        hash: beside("sha512")?,
        signature: match request.keys {
            None => String::new(),
            Some(_) => beside("asc")?,
        },
    };
    let target = archive.to_owned();
    tokio::task::spawn_blocking(move || fs::copy(package, target))
        .await
        .map_err(io::Error::other)??;
    Ok(fetched)
}

fn read_text(path: &Utf8Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?
        .take(LARGEST_TEXT as u64)
        .read_to_string(&mut text)?;
    Ok(text)
}

async fn download(
    client: &HttpClient,
    url: &str,
    target: &Utf8Path,
    downloaded: impl Fn(f64),
) -> Result<(), UpgradeError> {
    let failed = |error: String| UpgradeError::Fetch(format!("{url}: {error}"));
    let answer = get(client, url).await?;
    let length = answer
        .headers()
        .get(http::header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let Some(length) = length {
        check_room(target.parent().unwrap_or(target), length)?;
    }
    let mut file = tokio::fs::File::create(target).await?;
    let mut body = answer.into_body();
    let (mut received, mut told) = (0u64, 0u64);
    loop {
        let frame = tokio::time::timeout(STALLED, body.frame())
            .await
            .map_err(|_| failed(format!("nothing came for {} s", STALLED.as_secs())))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| failed(error.to_string()))?;
        let Ok(bytes) = frame.into_data() else { continue };
        received += bytes.len() as u64;
        if received > LARGEST {
            return Err(failed(format!("it is larger than {LARGEST} bytes")));
        }
        file.write_all(&bytes).await?;
        if let Some(length) = length.filter(|length| received - told > length / 20) {
            told = received;
            downloaded(received as f64 / length as f64);
        }
    }
    file.flush().await?;
    match length {
        Some(length) if length != received => Err(failed(format!("{received} of {length} bytes came"))),
        _ => Ok(()),
    }
}

/// A small text beside a package.
pub(super) async fn text(client: &HttpClient, url: &str) -> Result<String, UpgradeError> {
    let answer = get(client, url).await?;
    let body = read_body(answer.into_body(), LARGEST_TEXT)
        .await
        .map_err(|error| UpgradeError::Fetch(format!("{url}: {error}")))?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

async fn get(client: &HttpClient, url: &str) -> Result<http::Response<transport::ResponseBody>, UpgradeError> {
    let failed = |error: String| UpgradeError::Fetch(format!("{url}: {error}"));
    let request = http::Request::get(url)
        .body(bytes::Bytes::new())
        .map_err(|error| failed(error.to_string()))?;
    let answer = tokio::time::timeout(STALLED, client.send(request))
        .await
        .map_err(|_| failed("no answer".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    Err(failed(format!("the server answered {}", answer.status())))
}

fn check_room(folder: &Utf8Path, package: u64) -> Result<(), UpgradeError> {
    let disk = rustix::fs::statvfs(folder.as_std_path()).map_err(io::Error::from)?;
    let (free, needed) = (
        disk.f_bavail.saturating_mul(disk.f_frsize),
        package.saturating_mul(ROOM),
    );
    if free >= needed {
        return Ok(());
    }
    Err(UpgradeError::Space {
        folder: folder.to_owned(),
        free,
        needed,
    })
}

/// Compares with the line of this file in a text of `sha512sum`.
fn check_hash(archive: &Utf8Path, name: &str, text: &str) -> Result<(), UpgradeError> {
    let of_file = |line: &str| {
        let (hash, file) = line.trim().split_once(char::is_whitespace)?;
        (file.trim().trim_start_matches('*') == name).then(|| hash.to_lowercase())
    };
    let bare = || {
        let hash = text.trim().to_lowercase();
        (hash.len() == 128 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(hash)
    };
    let expected = text
        .lines()
        .find_map(of_file)
        .or_else(bare)
        .ok_or_else(|| UpgradeError::Untrusted(format!("its .sha512 has no line for `{name}`")))?;
    let mut hasher = Sha512::new();
    let mut file = fs::File::open(archive)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let found = hex::encode(hasher.finalize());
    if found == expected {
        return Ok(());
    }
    Err(UpgradeError::Untrusted(format!(
        "its SHA-512 is {found}, its .sha512 says {expected}"
    )))
}

/// The program out of a package: at its root, or where an older layout keeps it.
fn take_program(archive: &Utf8Path, target: &Utf8Path) -> Result<(), UpgradeError> {
    let unfit = |what: &str| UpgradeError::Unfit(format!("`{}` {what}", archive.file_name().unwrap_or_default()));
    let bounded = MultiGzDecoder::new(fs::File::open(archive)?).take(2 * LARGEST);
    let mut entries = tar::Archive::new(bounded);
    for entry in entries.entries()? {
        let mut entry = entry.map_err(|error| unfit(&format!("is damaged: {error}")))?;
        let is_program = entry
            .path()
            .is_ok_and(|path| path.file_name().is_some_and(|name| name == PROGRAM));
        if !(is_program && entry.header().entry_type().is_file()) {
            continue;
        }
        let mut file = fs::File::create(target)?;
        io::copy(&mut entry, &mut file)?;
        return make_executable(target);
    }
    Err(unfit(&format!("holds no program `{PROGRAM}`")))
}

fn make_executable(program: &Utf8Path) -> Result<(), UpgradeError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(program, std::fs::Permissions::from_mode(0o755))?;
    Ok(fs::File::open(program)?.sync_all()?)
}

/// The best test of architecture and libraries: the program tells its version. One that does not end is ended.
pub(super) async fn try_program(program: &Utf8Path, version: &str, limit: Duration) -> Result<(), UpgradeError> {
    let unfit = |what: String| UpgradeError::Unfit(format!("its program {what}"));
    let asked = tokio::time::timeout(limit, ask_version(program)).await;
    let (status, said) = asked
        .map_err(|_| unfit(format!("did not tell its version within {} s", limit.as_secs_f32())))?
        .map_err(|error| unfit(format!("does not start: {error}")))?;
    if status.success() && said.split_whitespace().any(|word| word == version) {
        return Ok(());
    }
    let said = match said.trim() {
        "" => "nothing".to_owned(),
        said => format!("`{said}`"),
    };
    Err(unfit(format!(
        "should say that it is {version}, and says {said} ({status})"
    )))
}

async fn ask_version(program: &Utf8Path) -> io::Result<(std::process::ExitStatus, String)> {
    let mut child = start_when_free(program).await?;
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(LARGEST_ANSWER).read_to_end(&mut said).await?;
    }
    Ok((child.wait().await?, String::from_utf8_lossy(&said).into_owned()))
}

/// A child that another thread starts inherits, for a moment, the handle that the program was written through, and a
/// program that is open for writing cannot be run.
async fn start_when_free(program: &Utf8Path) -> io::Result<tokio::process::Child> {
    let mut tries = 0;
    loop {
        let started = Command::new(program)
            .args(["version", "--binary-only"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        match started {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < 20 => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => return other,
        }
    }
}
