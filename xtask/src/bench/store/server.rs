//! One of the two stores behind HTTPS: asked over connections that stay open, measured from outside.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tls::{Alpn, ClientTls, LoadOptions, SslSettings};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::process::{Figures, Up};
use crate::nodes;

/// A store at rest uses less of a core than this.
const REST: f64 = 0.03;
/// Merges may take as long.
const LONGEST_REST: Duration = Duration::from_mins(5);

/// Where it is and who asks.
#[derive(Clone)]
pub(super) struct Server {
    port: u16,
    tls: Arc<ClientTls>,
    authorization: String,
    process: u32,
}

/// A connection.
pub(super) struct Client {
    server: Server,
    sender: SendRequest<Full<Bytes>>,
}

impl Server {
    pub(super) fn of(up: &Up) -> Result<Self> {
        let url = up.text("/urls/elasticsearch")?;
        Self::new(
            url,
            up.text("/ca/path")?,
            up.text("/username")?,
            up.text("/password")?,
            up.id(),
        )
    }

    fn new(url: &str, ca: &str, user: &str, password: &str, process: u32) -> Result<Self> {
        let (_, port) = url
            .trim_end_matches('/')
            .rsplit_once(':')
            .context("the URL has no port")?;
        let settings = SslSettings::from_value(&json!({ "certificate_authorities": [ca] }))?;
        Ok(Self {
            port: port.parse()?,
            tls: ClientTls::load(&settings, LoadOptions::named("bench"))?,
            authorization: format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))),
            process,
        })
    }

    pub(super) async fn client(&self) -> Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let (config, name) = self
            .tls
            .prepare("localhost", Alpn::Http1)
            .map_err(|explanation| anyhow::anyhow!("{explanation}"))?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // What goes wrong is told to the sender.
            let _told_to_the_sender = connection.await;
        });
        Ok(Client {
            server: self.clone(),
            sender,
        })
    }

    pub(super) fn figures(&self) -> Result<Figures> {
        Figures::of(self.process)
    }

    /// Waits until merges are done, and returns the figures of the moment when they were.
    pub(super) async fn at_rest(&self) -> Result<Figures> {
        let started = Instant::now();
        let mut before = self.figures()?;
        loop {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let now = self.figures()?;
            let spent = before.until(now);
            if spent.cpu / spent.wall < REST || started.elapsed() > LONGEST_REST {
                return Ok(now);
            }
            before = now;
        }
    }
}

impl Client {
    /// The answer of a call that succeeds.
    pub(super) async fn ask(&mut self, method: Method, path: &str, body: impl Into<Bytes>) -> Result<Value> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", format!("localhost:{}", self.server.port))
            .header("authorization", &self.server.authorization)
            .header("content-type", "application/json")
            .body(Full::new(body.into()))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await?.to_bytes();
        ensure!(
            status.is_success(),
            "{path}: {status} {}",
            String::from_utf8_lossy(&bytes)
        );
        Ok(serde_json::from_slice(&bytes)?)
    }

    pub(super) async fn bulk(&mut self, stream: &str, body: Vec<u8>) -> Result<()> {
        let path = format!("/{stream}/_bulk?filter_path=errors");
        let answer = self.ask(Method::POST, &path, body).await?;
        ensure!(answer["errors"] == false, "a document was refused");
        Ok(())
    }

    /// Documents and octets of a data stream.
    pub(super) async fn size_of(&mut self, stream: &str) -> Result<(u64, u64)> {
        let path = format!("/_cat/indices/{stream}?format=json&bytes=b&h=docs.count,store.size");
        let rows = self.ask(Method::GET, &path, "").await?;
        let sum = |column: &str| {
            let cells = rows.as_array().into_iter().flatten();
            cells.filter_map(|row| row[column].as_str()?.parse::<u64>().ok()).sum()
        };
        Ok((sum("docs.count"), sum("store.size")))
    }
}

/// A running OpenSearch; stopped at the end.
pub(super) struct OpenSearch {
    tools: PathBuf,
    folder: PathBuf,
}

impl OpenSearch {
    /// Starts it with a template that has the fields of the documents; `None` where its scripts are not.
    pub(super) fn start(folder: &Path) -> Result<Option<(Self, Server)>> {
        let tools = nodes::tools().join("opensearch");
        if !tools.join("start.sh").is_file() {
            return Ok(None);
        }
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let node = Self {
            tools,
            folder: folder.to_owned(),
        };
        let output = Command::new(node.tools.join("start.sh"))
            .arg(folder)
            .arg(port.to_string())
            .output()?;
        if !output.status.success() {
            bail!("OpenSearch does not start: {}", String::from_utf8_lossy(&output.stderr));
        }
        let process = std::fs::read_to_string(folder.join("pid"))?.trim().parse()?;
        let ca = folder.join("tls/ca.crt").display().to_string();
        let url = format!("https://127.0.0.1:{port}");
        let server = Server::new(&url, &ca, "admin", "flotilla-Admin-1", process)?;
        Ok(Some((node, server)))
    }
}

impl Drop for OpenSearch {
    fn drop(&mut self) {
        let _gone_already = Command::new(self.tools.join("stop.sh")).arg(&self.folder).status();
    }
}
