//! Single documents: `get` and `mget`, where a data stream is asked through its backing indices.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use store::{Document, SeqNo, Source, StoreError};

use crate::error::Failure;
use crate::store::Inner;
use crate::wire::{Call, parse_with, segment};

/// A document of `get` or `mget`.
#[derive(Debug, Deserialize)]
struct Found<'a> {
    #[serde(default, rename = "_index")]
    index: String,
    #[serde(default, rename = "_id")]
    id: String,
    #[serde(default, rename = "_version")]
    version: u64,
    #[serde(default, rename = "_seq_no")]
    seq_no: SeqNo,
    #[serde(default, rename = "_primary_term")]
    term: u64,
    #[serde(default, rename = "found")]
    is_there: bool,
    #[serde(default, borrow, rename = "_source")]
    source: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct FoundDocuments<'a> {
    #[serde(borrow)]
    docs: Vec<Found<'a>>,
}

/// A document with the term it was written in.
#[derive(Clone, Debug)]
pub(crate) struct Present {
    pub(crate) document: Document,
    pub(crate) term: u64,
}

impl Found<'_> {
    fn into_present(self, body: &Bytes) -> Option<Present> {
        self.is_there.then(|| Present {
            document: Document {
                index: self.index,
                id: self.id,
                version: self.version,
                seq_no: self.seq_no,
                source: source_of(body, self.source),
            },
            term: self.term,
        })
    }
}

/// A part of the body as a document, without a copy; the empty object when there is none.
pub(crate) fn source_of(body: &Bytes, raw: Option<&RawValue>) -> Source {
    Source::from_checked(match raw {
        Some(raw) => body.slice_ref(raw.get().as_bytes()),
        None => Bytes::from_static(b"{}"),
    })
}

impl Inner {
    /// The document as of its last acknowledged write.
    pub(crate) async fn get(&self, index: &str, id: &str) -> Result<Option<Document>, StoreError> {
        if id.is_empty() || index.is_empty() {
            return Ok(None);
        }
        if self.ready.is_data_stream(index) {
            return self.get_from_stream(index, id).await;
        }
        let path = format!("/{}/_doc/{}", segment(index), segment(id));
        let answer = self.send(Call::get(path)).await?;
        if answer.is_success() {
            let present = parse_with(answer.body, |body| {
                Ok(serde_json::from_slice::<Found<'_>>(body)?.into_present(body))
            })
            .await?;
            return Ok(present.map(|present| self.seen(index, present)));
        }
        if answer.status != 404 {
            return Err(answer.into_error(index));
        }
        // No such document, no such index, or a data stream, which `get` does not see.
        if Failure::of_body(&answer.body).root().kind == "index_not_found_exception" {
            return self.get_from_stream(index, id).await;
        }
        Ok(None)
    }

    async fn get_from_stream(&self, stream: &str, id: &str) -> Result<Option<Document>, StoreError> {
        let backing = self.backing_indices(stream).await?;
        if backing.is_empty() {
            return Ok(None);
        }
        let wanted: Vec<(&str, &str)> = backing.iter().rev().map(|index| (index.as_str(), id)).collect();
        let found = self.get_many(&wanted, true).await?;
        Ok(found.into_iter().flatten().next().map(|present| present.document))
    }

    /// The documents at the same positions; `None` for those that are not there.
    pub(crate) async fn get_many(
        &self,
        wanted: &[(&str, &str)],
        with_source: bool,
    ) -> Result<Vec<Option<Present>>, StoreError> {
        let docs: Vec<Value> = wanted
            .iter()
            .map(|(index, id)| json!({ "_index": index, "_id": id, "_source": with_source }))
            .collect();
        let answer = self.send(Call::ask("/_mget").json(&json!({ "docs": docs }))).await?;
        if !answer.is_success() {
            return Err(answer.into_error(wanted.first().map_or("", |(index, _)| index)));
        }
        let found = parse_with(answer.body, |body| {
            let parsed: FoundDocuments<'_> = serde_json::from_slice(body)?;
            Ok(parsed
                .docs
                .into_iter()
                .map(|found| found.into_present(body))
                .collect::<Vec<_>>())
        })
        .await?;
        if found.len() != wanted.len() {
            return Err(StoreError::Unavailable(format!(
                "the store answered {} documents to {} that were asked for",
                found.len(),
                wanted.len()
            )));
        }
        for present in found.iter().flatten() {
            self.terms
                .observe(&present.document.index, present.document.seq_no, present.term);
        }
        Ok(found)
    }

    fn seen(&self, asked: &str, present: Present) -> Document {
        let document = present.document;
        self.terms.alias(asked, &document.index);
        self.terms.observe(&document.index, document.seq_no, present.term);
        document
    }
}
