//! The few forms of DER that keys, certificates and requests are made of: enough to take them apart and to build them.
//!
//! Lengths are definite and at most four octets; anything else ends in `None`. Whole certificates are read with
//! `x509-parser`, not with this.

/// BOOLEAN.
pub const BOOLEAN: u8 = 0x01;
/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// BIT STRING.
pub const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub const OBJECT_IDENTIFIER: u8 = 0x06;
/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// SET.
pub const SET: u8 = 0x31;

/// Reads one element after the other.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// One element: its tag, its content, and both with the length as they were written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Element<'a> {
    /// The identifier octet.
    pub tag: u8,
    /// What the length counts.
    pub content: &'a [u8],
    /// Tag, length and content.
    pub whole: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader over a run of elements.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next element of any tag.
    pub fn any(&mut self) -> Option<Element<'a>> {
        let (&tag, after_tag) = self.rest.split_first()?;
        let (&first, after_first) = after_tag.split_first()?;
        let (length, content_and_rest) = match first {
            0..=0x7f => (usize::from(first), after_first),
            0x81..=0x84 => {
                let (octets, rest) = after_first.split_at_checked(usize::from(first & 0x7f))?;
                (
                    octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet)),
                    rest,
                )
            }
            _ => return None,
        };
        let (content, rest) = content_and_rest.split_at_checked(length)?;
        let whole = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        Some(Element { tag, content, whole })
    }

    /// The next element, which must have this tag; nothing is consumed when it has another.
    pub fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        if self.rest.first() == Some(&tag) {
            self.any()
        } else {
            None
        }
    }

    /// The content of the next element, which must be a SEQUENCE.
    pub fn sequence(&mut self) -> Option<Reader<'a>> {
        self.expect(SEQUENCE).map(|element| Reader::new(element.content))
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// One element from its tag and content.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 6);
    out.push(tag);
    let length = content.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let octets = length.to_be_bytes();
        let significant = &octets[octets.iter().take_while(|&&octet| octet == 0).count()..];
        out.push(0x80 | significant.len() as u8);
        out.extend_from_slice(significant);
    }
    out.extend_from_slice(content);
    out
}

/// A SEQUENCE of elements that are already encoded.
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

/// A SET OF elements, in the order that DER asks for.
pub fn set_of(mut parts: Vec<Vec<u8>>) -> Vec<u8> {
    parts.sort();
    element(SET, &parts.concat())
}

/// A non-negative INTEGER from big-endian octets.
pub fn unsigned_integer(octets: &[u8]) -> Vec<u8> {
    let significant = &octets[octets.iter().take_while(|&&octet| octet == 0).count()..];
    match significant.first() {
        None => element(INTEGER, &[0]),
        Some(first) if first & 0x80 != 0 => element(INTEGER, &[&[0], significant].concat()),
        Some(_) => element(INTEGER, significant),
    }
}

/// A BIT STRING of whole octets.
pub fn bit_string(octets: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], octets].concat())
}

/// An OBJECT IDENTIFIER from its dotted form; `None` when that is not one.
pub fn object_identifier(dotted: &str) -> Option<Vec<u8>> {
    let arcs = dotted
        .split('.')
        .map(str::parse::<u64>)
        .collect::<Result<Vec<_>, _>>()
        .ok()?;
    let [first, second, rest @ ..] = arcs.as_slice() else {
        return None;
    };
    if *first > 2 || (*first < 2 && *second > 39) {
        return None;
    }
    let mut content = base128(first.checked_mul(40)?.checked_add(*second)?);
    content.extend(rest.iter().flat_map(|&arc| base128(arc)));
    Some(element(OBJECT_IDENTIFIER, &content))
}

fn base128(mut arc: u64) -> Vec<u8> {
    let mut octets = vec![(arc & 0x7f) as u8];
    arc >>= 7;
    while arc > 0 {
        octets.push(0x80 | (arc & 0x7f) as u8);
        arc >>= 7;
    }
    octets.reverse();
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        for (length, header) in [
            (0, vec![4, 0]),
            (127, vec![4, 127]),
            (128, vec![4, 0x81, 128]),
            (300, vec![4, 0x82, 1, 44]),
        ] {
            let whole = element(OCTET_STRING, &vec![7; length]);
            assert_eq!(whole[..header.len()], header);
            let read = Reader::new(&whole).any().unwrap();
            assert_eq!((read.content.len(), read.whole.len()), (length, whole.len()));
        }
    }

    #[test]
    fn object_identifiers() {
        assert_eq!(
            object_identifier("1.2.840.113549").unwrap(),
            [6, 6, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]
        );
        assert_eq!(object_identifier("2.5.4.3").unwrap(), [6, 3, 0x55, 4, 3]);
        assert_eq!(object_identifier("2.16.840").unwrap(), [6, 3, 0x60, 0x86, 0x48]);
        for wrong in ["", "1", "1.40", "3.1", "1.x", "1..2"] {
            assert_eq!(object_identifier(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn integers_stay_positive() {
        assert_eq!(unsigned_integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(unsigned_integer(&[0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(unsigned_integer(&[0x80]), [2, 2, 0, 0x80]);
    }

    #[test]
    fn what_is_cut_short_is_nothing() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 2, 0],
            &[0x30, 0x80],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
            &[0x30, 0x82, 1],
        ] {
            assert_eq!(Reader::new(bytes).any(), None);
        }
    }
}
