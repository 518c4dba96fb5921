//! Decimal numbers, exact in whatever form they are written: `12500000`, `1.25E7`, `1e-05`.

use std::borrow::Cow;
use std::cmp::Ordering;

/// The most digits before the point of any 64-bit float.
const MOST_BEFORE_POINT: i64 = 309;

/// With this many zeros behind the point, a 64-bit float is zero.
const ZEROS_OF_NOTHING: i64 = 330;

/// The most digits of a number of 64 bits.
const MOST_OF_64_BITS: i64 = 19;

/// How many digits of a number are multiplied where all of them are too many. A 64-bit float has 17.
const MOST_MULTIPLIED: usize = 19;

/// Up to this number a 64-bit float tells every whole number from the next.
const MOST_EXACT: i64 = 1 << 53;

/// A number no larger than a 64-bit float can be: its digits, times a power of ten. One that is too small
/// for a float keeps its digits, so that it is never taken for zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decimal {
    is_negative: bool,
    /// Begins and ends with a digit other than zero; empty for zero.
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Reads a number as JSON, Java or a person writes it: a sign, digits with at most one point, an
    /// exponent. Refuses one that is too large for a 64-bit float.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (is_negative, unsigned) = without_sign(text);
        let (mantissa, power) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, exponent(power)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.len() + fraction.len() == 0 || !are_digits(whole) || !are_digits(fraction) {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0');
        let digits = significant.trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self::default());
        }
        let number = Self {
            is_negative,
            digits: digits.to_owned(),
            exponent: power - length(fraction) + length(significant) - length(digits),
        };
        let before_point = number.before_point();
        let leading = digits.get(..20).unwrap_or(digits);
        let is_finite =
            before_point < MOST_BEFORE_POINT || is_in_range(&format!("0.{leading}e{before_point}"));
        is_finite.then_some(number)
    }

    /// The number without an exponent; zero where a 64-bit float would be.
    pub(crate) fn plain(&self) -> String {
        let sign = if self.is_negative { "-" } else { "" };
        if self.digits.is_empty() || self.before_point() < -ZEROS_OF_NOTHING {
            return "0".to_owned();
        }
        let digits = &self.digits;
        if let Ok(zeros) = usize::try_from(self.exponent) {
            return format!("{sign}{digits}{}", "0".repeat(zeros));
        }
        let decimals = usize::try_from(-self.exponent).unwrap_or_default();
        let padded = format!("{digits:0>width$}", width = decimals + 1);
        let (whole, fraction) = padded.split_at(padded.len() - decimals);
        format!("{sign}{whole}.{fraction}")
    }

    /// The product, rounded where the digits are too many to multiply; `None` where it is out of range.
    pub(crate) fn times(&self, other: &Self) -> Option<Self> {
        let exact = || self.coefficient()?.checked_mul(other.coefficient()?);
        let (product, exponent) = if let Some(product) = exact() {
            (product, self.exponent + other.exponent)
        } else {
            let ((left, one), (right, another)) = (self.leading(), other.leading());
            (left * right, one + another)
        };
        let sign = if self.is_negative == other.is_negative {
            ""
        } else {
            "-"
        };
        Self::parse(&format!("{sign}{product}e{exponent}"))
    }

    pub(crate) const fn is_negative(&self) -> bool {
        self.is_negative
    }

    pub(crate) const fn is_whole(&self) -> bool {
        self.exponent >= 0
    }

    /// The smallest whole number that is not below this one; `None` beyond 64 bits.
    pub(crate) fn rounded_up(&self) -> Option<i64> {
        if self.before_point() > MOST_OF_64_BITS {
            return None;
        }
        if self.is_whole() {
            return self.plain().parse().ok();
        }
        let plain = self.plain();
        let whole: i64 = plain.split('.').next()?.parse().ok()?;
        if self.is_negative {
            Some(whole)
        } else {
            whole.checked_add(1)
        }
    }

    /// How many digits are before the point; a negative count is of zeros behind it.
    fn before_point(&self) -> i64 {
        length(&self.digits) + self.exponent
    }

    /// The digits as a number; `None` where there are too many.
    fn coefficient(&self) -> Option<i128> {
        match &*self.digits {
            "" => Some(0),
            digits => digits.parse().ok(),
        }
    }

    /// The leading digits, rounded, and their power of ten.
    fn leading(&self) -> (i128, i64) {
        let (leading, rest) = self
            .digits
            .split_at_checked(MOST_MULTIPLIED)
            .unwrap_or((&self.digits, ""));
        let leading: i128 = leading.parse().unwrap_or_default();
        let rounding = i128::from(rest.as_bytes().first() >= Some(&b'5'));
        (leading + rounding, self.exponent + length(rest))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        // The digits of all but zero begin with another digit, so that they compare as text.
        let size = |number: &'_ Self| (!number.digits.is_empty()).then(|| number.before_point());
        let by_size = size(self).cmp(&size(other));
        let by_size = by_size.then_with(|| self.digits.cmp(&other.digits));
        match (self.is_negative, other.is_negative) {
            (false, false) => by_size,
            (true, true) => by_size.reverse(),
            (own, other) => other.cmp(&own),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The digits of a whole number of JSON, such as `12345.0` or `1.2345e4`; `None` where there is a
/// fraction, or where the exponent hides digits: nobody knows the last ones of `1.2e17`, while
/// `1.2345678901234567e16` shows all of them.
pub(crate) fn whole_digits(number: &str) -> Option<Cow<'_, str>> {
    if number == "-0" {
        return Some("0".into());
    }
    if !number.contains(['.', 'e', 'E']) {
        return Some(number.into());
    }
    let shows_all = match number.split_once(['e', 'E']) {
        Some((mantissa, power)) => {
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
            let power = exponent(power)?;
            // An event may hold thousands of numbers that are far too large, or nearly zero.
            let is_out_of_range =
                power > length(fraction) + MOST_OF_64_BITS || power < -length(whole);
            if is_out_of_range && mantissa.contains(|digit| matches!(digit, '1'..='9')) {
                return None;
            }
            power <= length(fraction)
        }
        None => true,
    };
    let number = Decimal::parse(number).filter(Decimal::is_whole)?;
    let is_exact = || number.rounded_up().is_some_and(|n| n.abs() <= MOST_EXACT);
    (shows_all || is_exact()).then(|| number.plain().into())
}

/// Whether a number of JSON is within the range of a 64-bit float, in which readers of JSON keep it.
pub(crate) fn is_in_range(number: &str) -> bool {
    const SHORT: usize = 300;
    let is_short = number.len() < SHORT && !number.contains(['e', 'E']);
    is_short || number.parse().is_ok_and(f64::is_finite)
}

/// Writes digits in the form of a JSON number.
pub(super) fn joined(whole: &str, fraction: &str) -> String {
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{whole}{point}{fraction}")
}

/// Whether a text begins with a minus, and what follows its sign.
pub(super) fn without_sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn exponent(text: &str) -> Option<i64> {
    // A larger one is out of range too, and sums of this one do not overflow.
    const MOST: i64 = 1 << 60;
    let (is_negative, digits) = without_sign(text);
    if digits.is_empty() || !are_digits(digits) {
        return None;
    }
    let exponent = digits.parse().map_or(MOST, |number: i64| number.min(MOST));
    Some(if is_negative { -exponent } else { exponent })
}

pub(super) fn are_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn length(text: &str) -> i64 {
    text.len().try_into().unwrap_or(i64::MAX >> 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_every_form_without_an_exponent() {
        for (text, expected) in [
            ("0", Some("0")),
            ("-0.0", Some("0")),
            ("0e999", Some("0")),
            ("59.90", Some("59.9")),
            ("1.25E7", Some("12500000")),
            ("1.25e+07", Some("12500000")),
            ("1e-05", Some("0.00001")),
            ("-12.5e-1", Some("-1.25")),
            ("100", Some("100")),
            (".5", Some("0.5")),
            ("5.", Some("5")),
            ("+5", Some("5")),
            ("12345678901234567890123", Some("12345678901234567890123")),
            ("1e400", None),
            ("1e99999999999999999999", None),
            ("1e-99999999999999999999", Some("0")),
            ("", None),
            (".", None),
            ("e5", None),
            ("1e", None),
            ("1e+", None),
            ("1.2.3", None),
            ("--1", None),
            ("1,5", None),
            ("inf", None),
            ("１", None),
        ] {
            let plain = Decimal::parse(text).map(|number| number.plain());
            assert_eq!(plain.as_deref(), expected, "{text}");
        }
        assert!(Decimal::parse("1.7976931348623157e308").is_some());
        assert!(Decimal::parse("1.8e308").is_none());
    }

    #[test]
    fn multiplies_exactly() {
        for (left, right, expected) in [
            ("19.99", "3", Some("59.97")),
            ("0.1", "0.2", Some("0.02")),
            ("-5", "2", Some("-10")),
            ("5", "0", Some("0")),
            ("-5", "0", Some("0")),
            ("1.25E7", "1", Some("12500000")),
            ("1e2", "3", Some("300")),
            ("1e-05", "2.5", Some("0.000025")),
            ("1e200", "1e200", None),
        ] {
            let (left, right) = (Decimal::parse(left), Decimal::parse(right));
            let product = left.unwrap().times(&right.unwrap());
            assert_eq!(product.map(|number| number.plain()).as_deref(), expected);
        }
    }

    #[test]
    fn rounds_a_product_of_too_many_digits() {
        let tenth = "0.1000000000000000055511151231257827021181583404541015625";
        for (left, right, expected) in [
            (
                "19.89999999999999857891452847979962825775146484375",
                "1",
                "19.89999999999999858",
            ),
            (
                "-19.89999999999999857891452847979962825775146484375",
                "2",
                "-39.79999999999999716",
            ),
            (tenth, "3", "0.3000000000000000168"),
            (tenth, tenth, "0.01000000000000000111555555555555558664"),
            ("9999999999999999999999999999999999999999", "1", "1e40"),
            ("1234567890123456789012345678901234567890", "0", "0"),
        ] {
            let [left, right, expected] =
                [left, right, expected].map(|text| Decimal::parse(text).unwrap());
            let product = left.times(&right).unwrap();
            let close = |number: &Decimal| number.plain().parse::<f64>().unwrap();
            assert!(
                (close(&product) - close(&expected)).abs() <= close(&expected).abs() * 1e-18,
                "{}",
                product.plain()
            );
        }
        let many = Decimal::parse(&"7".repeat(30)).unwrap();
        assert!(
            many.times(&many)
                .unwrap()
                .plain()
                .starts_with("60493827160493827")
        );
    }

    #[test]
    fn rounds_up() {
        for (text, expected) in [
            ("3", Some(3)),
            ("3.0", Some(3)),
            ("2.5", Some(3)),
            ("0.5", Some(1)),
            ("1e-05", Some(1)),
            ("-0.5", Some(0)),
            ("1e-400", Some(1)),
            ("1e-99999999999999999999", Some(1)),
            ("-1e-400", Some(0)),
            ("-2.5", Some(-2)),
            ("1e2", Some(100)),
            ("0", Some(0)),
            ("99999999999999999999", None),
            ("1e300", None),
        ] {
            let number = Decimal::parse(text).unwrap();
            assert_eq!(number.rounded_up(), expected, "{text}");
        }
    }

    #[test]
    fn a_whole_number_is_its_digits() {
        for (number, expected) in [
            ("12345", Some("12345")),
            ("-0", Some("0")),
            ("16505551212000000000", Some("16505551212000000000")),
            ("12345.0", Some("12345")),
            ("-1.00", Some("-1")),
            ("-0.0", Some("0")),
            ("1.6505551212e10", Some("16505551212")),
            ("1.6505551212E+10", Some("16505551212")),
            ("9007199254740993.0", Some("9007199254740993")),
            ("12345678901234567890.0", Some("12345678901234567890")),
            ("9.007199254740992e15", Some("9007199254740992")),
            ("1.2345678901234567E16", Some("12345678901234567")),
            ("1.2345678901234567e17", None),
            ("9.1e15", None),
            ("1e30", None),
            ("12345.5", None),
            ("1e-3", None),
            ("1e-400", None),
            ("1e308", None),
            ("1e-99999999999999999999", None),
            ("0.0e999", Some("0")),
            ("0e-999", Some("0")),
            ("100e-2", Some("1")),
            ("1200.0e-2", Some("12")),
            ("1e400", None),
        ] {
            assert_eq!(whole_digits(number).as_deref(), expected, "{number}");
        }
    }

    #[test]
    fn knows_the_range_of_a_float() {
        for number in ["0", "-1e308", "1e-400", "12345678901234567890"] {
            assert!(is_in_range(number), "{number}");
        }
        for number in ["1e309", "-1e400", &"9".repeat(400)] {
            assert!(!is_in_range(number), "{number}");
        }
    }

    #[test]
    fn numbers_are_in_order() {
        let ordered = [
            "-1e300",
            "-9007199254740993",
            "-9007199254740992",
            "-12",
            "-1.5",
            "-1",
            "-0.1",
            "0",
            "0.001",
            "0.0011",
            "0.01",
            "1",
            "1.000000000000000000001",
            "1.5",
            "2",
            "10",
            "12",
            "100",
            "9007199254740992",
            "9007199254740993",
            "1e17",
            "1e300",
        ];
        let numbers: Vec<_> = ordered
            .iter()
            .map(|text| Decimal::parse(text).unwrap())
            .collect();
        for (place, left) in numbers.iter().enumerate() {
            for (other, right) in numbers.iter().enumerate() {
                assert_eq!(left.cmp(right), place.cmp(&other), "{left:?} {right:?}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn a_plain_number_is_the_same_number(text in "-?[0-9]{1,12}(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,2})?") {
            let plain = Decimal::parse(&text).unwrap().plain();
            let bits = |text: &str| text.parse::<f64>().unwrap().to_bits();
            let zero = plain == "0";
            proptest::prop_assert!(zero || bits(&plain) == bits(&text), "{}", plain);
        }
    }
}
