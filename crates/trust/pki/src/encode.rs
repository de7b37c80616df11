//! The DER of certificates: tbsCertificate and its extensions. Source: RFC 5280, section 4.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use certs::{PublicKey, der};
use jiff::{SignedDuration, Timestamp};

use crate::error::PkiError;
use crate::request::{KeyUsage, Usages};

const SUBJECT_KEY_ID: &str = "2.5.29.14";
const KEY_USAGE: &str = "2.5.29.15";
const SUBJECT_ALT_NAME: &str = "2.5.29.17";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const AUTHORITY_KEY_ID: &str = "2.5.29.35";
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";
const COMMON_NAME: &str = "2.5.4.3";

/// Start and end of a certificate, in whole seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

impl Validity {
    pub(crate) fn days(from: Option<Timestamp>, days: u32) -> Result<Self, PkiError> {
        let from = from.unwrap_or_else(Timestamp::now);
        let from = Timestamp::from_second(from.as_second()).unwrap_or(from);
        let until = from.checked_add(SignedDuration::from_hours(i64::from(days) * 24));
        match until {
            Ok(until) if days > 0 && until < last_moment() => Ok(Self { from, until }),
            _ => Err(PkiError::Days { days }),
        }
    }

    fn to_der(self) -> Vec<u8> {
        der::sequence(&[&time(self.from), &time(self.until)])
    }
}

/// The end of year 9999, the last that a certificate can hold.
fn last_moment() -> Timestamp {
    Timestamp::MAX
}

fn time(time: Timestamp) -> Vec<u8> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    const YEAR_2050: i64 = 2_524_608_000;
    if (0..YEAR_2050).contains(&time.as_second()) {
        der::element(UTC_TIME, time.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
    } else {
        der::element(GENERALIZED_TIME, time.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
    }
}

/// A tbsCertificate without its signature algorithm.
pub(crate) struct Tbs<'a> {
    pub(crate) issuer: &'a [u8],
    pub(crate) subject: &'a [u8],
    pub(crate) validity: Validity,
    pub(crate) spki: &'a [u8],
    pub(crate) extensions: Vec<Vec<u8>>,
}

impl Tbs<'_> {
    pub(crate) fn to_der(&self, signature_algorithm: &[u8]) -> Vec<u8> {
        const VERSION_3: &[u8] = &[0xa0, 3, 2, 1, 2];
        let extensions = der::element(0xa3, &der::element(der::SEQUENCE, &self.extensions.concat()));
        let validity = self.validity.to_der();
        der::sequence(&[
            VERSION_3,
            &serial_number(),
            signature_algorithm,
            self.issuer,
            &validity,
            self.subject,
            self.spki,
            &extensions,
        ])
    }
}

/// 159 random bits: at most 20 octets, as RFC 5280 asks for.
fn serial_number() -> Vec<u8> {
    let mut octets = [0; 20];
    aws_lc_rs::rand::fill(&mut octets).expect("the system's source of random numbers works");
    octets[0] &= 0x7f;
    der::unsigned_integer(&octets)
}

/// The key identifier of RFC 5280, section 4.2.1.2, method 1: SHA-1 of the public key's bits.
pub(crate) fn key_id(public: &PublicKey) -> Vec<u8> {
    let bits = match public {
        PublicKey::Rsa(bits) | PublicKey::Ed25519(bits) | PublicKey::Other { bits, .. } => bits,
        PublicKey::Ec { point, .. } => point,
    };
    digest(&SHA1_FOR_LEGACY_USE_ONLY, bits).as_ref().to_vec()
}

fn oid(dotted: &str) -> Vec<u8> {
    der::object_identifier(dotted).expect("a constant")
}

fn extension(kind: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    const TRUE: &[u8] = &[der::BOOLEAN, 1, 0xff];
    let critical = if critical { TRUE } else { &[] };
    der::sequence(&[&oid(kind), critical, &der::element(der::OCTET_STRING, value)])
}

pub(crate) fn subject_key_id(id: &[u8]) -> Vec<u8> {
    extension(SUBJECT_KEY_ID, false, &der::element(der::OCTET_STRING, id))
}

pub(crate) fn authority_key_id(id: &[u8]) -> Vec<u8> {
    extension(AUTHORITY_KEY_ID, false, &der::sequence(&[&der::element(0x80, id)]))
}

pub(crate) fn authority_constraints(path_length: Option<u8>) -> Vec<u8> {
    let length = path_length
        .map(|length| der::unsigned_integer(&[length]))
        .unwrap_or_default();
    extension(
        BASIC_CONSTRAINTS,
        true,
        &der::sequence(&[&[der::BOOLEAN, 1, 0xff], &length]),
    )
}

pub(crate) fn leaf_constraints() -> Vec<u8> {
    extension(BASIC_CONSTRAINTS, false, &der::sequence(&[]))
}

/// `None` when there is no usage to say.
pub(crate) fn key_usage(usages: &[KeyUsage]) -> Option<Vec<u8>> {
    let bit = |usage: &KeyUsage| {
        KeyUsage::ALL
            .iter()
            .position(|(known, _)| known == usage)
            .expect("all are listed")
    };
    let bits = usages.iter().fold(0_u16, |bits, usage| bits | 0x8000 >> bit(usage));
    if bits == 0 {
        return None;
    }
    let octets = bits.to_be_bytes();
    let octets = if octets[1] == 0 { &octets[..1] } else { &octets[..] };
    let unused = octets[octets.len() - 1].trailing_zeros() as u8;
    Some(extension(
        KEY_USAGE,
        true,
        &der::element(der::BIT_STRING, &[&[unused], octets].concat()),
    ))
}

/// `None` when the certificate is for everything.
pub(crate) fn extended_key_usage(usages: Usages) -> Option<Vec<u8>> {
    let purposes = match usages {
        Usages::None => return None,
        Usages::Server => oid(SERVER_AUTH),
        Usages::Client => oid(CLIENT_AUTH),
        Usages::Both => [oid(SERVER_AUTH), oid(CLIENT_AUTH)].concat(),
    };
    Some(extension(
        EXTENDED_KEY_USAGE,
        false,
        &der::element(der::SEQUENCE, &purposes),
    ))
}

/// `None` when there is no name.
pub(crate) fn subject_alt_name(ips: &[IpAddr], dns: &[String], other: &[String]) -> Result<Option<Vec<u8>>, PkiError> {
    const OTHER_NAME: u8 = 0xa0;
    const DNS_NAME: u8 = 0x82;
    const IP_ADDRESS: u8 = 0x87;
    const UTF8_STRING: u8 = 0x0c;
    if let Some(name) = dns.iter().find(|name| name.is_empty() || !name.is_ascii()) {
        return Err(PkiError::DnsName { name: name.clone() });
    }
    let ips = ips.iter().map(|ip| match ip {
        IpAddr::V4(v4) => der::element(IP_ADDRESS, &v4.octets()),
        IpAddr::V6(v6) => der::element(IP_ADDRESS, &v6.octets()),
    });
    let dns = dns.iter().map(|name| der::element(DNS_NAME, name.as_bytes()));
    let other = other.iter().map(|name| {
        let value = der::element(0xa0, &der::element(UTF8_STRING, name.as_bytes()));
        der::element(OTHER_NAME, &[oid(COMMON_NAME), value].concat())
    });
    let names: Vec<u8> = ips.chain(dns).chain(other).flatten().collect();
    Ok((!names.is_empty()).then(|| extension(SUBJECT_ALT_NAME, false, &der::element(der::SEQUENCE, &names))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_usage_bits_have_no_trailing_zeros() {
        let value = |usages: &[KeyUsage]| key_usage(usages).map(|der| der[der.len() - 4..].to_vec());
        assert_eq!(value(&[]), None);
        assert_eq!(
            value(&[KeyUsage::KeyCertSign, KeyUsage::CrlSign]).unwrap(),
            [3, 2, 1, 0x06]
        );
        assert_eq!(
            value(&[KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment]).unwrap(),
            [3, 2, 5, 0xa0]
        );
        let long = key_usage(&[KeyUsage::KeyAgreement, KeyUsage::DecipherOnly]).unwrap();
        assert_eq!(long[long.len() - 5..], [3, 3, 7, 0x08, 0x80]);
    }

    #[test]
    fn times_change_their_form_in_2050() {
        let check = |text: &str, expected: &str| {
            assert_eq!(String::from_utf8_lossy(&time(text.parse().unwrap())[2..]), expected);
        };
        check("2026-01-02T03:04:05Z", "260102030405Z");
        check("2049-12-31T23:59:59Z", "491231235959Z");
        check("2050-01-01T00:00:00Z", "20500101000000Z");
    }

    #[test]
    fn a_validity_is_at_least_a_day_and_ends_before_year_10000() {
        assert!(Validity::days(None, 0).is_err());
        assert!(Validity::days(None, 1).is_ok());
        assert!(Validity::days(None, u32::MAX).is_err());
    }

    #[test]
    fn serial_numbers_are_positive_and_short() {
        for _ in 0..200 {
            let serial = serial_number();
            assert!(serial[1] <= 20 && serial[2] & 0x80 == 0);
        }
    }
}
