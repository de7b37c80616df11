//! What the tool needs of a terminal; the binary has the real one, tests a script.

use secret::Secret;

/// Prints and asks. Answers come without their line end.
pub trait Terminal {
    /// Prints text and a line end to standard output.
    fn print(&mut self, text: &str);

    /// Prints text and a line end to standard error.
    fn error(&mut self, text: &str);

    /// Asks on standard error and reads one line; `None` at the end of the input.
    fn ask(&mut self, question: &str) -> Option<String>;

    /// As [`Terminal::ask`], without showing what is typed.
    fn ask_hidden(&mut self, question: &str) -> Option<Secret>;

    /// Shows how far a long piece of work is. Called at most once for each finished item.
    fn progress(&mut self, done: usize, total: usize);
}
