//! How a document of a data stream is laid out in tantivy: one schema for all backing indices.
//!
//! The common fields of ECS have typed fields of their own, named as they are. Everything else goes into two JSON fields:
//! `s` for texts and booleans (indexed and columnar), `n` for numbers and dates (columnar only: ranges and metrics read
//! columns, so an inverted index for them would be waste). `_source` is kept as it came.

use std::collections::HashMap;
use std::sync::LazyLock;

use query::mapping::Mapping;
use tantivy::DateTime;
use tantivy::schema::{
    BytesOptions, DateOptions, DateTimePrecision, Field, IndexRecordOption, JsonObjectOptions, NumericOptions, Schema,
    TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::{LowerCaser, RemoveLongFilter, SimpleTokenizer, TextAnalyzer, TokenizerManager};

/// Texts longer than this are kept in `_source` but cannot be searched as keywords.
/// Source: `ignore_above` of the ECS templates.
pub(crate) const LONGEST_KEYWORD: usize = 1024;

const WORDS: &str = "words";

const KEYWORDS: &[&str] = &[
    "agent.ephemeral_id",
    "agent.id",
    "agent.name",
    "agent.type",
    "agent.version",
    "component.binary",
    "component.id",
    "container.id",
    "data_stream.dataset",
    "data_stream.namespace",
    "data_stream.type",
    "ecs.version",
    "elastic_agent.id",
    "elastic_agent.version",
    "event.action",
    "event.agent_id_status",
    "event.category",
    "event.dataset",
    "event.kind",
    "event.module",
    "event.outcome",
    "event.type",
    "host.architecture",
    "host.hostname",
    "host.id",
    "host.ip",
    "host.mac",
    "host.name",
    "host.os.codename",
    "host.os.family",
    "host.os.kernel",
    "host.os.name",
    "host.os.platform",
    "host.os.type",
    "host.os.version",
    "input.type",
    "log.file.device_id",
    "log.file.fingerprint",
    "log.file.inode",
    "log.file.path",
    "log.level",
    "log.logger",
    "metricset.name",
    "process.name",
    "service.address",
    "service.name",
    "service.type",
    "source.ip",
    "tags",
    "user.id",
    "user.name",
];

const LONGS: &[&str] = &["event.duration", "log.offset", "metricset.period", "process.pid"];

const DATES: &[&str] = &["@timestamp", "event.created", "event.ingested"];

const TEXTS: &[&str] = &["message"];

/// What a named field holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Keyword,
    Long,
    Date,
    Text,
}

/// The schema and its fields.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) schema: Schema,
    pub(crate) id: Field,
    pub(crate) seq_no: Field,
    pub(crate) source: Field,
    pub(crate) texts: Field,
    pub(crate) numbers: Field,
    /// Names of text fields that a document has: they have no column to tell.
    pub(crate) present: Field,
    named: HashMap<&'static str, (Field, Kind)>,
}

/// The one layout of this format version.
pub(crate) static LAYOUT: LazyLock<Layout> = LazyLock::new(Layout::build);

impl Layout {
    fn build() -> Self {
        let mut builder = Schema::builder();
        let raw = || {
            TextFieldIndexing::default()
                .set_tokenizer("raw")
                .set_fieldnorms(false)
                .set_index_option(IndexRecordOption::Basic)
        };
        let id = builder.add_text_field("_id", TextOptions::default().set_indexing_options(raw()).set_stored());
        let seq_no = builder.add_u64_field("_seq_no", NumericOptions::default().set_fast());
        // Its values are texts since format 2: tantivy writes and reads those in one piece, and octets one by one.
        let source = builder.add_bytes_field("_source", BytesOptions::default().set_stored());
        let present = builder.add_text_field("_present", TextOptions::default().set_indexing_options(raw()));
        let keyword = TextOptions::default().set_indexing_options(raw()).set_fast("raw");
        let words = TextFieldIndexing::default()
            .set_tokenizer(WORDS)
            .set_fieldnorms(false)
            .set_index_option(IndexRecordOption::WithFreqsAndPositions);
        let mut named = HashMap::new();
        for name in KEYWORDS {
            named.insert(*name, (builder.add_text_field(name, keyword.clone()), Kind::Keyword));
        }
        for name in LONGS {
            named.insert(
                *name,
                (
                    builder.add_i64_field(name, NumericOptions::default().set_fast()),
                    Kind::Long,
                ),
            );
        }
        for name in DATES {
            let options = DateOptions::default()
                .set_fast()
                .set_precision(DateTimePrecision::Milliseconds);
            named.insert(*name, (builder.add_date_field(name, options), Kind::Date));
        }
        for name in TEXTS {
            let options = TextOptions::default().set_indexing_options(words.clone());
            named.insert(*name, (builder.add_text_field(name, options), Kind::Text));
        }
        let json = JsonObjectOptions::default().set_expand_dots_enabled();
        let texts = builder.add_json_field("s", json.clone().set_indexing_options(raw()).set_fast("raw"));
        let numbers = builder.add_json_field("n", json.set_fast("raw"));
        Self {
            schema: builder.build(),
            id,
            seq_no,
            source,
            texts,
            numbers,
            present,
            named,
        }
    }

    /// The field of its own that a name has.
    pub(crate) fn named(&self, name: &str) -> Option<(Field, Kind)> {
        self.named.get(name).copied()
    }

    pub(crate) fn all_named(&self) -> impl Iterator<Item = (&'static str, Field, Kind)> + '_ {
        self.named.iter().map(|(name, (field, kind))| (*name, *field, *kind))
    }

    /// The columns that may hold a field's values.
    pub(crate) fn columns(&self, name: &str) -> Vec<String> {
        match self.named(name) {
            _ if name == "_seq_no" => vec!["_seq_no".to_owned()],
            Some((_, Kind::Text)) => Vec::new(),
            Some(_) => vec![name.to_owned()],
            None => vec![format!("s.{name}"), format!("n.{name}")],
        }
    }
}

/// The types of the named fields, for showing their values.
pub(crate) static NAMED_MAPPING: LazyLock<Mapping> = LazyLock::new(|| {
    let kinds = [(KEYWORDS, "keyword"), (LONGS, "long"), (DATES, "date"), (TEXTS, "text")];
    let named = kinds
        .iter()
        .flat_map(|(names, kind)| names.iter().map(move |name| (*name, *kind)));
    let properties: serde_json::Map<String, serde_json::Value> = named
        .map(|(name, kind)| (name.to_owned(), serde_json::json!({ "type": kind })))
        .collect();
    Mapping::parse(&serde_json::json!({ "properties": properties }))
        .expect("the types are known and no name is within another")
});

/// Tokenizers that the schema names.
pub(crate) fn tokenizers() -> TokenizerManager {
    let manager = TokenizerManager::default();
    let words = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(query::analysis::LONGEST_WORD + 1))
        .filter(LowerCaser)
        .build();
    manager.register(WORDS, words);
    manager
}

/// Milliseconds as tantivy's date.
pub(crate) fn date(millis: i64) -> DateTime {
    DateTime::from_timestamp_millis(millis)
}
