//! The encryption inside PEM from before PKCS#8: `Proc-Type: 4,ENCRYPTED` and `DEK-Info`.
//!
//! The key is MD5 over passphrase and the IV's first eight octets, repeated; the cipher is CBC with PKCS#7 padding.
//! It is weak (one MD5 round) and cannot tell a wrong passphrase for certain, but elasticsearch-certutil still writes it.

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit};
use des::TdesEde3;
use md5::{Digest, Md5};
use secret::Secret;
use zeroize::Zeroizing;

use crate::key::KeyUnusable;
use crate::pem::PemBlock;
use crate::write::random;

/// The ciphers of `DEK-Info` that are read and written. Single DES and RC2 are not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LegacyCipher {
    /// `AES-128-CBC`, what elasticsearch-certutil writes.
    Aes128,
    /// `AES-192-CBC`.
    Aes192,
    /// `AES-256-CBC`.
    Aes256,
    /// `DES-EDE3-CBC`.
    TripleDes,
}

impl LegacyCipher {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Aes128, Self::Aes192, Self::Aes256, Self::TripleDes];

    fn name(self) -> &'static str {
        match self {
            Self::Aes128 => "AES-128-CBC",
            Self::Aes192 => "AES-192-CBC",
            Self::Aes256 => "AES-256-CBC",
            Self::TripleDes => "DES-EDE3-CBC",
        }
    }

    fn key_length(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 | Self::TripleDes => 24,
            Self::Aes256 => 32,
        }
    }

    fn iv_length(self) -> usize {
        if self == Self::TripleDes { 8 } else { 16 }
    }
}

/// Whether a block is encrypted in this way.
pub(crate) fn is_legacy_encrypted(block: &PemBlock) -> bool {
    block
        .header("Proc-Type")
        .is_some_and(|value| value.contains("ENCRYPTED"))
}

/// The DER inside an encrypted block.
///
/// # Errors
/// [`KeyUnusable::WrongPassphrase`] when the padding is wrong; a wrong passphrase may also yield noise, which is for
/// the caller to notice.
pub fn decrypt_legacy_pem(block: &PemBlock, passphrase: &Secret) -> Result<Zeroizing<Vec<u8>>, KeyUnusable> {
    let info = block
        .header("DEK-Info")
        .ok_or_else(|| KeyUnusable::Encryption("`DEK-Info` is missing".to_owned()))?;
    let (name, iv) = info.split_once(',').unwrap_or((info, ""));
    let cipher = LegacyCipher::ALL
        .into_iter()
        .find(|cipher| cipher.name() == name.trim())
        .ok_or_else(|| KeyUnusable::Encryption(format!("`{}` in `DEK-Info`", name.trim())))?;
    let iv = hex::decode(iv.trim()).ok().filter(|iv| iv.len() == cipher.iv_length());
    let iv = iv.ok_or_else(|| KeyUnusable::Encryption("the IV in `DEK-Info` is damaged".to_owned()))?;
    let key = derive(passphrase, &iv, cipher.key_length());
    let plain = match cipher {
        LegacyCipher::Aes128 => decrypt::<Aes128>(&key, &iv, &block.der),
        LegacyCipher::Aes192 => decrypt::<Aes192>(&key, &iv, &block.der),
        LegacyCipher::Aes256 => decrypt::<Aes256>(&key, &iv, &block.der),
        LegacyCipher::TripleDes => decrypt::<TdesEde3>(&key, &iv, &block.der),
    };
    plain.ok_or(KeyUnusable::WrongPassphrase)
}

/// An encrypted block with a random IV.
pub fn encrypt_legacy_pem(label: &str, der: &[u8], cipher: LegacyCipher, passphrase: &Secret) -> PemBlock {
    let mut iv = vec![0; cipher.iv_length()];
    random(&mut iv);
    let key = derive(passphrase, &iv, cipher.key_length());
    let encrypted = match cipher {
        LegacyCipher::Aes128 => encrypt::<Aes128>(&key, &iv, der),
        LegacyCipher::Aes192 => encrypt::<Aes192>(&key, &iv, der),
        LegacyCipher::Aes256 => encrypt::<Aes256>(&key, &iv, der),
        LegacyCipher::TripleDes => encrypt::<TdesEde3>(&key, &iv, der),
    };
    let headers = vec![
        ("Proc-Type".to_owned(), "4,ENCRYPTED".to_owned()),
        (
            "DEK-Info".to_owned(),
            format!("{},{}", cipher.name(), hex::encode_upper(&iv)),
        ),
    ];
    PemBlock {
        label: label.to_owned(),
        headers,
        der: Zeroizing::new(encrypted),
    }
}

fn derive(passphrase: &Secret, iv: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let salt = &iv[..8];
    let mut key = Zeroizing::new(Vec::with_capacity(length + 16));
    let mut previous: Vec<u8> = Vec::new();
    while key.len() < length {
        let digest = Md5::new()
            .chain_update(&previous)
            .chain_update(passphrase.expose())
            .chain_update(salt)
            .finalize();
        previous = digest.to_vec();
        key.extend_from_slice(&previous);
    }
    key.truncate(length);
    key
}

fn decrypt<C: KeyInit + BlockCipherDecrypt>(key: &[u8], iv: &[u8], data: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = cbc::Decryptor::<C>::new_from_slices(key, iv).ok()?;
    cipher.decrypt_padded_vec::<Pkcs7>(data).ok().map(Zeroizing::new)
}

fn encrypt<C: KeyInit + BlockCipherEncrypt>(key: &[u8], iv: &[u8], data: &[u8]) -> Vec<u8> {
    let cipher = cbc::Encryptor::<C>::new_from_slices(key, iv).expect("key and IV have the cipher's lengths");
    cipher.encrypt_padded_vec::<Pkcs7>(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cipher_opens_what_it_closed() {
        let passphrase = Secret::from("Abcd1234!");
        for cipher in LegacyCipher::ALL {
            for length in [0, 1, 15, 16, 17, 1190] {
                let der = vec![0x30; length];
                let block = encrypt_legacy_pem("RSA PRIVATE KEY", &der, cipher, &passphrase);
                assert!(is_legacy_encrypted(&block));
                assert_eq!(*decrypt_legacy_pem(&block, &passphrase).unwrap(), der);
            }
        }
    }

    #[test]
    fn damaged_headers_are_errors() {
        let passphrase = Secret::from("p");
        let mut block = encrypt_legacy_pem("RSA PRIVATE KEY", b"x", LegacyCipher::Aes128, &passphrase);
        for info in [
            "",
            "AES-128-CBC",
            "AES-128-CBC,00",
            "AES-128-CBC,zz",
            "DES-CBC,0011223344556677",
            "RC2-40-CBC,00",
        ] {
            block.headers[1].1 = info.to_owned();
            assert!(
                matches!(decrypt_legacy_pem(&block, &passphrase), Err(KeyUnusable::Encryption(_))),
                "{info}"
            );
        }
    }
}
