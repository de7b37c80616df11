//! A running `flotilla tls serve`.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::FLOTILLA;
use super::folder::Folder;

pub(crate) struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    pub(crate) port: u16,
}

impl Server {
    /// Serves with this `ssl` block on a free port.
    pub(crate) fn start(folder: &Folder, block: &str) -> Self {
        let config = folder.write("serve.yml", block);
        let mut child = Command::new(FLOTILLA)
            .args(["tls", "serve", "--json", "--listen=127.0.0.1:0", "--config"])
            .arg(config)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut server = Self {
            lines: BufReader::new(child.stdout.take().unwrap()),
            child,
            port: 0,
        };
        let address = server.line()["listening"].as_str().unwrap().to_owned();
        server.port = address.rsplit_once(':').unwrap().1.parse().unwrap();
        server
    }

    /// One that serves the pair `server` and demands a certificate of the folder's authority.
    pub(crate) fn mutual(folder: &Folder) -> Self {
        Self::start(
            folder,
            &format!(
                "ssl.certificate: {}\nssl.key: {}\nssl.certificate_authorities: [\"{}\"]\nssl.client_authentication: required\n",
                folder.path("server.crt"),
                folder.path("server.key"),
                folder.path("ca.crt"),
            ),
        )
    }

    /// `https://localhost:PORT/`.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/", self.port)
    }

    /// What it says about the next connection.
    pub(crate) fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}
