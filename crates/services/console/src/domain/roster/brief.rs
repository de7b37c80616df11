//! What is kept of each agent: all fields that lists may name, flat. Names and values that agents share, and most they do, are
//! kept once for all.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard};

use query::matcher;
use serde_json::{Map, Value};

use crate::domain::agent_status::{AgentStatus, Signs};

/// Values that are held before it is looked which of them nobody has any more.
const FEWEST_VALUES: usize = 4_096;

/// An agent.
#[derive(Debug)]
pub(crate) struct Brief {
    pub(crate) signs: Signs,
    /// By their field's number, in the document's order.
    fields: Box<[(u32, Arc<Value>)]>,
}

/// What the agents have in common.
#[derive(Debug, Default)]
pub(crate) struct Vocabulary {
    names: RwLock<Names>,
    values: Mutex<Values>,
}

/// The names of fields.
#[derive(Debug, Default)]
pub(crate) struct Names {
    numbers: HashMap<Arc<str>, u32>,
    by_number: Vec<Arc<str>>,
    /// The fields below an object.
    below: HashMap<Box<str>, Vec<u32>>,
}

#[derive(Debug, Default)]
struct Values {
    known: HashSet<Arc<Value>>,
    most: usize,
}

impl Vocabulary {
    /// Takes an agent's document in; fields that `is_kept` refuses are left out.
    pub(crate) fn brief(&self, source: &Value, is_kept: fn(&str) -> bool) -> Brief {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fields = Vec::new();
        query::field::visit_all(source, &mut |name, value| {
            if is_kept(name) && !value.is_null() {
                fields.push((names.number(name), values.one(value)));
            }
        });
        // Stable: the values of a field stay in their order.
        fields.sort_by_key(|(number, _)| *number);
        Brief {
            signs: Signs::of_source(source),
            fields: fields.into_boxed_slice(),
        }
    }

    /// The names, for as long as agents are looked at.
    pub(crate) fn names(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.by_number.len()).unwrap_or(u32::MAX);
        let shared: Arc<str> = name.into();
        self.numbers.insert(Arc::clone(&shared), number);
        self.by_number.push(shared);
        for (dot, _) in name.match_indices('.') {
            self.below.entry(name[..dot].into()).or_default().push(number);
        }
        number
    }
}

impl Values {
    fn one(&mut self, value: &Value) -> Arc<Value> {
        if let Some(known) = self.known.get(value) {
            return Arc::clone(known);
        }
        if self.known.len() > self.most.max(FEWEST_VALUES) {
            self.known.retain(|value| Arc::strong_count(value) > 1);
            self.most = self.known.len() * 2;
        }
        let new = Arc::new(value.clone());
        self.known.insert(Arc::clone(&new));
        new
    }
}

impl Brief {
    /// The values of a field.
    pub(crate) fn values<'a>(&'a self, names: &Names, field: &str) -> impl Iterator<Item = &'a Value> {
        let number = names.numbers.get(field).copied();
        number.into_iter().flat_map(|number| self.of_number(number))
    }

    fn of_number(&self, number: u32) -> impl Iterator<Item = &Value> {
        let start = self.fields.partition_point(|(other, _)| *other < number);
        let rest = self.fields[start..].iter();
        rest.take_while(move |(other, _)| *other == number)
            .map(|(_, value)| &**value)
    }

    fn has(&self, number: u32) -> bool {
        self.fields.binary_search_by_key(&number, |(other, _)| *other).is_ok()
    }

    /// Whether it is of an older version, and can be upgraded.
    pub(crate) fn is_below(&self, names: &Names, version: &semver::Version) -> bool {
        let present = self.texts(names, "agent.version").next();
        let is_older =
            present.is_some_and(|present| semver::Version::parse(present).is_ok_and(|present| present < *version));
        let cannot = || {
            let said = self.values(names, "local_metadata.elastic.agent.upgradeable").next();
            said == Some(&Value::Bool(false))
        };
        self.signs.is_active() && is_older && !cannot()
    }

    /// Whether a flag is on.
    pub(crate) fn is_set(&self, names: &Names, field: &str) -> bool {
        self.values(names, field).any(|value| *value == Value::Bool(true))
    }

    /// The texts of a list, such as its tags.
    pub(crate) fn texts<'a>(&'a self, names: &Names, field: &str) -> impl Iterator<Item = &'a str> {
        self.values(names, field).filter_map(Value::as_str)
    }
}

/// An agent as a document that is asked about, with its status as one more field.
pub(crate) struct Seen<'a> {
    pub(crate) names: &'a Names,
    pub(crate) brief: &'a Brief,
    pub(crate) status: AgentStatus,
}

/// That there is an object is all that can be asked of it.
static OBJECT: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));

impl matcher::Document for Seen<'_> {
    fn visit(&self, path: &str, each: &mut dyn FnMut(&Value)) {
        if path == "status" {
            return words_of(self.status).iter().for_each(each);
        }
        if let Some(number) = self.names.numbers.get(path) {
            self.brief.of_number(*number).for_each(&mut *each);
        }
        let below = self.names.below.get(path);
        if below.is_some_and(|numbers| numbers.iter().any(|number| self.brief.has(*number))) {
            each(&OBJECT);
        }
    }

    fn visit_all(&self, each: &mut dyn FnMut(&str, &Value)) {
        for word in words_of(self.status) {
            each("status", word);
        }
        for (number, value) in &self.brief.fields {
            each(&self.names.by_number[*number as usize], value);
        }
    }
}

/// The words that name a status in filters: the API's, and the one that pages show.
fn words_of(status: AgentStatus) -> &'static [Value] {
    static WORDS: LazyLock<HashMap<AgentStatus, Vec<Value>>> = LazyLock::new(|| {
        let words = |status: AgentStatus| status.words().map(Value::from).collect();
        AgentStatus::ALL
            .into_iter()
            .map(|status| (status, words(status)))
            .collect()
    });
    WORDS.get(&status).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use query::matcher::Document;
    use serde_json::json;

    use super::*;

    fn everything(_: &str) -> bool {
        true
    }

    #[test]
    fn an_agent_is_seen_as_its_document_with_its_status() {
        let vocabulary = Vocabulary::default();
        let source = json!({
            "tags": ["edge", "harbour"], "agent": {"version": "9.6.0"}, "gone": null,
            "components": [{"id": "a", "units": [{"status": "FAILED"}]}, {"id": "b"}],
        });
        let brief = vocabulary.brief(&source, everything);
        let names = vocabulary.names();
        let seen = Seen {
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
    fn values_are_kept_once_and_let_go() {
        let vocabulary = Vocabulary::default();
        let of = |number: usize| json!({"id": format!("agent {number}"), "policy_id": "shared"});
        let briefs: Vec<Brief> = (0..10)
            .map(|number| vocabulary.brief(&of(number), everything))
            .collect();
        assert_eq!(vocabulary.values.lock().unwrap().known.len(), 11);
        drop(briefs);
        for number in 0..2 * FEWEST_VALUES {
            drop(vocabulary.brief(&of(number), everything));
        }
        assert!(vocabulary.values.lock().unwrap().known.len() <= FEWEST_VALUES + 2);
    }
}
