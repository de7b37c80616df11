//! What is kept of each agent: all fields that lists may name, flat. Names and values that agents share, and most they do, are
//! kept once for all.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard};

use query::matcher;
use serde_json::{Map, Value};

use super::known::Known;
use crate::domain::agent_status::{AgentStatus, Signs};

/// Values that are held before it is looked which of them nobody has any more.
const FEWEST_VALUES: usize = 4_096;

/// An agent.
#[derive(Debug)]
pub(crate) struct Brief {
    pub(crate) signs: Signs,
    /// By their field's number, in the document's order.
    fields: Box<[(u32, Known)]>,
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
    known: HashSet<Known>,
    policies: HashSet<Arc<str>>,
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
            signs: Signs::of_source(source).sharing(|policy| values.policy(policy)),
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
    fn one(&mut self, value: &Value) -> Known {
        if let Some(known) = self.known.get(value) {
            return known.clone();
        }
        if self.known.len() > self.most.max(FEWEST_VALUES) {
            self.known.retain(Known::is_used);
            self.policies.retain(|policy| Arc::strong_count(policy) > 1);
            self.most = self.known.len() * 2;
        }
        let new = Known::new(value.clone());
        self.known.insert(new.clone());
        new
    }

    fn policy(&mut self, policy: Arc<str>) -> Arc<str> {
        if let Some(known) = self.policies.get(&policy) {
            return Arc::clone(known);
        }
        self.policies.insert(Arc::clone(&policy));
        policy
    }
}

impl Brief {
    /// The values of the field of that number.
    pub(crate) fn values(&self, field: Option<u32>) -> impl Iterator<Item = &Value> {
        self.known(field).map(Known::value)
    }

    /// The values of the field of that number, with what is known of them.
    pub(crate) fn known(&self, number: Option<u32>) -> impl Iterator<Item = &Known> {
        let start = number.map_or(self.fields.len(), |number| {
            self.fields.partition_point(|(other, _)| *other < number)
        });
        let rest = self.fields[start..].iter();
        rest.take_while(move |(other, _)| Some(*other) == number)
            .map(|(_, value)| value)
    }

    fn has(&self, number: u32) -> bool {
        self.fields.binary_search_by_key(&number, |(other, _)| *other).is_ok()
    }

    /// Whether it is of an older version, and can be upgraded.
    pub(crate) fn is_below(&self, fields: UpgradeFields, version: &semver::Version) -> bool {
        let present = self.known(fields.version).next().and_then(Known::version);
        let cannot = || {
            let said = self.known(fields.upgradeable).next().map(Known::value);
            said == Some(&Value::Bool(false))
        };
        self.signs.is_active() && present.is_some_and(|present| present < version) && !cannot()
    }

    /// Whether a flag is on.
    pub(crate) fn is_set(&self, field: Option<u32>) -> bool {
        self.values(field).any(|value| *value == Value::Bool(true))
    }

    /// The texts of a list, such as its tags.
    pub(crate) fn texts(&self, field: Option<u32>) -> impl Iterator<Item = &str> {
        self.values(field).filter_map(Value::as_str)
    }
}

/// The numbers of the fields that say whether an agent can be upgraded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpgradeFields {
    version: Option<u32>,
    upgradeable: Option<u32>,
}

impl Names {
    /// The number of a field, if any agent has it.
    pub(crate) fn number_of(&self, field: &str) -> Option<u32> {
        self.numbers.get(field).copied()
    }

    /// The fields that [`Brief::is_below`] looks at.
    pub(crate) fn upgrade_fields(&self) -> UpgradeFields {
        UpgradeFields {
            version: self.number_of("agent.version"),
            upgradeable: self.number_of("local_metadata.elastic.agent.upgradeable"),
        }
    }
}

/// The fields that a filter asks for: found once for all agents.
pub(crate) struct Places<'a> {
    names: &'a Names,
    found: RefCell<Vec<(Box<str>, Place<'a>)>>,
}

/// A field, and the fields below it.
#[derive(Clone, Copy)]
struct Place<'a> {
    number: Option<u32>,
    below: &'a [u32],
}

impl<'a> Places<'a> {
    pub(crate) fn of(names: &'a Names) -> Self {
        Self {
            names,
            found: RefCell::default(),
        }
    }

    fn place(&self, path: &str) -> Place<'a> {
        let mut found = self.found.borrow_mut();
        if let Some((_, place)) = found.iter().find(|(known, _)| **known == *path) {
            return *place;
        }
        let place = Place {
            number: self.names.number_of(path),
            below: self.names.below.get(path).map(Vec::as_slice).unwrap_or_default(),
        };
        found.push((path.into(), place));
        place
    }
}

/// An agent as a document that is asked about, with its status as one more field.
pub(crate) struct Seen<'a> {
    pub(crate) places: &'a Places<'a>,
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
        let place = self.places.place(path);
        self.brief.known(place.number).map(Known::value).for_each(&mut *each);
        if place.below.iter().any(|number| self.brief.has(*number)) {
            each(&OBJECT);
        }
    }

    fn visit_all(&self, each: &mut dyn FnMut(&str, &Value)) {
        for word in words_of(self.status) {
            each("status", word);
        }
        for (number, value) in &self.brief.fields {
            each(&self.places.names.by_number[*number as usize], value.value());
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
            places: &Places::of(&names),
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
