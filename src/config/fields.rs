//! The names of fields that a mapping may fill: Meta's customer information and app parameters.

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

/// What Meta asks for of every event of a website.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebsiteField {
    /// The user agent of the browser.
    ClientUserAgent,
    /// The URL of the page.
    EventSourceUrl,
}

impl WebsiteField {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ClientUserAgent, Self::EventSourceUrl];

    /// Meta's key.
    pub const fn meta_key(self) -> &'static str {
        match self {
            Self::ClientUserAgent => "client_user_agent",
            Self::EventSourceUrl => "event_source_url",
        }
    }
}

fields! {
    /// What `[sync.<name>.app]` may fill: members of `app_data`, and slots of its `extinfo`.
    AppField {
        AdvertiserTrackingEnabled = "advertiser_tracking_enabled", "advertiser_tracking_enabled";
        ApplicationTrackingEnabled = "application_tracking_enabled", "application_tracking_enabled";
        Platform = "platform", "extinfo[0]";
        BundleId = "bundle_id", "extinfo[1]";
        ShortVersion = "short_version", "extinfo[2]";
        LongVersion = "long_version", "extinfo[3]";
        OsVersion = "os_version", "extinfo[4]";
        DeviceModel = "device_model", "extinfo[5]";
        Locale = "locale", "extinfo[6]";
        TimeZone = "time_zone", "extinfo[7]";
        Carrier = "carrier", "extinfo[8]";
        ScreenWidth = "screen_width", "extinfo[9]";
        ScreenHeight = "screen_height", "extinfo[10]";
        ScreenDensity = "screen_density", "extinfo[11]";
        CpuCores = "cpu_cores", "extinfo[12]";
        StorageSize = "storage_size", "extinfo[13]";
        FreeStorage = "free_storage", "extinfo[14]";
        DeviceTimeZone = "device_time_zone", "extinfo[15]";
        VendorId = "vendor_id", "vendor_id";
        CampaignIds = "campaign_ids", "campaign_ids";
        InstallReferrer = "install_referrer", "install_referrer";
        InstallerPackage = "installer_package", "installer_package";
        UrlSchemes = "url_schemes", "url_schemes";
        WindowsAttributionId = "windows_attribution_id", "windows_attribution_id";
    }
}
