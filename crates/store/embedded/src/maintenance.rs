//! Checking, compacting, backing up and restoring: the work behind `flotilla store`.
//!
//! Check, compact and backup run on an open store, beside its other work.

use std::time::Duration;

use camino::Utf8Path;
use fs_err as fs;
use rusqlite::backup::Backup;
use serde::{Deserialize, Serialize};
use store::StoreError;

use crate::folder::{FORMAT, OpenError, sync_directory, write_beside};
use crate::state::store_error;
use crate::store::{EmbeddedStore, blocking};
use crate::streams::backing::io_error;
use crate::streams::wal;

/// What a check found.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CheckReport {
    /// Ordinary indices looked at.
    pub indices: usize,
    /// Backing indices looked at.
    pub backing_indices: usize,
    /// What is wrong, one line each; empty when all is well.
    pub damage: Vec<String>,
}

impl EmbeddedStore {
    /// Reads everything and compares it with its checksums.
    ///
    /// # Errors
    /// When the store cannot be read at all; damage is part of the report.
    pub async fn check(&self) -> Result<CheckReport, StoreError> {
        let (state, streams) = (self.state.clone(), self.streams.clone());
        blocking(move || {
            let mut report = CheckReport {
                indices: state.indices().len(),
                ..CheckReport::default()
            };
            state.read(|connection| {
                let mut statement = connection.prepare("PRAGMA integrity_check").map_err(store_error)?;
                let lines = statement
                    .query_map([], |row| row.get::<_, String>(0))
                    .map_err(store_error)?;
                for line in lines {
                    let line = line.map_err(store_error)?;
                    if line != "ok" {
                        report.damage.push(format!("state.db: {line}"));
                    }
                }
                Ok(())
            })?;
            for stream in streams.all() {
                let backing = stream.parts().backing.clone();
                for one in backing {
                    report.backing_indices += 1;
                    match one.damaged_files() {
                        Ok(files) => report
                            .damage
                            .extend(files.iter().map(|file| format!("`{file}` does not fit its checksum"))),
                        Err(error) => report.damage.push(format!("{}: {error}", one.row.name)),
                    }
                }
            }
            Ok(report)
        })
        .await
    }

    /// Gives unused space back: merges segments, shrinks the database.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn compact(&self) -> Result<(), StoreError> {
        self.streams.compact().await?;
        self.writer()?
            .admin(|writer| {
                writer
                    .connection
                    .execute_batch("PRAGMA incremental_vacuum")
                    .map_err(store_error)
            })
            .await
    }

    /// Writes a copy of everything acknowledged so far into `target`, a folder that does not exist yet.
    ///
    /// # Errors
    /// When `target` exists or cannot be written. A copy that was not finished has no `format` file and cannot be opened.
    pub async fn backup(&self, target: &Utf8Path) -> Result<(), StoreError> {
        if target.exists() {
            return Err(StoreError::Unsupported(format!(
                "`{target}` exists; name a folder that does not"
            )));
        }
        // First the documents, then the catalogue: what it names is then there.
        self.streams.flush().await?;
        let (state, streams, target) = (self.state.clone(), self.streams.clone(), target.to_owned());
        blocking(move || {
            fs::create_dir_all(&target).map_err(|error| io_error(&error))?;
            let copied = target.join("state.db");
            state.read(|connection| {
                let mut copy = rusqlite::Connection::open(&copied).map_err(store_error)?;
                let backup = Backup::new(connection, &mut copy).map_err(store_error)?;
                backup
                    .run_to_completion(256, Duration::from_millis(1), None)
                    .map_err(store_error)
            })?;
            let named = rusqlite::Connection::open(&copied)
                .and_then(|copy| crate::state::catalogue::backing(&copy))
                .map_err(store_error)?;
            let mut furthest = 0;
            for row in named {
                if let Some((_, backing)) = streams.backing(&row.name) {
                    let folder = target.join("streams").join(&row.uuid);
                    backing.copy_to(&folder)?;
                    furthest = furthest.max(backing.commit_point()?.wal);
                }
            }
            let finish = || -> std::io::Result<()> {
                wal::create_empty(&target.join("wal"), furthest)?;
                fs::create_dir_all(target.join("streams"))?;
                sync_directory(&target)?;
                write_beside(&target.join("format"), format!("{FORMAT}\n").as_bytes())
            };
            finish().map_err(|error| io_error(&error))
        })
        .await
    }
}

/// Copies a backup into the folder of a store, which must be missing or empty.
///
/// # Errors
/// When `backup` is none, or `target` holds something or cannot be written.
pub fn restore(backup: &Utf8Path, target: &Utf8Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Folder {
        path: target.to_owned(),
        source,
    };
    if !backup.join("format").exists() || !backup.join("state.db").exists() {
        let reason = "it has no `format` file or no `state.db`: not a finished backup".to_owned();
        return Err(OpenError::NotAStore {
            path: backup.to_owned(),
            reason,
        });
    }
    fs::create_dir_all(target).map_err(failed)?;
    if fs::read_dir(target).map_err(failed)?.next().is_some() {
        let reason = "a backup is restored into an empty folder only".to_owned();
        return Err(OpenError::NotAStore {
            path: target.to_owned(),
            reason,
        });
    }
    // The format file comes last: without it the folder cannot be opened.
    copy_tree(backup, target, &["format", "lock"]).map_err(failed)?;
    let format = fs::read(backup.join("format")).map_err(failed)?;
    write_beside(&target.join("format"), &format).map_err(failed)
}

fn copy_tree(from: &Utf8Path, to: &Utf8Path, except: &[&str]) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !except.contains(name)) else {
            continue;
        };
        if entry.file_type()?.is_dir() {
            copy_tree(&from.join(name), &to.join(name), &[])?;
        } else {
            fs::copy(from.join(name), to.join(name))?;
            fs::File::open(to.join(name))?.sync_all()?;
        }
    }
    sync_directory(to)
}
