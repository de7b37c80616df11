//! axe, the accessibility checker that a browser test runs in every page. Its licence (MPL-2.0) keeps it out of the tree: it is
//! fetched once with the ordinary client of its registry, and taken only when it is what it was when this was written.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

const PACKAGE: &str = "axe-core@4.10.3";
const ARCHIVE: &str = "axe-core-4.10.3.tgz";
const SHA256: &str = "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb";

/// The environment variable with which the test finds it; nothing where it cannot be had.
pub(crate) fn variable() -> Option<(&'static str, OsString)> {
    match fetch() {
        Ok(path) => Some(("FLOTILLA_AXE", path.into())),
        Err(reason) => {
            eprintln!("SKIPPED: the pages are not checked with axe: {reason:#}");
            None
        }
    }
}

fn fetch() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/axe");
    let script = folder.join("package/axe.min.js");
    if !script.is_file() {
        std::fs::create_dir_all(&folder)?;
        run(Command::new("npm").args(["pack", PACKAGE]).current_dir(&folder))?;
        run(Command::new("tar").args(["xzf", ARCHIVE]).current_dir(&folder))?;
    }
    let sum = Command::new("sha256sum").arg(&script).output()?;
    let is_known = sum.stdout.starts_with(SHA256.as_bytes());
    ensure!(is_known, "{} is not the file that was expected", script.display());
    Ok(script)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
