//! Texts that many answers share, compressed once.
//!
//! A gzip stream may be put together from pieces that were compressed alone and end on a byte: the shared ones are kept
//! compressed, what belongs to one agent goes between them as stored blocks, and the checksums are combined. So a policy
//! costs its compression once, whatever the number of agents.

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress};

/// Longest stored block of the deflate format.
const LONGEST_STORED: usize = 0xffff;
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// A last, empty stored block.
const END: [u8; 5] = [1, 0, 0, 0xff, 0xff];

/// A text with its compressed form.
#[derive(Debug)]
pub(crate) struct SharedText {
    plain: Bytes,
    deflated: Bytes,
    crc: Crc,
}

impl SharedText {
    pub(crate) fn new(plain: Bytes, level: u32) -> Self {
        let mut crc = Crc::new();
        crc.update(&plain);
        Self {
            deflated: deflate(&plain, level),
            plain,
            crc,
        }
    }

    pub(crate) fn plain(&self) -> &Bytes {
        &self.plain
    }
}

/// Compresses without header and end, up to a byte, so that anything may follow.
fn deflate(plain: &[u8], level: u32) -> Bytes {
    let mut compress = Compress::new(Compression::new(level.min(9)), false);
    let mut out = Vec::with_capacity(plain.len() / 3 + 64);
    loop {
        let consumed = compress.total_in() as usize;
        out.reserve(256.max((plain.len() - consumed) / 2));
        let before = out.len();
        compress
            .compress_vec(&plain[consumed..], &mut out, FlushCompress::Full)
            .expect("compressing from memory to memory cannot fail");
        let is_flushed = compress.total_in() as usize == plain.len() && out.len() < out.capacity();
        if is_flushed || out.len() == before {
            return Bytes::from(out);
        }
    }
}

/// A gzip stream under construction.
#[derive(Debug)]
pub(crate) struct GzipPieces {
    out: Vec<u8>,
    crc: Crc,
}

impl GzipPieces {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity + HEADER.len() + END.len() + 8);
        out.extend_from_slice(&HEADER);
        Self { out, crc: Crc::new() }
    }

    pub(crate) fn shared(&mut self, text: &SharedText) {
        self.out.extend_from_slice(&text.deflated);
        self.crc.combine(&text.crc);
    }

    /// Adds bytes as they are.
    pub(crate) fn stored(&mut self, bytes: &[u8]) {
        for block in bytes.chunks(LONGEST_STORED) {
            let length = u16::try_from(block.len()).expect("a block is never longer than 65,535 bytes");
            self.out.push(0);
            self.out.extend_from_slice(&length.to_le_bytes());
            self.out.extend_from_slice(&(!length).to_le_bytes());
            self.out.extend_from_slice(block);
        }
        self.crc.update(bytes);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(&END);
        self.out.extend_from_slice(&self.crc.sum().to_le_bytes());
        self.out.extend_from_slice(&self.crc.amount().to_le_bytes());
        self.out
    }
}

/// A whole text as gzip.
pub(crate) fn gzip(plain: &[u8], level: u32) -> Vec<u8> {
    use std::io::Write;
    let mut encoder =
        flate2::write::GzEncoder::new(Vec::with_capacity(plain.len() / 3), Compression::new(level.min(9)));
    encoder.write_all(plain).expect("writing to memory cannot fail");
    encoder.finish().expect("writing to memory cannot fail")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn unpack(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
        plain
    }

    #[test]
    fn pieces_unpack_to_their_texts_in_order() {
        let first = SharedText::new(Bytes::from("policy ".repeat(20_000)), 1);
        let second = SharedText::new(Bytes::from_static(b"tail"), 1);
        let own = vec![b'x'; 70_000];
        let mut pieces = GzipPieces::with_capacity(64);
        pieces.shared(&first);
        pieces.stored(&own);
        pieces.shared(&second);
        let packed = pieces.finish();
        assert!(packed.len() < 75_000, "{}", packed.len());
        assert_eq!(unpack(&packed), [first.plain(), &own[..], b"tail"].concat());
    }

    #[test]
    fn nothing_at_all_is_a_stream_too() {
        assert_eq!(unpack(&GzipPieces::with_capacity(0).finish()), b"");
        assert_eq!(unpack(&gzip(b"abc", 1)), b"abc");
    }

    proptest! {
        #[test]
        fn any_pieces_unpack(pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..3000)), 0..6)) {
            let mut packed = GzipPieces::with_capacity(16);
            for (is_shared, piece) in &pieces {
                if *is_shared {
                    packed.shared(&SharedText::new(Bytes::from(piece.clone()), 1));
                } else {
                    packed.stored(piece);
                }
            }
            let expected: Vec<u8> = pieces.into_iter().flat_map(|(_, piece)| piece).collect();
            prop_assert_eq!(unpack(&packed.finish()), expected);
        }
    }
}
