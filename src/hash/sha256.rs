//! SHA-256 of short texts: most of them fit in one block.
//!
//! The `sha2` crate hashes the blocks. Padding is done here, without the buffer that texts of unknown length
//! need, which costs as much as hashing a block.

use sha2::block_api::compress256;

/// Bytes of a block.
const BLOCK: usize = 64;

/// The state before the first block (FIPS 180-4, section 5.3.3).
const BEGIN: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Hashes a text.
pub fn digest(text: &[u8]) -> [u8; 32] {
    let mut state = BEGIN;
    let (whole, rest) = text.as_chunks();
    compress256(&mut state, whole);
    // The end is marked with a bit, and the last eight bytes say how many bits came before it.
    let mut end = [[0; BLOCK]; 2];
    let bytes = end.as_flattened_mut();
    bytes[..rest.len()].copy_from_slice(rest);
    bytes[rest.len()] = 0x80;
    let blocks = if rest.len() + 1 + 8 <= BLOCK { 1 } else { 2 };
    let bits = (text.len() as u64).wrapping_mul(8);
    bytes[blocks * BLOCK - 8..blocks * BLOCK].copy_from_slice(&bits.to_be_bytes());
    compress256(&mut state, &end[..blocks]);
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn hashes_texts_of_every_length() {
        let text: Vec<u8> = (0..=255).collect();
        for length in 0..=text.len() {
            let expected: [u8; 32] = Sha256::digest(&text[..length]).into();
            assert_eq!(digest(&text[..length]), expected, "{length}");
        }
    }
}
