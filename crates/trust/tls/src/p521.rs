//! Key exchange on P-521, which the TLS library does not have.
//!
//! Nobody needs it for its own sake: a server with a P-521 certificate refuses TLS 1.2 (OpenSSL: "no shared cipher") unless the client
//! names the curve among its groups. Source: RFC 8422, section 5.1.1. So clients name it last, and servers do not.

use aws_lc_rs::agreement::{ECDH_P521, EphemeralPrivateKey, PublicKey, UnparsedPublicKey, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;
use rustls::crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved};

/// The group.
#[derive(Debug)]
pub(crate) struct P521;

/// Our half of an exchange.
struct Started {
    private: EphemeralPrivateKey,
    public: PublicKey,
}

impl SupportedKxGroup for P521 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let private = EphemeralPrivateKey::generate(&ECDH_P521, &SystemRandom::new());
        let private = private.map_err(|_| Error::FailedToGetRandomBytes)?;
        let public = private.compute_public_key();
        let public = public.map_err(|_| Error::FailedToGetRandomBytes)?;
        Ok(Box::new(Started { private, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        const UNCOMPRESSED: u8 = 4;
        let wrong = || Error::from(PeerMisbehaved::InvalidKeyShare);
        if peer.first() != Some(&UNCOMPRESSED) {
            return Err(wrong());
        }
        let peer = UnparsedPublicKey::new(&ECDH_P521, peer);
        agree_ephemeral(self.private, peer, wrong(), |secret| Ok(SharedSecret::from(secret)))
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_come_to_the_same_secret() {
        let (ours, theirs) = (P521.start().unwrap(), P521.start().unwrap());
        let (our_share, their_share) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
        assert_eq!((ours.group(), our_share.len()), (NamedGroup::secp521r1, 133));
        let (one, other) = (
            ours.complete(&their_share).unwrap(),
            theirs.complete(&our_share).unwrap(),
        );
        assert_eq!(one.secret_bytes(), other.secret_bytes());
    }

    #[test]
    fn what_is_no_point_is_refused() {
        let share = P521.start().unwrap().pub_key().to_vec();
        let mut beside = share.clone();
        beside[132] ^= 1;
        for wrong in [&[][..], &[4], &share[..132], &beside, &[&[2], &share[1..67]].concat()] {
            assert!(P521.start().unwrap().complete(wrong).is_err());
        }
    }
}
