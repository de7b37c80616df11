//! Writing JSON without a tree, for the hot path.

/// Bytes that are appended to.
pub type Buffer = bytes::BytesMut;

/// Appends `text` as a JSON string, quotes included.
pub fn write_string(buffer: &mut Buffer, text: &str) {
    buffer.extend_from_slice(b"\"");
    write_escaped(buffer, text);
    buffer.extend_from_slice(b"\"");
}

/// Appends `text` as the inside of a JSON string.
pub fn write_escaped(buffer: &mut Buffer, text: &str) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = next_special(bytes, at) {
        buffer.extend_from_slice(&bytes[copied..found]);
        write_special(buffer, bytes[found]);
        at = found + 1;
        copied = at;
    }
    buffer.extend_from_slice(&bytes[copied..]);
}

/// Appends a whole number.
pub fn write_u64(buffer: &mut Buffer, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buffer.extend_from_slice(&digits[at..]);
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The place of the first byte from `at` on that must be escaped. Eight bytes are looked at together: most lines of a
/// log have none.
fn next_special(bytes: &[u8], at: usize) -> Option<usize> {
    let (words, rest) = bytes[at..].as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        if word_has_special(u64::from_le_bytes(*word)) {
            let start = at + index * 8;
            return word
                .iter()
                .position(|byte| is_special(*byte))
                .map(|offset| start + offset);
        }
    }
    let start = at + words.len() * 8;
    rest.iter()
        .position(|byte| is_special(*byte))
        .map(|offset| start + offset)
}

/// Whether any byte of the word is below 0x20, a quote or a backslash. Exact: a carry can only start at a byte that is
/// itself special.
fn word_has_special(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
    (control | zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')))) != 0
}

fn write_special(buffer: &mut Buffer, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => buffer.extend_from_slice(b"\\\""),
        b'\\' => buffer.extend_from_slice(b"\\\\"),
        b'\n' => buffer.extend_from_slice(b"\\n"),
        b'\r' => buffer.extend_from_slice(b"\\r"),
        b'\t' => buffer.extend_from_slice(b"\\t"),
        _ => {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            buffer.extend_from_slice(b"\\u00");
            buffer.extend_from_slice(&digits);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut buffer = Buffer::new();
        write_string(&mut buffer, text);
        String::from_utf8(buffer.to_vec()).unwrap()
    }

    proptest! {
        #[test]
        fn every_text_reads_back(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&written(&text)).unwrap(), text);
        }

        #[test]
        fn texts_full_of_specials_read_back(text in "[\"\\\\\\x00-\\x21ab\u{e9}\u{7f}\u{80}]{0,40}") {
            prop_assert_eq!(serde_json::from_str::<String>(&written(&text)).unwrap(), text);
        }

        #[test]
        fn numbers_are_written_as_they_are(number in any::<u64>()) {
            let mut buffer = Buffer::new();
            write_u64(&mut buffer, number);
            prop_assert_eq!(std::str::from_utf8(&buffer).unwrap(), number.to_string());
        }
    }
}
