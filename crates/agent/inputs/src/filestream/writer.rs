//! From messages to events: the bytes of the document and the acknowledgement that moves the file's offset.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use clock::SharedClock;
use event::json::{write_string, write_u64};
use event::{AckTracker, Documents, Event, Stream};
use serde_json::{Value, json};

use super::identity::Inode;
use super::owner::Owner;
use super::parsers::Message;

/// What events say of their file.
#[derive(Clone, Debug)]
pub(super) struct FileFacts {
    pub(super) path: String,
    pub(super) inode: Inode,
    /// The fingerprint, once the file has enough bytes for it.
    pub(super) fingerprint: Option<String>,
    /// Filled in by who reads the file, for streams that want it.
    pub(super) owner: Option<Owner>,
}

impl FileFacts {
    fn json(&self) -> Value {
        // Inode and device are texts, as the stock agent writes them.
        let mut file = json!({
            "path": self.path,
            "inode": self.inode.inode.to_string(),
            "device_id": self.inode.device.to_string(),
        });
        if let Some(fingerprint) = &self.fingerprint {
            file["fingerprint"] = json!(fingerprint);
        }
        let names = self
            .owner
            .iter()
            .flat_map(|owner| [("owner", &owner.user), ("group", &owner.group)]);
        for (key, name) in names {
            if let Some(name) = name {
                file[key] = json!(name);
            }
        }
        file
    }
}

/// Makes the events of one file.
#[derive(Debug)]
pub(super) struct EventWriter {
    pub(super) documents: Arc<Documents>,
    pub(super) clock: SharedClock,
    pub(super) tracker: AckTracker,
    /// Starts the id of every event, when the stream wants ids.
    pub(super) id_prefix: Option<String>,
}

/// The events of one read, written one behind the other into one piece of memory.
pub(super) struct Batch<'a> {
    writer: &'a EventWriter,
    stream: Arc<Stream>,
    plain: bool,
    facts: FileFacts,
    /// `,"@timestamp":"..","log":{"file":{..},"offset":`
    middle: Vec<u8>,
    now: jiff::Timestamp,
    buffer: BytesMut,
    bytes: usize,
    pub(super) events: Vec<Event>,
}

/// Memory that is asked for at once; a batch that needs more asks again.
const BUFFER: usize = 256 << 10;

impl EventWriter {
    /// A batch whose events are read now.
    pub(super) fn batch(&self, facts: FileFacts) -> Batch<'_> {
        let now = self.clock.now();
        let mut middle = BytesMut::new();
        middle.extend_from_slice(b",\"@timestamp\":\"");
        middle.extend_from_slice(clock::rfc3339_millis(now).as_bytes());
        middle.extend_from_slice(b"\",\"log\":{\"file\":");
        middle.extend_from_slice(facts.json().to_string().as_bytes());
        middle.extend_from_slice(b",\"offset\":");
        Batch {
            writer: self,
            stream: self.documents.stream(),
            plain: self.documents.is_plain(),
            facts,
            middle: middle.to_vec(),
            now,
            buffer: BytesMut::new(),
            bytes: 0,
            events: Vec::new(),
        }
    }

    fn id(&self, offset: u64) -> Option<String> {
        self.id_prefix.as_ref().map(|prefix| format!("{prefix}-{offset:x}"))
    }
}

impl Batch<'_> {
    /// Bytes of documents so far.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether [`Batch::push_line`] may be used.
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    /// One line, without a tree.
    pub(super) fn push_line(&mut self, start: u64, end: u64, text: &str, flags: &[&str]) {
        self.reserve(text.len());
        let buffer = &mut self.buffer;
        buffer.extend_from_slice(&self.stream.prefix);
        buffer.extend_from_slice(&self.middle);
        write_u64(buffer, start);
        if !flags.is_empty() {
            buffer.extend_from_slice(b",\"flags\":");
            buffer.extend_from_slice(json!(flags).to_string().as_bytes());
        }
        buffer.extend_from_slice(b"},\"message\":");
        write_string(buffer, text);
        buffer.extend_from_slice(b"}");
        let body = buffer.split().freeze();
        self.push(start, end, body, None);
    }

    /// One message with whatever parsers and processors make of it.
    pub(super) fn push_message(&mut self, message: Message) {
        if self.plain && message.fields.is_empty() && message.time.is_none() && !message.without_text {
            self.push_line(message.start, message.end, &message.text, &message.flags);
            return;
        }
        let Message {
            start,
            end,
            text,
            mut fields,
            time,
            flags,
            without_text,
        } = message;
        let log = fields.entry("log").or_insert_with(|| json!({}));
        if let Value::Object(log) = log {
            log.insert("file".to_owned(), self.facts.json());
            log.insert("offset".to_owned(), json!(start));
            if !flags.is_empty() {
                log.insert("flags".to_owned(), json!(flags));
            }
        }
        if !without_text {
            fields.entry("message").or_insert(Value::String(text));
        }
        match self.writer.documents.document(time.unwrap_or(self.now), fields) {
            Some((body, id)) => self.push(start, end, body, id),
            None => self.skip_to(end),
        }
    }

    /// Nothing of the file up to `position` becomes an event.
    pub(super) fn skip_to(&mut self, position: u64) {
        self.writer.tracker.skip_to(position);
    }

    fn push(&mut self, start: u64, end: u64, body: Bytes, id: Option<String>) {
        self.bytes += body.len();
        let id = id.or_else(|| self.writer.id(start));
        let ack = self.writer.tracker.issue(end);
        self.events.push(Event {
            stream: Arc::clone(&self.stream),
            body,
            id,
            ack,
        });
    }

    fn reserve(&mut self, text: usize) {
        // Escapes make a text longer; growing once more is cheaper than counting them.
        let needed = self.stream.prefix.len() + self.middle.len() + text + text / 8 + 64;
        if self.buffer.capacity() - self.buffer.len() < needed {
            self.buffer = BytesMut::with_capacity(needed.max(BUFFER));
        }
    }
}
