//! Character encodings of files, and where their lines end.

use std::borrow::Cow;

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding as Charset, GB18030, GBK, ISO_2022_JP, SHIFT_JIS, UTF_16BE, UTF_16LE, WINDOWS_1252,
};

/// How a file's bytes are characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Encoding {
    /// UTF-8; what is not, becomes U+FFFD.
    Utf8,
    /// One of the others.
    Other(&'static Charset),
    /// UTF-16 whose byte order mark decides; the given order without one.
    Utf16Bom(&'static Charset),
}

impl Encoding {
    pub(super) fn named(name: &str) -> Option<Self> {
        let charset = match name {
            "" | "plain" | "utf-8" | "utf8" | "nop" => return Some(Self::Utf8),
            "utf-16-bom" | "utf-16be-bom" => return Some(Self::Utf16Bom(UTF_16BE)),
            "utf-16le-bom" => return Some(Self::Utf16Bom(UTF_16LE)),
            "utf-16be" => UTF_16BE,
            "utf-16le" | "utf-16" => UTF_16LE,
            "latin1" | "iso8859-1" => WINDOWS_1252,
            "gbk" | "hz-gb-2312" => GBK,
            "gb18030" => GB18030,
            "big5" => BIG5,
            "euc-jp" => EUC_JP,
            "euc-kr" => EUC_KR,
            "shift-jis" => SHIFT_JIS,
            "iso-2022-jp" => ISO_2022_JP,
            other => return Charset::for_label(other.replace("iso8859", "iso-8859").as_bytes()).map(Self::Other),
        };
        Some(Self::Other(charset))
    }

    /// Bytes per unit: terminators are only looked for at multiples of it.
    fn unit(self) -> usize {
        match self {
            Self::Other(charset) if charset == UTF_16BE || charset == UTF_16LE => 2,
            Self::Utf16Bom(_) => 2,
            _ => 1,
        }
    }

    /// The order of the bytes, after a look at the start of the file.
    pub(super) fn with_start(self, start: &[u8]) -> Self {
        match (self, start) {
            (Self::Utf16Bom(_), [0xFE, 0xFF, ..]) => Self::Other(UTF_16BE),
            (Self::Utf16Bom(_), [0xFF, 0xFE, ..]) => Self::Other(UTF_16LE),
            (Self::Utf16Bom(charset), _) => Self::Other(charset),
            (other, _) => other,
        }
    }

    /// The characters of one line. A byte order mark at the start is left out.
    pub(super) fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)),
            Self::Other(charset) | Self::Utf16Bom(charset) => charset.decode_with_bom_removal(bytes).0,
        }
    }
}

/// What ends a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Terminator {
    bytes: Vec<u8>,
    unit: usize,
    /// Whether a carriage return before it belongs to it.
    strips_return: bool,
}

impl Terminator {
    pub(super) fn named(name: &str, encoding: Encoding) -> Option<Self> {
        let text = match name {
            "" | "auto" | "line_feed" => "\n",
            "carriage_return" => "\r",
            "carriage_return_line_feed" => "\r\n",
            "vertical_tab" => "\u{b}",
            "form_feed" => "\u{c}",
            "next_line" => "\u{85}",
            "line_separator" => "\u{2028}",
            "paragraph_separator" => "\u{2029}",
            "null_terminator" => "\0",
            _ => return None,
        };
        let strips_return = matches!(name, "" | "auto");
        Some(Self {
            bytes: encode(text, encoding),
            unit: encoding.unit(),
            strips_return,
        })
    }

    /// The same terminator in the byte order that the file turned out to have.
    pub(super) fn for_encoding(&self, encoding: Encoding) -> Self {
        let mut bytes = self.bytes.clone();
        // Both orders of UTF-16 differ only in the order within each pair.
        if self.unit == 2 && encoding == Encoding::Other(UTF_16BE) && !bytes.is_empty() && bytes[0] != 0 {
            bytes.as_chunks_mut::<2>().0.iter_mut().for_each(|pair| pair.reverse());
        }
        Self { bytes, ..self.clone() }
    }

    /// Where the next terminator starts in `window[from..]`, as an index into `window`. `aligned` is the index at which
    /// units start.
    pub(super) fn find(&self, window: &[u8], from: usize, aligned: usize) -> Option<usize> {
        if let ([byte], 1) = (self.bytes.as_slice(), self.unit) {
            return memchr::memchr(*byte, &window[from..]).map(|at| from + at);
        }
        let hits = memchr::memmem::find_iter(&window[from..], &self.bytes);
        hits.map(|at| from + at)
            .find(|at| (at.wrapping_sub(aligned)).is_multiple_of(self.unit))
    }

    /// Bytes of the terminator.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The line without the carriage return that belongs to its terminator.
    pub(super) fn trim<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        if !self.strips_return {
            return line;
        }
        let carriage_return: &[u8] = match self.bytes.as_slice() {
            [0, b'\n'] => &[0, b'\r'],
            [b'\n', 0] => &[b'\r', 0],
            _ => b"\r",
        };
        line.strip_suffix(carriage_return).unwrap_or(line)
    }
}

fn encode(text: &str, encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Utf8 => text.as_bytes().to_vec(),
        Encoding::Other(charset) if charset == UTF_16BE => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        Encoding::Other(charset) if charset == UTF_16LE => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        Encoding::Utf16Bom(_) => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        Encoding::Other(charset) => charset.encode(text).0.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_in_every_unit_size() {
        let be = Encoding::named("utf-16be").unwrap();
        let terminator = Terminator::named("auto", be).unwrap();
        // U+0A00 has the bytes 0A 00: the newline's bytes appear across units and must not count.
        let bytes: Vec<u8> = "\u{100}\u{a00}x\r\n"
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        assert_eq!(terminator.find(&bytes, 0, 0), Some(8));
        assert_eq!(be.decode(terminator.trim(&bytes[..8])), "\u{100}\u{a00}x");
    }

    #[test]
    fn a_byte_order_mark_decides() {
        let encoding = Encoding::named("utf-16-bom").unwrap();
        assert_eq!(encoding.with_start(&[0xFF, 0xFE]), Encoding::Other(UTF_16LE));
        assert_eq!(encoding.with_start(&[0xFE, 0xFF]), Encoding::Other(UTF_16BE));
        let terminator = Terminator::named("auto", encoding).unwrap();
        assert_eq!(
            terminator
                .for_encoding(Encoding::Other(UTF_16BE))
                .find(&[0, b'a', 0, b'\n'], 0, 0),
            Some(2)
        );
    }

    #[test]
    fn names_of_the_stack_are_known() {
        for name in [
            "plain",
            "latin1",
            "utf-16be-bom",
            "big5",
            "gb18030",
            "gbk",
            "euc-kr",
            "euc-jp",
            "iso-2022-jp",
            "shift-jis",
            "koi8-r",
            "windows-1251",
            "iso8859-15",
        ] {
            assert!(Encoding::named(name).is_some(), "{name}");
        }
        assert!(Encoding::named("klingon").is_none());
        assert_eq!(Encoding::named("latin1").unwrap().decode(b"caf\xe9"), "café");
    }
}
