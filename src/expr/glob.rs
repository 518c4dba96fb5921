//! Shell-like patterns, matched in time proportional to pattern times text.
//!
//! `*` matches any characters except `/`, `**` any characters, `?` one that is not `/`, `[0-9]` and
//! `[!a-z]` one inside or outside a class. Everything else matches itself, even a `[` that is never
//! closed. There is no backtracking, so no pattern or text is expensive.

use std::str::Chars;

/// Whether the whole text matches the pattern.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let tokens = parse(pattern);
    // `alive[i]`: the text so far matches the first `i` tokens.
    let mut alive = vec![false; tokens.len() + 1];
    alive[0] = true;
    skip_stars(&tokens, &mut alive);
    for c in text.chars() {
        let mut next = vec![false; tokens.len() + 1];
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
        skip_stars(&tokens, &mut next);
        alive = next;
    }
    alive[tokens.len()]
}

#[derive(Debug, PartialEq)]
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
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_is_not_expensive() {
        // With backtracking this pair would take longer than the universe is old.
        let pattern = format!("{}b", "*a".repeat(60));
        let text = "a".repeat(5_000);
        assert!(!matches(&pattern, &text));
    }
}
