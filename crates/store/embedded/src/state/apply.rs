//! What one operation does to one index, inside the writer's transaction.

use std::sync::Arc;

use query::field;
use query::mapping::{Mapping, Misfit};
use rusqlite::{Connection, OptionalExtension, params, params_from_iter, types};
use serde_json::{Map, Value};
use store::update_script::{self, Effect};
use store::{Action, Operation, Outcome, Rejection, RejectionKind, SeqNo, Source, Update, WriteResult, Written};

use super::looked_up;

/// An index as the writer holds it.
#[derive(Clone, Debug)]
pub(crate) struct OpenIndex {
    pub(crate) name: String,
    pub(crate) number: i64,
    pub(crate) next_seq: SeqNo,
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
                None => self.put(connection, id, source.bytes(), None),
            },
            Action::Index { source, expected } => match self.conflict(id, present.as_ref(), *expected) {
                Some(conflict) => Ok(conflict),
                None => self.put(connection, id, source.bytes(), present),
            },
            Action::Delete { expected } => match self.conflict(id, present.as_ref(), *expected) {
                Some(conflict) => Ok(conflict),
                None => self.remove(connection, id, present),
            },
            Action::Update { update, expected } => match self.conflict(id, present.as_ref(), *expected) {
                Some(conflict) => Ok(conflict),
                None => self.update(connection, id, update, present),
            },
        }
    }

    fn conflict(&self, id: &str, present: Option<&Present>, expected: Option<SeqNo>) -> Option<Outcome> {
        let expected = expected?;
        let found = match present {
            Some(present) if present.seq_no == expected => return None,
            Some(present) => format!("current document has seqNo [{}]", present.seq_no),
            None => "but no document was found".to_owned(),
        };
        let reason = format!("[{id}]: version conflict, required seqNo [{expected}], {found}");
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
                } => self.put(connection, id, Source::from_map(upsert).bytes(), None),
                _ => Ok(self.reject(id, RejectionKind::DocumentMissing, format!("[{id}]: document missing"))),
            };
        };
        let Ok(mut document) = serde_json::from_slice::<Map<String, Value>>(&present.body) else {
            return Ok(self.reject(
                id,
                RejectionKind::Malformed,
                format!("[{id}]: the stored document cannot be read"),
            ));
        };
        let changed = match update {
            Update::Merge { partial, .. } => update_script::merge(&mut document, partial),
            Update::Script(parameters) => match update_script::run(parameters, &mut document) {
                Effect::Changed => true,
                Effect::Noop => false,
                Effect::Unknown => {
                    let names: Vec<&str> = parameters.keys().map(String::as_str).collect();
                    let reason = format!("no known update script takes the parameters [{}]", names.join(", "));
                    return Ok(self.reject(id, RejectionKind::IllegalArgument, reason));
                }
            },
        };
        if !changed {
            return Ok(self.done(id, present.version, present.seq_no, WriteResult::Noop));
        }
        self.put(connection, id, Source::from_map(&document).bytes(), Some(present))
    }

    fn put(
        &mut self,
        connection: &Connection,
        id: &str,
        body: &[u8],
        present: Option<Present>,
    ) -> rusqlite::Result<Outcome> {
        if let Err(rejection) = self.admit(id, body) {
            return Ok(rejection);
        }
        let seq_no = self.take_seq();
        let version = present.as_ref().map_or(1, |present| present.version + 1);
        if let Some(present) = &present {
            let delete = format!("DELETE FROM d{} WHERE seq = ?", self.number);
            connection.prepare_cached(&delete)?.execute([present.seq_no])?;
        }
        let keys = key_values(looked_up(&self.name), body);
        let marks: String = keys.iter().map(|_| ", ?").collect();
        let insert = format!("INSERT INTO d{} VALUES (?, ?, ?, ?{marks})", self.number);
        let fixed = [
            types::Value::from(seq_no as i64),
            types::Value::from(id.to_owned()),
            types::Value::from(version as i64),
            types::Value::from(body.to_vec()),
        ];
        connection
            .prepare_cached(&insert)?
            .execute(params_from_iter(fixed.into_iter().chain(keys)))?;
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

    fn remove(&mut self, connection: &Connection, id: &str, present: Option<Present>) -> rusqlite::Result<Outcome> {
        // A delete of nothing takes a number, too, as in the original.
        let seq_no = self.take_seq();
        let Some(present) = present else {
            return Ok(self.done(id, 1, seq_no, WriteResult::NotFound));
        };
        let delete = format!("DELETE FROM d{} WHERE seq = ?", self.number);
        connection.prepare_cached(&delete)?.execute(params![present.seq_no])?;
        Ok(self.done(id, present.version + 1, seq_no, WriteResult::Deleted))
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

/// The columns of the looked-up fields: the text of a single string, else null.
fn key_values(fields: &[&str], body: &[u8]) -> Vec<types::Value> {
    if fields.is_empty() {
        return Vec::new();
    }
    let source: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    fields
        .iter()
        .map(|name| match field::values(&source, name).as_slice() {
            [Value::String(text)] => types::Value::from(text.clone()),
            _ => types::Value::Null,
        })
        .collect()
}
