//! Shell-like patterns, matched in time proportional to pattern times text.
//!
//! `*` matches any characters except `/`, `**` any characters, `?` one that is not `/`, `[0-9]` and
//! `[!a-z]` one inside or outside a class. Everything else matches itself, even a `[` that is never
//! closed. There is no backtracking, so no pattern or text is expensive.

use std::str::Chars;

/// A pattern, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GlobPattern {
    tokens: Vec<Token>,
    /// The tokens that take each character of ASCII, as bits, where one word has room for all tokens.
    takers: Option<Box<[u64; 128]>>,
    /// The tokens that are stars, as bits.
    stars: u64,
}

impl GlobPattern {
    pub(super) fn new(text: &str) -> Self {
        let tokens = parse(text);
        let fits = tokens.len() < u64::BITS as usize;
        let takers = fits.then(|| {
            let mut takers = Box::new([0; 128]);
            for (code, takers) in (0_u8..).zip(&mut *takers) {
                *takers = bits(&tokens, |token| token.takes(code.into()));
            }
            takers
        });
        Self {
            stars: if fits {
                bits(&tokens, Token::is_star)
            } else {
                0
            },
            takers,
            tokens,
        }
    }

    /// Whether the whole text matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        match &self.takers {
            Some(takers) => self.matches_by_bits(takers, text),
            None => matches_by_list(&self.tokens, text),
        }
    }

    fn matches_by_bits(&self, takers: &[u64; 128], text: &str) -> bool {
        let stars = self.stars;
        // A star may match nothing, and no two follow each other.
        let with_behind_stars = |alive: u64| alive | (alive & stars) << 1;
        // Bit `i`: the text so far matches the first `i` tokens.
        let mut alive = with_behind_stars(1);
        for c in text.chars() {
            let takers = match takers.get(c as usize) {
                Some(takers) => *takers,
                None => bits(&self.tokens, |token| token.takes(c)),
            };
            let taking = alive & takers;
            if taking == 0 {
                return false;
            }
            alive = with_behind_stars((taking & !stars) << 1 | taking & stars);
        }
        alive >> self.tokens.len() & 1 == 1
    }
}

/// The tokens for which something is true, as bits.
fn bits(tokens: &[Token], is_true: impl Fn(&Token) -> bool) -> u64 {
    let bit = |(at, token)| u64::from(is_true(token)) << at;
    tokens.iter().enumerate().map(bit).sum()
}

fn matches_by_list(tokens: &[Token], text: &str) -> bool {
    // `alive[i]`: the text so far matches the first `i` tokens.
    let mut alive = vec![false; tokens.len() + 1];
    let mut next = alive.clone();
    alive[0] = true;
    skip_stars(tokens, &mut alive);
    for c in text.chars() {
        next.fill(false);
        let mut any = false;
        for (at, token) in tokens.iter().enumerate() {
            if alive[at] && token.takes(c) {
                next[if token.is_star() { at } else { at + 1 }] = true;
                any = true;
            }
        }
        if !any {
            return false;
        }
        skip_stars(tokens, &mut next);
        std::mem::swap(&mut alive, &mut next);
    }
    alive[tokens.len()]
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    One,
    Star,
    DoubleStar,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Token {
    const fn is_star(&self) -> bool {
        matches!(self, Self::Star | Self::DoubleStar)
    }

    fn takes(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::One | Self::Star => c != '/',
            Self::DoubleStar => true,
            Self::Class { negated, ranges } => {
                let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                c != '/' && inside != *negated
            }
        }
    }
}

/// A star may match nothing.
fn skip_stars(tokens: &[Token], alive: &mut [bool]) {
    for (at, token) in tokens.iter().enumerate() {
        if alive[at] && token.is_star() {
            alive[at + 1] = true;
        }
    }
}

fn parse(pattern: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        tokens.push(match c {
            '*' => {
                let others = rest.as_str().trim_start_matches('*');
                let is_alone = others.len() == rest.as_str().len();
                rest = others.chars();
                if is_alone {
                    Token::Star
                } else {
                    Token::DoubleStar
                }
            }
            '?' => Token::One,
            '[' => match parse_class(rest.clone()) {
                Some((class, after)) => {
                    rest = after;
                    class
                }
                None => Token::Char('['),
            },
            c => Token::Char(c),
        });
    }
    tokens
}

fn parse_class(mut rest: Chars<'_>) -> Option<(Token, Chars<'_>)> {
    let negated = rest.as_str().starts_with('!');
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        let low = rest.next()?;
        // A `]` that comes first is a member.
        if low == ']' && !ranges.is_empty() {
            return Some((Token::Class { negated, ranges }, rest));
        }
        let mut ahead = rest.clone();
        let high = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(high)) if high != ']' => {
                rest = ahead;
                high
            }
            _ => low,
        };
        ranges.push((low, high));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_a_shell_would() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "abc", true),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("/org/*/chart/*", "/org/7/chart/9", true),
            ("/org/*/chart/*", "/org/7/8/chart/9", false),
            ("/org/**/chart/*", "/org/7/8/chart/9", true),
            ("**blog**", "www.example.com/blogs/blog_id", true),
            ("*blog*", "www.example.com/blogs", false),
            ("*[0-9]", "plan 9", true),
            ("*[0-9]", "plan x", false),
            ("[!a-z]*", "Zebra", true),
            ("[!a-z]*", "zebra", false),
            ("[!a-z]", "/", false),
            ("[]x]", "]", true),
            ("[a-]", "-", true),
            ("[ab", "[ab", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("***", "a/b/c", true),
            ("é*", "été", true),
            ("a*b*c", "aXbXbXc", true),
            ("A", "a", false),
        ] {
            let compiled = GlobPattern::new(pattern);
            assert_eq!(compiled.matches(text), expected, "{pattern} on {text}");
            let by_list = matches_by_list(&compiled.tokens, text);
            assert_eq!(by_list, expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_is_not_expensive() {
        // With backtracking this pair would take longer than the universe is old.
        let text = "a".repeat(5_000);
        for times in [20, 60] {
            let pattern = GlobPattern::new(&format!("{}b", "*a".repeat(times)));
            assert!(!pattern.matches(&text));
        }
    }
}
