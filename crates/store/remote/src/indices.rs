//! Indices: made, deleted, listed, refreshed, described.

use std::collections::HashMap;

use http::Method;
use query::pattern;
use serde::Deserialize;
use serde_json::Value;
use store::{IndexInfo, Name, NameKind, StoreError};

use crate::error::Failure;
use crate::mappings;
use crate::peer::Kind;
use crate::ready::is_made_by_the_peer;
use crate::store::Inner;
use crate::templates::fit_to_opensearch;
use crate::wire::{Call, segment};

/// An index as `GET /{index}` tells.
#[derive(Debug, Default, Deserialize)]
struct Described {
    #[serde(default)]
    data_stream: Option<String>,
    #[serde(default)]
    settings: Settings,
}

#[derive(Debug, Default, Deserialize)]
struct Settings {
    #[serde(default)]
    index: IndexSettings,
}

#[derive(Debug, Default, Deserialize)]
struct IndexSettings {
    #[serde(default)]
    uuid: String,
}

#[derive(Debug, Default, Deserialize)]
struct Stats {
    #[serde(default)]
    indices: HashMap<String, IndexStats>,
}

#[derive(Debug, Default, Deserialize)]
struct IndexStats {
    #[serde(default)]
    primaries: StatsBlock,
    #[serde(default)]
    total: StatsBlock,
}

#[derive(Debug, Default, Deserialize)]
struct StatsBlock {
    #[serde(default)]
    docs: Docs,
    #[serde(default)]
    store: Size,
}

#[derive(Debug, Default, Deserialize)]
struct Docs {
    #[serde(default)]
    count: u64,
}

#[derive(Debug, Default, Deserialize)]
struct Size {
    #[serde(default)]
    size_in_bytes: u64,
}

/// An answer of `_resolve/index`.
#[derive(Deserialize)]
struct Resolved {
    #[serde(default)]
    indices: Vec<ResolvedIndex>,
    #[serde(default)]
    data_streams: Vec<ResolvedStream>,
}

#[derive(Deserialize)]
struct ResolvedIndex {
    name: String,
    #[serde(default)]
    data_stream: Option<String>,
}

#[derive(Deserialize)]
struct ResolvedStream {
    name: String,
    #[serde(default)]
    backing_indices: Vec<String>,
}

impl Resolved {
    fn names(self) -> Vec<Name> {
        let name = |name: String, kind| Name { name, kind };
        let indices = self.indices.into_iter().map(|one| {
            let kind = one.data_stream.map_or(NameKind::Index, NameKind::Backing);
            name(one.name, kind)
        });
        let mut found: Vec<Name> = indices.collect();
        for stream in self.data_streams {
            let backing = stream.backing_indices.into_iter();
            found.extend(backing.map(|one| name(one, NameKind::Backing(stream.name.clone()))));
            found.push(name(stream.name.clone(), NameKind::DataStream));
        }
        found
    }
}

impl Inner {
    pub(crate) async fn create_index(&self, name: &str, body: Value) -> Result<(), StoreError> {
        let mut body = body;
        if self.peer.kind != Kind::Flotilla {
            if is_made_by_the_peer(&self.peer, name) {
                return Err(StoreError::AlreadyExists(name.to_owned()));
            }
            body = mappings::completed(name, body);
            if self.peer.kind == Kind::OpenSearch {
                fit_to_opensearch(&mut body);
            }
        }
        let answer = self
            .send(Call::new(Method::PUT, format!("/{}", segment(name))).json(&body))
            .await?;
        if answer.is_success() {
            return Ok(());
        }
        let repeated = answer.repeated;
        match answer.into_error(name) {
            // The first attempt made it.
            StoreError::AlreadyExists(_) if repeated => Ok(()),
            error => Err(error),
        }
    }

    pub(crate) async fn delete_index(&self, name: &str) -> Result<bool, StoreError> {
        if name.contains(['*', ',']) || name.is_empty() || name == "_all" {
            return Err(StoreError::Unsupported(format!(
                "[{name}] names no single index to delete"
            )));
        }
        self.ready.forget(name);
        self.terms.forget(name);
        self.refreshed.forget(name);
        let answer = self
            .send(Call::new(Method::DELETE, format!("/{}", segment(name))))
            .await?;
        if answer.is_success() {
            return Ok(true);
        }
        let (status, failure) = (answer.status, Failure::of_body(&answer.body));
        let missing = status == 404;
        // A data stream goes by another path; its backing indices do not.
        let may_be_a_stream = missing || failure.reason().contains("data stream");
        if may_be_a_stream && !name.starts_with(".ds-") {
            return self.delete_data_stream(name).await;
        }
        if missing {
            Ok(false)
        } else {
            Err(failure.into_error(status, name))
        }
    }

    pub(crate) async fn list_indices(&self, patterns: &[String]) -> Result<Vec<IndexInfo>, StoreError> {
        let expression = expression(patterns);
        let described = self.described(&expression).await?;
        let mut found: Vec<(String, Described)> = described
            .into_iter()
            .filter(|(name, _)| patterns.is_empty() || pattern::selects(patterns, name))
            .collect();
        if found.is_empty() {
            return Ok(Vec::new());
        }
        found.sort_by(|left, right| left.0.cmp(&right.0));
        let mut stats = self.stats(&expression).await?.indices;
        Ok(found
            .into_iter()
            .map(|(name, described)| {
                let stats = stats.remove(&name).unwrap_or_default();
                IndexInfo {
                    uuid: described.settings.index.uuid,
                    data_stream: described.data_stream,
                    documents: stats.primaries.docs.count,
                    bytes: stats.total.store.size_in_bytes,
                    name,
                }
            })
            .collect())
    }

    /// Bytes on disk of all that `expression` names.
    pub(crate) async fn bytes_of(&self, expression: &str) -> Result<HashMap<String, u64>, StoreError> {
        let stats = self.stats(expression).await?;
        let sizes = stats.indices.into_iter();
        Ok(sizes
            .map(|(name, stats)| (name, stats.total.store.size_in_bytes))
            .collect())
    }

    async fn stats(&self, expression: &str) -> Result<Stats, StoreError> {
        // Our own API has no parts of statistics, the others are quicker with them.
        let parts = if self.peer.kind == Kind::Flotilla {
            ""
        } else {
            "/docs,store"
        };
        let path = format!(
            "/{}/_stats{parts}?expand_wildcards=all&filter_path=indices.*.primaries.docs.count,indices.*.total.store.size_in_bytes",
            segment(expression)
        );
        let answer = self.send(Call::get(path)).await?;
        if answer.status == 404 {
            return Ok(Stats::default());
        }
        answer.ok(expression).await
    }

    async fn described(&self, expression: &str) -> Result<HashMap<String, Described>, StoreError> {
        let path = format!(
            "/{}?expand_wildcards=all&ignore_unavailable=true&filter_path=*.data_stream,*.settings.index.uuid",
            segment(expression)
        );
        let answer = self.send(Call::get(path)).await?;
        if answer.status == 404 {
            return Ok(HashMap::new());
        }
        answer.ok(expression).await
    }

    /// The indices behind a name, oldest first: a data stream's, or the index itself.
    pub(crate) async fn backing_indices(&self, name: &str) -> Result<Vec<String>, StoreError> {
        let mut names: Vec<String> = self.described(name).await?.into_keys().collect();
        names.sort_by(|left, right| generation(left).cmp(&generation(right)).then_with(|| left.cmp(right)));
        Ok(names)
    }

    /// Data streams that match, each with its backing indices, found by the indices that say whose they are.
    pub(crate) async fn streams_by_their_indices(
        &self,
        patterns: &[String],
    ) -> Result<Vec<(String, Vec<String>)>, StoreError> {
        let mut streams: HashMap<String, Vec<String>> = HashMap::new();
        for (index, described) in self.described(&expression(patterns)).await? {
            let stream = described.data_stream;
            if let Some(stream) = stream.filter(|stream| patterns.is_empty() || pattern::selects(patterns, stream)) {
                streams.entry(stream).or_default().push(index);
            }
        }
        for backing in streams.values_mut() {
            backing.sort_by_key(|index| generation(index));
        }
        Ok(streams.into_iter().collect())
    }

    pub(crate) async fn refresh(&self, pattern: &str) -> Result<(), StoreError> {
        let name = if pattern.is_empty() { "*" } else { pattern };
        let path = format!(
            "/{}/_refresh?ignore_unavailable=true&expand_wildcards=all",
            segment(name)
        );
        let answer = self.send(Call::ask(path)).await?;
        if answer.is_success() || answer.status == 404 {
            Ok(())
        } else {
            Err(answer.into_error(pattern))
        }
    }

    pub(crate) async fn put_mapping(&self, index: &str, mapping: &Value) -> Result<(), StoreError> {
        let call = Call::new(Method::PUT, format!("/{}/_mapping", segment(index))).json(mapping);
        let answer = self.send(call).await?;
        if answer.is_success() {
            Ok(())
        } else {
            Err(answer.into_error(index))
        }
    }

    /// What the patterns stand for, without a look into it.
    pub(crate) async fn names(&self, patterns: &[String]) -> Result<Vec<Name>, StoreError> {
        let mut found: Vec<Name> = Vec::new();
        for pattern in patterns {
            let path = format!("/_resolve/index/{}?expand_wildcards=all", segment(pattern));
            let answer = self.send(Call::get(path)).await?;
            if answer.status == 404 {
                continue;
            }
            let resolved: Resolved = answer.ok(pattern).await?;
            for name in resolved.names() {
                if !found.contains(&name) {
                    found.push(name);
                }
            }
        }
        Ok(found)
    }

    pub(crate) async fn mapping(&self, index: &str) -> Result<Option<Value>, StoreError> {
        #[derive(Deserialize)]
        struct Entry {
            mappings: Value,
        }
        let answer = self.send(Call::get(format!("/{}/_mapping", segment(index)))).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let entries: HashMap<String, Entry> = answer.ok(index).await?;
        let newest = entries
            .into_iter()
            .max_by_key(|(name, _)| (generation(name), name.clone()));
        Ok(newest.map(|(_, entry)| entry.mappings))
    }
}

fn expression(patterns: &[String]) -> String {
    if patterns.is_empty() {
        "*".to_owned()
    } else {
        patterns.join(",")
    }
}

/// The number at the end of a backing index's name.
fn generation(index: &str) -> u64 {
    let digits = index.rsplit('-').next().unwrap_or_default();
    if index.starts_with(".ds-") {
        digits.parse().unwrap_or(0)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_read_from_names() {
        for (name, expected) in [
            (".ds-logs-a-default-2026.11.25-000012", 12),
            (".ds-logs-a-default-000002", 2),
            ("mine-000002", 0),
            (".ds-odd", 0),
        ] {
            assert_eq!(generation(name), expected, "{name}");
        }
    }
}
