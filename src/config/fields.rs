//! What Meta asks for of a website's events, and its app parameters.

use crate::config::expressions::VALUE;
use crate::config::schema::Key;
use crate::config::schema::KeyDefault::Example;
use crate::words::words;

words! {
    /// What Meta asks for of every event of a website, by Meta's keys.
    pub enum WebsiteField {
        /// The user agent of the browser.
        ClientUserAgent = "client_user_agent",
        /// The URL of the page.
        EventSourceUrl = "event_source_url",
    }
}

macro_rules! app_fields {
    ($($field:ident = $mapping:literal, $meta:literal, $example:literal, $doc:literal;)+) => {
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

            /// The key as the reference shows it.
            pub(super) const fn key(self) -> Key {
                match self { $(Self::$field => Key::new($mapping, Example($example), $doc).expecting(VALUE),)+ }
            }
        }
    };
}

app_fields! {
    AdvertiserTrackingEnabled = "advertiser_tracking_enabled", "advertiser_tracking_enabled", r#""user_properties.att_authorized""#,
        "Whether the person allowed tracking (ATT on iOS). Absent: no on iOS, yes on Android.";
    ApplicationTrackingEnabled = "application_tracking_enabled", "application_tracking_enabled", "{ constant = true }",
        "Whether the app itself allows tracking. Absent: yes.";
    Platform = "platform", "extinfo[0]", r#""event_properties.platform""#,
        "`ios` or `android`, on which Meta insists. Absent, or another word: Amplitude's \
            `platform`, else `os_name`.";
    BundleId = "bundle_id", "extinfo[1]", r#"{ constant = "com.example.shop" }"#,
        "The app's package or bundle id.";
    ShortVersion = "short_version", "extinfo[2]", r#""version_name""#,
        "The app's version. Absent: Amplitude's `version_name`.";
    LongVersion = "long_version", "extinfo[3]", r#""user_properties.build""#,
        "The app's version and build. Absent: Amplitude's `version_name`.";
    OsVersion = "os_version", "extinfo[4]", r#""os_version""#,
        "The system's version; Meta insists on it. Absent: Amplitude's `os_version`.";
    DeviceModel = "device_model", "extinfo[5]", r#""device_model""#,
        "The device's model. Absent: Amplitude's `device_model`, else `device_type`.";
    Locale = "locale", "extinfo[6]", r#""user_properties.locale""#, "Such as `en_US`.";
    TimeZone = "time_zone", "extinfo[7]", r#""user_properties.time_zone""#, "Such as `PST`.";
    Carrier = "carrier", "extinfo[8]", r#""device_carrier""#,
        "The mobile network. Absent: Amplitude's `device_carrier`.";
    ScreenWidth = "screen_width", "extinfo[9]", r#""user_properties.screen_width""#, "In pixels.";
    ScreenHeight = "screen_height", "extinfo[10]", r#""user_properties.screen_height""#,
        "In pixels.";
    ScreenDensity = "screen_density", "extinfo[11]", r#""user_properties.screen_density""#,
        "Such as `2.00`.";
    CpuCores = "cpu_cores", "extinfo[12]", r#""user_properties.cpu_cores""#, "How many.";
    StorageSize = "storage_size", "extinfo[13]", r#""user_properties.storage_gb""#, "In GB.";
    FreeStorage = "free_storage", "extinfo[14]", r#""user_properties.free_gb""#, "In GB.";
    DeviceTimeZone = "device_time_zone", "extinfo[15]", r#""user_properties.time_zone_name""#,
        "Such as `USA/New York`.";
    VendorId = "vendor_id", "vendor_id", r#""idfv""#, "Apple's identifier for vendors.";
    CampaignIds = "campaign_ids", "campaign_ids", r#""user_properties.campaign_ids""#,
        "Of the install.";
    InstallReferrer = "install_referrer", "install_referrer", r#""user_properties.install_referrer""#,
        "Google Play's install referrer.";
    InstallerPackage = "installer_package", "installer_package", r#""user_properties.installer""#,
        "What installed the app.";
    UrlSchemes = "url_schemes", "url_schemes", r#""user_properties.url_schemes""#, "Of the app.";
    WindowsAttributionId = "windows_attribution_id", "windows_attribution_id", r#""user_properties.windows_attribution_id""#,
        "Of a Windows app.";
}
