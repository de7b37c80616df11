//! Agents in rows, and columns of the fields that lists have asked for.
//!
//! Any field that agents have can be asked for; a column is made the first time, and kept up to date from then on.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard};

use query::DocumentMeta;
use query::matcher::{Columns, Document, Rows};
use serde_json::Value;

use super::brief::{Brief, Names, OBJECT, Vocabulary};
use super::column::{Cell, Column, of_lists};
use super::known::Known;
use crate::domain::agent_status::{AgentStatus, StatusRules};
use crate::domain::mirror::Keeps;

/// Columns at a time: four bytes for each agent in each, and each value once.
const MOST_COLUMNS: usize = 32;

/// The table that all requests share.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    table: Arc<RwLock<Table>>,
    pub(super) vocabulary: Arc<Vocabulary>,
}

impl Shared {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeps<Brief> for Shared {
    fn emptied(&self) -> Self {
        Self {
            table: Arc::default(),
            vocabulary: Arc::clone(&self.vocabulary),
        }
    }

    fn put(&mut self, changed: Vec<(Arc<str>, Brief)>) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let names = self.vocabulary.names();
        for (id, brief) in changed {
            table.put(id, brief, &names);
        }
        table.drop_stale_columns();
    }

    fn remove(&mut self, id: &str) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.remove(id);
    }

    fn count(&self) -> usize {
        self.read().rows.len()
    }
}

/// All agents.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    places: HashMap<Arc<str>, usize>,
    /// Those that were asked for last come last.
    columns: Mutex<Vec<Arc<Column>>>,
}

/// An agent.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: Arc<str>,
    pub(super) brief: Brief,
}

impl Table {
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn of_id(&self, id: &str) -> Option<&Row> {
        self.places.get(id).map(|row| &self.rows[*row])
    }

    /// What all agents have at a field.
    pub(super) fn column(&self, path: &str, names: &Names) -> Arc<Column> {
        let mut columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        let column = match columns.iter().position(|column| *column.path == *path) {
            Some(present) => columns.remove(present),
            None => Arc::new(Column::of(path, self.rows.iter().map(|row| &row.brief), names)),
        };
        if columns.len() >= MOST_COLUMNS {
            columns.remove(0);
        }
        columns.push(Arc::clone(&column));
        column
    }

    /// The status of each.
    pub(super) fn statuses(&self, rules: &StatusRules) -> Vec<AgentStatus> {
        let mut last = ("", None);
        let rows = self.rows.iter().map(|row| {
            let signs = &row.brief.signs;
            let policy = signs.policy_id();
            // Agents of a policy share its id, and most come beside each other.
            if !std::ptr::eq(last.0, policy) {
                last = (policy, rules.inactivity.get(policy).copied());
            }
            rules.status_within(signs, last.1)
        });
        rows.collect()
    }

    fn put(&mut self, id: Arc<str>, brief: Brief, names: &Names) {
        let row = self.places.get(&id).copied().unwrap_or(self.rows.len());
        self.follow(|column| column.put(row, &brief, names));
        if let Some(present) = self.rows.get_mut(row) {
            present.brief = brief;
            return;
        }
        self.places.insert(Arc::clone(&id), row);
        self.rows.push(Row { id, brief });
    }

    fn remove(&mut self, id: &str) {
        let Some(row) = self.places.remove(id) else { return };
        self.rows.swap_remove(row);
        if let Some(moved) = self.rows.get(row) {
            self.places.insert(Arc::clone(&moved.id), row);
        }
        self.follow(|column| column.remove(row));
    }

    /// Changes every column. One that somebody holds is not there any more for whoever asks next.
    fn follow(&mut self, mut change: impl FnMut(&mut Column)) {
        let columns = self.columns.get_mut().unwrap_or_else(PoisonError::into_inner);
        columns.retain_mut(|column| Arc::get_mut(column).map(&mut change).is_some());
    }

    fn drop_stale_columns(&mut self) {
        let columns = self.columns.get_mut().unwrap_or_else(PoisonError::into_inner);
        columns.retain(|column| !column.is_stale());
    }
}

/// The agents as a query is asked about them: with their status as one more field.
pub(super) struct Seen<'a> {
    pub(super) table: &'a Table,
    pub(super) names: &'a Names,
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) statuses: &'a [AgentStatus],
}

impl Seen<'_> {
    /// The rows whose cell at a field passes.
    pub(super) fn rows(&self, path: &str, mut passes: impl FnMut(&Cell) -> bool) -> Rows {
        let place = self.names.place(path);
        if place.number.is_none() && place.below.is_empty() {
            let passes = passes(&Cell::empty());
            return Rows::of(self.count(), |_| passes);
        }
        self.table.column(path, self.names).rows(passes)
    }

    fn of_status(&self, mut passes: impl FnMut(&[Value]) -> bool) -> Rows {
        let passes = AgentStatus::ALL.map(|status| passes(words_of(status)));
        // `ALL` has them in the order of their declaration.
        Rows::of(self.count(), |row| passes[self.statuses[row] as usize])
    }
}

impl Columns for Seen<'_> {
    fn count(&self) -> usize {
        self.table.rows.len()
    }

    fn holding(&self, path: &str, test: &mut dyn FnMut(&[&Value]) -> bool) -> Rows {
        if path == "status" {
            return self.of_status(|words| test(&words.iter().collect::<Vec<_>>()));
        }
        self.rows(path, of_lists(test))
    }

    fn holding_anywhere(&self, fits: &dyn Fn(&str) -> bool, test: &mut dyn FnMut(&Value) -> bool) -> Rows {
        let mut found = Rows::none(self.count());
        if fits("status") {
            found = self.of_status(|words| words.iter().any(&mut *test));
        }
        let fits: Vec<bool> = self.names.all().iter().map(|name| fits(name)).collect();
        let passes = self.vocabulary.passing(test);
        found.add(&Rows::of(self.count(), |row| {
            let mut all = self.table.rows[row].brief.all();
            all.any(|(field, held)| passes.contains(held.number as usize) && fits[field as usize])
        }));
        found
    }

    fn of_ids(&self, ids: &HashSet<String>) -> Rows {
        let mut found = Rows::none(self.count());
        for row in ids.iter().filter_map(|id| self.table.places.get(id.as_str())) {
            found.insert(*row);
        }
        found
    }

    fn each(&self, test: &mut dyn FnMut(&dyn Document, &DocumentMeta<'_>) -> bool) -> Rows {
        Rows::of(self.count(), |row| {
            let Row { id, brief } = &self.table.rows[row];
            let meta = DocumentMeta {
                id,
                ..DocumentMeta::default()
            };
            let agent = Agent {
                names: self.names,
                brief,
                status: self.statuses[row],
            };
            test(&agent, &meta)
        })
    }
}

/// One agent as a document that is asked about.
struct Agent<'a> {
    names: &'a Names,
    brief: &'a Brief,
    status: AgentStatus,
}

impl Document for Agent<'_> {
    fn visit(&self, path: &str, each: &mut dyn FnMut(&Value)) {
        if path == "status" {
            return words_of(self.status).iter().for_each(each);
        }
        let place = self.names.place(path);
        self.brief.known(place.number).map(Known::value).for_each(&mut *each);
        if place.below.iter().any(|number| self.brief.has(*number)) {
            each(&OBJECT);
        }
    }

    fn visit_all(&self, each: &mut dyn FnMut(&str, &Value)) {
        for word in words_of(self.status) {
            each("status", word);
        }
        for (field, held) in self.brief.all() {
            each(&self.names.all()[field as usize], held.value.value());
        }
    }
}

/// The words that name a status in filters: the API's, and the one that pages show.
fn words_of(status: AgentStatus) -> &'static [Value] {
    static WORDS: LazyLock<[Vec<Value>; AgentStatus::ALL.len()]> =
        LazyLock::new(|| AgentStatus::ALL.map(|status| status.words().map(Value::from).collect()));
    // `ALL` has them in the order of their declaration: a test looks.
    &WORDS[status as usize]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_agent_is_seen_as_its_document_with_its_status() {
        let vocabulary = Vocabulary::default();
        let source = json!({
            "tags": ["edge", "harbour"], "agent": {"version": "9.6.0"}, "gone": null,
            "components": [{"id": "a", "units": [{"status": "FAILED"}]}, {"id": "b"}],
        });
        let brief = vocabulary.brief(&source, |_| true);
        let names = vocabulary.names();
        let seen = Agent {
            names: &names,
            brief: &brief,
            status: AgentStatus::Degraded,
        };
        let check = |path: &str, expected: Value| {
            let mut found = Vec::new();
            seen.visit(path, &mut |value| found.push(value.clone()));
            assert_eq!(Value::Array(found), expected, "{path}");
        };
        check("tags", json!(["edge", "harbour"]));
        check("components.id", json!(["a", "b"]));
        check("components.units.status", json!(["FAILED"]));
        check("agent", json!([{}]));
        check("gone", json!([]));
        check("status", json!(["degraded", "unhealthy"]));
        let mut count = 0;
        seen.visit_all(&mut |_, _| count += 1);
        assert_eq!(count, 2 + 2 + 1 + 3);
    }

    #[test]
    fn every_status_has_its_own_words() {
        for status in AgentStatus::ALL {
            assert_eq!(words_of(status)[0], status.name());
        }
    }

    fn put(shared: &mut Shared, id: &str, source: &Value) {
        let brief = shared.vocabulary.brief(source, |_| true);
        shared.put(vec![(id.into(), brief)]);
    }

    /// The ids of those whose field holds the value, from the column.
    fn holding(shared: &Shared, path: &str, value: &str) -> Vec<String> {
        let (table, names) = (shared.read(), shared.vocabulary.names());
        let rows = table.column(path, &names).rows(|cell| cell.holds(&value.into()));
        let mut ids: Vec<String> = rows.iter().map(|row| table.rows()[row].id.to_string()).collect();
        ids.sort();
        ids
    }

    #[test]
    fn columns_follow_what_is_written_and_forget_what_is_gone() {
        let mut shared = Shared::default();
        put(&mut shared, "a", &json!({"tags": ["edge", "core"]}));
        put(&mut shared, "b", &json!({"tags": "edge"}));
        assert_eq!(holding(&shared, "tags", "edge"), ["a", "b"]);
        assert!(
            holding(&shared, "host.name", "web").is_empty(),
            "a field that nobody has yet"
        );
        put(&mut shared, "b", &json!({"tags": [], "host": {"name": "web"}}));
        put(&mut shared, "c", &json!({"tags": ["core"], "host": {"name": "web"}}));
        assert_eq!(holding(&shared, "tags", "edge"), ["a"]);
        assert_eq!(holding(&shared, "tags", "core"), ["a", "c"]);
        assert_eq!(holding(&shared, "host.name", "web"), ["b", "c"]);
        shared.remove("a");
        assert_eq!(holding(&shared, "tags", "core"), ["c"]);
        assert_eq!(holding(&shared, "host.name", "web"), ["b", "c"]);
        put(&mut shared, "a", &json!({"tags": ["edge"]}));
        assert_eq!(holding(&shared, "tags", "edge"), ["a"]);
        shared.remove("nobody");
        assert_eq!(shared.count(), 3);
    }

    #[test]
    fn columns_are_bounded_in_number_and_in_what_they_remember() {
        let mut shared = Shared::default();
        for round in 0..10_000 {
            put(&mut shared, "a", &json!({"last_checkin": round}));
            if round % 100 == 0 {
                assert!(holding(&shared, "last_checkin", "x").is_empty());
            }
        }
        assert!(
            shared
                .table
                .read()
                .unwrap()
                .columns
                .lock()
                .unwrap()
                .iter()
                .all(|column| !column.is_stale())
        );
        for number in 0..2 * MOST_COLUMNS {
            assert!(holding(&shared, &format!("field{number}"), "x").is_empty());
        }
        assert_eq!(shared.table.read().unwrap().columns.lock().unwrap().len(), MOST_COLUMNS);
    }
}
