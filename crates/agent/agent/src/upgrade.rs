//! Replacing the agent by another version, and taking that back.
//!
//! A package is fetched beside what runs, checked (SHA-512, signature, space, and the program itself is asked for its
//! version), unpacked into a versioned home of its own, and only then the link `<top>/elastic-agent` is turned to it by one
//! rename. A marker file says that the new version is on probation; the watchdog ([`watch`]), a process of the *old*
//! version, removes it when all is well, or turns the link back. A crash at any point leaves a link to a whole program.

mod homes;
mod package;
mod signature;
mod watch;

use std::io::{self, Read};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use fs_err::os::unix::fs as unix_fs;
use protocol::{UpgradeDetails, UpgradeState};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch as channel;

use crate::paths::Paths;
use crate::state::is_enrolled;

pub use package::{Downloads, FleetSite, Source};
pub use signature::{Keys, SignatureError};
pub use watch::{Outcome, WatchTimes, watch};

/// The program inside a home, and the link to it.
pub(crate) const PROGRAM: &str = "elastic-agent";
const MARKER: &str = ".update-marker";
const LARGEST_MARKER: u64 = 1024 * 1024;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct UpgradeRequest {
    /// The version to go to.
    pub version: String,
    /// The action that asked, or empty.
    pub action_id: String,
    /// Where packages are.
    pub source: Source,
    /// How they are fetched.
    pub downloads: Downloads,
    /// Who may sign; `None`: signatures are not checked.
    pub keys: Option<Keys>,
}

/// Why an upgrade did not happen; what ran before goes on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The folder was not made by `install`.
    #[error(
        "`{0}` was not installed as a service, so nothing can restart it as another version; use `elastic-agent install`"
    )]
    NotInstalled(Utf8PathBuf),
    /// One is under way.
    #[error("an upgrade to {0} is on probation; wait until it is over")]
    UnderWay(String),
    /// No package.
    #[error("cannot get the package: {0}")]
    Fetch(String),
    /// Not the package that was made.
    #[error("the package cannot be trusted: {0}")]
    Untrusted(String),
    /// The signature.
    #[error("the package's signature cannot be trusted: {0}")]
    Signature(#[from] SignatureError),
    /// It would not run here.
    #[error("the package cannot run here: {0}")]
    Unfit(String),
    /// Not enough room.
    #[error("the disk of `{folder}` has {free} bytes free, the upgrade needs {needed}")]
    Space {
        /// The folder.
        folder: Utf8PathBuf,
        /// Bytes.
        free: u64,
        /// Bytes.
        needed: u64,
    },
    /// The marker cannot be read, so nobody knows what is on probation.
    #[error(
        "`{path}`, the marker of an upgrade on probation, is damaged ({reason}); make sure that the version that runs is the right one, then remove the file"
    )]
    Marker {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Says how far it is.
pub type Progress = channel::Sender<UpgradeDetails>;

/// A new version that stands beside the one that runs.
#[derive(Clone, Debug)]
pub struct Prepared {
    version: String,
    action_id: String,
    home: Utf8PathBuf,
}

/// The new version on probation.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Marker {
    /// The version that was gone to.
    pub version: String,
    /// Its home.
    pub home: Utf8PathBuf,
    /// The home to go back to.
    pub previous_home: Utf8PathBuf,
    /// The action that asked, or empty.
    pub action_id: String,
    /// Whether Fleet managed the agent: then the new version must check in.
    #[serde(default)]
    pub managed: bool,
    /// How it is watched.
    #[serde(default)]
    pub times: WatchTimes,
    /// Why it was gone back, once that happened.
    #[serde(default)]
    pub rolled_back: Option<String>,
}

impl Marker {
    /// The marker of this installation, if an upgrade is on probation or was taken back.
    ///
    /// # Errors
    /// [`UpgradeError::Marker`]: there is one and it cannot be read. That is not the same as none.
    pub fn read(paths: &Paths) -> Result<Option<Self>, UpgradeError> {
        let path = file(paths);
        let damaged = |reason: String| UpgradeError::Marker {
            path: path.clone(),
            reason,
        };
        let opened = match fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| damaged(error.to_string()))?,
        };
        let mut bytes = Vec::new();
        opened
            .take(LARGEST_MARKER)
            .read_to_end(&mut bytes)
            .map_err(|error| damaged(error.to_string()))?;
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| damaged(error.to_string()))
    }

    /// The marker, while its upgrade is on probation.
    ///
    /// # Errors
    /// As [`Marker::read`].
    pub fn on_probation(paths: &Paths) -> Result<Option<Self>, UpgradeError> {
        Ok(Self::read(paths)?.filter(|marker| marker.rolled_back.is_none()))
    }

    /// As Fleet is told.
    pub(crate) fn details(&self) -> UpgradeDetails {
        let (state, metadata) = match &self.rolled_back {
            None => (UpgradeState::Watching, None),
            Some(reason) => (
                UpgradeState::Rollback,
                Some(json!({"reason": reason, "error_msg": reason})),
            ),
        };
        UpgradeDetails {
            target_version: self.version.clone(),
            action_id: self.action_id.clone(),
            state,
            metadata,
        }
    }

    /// Removes it.
    pub(crate) fn remove(paths: &Paths) -> io::Result<()> {
        match fs::remove_file(file(paths)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn write(&self, paths: &Paths) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        certs::write_file_atomically(&file(paths), &text, 0o600).map_err(io::Error::other)
    }
}

fn file(paths: &Paths) -> Utf8PathBuf {
    paths.data().join(MARKER)
}

/// Fetches, checks and unpacks; nothing that runs is touched.
///
/// # Errors
/// See [`UpgradeError`]; what was fetched is removed.
pub async fn prepare(paths: &Paths, request: UpgradeRequest, progress: &Progress) -> Result<Prepared, UpgradeError> {
    if !paths.installed_marker().exists() {
        return Err(UpgradeError::NotInstalled(paths.home().to_owned()));
    }
    if let Some(marker) = Marker::on_probation(paths)? {
        return Err(UpgradeError::UnderWay(marker.version));
    }
    let staging = paths.data().join("upgrade");
    clear(&staging)?;
    fs::create_dir_all(&staging)?;
    let prepared = prepare_in(paths, &staging, &request, progress).await;
    if let Err(error) = clear(&staging) {
        tracing::warn!(%error, "what the upgrade left behind cannot be removed");
    }
    prepared
}

async fn prepare_in(
    paths: &Paths,
    staging: &Utf8Path,
    request: &UpgradeRequest,
    progress: &Progress,
) -> Result<Prepared, UpgradeError> {
    tell(progress, request, UpgradeState::Downloading, None);
    let downloaded = |percent: f64| {
        let metadata = json!({"download_percent": percent});
        tell(progress, request, UpgradeState::Downloading, Some(metadata));
    };
    let extracting = || tell(progress, request, UpgradeState::Extracting, None);
    let program = package::fetch(request, staging, downloaded, extracting).await?;
    package::try_program(&program, &request.version, package::TRIAL).await?;
    tell(progress, request, UpgradeState::Replacing, None);
    let (data, version) = (paths.data(), request.version.clone());
    let home = blocking(move || homes::settle(&program, &data, &version)).await?;
    Ok(Prepared {
        version: request.version.clone(),
        action_id: request.action_id.clone(),
        home,
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UpgradeError> + Send + 'static,
) -> Result<T, UpgradeError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| UpgradeError::Unfit(error.to_string()))?
}

/// Turns the link to the new version and puts it on probation. The process must start anew after it.
///
/// # Errors
/// A file; the link is as before.
pub fn swap(paths: &Paths, prepared: &Prepared, times: WatchTimes) -> Result<Marker, UpgradeError> {
    let present = fs::read_link(paths.home().join(PROGRAM))?;
    let present = Utf8PathBuf::from_path_buf(present)
        .map_err(|path| UpgradeError::Unfit(format!("`{}` is not UTF-8", path.display())))?;
    let previous = paths.home().join(present).parent().unwrap_or(paths.home()).to_owned();
    let marker = Marker {
        version: prepared.version.clone(),
        home: prepared.home.clone(),
        previous_home: previous,
        action_id: prepared.action_id.clone(),
        managed: is_enrolled(paths),
        times,
        rolled_back: None,
    };
    // The marker first: a new version without one would be on no probation.
    marker.write(paths)?;
    if let Err(error) = turn_link(paths, &prepared.home) {
        if let Err(left) = Marker::remove(paths) {
            tracing::warn!(error = %left, "the marker of an upgrade that did not happen cannot be removed");
        }
        return Err(error.into());
    }
    Ok(marker)
}

/// Turns the link back to the version before, and notes why. Without an upgrade on probation nothing happens.
///
/// # Errors
/// A file; also a marker that cannot be read.
pub fn roll_back(paths: &Paths, reason: &str) -> Result<(), UpgradeError> {
    match Marker::read(paths)? {
        None => Ok(()),
        Some(marker) => marker.roll_back(paths, reason),
    }
}

impl Marker {
    fn roll_back(mut self, paths: &Paths, reason: &str) -> Result<(), UpgradeError> {
        turn_link(paths, &self.previous_home)?;
        self.rolled_back = Some(reason.to_owned());
        Ok(self.write(paths)?)
    }
}

fn turn_link(paths: &Paths, home: &Utf8Path) -> io::Result<()> {
    let link = paths.home().join(PROGRAM);
    let beside = paths.home().join("elastic-agent.new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    unix_fs::symlink(home.join(PROGRAM), &beside)?;
    fs::rename(&beside, &link)?;
    fs::File::open(paths.home())?.sync_all()
}

fn clear(folder: &Utf8Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn tell(progress: &Progress, request: &UpgradeRequest, state: UpgradeState, metadata: Option<Value>) {
    progress.send_replace(UpgradeDetails {
        target_version: request.version.clone(),
        action_id: request.action_id.clone(),
        state,
        metadata,
    });
}

#[cfg(test)]
mod tests;
