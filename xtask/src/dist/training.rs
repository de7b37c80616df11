//! What the compiler is told about how the program is used: which functions run at all, and which run often.
//!
//! Those that an agent or a server uses then lie side by side, apart from the many that it does not, so that fewer pages of
//! the program are in memory; and what is hot is compiled for speed, the rest for size.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::target::{Target, target_folder};
use super::{command, fresh, output};
use crate::bench;

/// Builds a program that counts, lets it work, and gives the file with what was counted.
pub(super) fn train(root: &Path, target: &Target) -> Result<PathBuf> {
    let counts = target_folder(root).join("counts");
    fresh(&counts)?;
    let program = target.build_counting(root, &counts)?;
    bench::train(&program)?;
    merge(&counts)
}

fn merge(counts: &Path) -> Result<PathBuf> {
    let files = std::fs::read_dir(counts)?.collect::<Result<Vec<_>, _>>()?;
    ensure!(
        !files.is_empty(),
        "the program has written no counts into `{}`",
        counts.display()
    );
    let merged = counts.join("merged.profdata");
    let status = Command::new(profdata()?)
        .args(["merge", "-o"])
        .arg(&merged)
        .args(files.iter().map(std::fs::DirEntry::path))
        .status()
        .context("cannot run llvm-profdata")?;
    ensure!(status.success(), "the counts cannot be merged: {status}");
    Ok(merged)
}

/// The compiler's own: another version does not read its files.
fn profdata() -> Result<PathBuf> {
    command("rustup", &["component", "add", "llvm-tools"], Path::new("/"))?;
    let folder = output("rustc", &["--print", "target-libdir"], Path::new("/"))?;
    let folder = Path::new(folder.trim())
        .parent()
        .context("a library folder lies in another")?;
    Ok(folder.join("bin/llvm-profdata"))
}
