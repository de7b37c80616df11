//! The body of a `_bulk` request: action line, document, newline; gzip when asked. No JSON is built.

use std::io::{BufWriter, Write};

use event::Stream;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::queue::Queued;

/// A request's body.
#[derive(Debug)]
pub(crate) struct BulkBody {
    pub(crate) bytes: Vec<u8>,
    pub(crate) gzip: bool,
    /// Bytes before compression.
    pub(crate) uncompressed: usize,
}

/// What the encoder gets at once. Piece by piece of single documents its checksum costs more than the compression.
const PIECE: usize = 64 << 10;

/// Writes `batch` as a bulk body; level 0 is not compressed. CPU work: about 1 us an event.
pub(crate) fn encode(batch: &[Queued], compression_level: u32) -> BulkBody {
    let size: usize = batch.iter().map(|queued| queued.event.body.len() + 80).sum();
    if compression_level == 0 {
        let mut plain = Counted {
            inner: Vec::with_capacity(size),
            written: 0,
        };
        write_lines(batch, &mut plain);
        return BulkBody {
            uncompressed: plain.written,
            bytes: plain.inner,
            gzip: false,
        };
    }
    let encoder = GzEncoder::new(Vec::with_capacity(size / 8), Compression::new(compression_level));
    let mut gzip = Counted {
        inner: BufWriter::with_capacity(PIECE, encoder),
        written: 0,
    };
    write_lines(batch, &mut gzip);
    let encoder = gzip.inner.into_inner().expect("writing to memory cannot fail");
    let bytes = encoder.finish().expect("writing to memory cannot fail");
    BulkBody {
        bytes,
        gzip: true,
        uncompressed: gzip.written,
    }
}

struct Counted<W> {
    inner: W,
    written: usize,
}

impl<W: Write> Counted<W> {
    fn put(&mut self, bytes: &[u8]) {
        self.written += bytes.len();
        self.inner.write_all(bytes).expect("writing to memory cannot fail");
    }
}

fn write_lines<W: Write>(batch: &[Queued], into: &mut Counted<W>) {
    // Neighbours are mostly of one stream: its action line is written once and copied.
    let mut last: Option<(*const Stream, Vec<u8>)> = None;
    for queued in batch {
        let event = &queued.event;
        if let Some(id) = &event.id {
            into.put(&action_line(&event.stream, Some(id)));
        } else {
            let stream = std::sync::Arc::as_ptr(&event.stream);
            if last.as_ref().is_none_or(|(known, _)| *known != stream) {
                last = Some((stream, action_line(&event.stream, None)));
            }
            if let Some((_, line)) = &last {
                into.put(line);
            }
        }
        into.put(&event.body);
        into.put(b"\n");
    }
}

/// `{"create":{"_index":..}}` and a newline. Data streams take no other operation.
fn action_line(stream: &Stream, id: Option<&str>) -> Vec<u8> {
    let mut line = Vec::with_capacity(96);
    line.extend_from_slice(b"{\"create\":{\"_index\":");
    put_text(&mut line, &stream.index);
    if let Some(pipeline) = &stream.pipeline {
        line.extend_from_slice(b",\"pipeline\":");
        put_text(&mut line, pipeline);
    }
    if let Some(id) = id {
        line.extend_from_slice(b",\"_id\":");
        put_text(&mut line, id);
    }
    line.extend_from_slice(b"}}\n");
    line
}

fn put_text(line: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(line, text).expect("a text can always be written to memory");
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use bytes::Bytes;
    use event::document::DataStream;
    use event::{Ack, Event};

    use super::*;
    use crate::queue::Origin;

    fn queued(index: &str, pipeline: Option<&str>, id: Option<&str>, body: &'static str) -> Queued {
        let data_stream = DataStream {
            kind: String::new(),
            dataset: String::new(),
            namespace: String::new(),
        };
        let stream = Stream {
            id: String::new(),
            input_type: String::new(),
            data_stream,
            index: index.to_owned(),
            pipeline: pipeline.map(str::to_owned),
            prefix: Bytes::new(),
        };
        let event = Event {
            stream: Arc::new(stream),
            body: Bytes::from_static(body.as_bytes()),
            id: id.map(str::to_owned),
            ack: Ack::none(),
        };
        Queued::new(event, Origin::Memory)
    }

    #[test]
    fn the_body_is_action_line_and_document() {
        let batch = [
            queued("logs-a-default", None, None, r#"{"n":1}"#),
            queued("logs-\"q\"", Some("p"), Some("i\\d"), r#"{"n":2}"#),
        ];
        let expected = concat!(
            r#"{"create":{"_index":"logs-a-default"}}"#,
            "\n",
            r#"{"n":1}"#,
            "\n",
            r#"{"create":{"_index":"logs-\"q\"","pipeline":"p","_id":"i\\d"}}"#,
            "\n",
            r#"{"n":2}"#,
            "\n"
        );
        let plain = encode(&batch, 0);
        assert_eq!(String::from_utf8(plain.bytes).unwrap(), expected);
        assert!(!plain.gzip && plain.uncompressed == expected.len());

        let packed = encode(&batch, 1);
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&packed.bytes[..])
            .read_to_string(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, expected);
        assert!(packed.gzip && packed.uncompressed == expected.len());
    }
}
