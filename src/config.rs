//! What the operator wants: one struct per stage.
//!
//! A [`Config`] is what was *meant*: paths compiled, sizes in bytes, secrets read from their files.
//! `config::load` makes it from what was *written* and reports every [`ConfigError`] at once; nothing
//! here is checked again later. `docs/CONFIG.md` lists the keys.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use governor::Quota;
use ipnet::IpNet;
use secrecy::SecretString;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use crate::condition::Condition;
use crate::value::ValueExpr;

pub mod load;
pub mod fields;
pub mod reference;
mod warnings;
mod keys;
pub(crate) mod names;
mod graph_versions;
mod placeholders;
mod units;
mod values;
mod amounts;
mod expressions;
pub mod secrets;
pub mod secret_files;
mod stages;
mod syncs;
mod mappings;
mod rule_tests;
mod effective;

use fields::UserDataField;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The public listener.
    pub server: ServerConfig,
    /// Logs.
    pub log: LogConfig,
    /// The listener for operators.
    pub admin: AdminConfig,
    /// Who may send events.
    pub ingest: IngestConfig,
    /// The store.
    pub queue: QueueConfig,
    /// Where events go.
    pub meta: MetaConfig,
    /// One entry per sync, by name.
    pub syncs: BTreeMap<SyncName, SyncConfig>,
}

/// The name of a sync: `[a-z][a-z0-9]*(_[a-z0-9]+)*`, so that an environment variable can say it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncName(Arc<str>);

impl SyncName {
    /// Takes a name that follows the rule; `None` for any other.
    pub fn new(name: &str) -> Option<Self> {
        let mut parts = name.split('_');
        let starts_with_letter = name.starts_with(|first: char| first.is_ascii_lowercase());
        let valid = parts.all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        });
        (starts_with_letter && valid).then(|| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for SyncName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SyncName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        Self::new(&name).ok_or_else(|| D::Error::custom(format!("`{name}` is no name of a sync")))
    }
}

impl fmt::Display for SyncName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key that these names lead to, each quoted where TOML wants it.
pub fn key_of(names: &[&str]) -> String {
    names
        .iter()
        .fold(String::new(), |at, name| names::join(&at, name))
}

/// Whether a text can be a code of Meta's Test Events tool.
pub fn is_test_event_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a text can be a secret that Meta gave out: printable ASCII, and no white space within, which
/// shows that it was pasted wrongly.
pub fn is_metas_secret(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Something wrong in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The key, as in `sync.web.events."Order Completed".send_as`.
    pub key: String,
    /// What was found and what would be right; never a secret.
    pub message: String,
}

impl ConfigError {
    /// Notes a mistake at a key.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// `[server]`: the public listener.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address of `/webhook`, the SDK endpoints and the public `/health`. Default `0.0.0.0:8080`.
    pub listen: SocketAddr,
    /// Largest body taken, in bytes, before and after decompression. Default 2 MiB.
    pub max_body: NonZeroUsize,
    /// Networks whose `X-Forwarded-For` is believed. Default none.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins that browsers may send from. Default none: any.
    pub cors_origins: Vec<String>,
}

/// `[log]`.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Default `text`.
    pub format: LogFormat,
    /// A level, or levels by module: `info`, `info,pixel_relay::deliver=debug`. Default `info`.
    pub level: String,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// `[admin]`: the listener for operators, read-only.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Address of `/metrics` and the detailed `/health`. Default `127.0.0.1:9090`.
    pub listen: SocketAddr,
    /// Asked for as `Authorization: Bearer …`, where set.
    pub secret: Option<SecretString>,
    /// The file that it came from; read again while the daemon runs.
    pub secret_file: Option<PathBuf>,
}

/// `[ingest]`: who may send events.
#[derive(Clone, Debug)]
pub struct IngestConfig {
    /// The header that carries the secret. Default `Authorization`.
    pub header: String,
    /// The secrets that are accepted; empty only with `allow_unauthenticated`.
    pub secrets: Vec<SecretString>,
    /// The files that they came from; read again while the daemon runs.
    pub secret_files: Vec<PathBuf>,
    /// Takes events from anyone. Default false.
    pub allow_unauthenticated: bool,
    /// The Amplitude projects whose SDKs may send here. Default none: the SDK endpoints are off.
    pub api_keys: Vec<ApiKey>,
    /// Requests per second that one address may send to the SDK endpoints. Default 100; `None`:
    /// unlimited.
    pub address_requests_per_second: Option<Rate>,
    /// Where SDK requests are passed on to; https, unless loopback. Default none.
    pub upstream: Option<Url>,
    /// What becomes of SDK requests that cannot be stored here. Default: they are passed on.
    pub upstream_when_full: WhenFull,
    /// Warns when nothing came for so long. Default never.
    pub silence_after: Option<Duration>,
}

/// What becomes of a request for the upstream while nothing of it can be stored here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Amplitude gets it all the same; what Meta misses is counted.
    PassOn,
    /// Its sender is told to send it again.
    Refuse,
}

/// An Amplitude project whose SDKs may send here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The project's API key. Browsers show it to anyone, so it is no secret.
    pub key: String,
    /// The syncs that its events are for; `None`: every sync.
    pub syncs: Option<Vec<SyncName>>,
}

/// `[queue]`: the store.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Folder of the store. Default `data`.
    pub path: PathBuf,
    /// Most bytes in use, over all syncs. Default 10 GiB.
    pub max_bytes: NonZeroU64,
    /// Free disk below which nothing is taken. Default: the smaller of 1 GiB and a tenth of the volume.
    pub min_free_disk: Option<u64>,
    /// How long a repeat is recognised. Default 48 h.
    pub duplicate_window: Duration,
    /// Most ids remembered for it; the oldest leave first. Default 1,800,000.
    pub duplicate_ids: NonZeroUsize,
    /// How long dead letters are kept. Default 30 days.
    pub dead_letter_retention: Duration,
    /// Most bytes of dead letters, within `max_bytes`. Default 1 GiB.
    pub dead_letter_max_bytes: u64,
}

/// `[meta]`: where events go.
#[derive(Clone, Debug)]
pub struct MetaConfig {
    /// Base URL of the Graph API; https, unless loopback. Default `https://graph.facebook.com`.
    pub url: Url,
    /// Graph API version. Default `v26.0`.
    pub api_version: String,
}

/// `[sync.<name>]`: one stream of events to one pixel.
#[derive(Clone, Debug)]
pub struct SyncConfig {
    /// Amplitude's "Status". A disabled sync takes nothing in, and still drains. Default true.
    pub enabled: bool,
    /// Pixel (dataset) id: digits.
    pub pixel_id: String,
    /// Conversions API access token, trimmed.
    pub access_token: SecretString,
    /// The file that the token came from, watched so that a new token is picked up.
    pub access_token_file: Option<PathBuf>,
    /// Shows events in Meta's Test Events tool; they still count. Default none.
    pub test_event_code: Option<String>,
    /// Adds `appsecret_proof` to each request. Default none.
    pub app_secret: Option<SecretString>,
    /// The file that the app secret came from, watched likewise.
    pub app_secret_file: Option<PathBuf>,
    /// Amplitude's "Send Events". Default true.
    pub send_events: bool,
    /// What must hold before anything of a person is used, sent or remembered.
    pub consent: Consent,
    /// Further conditions that every event must meet. Default none.
    pub conditions: Vec<Condition>,
    /// Amplitude's "Specify event properties to send". Default none.
    pub properties: PassedProperties,
    /// Amplitude's "Select and filter events": by Amplitude's event type. `None`: all events.
    pub events: Option<BTreeMap<String, EventConfig>>,
    /// What every event's fields are made from.
    pub mapping: MappingConfig,
    /// Calling code of phone numbers written without one: digits. Default none.
    pub default_calling_code: Option<CallingCode>,
    /// Reads `05/03/1995`. Default month first.
    pub date_order: DateOrder,
    /// Default lower case, as Meta's parameter builder.
    pub external_id_case: ExternalIdCase,
    /// Meta's Limited Data Use.
    pub limited_data_use: LimitedDataUse,
    /// `[sync.<name>.app]`: app events; absent: never `action_source = "app"`.
    pub app: Option<AppConfig>,
    /// Names of the parameters that stay in the address of a page, with `*` for any characters. Default
    /// those of click ids and campaigns.
    pub page_url_parameters: Vec<String>,
    /// Names of properties that may go out in clear though they are hashed or look personal. Default
    /// none.
    pub allow_personal_data: Vec<String>,
    /// `[sync.<name>.user_memory]`: what is remembered of people; absent: nothing.
    pub user_memory: Option<UserMemory>,
    /// The currency of every value that names none: a code of ISO 4217.
    pub currency: Option<String>,
    /// Whether Meta's Pixel reports the same events from browsers. `None`: nobody said.
    pub browser_pixel: Option<bool>,
    /// How requests are made.
    pub delivery: DeliveryConfig,
    /// `[[sync.<name>.test]]`: rule tests, run by `check`.
    pub tests: Vec<RuleTest>,
}

/// What a sync asks of people's consent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Consent {
    /// Nothing, and it was not said aloud: warned about.
    #[default]
    Unsaid,
    /// Nothing.
    NotRequired,
    /// That these conditions hold.
    Conditions(Vec<Condition>),
}

impl Consent {
    /// The conditions; none where nothing is asked.
    pub fn conditions(&self) -> &[Condition] {
        match self {
            Self::Unsaid | Self::NotRequired => &[],
            Self::Conditions(conditions) => conditions,
        }
    }
}

/// `[sync.<name>.user_memory]`: what is remembered of people between events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserMemory {
    /// Whether the webhook feeds it and takes from it, as the endpoints of SDKs do. Default false.
    pub webhook: bool,
    /// Names of user properties that are remembered as they came, not hashed. Default none.
    pub keep_as_is: Vec<String>,
    /// How long a person is remembered who is not seen. Default 90 days.
    pub max_age: Duration,
    /// Most bytes of the store; who was not seen for longest leaves first. Default 256 MiB.
    pub max_bytes: u64,
}

/// What the fields of a server event are made from. An event's own table is laid over its sync's.
#[derive(Clone, Debug, Default)]
pub struct MappingConfig {
    /// Meta's customer information parameters.
    pub user_data: BTreeMap<UserDataField, ValueExpr>,
    /// Meta's standard fields, and custom ones, by Meta's name.
    pub custom_data: BTreeMap<String, CustomValue>,
    /// Default [`ActionSource::Auto`].
    pub action_source: Option<ActionSource>,
    /// The first present one becomes the `event_id`.
    pub event_id: Option<ValueExpr>,
    /// The page's URL.
    pub event_source_url: Option<ValueExpr>,
    /// The page's referrer.
    pub referrer_url: Option<ValueExpr>,
    /// True: for attribution only, no delivery optimisation.
    pub opt_out: Option<ValueExpr>,
    /// `original_event_data`, by Meta's names (`event_name`, `event_time`, `order_id`, `event_id`).
    pub original_event_data: BTreeMap<String, ValueExpr>,
}

/// One row of "Select and filter events".
#[derive(Clone, Debug, Default)]
pub struct EventConfig {
    /// Meta's event name; Amplitude's where it is `None` or finds nothing.
    pub send_as: Option<ValueExpr>,
    /// Conditions that the event must meet. Default none.
    pub conditions: Vec<Condition>,
    /// Event properties to send, added to the sync's.
    pub properties: PassedProperties,
    /// What differs from the sync's mapping.
    pub mapping: MappingConfig,
}

/// Which event properties are passed on as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassedProperties {
    /// `["*"]`.
    All,
    /// Literal names.
    Named(Vec<String>),
}

impl Default for PassedProperties {
    fn default() -> Self {
        Self::Named(Vec::new())
    }
}

/// What a field of `custom_data` is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomValue {
    /// A value expression.
    Value(ValueExpr),
    /// One object per element of a list; an object in place of the list counts as a list of one.
    Each {
        /// Where the list is.
        lists: ValueExpr,
        /// Meta's name of each member, and where it is in the element.
        members: BTreeMap<String, ValueExpr>,
    },
}

/// Where a conversion took place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionSource {
    /// `website` for platform Web or where a page URL was found; `app` where `[sync.<name>.app]` is
    /// set and the version tag and OS version are known; otherwise `other`.
    Auto,
    /// One of Meta's values, for every event.
    Fixed(MetaActionSource),
    /// One of Meta's values, from the event.
    From(ValueExpr),
}

macro_rules! action_sources {
    ($($name:ident = $text:literal,)+) => {
        /// Meta's values of `action_source`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "Meta's own names")]
        pub enum MetaActionSource { $($name,)+ }

        impl MetaActionSource {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Meta's spelling.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Finds a value by Meta's spelling.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

action_sources! {
    Email = "email",
    Website = "website",
    App = "app",
    PhoneCall = "phone_call",
    Chat = "chat",
    PhysicalStore = "physical_store",
    SystemGenerated = "system_generated",
    BusinessMessaging = "business_messaging",
    Other = "other",
}

/// An international calling code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallingCode {
    /// Digits, such as `1` or `44`.
    Fixed(String),
    /// `"country"`: the calling code of the event's country.
    FromCountry,
}

/// The order of day and month in a numeric date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DateOrder {
    /// `mdy`.
    #[default]
    MonthFirst,
    /// `dmy`.
    DayFirst,
}

/// What happens to the case of an external id before it is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ExternalIdCase {
    /// `lower`: lower case, white space deleted.
    #[default]
    Lower,
    /// `keep`: only trimmed, for sites whose ids differ by case alone.
    Keep,
}

/// Meta's Limited Data Use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitedDataUse {
    /// When it applies. Default off.
    pub mode: LimitedDataUseMode,
    /// Meta's country: 1 for the USA, 0 to geolocate. Default 0.
    pub country: LimitedDataUsePlace,
    /// Meta's state code, 0 to geolocate. Default 0.
    pub state: LimitedDataUsePlace,
}

/// When Limited Data Use applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LimitedDataUseMode {
    /// Never.
    #[default]
    Off,
    /// To every event.
    Always,
    /// To events that meet all conditions.
    When(Vec<Condition>),
}

/// Where a person is, for Limited Data Use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitedDataUsePlace {
    /// Meta's number; 0 lets Meta geolocate.
    Code(u32),
    /// `"event"`: from the event's country and region.
    FromEvent,
    /// Meta's number, or a name or code of the place, from the event.
    From(ValueExpr),
}

impl Default for LimitedDataUsePlace {
    fn default() -> Self {
        Self::Code(0)
    }
}

/// `[sync.<name>.app]`: what app events need and Amplitude does not send.
#[derive(Clone, Debug, Default)]
pub struct AppConfig {
    /// `extinfo` and `app_data` fields, by name.
    pub fields: BTreeMap<fields::AppField, ValueExpr>,
}

/// `[sync.<name>.delivery]`: how requests are made.
#[derive(Clone, Debug)]
pub struct DeliveryConfig {
    /// Most events in one request, 1 to 1000. Default 1000.
    pub max_batch_events: NonZeroUsize,
    /// Most bytes in one request. Default 1 MiB.
    pub max_batch_bytes: NonZeroUsize,
    /// Longest wait for a batch to fill. Default 1 s.
    pub max_batch_delay: Duration,
    /// Most requests under way. Default 4.
    pub max_in_flight: NonZeroUsize,
    /// Requests per second. Default 10; `None`: unlimited.
    pub requests_per_second: Option<Rate>,
    /// Events per second. Default `None`: unlimited.
    pub events_per_second: Option<Rate>,
    /// Longest wait for an answer. Default 15 s.
    pub timeout: Duration,
}

/// A positive number of things per second; fractions are allowed.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// Takes a finite, positive number; `None` for any other.
    pub fn new(per_second: f64) -> Option<Self> {
        (per_second.is_finite() && per_second >= 0.001).then_some(Self(per_second))
    }

    /// Things per second.
    pub const fn per_second(self) -> f64 {
        self.0
    }

    /// Things in so many seconds: at least one, and at most what fits.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and a rate is positive"
    )]
    pub fn within(self, seconds: f64) -> NonZeroU32 {
        NonZeroU32::new((self.0 * seconds) as u32).unwrap_or(NonZeroU32::MIN)
    }

    /// This rate for a limiter, with so many at once after a pause; `None` where it is too high to be a limit.
    pub fn quota(self, burst: NonZeroU32) -> Option<Quota> {
        let period = Duration::from_secs_f64(self.0.recip());
        Some(Quota::with_period(period)?.allow_burst(burst))
    }
}

/// `[[sync.<name>.test]]`: an event, and what must become of it.
#[derive(Clone, Debug)]
pub struct RuleTest {
    /// What the test shows.
    pub name: String,
    /// The event, as JSON text.
    pub event: String,
    /// What a browser's own request tells, as JSON text, where one brings the event in.
    pub request: Option<String>,
    /// The present moment, as the test sees it.
    pub now: crate::clock::UnixMillis,
    /// `mapped`, or a reason's outcome: `filtered`, `invalid`.
    pub outcome: String,
    /// The reason, where one is expected.
    pub reason: Option<String>,
    /// Fields of the mapped event that must be so; others may be there too.
    pub fields: serde_json::Value,
}
