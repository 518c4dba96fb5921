//! Finds the numbers of phones and payment cards in a text.
//!
//! A text is cut into runs: groups of digits with little between them. A number is a stretch of groups that
//! blanks, or the ends of its run, set apart. Where letters are joined to the run, as in `SKU-650-253-0000` or
//! the path of a URL, it is a name of something. All is decided in one pass.

use std::ops::RangeInclusive;

/// Most digits of a phone number (E.164), and fewest of one with its calling code.
const INTERNATIONAL: RangeInclusive<usize> = 8..=15;

/// Most digits that are looked at together: those of a card.
const MOST_DIGITS: usize = 16;

/// Most groups that a phone number is written in.
const MOST_GROUPS: usize = 5;

/// Digits that nothing parts, and what stands between them and the group before.
#[derive(Clone, Copy, Debug)]
struct Group<'t> {
    before: &'t str,
    digits: &'t str,
}

/// Whether the number of a phone or card is anywhere in a text.
pub(super) fn is_in(text: &str) -> bool {
    let mut groups = Vec::new();
    let mut at = 0;
    while let Some(begin) = next_digit(text, at) {
        at = read_run(text, begin, &mut groups);
        let run = Run {
            before: text.get(..begin).unwrap_or_default(),
            groups: &groups,
            after: text.get(at..).unwrap_or_default(),
        };
        if run.is_international() || run.holds_number() {
            return true;
        }
    }
    false
}

fn next_digit(text: &str, from: usize) -> Option<usize> {
    let rest = text.as_bytes().get(from..)?;
    let at = rest.iter().position(u8::is_ascii_digit)?;
    Some(from + at)
}

/// Reads the groups of the run that begins at a digit, and gives its end.
fn read_run<'t>(text: &'t str, begin: usize, groups: &mut Vec<Group<'t>>) -> usize {
    groups.clear();
    let mut before = "";
    let mut at = begin;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = rest.split_at(digits);
        groups.push(Group { before, digits });
        at += digits.len();
        let between = rest.find(|character| !is_between(character));
        let (between, rest) = rest.split_at(between.unwrap_or(rest.len()));
        // More than `) (` parts numbers from each other.
        if between.is_empty()
            || between.chars().count() > 3
            || !rest.starts_with(|character: char| character.is_ascii_digit())
        {
            return at;
        }
        before = between;
        at += between.len();
    }
}

/// What phone and card numbers are grouped with.
fn is_between(character: char) -> bool {
    is_space(character)
        || matches!(
            character,
            '-' | '.' | '/' | '(' | ')' | '\u{2010}'..='\u{2013}'
        )
}

const fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\u{a0}' | '\u{2009}' | '\u{202f}')
}

/// Groups of digits that belong together, and the text around them.
struct Run<'t, 'g> {
    before: &'t str,
    groups: &'g [Group<'t>],
    after: &'t str,
}

impl Run<'_, '_> {
    /// Whether it is a number behind a plus: no calling code begins with zero.
    fn is_international(&self) -> bool {
        let Some(before) = self
            .before
            .strip_suffix('(')
            .unwrap_or(self.before)
            .strip_suffix('+')
        else {
            return false;
        };
        if before.ends_with(char::is_alphanumeric) || self.starts_with('0') {
            return false;
        }
        let mut count = 0;
        self.groups.iter().any(|group| {
            count += group.digits.len();
            INTERNATIONAL.contains(&count)
        })
    }

    fn starts_with(&self, digit: char) -> bool {
        let first = self.groups.first();
        first.is_some_and(|group| group.digits.starts_with(digit))
    }

    /// Whether a stretch of groups is the number of a card, or grouped as phones are.
    fn holds_number(&self) -> bool {
        (0..self.groups.len()).any(|first| {
            if !self.may_begin(first) {
                return false;
            }
            let mut digits = 0;
            for (last, group) in self.groups.iter().enumerate().skip(first) {
                digits += group.digits.len();
                if digits > MOST_DIGITS {
                    return false;
                }
                let Some(groups) = self.groups.get(first..=last) else {
                    return false;
                };
                let number = Number {
                    groups,
                    digits,
                    in_bracket: self.text_before(first).ends_with('('),
                    is_whole_run: groups.len() == self.groups.len(),
                };
                if number.is_phone() && self.may_end(last)
                    || number.is_card() && self.may_end_card(last)
                {
                    return true;
                }
            }
            false
        })
    }

    fn text_before(&self, group: usize) -> &str {
        match self.groups.get(group) {
            Some(group) if !group.before.is_empty() => group.before,
            _ => self.before,
        }
    }

    /// Whether a number may begin with a group: nothing that it could be part of stands before it.
    fn may_begin(&self, group: usize) -> bool {
        let before = self.text_before(group);
        if group > 0 {
            return before.contains(is_space);
        }
        let before = before.strip_suffix('(').unwrap_or(before);
        match before.chars().next_back() {
            Some('-' | '/') => !before
                .get(..before.len() - 1)
                .is_some_and(|before| before.ends_with(char::is_alphanumeric)),
            Some('.') => false,
            Some(last) => !last.is_alphanumeric() && last != '_',
            None => true,
        }
    }

    fn may_end(&self, group: usize) -> bool {
        if let Some(next) = self.groups.get(group + 1) {
            return next.before.contains(is_space);
        }
        let mut after = self.after.chars();
        match after.next() {
            Some('-' | '/' | '.') => !after.next().is_some_and(char::is_alphanumeric),
            // An extension, or the end.
            Some('x' | 'X' | 'e' | 'E') | None => true,
            Some(next) => !next.is_alphanumeric() && next != '_',
        }
    }

    /// A number of a card may have come as a decimal.
    fn may_end_card(&self, group: usize) -> bool {
        let is_nothing =
            |next: &Group<'_>| next.before == "." && next.digits.bytes().all(|digit| digit == b'0');
        self.may_end(group) || self.groups.get(group + 1).is_some_and(is_nothing)
    }
}

/// A stretch of groups that may be a number.
struct Number<'t, 'g> {
    groups: &'g [Group<'t>],
    /// How many digits they have.
    digits: usize,
    in_bracket: bool,
    is_whole_run: bool,
}

impl Number<'_, '_> {
    fn each_digit(&self) -> impl DoubleEndedIterator<Item = u8> {
        self.groups.iter().flat_map(|group| group.digits.bytes())
    }

    fn lengths(&self) -> Vec<usize> {
        self.groups.iter().map(|group| group.digits.len()).collect()
    }

    /// Whether the groups are those of a phone number: as in North America; behind a zero, by which numbers
    /// begin within a country; or behind an area code in brackets.
    fn is_phone(&self) -> bool {
        if !(9..=12).contains(&self.digits) || !(2..=MOST_GROUPS).contains(&self.groups.len()) {
            return false;
        }
        let lengths = self.lengths();
        let [area, rest @ ..] = &*lengths else {
            return false;
        };
        let is_north_american = match &*lengths {
            [3, 3, 4] => true,
            [1, 3, 3, 4] => self.each_digit().next() == Some(b'1'),
            _ => false,
        };
        // Numbers that blanks part may be a list.
        if is_north_american && (self.is_whole_run || !self.is_all_spaced()) {
            return true;
        }
        let mut digits = self.each_digit();
        let begins_with_zero = digits.next() == Some(b'0') && digits.next() != Some(b'0');
        let is_grouped = match rest {
            [one] => (6..=8).contains(one),
            several => several.iter().all(|group| (2..=4).contains(group)) && self.is_even(),
        };
        if self.in_bracket
            && self
                .groups
                .get(1)
                .is_some_and(|group| group.before.starts_with(')'))
        {
            let is_area = (2..=3).contains(area) || begins_with_zero && *area <= 5;
            let is_rest = is_grouped || matches!(rest, [3..=5, 4]);
            return is_area && is_rest;
        }
        let is_area = match rest {
            [_] => (3..=5).contains(area),
            _ => (2..=5).contains(area),
        };
        begins_with_zero && is_area && is_grouped
    }

    /// Whether the groups behind the first are parted alike.
    fn is_even(&self) -> bool {
        let mut between = self.groups.iter().skip(2).map(|group| group.before);
        let first = between.next();
        between.all(|one| Some(one) == first)
            // A date is parted alike everywhere, and has its year last.
            && !matches!(&*self.lengths(), [2, 2, 4, ..])
    }

    fn is_all_spaced(&self) -> bool {
        let mut between = self.groups.iter().skip(1).map(|group| group.before);
        between.all(|between| between.chars().all(is_space))
    }

    /// Whether it is a number that a card can have: by its length, the digits by which its brand begins, and
    /// its check digit.
    fn is_card(&self) -> bool {
        if !matches!(self.digits, 15 | 16) {
            return false;
        }
        let is_parted_well = self
            .groups
            .iter()
            .skip(1)
            .all(|group| matches!(group.before, " " | "-" | "\u{a0}"));
        let first_four = self
            .each_digit()
            .take(4)
            .fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
        let is_of_brand = if self.digits == 15 {
            matches!(first_four / 100, 34 | 37)
        } else {
            matches!(first_four, 4000..=4999 | 5100..=5599 | 2221..=2720 | 6011 | 6500..=6599)
        };
        is_of_brand && is_parted_well && self.has_check_digit()
    }

    /// Luhn's sum.
    fn has_check_digit(&self) -> bool {
        let sum: u32 = self
            .each_digit()
            .rev()
            .enumerate()
            .map(|(place, digit)| {
                let digit = u32::from(digit - b'0');
                match (place % 2, digit) {
                    (0, digit) => digit,
                    (_, digit @ 0..=4) => digit * 2,
                    (_, digit) => digit * 2 - 9,
                }
            })
            .sum();
        sum.is_multiple_of(10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_phone_numbers() {
        for text in [
            "+1 503 555 0100",
            "+4915112345678",
            "(+49) 151 12345678",
            "+49 (0) 151/1234567",
            "call me at +49 151 23456789, please",
            "mine:+4915112345678 12345678901",
            "(650) 555-1212",
            "1-650-555-1212",
            "650-253-0000",
            "650.253.0000",
            "650 253 0000",
            "text 650-253-0000 after 6",
            "12 times 5 650-253-0000",
            "phone=650-253-0000",
            "650-253-0000x12",
            "650-253-0000 ext. 12",
            "fax: 650-253-0000.",
            "0151 2345678",
            "ring 030/1234567 today",
            "0151-23456789",
            "01632 960123",
            "020 7946 0018",
            "+44 20 7946 0018",
            "06 12 34 56 78",
            "06.12.34.56.78",
            "079 123 45 67",
            "03-1234-5678",
            "090‑1234‑5678",
            "(030) 1234567",
            "(11) 91234-5678",
            "(0151) 234 56 78",
        ] {
            assert!(is_in(text), "{text}");
        }
    }

    #[test]
    fn finds_the_numbers_of_cards() {
        for text in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "5555-5555-5555-4444",
            "2223003122003222",
            "6011111111111117",
            "6500000000000002",
            "378282246310005",
            "3714 496353 98431",
            "card 4111 1111 1111 1111 12/28",
            "12 4111111111111111",
            "4111111111111111.0",
            "no:4111111111111111;",
        ] {
            assert!(is_in(text), "{text}");
        }
        for text in [
            "4111111111111112",
            "4111 1111 1111 1112",
            "3111111111111112",
            "6211111111111111",
            "41111111111111111",
            "4111-1111-1111-1111-1234",
            "0.4111111111111111",
            "54.4111111111111111",
            "x4111111111111111",
            "/p/4111111111111111",
            "1700000000000000",
        ] {
            assert!(!is_in(text), "{text}");
        }
    }

    #[test]
    fn leaves_other_numbers_alone() {
        for text in [
            "16505551212",
            "6502530000",
            "015112345678",
            "2026-11-20 18:04:09",
            "2026-11-20T18:04:09+0100",
            "Fri Nov 20 18:04:09 +0000 2026",
            "20.11.2026 18:04:09",
            "01.02.2026",
            "01-02-2026 12",
            "03/04/2026 1200",
            "1234-5678-9012",
            "978-3-16-148410-0",
            "0-306-40615-2",
            "550e8400-e29b-41d4-a716-446655440000",
            "SKU-650-253-0000",
            "https://shop.example.com/p/650-253-0000",
            "https://shop.example.com/650-253-0000/reviews",
            "650-253-0000-A",
            "a650-253-0000",
            "192.168.100.1000",
            "100 200 300 4000",
            "52.520008, 13.404954",
            "1.234.567,89",
            "+12",
            "+1.5",
            "1+12345678",
            "A+12345678",
            "fb.1.1596403881668.1116446470",
            "17.4.1",
            "00123-456789",
        ] {
            assert!(!is_in(text), "{text}");
        }
    }

    #[test]
    fn a_long_hostile_text_is_read_once() {
        for part in ["1 ", "1-", "+1", "4111 ", "(", "0", "0 1 "] {
            assert!(!is_in(&part.repeat(1 << 18)), "{part}");
        }
    }
}
