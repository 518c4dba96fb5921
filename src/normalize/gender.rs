//! Gender: `f` or `m`, from the words that Meta's parameter builder knows.

use crate::dropped::DropReason;
use crate::normalize::text::lower_kept;

/// Normalises a gender; a word is taken whole or not at all, with or without a dot behind it.
pub(super) fn normalize(text: &str, buffer: &mut String) -> Result<&'static str, DropReason> {
    let text = text.strip_suffix('.').unwrap_or(text);
    match lower_kept(text, |_| true, buffer) {
        "f" | "female" | "woman" | "girl" | "lady" | "miss" | "ms" | "mrs" | "madam" | "ma'am"
        | "daughter" | "mother" | "mom" | "mama" | "mommy" | "aunt" | "niece" | "sister"
        | "wife" | "girlfriend" | "bride" | "widow" | "queen" | "princess" | "duchess"
        | "countess" | "empress" | "goddess" | "maiden" | "lass" | "gal" | "chick" | "dame"
        | "belle" | "she" | "her" | "hers" | "herself" => Ok("f"),
        "m" | "male" | "man" | "boy" | "gentleman" | "guy" | "sir" | "mister" | "mr" | "son"
        | "father" | "dad" | "daddy" | "papa" | "uncle" | "nephew" | "brother" | "husband"
        | "boyfriend" | "groom" | "widower" | "king" | "prince" | "duke" | "count" | "emperor"
        | "god" | "lord" | "lad" | "fellow" | "chap" | "bloke" | "dude" | "he" | "him" | "his"
        | "himself" => Ok("m"),
        _ => Err(DropReason::UnknownGender),
    }
}
