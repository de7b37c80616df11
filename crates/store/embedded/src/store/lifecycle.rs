//! Indices, data streams and templates: making, listing, rolling over, retiring.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use query::mapping::Mapping;
use query::pattern;
use serde_json::{Map, Value, json};
use store::{DataStreamInfo, IndexInfo, StoreError};

use super::EmbeddedStore;
use super::reading::blocking;
use crate::names::{self, Template};
use crate::state::catalogue::{self, BackingRow, StreamRow};
use crate::state::{mappings, search as state_search, store_error};
use crate::streams::Stream;
use crate::streams::backing::Backing;
use crate::streams::search as stream_search;

impl EmbeddedStore {
    pub(super) async fn make_index(&self, name: &str, body: Value) -> Result<(), StoreError> {
        names::check(name).map_err(StoreError::Unsupported)?;
        if self.state.index(name).is_some() || self.streams.get(name).is_some() {
            return Err(StoreError::AlreadyExists(name.to_owned()));
        }
        let body = self.with_template(name, body);
        if mappings::is_typed(name) {
            // Refused before anything is made.
            Mapping::parse(body.get("mappings").unwrap_or(&Value::Null))?;
        }
        let owned = name.to_owned();
        self.writer()?
            .admin(move |writer| match writer.state.index(&owned) {
                Some(_) => Err(StoreError::AlreadyExists(owned)),
                None => writer.create(&owned, &body.to_string()),
            })
            .await
    }

    /// Tells every backing index what its stream's template declares about fields.
    pub(crate) fn declare_mappings(&self) {
        let templates = self.templates();
        for stream in self.streams.all() {
            let declared = names::template_for(&templates, &stream.name).and_then(names::mapping_of);
            for backing in &stream.parts().backing {
                backing.declare(declared.clone());
            }
        }
        // What a word means in a field has perhaps changed.
        self.streams.answers.clear();
    }

    /// What the template of a new index says, and the call over it.
    fn with_template(&self, name: &str, body: Value) -> Value {
        let templates = self.templates();
        let Some(mut whole) =
            names::template_for(&templates, name).and_then(|found| found.body.get("template").cloned())
        else {
            return body;
        };
        merge(&mut whole, body);
        whole
    }

    pub(super) async fn change_mapping(&self, name: &str, mapping: Value) -> Result<(), StoreError> {
        let added = Mapping::parse(&mapping)?;
        let owned = name.to_owned();
        self.writer()?
            .admin(move |writer| writer.merge_mapping(&owned, added))
            .await
    }

    pub(super) async fn drop_index(&self, name: &str) -> Result<bool, StoreError> {
        if let Some(stream) = self.streams.get(name) {
            return self.drop_stream(&stream).await.map(|()| true);
        }
        if let Some((stream, backing)) = self.streams.backing(name) {
            return self.drop_backing(&stream, &backing).await.map(|()| true);
        }
        let owned = name.to_owned();
        let deleted = self.writer()?.admin(move |writer| writer.delete(&owned)).await?;
        if deleted {
            self.state.remove(name);
        }
        Ok(deleted)
    }

    async fn drop_stream(&self, stream: &Arc<Stream>) -> Result<(), StoreError> {
        let name = stream.name.clone();
        self.writer()?
            .admin(move |writer| catalogue::remove_stream(&writer.connection, &name).map_err(store_error))
            .await?;
        self.streams.remove(&stream.name);
        let backing = {
            let mut parts = stream.parts();
            parts.deleted = true;
            std::mem::take(&mut parts.backing)
        };
        for one in backing {
            self.streams.drop_backing(stream, &one).await?;
        }
        Ok(())
    }

    /// Deletes a backing index that is not the last one of its stream.
    pub(super) async fn drop_backing(&self, stream: &Arc<Stream>, backing: &Arc<Backing>) -> Result<(), StoreError> {
        let is_written = stream
            .parts()
            .backing
            .last()
            .is_some_and(|last| last.row.number == backing.row.number);
        if is_written {
            let reason = format!(
                "index [{}] is the write index for data stream [{}] and cannot be deleted",
                backing.row.name, stream.name
            );
            return Err(StoreError::Unsupported(reason));
        }
        let number = backing.row.number;
        self.writer()?
            .admin(move |writer| catalogue::remove_backing(&writer.connection, number).map_err(store_error))
            .await?;
        stream.parts().backing.retain(|one| one.row.number != number);
        self.streams.drop_backing(stream, backing).await
    }

    pub(super) async fn create_stream(&self, name: &str, template: String) -> Result<Arc<Stream>, StoreError> {
        let _one_at_a_time = self.creating.lock().await;
        if let Some(stream) = self.streams.get(name) {
            return Ok(stream);
        }
        let row = StreamRow {
            name: name.to_owned(),
            template: Some(template),
            generation: 1,
        };
        let backing = self.create_backing(&row, 0).await?;
        let stream = self.streams.insert(&row, backing);
        self.declare_mappings();
        Ok(stream)
    }

    async fn create_backing(&self, stream: &StreamRow, first_seq: u64) -> Result<BackingRow, StoreError> {
        let now = self.options.clock.now();
        let mut row = BackingRow {
            number: 0,
            stream: stream.name.clone(),
            name: names::backing_index(&stream.name, now, stream.generation),
            uuid: uuid::Uuid::new_v4().simple().to_string(),
            created: now.as_millisecond(),
            first_seq,
        };
        let (directory, uuid) = (self.streams.directory.clone(), row.uuid.clone());
        blocking(move || Backing::create(&directory, &uuid)).await?;
        let stream = stream.clone();
        self.writer()?
            .admin(move |writer| {
                catalogue::add_backing(&writer.connection, &stream, &mut row).map_err(store_error)?;
                Ok(row)
            })
            .await
    }

    pub(super) async fn roll_over(&self, name: &str) -> Result<(String, String), StoreError> {
        let _one_at_a_time = self.creating.lock().await;
        let stream = self
            .streams
            .get(name)
            .ok_or_else(|| StoreError::IndexNotFound(name.to_owned()))?;
        // Documents that come while the new index is made still go to the old one, with lower numbers.
        let (generation, old) = {
            let parts = stream.parts();
            let old = parts
                .backing
                .last()
                .map(|last| last.row.name.clone())
                .unwrap_or_default();
            (parts.generation + 1, old)
        };
        let row = StreamRow {
            name: stream.name.clone(),
            template: stream.template.clone(),
            generation,
        };
        let backing = self.create_backing(&row, stream.next_seq()).await?;
        let new = backing.name.clone();
        stream.start(Arc::new(Backing::new(&self.streams.directory, backing)), generation);
        self.declare_mappings();
        Ok((old, new))
    }

    pub(super) async fn set_template(&self, name: &str, body: Value) -> Result<(), StoreError> {
        let template = Template::parse(name, body)?;
        let stored = template.clone();
        self.writer()?
            .admin(move |writer| catalogue::put_template(&writer.connection, &stored).map_err(store_error))
            .await?;
        {
            let mut templates = self.templates.write().unwrap_or_else(PoisonError::into_inner);
            templates.retain(|known| known.name != template.name);
            templates.push(template);
        }
        self.declare_mappings();
        Ok(())
    }

    pub(super) async fn remove_template(&self, name: &str) -> Result<bool, StoreError> {
        if !self.templates().iter().any(|known| known.name == name) {
            return Ok(false);
        }
        let stored = name.to_owned();
        self.writer()?
            .admin(move |writer| catalogue::remove_template(&writer.connection, &stored).map_err(store_error))
            .await?;
        let mut templates = self.templates.write().unwrap_or_else(PoisonError::into_inner);
        templates.retain(|known| known.name != name);
        Ok(true)
    }

    pub(super) async fn list_indices(&self, patterns: &[String]) -> Result<Vec<IndexInfo>, StoreError> {
        let (state, streams, patterns) = (self.state.clone(), self.streams.clone(), patterns.to_vec());
        blocking(move || {
            let mut found = Vec::new();
            for (name, meta) in state.indices() {
                if listed(&patterns, &name) {
                    let (documents, bytes) = state.read(|connection| state_search::size(connection, &meta))?;
                    found.push(IndexInfo {
                        name,
                        uuid: meta.uuid,
                        data_stream: None,
                        documents,
                        bytes,
                    });
                }
            }
            for stream in streams.all() {
                let whole = listed(&patterns, &stream.name);
                let backing = stream.parts().backing.clone();
                for one in backing {
                    if whole || listed(&patterns, &one.row.name) {
                        found.push(IndexInfo {
                            name: one.row.name.clone(),
                            uuid: one.row.uuid.clone(),
                            data_stream: Some(stream.name.clone()),
                            documents: one.searcher()?.num_docs(),
                            bytes: one.bytes(),
                        });
                    }
                }
            }
            Ok(found)
        })
        .await
    }

    pub(super) async fn list_data_streams(&self, patterns: &[String]) -> Result<Vec<DataStreamInfo>, StoreError> {
        let mut listed_streams = Vec::new();
        for stream in self.streams.all() {
            if listed(patterns, &stream.name) {
                self.catch_up(std::slice::from_ref(&stream.name)).await;
                let retention = self.own_retention(&stream.name);
                listed_streams.push((stream, retention));
            }
        }
        blocking(move || {
            let info = |(stream, retention): (Arc<Stream>, Option<Duration>)| info(&stream, retention);
            listed_streams.into_iter().map(info).collect()
        })
        .await
    }

    /// Rolls over and retires what is due. To be called every minute or so.
    ///
    /// # Errors
    /// When the store cannot write; what is left is done by the next call.
    pub async fn maintain(&self) -> Result<(), StoreError> {
        self.points_in_time.expire();
        let now = self.options.clock.now().as_millisecond();
        for stream in self.streams.all() {
            let last = stream.parts().backing.last().cloned();
            let Some(last) = last else { continue };
            let age = now.saturating_sub(last.row.created);
            let old = age >= self.options.rollover.age.as_millis() as i64;
            let large = last.bytes() >= self.options.rollover.bytes;
            if large || old && last.searcher()?.num_docs() > 0 {
                self.roll_over(&stream.name).await?;
            }
        }
        self.retire(now).await
    }

    async fn retire(&self, now: i64) -> Result<(), StoreError> {
        let mut closed: Vec<(i64, u64, Arc<Stream>, Arc<Backing>)> = Vec::new();
        let mut total = 0;
        for stream in self.streams.all() {
            let backing = stream.parts().backing.clone();
            total += backing.last().map_or(0, |last| last.bytes());
            for one in backing.iter().rev().skip(1) {
                let bytes = one.bytes();
                total += bytes;
                closed.push((newest_of(one)?, bytes, stream.clone(), one.clone()));
            }
        }
        closed.sort_by_key(|(newest, ..)| *newest);
        for (newest, bytes, stream, backing) in closed {
            let age = self.own_retention(&stream.name).or(self.options.retention.age);
            let old = age.is_some_and(|age| now.saturating_sub(newest) > age.as_millis() as i64);
            let over = self.options.retention.bytes.is_some_and(|most| total > most);
            if old || over {
                tracing::info!(index = %backing.row.name, bytes, "retention deletes a backing index");
                self.drop_backing(&stream, &backing).await?;
                total -= bytes;
            }
        }
        Ok(())
    }

    /// What was set for the stream alone, else what its template says.
    fn own_retention(&self, stream: &str) -> Option<Duration> {
        let alone = self
            .retention
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(stream)
            .copied();
        let templates = self.templates();
        alone.or_else(|| names::template_for(&templates, stream).and_then(names::retention_of))
    }

    pub(super) async fn set_retention(&self, stream: &str, retention: Option<Duration>) -> Result<(), StoreError> {
        if self.streams.get(stream).is_none() {
            return Err(StoreError::IndexNotFound(stream.to_owned()));
        }
        let name = stream.to_owned();
        self.writer()?
            .admin(move |writer| catalogue::put_retention(&writer.connection, &name, retention).map_err(store_error))
            .await?;
        let mut all = self.retention.write().unwrap_or_else(PoisonError::into_inner);
        match retention {
            Some(retention) => all.insert(stream.to_owned(), retention),
            None => all.remove(stream),
        };
        Ok(())
    }

    pub(super) async fn merged_mapping(&self, index: &str) -> Result<Option<Value>, StoreError> {
        let (state, streams, index) = (self.state.clone(), self.streams.clone(), index.to_owned());
        blocking(move || {
            if let Some(meta) = state.index(&index) {
                return state
                    .read(|connection| state_search::mapping(connection, &meta))
                    .map(Some);
            }
            let backing = match (streams.get(&index), streams.backing(&index)) {
                (Some(stream), _) => stream.parts().backing.clone(),
                (None, Some((_, backing))) => vec![backing],
                (None, None) => return Ok(None),
            };
            let declared = backing
                .first()
                .and_then(|one| one.declared())
                .map(|mapping| mapping.to_json());
            let mut mapping = declared.unwrap_or_else(|| json!({ "properties": {} }));
            let properties = mapping.get_mut("properties").and_then(Value::as_object_mut);
            let mut properties = properties.map_or_else(Map::new, std::mem::take);
            for one in backing {
                for (name, kind) in crate::streams::search::field_types(&one.searcher()?)? {
                    state_search::add_property(&mut properties, &name, kind);
                }
            }
            mapping["properties"] = Value::Object(properties);
            Ok(Some(mapping))
        })
        .await
    }
}

/// Objects are merged, everything else is replaced.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Listing shows hidden names, too.
pub(super) fn listed(patterns: &[String], name: &str) -> bool {
    patterns.is_empty()
        || patterns
            .iter()
            .any(|pattern| pattern == "_all" || pattern::wildcard(pattern, name))
}

fn rfc3339(millis: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(millis)
        .ok()
        .map(clock::rfc3339_millis)
}

/// What there is to say of a stream, without a look at its documents.
fn info(stream: &Stream, retention: Option<Duration>) -> Result<DataStreamInfo, StoreError> {
    let backing = stream.parts().backing.clone();
    let (mut documents, mut newest) = (0, None);
    for one in &backing {
        let searcher = one.searcher()?;
        documents += searcher.num_docs();
        newest = newest.max(stream_search::newest(&searcher)?);
    }
    Ok(DataStreamInfo {
        name: stream.name.clone(),
        backing_indices: backing.iter().map(|one| one.row.name.clone()).collect(),
        documents,
        bytes: backing.iter().map(|one| one.bytes()).sum(),
        newest_timestamp: newest.and_then(rfc3339),
        template: stream.template.clone(),
        retention,
    })
}

/// Milliseconds of the newest document, or of the creation.
fn newest_of(backing: &Backing) -> Result<i64, StoreError> {
    let newest = stream_search::newest(&backing.searcher()?)?.unwrap_or(backing.row.created);
    backing.newest.store(newest, Ordering::Relaxed);
    Ok(newest)
}
