//! The one reloader: every loaded configuration follows its files.
//!
//! Files are watched, looked at in the interval of `certificate_reload.reload_interval`, and looked at when poked (the
//! binary does so on SIGHUP). What changed is loaded and checked whole, pair, authorities and all, and then takes the place of the old
//! in one step; what cannot be used leaves the old in place, with an event and the reason in [`TlsStatus`]. Open
//! connections are not touched.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use camino::Utf8PathBuf;
use jiff::Timestamp;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use rustls_pki_types::CertificateDer;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::error::SslError;
use crate::explain::Side;
use crate::material::unfit_for_both_sides;
use crate::settings::DEFAULT_RELOAD_INTERVAL;
use crate::status::{CertificateStatus, TlsStatus};

/// What a look at the files came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ReloadOutcome {
    /// Nothing changed since the last look.
    Unchanged,
    /// The new files are in use.
    Replaced,
    /// The new files cannot be used, for this reason; the old ones stay.
    Kept(String),
}

/// A configuration that can follow its files.
pub trait Reloadable: Send + Sync {
    /// What it is for.
    fn name(&self) -> &str;
    /// How often to look; `None` when reload is off, then only a poke makes it look.
    fn interval(&self) -> Option<Duration>;
    /// The files it is made of.
    fn files(&self) -> Vec<Utf8PathBuf>;
    /// Looks at the files (blocking) and replaces what changed.
    fn reload_if_changed(&self) -> ReloadOutcome;
    /// The state for people.
    fn status(&self) -> TlsStatus;
    /// The side it is used on.
    fn side(&self) -> Side;
    /// The certificates that it shows, without their chains.
    fn own_certificates(&self) -> Vec<CertificateDer<'static>>;
}

/// The least time between two looks.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// Certificate and key are often written one after the other; a short wait spares the error about the first alone.
const SETTLE: Duration = Duration::from_millis(50);

/// Watches configurations as long as their owners hold them.
#[derive(Clone, Default)]
pub struct Reloader {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    watched: Mutex<Vec<Weak<dyn Reloadable>>>,
    poked: Notify,
    changed: Notify,
    added: Notify,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader")
            .field("watched", &self.alive().len())
            .finish()
    }
}

impl Reloader {
    /// A reloader without anything to watch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches a configuration until its last owner lets it go. A pair that is now used on both sides, and is not fit
    /// for that, is told in the log.
    pub fn watch<T: Reloadable + 'static>(&self, configuration: &Arc<T>) {
        for problem in shared_pairs(configuration.as_ref(), &self.alive()) {
            tracing::warn!(
                tls = configuration.name(),
                problem,
                "one certificate is used on both sides"
            );
        }
        let weak: Weak<T> = Arc::downgrade(configuration);
        self.shared
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(weak);
        self.shared.added.notify_one();
    }

    /// Looks at all files now.
    pub fn poke(&self) {
        self.shared.poked.notify_one();
    }

    /// The state of everything that is watched. Pairs that are used on both sides and not fit for that are among the
    /// warnings.
    pub fn statuses(&self) -> Vec<TlsStatus> {
        let alive = self.alive();
        let status = |configuration: &Arc<dyn Reloadable>| {
            let mut status = configuration.status();
            status.warnings.extend(shared_pairs(configuration.as_ref(), &alive));
            status
        };
        alive.iter().map(status).collect()
    }

    fn alive(&self) -> Vec<Arc<dyn Reloadable>> {
        let mut watched = self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|weak| weak.strong_count() > 0);
        watched.iter().filter_map(Weak::upgrade).collect()
    }

    /// Runs until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut pokes_seen = POKES.count.load(Ordering::Acquire);
        let mut folders = Folders::new(&self.shared);
        loop {
            let alive = self.alive();
            if folders.follow(&alive) {
                // Files may have changed between their loading and the start of the watch.
                look(followed(&alive).cloned().collect()).await;
            }
            let interval = alive
                .iter()
                .filter_map(|one| one.interval())
                .min()
                .unwrap_or(DEFAULT_RELOAD_INTERVAL);
            // Nobody's configuration is kept alive by the wait.
            drop(alive);
            let poked = tokio::select! {
                () = stop.cancelled() => return,
                () = self.shared.added.notified() => continue,
                () = self.shared.poked.notified() => true,
                () = POKES.newer_than(&mut pokes_seen) => true,
                () = self.shared.changed.notified() => {
                    tokio::time::sleep(SETTLE).await;
                    false
                }
                () = tokio::time::sleep(interval.max(LEAST_INTERVAL)) => false,
            };
            let due = self
                .alive()
                .into_iter()
                .filter(|one| poked || one.interval().is_some())
                .collect();
            look(due).await;
        }
    }
}

/// Makes every reloader of the process look at all its files now; for SIGHUP.
pub fn poke_all() {
    POKES.count.fetch_add(1, Ordering::Release);
    POKES.changed.notify_waiters();
}

/// How often the whole process was poked; each reloader remembers which of them it has seen.
struct Pokes {
    count: AtomicU64,
    changed: Notify,
}

static POKES: Pokes = Pokes {
    count: AtomicU64::new(0),
    changed: Notify::const_new(),
};

impl Pokes {
    async fn newer_than(&self, seen: &mut u64) {
        loop {
            let changed = self.changed.notified();
            let count = self.count.load(Ordering::Acquire);
            if count != *seen {
                *seen = count;
                return;
            }
            changed.await;
        }
    }
}

/// A pair that serves and connects needs both extended key usages, or none: one sentence for each that `one` shares with
/// the other side and that is not fit.
fn shared_pairs(one: &dyn Reloadable, others: &[Arc<dyn Reloadable>]) -> Vec<String> {
    let on_the_other_side: Vec<_> = others
        .iter()
        .filter(|other| other.side() != one.side())
        .flat_map(|other| other.own_certificates())
        .collect();
    let shared = one.own_certificates().into_iter();
    shared
        .filter(|certificate| on_the_other_side.contains(certificate))
        .filter_map(|certificate| unfit_for_both_sides(&certificate))
        .collect()
}

/// Follows a fixed set of configurations until `stop`.
pub async fn run(configurations: Vec<Arc<dyn Reloadable>>, stop: CancellationToken) {
    let reloader = Reloader::new();
    {
        let mut watched = reloader.shared.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.extend(configurations.iter().map(Arc::downgrade));
    }
    reloader.run(stop).await;
}

async fn look(configurations: Vec<Arc<dyn Reloadable>>) {
    let looked = tokio::task::spawn_blocking(move || {
        for configuration in configurations {
            let name = configuration.name();
            match configuration.reload_if_changed() {
                ReloadOutcome::Unchanged => {}
                ReloadOutcome::Replaced => tracing::info!(tls = name, "changed certificate files are in use"),
                ReloadOutcome::Kept(reason) => {
                    tracing::error!(
                        tls = name,
                        reason,
                        "changed certificate files cannot be used; the old ones stay"
                    );
                }
            }
        }
    });
    if let Err(error) = looked.await {
        tracing::error!(%error, "looking at certificate files failed");
    }
}

/// The folders of all files, watched as far as the system can; the poll covers the rest.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<Utf8PathBuf>,
}

impl Folders {
    fn new(shared: &Arc<Shared>) -> Self {
        let shared = shared.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                shared.changed.notify_one();
            }
        });
        let watcher = watcher
            .inspect_err(|error| tracing::info!(%error, "certificate files cannot be watched; they are polled"))
            .ok();
        Self {
            watcher,
            watched: BTreeSet::new(),
        }
    }

    /// Watches what is not watched yet; whether there was any.
    fn follow(&mut self, configurations: &[Arc<dyn Reloadable>]) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let wanted: BTreeSet<Utf8PathBuf> = followed(configurations)
            .flat_map(|one| one.files())
            .filter_map(|file| {
                file.parent().map(|folder| {
                    if folder.as_str().is_empty() {
                        ".".into()
                    } else {
                        folder.to_owned()
                    }
                })
            })
            .collect();
        for gone in self.watched.difference(&wanted) {
            // The folder may be gone already, and its watch with it.
            let _gone_already = watcher.unwatch(gone.as_std_path());
        }
        let mut watched = BTreeSet::new();
        for folder in wanted {
            let known = self.watched.contains(&folder);
            if known || watcher.watch(folder.as_std_path(), RecursiveMode::NonRecursive).is_ok() {
                watched.insert(folder);
            }
        }
        let grown = !watched.is_subset(&self.watched);
        self.watched = watched;
        grown
    }
}

/// Those that follow their files without being poked.
fn followed(configurations: &[Arc<dyn Reloadable>]) -> impl Iterator<Item = &Arc<dyn Reloadable>> {
    configurations.iter().filter(|one| one.interval().is_some())
}

/// What happened to one configuration so far.
#[derive(Debug)]
pub(crate) struct History {
    /// Of the files at the last attempt, whether it went well or not.
    digest: [u8; 32],
    last_reload: Timestamp,
    reloads: u64,
    last_error: Option<String>,
}

impl History {
    pub(crate) fn new(digest: [u8; 32], now: Timestamp) -> Self {
        Self {
            digest,
            last_reload: now,
            reloads: 0,
            last_error: None,
        }
    }

    /// Loads when the files are not those of the last attempt.
    pub(crate) fn attempt(
        &mut self,
        digest: [u8; 32],
        now: Timestamp,
        load: impl FnOnce() -> Result<(), SslError>,
    ) -> ReloadOutcome {
        if digest == self.digest {
            return ReloadOutcome::Unchanged;
        }
        self.digest = digest;
        match load() {
            Ok(()) => {
                self.last_reload = now;
                self.reloads += 1;
                self.last_error = None;
                ReloadOutcome::Replaced
            }
            Err(error) => {
                let reason = error.whole_message();
                self.last_error = Some(reason.clone());
                ReloadOutcome::Kept(reason)
            }
        }
    }

    pub(crate) fn status(&self, name: &str, certificates: Vec<CertificateStatus>, warnings: Vec<String>) -> TlsStatus {
        TlsStatus {
            name: name.to_owned(),
            certificates,
            last_reload: self.last_reload,
            reloads: self.reloads,
            last_error: self.last_error.clone(),
            warnings,
        }
    }
}

/// A digest over the contents of files; one that cannot be read counts as such. A pipe is left to whoever loads it, as it
/// can be read only once; so it never changes.
pub(crate) fn digest_of(files: &[Utf8PathBuf]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for file in files {
        context.update(file.as_str().as_bytes());
        if !certs::can_be_read_again(file) {
            context.update(b"\0unreadable");
            continue;
        }
        match certs::PemSource::from(file.as_path()).read("file") {
            Ok(bytes) => {
                context.update(&bytes.len().to_be_bytes());
                context.update(&bytes);
            }
            Err(_) => context.update(b"\0unreadable"),
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
