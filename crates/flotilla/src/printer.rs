//! The only module that prints.

use std::fmt::Display;

use anstream::{eprint, eprintln, print, println};
use anstyle::{AnsiColor, Style};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const STRONG: Style = Style::new().bold();

/// Whether standard output is systemd's journal: it tells device and inode of its stream (systemd.exec(5), `JOURNAL_STREAM`).
pub(crate) fn writes_to_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(std::io::stdout())
        .is_ok_and(|stat| stream.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino)))
}

/// A line on standard output.
pub(crate) fn line(text: impl Display) {
    println!("{text}");
}

/// Text on standard output, no line break added.
pub(crate) fn text(text: impl Display) {
    print!("{text}");
}

/// A line on standard error: progress and notes.
pub(crate) fn note(text: impl Display) {
    eprintln!("{text}");
}

/// A question on standard error; the answer is typed behind it.
pub(crate) fn question(text: impl Display) {
    eprint!("{text}");
}

/// A warning on standard error.
pub(crate) fn warning(text: impl Display) {
    eprintln!("{WARNING}warning:{WARNING:#} {text}");
}

/// `label` in bold, padded, then `value`, on standard output.
pub(crate) fn field(label: &str, value: impl Display) {
    println!("  {STRONG}{label:<16}{STRONG:#} {value}");
}

/// An error with its causes, outermost first, and what to do about it.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("{ERROR}error:{ERROR:#} {error}");
    let mut shown = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        // Some libraries repeat the cause in their own message.
        if !shown.contains(&text) {
            eprintln!("  cause: {text}");
        }
        shown.push_str(&text);
    }
    let hints = error.chain().filter_map(|cause| cause.downcast_ref::<Hint>());
    for hint in hints.filter(|hint| !hint.hint.is_empty()) {
        eprintln!("{HINT}hint:{HINT:#} {}", hint.hint);
    }
}

/// An error message together with what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Hint {
    /// What failed.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: String,
}

impl Hint {
    /// An error with a remedy.
    pub(crate) fn error(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
        .into()
    }
}
