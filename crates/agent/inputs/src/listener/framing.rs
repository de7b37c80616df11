//! Where one message ends in a stream of bytes.

use crate::build::BuildError;
use crate::config::Config;

/// How messages are told apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// Each ends with these bytes.
    Delimiter(Vec<u8>),
    /// RFC 6587: `<length> <message>`; a message that does not start with a digit ends at a newline.
    OctetCounting,
}

/// Cuts a stream of bytes into messages of at most `max` bytes.
#[derive(Debug)]
pub(super) struct Splitter {
    framing: Framing,
    max: usize,
    buffer: Vec<u8>,
    /// The rest of a message that was too long is skipped: so many bytes, or up to the delimiter.
    skip: Skip,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Skip {
    Nothing,
    Bytes(usize),
    ToDelimiter,
}

/// One message; `truncated` when it was longer than allowed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) truncated: bool,
}

/// More digits than this are no length.
const MAX_LENGTH_DIGITS: usize = 10;

impl Framing {
    pub(super) fn read(config: Config<'_>) -> Result<Self, BuildError> {
        match config.text(&["framing"])?.unwrap_or("delimiter") {
            "delimiter" => match config.text(&["line_delimiter"])?.unwrap_or("\n") {
                "" => Err(config.error("line_delimiter", "it must not be empty")),
                delimiter => Ok(Self::Delimiter(unescaped(delimiter).into_bytes())),
            },
            "rfc6587" => Ok(Self::OctetCounting),
            other => Err(config.error(
                "framing",
                format!("`{other}` is not known; it may be `delimiter` or `rfc6587`"),
            )),
        }
    }
}

/// Policies may hold `\n` as two characters.
fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n")
        .replace("\\r", "\r")
        .replace("\\t", "\t")
        .replace("\\0", "\0")
}

impl Splitter {
    pub(super) fn new(framing: Framing, max: usize) -> Self {
        Self {
            framing,
            max,
            buffer: Vec::new(),
            skip: Skip::Nothing,
        }
    }

    /// Takes bytes and gives the messages that they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.buffer.extend_from_slice(bytes);
        let mut frames = Vec::new();
        let mut at = 0;
        while let Some((frame, used)) = self.next(at) {
            at += used;
            frames.extend(frame);
        }
        self.buffer.drain(..at);
        frames
    }

    /// What is left when the stream ends.
    pub(super) fn finish(&mut self) -> Option<Frame> {
        let bytes = std::mem::take(&mut self.buffer);
        (!bytes.is_empty() && self.skip == Skip::Nothing).then_some(Frame {
            bytes,
            truncated: false,
        })
    }

    /// The next step at `at`: a frame or none, and how many bytes it used up.
    fn next(&mut self, at: usize) -> Option<(Option<Frame>, usize)> {
        let rest = &self.buffer[at..];
        if rest.is_empty() {
            return None;
        }
        if let Skip::Bytes(left) = self.skip {
            let skipped = left.min(rest.len());
            self.skip = if skipped == left {
                Skip::Nothing
            } else {
                Skip::Bytes(left - skipped)
            };
            return Some((None, skipped));
        }
        if self.skip == Skip::Nothing && self.framing == Framing::OctetCounting && rest[0].is_ascii_digit() {
            return self.counted(at);
        }
        self.delimited(at)
    }

    fn delimited(&mut self, at: usize) -> Option<(Option<Frame>, usize)> {
        let newline = [b'\n'];
        let rest = &self.buffer[at..];
        let delimiter = match &self.framing {
            Framing::Delimiter(delimiter) => delimiter.as_slice(),
            Framing::OctetCounting => &newline,
        };
        let Some(end) = memchr::memmem::find(rest, delimiter) else {
            // Part of a delimiter may stand at the end.
            let safe = (rest.len() + 1).saturating_sub(delimiter.len());
            return match self.skip {
                Skip::ToDelimiter if safe > 0 => Some((None, safe)),
                Skip::Nothing if safe > self.max => {
                    let frame = Frame {
                        bytes: rest[..self.max].to_vec(),
                        truncated: true,
                    };
                    self.skip = Skip::ToDelimiter;
                    Some((Some(frame), safe))
                }
                _ => None,
            };
        };
        let used = end + delimiter.len();
        if self.skip == Skip::ToDelimiter {
            self.skip = Skip::Nothing;
            return Some((None, used));
        }
        let length = end.min(self.max);
        Some((
            Some(Frame {
                bytes: rest[..length].to_vec(),
                truncated: length < end,
            }),
            used,
        ))
    }

    fn counted(&mut self, at: usize) -> Option<(Option<Frame>, usize)> {
        let rest = &self.buffer[at..];
        let digits = rest
            .iter()
            .take(MAX_LENGTH_DIGITS)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        match rest.get(digits) {
            Some(b' ') => {}
            None if digits < MAX_LENGTH_DIGITS => return None,
            // It only looked like a length.
            _ => return self.delimited(at),
        }
        let length = std::str::from_utf8(&rest[..digits])
            .ok()
            .and_then(|length| length.parse::<usize>().ok())?;
        let start = digits + 1;
        let kept = length.min(self.max);
        if rest.len() < start + kept {
            return None;
        }
        let bytes = rest[start..start + kept].to_vec();
        if kept < length {
            self.skip = Skip::Bytes(length - kept);
        }
        Some((
            Some(Frame {
                bytes,
                truncated: kept < length,
            }),
            start + kept,
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(framing: Framing, max: usize, pieces: &[&str], expected: &[(&str, bool)]) {
        let mut splitter = Splitter::new(framing, max);
        let mut frames: Vec<Frame> = pieces
            .iter()
            .flat_map(|piece| splitter.push(piece.as_bytes()))
            .collect();
        frames.extend(splitter.finish());
        let frames: Vec<(&str, bool)> = frames
            .iter()
            .map(|frame| (std::str::from_utf8(&frame.bytes).unwrap(), frame.truncated))
            .collect();
        assert_eq!(frames, expected);
    }

    #[test]
    fn messages_are_cut_at_the_delimiter() {
        let newline = || Framing::Delimiter(b"\n".to_vec());
        check(
            newline(),
            100,
            &["a\nb", "c\n\nd"],
            &[("a", false), ("bc", false), ("", false), ("d", false)],
        );
        check(newline(), 3, &["abcdef", "gh\nij\n"], &[("abc", true), ("ij", false)]);
        check(
            Framing::Delimiter(b"\r\n".to_vec()),
            3,
            &["abcdef\r", "\nx\r\n"],
            &[("abc", true), ("x", false)],
        );
    }

    #[test]
    fn messages_are_counted() {
        check(
            Framing::OctetCounting,
            100,
            &["5 he", "llo3 a\nb<1>x\n"],
            &[("hello", false), ("a\nb", false), ("<1>x", false)],
        );
        check(
            Framing::OctetCounting,
            2,
            &["5 hel", "lo1 x"],
            &[("he", true), ("x", false)],
        );
        check(
            Framing::OctetCounting,
            100,
            &["2026 lines\n"],
            &[("2026 lines\n", false)],
        );
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in "[0-9 \\na-c]{0,60}", cut in 0_usize..60, max in 1_usize..10, counting in any::<bool>()) {
            let framing = if counting { Framing::OctetCounting } else { Framing::Delimiter(b"\n".to_vec()) };
            let mut whole = Splitter::new(framing.clone(), max);
            let mut cut_up = Splitter::new(framing, max);
            let cut = cut.min(text.len());
            let mut left = cut_up.push(&text.as_bytes()[..cut]);
            left.extend(cut_up.push(&text.as_bytes()[cut..]));
            prop_assert_eq!(whole.push(text.as_bytes()), left);
        }
    }
}
