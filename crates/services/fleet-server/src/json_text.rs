//! JSON written piece by piece.

/// Writes a text with its quotes, escaped.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a text can always be written to memory");
}
