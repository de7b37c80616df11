//! The roles of an output key while a policy changes: the new ones beside the old ones, then the new ones alone.
//!
//! While an agent may still run the old policy, its key has the old roles under names that end with `-rdstale`.

use std::collections::HashMap;
use std::sync::Mutex;

use access::RoleDescriptors;
use serde_json::{Map, Value, json};

const STALE: &str = "-rdstale";
/// Kinds of change that are remembered; each is about 15 KiB, and a roll-out is one of them.
const REMEMBERED: usize = 100;

/// The results of changes, worked out once for all agents with the same roles.
#[derive(Debug, Default)]
pub(crate) struct RoleChanges {
    /// By the digests of the new and of the present roles.
    widened: Mutex<HashMap<[String; 2], RoleDescriptors>>,
    /// By the digest of the present roles.
    cleaned: Mutex<HashMap<String, RoleDescriptors>>,
}

impl RoleChanges {
    /// The new roles, and the present ones as stale ones.
    pub(crate) fn widened(&self, new: &RoleDescriptors, present: &RoleDescriptors) -> RoleDescriptors {
        let change = [new.digest().to_owned(), present.digest().to_owned()];
        remembered(&self.widened, change, || with_stale_roles(new, present).into())
    }

    /// The present roles without stale ones.
    pub(crate) fn cleaned(&self, present: &RoleDescriptors) -> RoleDescriptors {
        remembered(&self.cleaned, present.digest().to_owned(), || {
            let mut roles = (**present).clone();
            roles.retain(|name, _| !name.ends_with(STALE));
            roles.into()
        })
    }
}

fn remembered<K: Eq + std::hash::Hash>(
    known: &Mutex<HashMap<K, RoleDescriptors>>,
    change: K,
    work_out: impl FnOnce() -> RoleDescriptors,
) -> RoleDescriptors {
    let mut known = known.lock().expect("no holder of this lock can panic");
    if known.len() >= REMEMBERED && !known.contains_key(&change) {
        known.clear();
    }
    known.entry(change).or_insert_with(work_out).clone()
}

/// The roles of a key. An empty map would give the key all rights of its maker, so it becomes a role without any.
pub(crate) fn granted(permissions: &Map<String, Value>) -> RoleDescriptors {
    if !permissions.is_empty() {
        return permissions.clone().into();
    }
    let nothing = json!({
        "cluster": [], "indices": [],
        "applications": [{"application": "fleet", "privileges": ["no-privileges"], "resources": ["*"]}]
    });
    Map::from_iter([("no-privileges".to_owned(), nothing)]).into()
}

fn with_stale_roles(new: &Map<String, Value>, present: &Map<String, Value>) -> Map<String, Value> {
    let mut roles = new.clone();
    for (name, role) in present {
        let base = name
            .strip_suffix(STALE)
            .and_then(|name| name.rsplit_once('-'))
            .map_or(name.as_str(), |(base, _)| base);
        let free = (0..=roles.len())
            .map(|number| format!("{base}-{number}{STALE}"))
            .find(|candidate| !roles.contains_key(candidate))
            .expect("there are more numbers than roles");
        roles.insert(free, role.clone());
    }
    roles.sort_keys();
    roles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(names: &[&str]) -> Map<String, Value> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), json!({"cluster": [name]})))
            .collect()
    }

    #[test]
    fn old_roles_stay_beside_the_new_ones_and_go_again() {
        let check = |new: &[&str], present: &[&str], expected: &[&str]| {
            let changes = RoleChanges::default();
            let widened = changes.widened(&roles(new).into(), &roles(present).into());
            assert_eq!(widened.keys().map(String::as_str).collect::<Vec<_>>(), expected);
            assert_eq!(changes.cleaned(&widened), roles(new).into());
        };
        check(&["a"], &["a"], &["a", "a-0-rdstale"]);
        check(&["b"], &["a"], &["a-0-rdstale", "b"]);
        check(&["a"], &["a", "a-0-rdstale"], &["a", "a-0-rdstale", "a-1-rdstale"]);
        check(&["my-role"], &["my-role"], &["my-role", "my-role-0-rdstale"]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let changes = RoleChanges::default();
        for number in 0..3 * REMEMBERED {
            let new = RoleDescriptors::from(roles(&[&number.to_string()]));
            assert!(changes.widened(&new, &new).contains_key(&number.to_string()));
        }
        assert!(changes.widened.lock().unwrap().len() <= REMEMBERED);
    }

    #[test]
    fn no_permissions_are_not_all_permissions() {
        let granted = granted(&Map::new());
        assert_eq!(granted["no-privileges"]["cluster"], json!([]));
    }
}
