//! All agents in memory: a list of many thousand agents is filtered, counted and sorted here, and the store is asked for the
//! documents that are shown.
//!
//! The roster follows the index of agents from the start on, so that no request waits for it to be read.

mod brief;
mod column;
mod known;
mod table;

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, RwLockReadGuard};
use std::time::Duration;

use jiff::Timestamp;
use protocol::indices;
use query::matcher::{Matcher, Rows};
use query::{Query, Sort, SortOrder};
use serde_json::Value;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::Console;
use crate::domain::agent_status::{AgentStatus, StatusRules};
use crate::domain::agents;
use crate::domain::error::FleetError;
use crate::domain::mirror::Mirror;
use brief::Names;
use column::{Cell, Column, LAST};
use known::Known;
use table::{Seen, Shared, Table};

pub(crate) use brief::Brief;

/// How long the roster may be behind while nobody asks; each question reads what is new first.
const EVERY: Duration = Duration::from_secs(5);

/// All agents.
#[derive(Debug)]
pub(crate) struct Roster {
    mirror: Mirror<Brief, Shared>,
}

impl Default for Roster {
    fn default() -> Self {
        let shared = Shared::default();
        let vocabulary = Arc::clone(&shared.vocabulary);
        let keep =
            move |document: &store::Document| Ok(vocabulary.brief(&document.source.to_value(), agents::is_field));
        Self {
            mirror: Mirror::kept_in(shared, indices::AGENTS, keep),
        }
    }
}

impl Roster {
    /// What `question` finds out about the agents as they are now, beside other requests.
    ///
    /// # Errors
    /// The store cannot answer.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        store: &dyn Store,
        question: impl FnOnce(&Agents<'_>) -> T + Send + 'static,
    ) -> Result<T, FleetError> {
        let shared = self.mirror.current(store).await?;
        let answered = tokio::task::spawn_blocking(move || question(&Agents::of(&shared))).await;
        answered.map_err(|_| FleetError::invalid("the agents cannot be listed"))
    }

    /// Says that an agent's document has perhaps been deleted.
    pub(crate) fn suspect(&self, id: &str) {
        self.mirror.suspect(id);
    }
}

/// Follows the index until `stop`.
pub(crate) async fn run(console: &Console, stop: CancellationToken) {
    loop {
        if let Err(error) = console.roster.mirror.current(&*console.store).await {
            tracing::debug!(%error, "agents could not be read for lists; the next round tries again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// All agents at one moment. Nobody changes them meanwhile.
#[derive(Debug)]
pub(crate) struct Agents<'a> {
    shared: &'a Shared,
    table: RwLockReadGuard<'a, Table>,
    names: RwLockReadGuard<'a, Names>,
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

/// The agents that a filter takes.
#[derive(Debug)]
pub(crate) struct Taken {
    rows: Vec<usize>,
    /// Of all agents.
    statuses: Vec<AgentStatus>,
}

impl Taken {
    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.rows.len()
    }

    /// The status of each.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = AgentStatus> {
        self.rows.iter().map(|row| self.statuses[*row])
    }
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

impl<'a> Key<'a> {
    fn of(order: SortOrder, column: Option<&'a Column>, row: usize, id: &'a Arc<str>) -> Self {
        let (rank, value) = column.map_or((LAST, None), |column| column.cell(row).first(order));
        Self { rank, value, id }
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

/// Where an agent says whether it can be upgraded.
const UPGRADEABLE: &str = "local_metadata.elastic.agent.upgradeable";

impl<'a> Agents<'a> {
    fn of(shared: &'a Shared) -> Self {
        Self {
            shared,
            table: shared.read(),
            names: shared.vocabulary.names(),
        }
    }

    fn seen<'b>(&'b self, statuses: &'b [AgentStatus]) -> Seen<'b> {
        Seen {
            table: &self.table,
            names: &self.names,
            vocabulary: &self.shared.vocabulary,
            statuses,
        }
    }

    /// The number of a field, if any agent has it.
    pub(crate) fn field(&self, name: &str) -> Option<u32> {
        self.names.number_of(name)
    }

    /// Every agent.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Brief> {
        self.table.rows().iter().map(|row| &row.brief)
    }

    /// One agent.
    pub(crate) fn of_id(&self, id: &str) -> Option<&Brief> {
        self.table.of_id(id).map(|row| &row.brief)
    }

    /// The agents that a filter takes.
    pub(crate) fn take(&self, rules: &StatusRules, filter: &Filter) -> Taken {
        let statuses = self.table.statuses(rules);
        let seen = self.seen(&statuses);
        let mut found = filter.matcher.rows(&seen);
        if let Some(version) = &filter.below {
            found.keep(&self.below(version));
        }
        let rows = self.table.rows();
        let is_shown = |row: &usize| {
            !filter.hidden.contains(&statuses[*row]) && !filter.not_of.contains(rows[*row].brief.signs.policy_id())
        };
        let rows = found.iter().filter(is_shown).collect();
        Taken { rows, statuses }
    }

    /// The enrolled agents that are of an older version, and can be upgraded.
    fn below(&self, version: &semver::Version) -> Rows {
        let seen = self.seen(&[]);
        let mut below = seen.rows("agent.version", |cell| {
            let present = cell.values().first().and_then(Known::version);
            present.is_some_and(|present| present < version)
        });
        below.remove(&seen.rows(UPGRADEABLE, |cell| cell.holds(&Value::Bool(false))));
        let rows = self.table.rows();
        below.keep(&Rows::of(rows.len(), |row| rows[row].brief.signs.is_active()));
        below
    }

    /// How many of them are of an older version, and can be upgraded.
    pub(crate) fn count_below(&self, taken: &Taken, version: &semver::Version) -> usize {
        let below = self.below(version);
        taken.rows.iter().filter(|row| below.contains(**row)).count()
    }

    /// The ids of some.
    pub(crate) fn ids(&self, taken: &Taken) -> Vec<String> {
        let rows = self.table.rows();
        taken.rows.iter().map(|row| rows[*row].id.to_string()).collect()
    }

    /// The texts that some have at a field, each once, sorted.
    pub(crate) fn texts(&self, taken: &Taken, field: &str) -> Vec<String> {
        self.texts_of(taken.rows.iter().copied(), field)
    }

    /// The texts that enrolled agents have at a field, each once, sorted.
    pub(crate) fn texts_of_enrolled(&self, field: &str) -> Vec<String> {
        let numbered = self.table.rows().iter().enumerate();
        let enrolled = numbered.filter(|(_, row)| row.brief.signs.is_active());
        self.texts_of(enrolled.map(|(row, _)| row), field)
    }

    fn texts_of(&self, rows: impl Iterator<Item = usize>, field: &str) -> Vec<String> {
        let column = self.table.column(field, &self.names);
        let values = column.cells_of(rows).flat_map(Cell::values);
        let texts: BTreeSet<&str> = values.filter_map(|known| known.value().as_str()).collect();
        texts.into_iter().map(str::to_owned).collect()
    }

    /// Part of them in order: their ids, with the values that they were sorted by, as the store would do it.
    pub(crate) fn page(&self, taken: &Taken, order: &Order, offset: usize, size: usize) -> Vec<(Arc<str>, Vec<Value>)> {
        let sort = &order.sorts[0];
        let by_id = matches!(sort.field.as_str(), "_id" | "id");
        let field = sort.field.strip_suffix(".keyword").unwrap_or(&sort.field);
        let column = (!by_id).then(|| self.table.column(field, &self.names));
        let rows = self.table.rows();
        let key = |row: &usize| Key::of(sort.order, column.as_deref(), *row, &rows[*row].id);
        let mut keys: Vec<Key<'_>> = taken.rows.iter().map(key).collect();
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
    use crate::domain::mirror::Keeps;

    fn agents(documents: &[(&str, Value)]) -> Shared {
        let mut shared = Shared::default();
        let rows = documents.iter().map(|(id, source)| {
            let brief = shared.vocabulary.brief(source, agents::is_field);
            (Arc::from(*id), brief)
        });
        let rows = rows.collect();
        shared.put(rows);
        shared
    }

    fn ids(shared: &Shared, filter: &Filter) -> Vec<String> {
        let agents = Agents::of(shared);
        let mut ids = agents.ids(&agents.take(&rules(), filter));
        ids.sort_unstable();
        ids
    }

    fn fleet() -> Shared {
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
        let query = crate::domain::kuery::parse(Some(kuery)).unwrap();
        let filter = Filter::of(&query, false, rules().now).unwrap();
        assert_eq!(ids(&fleet(), &filter), expected, "{kuery}");
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
        check("web-2", &["b"]);
        check("unhealthy or edge", &["a", "c"]);
        check("local_metadata.*: web*", &["a", "b"]);
        check("nothing.such: x", &[]);
        check("not nothing.such: x", &["a", "b", "c"]);
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
        assert_eq!(ids(&agents, &filter), ["old"]);
        filter.below = None;
        let agents = Agents::of(&agents);
        let taken = agents.take(&rules(), &filter);
        assert_eq!(agents.count_below(&taken, &semver::Version::new(9, 6, 0)), 1);
    }

    #[test]
    fn a_page_is_in_order_and_the_next_begins_after_it() {
        let (fleet, rules) = (fleet(), rules());
        let agents = Agents::of(&fleet);
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
        let (shared, rules) = (agents(&documents), rules());
        let agents = Agents::of(&shared);
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
