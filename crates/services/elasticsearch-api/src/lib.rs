//! The Elasticsearch HTTP API on 9200.
