//! `flotilla certutil ..`, or the binary linked as `elasticsearch-certutil`: a terminal for the tool.

use std::ffi::OsString;
use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use certutil::Terminal;
use indicatif::{ProgressBar, ProgressStyle};
use secret::Secret;

use crate::printer;

/// Runs the tool; `arguments` are those after its name.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let status = certutil::run(arguments, &mut Console::default());
    crate::cli::exit_code(status.0)
}

#[derive(Default)]
struct Console {
    bar: Option<ProgressBar>,
}

impl Terminal for Console {
    fn print(&mut self, text: &str) {
        printer::line(text);
    }

    fn error(&mut self, text: &str) {
        printer::note(text);
    }

    fn ask(&mut self, question: &str) -> Option<String> {
        printer::question(question);
        read_line()
    }

    fn ask_hidden(&mut self, question: &str) -> Option<Secret> {
        printer::question(question);
        if std::io::stdin().is_terminal() {
            return rpassword::read_password().ok().map(Secret::from);
        }
        read_line().map(Secret::from)
    }

    fn progress(&mut self, done: usize, total: usize) {
        let bar = self.bar.get_or_insert_with(|| {
            let style =
                ProgressStyle::with_template("{bar:30} {pos}/{len}").unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total as u64).with_style(style)
        });
        bar.set_position(done as u64);
        if done == total {
            bar.finish_and_clear();
        }
    }
}

fn read_line() -> Option<String> {
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
    }
}
