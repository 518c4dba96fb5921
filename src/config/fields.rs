//! What Meta asks for of a website's events, and the names of its app parameters.

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

macro_rules! app_fields {
    ($($field:ident = $mapping:literal, $meta:literal;)+) => {
        /// What `[sync.<name>.app]` may fill: members of `app_data`, and slots of its `extinfo`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum AppField { $($field,)+ }

        impl AppField {
            /// Every field, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$field,)+];

            /// The name in the configuration.
            pub const fn mapping_name(self) -> &'static str {
                match self { $(Self::$field => $mapping,)+ }
            }

            /// Meta's key.
            pub const fn meta_key(self) -> &'static str {
                match self { $(Self::$field => $meta,)+ }
            }
        }
    };
}

app_fields! {
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
