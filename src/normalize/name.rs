//! First and last names: lower case, without white space and punctuation, in any script.

use crate::json::any_byte::any_byte;
use crate::normalize::Normalized;
use crate::normalize::text::{is_blank, is_punctuation, lower_as_written, lower_kept};

/// Abbreviated titles before a name.
#[rustfmt::skip] // a table reads better in rows
const HONORIFICS: &[&str] = &[
    // English
    "mr", "mrs", "ms", "mx", "messrs", "dr", "drs", "prof", "rev", "hon", "capt", "col", "gen", "lt",
    "maj", "sgt", "cpt", "cmdr", "adm", "esq", "msgr",
    // French
    "mme", "mmes", "mlle", "mlles", "mm", "dre", "pr", "vve",
    // Spanish, Portuguese
    "sr", "sra", "srta", "sres", "sras", "dra", "dn", "dna", "lic", "ing", "arq", "profa", "engo", "enga",
    // German, Dutch, Danish, Norwegian, Swedish
    "hr", "hrn", "fr", "frl", "dipl", "mag", "dhr", "mevr", "mw", "mej", "ir", "fru", "frk",
    // Italian
    "sig", "dott", "avv", "geom", "rag",
    // Czech, Slovak, Polish
    "mgr", "bc", "mudr", "judr", "phdr", "rndr", "mvdr", "paeddr", "doc", "inż", "inz",
    // Hindi
    "shri", "smt", "kum",
];

/// Endings that follow the dot of an honorific, as in `Dott.ssa` and `Sig.ra`.
const ENDINGS: [&str; 4] = ["ssa", "ra", "na", "a"];

/// Normalises a name.
///
/// Meta's page allows no punctuation; Meta's libraries and the browser's Pixel delete only that of ASCII,
/// so that the curly apostrophe of `O’Brien` stays, and they do not compose accents. Where the two differ both
/// forms are sent. A name behind honorifics, `Prof. Dr. Pat`, is sent both whole and alone.
pub(super) fn normalize<'a>(text: &'a str, [first, second]: [&'a mut String; 2]) -> Normalized<'a> {
    let is_kept = |character| !is_blank(character) && !is_punctuation(character);
    let first = lower_kept(text, is_kept, first);
    if let Some(name) = without_honorifics(text) {
        return Normalized::both(first, lower_kept(name, is_kept, second));
    }
    if text.is_ascii() {
        return Normalized::to_hash(first);
    }
    let second = lower_as_written(
        text,
        |character| !is_blank(character) && !character.is_ascii_punctuation(),
        second,
    );
    Normalized::both(first, second)
}

/// The name behind honorifics, each of which a dot ends: `Prof. Dr. Pat`, `Dipl.-Ing. Pat`.
fn without_honorifics(text: &str) -> Option<&str> {
    if !any_byte(text, |byte| byte == b'.') {
        return None;
    }
    let mut name = None;
    let mut rest = text;
    while let Some((honorific, behind)) = rest.split_once('.') {
        let is_known = |known: &&str| known.eq_ignore_ascii_case(honorific);
        if !HONORIFICS.iter().any(is_known) {
            break;
        }
        let behind = ENDINGS
            .iter()
            .find_map(|ending| behind.strip_prefix(ending))
            .filter(|behind| behind.starts_with([' ', '.']))
            .map_or(behind, |behind| behind.trim_start_matches('.'));
        rest = behind.trim_start_matches(|character| is_blank(character) || character == '-');
        name = Some(rest);
    }
    name
}
