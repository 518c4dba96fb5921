//! Meta's standard events, which it optimises for and reports without further set-up.

use crate::config::names;

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

/// The standard event that differs from a name in case, spaces and punctuation alone.
pub(super) fn same_words(name: &str) -> Option<&'static str> {
    let letters = names::letters(name);
    NAMES
        .iter()
        .copied()
        .find(|standard| *standard != name && letters == standard.to_ascii_lowercase())
}

/// The standard event that a name is a typing error away from.
pub(super) fn near(name: &str) -> Option<&'static str> {
    names::slip_of(name, NAMES.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_typing_errors() {
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
