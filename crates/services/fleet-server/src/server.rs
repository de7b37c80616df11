//! The server as a whole: what it is made of, what runs in it, what stops it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use access::ApiKeys;
use axum::Router;
use clock::SharedClock;
use protocol::ServerStatus;
use store::Store;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::acks::KnownActions;
use crate::action_board::ActionBoard;
use crate::artifacts::ArtifactCache;
use crate::enroll::EnrollmentIds;
use crate::enrollment_token::EnrollmentTokens;
use crate::limit::Pacer;
use crate::metrics::{Metrics, Surroundings};
use crate::output_keys::RemoteKeys;
use crate::policy_board::PolicyBoard;
use crate::registry::Registry;
use crate::replace_token::ReplaceTokens;
use crate::role_changes::RoleChanges;
use crate::router::Limiters;
use crate::settings::FleetServerSettings;
use crate::timed_store::TimedStore;
use crate::uploads::Uploads;
use crate::user_agent::ServerVersion;
use crate::{flush, garbage, index_setup, metrics, monitor, router};

/// The store may be away this long before the server calls itself degraded.
const PATIENCE_WITH_STORE: Duration = Duration::from_secs(90);

/// A Fleet Server over a store.
#[derive(Debug)]
pub struct FleetServer {
    pub(crate) settings: FleetServerSettings,
    pub(crate) version: ServerVersion,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Arc<dyn ApiKeys>,
    pub(crate) remote_keys: Option<Arc<dyn RemoteKeys>>,
    pub(crate) clock: SharedClock,
    pub(crate) agents: Registry,
    pub(crate) policies: PolicyBoard,
    pub(crate) actions: ActionBoard,
    pub(crate) known_actions: KnownActions,
    pub(crate) tokens: EnrollmentTokens,
    pub(crate) role_changes: RoleChanges,
    pub(crate) enrollment_ids: EnrollmentIds,
    pub(crate) replace_tokens: ReplaceTokens,
    pub(crate) uploads: Uploads,
    pub(crate) artifacts: ArtifactCache,
    /// One request fetches the PGP key for all.
    pub(crate) pgp_fetch: tokio::sync::Mutex<()>,
    pub(crate) limiters: Limiters,
    pub(crate) policy_pace: Pacer,
    pub(crate) action_pace: Pacer,
    pub(crate) metrics: Metrics,
    /// Work that goes on when the client that asked for it is gone.
    pub(crate) tasks: TaskTracker,
    /// Held polls are answered when it is set.
    pub(crate) stopping: CancellationToken,
    has_policies: AtomicBool,
    store_away_since: Mutex<Option<Instant>>,
}

impl FleetServer {
    /// A server that answers once [`FleetServer::run`] has read the policies.
    pub fn new(
        settings: FleetServerSettings,
        store: Arc<dyn Store>,
        keys: Arc<dyn ApiKeys>,
        clock: SharedClock,
    ) -> Arc<Self> {
        Self::with_remote_keys(settings, store, keys, None, clock)
    }

    /// The same, with API keys for outputs of type `remote_elasticsearch`.
    pub fn with_remote_keys(
        settings: FleetServerSettings,
        store: Arc<dyn Store>,
        keys: Arc<dyn ApiKeys>,
        remote_keys: Option<Arc<dyn RemoteKeys>>,
        clock: SharedClock,
    ) -> Arc<Self> {
        let metrics = Metrics::new();
        let store: Arc<dyn Store> = Arc::new(TimedStore::new(store, metrics.store_seconds.clone()));
        let hashes_at_once = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        Arc::new(Self {
            version: ServerVersion::parse(&settings.version),
            limiters: Limiters::new(&settings.limits),
            policy_pace: Pacer::new(&settings.limits.policy),
            action_pace: Pacer::new(&settings.limits.action),
            replace_tokens: ReplaceTokens::new(settings.pbkdf2, hashes_at_once),
            artifacts: ArtifactCache::new(settings.cache.max_cost, settings.cache.ttl_artifact),
            settings,
            store,
            keys,
            remote_keys,
            clock,
            agents: Registry::new(),
            policies: PolicyBoard::default(),
            actions: ActionBoard::default(),
            known_actions: KnownActions::default(),
            tokens: EnrollmentTokens::default(),
            role_changes: RoleChanges::default(),
            enrollment_ids: EnrollmentIds::default(),
            uploads: Uploads::default(),
            pgp_fetch: tokio::sync::Mutex::default(),
            metrics,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            has_policies: AtomicBool::new(false),
            store_away_since: Mutex::new(None),
        })
    }

    /// All endpoints for agents.
    pub fn router(self: &Arc<Self>) -> Router {
        router::router(Arc::clone(self))
    }

    /// `/metrics`, for a listener that agents cannot reach.
    pub fn metrics_router(self: &Arc<Self>, surroundings: Surroundings) -> Router {
        metrics::router(Arc::clone(self), surroundings)
    }

    /// Follows the store and writes check-ins until `stop`; then answers every held poll and writes what is left.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        index_setup::create_until_done(&self, &stop).await;
        let tasks = TaskTracker::new();
        tasks.spawn(monitor::follow_policies(Arc::clone(&self), stop.child_token()));
        tasks.spawn(monitor::follow_actions(Arc::clone(&self), stop.child_token()));
        tasks.spawn(flush::write_checkins(Arc::clone(&self), stop.child_token()));
        tasks.spawn(garbage::remove_old_actions(Arc::clone(&self), stop.child_token()));
        stop.cancelled().await;
        self.stopping.cancel();
        tasks.close();
        self.tasks.close();
        let ended = async {
            tasks.wait().await;
            self.tasks.wait().await;
        };
        if tokio::time::timeout(self.settings.timeouts.drain, ended).await.is_err() {
            tracing::warn!("work was still going on when the time to stop was over");
        }
        flush::write_now(&self).await;
    }

    /// How the server is.
    pub fn status(&self) -> ServerStatus {
        if self.stopping.is_cancelled() {
            return ServerStatus::Stopping;
        }
        if !self.has_policies.load(Ordering::Acquire) {
            return ServerStatus::Starting;
        }
        let away = *self.store_away_since.lock().expect("no holder of this lock can panic");
        match away {
            Some(since) if since.elapsed() > PATIENCE_WITH_STORE => ServerStatus::Degraded,
            _ => ServerStatus::Healthy,
        }
    }

    /// How many agents are connected now: their check-ins are held.
    pub fn connected_agents(&self) -> usize {
        usize::try_from(self.metrics.polls_held.get()).unwrap_or(0)
    }

    /// All policies that the store had at the start are read.
    pub(crate) fn policies_are_read(&self) {
        self.has_policies.store(true, Ordering::Release);
    }

    /// Notes whether the store answers.
    pub(crate) fn note_store(&self, answers: bool) {
        let mut away = self.store_away_since.lock().expect("no holder of this lock can panic");
        match (answers, &*away) {
            (true, Some(_)) => {
                tracing::info!("the store answers again");
                *away = None;
            }
            (false, None) => *away = Some(Instant::now()),
            _ => {}
        }
    }

    /// The present, in whole seconds, as documents have it.
    pub(crate) fn now_text(&self) -> String {
        clock::rfc3339_seconds(self.clock.now())
    }
}
