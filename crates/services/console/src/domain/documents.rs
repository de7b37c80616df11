//! The console's own objects as documents: read, listed, and turned into types.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use store::{Document, SeqNo, StoreError};

use crate::Console;
use crate::domain::error::FleetError;
use crate::domain::mirror::Mirror;

/// The fields of a document.
pub type Fields = Map<String, Value>;

/// Objects of one kind: where they are kept and what the original calls them.
#[derive(Debug)]
pub struct Collection {
    /// The index.
    pub index: &'static str,
    /// The saved-object type, as it stands in "not found" texts.
    pub saved_object: &'static str,
    /// In the audit log.
    pub noun: &'static str,
}

/// Fleet Server hosts.
pub const HOSTS: Collection = Collection {
    index: ".flotilla-fleet-server-hosts",
    saved_object: "fleet-fleet-server-host",
    noun: "fleet_server_host",
};
/// Outputs.
pub const OUTPUTS: Collection = Collection {
    index: ".flotilla-outputs",
    saved_object: "ingest-outputs",
    noun: "output",
};
/// Proxies.
pub const PROXIES: Collection = Collection {
    index: ".flotilla-proxies",
    saved_object: "fleet-proxy",
    noun: "proxy",
};
/// Download sources.
pub const DOWNLOAD_SOURCES: Collection = Collection {
    index: ".flotilla-download-sources",
    saved_object: "ingest-download-sources",
    noun: "download_source",
};
/// Agent policies.
pub const AGENT_POLICIES: Collection = Collection {
    index: ".flotilla-agent-policies",
    saved_object: "ingest-agent-policies",
    noun: "agent_policy",
};
/// Package policies.
pub const PACKAGE_POLICIES: Collection = Collection {
    index: ".flotilla-package-policies",
    saved_object: "ingest-package-policies",
    noun: "package_policy",
};
/// Installed packages.
pub const PACKAGES: Collection = Collection {
    index: ".flotilla-packages",
    saved_object: "epm-packages",
    noun: "package",
};
/// Settings of the console and of its spaces.
pub const SETTINGS: Collection = Collection {
    index: ".flotilla-settings",
    saved_object: "ingest_manager_settings",
    noun: "settings",
};
/// Uninstall tokens, by policy.
pub const UNINSTALL_TOKENS: Collection = Collection {
    index: ".flotilla-uninstall-tokens",
    saved_object: "fleet-uninstall-tokens",
    noun: "uninstall_token",
};
/// Log-ins.
pub const SESSIONS: Collection = Collection {
    index: ".flotilla-sessions",
    saved_object: "session",
    noun: "session",
};
/// Searches of documents that somebody kept.
pub const SAVED_SEARCHES: Collection = Collection {
    index: ".flotilla-saved-searches",
    saved_object: "search",
    noun: "saved search",
};
/// The audit log.
pub const AUDIT: Collection = Collection {
    index: ".flotilla-audit",
    saved_object: "audit",
    noun: "audit",
};

const ALL: [&Collection; 12] = [
    &HOSTS,
    &OUTPUTS,
    &PROXIES,
    &DOWNLOAD_SOURCES,
    &AGENT_POLICIES,
    &PACKAGE_POLICIES,
    &PACKAGES,
    &SETTINGS,
    &UNINSTALL_TOKENS,
    &SESSIONS,
    &SAVED_SEARCHES,
    &AUDIT,
];

/// Every collection in memory, empty yet: what is asked for often is read once, and then as far as it has changed.
pub(crate) fn mirrors() -> HashMap<&'static str, Mirror<Stored>> {
    let of = |collection: &&Collection| {
        (
            collection.index,
            Mirror::of(collection.index, |document| stored(document.clone())),
        )
    };
    ALL.iter().map(of).collect()
}

/// A document with its place in the index's history.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its id.
    pub id: String,
    /// What it says.
    pub fields: Fields,
    /// For compare-and-set.
    pub seq_no: SeqNo,
    /// It as a type, once somebody asked.
    parsed: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Stored {
    /// Reads it as a type.
    pub fn parse<T: DeserializeOwned>(&self, collection: &Collection) -> Result<T, FleetError> {
        parse(collection, &self.id, self.fields.clone())
    }

    /// When it was made, then its name; the id decides between twins.
    fn age(&self) -> (&str, &str, &str) {
        let field = |key: &str| self.fields.get(key).and_then(Value::as_str).unwrap_or_default();
        (field("created_at"), field("name"), &self.id)
    }

    /// Reads it as a type, the first time.
    pub fn shared<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        collection: &Collection,
    ) -> Result<Arc<T>, FleetError> {
        let known = self.parsed.get().cloned().and_then(|parsed| parsed.downcast().ok());
        if let Some(known) = known {
            return Ok(known);
        }
        let parsed: Arc<T> = Arc::new(self.parse(collection)?);
        // Of two that read it at once, one is kept.
        drop(self.parsed.set(Arc::<T>::clone(&parsed)));
        Ok(parsed)
    }
}

/// Reads fields as a type.
pub fn parse<T: DeserializeOwned>(collection: &Collection, id: &str, fields: Fields) -> Result<T, FleetError> {
    serde_json::from_value(Value::Object(fields)).map_err(|error| FleetError::Unreadable {
        index: collection.index.to_owned(),
        id: id.to_owned(),
        reason: error.to_string(),
    })
}

/// The text value of a field; none when it is absent, null or empty.
pub fn text<'a>(fields: &'a Fields, key: &str) -> Option<&'a str> {
    fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Whether a flag is set.
pub fn flag(fields: &Fields, key: &str) -> bool {
    fields.get(key).and_then(Value::as_bool).unwrap_or(false)
}

impl Console {
    /// Makes the console's indices: fields are kept, and only a few are searched.
    pub(crate) async fn make_indices(&self) -> Result<(), FleetError> {
        let mappings = json!({"mappings": {"dynamic": false, "properties": {
            "@timestamp": {"type": "date"}, "name": {"type": "keyword"}, "expires": {"type": "date"},
            "actor": {"type": "keyword"}, "object.type": {"type": "keyword"}, "object.id": {"type": "keyword"},
        }}});
        for collection in ALL {
            match self.store.create_index(collection.index, mappings.clone()).await {
                Ok(()) | Err(StoreError::AlreadyExists(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The document of that id.
    pub async fn find(&self, collection: &Collection, id: &str) -> Result<Option<Stored>, FleetError> {
        match self.store.get(collection.index, id).await {
            Ok(document) => document.map(stored).transpose(),
            Err(StoreError::IndexNotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The document of that id, or the original's "not found".
    pub async fn require(&self, collection: &Collection, id: &str) -> Result<Stored, FleetError> {
        let found = self.find(collection, id).await?;
        found.ok_or_else(|| FleetError::no_saved_object(collection.saved_object, id))
    }

    /// All documents of a collection, in the order in which they were made.
    pub async fn all(&self, collection: &Collection) -> Result<Vec<Arc<Stored>>, FleetError> {
        let mirror = self.collections.get(collection.index);
        let mirror = mirror.ok_or_else(|| FleetError::invalid(format!("{} is no collection", collection.index)))?;
        let mut all: Vec<Arc<Stored>> = mirror.current(&*self.store).await?.values().cloned().collect();
        all.sort_by(|left, right| left.age().cmp(&right.age()));
        Ok(all)
    }

    /// All documents of a collection as a type, which is shared with others.
    pub async fn all_shared<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        collection: &Collection,
    ) -> Result<Vec<Arc<T>>, FleetError> {
        let all = self.all(collection).await?;
        all.iter().map(|stored| stored.shared(collection)).collect()
    }

    /// All documents of a collection as a type.
    pub async fn all_as<T: DeserializeOwned + Clone + Send + Sync + 'static>(
        &self,
        collection: &Collection,
    ) -> Result<Vec<T>, FleetError> {
        let all = self.all_shared(collection).await?;
        Ok(all.into_iter().map(Arc::unwrap_or_clone).collect())
    }
}

pub(crate) fn stored(document: Document) -> Result<Stored, FleetError> {
    let fields = document
        .source
        .parse::<Fields>()
        .map_err(|error| FleetError::Unreadable {
            index: document.index.clone(),
            id: document.id.clone(),
            reason: error.to_string(),
        })?;
    Ok(Stored {
        id: document.id,
        fields,
        seq_no: document.seq_no,
        parsed: OnceLock::new(),
    })
}
