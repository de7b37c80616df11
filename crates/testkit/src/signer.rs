//! Who signs packages: GnuPG with a key of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{is_installed, skip};

/// GnuPG in a folder of its own.
#[derive(Debug)]
pub struct Signer(TempDir);

impl Signer {
    /// Makes a key; `None`, and said aloud, where there is no GnuPG.
    pub fn new(algorithm: &str) -> Option<Self> {
        if !is_installed("gpg") {
            skip("gpg is not installed");
            return None;
        }
        let signer = Self(tempfile::tempdir().expect("a temporary folder can be made"));
        let made = [
            "--quick-gen-key",
            "--passphrase",
            "",
            "tester@example.org",
            algorithm,
            "sign",
            "never",
        ];
        signer.gpg(&made);
        Some(signer)
    }

    /// Runs GnuPG; its standard output.
    ///
    /// # Panics
    /// It fails.
    pub fn gpg(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("gpg")
            .arg("--homedir")
            .arg(self.0.path())
            .args(["--batch", "--pinentry-mode", "loopback", "--yes"])
            .args(arguments)
            .output()
            .expect("gpg can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// The public key, armoured.
    pub fn public_key(&self) -> Vec<u8> {
        self.gpg(&["--armor", "--export"])
    }

    /// A file in the folder.
    #[expect(clippy::disallowed_methods, reason = "a test's file needs no crash safety")]
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).expect("a file can be written");
        path
    }

    /// A detached signature, armoured; `more` are options of GnuPG.
    pub fn sign(&self, file: &Path, more: &[&str]) -> String {
        let file = file.to_str().expect("the path is UTF-8");
        let all = [more, &["--armor", "--detach-sign", "-o", "-", file]].concat();
        String::from_utf8(self.gpg(&all)).expect("an armour is text")
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // The agent that gpg started for this folder ends with it.
        let _not_running = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.0.path())
            .args(["--kill", "all"])
            .output();
    }
}
