//! Data streams, with and without the peer's own calls for them.

use futures_util::future::try_join;
use http::Method;
use query::{SearchRequest, SortOrder, SourceFilter};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{DataStreamInfo, SearchResponse, StoreError};

use crate::store::Inner;
use crate::wire::{Call, segment};

#[derive(Deserialize)]
struct Listed {
    data_streams: Vec<ListedOne>,
}

#[derive(Deserialize)]
struct ListedOne {
    name: String,
    indices: Vec<BackingIndex>,
    #[serde(default)]
    template: Option<String>,
}

#[derive(Deserialize)]
struct BackingIndex {
    index_name: String,
}

#[derive(Deserialize)]
struct RolledOver {
    old_index: String,
    new_index: String,
}

/// A data stream before its size is known.
struct Found {
    name: String,
    backing: Vec<String>,
    template: Option<String>,
}

impl Inner {
    pub(crate) async fn list_data_streams(&self, patterns: &[String]) -> Result<Vec<DataStreamInfo>, StoreError> {
        let mut found = if self.peer.data_streams {
            self.streams_by_name(patterns).await?
        } else {
            self.streams_without_calls(patterns).await?
        };
        if found.is_empty() {
            return Ok(Vec::new());
        }
        found.sort_by(|left, right| left.name.cmp(&right.name));
        let newest: Vec<SearchRequest> = found.iter().map(|stream| newest_of(&stream.name)).collect();
        let all_backing = format!(".ds-{}-*", if found.len() == 1 { &found[0].name } else { "*" });
        let (newest, bytes) = try_join(self.search_many(&newest), self.bytes_of(&all_backing)).await?;
        found
            .into_iter()
            .zip(newest)
            .map(|(stream, newest)| {
                let newest: SearchResponse = newest?;
                Ok(DataStreamInfo {
                    bytes: stream.backing.iter().filter_map(|index| bytes.get(index)).sum(),
                    name: stream.name,
                    backing_indices: stream.backing,
                    documents: newest.total,
                    newest_timestamp: timestamp_of(&newest),
                    template: stream.template,
                    retention: None,
                })
            })
            .collect()
    }

    async fn streams_by_name(&self, patterns: &[String]) -> Result<Vec<Found>, StoreError> {
        let names = if patterns.is_empty() {
            "*".to_owned()
        } else {
            patterns.join(",")
        };
        let answer = self
            .send(Call::get(format!("/_data_stream/{}", segment(&names))))
            .await?;
        if answer.status == 404 {
            // One name that is not there hides the others.
            let mut found = Vec::new();
            if patterns.len() > 1 {
                for pattern in patterns {
                    found.extend(Box::pin(self.streams_by_name(std::slice::from_ref(pattern))).await?);
                }
            }
            return Ok(found);
        }
        let listed: Listed = answer.ok(&names).await?;
        Ok(listed
            .data_streams
            .into_iter()
            .map(|stream| Found {
                name: stream.name,
                backing: stream.indices.into_iter().map(|index| index.index_name).collect(),
                template: stream.template,
            })
            .collect())
    }

    async fn streams_without_calls(&self, patterns: &[String]) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        for (name, backing) in self.streams_by_their_indices(patterns).await? {
            let template = self.template_of(&name).await?;
            found.push(Found {
                name,
                backing,
                template,
            });
        }
        Ok(found)
    }

    pub(crate) async fn create_data_stream(&self, name: &str) -> Result<(), StoreError> {
        if !self.peer.data_streams {
            return Err(lacks_calls(&format!(
                "make the data stream [{name}] before its first document"
            )));
        }
        let call = Call::new(Method::PUT, format!("/_data_stream/{}", segment(name)));
        let answer = self.send(call).await?;
        let repeated = answer.repeated;
        match answer.ok::<Value>(name).await {
            Ok(_) => Ok(()),
            Err(StoreError::AlreadyExists(_)) if repeated => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A name that `DELETE /{index}` did not find.
    pub(crate) async fn delete_data_stream(&self, name: &str) -> Result<bool, StoreError> {
        if !self.peer.data_streams {
            let there = !self.streams_by_their_indices(&[name.to_owned()]).await?.is_empty();
            return if there {
                Err(lacks_calls(&format!("delete the data stream [{name}]")))
            } else {
                Ok(false)
            };
        }
        // OpenSearch reports success for one that is not there.
        if self.streams_by_name(&[name.to_owned()]).await?.is_empty() {
            return Ok(false);
        }
        let call = Call::new(Method::DELETE, format!("/_data_stream/{}", segment(name)));
        let answer = self.send(call).await?;
        match answer.status {
            404 => Ok(false),
            _ if answer.is_success() => Ok(true),
            _ => Err(answer.into_error(name)),
        }
    }

    pub(crate) async fn rollover(&self, data_stream: &str) -> Result<(String, String), StoreError> {
        let call = Call::new(Method::POST, format!("/{}/_rollover", segment(data_stream))).json(&json!({}));
        let done: RolledOver = self.send(call).await?.ok(data_stream).await?;
        Ok((done.old_index, done.new_index))
    }
}

fn lacks_calls(what: &str) -> StoreError {
    StoreError::Unsupported(format!(
        "this Elasticsearch has no `_data_stream` calls and cannot {what}"
    ))
}

fn newest_of(stream: &str) -> SearchRequest {
    SearchRequest {
        source: SourceFilter::None,
        track_total_hits: u64::MAX,
        ..SearchRequest::new(stream)
            .size(1)
            .sort_by("@timestamp", SortOrder::Descending)
    }
}

/// Dates sort as milliseconds.
fn timestamp_of(newest: &SearchResponse) -> Option<String> {
    let milliseconds = newest.hits.first()?.sort.first()?.as_i64()?;
    let time = jiff::Timestamp::from_millisecond(milliseconds).ok()?;
    Some(clock::rfc3339_millis(time))
}
