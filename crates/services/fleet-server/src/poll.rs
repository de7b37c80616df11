//! A check-in that waits, and what ends the wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::action_board::DeliverableAction;
use crate::metrics::HeldCount;
use crate::policy_board::PolicyNews;
use crate::policy_text::PreparedPolicy;
use crate::registry::HeldPoll;
use crate::server::FleetServer;

/// All that a waiting check-in keeps.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) held: HeldPoll,
    pub(crate) news: PolicyNews,
    /// A newer revision than this one is news.
    pub(crate) revision: i64,
    /// The agent has a newer revision than this server knows; from this moment on it gets the one that is known.
    pub(crate) ahead_until: Option<Instant>,
    /// Actions above this number are news.
    pub(crate) seq_no: i64,
    /// Actions that were there before the wait began, or that could not be handed out yet.
    pub(crate) actions: Vec<Arc<DeliverableAction>>,
    pub(crate) deadline: Instant,
    pub(crate) accepts_gzip: bool,
    pub(crate) _count: HeldCount,
}

/// Why a wait ended.
#[derive(Debug)]
pub(crate) enum News {
    /// Time is over, the server stops, or a newer check-in took over.
    Nothing,
    /// There are actions.
    Actions(Vec<Arc<DeliverableAction>>),
    /// There is a newer policy.
    Policy(Arc<PreparedPolicy>),
}

impl Ticket {
    /// Waits for news. Actions go before a policy: when there are any, the policy waits for the next round.
    pub(crate) async fn wait(&mut self, server: &FleetServer) -> News {
        let entry = Arc::clone(&self.held.entry);
        loop {
            // Registered before looking, so that what arrives between looking and waiting is not missed.
            let bell = entry.bell.notified();
            tokio::pin!(bell);
            bell.as_mut().enable();
            if let Some(news) = self.look(server) {
                return news;
            }
            tokio::select! {
                () = &mut bell => {}
                () = server.stopping.cancelled() => return News::Nothing,
                () = sleep_until(self.deadline) => return News::Nothing,
                () = sleep_until(self.ahead_until.unwrap_or(self.deadline)), if self.ahead_until.is_some() => {
                    self.ahead_until = None;
                    self.revision = 0;
                }
                changed = self.news.changed() => {
                    if changed.is_err() {
                        self.news = server.policies.subscribe(&self.policy_id());
                    }
                }
            }
        }
    }

    fn look(&mut self, server: &FleetServer) -> Option<News> {
        if server.stopping.is_cancelled() {
            return Some(News::Nothing);
        }
        match self.held.take_actions() {
            Ok(arrived) => self.take_over(arrived, server),
            Err(_) => return Some(News::Nothing),
        }
        if !self.actions.is_empty() {
            return Some(News::Actions(std::mem::take(&mut self.actions)));
        }
        let newest = self.news.borrow_and_update().clone()?;
        (newest.revision > self.revision).then_some(News::Policy(newest))
    }

    /// Adds what arrived and is deliverable, in order, each once.
    fn take_over(&mut self, arrived: Vec<Arc<DeliverableAction>>, server: &FleetServer) {
        let now = server.clock.now();
        let seq_no = self.seq_no;
        let is_new = |action: &Arc<DeliverableAction>| i64::try_from(action.seq_no).is_ok_and(|number| number > seq_no);
        self.actions.extend(
            arrived
                .into_iter()
                .filter(|action| is_new(action) && action.is_deliverable(now)),
        );
        self.actions.sort_by_key(|action| action.seq_no);
        self.actions.dedup_by_key(|action| action.seq_no);
    }

    fn policy_id(&self) -> protocol::PolicyId {
        let state = self.held.entry.state();
        state
            .record
            .as_ref()
            .map(|record| record.policy_id.clone())
            .unwrap_or_default()
    }

    /// Takes back news that could not be handed out.
    pub(crate) fn give_back(&mut self, news: News) {
        if let News::Actions(actions) = news {
            self.actions = actions;
        }
    }

    /// Waits a little, but not beyond the end of the poll.
    pub(crate) async fn pause(&self, server: &FleetServer, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            () = sleep_until(self.deadline) => {}
            () = server.stopping.cancelled() => {}
        }
    }
}
