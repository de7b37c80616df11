//! Where an agent keeps its things. Source: the original's path flags and file layout.

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest, Sha256};

/// A socket's path must fit into the kernel's address (108 bytes); the original stops at this length.
const LONGEST_SOCKET_PATH: usize = 104;

/// The folders of one agent; several agents run on one machine with different ones.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Paths {
    home: Utf8PathBuf,
    config: Utf8PathBuf,
    logs: Utf8PathBuf,
    socket: Option<Utf8PathBuf>,
}

impl Paths {
    /// `--path.home`, `--path.config` (else the home), `--path.logs` (else the home), `--path.socket`
    /// (else a socket in the home; `unix://` in front is allowed). All should be absolute.
    pub fn new(
        home: impl Into<Utf8PathBuf>,
        config: Option<Utf8PathBuf>,
        logs: Option<Utf8PathBuf>,
        socket: Option<&str>,
    ) -> Self {
        let home = home.into();
        Self {
            config: config.unwrap_or_else(|| home.clone()),
            logs: logs.unwrap_or_else(|| home.clone()),
            socket: socket.map(|socket| socket.strip_prefix("unix://").unwrap_or(socket).into()),
            home,
        }
    }

    /// The top folder.
    pub fn home(&self) -> &Utf8Path {
        &self.home
    }

    /// Where configuration and enrolment are.
    pub fn config(&self) -> &Utf8Path {
        &self.config
    }

    /// `fleet.enc`: the enrolment, encrypted.
    pub fn fleet_file(&self) -> Utf8PathBuf {
        self.config.join("fleet.enc")
    }

    /// `state.enc`: policy, last acknowledgement token and what else must survive a restart, encrypted.
    pub fn state_file(&self) -> Utf8PathBuf {
        self.data().join("state.enc")
    }

    /// `vault/`: the key of the encrypted files.
    pub fn vault(&self) -> Utf8PathBuf {
        self.config.join("vault")
    }

    /// `enroll.yml`: a delayed enrolment.
    pub fn delayed_enrollment(&self) -> Utf8PathBuf {
        self.config.join("enroll.yml")
    }

    /// `data/`: everything that is neither configuration nor log.
    pub fn data(&self) -> Utf8PathBuf {
        self.home.join("data")
    }

    /// One agent holds this file's lock.
    pub fn lock_file(&self) -> Utf8PathBuf {
        self.data().join("agent.lock")
    }

    /// Offsets of inputs.
    pub fn registry(&self) -> Utf8PathBuf {
        self.data().join("registry")
    }

    /// One output's own folder.
    pub fn output(&self, name: &str) -> Utf8PathBuf {
        self.data().join("outputs").join(file_name(name))
    }

    /// The agent's own log files.
    pub fn log_files(&self) -> Utf8PathBuf {
        self.logs.join("logs")
    }

    /// Marks a folder that `install` made.
    pub fn installed_marker(&self) -> Utf8PathBuf {
        self.home.join(".installed")
    }

    /// The control socket. A path that is too long for one moves to `/tmp`, named by its hash.
    pub fn socket(&self) -> Utf8PathBuf {
        let wanted = self
            .socket
            .clone()
            .unwrap_or_else(|| self.home.join("elastic-agent.sock"));
        if wanted.as_str().len() <= LONGEST_SOCKET_PATH {
            return wanted;
        }
        let hash = hex::encode(Sha256::digest(wanted.as_str().as_bytes()));
        Utf8Path::new("/tmp").join(format!("elastic-agent-{}.sock", &hash[..32]))
    }
}

/// A name from a policy as one path component.
fn file_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.len() <= 64 && name.chars().all(plain) && !name.starts_with('.') {
        return name.to_owned();
    }
    format!("x-{}", &hex::encode(Sha256::digest(name.as_bytes()))[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_under_home_unless_told_otherwise() {
        let paths = Paths::new("/opt/Elastic/Agent", None, None, None);
        assert_eq!(paths.fleet_file(), "/opt/Elastic/Agent/fleet.enc");
        assert_eq!(paths.socket(), "/opt/Elastic/Agent/elastic-agent.sock");
        let paths = Paths::new(
            "/h",
            Some("/c".into()),
            Some("/l".into()),
            Some("unix:///run/agent.sock"),
        );
        assert_eq!(paths.fleet_file(), "/c/fleet.enc");
        assert_eq!(paths.log_files(), "/l/logs");
        assert_eq!(paths.socket(), "/run/agent.sock");
    }

    #[test]
    fn a_long_socket_path_moves_to_tmp() {
        let paths = Paths::new(format!("/{}", "x".repeat(120)), None, None, None);
        assert!(paths.socket().starts_with("/tmp") && paths.socket().as_str().len() < LONGEST_SOCKET_PATH);
    }

    #[test]
    fn an_output_s_name_cannot_leave_its_folder() {
        let paths = Paths::new("/h", None, None, None);
        assert_eq!(paths.output("default"), "/h/data/outputs/default");
        assert!(!paths.output("../../etc").as_str().contains(".."));
        assert!(!paths.output("").as_str().ends_with('/'));
    }
}
