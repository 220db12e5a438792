//! Payloads that a store can't read.

use std::fmt;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Transform = Box<dyn Fn(&[u8]) -> Result<Vec<u8>, BoxError> + Send + Sync>;

/// How payloads, keys and owners are stored.
#[derive(Default)]
pub(crate) struct Sealing(Option<Sealed>);

struct Sealed {
    mac: Hmac<Sha256>,
    seal: Transform,
    open: Transform,
}

impl Sealing {
    pub(crate) fn new<E, F>(
        secret: [u8; 32],
        seal: impl Fn(&[u8]) -> Result<Vec<u8>, E> + Send + Sync + 'static,
        open: impl Fn(&[u8]) -> Result<Vec<u8>, F> + Send + Sync + 'static,
    ) -> Self
    where
        E: Into<BoxError>,
        F: Into<BoxError>,
    {
        let seal = Box::new(move |plain: &[u8]| seal(plain).map_err(Into::into));
        let open = Box::new(move |sealed: &[u8]| open(sealed).map_err(Into::into));
        // A key that is shorter than a block is filled up with zeros (RFC 2104 §2).
        let mut block = [0; 64];
        block[..32].copy_from_slice(&secret);
        Self(Some(Sealed { mac: Hmac::new(&block.into()), seal, open }))
    }

    /// The bytes to store.
    pub(crate) fn seal(&self, plain: Bytes) -> Result<Bytes, BoxError> {
        match &self.0 {
            Some(sealed) => Ok((sealed.seal)(&plain)?.into()),
            None => Ok(plain),
        }
    }

    /// What was stored as these bytes.
    pub(crate) fn open(&self, stored: &Bytes) -> Result<Bytes, BoxError> {
        match &self.0 {
            Some(sealed) => Ok((sealed.open)(stored)?.into()),
            None => Ok(stored.clone()),
        }
    }

    /// A hash of all parts and their order. Under a secret if payloads are sealed: whoever reads the store could otherwise find a
    /// short payload by trying all of them.
    pub(crate) fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let framed = parts.iter().flat_map(|part| [(part.len() as u64).to_le_bytes().to_vec(), part.to_vec()]);
        match &self.0 {
            Some(Sealed { mac, .. }) => framed.fold(mac.clone(), Mac::chain_update).finalize().into_bytes().into(),
            None => framed.fold(Sha256::new(), Digest::chain_update).finalize().into(),
        }
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Sealed" } else { "Plain" })
    }
}
