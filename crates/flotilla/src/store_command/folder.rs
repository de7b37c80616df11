//! A whole installation as a folder: the store's copy, and beside it what makes it the same installation.
//!
//! The agent of the host itself is left out: it enrols again. The store comes last both ways, and its `format` file last
//! of all, so a copy that was cut short is refused rather than taken for a whole one.

use anyhow::{Context, Result};
use camino::Utf8Path;
use embedded::EmbeddedStore;
use fs_err as fs;

use crate::data_dir::create_private;
use crate::printer::Hint;

/// Identity, certificates and secrets; an installation without them is another one.
const KEPT: [&str; 3] = ["flotilla.json", "certs", "secrets"];
const STORE: &str = "store";

/// Writes a copy of the installation at `root` into `target`, a folder that does not exist yet.
pub(super) async fn backup(root: &Utf8Path, store: &EmbeddedStore, target: &Utf8Path) -> Result<()> {
    if target.exists() {
        return Err(Hint::error(
            format!("`{target}` exists already"),
            "name a folder that does not; it is made",
        ));
    }
    let (from, to) = (root.to_owned(), target.to_owned());
    tokio::task::spawn_blocking(move || copy_kept(&from, &to))
        .await
        .context("the copy broke off")?
        .with_context(|| format!("cannot write the backup `{target}`"))?;
    store
        .backup(&target.join(STORE))
        .await
        .with_context(|| format!("cannot write the store's copy into `{target}`"))
}

/// Makes the installation `root` from a backup.
pub(super) fn restore(backup: &Utf8Path, root: &Utf8Path) -> Result<()> {
    if !backup.join(STORE).join("format").exists() {
        return Err(Hint::error(
            format!("`{backup}` is not a finished backup: it holds no `{STORE}/format`"),
            "name the folder that `flotilla store backup` wrote",
        ));
    }
    if root.exists() && fs::read_dir(root)?.next().is_some() {
        return Err(Hint::error(
            format!("`{root}` is not empty"),
            "move it away, or name another folder with `--data-dir`",
        ));
    }
    copy_kept(backup, root).with_context(|| format!("cannot write into `{root}`"))?;
    embedded::restore(&backup.join(STORE), &root.join(STORE)).context("cannot restore the store")
}

fn copy_kept(from: &Utf8Path, to: &Utf8Path) -> std::io::Result<()> {
    create_private(to)?;
    for name in KEPT {
        let source = from.join(name);
        if source.is_dir() {
            copy_folder(&source, &to.join(name))?;
        } else if source.exists() {
            copy_file(&source, &to.join(name))?;
        }
    }
    fs::File::open(to)?.sync_all()
}

fn copy_folder(from: &Utf8Path, to: &Utf8Path) -> std::io::Result<()> {
    create_private(to)?;
    for entry in from.read_dir_utf8()? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(entry.path(), &target)?;
        } else {
            copy_file(entry.path(), &target)?;
        }
    }
    fs::File::open(to)?.sync_all()
}

/// The mode goes along: keys and secrets are for their owner only.
fn copy_file(from: &Utf8Path, to: &Utf8Path) -> std::io::Result<()> {
    fs::copy(from, to)?;
    fs::File::open(to)?.sync_all()
}
