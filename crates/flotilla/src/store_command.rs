//! `flotilla store`: check, compact, back up and restore the data folder's store.
//!
//! Where `flotilla up` runs on the folder, it does the work, asked over [`socket`]; else the store is opened here.

mod arguments;
mod folder;
pub(crate) mod socket;

pub(crate) use arguments::StoreArguments;

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use embedded::{CheckReport, EmbeddedOptions, EmbeddedStore};

use self::arguments::StoreCommand;
use self::socket::{Reply, Request};
use crate::data_dir::DataDir;
use crate::printer::{self, Hint};

/// Runs a command to its end.
pub(crate) fn run(arguments: StoreArguments) -> Result<()> {
    let root = match arguments.data_dir {
        Some(root) => root,
        None => DataDir::default_path()?,
    };
    let request = match arguments.command {
        StoreCommand::Check { json } => return check(&root, json),
        StoreCommand::Restore { backup } => {
            folder::restore(&backup, &root)?;
            printer::line(format!("restored into {root}; start it with `flotilla up`"));
            return Ok(());
        }
        StoreCommand::Compact => Request::Compact,
        StoreCommand::Backup { target } => Request::Backup {
            target: absolute(&target)?,
        },
    };
    match (perform(&root, &request)?, request) {
        (Reply::Done, Request::Backup { target }) => printer::line(format!("backed up to {target}")),
        (Reply::Done, _) => printer::line("done"),
        (other, _) => bail!("the running flotilla gave an answer of another kind: {other:?}"),
    }
    Ok(())
}

fn check(root: &Utf8Path, json: bool) -> Result<()> {
    let Reply::Checked(report) = perform(root, &Request::Check)? else {
        bail!("the running flotilla gave an answer of another kind");
    };
    if json {
        printer::line(serde_json::to_string(&report)?);
    } else {
        let CheckReport {
            indices,
            backing_indices,
            damage,
        } = &report;
        damage.iter().for_each(printer::line);
        printer::line(format!(
            "{indices} indices and {backing_indices} backing indices of data streams read, {} damaged",
            damage.len()
        ));
    }
    if report.damage.is_empty() {
        return Ok(());
    }
    Err(Hint::error(
        format!("the store in `{root}` is damaged"),
        "restore a backup into an empty folder with `flotilla store restore`; what can be read can be backed up first",
    ))
}

/// Has the running process do it, or does it here when none runs.
fn perform(root: &Utf8Path, request: &Request) -> Result<Reply> {
    if let Some(reply) = socket::ask(root, request)? {
        return Ok(reply);
    }
    if !root.join("store").join("format").exists() {
        return Err(Hint::error(
            format!("there is no store in `{root}`"),
            "name the folder that `flotilla up` was started with: `--data-dir`",
        ));
    }
    let _held = DataDir::open(root)?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let store = EmbeddedStore::open(EmbeddedOptions::new(root.join("store"), clock::system()))
            .context("cannot open the store")?;
        let reply = answer(root, &store, request).await;
        tokio::task::spawn_blocking(move || store.close())
            .await
            .context("the store did not close")?;
        reply
    })
}

/// What both the running process and this one do for a request.
async fn answer(root: &Utf8Path, store: &EmbeddedStore, request: &Request) -> Result<Reply> {
    Ok(match request {
        Request::Check => Reply::Checked(store.check().await.context("the store cannot be read")?),
        Request::Compact => {
            store.compact().await.context("the store cannot be compacted")?;
            Reply::Done
        }
        Request::Backup { target } => {
            folder::backup(root, store, target).await?;
            Reply::Done
        }
        Request::Where => bail!("no flotilla runs on `{root}`"),
    })
}

/// The process that writes the copy has a working folder of its own.
fn absolute(path: &Utf8Path) -> Result<Utf8PathBuf> {
    let path = std::path::absolute(path).with_context(|| format!("`{path}` is no path"))?;
    Utf8PathBuf::from_path_buf(path).map_err(|path| anyhow::anyhow!("the path `{}` is not UTF-8", path.display()))
}
