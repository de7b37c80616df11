//! What one operation does to one index, inside the writer's transaction.

use std::sync::Arc;

use query::mapping::{Mapping, Misfit};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use store::text_update::{self, Updated};
use store::{
    Action, Expected, Operation, Outcome, Rejection, RejectionKind, SeqNo, Source, Update, WriteResult, Written,
};

use super::looked_up;

/// An index as the writer holds it.
#[derive(Clone, Debug)]
pub(crate) struct OpenIndex {
    pub(crate) name: String,
    pub(crate) number: i64,
    pub(crate) next_seq: SeqNo,
    /// `next_seq` as of the last commit; `None` for an index that was made since.
    pub(crate) committed: Option<SeqNo>,
    /// `None` for our own indices, whose documents are not checked.
    pub(crate) mapping: Option<Arc<Mapping>>,
    /// Documents or a call have added fields since the last commit.
    pub(crate) mapping_changed: bool,
}

/// A document as it stands.
pub(crate) struct Present {
    pub(crate) seq_no: SeqNo,
    pub(crate) version: u64,
    pub(crate) body: Vec<u8>,
}

impl OpenIndex {
    pub(crate) fn create_table(connection: &Connection, number: i64, name: &str) -> rusqlite::Result<()> {
        let columns = looked_up(name).len();
        let declared: Vec<String> = (0..columns).map(|column| format!(", k{column} TEXT")).collect();
        let declared = declared.concat();
        connection.execute_batch(&format!(
            "CREATE TABLE d{number} (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, body BLOB NOT NULL{declared})"
        ))?;
        (0..columns).try_for_each(|column| {
            connection.execute_batch(&format!("CREATE INDEX d{number}_k{column} ON d{number} (k{column})"))
        })
    }

    pub(crate) fn get(&self, connection: &Connection, id: &str) -> rusqlite::Result<Option<Present>> {
        let mut statement =
            connection.prepare_cached(&format!("SELECT seq, version, body FROM d{} WHERE id = ?", self.number))?;
        statement
            .query_row([id], |row| {
                Ok(Present {
                    seq_no: row.get(0)?,
                    version: row.get(1)?,
                    body: row.get(2)?,
                })
            })
            .optional()
    }

    /// Does what the operation says. An error is the database's, not the operation's.
    pub(crate) fn apply(
        &mut self,
        connection: &Connection,
        operation: &Operation,
        id: &str,
    ) -> rusqlite::Result<Outcome> {
        if id.is_empty() || id.len() > 512 {
            return Ok(self.reject(
                id,
                RejectionKind::IllegalArgument,
                "the id must have 1 to 512 bytes".to_owned(),
            ));
        }
        let present = self.get(connection, id)?;
        match &operation.action {
            Action::Create(source) => match present {
                Some(present) => {
                    let reason = format!(
                        "[{id}]: version conflict, document already exists (current version [{}])",
                        present.version
                    );
                    Ok(self.reject(id, RejectionKind::VersionConflict, reason))
                }
                None => self.put(connection, id, source.bytes(), None, None),
            },
            Action::Index { source, expected } => match self.conflict(id, present.as_ref(), *expected) {
                Some(conflict) => Ok(conflict),
                None => self.put(connection, id, source.bytes(), present, given(*expected)),
            },
            Action::Delete { expected } => match self.conflict(id, present.as_ref(), *expected) {
                Some(conflict) => Ok(conflict),
                None => self.remove(connection, id, present, given(*expected)),
            },
            Action::Update { update, expected } => match self.conflict(id, present.as_ref(), *expected) {
                Some(conflict) => Ok(conflict),
                None => self.update(connection, id, update, present),
            },
        }
    }

    fn conflict(&self, id: &str, present: Option<&Present>, expected: Option<Expected>) -> Option<Outcome> {
        let reason = match (expected?, present) {
            (Expected::SeqNo(expected), Some(present)) if present.seq_no == expected => return None,
            (Expected::SeqNo(expected), present) => {
                let found = present.map_or_else(
                    || "but no document was found".to_owned(),
                    |present| format!("current document has seqNo [{}]", present.seq_no),
                );
                format!("[{id}]: version conflict, required seqNo [{expected}], {found}")
            }
            (Expected::Version { .. }, None) => return None,
            (Expected::Version { new, or_equal }, Some(present)) => {
                if present.version < new || or_equal && present.version == new {
                    return None;
                }
                let than = if or_equal { "higher than" } else { "higher or equal to" };
                let present = present.version;
                format!("[{id}]: version conflict, current version [{present}] is {than} the one provided [{new}]")
            }
        };
        Some(self.reject(id, RejectionKind::VersionConflict, reason))
    }

    fn update(
        &mut self,
        connection: &Connection,
        id: &str,
        update: &Update,
        present: Option<Present>,
    ) -> rusqlite::Result<Outcome> {
        let Some(present) = present else {
            return match update {
                Update::Merge {
                    upsert: Some(upsert), ..
                } => self.put(connection, id, Source::from_map(upsert).bytes(), None, None),
                _ => Ok(self.reject(id, RejectionKind::DocumentMissing, format!("[{id}]: document missing"))),
            };
        };
        match text_update::run(&present.body, update) {
            Ok(Updated::Changed(body)) if self.keeps_keys(update) => self.renew(connection, id, &body, &present),
            Ok(Updated::Changed(body)) => self.put(connection, id, &body, Some(present), None),
            Ok(Updated::Noop) => Ok(self.done(id, present.version, present.seq_no, WriteResult::Noop)),
            Ok(Updated::Unknown) => Ok(self.reject(id, RejectionKind::IllegalArgument, unknown_script(update))),
            Err(_) => {
                let reason = format!("[{id}]: the stored document cannot be read");
                Ok(self.reject(id, RejectionKind::Malformed, reason))
            }
        }
    }

    /// Whether the columns of the looked-up fields stay what they are.
    fn keeps_keys(&self, update: &Update) -> bool {
        !looked_up(&self.name)
            .iter()
            .any(|field| text_update::touches(update, field))
    }

    /// Moves a document to the end with another body and the same keys.
    fn renew(
        &mut self,
        connection: &Connection,
        id: &str,
        body: &[u8],
        present: &Present,
    ) -> rusqlite::Result<Outcome> {
        if let Err(rejection) = self.admit(id, body) {
            return Ok(rejection);
        }
        let (seq_no, version) = (self.take_seq(), present.version + 1);
        let update = format!(
            "UPDATE d{} SET seq = ?, version = ?, body = ? WHERE seq = ?",
            self.number
        );
        connection
            .prepare_cached(&update)?
            .execute((seq_no, version, body, present.seq_no))?;
        Ok(self.done(id, version, seq_no, WriteResult::Updated))
    }

    fn put(
        &mut self,
        connection: &Connection,
        id: &str,
        body: &[u8],
        present: Option<Present>,
        version: Option<u64>,
    ) -> rusqlite::Result<Outcome> {
        if let Err(rejection) = self.admit(id, body) {
            return Ok(rejection);
        }
        let seq_no = self.take_seq();
        let counted = present.as_ref().map_or(1, |present| present.version + 1);
        let version = version.unwrap_or(counted);
        if let Some(present) = &present {
            let delete = format!("DELETE FROM d{} WHERE seq = ?", self.number);
            connection.prepare_cached(&delete)?.execute([present.seq_no])?;
        }
        let keys = looked_up_values(looked_up(&self.name), body);
        let marks = ", ?".repeat(keys.len());
        let insert = format!("INSERT INTO d{} VALUES (?, ?, ?, ?{marks})", self.number);
        let mut insert = connection.prepare_cached(&insert)?;
        insert.raw_bind_parameter(1, seq_no)?;
        insert.raw_bind_parameter(2, id)?;
        insert.raw_bind_parameter(3, version)?;
        insert.raw_bind_parameter(4, body)?;
        for (column, key) in (5..).zip(keys) {
            insert.raw_bind_parameter(column, key)?;
        }
        insert.raw_execute()?;
        let result = if present.is_some() {
            WriteResult::Updated
        } else {
            WriteResult::Created
        };
        Ok(self.done(id, version, seq_no, result))
    }

    /// Checks a document against the mapping, which learns its new fields.
    fn admit(&mut self, id: &str, body: &[u8]) -> Result<(), Outcome> {
        let Some(mapping) = &self.mapping else { return Ok(()) };
        let source: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        match mapping.admit(id, &source) {
            Ok(None) => Ok(()),
            Ok(Some(extended)) => {
                self.mapping = Some(Arc::new(extended));
                self.mapping_changed = true;
                Ok(())
            }
            Err(Misfit::Value(reason)) => Err(self.reject(id, RejectionKind::Malformed, reason)),
            Err(Misfit::Strict(reason)) => Err(self.reject(id, RejectionKind::StrictMapping, reason)),
        }
    }

    fn remove(
        &mut self,
        connection: &Connection,
        id: &str,
        present: Option<Present>,
        version: Option<u64>,
    ) -> rusqlite::Result<Outcome> {
        // A delete of nothing takes a number, too, as in the original.
        let seq_no = self.take_seq();
        let Some(present) = present else {
            return Ok(self.done(id, version.unwrap_or(1), seq_no, WriteResult::NotFound));
        };
        let delete = format!("DELETE FROM d{} WHERE seq = ?", self.number);
        connection.prepare_cached(&delete)?.execute(params![present.seq_no])?;
        Ok(self.done(id, version.unwrap_or(present.version + 1), seq_no, WriteResult::Deleted))
    }

    fn take_seq(&mut self) -> SeqNo {
        self.next_seq += 1;
        self.next_seq - 1
    }

    fn done(&self, id: &str, version: u64, seq_no: SeqNo, result: WriteResult) -> Outcome {
        Outcome::Done(Written {
            index: self.name.clone(),
            id: id.to_owned(),
            version,
            seq_no,
            result,
        })
    }

    fn reject(&self, id: &str, kind: RejectionKind, reason: String) -> Outcome {
        Outcome::Rejected(Rejection {
            index: self.name.clone(),
            id: id.to_owned(),
            kind,
            reason,
        })
    }
}

/// The version that the client gives the document.
fn given(expected: Option<Expected>) -> Option<u64> {
    match expected {
        Some(Expected::Version { new, .. }) => Some(new),
        _ => None,
    }
}

/// The columns of the looked-up fields: the text of a single string, the empty one for a field that is not there, else null.
fn looked_up_values(fields: &[&str], body: &[u8]) -> Vec<Option<String>> {
    if fields.is_empty() {
        return Vec::new();
    }
    let found = text_update::fields(body, fields).into_iter();
    let text = |value: Option<&RawValue>| value.map_or_else(|| Some(String::new()), single_string);
    found.map(text).collect()
}

fn single_string(value: &RawValue) -> Option<String> {
    let Ok(mut value) = Value::deserialize(value) else {
        return None;
    };
    loop {
        match value {
            Value::String(text) => return Some(text),
            Value::Null => return Some(String::new()),
            Value::Array(mut items) if items.len() == 1 => value = items.remove(0),
            _ => return None,
        }
    }
}

fn unknown_script(update: &Update) -> String {
    let names: Vec<&str> = match update {
        Update::Script(params) => params.keys().map(String::as_str).collect(),
        Update::Merge { .. } => Vec::new(),
    };
    format!("no known update script takes the parameters [{}]", names.join(", "))
}
