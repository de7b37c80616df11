//! The files of the documents' examples, made with the documented commands of the certificate tool.

use std::path::Path;

use tempfile::TempDir;
use testkit::{Link, run};

use crate::FLOTILLA;
use crate::host::succeeded;

pub(crate) struct Files {
    folder: TempDir,
}

impl Files {
    /// `fleet-ca`, `agent-ca` and what they sign: the server's pair, once more with its key encrypted, the agents' pair.
    pub(crate) fn make() -> Self {
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        files.write("passphrase", "changeme");
        for authority in ["fleet-ca", "agent-ca"] {
            let zip = files.path("ca.zip");
            certutil(&["ca", "--silent", "--pem", "--out", &zip]);
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
        certutil(&words);
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

fn certutil(words: &[&str]) {
    let link = Link::new(FLOTILLA, "elasticsearch-certutil");
    succeeded(&run(link.path(), words));
}
