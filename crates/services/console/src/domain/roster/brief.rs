//! What is kept of each agent: all fields that lists may name, flat. Names and values that agents share, and most they do, are
//! kept once for all.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard};

use query::matcher::Rows;
use serde_json::{Map, Value};

use super::known::Known;
use crate::domain::agent_status::Signs;

/// Values that are held before it is looked which of them nobody has any more.
const FEWEST_VALUES: usize = 4_096;

/// An agent.
#[derive(Debug)]
pub(crate) struct Brief {
    pub(crate) signs: Signs,
    /// By their field's number, in the document's order.
    fields: Box<[Held]>,
}

/// A value that an agent has.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// The number of its field.
    field: u32,
    /// The value's own.
    pub(super) number: u32,
    pub(super) value: Known,
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
    known: HashMap<Known, u32>,
    by_number: Vec<Option<Known>>,
    /// Numbers that are free again.
    free: Vec<u32>,
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
                fields.push(values.one(names.number(name), value));
            }
        });
        // Stable: the values of a field stay in their order.
        fields.sort_by_key(|held| held.field);
        Brief {
            signs: Signs::of_source(source).sharing(|policy| values.policy(policy)),
            fields: fields.into_boxed_slice(),
        }
    }

    /// The numbers of the values that pass.
    pub(super) fn passing(&self, test: &mut dyn FnMut(&Value) -> bool) -> Rows {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        Rows::of(values.by_number.len(), |number| {
            let known = values.by_number[number].as_ref();
            known.is_some_and(|known| test(known.value()))
        })
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
    fn one(&mut self, field: u32, value: &Value) -> Held {
        let (number, value) = match self.known.get_key_value(value) {
            Some((known, number)) => (*number, known.clone()),
            None => self.new_one(value),
        };
        Held { field, number, value }
    }

    fn new_one(&mut self, value: &Value) -> (u32, Known) {
        if self.known.len() > self.most.max(FEWEST_VALUES) {
            self.let_go();
        }
        let new = Known::new(value.clone());
        let number = self.free.pop().unwrap_or_else(|| {
            self.by_number.push(None);
            u32::try_from(self.by_number.len() - 1).unwrap_or(u32::MAX)
        });
        self.by_number[number as usize] = Some(new.clone());
        self.known.insert(new.clone(), number);
        (number, new)
    }

    /// Forgets what nobody has any more.
    fn let_go(&mut self) {
        let Self { by_number, free, .. } = self;
        self.known.retain(|known, number| {
            let is_used = known.is_used();
            if !is_used {
                by_number[*number as usize] = None;
                free.push(*number);
            }
            is_used
        });
        self.policies.retain(|policy| Arc::strong_count(policy) > 1);
        self.most = self.known.len() * 2;
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
        self.held(number).iter().map(|held| &held.value)
    }

    /// What it has at the field of that number.
    pub(super) fn held(&self, number: Option<u32>) -> &[Held] {
        let Some(number) = number else { return &[] };
        let start = self.fields.partition_point(|held| held.field < number);
        let rest = &self.fields[start..];
        let count = rest.iter().take_while(|held| held.field == number).count();
        &rest[..count]
    }

    /// Everything that it has, with the number of each field.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &Held)> {
        self.fields.iter().map(|held| (held.field, held))
    }

    pub(super) fn has(&self, number: u32) -> bool {
        self.fields.binary_search_by_key(&number, |held| held.field).is_ok()
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

/// A field, and the fields below it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) number: Option<u32>,
    pub(super) below: &'a [u32],
}

impl Names {
    /// The number of a field, if any agent has it.
    pub(crate) fn number_of(&self, field: &str) -> Option<u32> {
        self.numbers.get(field).copied()
    }

    /// Where a field is, and what is below it.
    pub(super) fn place(&self, path: &str) -> Place<'_> {
        Place {
            number: self.number_of(path),
            below: self.below.get(path).map(Vec::as_slice).unwrap_or_default(),
        }
    }

    /// All of them; each stands at its number.
    pub(super) fn all(&self) -> &[Arc<str>] {
        &self.by_number
    }
}

/// That there is an object is all that can be asked of it.
pub(super) static OBJECT: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn everything(_: &str) -> bool {
        true
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
        let values = vocabulary.values.lock().unwrap();
        assert!(values.known.len() <= FEWEST_VALUES + 2);
        let mut numbers: Vec<u32> = values.known.values().copied().collect();
        let largest = numbers.iter().copied().max().unwrap_or_default() as usize;
        assert!(largest <= FEWEST_VALUES + 2, "numbers are used again");
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), values.known.len(), "and none twice");
    }
}
