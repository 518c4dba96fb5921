//! Meta's customer information parameters: one row per field.

use crate::dropped::DropReason;
use crate::normalize::placeholder::Placeholders;
use crate::normalize::{
    Context, Normalized, address, click, country, date, email, gender, identifier, name, phone,
    place, state,
};

/// What tells how a field is read, besides its normaliser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldClass {
    /// An id of a person: what Amplitude would refuse as one stands for nobody.
    PersonId,
    /// Its normaliser asks for the event's country.
    ByCountry,
    /// Nothing.
    Other,
}

/// The value of a field that the reference shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldSample {
    /// What the field is made from where the configuration does not say.
    Default(&'static str),
    /// What it might be made from; without the key it is not sent.
    Example(&'static str),
}

macro_rules! user_data_fields {
    (@is_hashed Hashed) => { true };
    (@is_hashed InClear) => { false };
    (@rule Hashed $rule:literal) => { concat!($rule, "; hashed") };
    (@rule InClear $rule:literal) => { concat!($rule, "; in clear, as Meta asks") };
    (|$text:ident, $context:ident, $first:ident, $second:ident|
     $($field:ident = $name:literal / $meta:literal, $sent:ident, $class:ident, $placeholders:ident,
       $rule:literal, $normalized:expr, $sample:ident($path:literal), $doc:literal;)+) => {
        /// One of Meta's customer information parameters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum UserDataField { $($field,)+ }

        impl UserDataField {
            /// Every field, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$field,)+];

            /// The name in the configuration, as on Amplitude's mapping page.
            pub const fn mapping_name(self) -> &'static str {
                match self { $(Self::$field => $name,)+ }
            }

            /// Meta's key.
            pub const fn meta_key(self) -> &'static str {
                match self { $(Self::$field => $meta,)+ }
            }

            /// Whether Meta wants it hashed.
            pub const fn is_hashed(self) -> bool {
                match self { $(Self::$field => user_data_fields!(@is_hashed $sent),)+ }
            }

            pub const fn class(self) -> FieldClass {
                match self { $(Self::$field => FieldClass::$class,)+ }
            }

            pub(super) const fn placeholders(self) -> Placeholders {
                match self { $(Self::$field => Placeholders::$placeholders,)+ }
            }

            /// In a few words, what is made of its values.
            pub const fn rule(self) -> &'static str {
                match self { $(Self::$field => user_data_fields!(@rule $sent $rule),)+ }
            }

            /// The normal form of a trimmed text.
            pub(super) fn normalized<'a>(
                self,
                $text: &'a str,
                $context: &Context<'_>,
                [$first, $second]: [&'a mut String; 2],
            ) -> Result<Normalized<'a>, DropReason> {
                match self { $(Self::$field => $normalized,)+ }
            }

            /// Where its value may stand, as the configuration writes it.
            pub const fn sample(self) -> FieldSample {
                match self { $(Self::$field => FieldSample::$sample($path),)+ }
            }

            /// What the reference says of it.
            pub const fn doc(self) -> &'static str {
                match self { $(Self::$field => $doc,)+ }
            }
        }
    };
}

impl UserDataField {
    /// The field of a name: of the configuration, or Meta's key.
    pub fn parse(name: &str) -> Option<Self> {
        let mut fields = Self::ALL.iter().copied();
        fields.find(|field| field.mapping_name() == name || field.meta_key() == name)
    }
}

// A row: the name in the configuration and Meta's key; whether it is hashed, its class, and what stands
// for no value; the rule as `--explain` tells it, and the normaliser; the key as the reference shows it.
user_data_fields! { |text, context, first, second|
    ExternalId = "external_id" / "external_id", Hashed, PersonId, Words,
        "trimmed, lower case without spaces unless case is kept",
        Ok(identifier::external_id(text, context.external_id_case, first)),
        Default(r#""user_id""#), "Your id of the person. Hashed.";
    Email = "email" / "em", Hashed, Other, None,
        "trimmed, lower case", email::normalize(text, first).map(Normalized::to_hash),
        Example(r#""user_properties.email""#), "E-mail address. Hashed.";
    Phone = "phone" / "ph", Hashed, ByCountry, None,
        "digits behind the calling code, no leading zeros",
        phone::normalize(text, context.calling_code, first).map(Normalized::to_hash),
        Example(r#""user_properties.phone""#), "Phone number. Hashed.";
    FirstName = "first_name" / "fn", Hashed, Other, WordsAndNames,
        "lower case, no spaces or punctuation", Ok(name::normalize(text, [first, second])),
        Example(r#""user_properties.first_name""#), "First name. Hashed.";
    LastName = "last_name" / "ln", Hashed, Other, WordsAndNames,
        "lower case, no spaces or punctuation", Ok(name::normalize(text, [first, second])),
        Example(r#""user_properties.last_name""#), "Last name. Hashed.";
    DateOfBirth = "date_of_birth" / "db", Hashed, Other, None,
        "YYYYMMDD",
        date::normalize(text, context.date_order, context.now, first).map(Normalized::to_hash),
        Example(r#""user_properties.birthday""#), "Date of birth. Hashed.";
    Gender = "gender" / "ge", Hashed, Other, None,
        "f or m", gender::normalize(text, first).map(Normalized::to_hash),
        Example(r#""user_properties.gender""#), "Gender. Hashed.";
    City = "city" / "ct", Hashed, Other, Words,
        "lower case, no spaces, punctuation or digits", place::city(text, [first, second]),
        Example(r#""city""#), "City. Hashed.";
    State = "state" / "st", Hashed, ByCountry, Words,
        "code of the USA or Canada, else the name in lower case",
        Ok(state::normalize(text, context.country, [first, second])),
        Example(r#""region""#), "State or region. Hashed.";
    ZipCode = "zip_code" / "zp", Hashed, ByCountry, Words,
        "lower case, no spaces or dashes", place::zip_code(text, context.country, [first, second]),
        Example(r#""user_properties.zip""#), "Postal code. Hashed.";
    Country = "country" / "country", Hashed, Other, Words,
        "two-letter code of ISO 3166-1",
        country::normalize(text, context.named_country).map(Normalized::to_hash),
        Example(r#""country""#), "Country. Hashed.";
    ClientIpAddress = "client_ip_address" / "client_ip_address", InClear, Other, None,
        "first public address", address::normalize(text, first).map(Normalized::Plain),
        Default(r#""ip_address""#), "IP address. Not hashed, by Meta's rule.";
    ClientUserAgent = "client_user_agent" / "client_user_agent", InClear, Other, None,
        "as it came", Ok(Normalized::Plain(text)),
        Example(r#"["event_properties.user_agent", "user_properties.user_agent"]"#),
        "The browser's user agent. Not hashed, by Meta's rule.";
    ClickId = "click_id" / "fbc", InClear, Other, None,
        "fbc kept, or built from an fbclid",
        click::click_id(text, context.click_seen, first).map(Normalized::Plain),
        Example(r#"["event_properties.fbc", "user_properties.fbc", "user_properties.fbclid"]"#),
        "Meta's click id: the `_fbc` cookie, an `fbclid`, or a URL that holds one. Not hashed.";
    BrowserId = "browser_id" / "fbp", InClear, Other, None,
        "as it came", click::browser_id(text, first).map(Normalized::Plain),
        Example(r#"["event_properties.fbp", "user_properties.fbp"]"#),
        "Meta's browser id: the `_fbp` cookie. Not hashed.";
    SubscriptionId = "subscription_id" / "subscription_id", InClear, PersonId, None,
        "as it came", Ok(Normalized::Plain(text)),
        Example(r#""user_properties.subscription_id""#), "Subscription id. Not hashed.";
    FacebookLoginId = "facebook_login_id" / "fb_login_id", InClear, Other, None,
        "whole number", identifier::facebook_login_id(text).map(Normalized::Integer),
        Example(r#""user_properties.facebook_id""#), "App-scoped id of Facebook Login. Not hashed.";
    LeadId = "lead_id" / "lead_id", InClear, Other, None,
        "whole number", identifier::lead_id(text).map(Normalized::Integer),
        Example(r#""event_properties.lead_id""#), "Id of a lead from Meta's lead ads. Not hashed.";
    MobileAdvertiserId = "mobile_advertiser_id" / "madid", InClear, Other, None,
        "as it came", identifier::mobile_advertiser_id(text).map(Normalized::Plain),
        Example(r#"["idfa", "adid"]"#), "Advertising id of a phone; app events only. Not hashed.";
    AnonymousId = "anonymous_id" / "anon_id", InClear, PersonId, None,
        "as it came", Ok(Normalized::Plain(text)),
        Example(r#""device_id""#), "Id of the app's installation; app events only. Not hashed.";
}
