//! Finds the numbers of phones and payment cards in a text.
//!
//! A text is cut into runs: groups of digits with few characters between them. A number is some consecutive
//! groups, with a blank or an end of the run on each side. A run that is joined to letters, as in
//! `SKU-650-253-0000` or the path of a URL, is the name of something; a card's number is still recognised, by
//! its check digit. All is decided in one pass.

use std::ops::RangeInclusive;

use crate::event::decimal::whole_digits;
use crate::normalize::calling_codes;

/// Most digits of a phone number (E.164), and fewest of one with its calling code.
const INTERNATIONAL: RangeInclusive<usize> = 8..=15;

/// Most digits that are tested together: a phone number and the two zeros that stand for a plus.
const MOST_DIGITS: usize = 17;

/// Most groups of a phone number within its country.
const MOST_GROUPS: usize = 5;

/// Most letters that may be joined to a card's number. More are an id that has the digits by chance.
const MOST_JOINED: usize = 12;

/// Fewest digits of a card's number that is printed with an exponent, which omits zeros.
const FEWEST_PRINTED: usize = 12;

/// Consecutive digits, and the text between them and the group before.
#[derive(Clone, Copy, Debug)]
struct Group<'t> {
    before: &'t str,
    digits: &'t str,
}

/// Whether a plain text holds the number of a phone or card.
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
        if run.is_international() || run.holds_number() || run.is_printed_card() {
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
        // More than `) (` separates numbers.
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

/// Whether a character may be between the groups of phone and card numbers.
const fn is_between(character: char) -> bool {
    is_space(character) || matches!(character, '-' | '.' | '/' | '_' | '(' | ')' | '[' | ']')
}

const fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

const fn is_opening(character: char) -> bool {
    matches!(character, '(' | '[')
}

/// Groups of digits that belong together, and the text around them.
struct Run<'t, 'g> {
    before: &'t str,
    groups: &'g [Group<'t>],
    after: &'t str,
}

impl Run<'_, '_> {
    /// Whether it is a phone number behind a plus. No calling code begins with zero.
    fn is_international(&self) -> bool {
        let before = self.before.strip_suffix(is_opening).unwrap_or(self.before);
        let Some(before) = before.strip_suffix('+') else {
            return self.is_spaced_international();
        };
        if before.ends_with(char::is_alphanumeric) || self.starts_with('0') {
            return false;
        }
        if self.is_decimal() {
            let digits: String = self.groups.iter().map(|group| group.digits).collect();
            return is_dialled(&digits);
        }
        let mut count = 0;
        self.groups.iter().any(|group| {
            count += group.digits.len();
            INTERNATIONAL.contains(&count)
        })
    }

    /// Whether it may be a number with a fraction, such as a coordinate or an amount with a sign.
    fn is_decimal(&self) -> bool {
        let mut points = self.groups.iter().skip(1).map(|group| group.before == ".");
        points.next() == Some(true) && points.next() != Some(true)
    }

    /// Whether it is a phone number with a blank behind the plus. Since that may be a sum, all digits must be
    /// a number as it is dialled.
    fn is_spaced_international(&self) -> bool {
        let Some(before) = self.before.trim_end_matches(is_space).strip_suffix('+') else {
            return false;
        };
        let is_sum = |last: char| last.is_alphanumeric() || matches!(last, ')' | ']');
        let digits: String = self.groups.iter().map(|group| group.digits).collect();
        !before.trim_end_matches(is_space).ends_with(is_sum) && is_dialled(&digits)
    }

    /// Whether it is the number of a card printed as a float: `4.111111111111111e15`.
    fn is_printed_card(&self) -> bool {
        let [whole, fraction] = self.groups else {
            return false;
        };
        let is_float = whole.digits.len() == 1
            && fraction.before == "."
            && fraction.digits.len() >= FEWEST_PRINTED
            && fraction.digits.len() < MOST_DIGITS
            && !self.before.ends_with(char::is_alphanumeric);
        let Some(exponent) = self.after.strip_prefix(['e', 'E']).filter(|_| is_float) else {
            return false;
        };
        let exponent = exponent.strip_prefix('+').unwrap_or(exponent);
        let length = exponent.bytes().take_while(u8::is_ascii_digit).count();
        let Some(exponent) = exponent.get(..length.min(3)) else {
            return false;
        };
        let printed = format!("{}.{}e{exponent}", whole.digits, fraction.digits);
        whole_digits(&printed).is_some_and(|digits| {
            let groups = &[Group {
                before: "",
                digits: &digits,
            }];
            NumberSpan {
                groups,
                digits: digits.len(),
                in_bracket: false,
                begins_run: true,
                is_whole_run: true,
            }
            .is_card()
        })
    }

    fn starts_with(&self, digit: char) -> bool {
        let first = self.groups.first();
        first.is_some_and(|group| group.digits.starts_with(digit))
    }

    /// Whether consecutive groups are the number of a card, or grouped as phone numbers are.
    fn holds_number(&self) -> bool {
        (0..self.groups.len()).any(|first| {
            let may_be_phone = self.may_begin(first);
            let may_be_card = self.may_begin_card(first);
            if !may_be_phone && !may_be_card {
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
                let number = NumberSpan {
                    groups,
                    digits,
                    in_bracket: self.text_before(first).ends_with(is_opening),
                    begins_run: first == 0,
                    is_whole_run: groups.len() == self.groups.len(),
                };
                if may_be_phone && number.is_phone() && self.may_end(last)
                    || may_be_card && number.is_card() && self.may_end_card(last)
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

    /// Whether a number may begin with a group: it does not continue the text before it.
    fn may_begin(&self, group: usize) -> bool {
        let before = self.text_before(group);
        if group > 0 {
            return before.contains(is_space);
        }
        let before = before.strip_suffix(is_opening).unwrap_or(before);
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

    /// Whether the number of a card may begin with a group. Letters may be joined to it, unless they are the
    /// path of a URL or it is the fraction of a number.
    fn may_begin_card(&self, group: usize) -> bool {
        if group > 0 {
            return self.may_begin(group);
        }
        let joined = self.before.strip_suffix(['-', '_', '.']);
        let is_joined = joined.is_some_and(|before| before.ends_with(char::is_alphabetic));
        is_joined || self.may_begin(group) || is_short_word(self.before.chars().rev())
    }

    /// The same of its end. It may have a fraction of zeros.
    fn may_end_card(&self, group: usize) -> bool {
        let is_nothing =
            |next: &Group<'_>| next.before == "." && next.digits.bytes().all(|digit| digit == b'0');
        if let Some(next) = self.groups.get(group + 1) {
            return self.may_end(group) || is_nothing(next);
        }
        let joined = self.after.strip_prefix(['-', '_', '.']);
        let is_joined = joined.is_some_and(|after| after.starts_with(char::is_alphabetic));
        is_joined || self.may_end(group) || is_short_word(self.after.chars())
    }
}

/// Whether a short word of letters and digits comes first.
fn is_short_word(characters: impl Iterator<Item = char>) -> bool {
    let word = characters.take(MOST_JOINED + 1);
    let length = word.take_while(|one| one.is_alphanumeric()).count();
    (1..=MOST_JOINED).contains(&length)
}

/// Whether digits are a number as it is dialled from abroad: a calling code, and as many digits as a number
/// has in North America, or may have elsewhere.
fn is_dialled(digits: &str) -> bool {
    let is_code = |code: &str| calling_codes::plan_of_international(code).is_some();
    let split = (1..=3).find_map(|length| {
        let (code, number) = digits.split_at_checked(length)?;
        is_code(code).then_some((code, number))
    });
    match split {
        Some(("1", number)) => number.len() == 10 && !number.starts_with(['0', '1']),
        Some((_, number)) => (9..=15).contains(&digits.len()) && !number.starts_with("00"),
        None => false,
    }
}

/// Consecutive groups that may be a number.
struct NumberSpan<'t, 'g> {
    groups: &'g [Group<'t>],
    /// How many digits they have.
    digits: usize,
    in_bracket: bool,
    begins_run: bool,
    is_whole_run: bool,
}

impl NumberSpan<'_, '_> {
    fn each_digit(&self) -> impl DoubleEndedIterator<Item = u8> {
        self.groups.iter().flat_map(|group| group.digits.bytes())
    }

    fn lengths(&self) -> Vec<usize> {
        self.groups.iter().map(|group| group.digits.len()).collect()
    }

    /// Whether the groups are those of a phone number: as in North America, Russia, China, India or Brazil;
    /// behind a zero, as numbers begin within a country, or behind two, which stand for a plus; or behind an
    /// area code in brackets.
    fn is_phone(&self) -> bool {
        if self.is_behind_zeros() {
            return true;
        }
        if !(9..=12).contains(&self.digits) || !(2..=MOST_GROUPS).contains(&self.groups.len()) {
            return false;
        }
        let lengths = self.lengths();
        let [area, rest @ ..] = &*lengths else {
            return false;
        };
        // Numbers with blanks between them may be a list.
        if self.is_of_a_country(&lengths) && (self.is_whole_run || !self.is_all_spaced()) {
            return true;
        }
        let mut digits = self.each_digit();
        let begins_with_zero = digits.next() == Some(b'0') && digits.next() != Some(b'0');
        let is_grouped = match rest {
            [one] => (6..=8).contains(one),
            several => several.iter().all(|group| (2..=4).contains(group)) && self.is_even(),
        };
        let second = self.groups.get(1);
        if self.in_bracket && second.is_some_and(|group| group.before.starts_with(')')) {
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

    /// Whether the groups have the form of numbers in one of the countries that have their own.
    fn is_of_a_country(&self, lengths: &[usize]) -> bool {
        let mut digits = self.each_digit();
        let (first, second) = (digits.next(), digits.next());
        match lengths {
            [3, 3, 4] => (first, second) != (Some(b'0'), Some(b'0')),
            [1, 3, 3, 4] => first == Some(b'1'),
            [1, 3, 3, 2, 2] => {
                matches!(first, Some(b'7' | b'8'))
                    && matches!(second, Some(b'3' | b'4' | b'8' | b'9'))
            }
            [3, 4, 4] => first == Some(b'1') && matches!(second, Some(b'3'..=b'9')),
            [6, 5] => first == Some(b'0') && matches!(second, Some(b'6'..=b'9')),
            [2, 5, 4] => first != Some(b'0') && digits.next() == Some(b'9'),
            _ => false,
        }
    }

    /// Whether it is a number with its calling code behind two zeros, in groups: `0049 151 2345678`.
    fn is_behind_zeros(&self) -> bool {
        let [first, second, ..] = self.groups else {
            return false;
        };
        if !self.begins_run
            || !self.is_whole_run
            || self.digits < 12
            || !first.digits.starts_with("00")
        {
            return false;
        }
        let digits: String = self.groups.iter().map(|group| group.digits).collect();
        // Within a country some numbers begin with a zero; behind a calling code it is alone, in brackets.
        let has_zero = second.digits.len() > 1 && second.digits.starts_with('0');
        (3..=9).contains(&first.digits.len())
            && !has_zero
            && digits.get(2..).is_some_and(is_dialled)
    }

    /// Whether the groups behind the first have the same separator.
    fn is_even(&self) -> bool {
        let mut between = self.groups.iter().skip(2).map(|group| group.before);
        let first = between.next();
        between.all(|one| Some(one) == first)
            // A date has one separator, and the year last.
            && !matches!(&*self.lengths(), [2, 2, 4, ..])
    }

    fn is_all_spaced(&self) -> bool {
        let mut between = self.groups.iter().skip(1).map(|group| group.before);
        between.all(|between| between.chars().all(is_space))
    }

    /// Whether it is a number that a card can have, by its length, the first digits of its brand, and its
    /// check digit.
    fn is_card(&self) -> bool {
        if !matches!(self.digits, 15 | 16) {
            return false;
        }
        let is_parted_by = |is: fn(char) -> bool| {
            let mut between = self.groups.iter().skip(1).map(|group| group.before);
            between.all(|between| between.chars().all(is))
        };
        // Other signs separate numbers of other kinds too.
        let is_parted_well = is_parted_by(|one| is_space(one) || one == '-')
            || matches!(&*self.lengths(), [4, 4, 4, 4] | [4, 6, 5])
                && is_parted_by(|one| is_space(one) || matches!(one, '-' | '.' | '/' | '_'));
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
        let places = self.each_digit().rev().enumerate();
        let counted = places.map(
            |(place, digit)| match (place % 2, u32::from(digit - b'0')) {
                (0, digit) => digit,
                (_, digit @ 0..=4) => digit * 2,
                (_, digit) => digit * 2 - 9,
            },
        );
        counted.sum::<u32>().is_multiple_of(10)
    }
}

#[cfg(test)]
mod tests;
