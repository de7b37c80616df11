//! A terminal with a script, a folder, and the programs that look at what was made.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{Cursor, Read};
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use certutil::{ExitStatus, Terminal};
use secret::Secret;

/// Answers in order; then the end of the input.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) answers: VecDeque<String>,
    pub(crate) asked: Vec<String>,
    pub(crate) printed: String,
    pub(crate) errors: String,
    pub(crate) steps: Vec<(usize, usize)>,
}

impl Terminal for Script {
    fn print(&mut self, text: &str) {
        self.printed.push_str(text);
        self.printed.push('\n');
    }

    fn error(&mut self, text: &str) {
        self.errors.push_str(text);
        self.errors.push('\n');
    }

    fn ask(&mut self, question: &str) -> Option<String> {
        self.asked.push(question.to_owned());
        self.answers.pop_front()
    }

    fn ask_hidden(&mut self, question: &str) -> Option<Secret> {
        self.ask(question).map(Secret::from)
    }

    fn progress(&mut self, done: usize, total: usize) {
        self.steps.push((done, total));
    }
}

/// A folder that goes away.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.0.path().join(name)).expect("UTF-8")
    }

    /// Runs the tool; `@` at the start of a word stands for the folder.
    pub(crate) fn run(&self, line: &str, answers: &[&str]) -> (ExitStatus, Script) {
        let words = line.split_whitespace().map(|word| match word.strip_prefix('@') {
            Some(name) => OsString::from(self.path(name).as_str()),
            None => OsString::from(word),
        });
        let mut script = Script {
            answers: answers.iter().map(ToString::to_string).collect(),
            ..Script::default()
        };
        let status = certutil::run(words, &mut script);
        (status, script)
    }

    #[track_caller]
    pub(crate) fn must(&self, line: &str, answers: &[&str]) -> Script {
        let (status, script) = self.run(line, answers);
        assert_eq!(status, ExitStatus::OK, "{line}: {}", script.errors);
        script
    }

    #[track_caller]
    pub(crate) fn refuses(&self, line: &str, answers: &[&str], status: ExitStatus, part: &str) -> Script {
        let before = self.names();
        let (found, script) = self.run(line, answers);
        assert_eq!(found, status, "{line}: {}", script.errors);
        assert!(
            script.errors.contains(part),
            "{line}: `{part}` is missing in {}",
            script.errors
        );
        assert_eq!(before, self.names(), "{line} left something behind");
        script
    }

    fn names(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.0.path()).expect("a folder");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Unpacks an archive and returns its entries in order.
    pub(crate) fn unpack(&self, archive: &str, into: &str) -> Vec<String> {
        let bytes = fs_err::read(self.path(archive)).expect("an archive");
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).expect("a zip");
        let mut names = Vec::new();
        for position in 0..zip.len() {
            let mut entry = zip.by_index(position).expect("an entry");
            let name = entry.name().expect("UTF-8").into_owned();
            let target = self.path(into).join(&name);
            names.push(name);
            if entry.is_dir() {
                fs_err::create_dir_all(target).expect("a folder");
            } else {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).expect("readable");
                fs_err::create_dir_all(target.parent().expect("it is in the folder")).expect("a folder");
                fs_err::write(target, content).expect("written");
            }
        }
        names
    }
}

/// Runs a program that must succeed; its standard output.
#[track_caller]
pub(crate) fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}{errors}");
    text
}

#[track_caller]
pub(crate) fn openssl(arguments: &[&str]) -> String {
    output_of("openssl", arguments)
}

/// `openssl x509 -text` of a certificate.
#[track_caller]
pub(crate) fn certificate_text(path: &Utf8Path) -> String {
    openssl(&["x509", "-in", path.as_str(), "-noout", "-text", "-nameopt", "RFC2253"])
}
