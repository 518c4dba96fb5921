//! Meta's standard events, by which it optimises and reports without further set-up.

/// The standard events of websites and apps (Meta Pixel: Reference; Meta: App Events).
pub(super) const NAMES: &[&str] = &[
    "AchievementUnlocked",
    "ActivateApp",
    "AddPaymentInfo",
    "AddToCart",
    "AddToWishlist",
    "CompleteRegistration",
    "Contact",
    "CustomizeProduct",
    "Donate",
    "FindLocation",
    "InitiateCheckout",
    "Lead",
    "LevelAchieved",
    "MobileAppInstall",
    "PageView",
    "Purchase",
    "Rate",
    "Schedule",
    "Search",
    "SpentCredits",
    "StartTrial",
    "SubmitApplication",
    "Subscribe",
    "TutorialCompletion",
    "ViewContent",
];

/// The standard event that a name is the same as but for case, spaces and punctuation.
pub(super) fn same_words(name: &str) -> Option<&'static str> {
    let letters = letters(name);
    NAMES
        .iter()
        .copied()
        .find(|standard| *standard != name && letters == standard.to_ascii_lowercase())
}

/// The standard event that a name is a slip of the pen away from.
pub(super) fn near(name: &str) -> Option<&'static str> {
    if NAMES.contains(&name) {
        return None;
    }
    let letters = letters(name);
    NAMES.iter().copied().find(|standard| {
        let allowed = if standard.len() <= 6 { 1 } else { 2 };
        distance(&letters, &standard.to_ascii_lowercase()) <= allowed
    })
}

fn letters(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// How many characters must be changed, added or taken away.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, c) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in right.iter().enumerate() {
            let change = diagonal + usize::from(c != *other);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_of_the_pen() {
        for (name, expected) in [
            ("Purchase", None),
            ("purchase", Some("Purchase")),
            ("Purchse", Some("Purchase")),
            ("Add to Cart", Some("AddToCart")),
            ("CompletedRegistration", Some("CompleteRegistration")),
            ("Leads", Some("Lead")),
            ("Order Completed", None),
            ("Trial Started", None),
            ("", None),
        ] {
            assert_eq!(near(name), expected, "{name}");
        }
        assert_eq!(same_words("add_to_cart"), Some("AddToCart"));
        assert_eq!(same_words("AddToCart"), None);
        assert_eq!(same_words("Purchased"), None);
    }
}
