//! One backing index: a tantivy index in a folder of its own, opened when it is first needed.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use query::mapping::Mapping;
use serde::{Deserialize, Serialize};
use store::{SeqNo, StoreError};
use tantivy::Directory as _;
use tantivy::directory::{META_LOCK, MmapDirectory};
use tantivy::{Index, IndexReader, ReloadPolicy, Searcher};

use super::schema::{LAYOUT, tokenizers};
use super::wal::Position;
use crate::folder::{bytes_below, sync_directory};
use crate::state::catalogue::BackingRow;

/// What each commit carries.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct CommitPoint {
    /// The first log record that is not in this index.
    pub(crate) wal: Position,
    /// The number after the last one in this index.
    pub(crate) next_seq: SeqNo,
}

/// A backing index.
#[derive(Debug)]
pub(crate) struct Backing {
    pub(crate) row: BackingRow,
    pub(crate) directory: Utf8PathBuf,
    /// Milliseconds since 1970; of committed documents, or the time of creation.
    pub(crate) newest: AtomicI64,
    pub(crate) deleted: AtomicBool,
    /// What the template declares about fields, when it declares some.
    declared: RwLock<Option<Arc<Mapping>>>,
    open: Mutex<Option<Open>>,
}

#[derive(Clone)]
struct Open {
    index: Index,
    reader: IndexReader,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Open")
    }
}

impl Backing {
    pub(crate) fn new(streams: &Utf8Path, row: BackingRow) -> Self {
        let directory = streams.join(&row.uuid);
        let newest = AtomicI64::new(row.created);
        Self {
            row,
            directory,
            newest,
            deleted: AtomicBool::new(false),
            declared: RwLock::new(None),
            open: Mutex::new(None),
        }
    }

    pub(crate) fn declare(&self, mapping: Option<Arc<Mapping>>) {
        *self.declared.write().unwrap_or_else(PoisonError::into_inner) = mapping;
    }

    pub(crate) fn declared(&self) -> Option<Arc<Mapping>> {
        self.declared.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a field outside the named ones is made of words: those that the template declares, and messages.
    /// Source: the `ecs@mappings` and OpenTelemetry templates of Elasticsearch (`*.message`, `body.text`).
    pub(crate) fn is_text(&self, name: &str) -> bool {
        let declared = self
            .declared()
            .and_then(|mapping| mapping.field(name).map(|field| field.kind()));
        match declared {
            Some(kind) => kind == query::mapping::Kind::Text,
            None => name.ends_with(".message") || name == "body.text",
        }
    }

    /// Makes the empty index on disk, durable before it is named in the catalogue.
    pub(crate) fn create(streams: &Utf8Path, uuid: &str) -> Result<(), StoreError> {
        let directory = streams.join(uuid);
        fs::create_dir_all(&directory).map_err(|error| io_error(&error))?;
        let files = MmapDirectory::open(&directory)
            .map_err(tantivy::TantivyError::from)
            .map_err(index_error)?;
        Index::open_or_create(files, LAYOUT.schema.clone()).map_err(index_error)?;
        sync_directory(&directory)
            .and_then(|()| sync_directory(streams))
            .map_err(|error| io_error(&error))
    }

    fn open(&self) -> Result<Open, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*open {
            return Ok(open.clone());
        }
        let files = MmapDirectory::open(&self.directory)
            .map_err(tantivy::TantivyError::from)
            .map_err(index_error)?;
        let mut index = Index::open(files).map_err(index_error)?;
        index.set_tokenizers(tokenizers());
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .doc_store_cache_num_blocks(4)
            .try_into()
            .map_err(index_error)?;
        let opened = Open { index, reader };
        *open = Some(opened.clone());
        Ok(opened)
    }

    pub(crate) fn index(&self) -> Result<Index, StoreError> {
        Ok(self.open()?.index)
    }

    pub(crate) fn searcher(&self) -> Result<Searcher, StoreError> {
        Ok(self.open()?.reader.searcher())
    }

    /// Makes the last commit visible.
    pub(crate) fn reload(&self) -> Result<(), StoreError> {
        self.open()?.reader.reload().map_err(index_error)
    }

    /// Where the last commit stands, without opening the index.
    pub(crate) fn commit_point(&self) -> Result<CommitPoint, StoreError> {
        #[derive(Deserialize)]
        struct Meta {
            payload: Option<String>,
        }
        let damaged = |error: serde_json::Error| {
            StoreError::Damaged(format!(
                "`{}/meta.json` has no readable commit point: {error}",
                self.directory
            ))
        };
        let text =
            fs::read(self.directory.join("meta.json")).map_err(|error| StoreError::Damaged(error.to_string()))?;
        let meta: Meta = serde_json::from_slice(&text).map_err(damaged)?;
        match meta.payload {
            None => Ok(CommitPoint {
                wal: 0,
                next_seq: self.row.first_seq,
            }),
            Some(payload) => serde_json::from_str(&payload).map_err(damaged),
        }
    }

    /// Copies the last commit into `target`, by hard links where the file system has them: files never change.
    pub(crate) fn copy_to(&self, target: &Utf8Path) -> Result<(), StoreError> {
        let index = self.index()?;
        // Held, nothing is cleaned up while files are copied.
        let lock = index
            .directory()
            .acquire_lock(&META_LOCK)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let copy = || -> std::io::Result<()> {
            fs::create_dir_all(target)?;
            let metas = index.load_metas().map_err(std::io::Error::other)?;
            let segments: Vec<String> = metas
                .segments
                .iter()
                .map(|segment| segment.id().uuid_string())
                .collect();
            for entry in fs::read_dir(&self.directory)? {
                let entry = entry?;
                // A segment's files are named by its id.
                let name = entry.file_name();
                let name = name.to_str().unwrap_or_default();
                if !segments.iter().any(|segment| name.starts_with(segment.as_str())) {
                    continue;
                }
                let copied = target.join(name);
                if fs::hard_link(entry.path(), &copied).is_err() {
                    fs::copy(entry.path(), &copied)?;
                }
            }
            for name in ["meta.json", ".managed.json"] {
                fs::copy(self.directory.join(name), target.join(name))?;
            }
            sync_directory(target)
        };
        let copied = copy().map_err(|error| io_error(&error));
        drop(lock);
        copied
    }

    /// Files whose contents do not fit their checksums.
    pub(crate) fn damaged_files(&self) -> Result<Vec<String>, StoreError> {
        let damaged = self.index()?.validate_checksum().map_err(index_error)?;
        Ok(damaged
            .into_iter()
            .map(|file| self.directory.as_std_path().join(file).display().to_string())
            .collect())
    }

    pub(crate) fn bytes(&self) -> u64 {
        bytes_below(&self.directory)
    }

    /// Closes the files and removes them. Searches that run keep what they have open.
    pub(crate) fn remove(&self) {
        self.deleted.store(true, Ordering::Release);
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(%error, "a deleted backing index left files; the next start removes them");
        }
    }

    /// Ids that the store made carry this, so that they lead to their backing index.
    fn id_prefix(&self) -> [u8; 7] {
        let mut prefix = [0; 7];
        let digits = self.row.uuid.as_bytes();
        for (byte, pair) in prefix.iter_mut().zip(digits.chunks(2)) {
            *byte = std::str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                .unwrap_or(0);
        }
        prefix
    }

    /// The id of a document whose client gave none: 20 characters, as the original's.
    pub(crate) fn made_id(&self, seq_no: SeqNo) -> String {
        let mut bytes = [0; 15];
        bytes[..7].copy_from_slice(&self.id_prefix());
        bytes[7..].copy_from_slice(&seq_no.to_be_bytes());
        base64url(&bytes)
    }

    /// The number in an id that [`Self::made_id`] made for this index.
    pub(crate) fn seq_of(&self, id: &str) -> Option<SeqNo> {
        let bytes = unbase64url(id)?;
        let (prefix, number) = bytes.split_at(7);
        (prefix == self.id_prefix()).then(|| number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64url(bytes: &[u8; 15]) -> String {
    bytes
        .chunks(3)
        .flat_map(|group| {
            let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
            [18, 12, 6, 0].map(|shift| char::from(ALPHABET[(bits >> shift & 63) as usize]))
        })
        .collect()
}

fn unbase64url(text: &str) -> Option<[u8; 15]> {
    let mut bytes = [0; 15];
    if text.len() != 20 {
        return None;
    }
    for (group, out) in text.as_bytes().chunks(4).zip(bytes.chunks_mut(3)) {
        let mut bits = 0_u32;
        for letter in group {
            bits = bits << 6 | u32::try_from(ALPHABET.iter().position(|known| known == letter)?).ok()?;
        }
        out.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    Some(bytes)
}

/// What an error of tantivy means to the caller.
pub(crate) fn index_error(error: tantivy::TantivyError) -> StoreError {
    let text = error.to_string();
    if text.contains("No space left") || text.contains("StorageFull") {
        return StoreError::DiskFull(text);
    }
    match error {
        tantivy::TantivyError::DataCorruption(_) => StoreError::Damaged(text),
        tantivy::TantivyError::InvalidArgument(_)
        | tantivy::TantivyError::FieldNotFound(_)
        | tantivy::TantivyError::SchemaError(_)
        | tantivy::TantivyError::AggregationError(_) => StoreError::Unsupported(text),
        _ => StoreError::Unavailable(text),
    }
}

/// What an error of the file system means to the caller.
pub(crate) fn io_error(error: &std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::DiskFull(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_ids_lead_back_to_their_index() {
        let row = |uuid: &str| BackingRow {
            number: 1,
            stream: "s".into(),
            name: "n".into(),
            uuid: uuid.into(),
            created: 0,
            first_seq: 0,
        };
        let one = Backing::new("/nowhere".into(), row("00112233445566778899aabbccddeeff"));
        let other = Backing::new("/nowhere".into(), row("10112233445566778899aabbccddeeff"));
        for seq_no in [0, 1, 255, 256, u64::MAX] {
            let id = one.made_id(seq_no);
            assert_eq!(id.len(), 20);
            assert_eq!(one.seq_of(&id), Some(seq_no));
            assert_eq!(other.seq_of(&id), None);
        }
        assert_eq!(one.seq_of("not an id of ours"), None);
    }
}
