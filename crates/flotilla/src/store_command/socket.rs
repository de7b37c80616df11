//! How commands reach the `flotilla up` that holds the data folder: a Unix socket in it, of mode 0600.
//!
//! One request, one answer, each a line of JSON. Who may open the socket may read the folder's secrets anyhow, so there is
//! no further credential.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use embedded::{CheckReport, EmbeddedStore};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::printer::Hint;

const NAME: &str = "store.sock";
/// A socket's address has room for 107 bytes; a longer path goes through the open folder's descriptor.
const LONGEST_PATH: usize = 100;
const LONGEST_LINE: u64 = 1 << 20;
/// A request is written at once.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Read everything.
    Check,
    /// Give space back.
    Compact,
    /// Copy the installation.
    Backup {
        /// Where to; absolute.
        target: Utf8PathBuf,
    },
    /// Where the Elasticsearch API is.
    Where,
}

/// What came of it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// Of `Check`.
    Checked(CheckReport),
    /// Of what has nothing to tell.
    Done,
    /// Of `Where`.
    Elasticsearch(Endpoint),
    /// It did not work.
    Failed {
        /// Error and causes, outermost first.
        messages: Vec<String>,
    },
}

/// Where the Elasticsearch API is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Endpoint {
    /// `https://address:port`, to be dialled from this host.
    pub(crate) url: url::Url,
    /// The file that verifies it.
    pub(crate) certificate_authority: Utf8PathBuf,
}

/// Asks the process that holds `root`; `None` when none runs there.
pub(crate) fn ask(root: &Utf8Path, request: &Request) -> Result<Option<Reply>> {
    let path = root.join(NAME);
    let stream = with_short_path(&path, |short| std::os::unix::net::UnixStream::connect(short));
    let mut stream = match stream {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => {
            return Err(Hint::error(
                format!("cannot use `{path}`: {error}"),
                "run this as the user that runs `flotilla up`",
            ));
        }
    };
    let broken = || format!("the flotilla that runs on `{root}` broke off");
    writeln!(stream, "{}", serde_json::to_string(request)?).with_context(broken)?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST_LINE))
        .read_line(&mut line)
        .with_context(broken)?;
    match serde_json::from_str(&line).with_context(broken)? {
        Reply::Failed { messages } => Err(as_error(messages)),
        reply => Ok(Some(reply)),
    }
}

fn as_error(messages: Vec<String>) -> anyhow::Error {
    let mut causes = messages.into_iter().rev();
    let innermost = causes.next().unwrap_or_else(|| "no reason was given".to_owned());
    causes.fold(anyhow::anyhow!(innermost), anyhow::Error::context)
}

/// The socket of a running process.
#[derive(Debug)]
pub(crate) struct StoreSocket {
    root: Utf8PathBuf,
    listener: tokio::net::UnixListener,
    store: Arc<EmbeddedStore>,
    endpoint: Endpoint,
}

impl StoreSocket {
    /// Makes it in `root`, whose lock the caller holds: a socket that is there is one that a dead process left.
    pub(crate) fn bind(root: &Utf8Path, store: Arc<EmbeddedStore>, endpoint: Endpoint) -> Result<Self> {
        let path = root.join(NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listener = with_short_path(&path, |short| tokio::net::UnixListener::bind(short))
            .with_context(|| format!("cannot make the socket `{path}`"))?;
        fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            root: root.to_owned(),
            listener,
            store,
            endpoint,
        })
    }

    /// Answers until `stop`; what is under way is finished.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = this.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let this = Arc::clone(&this);
                    tasks.spawn(async move {
                        if let Err(error) = this.serve(stream).await {
                            tracing::debug!(%error, "a client of the store's socket went away");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the store's socket cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        if let Err(error) = fs::remove_file(this.root.join(NAME)) {
            tracing::debug!(%error, "cannot remove the store's socket");
        }
        tasks.close();
        tasks.wait().await;
    }

    async fn serve(&self, mut stream: tokio::net::UnixStream) -> std::io::Result<()> {
        let (reader, mut writer) = stream.split();
        let mut line = String::new();
        let mut reader = tokio::io::BufReader::new(reader.take(LONGEST_LINE));
        tokio::time::timeout(REQUEST_TIMEOUT, reader.read_line(&mut line)).await??;
        let reply = match serde_json::from_str(&line) {
            Ok(Request::Where) => Reply::Elasticsearch(self.endpoint.clone()),
            Ok(request) => super::answer(&self.root, &self.store, &request)
                .await
                .unwrap_or_else(|error| Reply::Failed {
                    messages: error.chain().map(ToString::to_string).collect(),
                }),
            Err(error) => Reply::Failed {
                messages: vec![format!("the request cannot be read: {error}")],
            },
        };
        let mut text = serde_json::to_vec(&reply)?;
        text.push(b'\n');
        writer.write_all(&text).await
    }
}

fn with_short_path<T>(
    path: &Utf8Path,
    open: impl FnOnce(&std::path::Path) -> std::io::Result<T>,
) -> std::io::Result<T> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return open(path.as_std_path());
    };
    if path.as_str().len() <= LONGEST_PATH {
        return open(path.as_std_path());
    }
    let folder = fs::File::open(folder)?;
    open(format!("/proc/self/fd/{}/{name}", folder.file().as_raw_fd()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded::EmbeddedOptions;

    fn check(depth: usize) {
        let folder = tempfile::tempdir().unwrap();
        let mut root = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        for _ in 0..depth {
            root.push("a-folder-with-a-rather-long-name");
        }
        fs::create_dir_all(&root).unwrap();
        assert!(ask(&root, &Request::Check).unwrap().is_none(), "nobody is there");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let store = EmbeddedStore::open(EmbeddedOptions::new(root.join("store"), clock::system())).unwrap();
            let endpoint = Endpoint {
                url: "https://127.0.0.1:9201".parse().unwrap(),
                certificate_authority: root.join("ca.crt"),
            };
            let stop = CancellationToken::new();
            let socket = StoreSocket::bind(&root, Arc::clone(&store), endpoint).unwrap();
            let mode = fs::metadata(root.join(NAME)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let running = tokio::spawn(socket.run(stop.clone()));
            let asked = |request: Request| {
                let root = root.clone();
                async move { tokio::task::spawn_blocking(move || ask(&root, &request)).await.unwrap() }
            };
            let checked = asked(Request::Check).await.unwrap();
            assert!(matches!(checked, Some(Reply::Checked(report)) if report.damage.is_empty()));
            let answered = asked(Request::Where).await.unwrap();
            assert!(matches!(answered, Some(Reply::Elasticsearch(endpoint)) if endpoint.url.port() == Some(9201)));
            let refused = asked(Request::Backup { target: root.clone() }).await.unwrap_err();
            assert!(refused.to_string().contains("exists already"), "{refused}");
            stop.cancel();
            running.await.unwrap();
            assert!(asked(Request::Check).await.unwrap().is_none(), "it is gone");
        });
    }

    #[test]
    fn requests_are_answered_also_below_a_long_path() {
        check(0);
        check(5);
    }
}
