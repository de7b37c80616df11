//! The files of the documents' examples, made with the documented commands of the certificate tool.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;
use testkit::{Link, run, shared_tools, skip};

use crate::FLOTILLA;
use crate::host::succeeded;

pub(crate) struct Files {
    folder: TempDir,
    /// Runs the original's tools by name; without it the files are ours.
    original: Option<PathBuf>,
}

impl Files {
    /// `fleet-ca`, `agent-ca` and what they sign: the server's pair, once more with its key encrypted, the agents' pair.
    pub(crate) fn make() -> Self {
        Self::made_by(None)
    }

    /// The same by the original tool; `None`, and said aloud, where it is not.
    pub(crate) fn make_with_the_original() -> Option<Self> {
        let tool = shared_tools().join("elasticsearch/tool.sh");
        if tool.is_file() && std::env::var_os("FLOTILLA_NO_REAL_NODES").is_none() {
            // The first that runs it unpacks it.
            static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
            let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            return Some(Self::made_by(Some(tool)));
        }
        if std::env::var_os("FLOTILLA_NO_REAL_NODES").is_none() {
            skip("there is no original elasticsearch-certutil; set FLOTILLA_SHARED_TOOLS");
        }
        None
    }

    fn made_by(original: Option<PathBuf>) -> Self {
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
            original,
        };
        files.write("passphrase", "changeme");
        for authority in ["fleet-ca", "agent-ca"] {
            let zip = files.path("ca.zip");
            certutil(files.original.as_deref(), &["ca", "--silent", "--pem", "--out", &zip]);
            files.unzip(&zip);
            std::fs::remove_file(zip).unwrap();
            std::fs::rename(files.path("ca"), files.path(authority)).unwrap();
        }
        let names = ["--dns", "localhost", "--ip", "127.0.0.1"];
        files.issue("fleet-server", "fleet-ca/ca", &names);
        let encrypted = [&names[..], &["--pass", "changeme"]].concat();
        files.issue("fleet-server-encrypted", "fleet-ca/ca", &encrypted);
        files.issue("agent", "agent-ca/ca", &["--pass", "changeme"]);
        files
    }

    /// `elasticsearch-certutil cert`, signed by `authority`.crt with `authority`.key.
    pub(crate) fn issue(&self, name: &str, authority: &str, more: &[&str]) {
        self.issue_by(self.original.as_deref(), name, authority, more);
    }

    /// The same by our tool, whatever the other files are made by.
    pub(crate) fn issue_by_ours(&self, name: &str, authority: &str, more: &[&str]) {
        self.issue_by(None, name, authority, more);
    }

    fn issue_by(&self, original: Option<&Path>, name: &str, authority: &str, more: &[&str]) {
        let zip = self.path(&format!("{name}.zip"));
        let (certificate, key) = (
            self.path(&format!("{authority}.crt")),
            self.path(&format!("{authority}.key")),
        );
        let signed_by = ["--ca-cert", &certificate, "--ca-key", &key];
        let words = [
            &["cert", "--silent", "--pem", "--name", name, "--out", &zip],
            &signed_by[..],
            more,
        ]
        .concat();
        certutil(original, &words);
        self.unzip(&zip);
    }

    /// Takes a CA from elsewhere in, so that [`Files::issue`] can sign with it.
    pub(crate) fn take_authority(&self, name: &str, certificate: &Path, key: &Path) {
        std::fs::copy(certificate, self.path(&format!("{name}.crt"))).unwrap();
        std::fs::copy(key, self.path(&format!("{name}.key"))).unwrap();
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        fs_err::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// Absolute.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).into_os_string().into_string().unwrap()
    }

    fn unzip(&self, zip: &str) {
        succeeded(&run("unzip", ["-q", "-o", zip, "-d", &self.path("")]));
    }
}

fn certutil(original: Option<&Path>, words: &[&str]) {
    let name = "elasticsearch-certutil";
    let output = match original {
        Some(tool) => run(tool, [&[name], words].concat()),
        None => run(Link::new(FLOTILLA, name).path(), words),
    };
    succeeded(&output);
}
