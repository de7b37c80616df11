//! PEM as people have it: text around the blocks, Bag Attributes, CRLF, a byte order mark, indentation, one long line.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// One `BEGIN`..`END` block, decoded. `Debug` shows the label only.
#[derive(Clone, Eq, PartialEq)]
pub struct PemBlock {
    /// The words of the BEGIN line: `CERTIFICATE`, `RSA PRIVATE KEY`, ...
    pub label: String,
    /// Lines such as `DEK-Info: AES-128-CBC,..` before the base64 text.
    pub headers: Vec<(String, String)>,
    /// The decoded bytes.
    pub der: Zeroizing<Vec<u8>>,
}

impl PemBlock {
    /// The value of a header line.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the label says private key, of whatever kind.
    pub fn is_private_key(&self) -> bool {
        self.label == "PRIVATE KEY" || self.label.ends_with(" PRIVATE KEY")
    }
}

impl fmt::Debug for PemBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemBlock")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// All whole blocks of a text, in their order. A block without its END line or with a body that is not base64 is
/// skipped, as OpenSSL and Go do.
pub fn parse_pem(bytes: &[u8]) -> Vec<PemBlock> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut blocks = Vec::new();
    let mut open: Option<OpenBlock<'_>> = None;
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii) {
        if let Some(label) = armour(line, b"-----BEGIN ") {
            open = Some(OpenBlock {
                label,
                lines: Vec::new(),
            });
        } else if let Some(label) = armour(line, b"-----END ") {
            if let Some(block) = open.take().filter(|block| block.label == label) {
                blocks.extend(block.decode());
            }
        } else if let Some(block) = &mut open {
            block.lines.push(line);
        }
    }
    blocks
}

fn armour<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(start)?.strip_suffix(b"-----")
}

struct OpenBlock<'a> {
    label: &'a [u8],
    lines: Vec<&'a [u8]>,
}

impl OpenBlock<'_> {
    fn decode(self) -> Option<PemBlock> {
        let mut headers = Vec::new();
        let mut base64 = Zeroizing::new(Vec::new());
        for line in self.lines {
            let colon = line.iter().position(|&byte| byte == b':').filter(|_| base64.is_empty());
            match colon {
                Some(colon) => headers.push((text(&line[..colon]), text(&line[colon + 1..]))),
                None => base64.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace())),
            }
        }
        let der = Zeroizing::new(STANDARD.decode(&*base64).ok()?);
        Some(PemBlock {
            label: text(self.label),
            headers,
            der,
        })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &[u8])]) {
        let found = parse_pem(text.as_bytes());
        let found: Vec<_> = found
            .iter()
            .map(|block| (block.label.as_str(), &block.der[..]))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn whatever_stands_around_a_block_does_no_harm() {
        let one: &[(&str, &[u8])] = &[("CERTIFICATE", &[1, 2, 3])];
        check(BLOCK, one);
        check(BLOCK.trim_end(), one);
        check(&BLOCK.replace('\n', "\r\n"), one);
        check(&BLOCK.replace('\n', "  \n"), one);
        check(&format!("\u{feff}{BLOCK}"), one);
        check(
            &format!("Bag Attributes\n    localKeyID: 01 02\nsubject=CN = a\n{BLOCK}\ntrailer"),
            one,
        );
        check(&format!("    {}", BLOCK.replace('\n', "\n    ")), one);
        check(
            "-----BEGIN CERTIFICATE-----\nComment: x\n\nAQID\n-----END CERTIFICATE-----",
            one,
        );
        check("-----BEGIN CERTIFICATE-----\nA\nQ\nID\n-----END CERTIFICATE-----", one);
    }

    #[test]
    fn broken_blocks_are_skipped() {
        check("", &[]);
        check("hello world\n", &[]);
        check("-----BEGIN CERTIFICATE-----\nAQID", &[]);
        check("-----BEGIN CERTIFICATE-----\nAQID\n-----END PRIVATE KEY-----", &[]);
        check(
            &format!("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n{BLOCK}"),
            &[("CERTIFICATE", &[1, 2, 3])],
        );
        check(
            &format!("-----BEGIN X-----\nAQ\n{BLOCK}"),
            &[("CERTIFICATE", &[1, 2, 3])],
        );
    }

    #[test]
    fn headers_are_kept() {
        let text = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00FF\n\nAQID\n-----END RSA PRIVATE KEY-----\n";
        let blocks = parse_pem(text.as_bytes());
        assert_eq!(blocks[0].header("DEK-Info"), Some("AES-128-CBC,00FF"));
        assert!(blocks[0].is_private_key());
    }
}
