//! Says when something that pages show has changed: one look at the store for all open pages.

use std::time::Duration;

use protocol::indices;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::Console;
use crate::domain::documents::AUDIT;
use crate::domain::error::FleetError;

/// How often it is looked; pages change no faster.
const EVERY: Duration = Duration::from_secs(1);
/// A page that is further behind than this has missed nothing that the next news would not tell.
const BACKLOG: usize = 32;

/// What has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Topic {
    /// Agents: enrolled, checked in, or silent.
    Agents,
    /// Documents in data streams.
    Data,
    /// Settings, policies, tokens.
    Changes,
    /// The console stops; listeners end.
    Stop,
}

impl Topic {
    /// The event's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::Data => "data",
            Self::Changes => "changes",
            Self::Stop => "stop",
        }
    }
}

/// Where pages listen.
#[derive(Debug)]
pub struct News {
    sender: broadcast::Sender<Topic>,
}

impl Default for News {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(BACKLOG).0,
        }
    }
}

impl News {
    /// Everything from now on.
    pub fn listen(&self) -> broadcast::Receiver<Topic> {
        self.sender.subscribe()
    }

    fn tell(&self, topic: Topic) {
        // Without a listener there is nobody to miss it.
        let _listeners = self.sender.send(topic).unwrap_or(0);
    }
}

/// What the store looked like.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Seen {
    agents: Option<u64>,
    changes: Option<u64>,
    /// Number of documents and the newest time.
    data: (u64, Option<String>),
}

/// Looks while anybody listens, until `stop`.
pub(crate) async fn run(console: &Console, stop: CancellationToken) {
    let mut seen = Seen::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
        if console.news.sender.receiver_count() == 0 {
            continue;
        }
        match look(console).await {
            Ok(now) => {
                for topic in differences(&seen, &now) {
                    console.news.tell(topic);
                }
                seen = now;
            }
            Err(error) => tracing::debug!(%error, "the store could not be looked at for news"),
        }
    }
    console.news.tell(Topic::Stop);
}

async fn look(console: &Console) -> Result<Seen, FleetError> {
    let streams = console
        .store
        .data_streams(&["logs-*-*", "metrics-*-*"].map(str::to_owned))
        .await?;
    Ok(Seen {
        agents: checkpoint(console, indices::AGENTS).await?,
        changes: checkpoint(console, AUDIT.index).await?,
        data: (
            streams.iter().map(|stream| stream.documents).sum(),
            streams.into_iter().filter_map(|stream| stream.newest_timestamp).max(),
        ),
    })
}

async fn checkpoint(console: &Console, index: &str) -> Result<Option<u64>, FleetError> {
    match console.store.checkpoint(index).await {
        Ok(checkpoint) => Ok(checkpoint),
        Err(store::StoreError::IndexNotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn differences(before: &Seen, now: &Seen) -> Vec<Topic> {
    [
        (before.agents != now.agents, Topic::Agents),
        (before.data != now.data, Topic::Data),
        (before.changes != now.changes, Topic::Changes),
    ]
    .into_iter()
    .filter_map(|(differs, topic)| differs.then_some(topic))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let before = Seen {
            agents: Some(4),
            changes: Some(1),
            data: (10, None),
        };
        let mut now = before.clone();
        assert_eq!(differences(&before, &now), []);
        now.data = (11, None);
        now.agents = Some(5);
        assert_eq!(differences(&before, &now), [Topic::Agents, Topic::Data]);
    }
}
