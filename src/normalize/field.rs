//! Meta's customer information parameters.

macro_rules! fields {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $mapping:literal, $meta:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the names of Amplitude's and Meta's own tables")]
        pub enum $name { $($variant,)+ }

        impl $name {
            /// Every field, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in the configuration, as on Amplitude's mapping page.
            pub const fn mapping_name(self) -> &'static str {
                match self { $(Self::$variant => $mapping,)+ }
            }

            /// Meta's key.
            pub const fn meta_key(self) -> &'static str {
                match self { $(Self::$variant => $meta,)+ }
            }

            /// Finds a field by either name.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|field| field.mapping_name() == name || field.meta_key() == name)
            }
        }
    };
}

fields! {
    /// Meta's customer information parameters.
    UserDataField {
        ExternalId = "external_id", "external_id";
        Email = "email", "em";
        Phone = "phone", "ph";
        FirstName = "first_name", "fn";
        LastName = "last_name", "ln";
        DateOfBirth = "date_of_birth", "db";
        Gender = "gender", "ge";
        City = "city", "ct";
        State = "state", "st";
        ZipCode = "zip_code", "zp";
        Country = "country", "country";
        ClientIpAddress = "client_ip_address", "client_ip_address";
        ClientUserAgent = "client_user_agent", "client_user_agent";
        ClickId = "click_id", "fbc";
        BrowserId = "browser_id", "fbp";
        SubscriptionId = "subscription_id", "subscription_id";
        FacebookLoginId = "facebook_login_id", "fb_login_id";
        LeadId = "lead_id", "lead_id";
        MobileAdvertiserId = "mobile_advertiser_id", "madid";
        AnonymousId = "anonymous_id", "anon_id";
    }
}
