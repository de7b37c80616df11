//! A change: documents written in one go, with an audit record for each.

use std::collections::BTreeSet;

use store::{Operation, Outcome, Refresh, Source};

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::audit;
use crate::domain::documents::{Collection, Fields, Stored};
use crate::domain::error::FleetError;
use crate::domain::publish::publish;

/// Documents to be written together.
#[derive(Debug, Default)]
pub struct Changes {
    operations: Vec<Operation>,
    records: Vec<audit::Record>,
    /// Agent policies whose content may differ afterwards.
    touched: Touched,
    /// Whether they get a new revision even when it does not.
    bump: bool,
}

/// The agent policies that a change touches.
#[derive(Debug, Default)]
pub enum Touched {
    /// None.
    #[default]
    Nothing,
    /// These.
    Policies(BTreeSet<String>),
    /// All: a default changed.
    Everything,
}

impl Changes {
    /// Adds a new document.
    pub fn create(&mut self, collection: &'static Collection, id: &str, fields: Fields) {
        self.operations
            .push(Operation::create(collection.index, id, Source::from_map(&fields)));
        self.records
            .push(audit::Record::new(collection, id, None, Some(fields)));
    }

    /// Replaces a document, if it is still as it was read.
    pub fn replace(&mut self, collection: &'static Collection, present: &Stored, fields: Fields) {
        if present.fields == fields {
            return;
        }
        let source = Source::from_map(&fields);
        self.operations.push(Operation::replace(
            collection.index,
            &present.id,
            source,
            present.seq_no,
        ));
        self.records.push(audit::Record::new(
            collection,
            &present.id,
            Some(present.fields.clone()),
            Some(fields),
        ));
    }

    /// Removes a document.
    pub fn delete(&mut self, collection: &'static Collection, present: &Stored) {
        self.operations.push(Operation::delete(collection.index, &present.id));
        self.records.push(audit::Record::new(
            collection,
            &present.id,
            Some(present.fields.clone()),
            None,
        ));
    }

    /// Adds a write that is not one of the console's own objects; `what`, `id` and the change go into the audit log.
    pub fn other(&mut self, operation: Operation, what: &'static str, id: &str, change: audit::BeforeAndAfter) {
        self.operations.push(operation);
        self.records.push(audit::Record::event(what, id, change));
    }

    /// Adds a write that says nothing new to the audit log.
    pub fn unrecorded(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    /// Says that the agent policy `id` may differ afterwards.
    pub fn touch(&mut self, id: impl Into<String>) {
        match &mut self.touched {
            Touched::Everything => {}
            Touched::Policies(ids) => {
                ids.insert(id.into());
            }
            Touched::Nothing => self.touched = Touched::Policies(BTreeSet::from([id.into()])),
        }
    }

    /// Says that any agent policy may differ afterwards.
    pub fn touch_all(&mut self) {
        self.touched = Touched::Everything;
    }

    /// Says that the policies that are touched get a new revision in any case.
    pub fn bump(&mut self) {
        self.bump = true;
    }

    /// Whether nothing would be written.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }
}

/// Writes everything, then publishes the policies that differ.
///
/// # Errors
/// The first document that was refused; a name or version conflict is [`FleetError::Conflict`].
pub async fn apply(console: &Console, actor: &Actor, changes: Changes) -> Result<(), FleetError> {
    write(console, actor, changes.operations, changes.records).await?;
    match changes.touched {
        Touched::Nothing => Ok(()),
        Touched::Policies(ids) => publish(console, actor, Some(&ids), changes.bump).await,
        Touched::Everything => publish(console, actor, None, changes.bump).await,
    }
}

async fn write(
    console: &Console,
    actor: &Actor,
    mut operations: Vec<Operation>,
    records: Vec<audit::Record>,
) -> Result<(), FleetError> {
    if operations.is_empty() {
        return Ok(());
    }
    let changes = operations.len();
    operations.extend(records.into_iter().map(|record| record.operation(console, actor)));
    let outcomes = console.store.bulk(operations, Refresh::WaitFor).await?;
    for outcome in outcomes.into_iter().take(changes) {
        if let Outcome::Rejected(rejection) = outcome {
            return Err(rejection.into());
        }
    }
    Ok(())
}
