//! Checksums of small records, which tell a damaged one.

/// A checksum over the fields of a record, in their order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Checksum(u64);

impl Checksum {
    #[must_use]
    pub(super) const fn number(self, number: i64) -> Self {
        Self(mix(self.0 ^ number.cast_unsigned()))
    }

    #[must_use]
    pub(super) fn optional(self, number: Option<i64>) -> Self {
        match number {
            Some(number) => self.number(1).number(number),
            None => self.number(0),
        }
    }

    #[must_use]
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let length = self.number(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        let whole = words
            .iter()
            .fold(length, |sum, word| sum.number(i64::from_le_bytes(*word)));
        rest.iter()
            .fold(whole, |sum, byte| sum.number(i64::from(*byte)))
    }

    #[must_use]
    pub(super) fn text(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.number(1).bytes(text.as_bytes()),
            None => self.number(0),
        }
    }

    /// Half of what is stored, and half of another checksum.
    pub(super) const fn stored_with(self, other: Self) -> i64 {
        ((self.0 >> 48) << 16 | other.0 >> 48).cast_signed()
    }

    /// As it is stored: 32 bits.
    pub(super) const fn stored(self) -> i64 {
        (self.0 >> 32).cast_signed()
    }
}

/// Spreads each bit over all others.
pub(super) const fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_and_its_place_count() {
        let sums = [
            Checksum::default(),
            Checksum::default().number(0),
            Checksum::default().number(1),
            Checksum::default().number(1).number(2),
            Checksum::default().number(2).number(1),
            Checksum::default().optional(Some(0)),
            Checksum::default().bytes(b"0123456789"),
            Checksum::default().bytes(b"0123456788"),
            Checksum::default().text(Some("a")),
        ];
        let mut stored: Vec<i64> = sums.map(Checksum::stored).to_vec();
        stored.sort_unstable();
        stored.dedup();
        assert_eq!(stored.len(), sums.len());
        assert!(stored.iter().all(|sum| (0..1 << 32).contains(sum)));
    }
}
