//! All agents in memory: a list of many thousand agents is filtered, counted and sorted here, and the store is asked for the
//! documents that are shown.
//!
//! The roster follows the index of agents from the start on, so that no request waits for it to be read.

mod brief;
mod known;

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use protocol::indices;
use query::matcher::Matcher;
use query::{DocumentMeta, Query, Sort, SortOrder};
use serde_json::Value;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::Console;
use crate::domain::agent_status::{AgentStatus, StatusRules};
use crate::domain::agents;
use crate::domain::error::FleetError;
use crate::domain::mirror::{Entries, Mirror};
use brief::{Places, Seen, Vocabulary};
use known::Known;

pub(crate) use brief::{Brief, Names};

/// How long the roster may be behind while nobody asks; each question reads what is new first.
const EVERY: Duration = Duration::from_secs(5);

/// All agents.
#[derive(Debug)]
pub(crate) struct Roster {
    mirror: Mirror<Brief>,
    vocabulary: Arc<Vocabulary>,
}

impl Default for Roster {
    fn default() -> Self {
        let vocabulary = Arc::new(Vocabulary::default());
        let shared = Arc::clone(&vocabulary);
        let keep = move |document: &store::Document| Ok(shared.brief(&document.source.to_value(), agents::is_field));
        Self {
            mirror: Mirror::of(indices::AGENTS, keep),
            vocabulary,
        }
    }
}

impl Roster {
    /// The agents as they are now.
    ///
    /// # Errors
    /// The store cannot answer.
    pub(crate) async fn now(&self, store: &dyn Store) -> Result<Agents, FleetError> {
        Ok(Agents {
            entries: self.mirror.current(store).await?,
            vocabulary: Arc::clone(&self.vocabulary),
        })
    }
}

/// Follows the index until `stop`.
pub(crate) async fn run(console: &Console, stop: CancellationToken) {
    loop {
        if let Err(error) = console.roster.now(&*console.store).await {
            tracing::debug!(%error, "agents could not be read for lists; the next round tries again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// All agents at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Agents {
    entries: Arc<Entries<Brief>>,
    vocabulary: Arc<Vocabulary>,
}

/// Which agents.
#[derive(Debug)]
pub(crate) struct Filter {
    matcher: Matcher,
    hidden: &'static [AgentStatus],
    /// Those that can be upgraded to this version.
    pub(crate) below: Option<semver::Version>,
    /// Not those of these policies.
    pub(crate) not_of: HashSet<String>,
}

/// What lists leave out unless they are asked for it.
const HIDDEN: [AgentStatus; 2] = [AgentStatus::Unenrolled, AgentStatus::Inactive];

impl Filter {
    /// Those that match; `status` counts as a field.
    ///
    /// # Errors
    /// A value that a clause cannot be about.
    pub(crate) fn of(query: &Query, show_inactive: bool, now: Timestamp) -> Result<Self, FleetError> {
        let matcher = Matcher::compile(query, None, Some(now));
        Ok(Self {
            matcher: matcher.map_err(|error| FleetError::invalid(error.to_string()))?,
            hidden: if show_inactive { &[] } else { &HIDDEN },
            below: None,
            not_of: HashSet::new(),
        })
    }
}

/// An agent that a filter takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken<'a> {
    pub(crate) id: &'a Arc<str>,
    pub(crate) status: AgentStatus,
    pub(crate) brief: &'a Brief,
}

/// The order of a list, and what it begins after.
#[derive(Debug)]
pub(crate) struct Order {
    sorts: Vec<Sort>,
    after: Option<Vec<Value>>,
}

impl Order {
    /// By a field, then by the id; missing values come last. `after` are the sort values of the last agent of the page before.
    pub(crate) fn by(field: &str, order: SortOrder, after: Option<Vec<Value>>) -> Self {
        let sorts = query::SearchRequest::new("")
            .sort_by(field, order)
            .sort_by("_id", SortOrder::Ascending)
            .sort;
        Self { sorts, after }
    }
}

/// What an agent is sorted by: the value of the field, what can be said of it without looking at it, and the id.
#[derive(Clone, Copy)]
struct Key<'a> {
    rank: (u8, u64),
    value: Option<&'a Known>,
    id: &'a Arc<str>,
}

/// The rank of agents that lack the field.
const LAST: (u8, u64) = (u8::MAX, u64::MAX);

impl<'a> Key<'a> {
    fn of(sort: &Sort, field: Option<u32>, taken: &Taken<'a>) -> Self {
        let values = taken.brief.known(field);
        let value = match sort.order {
            SortOrder::Ascending => values.min_by(|left, right| left.compare(right)),
            SortOrder::Descending => values.max_by(|left, right| left.compare(right)),
        };
        let rank = value.map_or(LAST, |value| match (sort.order, value.rank()) {
            (SortOrder::Ascending, rank) => rank,
            (SortOrder::Descending, (kind, rank)) => (LAST.0 - 1 - kind, !rank),
        });
        Self {
            rank,
            value,
            id: taken.id,
        }
    }

    fn values(&self, by_id: bool) -> Vec<Value> {
        let id = Value::from(&**self.id);
        let value = match self.value {
            Some(value) => value.sort_value().into_owned(),
            None if by_id => id.clone(),
            None => Value::Null,
        };
        vec![value, id]
    }
}

/// The order of two agents in a list. Those without the field come last in either direction, and the id decides between equals.
fn compare(order: SortOrder, by_id: bool, left: &Key<'_>, right: &Key<'_>) -> Ordering {
    let values = || match (left.value, right.value, order) {
        (Some(left), Some(right), SortOrder::Ascending) => left.compare(right),
        (Some(left), Some(right), SortOrder::Descending) => right.compare(left),
        _ => Ordering::Equal,
    };
    let ids = || match order {
        SortOrder::Descending if by_id => right.id.cmp(left.id),
        _ => left.id.cmp(right.id),
    };
    left.rank.cmp(&right.rank).then_with(values).then_with(ids)
}

impl Agents {
    /// The names of the fields that agents have.
    pub(crate) fn names(&self) -> std::sync::RwLockReadGuard<'_, Names> {
        self.vocabulary.names()
    }

    /// The number of a field, if any agent has it.
    pub(crate) fn field(&self, name: &str) -> Option<u32> {
        self.names().number_of(name)
    }

    /// Every agent.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Brief> {
        self.entries.values().map(|brief| &**brief)
    }

    /// One agent.
    pub(crate) fn of_id(&self, id: &str) -> Option<&Brief> {
        self.entries.get(id).map(|brief| &**brief)
    }

    /// The agents that a filter takes, in no order.
    pub(crate) fn take(&self, rules: &StatusRules, filter: &Filter) -> Vec<Taken<'_>> {
        let names = self.names();
        let (places, upgrade) = (Places::of(&names), names.upgrade_fields());
        let taken = self.entries.iter().filter_map(|(id, brief)| {
            let status = rules.status(&brief.signs);
            let meta = DocumentMeta {
                id,
                ..DocumentMeta::default()
            };
            let seen = Seen {
                places: &places,
                brief,
                status,
            };
            let is_taken = !filter.hidden.contains(&status) && filter.matcher.holds(&seen, &meta);
            let is_below = |version| brief.is_below(upgrade, version);
            let is_here = !filter.not_of.contains(brief.signs.policy_id());
            (is_taken && is_here && filter.below.as_ref().is_none_or(is_below)).then_some(Taken { id, status, brief })
        });
        taken.collect()
    }

    /// Part of them in order: their ids, with the values that they were sorted by, as the store would do it.
    pub(crate) fn page(
        &self,
        taken: &[Taken<'_>],
        order: &Order,
        offset: usize,
        size: usize,
    ) -> Vec<(Arc<str>, Vec<Value>)> {
        let sort = &order.sorts[0];
        let by_id = matches!(sort.field.as_str(), "_id" | "id");
        let field = sort.field.strip_suffix(".keyword").unwrap_or(&sort.field);
        let field = self.field(field).filter(|_| !by_id);
        let mut keys: Vec<Key<'_>> = taken.iter().map(|one| Key::of(sort, field, one)).collect();
        if let Some(after) = &order.after {
            keys.retain(|key| query::compare_sort_values(&order.sorts, after, &key.values(by_id)).is_lt());
        }
        let compare = |left: &Key<'_>, right: &Key<'_>| compare(sort.order, by_id, left, right);
        let wanted = offset.saturating_add(size).min(keys.len());
        if wanted < keys.len() && wanted > 0 {
            keys.select_nth_unstable_by(wanted - 1, compare);
            keys.truncate(wanted);
        }
        if offset > 0 && offset < keys.len() {
            // What is before the page need not be in order.
            keys.select_nth_unstable_by(offset, compare);
        }
        let mut page = keys.split_off(offset.min(keys.len()));
        page.sort_unstable_by(compare);
        page.truncate(size);
        page.iter().map(|key| (Arc::clone(key.id), key.values(by_id))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn agents(documents: &[(&str, Value)]) -> Agents {
        let vocabulary = Arc::new(Vocabulary::default());
        let entries = documents.iter().map(|(id, source)| {
            let brief = vocabulary.brief(source, agents::is_field);
            (Arc::from(*id), Arc::new(brief))
        });
        Agents {
            entries: Arc::new(entries.collect()),
            vocabulary: Arc::clone(&vocabulary),
        }
    }

    fn fleet() -> Agents {
        let agent = |host: &str, checked_in: &str, status: &str, tags: Value| {
            json!({"active": true, "policy_id": "p", "policy_revision_idx": 1, "enrolled_at": "2026-01-01T00:00:00Z",
                "last_checkin": checked_in, "last_checkin_status": status, "tags": tags,
                "local_metadata": {"host": {"hostname": host}, "os": {"kernel": "6.1"}}})
        };
        agents(&[
            ("a", agent("web-1", "2026-01-02T11:59:00Z", "online", json!(["edge"]))),
            ("b", agent("web-2", "2026-01-02T11:00:00Z", "online", json!([]))),
            (
                "c",
                agent("db-1", "2026-01-02T11:59:30Z", "degraded", json!(["edge", "core"])),
            ),
            ("d", json!({"active": false, "enrolled_at": "2026-01-01T00:00:00Z"})),
        ])
    }

    fn rules() -> StatusRules {
        StatusRules {
            now: "2026-01-02T12:00:00Z".parse().unwrap(),
            inactivity: std::collections::HashMap::new(),
        }
    }

    fn check(kuery: &str, expected: &[&str]) {
        let (agents, rules) = (fleet(), rules());
        let query = crate::domain::kuery::parse(Some(kuery)).unwrap();
        let filter = Filter::of(&query, false, rules.now).unwrap();
        let mut found: Vec<&str> = agents.take(&rules, &filter).iter().map(|one| &**one.id).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{kuery}");
    }

    #[test]
    fn any_field_filters_and_so_does_the_status() {
        check("", &["a", "b", "c"]);
        check("status:online", &["a"]);
        check("status:(healthy or offline)", &["a", "b"]);
        check("status:unhealthy", &["c"]);
        check("not status:off*", &["a", "c"]);
        check("tags:edge and local_metadata.os.kernel:6*", &["a", "c"]);
        check("last_checkin > now-5m", &["a", "c"]);
        check("local_metadata.host : *", &["a", "b", "c"]);
        check("_id:(a or d)", &["a"]);
    }

    #[test]
    fn whoever_has_an_older_version_and_can_is_upgradeable() {
        let agent = |version: &str, can: bool| json!({"active": true, "agent": {"version": version}, "local_metadata": {"elastic": {"agent": {"upgradeable": can}}}});
        let agents = agents(&[
            ("old", agent("9.5.0", true)),
            ("new", agent("9.6.0", true)),
            ("stuck", agent("9.5.0", false)),
            ("odd", agent("", true)),
        ]);
        let mut filter = Filter::of(&Query::MatchAll, true, rules().now).unwrap();
        filter.below = Some(semver::Version::new(9, 6, 0));
        let taken = agents.take(&rules(), &filter);
        assert_eq!(taken.iter().map(|one| &**one.id).collect::<Vec<_>>(), ["old"]);
    }

    #[test]
    fn a_page_is_in_order_and_the_next_begins_after_it() {
        let (agents, rules) = (fleet(), rules());
        let filter = Filter::of(&Query::MatchAll, true, rules.now).unwrap();
        let taken = agents.take(&rules, &filter);
        let page = |order: SortOrder, after: Option<Vec<Value>>, size: usize| {
            let order = Order::by("last_checkin", order, after);
            let page = agents.page(&taken, &order, 0, size);
            let ids: Vec<String> = page.iter().map(|(id, _)| id.to_string()).collect();
            (ids.join(""), page.last().map(|(_, sort)| sort.clone()))
        };
        let (first, after) = page(SortOrder::Descending, None, 2);
        assert_eq!(first, "ca");
        let (second, _) = page(SortOrder::Descending, after, 9);
        assert_eq!(second, "bd", "what has no value comes last");
        assert_eq!(page(SortOrder::Ascending, None, 9).0, "bacd");
    }

    /// Any page of any order is that part of the whole list which the store would give.
    #[test]
    fn pages_are_parts_of_the_whole_list() {
        let documents: Vec<(String, Value)> = (0..60)
            .map(|number: i64| {
                let value = match number % 6 {
                    0 => json!({"last_checkin": "2026-01-02T11:59:00Z"}),
                    1 => json!({"last_checkin": format!("2026-01-02T11:{:02}:00Z", number % 7)}),
                    2 => json!({"last_checkin": number * 31 % 11}),
                    3 => json!({"last_checkin": [format!("web-0000{}", number % 5), "2026-01-02T11:58:00Z"]}),
                    4 => json!({"last_checkin": number % 4 == 0}),
                    _ => json!({}),
                };
                (format!("agent-{}", number * 7 % 60), value)
            })
            .collect();
        let documents: Vec<(&str, Value)> = documents
            .iter()
            .map(|(id, value)| (id.as_str(), value.clone()))
            .collect();
        let (agents, rules) = (agents(&documents), rules());
        let taken = agents.take(&rules, &Filter::of(&Query::MatchAll, true, rules.now).unwrap());
        for (field, direction) in [
            ("last_checkin", SortOrder::Ascending),
            ("last_checkin", SortOrder::Descending),
            ("_id", SortOrder::Descending),
        ] {
            let whole = agents.page(&taken, &Order::by(field, direction, None), 0, 100);
            let order = Order::by(field, direction, None);
            assert!(
                whole.is_sorted_by(|left, right| query::compare_sort_values(&order.sorts, &left.1, &right.1).is_lt())
            );
            for offset in 0..whole.len() + 2 {
                let expected = &whole[offset.min(60)..(offset + 7).min(60)];
                assert_eq!(agents.page(&taken, &order, offset, 7), expected, "{field} {offset}");
                if let Some(last) = offset.checked_sub(1).and_then(|last| whole.get(last)) {
                    let order = Order::by(field, direction, Some(last.1.clone()));
                    assert_eq!(agents.page(&taken, &order, 0, 7), expected, "{field} after {last:?}");
                }
            }
        }
    }
}
