//! The Elasticsearch HTTP API on 9200: what agents, Beats, a stock Fleet Server and the official clients call.
//!
//! A request's path: route -> [`caller::Caller`] (who is it) -> [`params::Params`] (the query string, every parameter known)
//! -> [`payload::Payload`] (the body, decompressed and bounded) -> one function of the store -> an answer in Elasticsearch's
//! shape. `answer::finish` puts the product header on every answer and applies `filter_path` and `pretty`.
//!
//! Who may do what is asked of `access`; documents are the store's; what pipelines do is `ingest`'s. What is not understood
//! is a 400 in Elasticsearch's error format that names it.

mod api;
mod routes;

mod answer;
mod caller;
mod error;
mod params;
mod payload;
mod time_value;

mod bulk;
mod document;
mod write;

mod async_search;
mod by_query;
mod closing;
mod collapse;
mod counting;
mod dated_names;
mod explain;
mod fields;
mod hits;
mod names;
mod reindex;
mod scroll;
mod search;
mod search_body;
mod tasks;
mod terms_enum;
mod typed_keys;

mod aliases;
mod analyze;
mod cat;
mod cat_table;
mod catalog;
mod cluster;
mod fleet;
mod indices;
mod lifecycle;
mod maintenance;
mod mappings;
mod pipelines;
mod retention;
mod security;
mod templates;

pub use api::{ApiSettings, ElasticsearchApi};
pub use retention::Retained;
