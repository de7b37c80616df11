//! The control socket: one JSON request a line, one JSON answer a line, on a Unix socket of mode 0660.
//!
//! `status` is answered from what was last published; everything else is handed to the daemon.

use std::io;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::status::StatusReport;

/// Requests are short; answers may hold a policy.
const MAX_REQUEST: u64 = 64 * 1024;
const MAX_ANSWER: u64 = 128 * 1024 * 1024;
const MAX_CONNECTIONS: usize = 32;

/// What a daemon can be asked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// The health.
    Status,
    /// Start over: read enrolment and configuration again.
    Reload,
    /// Start over, units included.
    Restart,
    /// End, so that the program that the link leads to now takes over.
    Replace,
    /// The effective configuration, secrets masked.
    Inspect,
    /// A diagnostics archive, base64.
    Diagnostics,
    /// What process, inputs and outputs have counted.
    Stats,
}

/// A command that waits for its answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) command: Command,
    pub(crate) answer: oneshot::Sender<Result<Value, String>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(Value),
    Error(String),
}

/// Why a daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("no agent runs here: nothing answers at `{socket}`; start it with `elastic-agent run`, or as the service")]
    NotRunning {
        /// The socket.
        socket: Utf8PathBuf,
    },
    /// Not allowed to connect.
    #[error("no permission to use `{socket}`; run this as root or as the agent's user")]
    Permission {
        /// The socket.
        socket: Utf8PathBuf,
    },
    /// The daemon hung up or sent nonsense.
    #[error("the agent at `{socket}` gave no usable answer: {reason}")]
    NoAnswer {
        /// The socket.
        socket: Utf8PathBuf,
        /// What happened.
        reason: String,
    },
    /// The daemon refused.
    #[error("the agent could not do it: {0}")]
    Refused(String),
}

/// Asks a running daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: Utf8PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client for the daemon at `socket` that waits 30 s for an answer.
    pub fn new(socket: Utf8PathBuf) -> Self {
        Self {
            socket,
            timeout: Duration::from_secs(30),
        }
    }

    /// Sends `command` and waits for the answer.
    pub async fn ask(&self, command: &Command) -> Result<Value, ControlError> {
        match tokio::time::timeout(self.timeout, self.exchange(command)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.no_answer("it took longer than 30 s")),
        }
    }

    /// The daemon's health.
    pub async fn status(&self) -> Result<StatusReport, ControlError> {
        let value = self.ask(&Command::Status).await?;
        serde_json::from_value(value).map_err(|error| self.no_answer(&error.to_string()))
    }

    async fn exchange(&self, command: &Command) -> Result<Value, ControlError> {
        let socket = || self.socket.clone();
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => ControlError::Permission { socket: socket() },
                _ => ControlError::NotRunning { socket: socket() },
            })?;
        let (read, mut write) = stream.into_split();
        let mut line = serde_json::to_vec(command).map_err(|error| self.no_answer(&error.to_string()))?;
        line.push(b'\n');
        write
            .write_all(&line)
            .await
            .map_err(|error| self.no_answer(&error.to_string()))?;
        let mut answer = String::new();
        let mut reader = BufReader::new(read).take(MAX_ANSWER);
        reader
            .read_line(&mut answer)
            .await
            .map_err(|error| self.no_answer(&error.to_string()))?;
        match serde_json::from_str(&answer).map_err(|error| self.no_answer(&error.to_string()))? {
            Answer::Ok(value) => Ok(value),
            Answer::Error(reason) => Err(ControlError::Refused(reason)),
        }
    }

    fn no_answer(&self, reason: &str) -> ControlError {
        ControlError::NoAnswer {
            socket: self.socket.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// The socket, bound.
#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    socket: Utf8PathBuf,
}

impl Server {
    /// Binds `socket`; one that a dead daemon left behind is replaced (the caller holds the folder's lock).
    pub(crate) fn bind(socket: &Utf8Path) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        match fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if let Some(parent) = socket.parent() {
            fs::create_dir_all(parent)?;
        }
        let listener = UnixListener::bind(socket).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot make the control socket `{socket}`: {error}"),
            )
        })?;
        fs::set_permissions(socket, std::fs::Permissions::from_mode(0o660))?;
        Ok(Self {
            listener,
            socket: socket.to_owned(),
        })
    }

    /// Answers until `stop`.
    pub(crate) async fn run(
        self,
        status: watch::Receiver<StatusReport>,
        daemon: mpsc::Sender<Asked>,
        stop: CancellationToken,
    ) {
        let tasks = TaskTracker::new();
        loop {
            let accepted =
                tokio::select! { accepted = self.listener.accept() => accepted, () = stop.cancelled() => break };
            match accepted {
                Ok((stream, _)) if tasks.len() < MAX_CONNECTIONS => {
                    let serve = serve(stream, status.clone(), daemon.clone());
                    tasks.spawn(stop.clone().run_until_cancelled_owned(serve));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(error = %error, "control socket");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
        tasks.close();
        tasks.wait().await;
        if let Err(error) = fs::remove_file(&self.socket) {
            tracing::debug!(error = %error, "cannot remove the control socket");
        }
    }
}

async fn serve(stream: UnixStream, status: watch::Receiver<StatusReport>, daemon: mpsc::Sender<Asked>) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read).take(MAX_REQUEST);
    if !matches!(reader.read_line(&mut line).await, Ok(1..)) {
        return;
    }
    let answer = match serde_json::from_str::<Command>(&line) {
        Err(error) => Answer::Error(format!("not a command: {error}")),
        Ok(Command::Status) => {
            let report = status.borrow().clone();
            serde_json::to_value(report).map_or_else(|error| Answer::Error(error.to_string()), Answer::Ok)
        }
        Ok(command) => ask_daemon(command, &daemon).await,
    };
    let mut bytes = serde_json::to_vec(&answer).unwrap_or_default();
    bytes.push(b'\n');
    if let Err(error) = write.write_all(&bytes).await {
        tracing::debug!(error = %error, "a control client went away");
    }
}

async fn ask_daemon(command: Command, daemon: &mpsc::Sender<Asked>) -> Answer {
    let (answer, answered) = oneshot::channel();
    if daemon.send(Asked { command, answer }).await.is_err() {
        return Answer::Error("the agent is stopping".to_owned());
    }
    match answered.await {
        Ok(Ok(value)) => Answer::Ok(value),
        Ok(Err(reason)) => Answer::Error(reason),
        Err(_) => Answer::Error("the agent is stopping".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn status_is_answered_and_commands_reach_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let socket = Utf8PathBuf::from_path_buf(folder.path().join("agent.sock")).unwrap();
        let client = Client::new(socket.clone());
        assert!(matches!(client.status().await, Err(ControlError::NotRunning { .. })));

        let server = Server::bind(&socket).unwrap();
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
        let report = StatusReport {
            message: "Running".to_owned(),
            ..StatusReport::default()
        };
        let (_publish, status) = watch::channel(report);
        let (daemon, mut asked) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.run(status, daemon, stop.clone()));

        assert_eq!(client.status().await.unwrap().message, "Running");
        let (answer, ()) = tokio::join!(client.ask(&Command::Reload), async {
            let asked = asked.recv().await.unwrap();
            assert_eq!(asked.command, Command::Reload);
            asked.answer.send(Err("not now".to_owned())).unwrap();
        });
        assert!(matches!(answer, Err(ControlError::Refused(reason)) if reason == "not now"));
        stop.cancel();
        serving.await.unwrap();
        assert!(!socket.exists());
    }
}
