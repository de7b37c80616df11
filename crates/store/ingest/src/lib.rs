//! Ingest pipelines and grok.
