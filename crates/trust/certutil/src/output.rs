//! Where the result goes: one new file of mode 0600, whole or not there.

use camino::{Utf8Path, Utf8PathBuf};
use certs::{WriteError, create_file_atomically};

use crate::arguments::Options;
use crate::failure::{ExitStatus, Failure, with_causes};
use crate::passwords::confirm;
use crate::terminal::Terminal;

/// The path of `--out`, or the answer to the question for it. Without a terminal the default name is taken.
pub(crate) fn path(options: &Options, default: &str, terminal: &mut dyn Terminal) -> Result<Utf8PathBuf, Failure> {
    let path = match options.value("out") {
        Some(out) => Utf8PathBuf::from(out),
        None => ask(default, terminal),
    };
    check_absent(&path)?;
    prepare_folder(&path, terminal)?;
    Ok(path)
}

pub(crate) fn ask(default: &str, terminal: &mut dyn Terminal) -> Utf8PathBuf {
    let answer = terminal.ask(&format!("Output file [{default}]: ")).unwrap_or_default();
    Utf8PathBuf::from(if answer.trim().is_empty() {
        default
    } else {
        answer.trim()
    })
}

pub(crate) fn check_absent(path: &Utf8Path) -> Result<(), Failure> {
    if path.file_name().is_none() {
        return Err(Failure::new(ExitStatus::IO, format!("`{path}` is no name of a file"))
            .with_hint("name the file to write, with or without a folder"));
    }
    // A dangling link counts as well: it must not be written through.
    if fs_err::symlink_metadata(path).is_ok() {
        return Err(exists(path));
    }
    Ok(())
}

fn exists(path: &Utf8Path) -> Failure {
    Failure::new(ExitStatus::IO, format!("the output file `{path}` exists already"))
        .with_hint("choose another name, or remove it")
}

pub(crate) fn prepare_folder(path: &Utf8Path, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let refused = |message: String| Failure::new(ExitStatus::CANNOT_CREATE, message);
    let Some(folder) = path.parent().filter(|folder| !folder.as_str().is_empty()) else {
        return Ok(());
    };
    if folder.is_dir() {
        return Ok(());
    }
    if folder.exists() {
        return Err(refused(format!(
            "`{folder}` is a file, so nothing can be written below it"
        )));
    }
    if !confirm(
        terminal,
        &format!("The folder `{folder}` does not exist. Create it?"),
        true,
    ) {
        return Err(refused(format!("the folder `{folder}` does not exist")));
    }
    fs_err::create_dir_all(folder).map_err(|error| refused(with_causes(&error)))
}

/// Writes the result.
pub(crate) fn write(path: &Utf8Path, bytes: &[u8]) -> Result<(), Failure> {
    create_file_atomically(path, bytes, 0o600).map_err(|error| match error {
        WriteError::Exists { path } => exists(&path),
        other => other.into(),
    })
}
