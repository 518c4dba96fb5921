//! SHA-256 in the form Meta wants it: 64 lower-case hexadecimal digits.
//!
//! Only this module makes a [`Hashed`], so a value of that type is never raw text. How a value is normalised
//! before it is hashed is up to `normalize`.

use std::fmt;

pub mod sha256;

/// A hashed value: 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hashed([u8; 64]);

impl Hashed {
    /// Hashes a normalised text.
    pub fn of(normalised: impl AsRef<[u8]>) -> Self {
        let hash = sha256::digest(normalised.as_ref());
        let mut digits = [0; 64];
        for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(hash) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        Self(digits)
    }

    /// Takes a value that was hashed before it came here: 64 hexadecimal digits of any case.
    pub fn already(text: &str) -> Option<Self> {
        let mut digits: [u8; 64] = text.as_bytes().try_into().ok()?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        digits.make_ascii_lowercase();
        Some(Self(digits))
    }

    /// The 64 digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }

    /// The 64 digits, as bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

/// A hexadecimal digit, by arithmetic that the compiler can vectorise.
const fn digit(value: u8) -> u8 {
    value + if value < 10 { b'0' } else { b'a' - 10 }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A hash still identifies a person.
        f.write_str("Hashed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_published() {
        for (text, expected) in [
            (
                "john_smith@gmail.com",
                "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f",
            ),
            (
                "16505551212",
                "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176",
            ),
            (
                "정",
                "8fa8cd9c440be61d0151429310034083132b35975c4bea67fdd74158eb51db14",
            ),
        ] {
            assert_eq!(Hashed::of(text).as_str(), expected);
        }
    }

    #[test]
    fn takes_what_is_already_hashed_in_any_case() {
        let lower = Hashed::of("mary");
        let upper = lower.as_str().to_ascii_uppercase();
        assert_eq!(Hashed::already(&upper), Some(lower));
        assert_eq!(Hashed::already(lower.as_str()), Some(lower));
    }

    #[test]
    fn no_other_text_is_hashed() {
        let hash = Hashed::of("mary");
        let longer = format!("{}0", hash.as_str());
        let not_hexadecimal = hash.as_str().replacen('6', "g", 1);
        for text in ["", "mary", longer.as_str(), not_hexadecimal.as_str()] {
            assert_eq!(Hashed::already(text), None, "{text}");
        }
    }
}
