//! Who owns a file, by name: `log.file.owner` and `log.file.group`, for streams that ask for them.
//!
//! Names are those of `/etc/passwd` and `/etc/group`; an id without a name there is written as a number.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// Which names are wanted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct OwnerNames {
    /// `include_file_owner_name`.
    pub(super) user: bool,
    /// `include_file_owner_group_name`.
    pub(super) group: bool,
}

/// The owner of one file, with the names that are wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Owner {
    ids: (u32, u32),
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
}

impl OwnerNames {
    /// The owner as `metadata` has it; `known` when that is still true, so that names are looked up only at a change.
    pub(super) fn of(self, metadata: &Metadata, known: Option<Owner>) -> Option<Owner> {
        if self == Self::default() {
            return None;
        }
        let ids = (metadata.uid(), metadata.gid());
        let same = known.filter(|known| known.ids == ids);
        same.or_else(|| {
            Some(Owner {
                ids,
                user: self.user.then(|| name(USERS, ids.0)),
                group: self.group.then(|| name(GROUPS, ids.1)),
            })
        })
    }
}

fn name(file: &str, id: u32) -> String {
    let text = fs_err::read_to_string(file).unwrap_or_default();
    name_in(&text, id).unwrap_or_else(|| id.to_string())
}

/// Both files have the name first and the id third.
fn name_in(text: &str, id: u32) -> Option<String> {
    let wanted = id.to_string();
    text.lines().find_map(|line| {
        let mut columns = line.split(':');
        let name = columns.next()?;
        (columns.nth(1)? == wanted).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_their_id() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n# broken\nweb:x:1000:100::/srv:/bin/sh\n";
        assert_eq!(name_in(passwd, 1000).as_deref(), Some("web"));
        assert_eq!(name_in(passwd, 0).as_deref(), Some("root"));
        assert_eq!(name_in(passwd, 100), None);
    }

    #[test]
    fn only_what_is_wanted_is_looked_up() {
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!(OwnerNames::default().of(&metadata, None), None);
        let names = OwnerNames {
            user: true,
            group: false,
        };
        let owner = names.of(&metadata, None).unwrap();
        assert!(owner.user.is_some() && owner.group.is_none());
        assert_eq!(names.of(&metadata, Some(owner.clone())), Some(owner));
    }
}
