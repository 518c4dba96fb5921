//! `[sync.<name>]` and the tables below it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use config::ValueKind;
use secrecy::SecretString;

use crate::config::codecs::{
    LONG, MOST_BYTES, boolean, choice, duration, list, parsed, size, table, text,
};
use crate::config::delivery::DeliveryConfig;
use crate::config::expressions::{
    CONDITIONS, PassedProperties, VALUE, codecs, conditions, print, value,
};
use crate::config::fields::AppField;
use crate::config::mapping::{EventConfig, MappingConfig, events, mapping_of_sync};
use crate::config::node::Node;
use crate::config::print::{Page, text as toml_text};
use crate::config::rule_tests::{RuleTest, rule_tests};
use crate::config::schema::KeyDefault::{Example, Required, Table as Below, Value, Warned};
use crate::config::schema::{Codec, Key, KnownTable, Section, Table, keys, samples, section};
use crate::config::secrets::{access_token, printed_file_of, secret_of_meta};
use crate::config::{SyncName, is_test_event_code};
use crate::event::money::{is_currency, is_subunit};
use crate::expr::condition::Condition;
use crate::expr::path::Path;
use crate::expr::value::ValueExpr;
use crate::normalize::date::DateOrder;
use crate::normalize::identifier::ExternalIdCase;

const HOUR: Duration = Duration::from_secs(60 * 60);

section! {
    /// `[sync.<name>]`. Beside a mistake stand-ins keep the rules readable, so that mistakes in them
    /// are found in the same go; nothing runs by them.
    #[derive(Clone, Debug)]
    pub struct SyncConfig = Section::new(
        "sync.<name>",
        "One stream of events to one pixel. The name is lower-case letters and digits, in parts \
         joined by single underscores, and begins with a letter.",
    );

    enabled: bool = boolean(), Value("true"),
        "Amplitude's \"Status\". A disabled sync takes nothing in (its events are filtered, reason \
         `sync_disabled`) and still drains." else true;
    pixel_id: String = Codec::new("digits", read_pixel_id, |id| toml_text(id)), Required(r#""123456789012345""#),
        "The Pixel (dataset) ID." else String::new();
    access_token: SecretString = access_token("access_token_file"), Required(r#""REPLACE_ME""#),
        "The Conversions API access token. Required, unless there is `access_token_file`."
        else SecretString::default();
    access_token_file: Option<PathBuf> = printed_file_of("access_token"), Example(r#""/run/secrets/web_token""#),
        "A file that holds the token, in place of `access_token`; a new token in it is picked \
         up.";
    test_event_code: Option<String> = text("letters and digits, as a text", is_test_event_code).optional(),
        Example(r#""TEST12345""#),
        "Shows the events in Meta's Test Events tool, where they still count. Warned about at \
         start.";
    app_secret: Option<SecretString> = secret_of_meta("app_secret_file"), Example(r#""REPLACE_ME""#),
        "Adds `appsecret_proof` to each request.";
    app_secret_file: Option<PathBuf> = printed_file_of("app_secret"), Example(r#""/run/secrets/web_app_secret""#),
        "A file that holds the app secret, in place of `app_secret`; a new secret in it is picked up.";
    send_events: bool = boolean(), Value("true"), "Amplitude's \"Send Events\"." else true;
    consent: Consent = consent(), Warned(r#""not_required""#),
        "Conditions that must hold before anything of a person is used, sent or remembered; an \
         event without consent is filtered, reason `no_consent`. `is` asks for a yes; `is not` \
         also holds where the property is absent, for whoever was never asked." else Consent::Unsaid;
    conditions as "where": Vec<Condition> = codecs::conditions(), Value("[]"),
        "Further conditions that every event must meet." else Vec::new();
    properties: PassedProperties = codecs::properties(), Value("[]"),
        "Amplitude's \"Specify event properties to send\". Nothing is sent unless named; \
         `[\"*\"]` sends all." else PassedProperties::All;
    events: Option<BTreeMap<String, EventConfig>> = events(), Below,
        "Which events are sent, and as what." after "original_event_data";
    mapping: MappingConfig = mapping_of_sync(), Below, "What every event's fields are made from.";
    default_calling_code: Option<CallingCode> = calling_code().optional(), Example(r#""1""#),
        "For phone numbers written without one. `country`: the one of the event's country.";
    date_order: DateOrder = choice(r#""mdy" or "dmy""#, &[("mdy", DateOrder::MonthFirst), ("dmy", DateOrder::DayFirst)]),
        Value(r#""mdy""#), "How a date of birth such as 05/03/1995 is read." else DateOrder::default();
    external_id_case: ExternalIdCase = choice(r#""lower" or "keep""#, &[("lower", ExternalIdCase::Lower), ("keep", ExternalIdCase::Keep)]),
        Value(r#""lower""#),
        "What happens to an external id before it is hashed. `keep` is for sites whose ids \
         differ by case alone and that have no Pixel: it hashes ids in lower case, always. Warned \
         about by `check`." else ExternalIdCase::default();
    limited_data_use: LimitedDataUse = table(), Below, "Meta's Limited Data Use." else LimitedDataUse::default();
    page_url_parameters: Vec<String> = list("a list of names of parameters, in which * stands for any characters", parameter_name),
        Value(r#"["fbclid", "utm_*", "gclid", "gclsrc", "gbraid", "wbraid", "dclid", "gad_source", "gad_campaignid", "msclkid", "ttclid", "twclid", "li_fat_id", "rdt_cid", "sccid", "epik", "yclid", "ko_click_id", "irclickid"]"#),
        "What stays of the query of a page's address, in `event_source_url`, `referrer_url` and \
         properties; a site's own parameters tell of people and sessions. `[\"*\"]` keeps all."
        after "referrer_url" else Vec::new();
    currency: Option<String> = currency().optional(), Example(r#""USD""#),
        "The currency of every value of the sync that names none, neither by a mapping nor by \
         Amplitude's revenue properties.";
    browser_pixel: Option<bool> = boolean().optional(), Example("true"),
        "Whether Meta's Pixel reports the same events from browsers. Meta pairs the two for 48 \
         hours, and counts a website event that comes later once more. `true` keeps those back \
         (`too_old_for_pixel`), `false` sends them; absent, they are sent and warned about.";
    allow_personal_data: Vec<String> = list("a list of texts", |node| node.text().map(str::to_owned)),
        Value("[]"),
        "Names of properties that may go out in clear though a hashed field reads them, or though \
         they hold an e-mail address or the number of a phone or card." else Vec::new();
    app: Option<AppConfig> = table().optional(), Below, "App events.";
    user_memory: Option<UserMemory> = table().optional(), Below, "What is remembered of people.";
    delivery: DeliveryConfig = table(), Below, "How requests are made.";
    tests as "test": Vec<RuleTest> = rule_tests(), Below, "Rule tests, run by `check`." else Vec::new();
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

fn consent() -> Codec<Consent> {
    let expects = "\"not_required\", or a list of conditions such as { property = \"user_properties.ads_consent\", op = \"is\", value = \"granted\" }";
    let print = |consent: &Consent| match consent.conditions() {
        [] => toml_text("not_required"),
        asked => print::conditions(asked),
    };
    Codec::new(expects, read_consent, print).or_default()
}

fn read_consent(node: &Node<'_>) -> Option<Consent> {
    if matches!(node.kind(), ValueKind::String(_)) {
        return node
            .choice(&[("not_required", ())])
            .map(|()| Consent::NotRequired);
    }
    let conditions = conditions(node)?;
    if conditions.is_empty() {
        return node.unexpected();
    }
    Some(Consent::Conditions(conditions))
}

/// Digits, written as a text or as a number. The value is not repeated: a token may stand there by
/// mistake.
fn read_pixel_id(node: &Node<'_>) -> Option<String> {
    let id = match node.kind() {
        ValueKind::I64(number) => number.to_string(),
        ValueKind::String(text) => text.trim().to_owned(),
        _ => return node.unexpected_unshown(),
    };
    let is_id = !id.is_empty() && id.len() <= 20 && id.bytes().all(|byte| byte.is_ascii_digit());
    if is_id {
        Some(id)
    } else {
        node.unexpected_unshown()
    }
}

/// An international calling code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallingCode {
    /// Digits, such as `1` or `44`.
    Fixed(String),
    /// `"country"`: the calling code of the event's country.
    FromCountry,
}

fn calling_code() -> Codec<CallingCode> {
    let print = |code: &CallingCode| match code {
        CallingCode::Fixed(digits) => toml_text(digits),
        CallingCode::FromCountry => toml_text("country"),
    };
    Codec::new(
        "a calling code such as \"1\", or \"country\"",
        read_calling_code,
        print,
    )
}

fn read_calling_code(node: &Node<'_>) -> Option<CallingCode> {
    if let ValueKind::I64(number) = node.kind() {
        return match number {
            1..=9999 => Some(CallingCode::Fixed(number.to_string())),
            _ => node.unexpected(),
        };
    }
    node.parsed(|text| {
        if text == "country" {
            return Some(CallingCode::FromCountry);
        }
        let digits = text.strip_prefix('+').unwrap_or(text);
        let is_code = (1..=4).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        is_code.then(|| CallingCode::Fixed(digits.to_owned()))
    })
}

fn currency() -> Codec<String> {
    parsed("a currency of ISO 4217 such as \"USD\"", |text| {
        let code = text.to_ascii_uppercase();
        (is_currency(&code) && !is_subunit(text)).then_some(code)
    })
}

/// The name of a parameter in a page's address, or a pattern of names.
fn parameter_name(node: &Node<'_>) -> Option<String> {
    let name = node.text()?;
    if name.contains(['=', '&', '?', '#', ' ']) {
        return node.refuse(format!(
            "found {name:?}, expected the name of a parameter alone, such as \"fbclid\" or \"utm_*\""
        ));
    }
    Some(name.to_owned())
}

section! {
    /// `[sync.<name>.limited_data_use]`.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct LimitedDataUse = Section::new("sync.<name>.limited_data_use", "Meta's Limited Data Use.");

    mode: LimitedDataUseMode = mode(), Value(r#""off""#),
        "`off`; `always`: for every event; `when`: for events that meet the conditions of \
         `when`.";
    country: LimitedDataUsePlace = place(r#"0, 1, "event", or a value such as "event_properties.ldu_country""#, |code| code <= 1),
        Value("0"),
        "Meta's code: 1 for the USA, 0 lets Meta locate the person; `event`: from the event's \
         country; a value: Meta's code or a country, from the event.";
    // Which numbers are states, `map` knows.
    state: LimitedDataUsePlace = place(r#"0, a state code of Meta's such as 1000, "event", or a value such as "event_properties.ldu_state""#, |_| true),
        Value("0"),
        "Meta's code, 0 lets Meta locate the person; `event`: from the event's region; a value: \
         Meta's code or a state, from the event.";
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

/// `mode`, with the conditions of `when`.
fn mode() -> Codec<LimitedDataUseMode> {
    let keys = |own: Key| {
        let [when] = keys! {
            "when": CONDITIONS, Example(r#"[{ property = "region", op = "is", value = "California" }]"#),
                r#"The conditions of `mode = "when"`."#;
        };
        vec![own.expecting(r#""off", "always" or "when""#), when]
    };
    Codec::of_table(keys, read_mode, |mode, name, page| match mode {
        LimitedDataUseMode::Off => page.key(name, toml_text("off")),
        LimitedDataUseMode::Always => page.key(name, toml_text("always")),
        LimitedDataUseMode::When(held) => {
            page.key(name, toml_text("when"));
            page.key("when", print::conditions(held));
        }
    })
}

fn read_mode(table: &KnownTable<'_>, name: &'static str) -> Option<LimitedDataUseMode> {
    let words = &[("off", "off"), ("always", "always"), ("when", "when")];
    let mode = choice("", words).read(table, name);
    let when = table.get("when");
    let held = when.as_ref().and_then(conditions);
    match (mode?, when) {
        ("when", Some(node)) => match held? {
            conditions if conditions.is_empty() => {
                node.refuse("found an empty list, expected conditions")
            }
            conditions => Some(LimitedDataUseMode::When(conditions)),
        },
        ("when", None) => {
            table.refuse(
                "when",
                "missing, expected the conditions of mode = \"when\"",
            );
            None
        }
        (_, Some(node)) => node.refuse("found conditions, expected them with mode = \"when\" only"),
        ("always", None) => Some(LimitedDataUseMode::Always),
        (_, None) => Some(LimitedDataUseMode::Off),
    }
}

/// Where a person is: Meta's number, if it is one of those that are known, or a value.
fn place(expects: &'static str, is_known: fn(u32) -> bool) -> Codec<LimitedDataUsePlace> {
    let print = |place: &LimitedDataUsePlace| match place {
        LimitedDataUsePlace::From(value) => print::expression(value),
        LimitedDataUsePlace::Code(code) => code.to_string(),
        LimitedDataUsePlace::FromEvent => toml_text("event"),
    };
    Codec::new(expects, move |node| read_place(node, is_known), print)
}

fn read_place(node: &Node<'_>, is_known: fn(u32) -> bool) -> Option<LimitedDataUsePlace> {
    if let ValueKind::String(text) = node.kind()
        && text == "event"
    {
        return Some(LimitedDataUsePlace::FromEvent);
    }
    let is_value = match node.kind() {
        ValueKind::String(text) => Path::parse(text).is_ok(),
        kind => matches!(kind, ValueKind::Array(_) | ValueKind::Table(_)),
    };
    if is_value {
        return value(node).map(LimitedDataUsePlace::From);
    }
    match u32::try_from(node.integer(0..=u64::MAX)?) {
        Ok(code) if is_known(code) => Some(LimitedDataUsePlace::Code(code)),
        _ => node.unexpected(),
    }
}

/// `[sync.<name>.app]`: what app events need and Amplitude does not send.
#[derive(Clone, Debug, Default)]
pub struct AppConfig {
    /// `extinfo` and `app_data` fields, by name.
    pub fields: BTreeMap<AppField, ValueExpr>,
}

impl Table for AppConfig {
    fn section() -> Section {
        app_section()
    }

    fn read(table: &KnownTable<'_>) -> Option<Self> {
        let read = |field: &AppField| {
            let node = table.get(field.mapping_name())?;
            Some((*field, value(&node)?))
        };
        let fields = AppField::ALL.iter().filter_map(read).collect();
        Some(Self { fields })
    }

    fn print(&self, page: &mut Page) {
        for (field, value) in &self.fields {
            page.key(field.mapping_name(), print::expression(value));
        }
    }
}

samples! {
    fn app_section = Section::by_presence(
        "sync.<name>.app",
        "App events: what Amplitude does not send, or sends elsewhere. Table absent: no event has \
     `action_source = \"app\"`.",
    );

    "advertiser_tracking_enabled": VALUE, Example(r#""user_properties.att_authorized""#),
        "Whether the person allowed tracking (ATT on iOS). Absent: no on iOS, yes on Android.";
    "application_tracking_enabled": VALUE, Example("{ constant = true }"),
        "Whether the app itself allows tracking. Absent: yes.";
    "platform": VALUE, Example(r#""event_properties.platform""#),
        "`ios` or `android`, on which Meta insists. Absent, or another word: Amplitude's \
         `platform`, else `os_name`.";
    "bundle_id": VALUE, Example(r#"{ constant = "com.example.shop" }"#),
        "The app's package or bundle id.";
    "short_version": VALUE, Example(r#""version_name""#),
        "The app's version. Absent: Amplitude's `version_name`.";
    "long_version": VALUE, Example(r#""user_properties.build""#),
        "The app's version and build. Absent: Amplitude's `version_name`.";
    "os_version": VALUE, Example(r#""os_version""#),
        "The system's version; Meta insists on it. Absent: Amplitude's `os_version`.";
    "device_model": VALUE, Example(r#""device_model""#),
        "The device's model. Absent: Amplitude's `device_model`, else `device_type`.";
    "locale": VALUE, Example(r#""user_properties.locale""#), "Such as `en_US`.";
    "time_zone": VALUE, Example(r#""user_properties.time_zone""#), "Such as `PST`.";
    "carrier": VALUE, Example(r#""device_carrier""#),
        "The mobile network. Absent: Amplitude's `device_carrier`.";
    "screen_width": VALUE, Example(r#""user_properties.screen_width""#), "In pixels.";
    "screen_height": VALUE, Example(r#""user_properties.screen_height""#), "In pixels.";
    "screen_density": VALUE, Example(r#""user_properties.screen_density""#),
        "Such as `2.00`.";
    "cpu_cores": VALUE, Example(r#""user_properties.cpu_cores""#), "How many.";
    "storage_size": VALUE, Example(r#""user_properties.storage_gb""#), "In GB.";
    "free_storage": VALUE, Example(r#""user_properties.free_gb""#), "In GB.";
    "device_time_zone": VALUE, Example(r#""user_properties.time_zone_name""#),
        "Such as `USA/New York`.";
    "vendor_id": VALUE, Example(r#""idfv""#), "Apple's identifier for vendors.";
    "campaign_ids": VALUE, Example(r#""user_properties.campaign_ids""#), "Of the install.";
    "install_referrer": VALUE, Example(r#""user_properties.install_referrer""#),
        "Google Play's install referrer.";
    "installer_package": VALUE, Example(r#""user_properties.installer""#),
        "What installed the app.";
    "url_schemes": VALUE, Example(r#""user_properties.url_schemes""#), "Of the app.";
    "windows_attribution_id": VALUE, Example(r#""user_properties.windows_attribution_id""#),
        "Of a Windows app.";
}

section! {
    /// `[sync.<name>.user_memory]`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct UserMemory = Section::by_presence(
        "sync.<name>.user_memory",
        "Remembers what people's user properties were, so that later events of the same user or \
         device carry what they lack: traits that SDKs send in identify calls alone, the click id with \
         the time it was first seen, the browser id, address and user agent. Stored hashed, as Meta \
         gets it. Table absent: nothing is remembered.",
    );

    webhook: bool = boolean(), Value("false"),
        "Whether events and user payloads of the webhook feed the memory and take from it too. \
         Amplitude has merged there already, so that it rarely helps.";
    keep_as_is: Vec<String> = list("a list of names of user properties", property_name), Value("[]"),
        "User properties that are remembered as they came, for conditions and `custom_data` that \
         name them. What they hold is then on disk in clear text.";
    max_age: Duration = duration(HOUR..=LONG), Value(r#""90d""#),
        "How long a person is remembered who is not seen.";
    max_bytes: u64 = size(1 << 16..=MOST_BYTES), Value(r#""256MiB""#),
        "Most bytes of the store for it; who was not seen for longest is forgotten first. The \
         memories of all syncs together take at most a quarter of `queue.max_bytes`.";
}

/// The name of a user property, which may hold anything; but a path would name none.
fn property_name(node: &Node<'_>) -> Option<String> {
    let name = node.text()?;
    match name.strip_prefix("user_properties.") {
        Some(name) => node.refuse(format!(
            "found a path, expected the name of a user property alone, such as \"{name}\""
        )),
        None => Some(name.to_owned()),
    }
}

/// All syncs.
pub(super) fn syncs() -> Codec<BTreeMap<SyncName, SyncConfig>> {
    let print = |syncs: &BTreeMap<SyncName, SyncConfig>, name: &'static str, page: &mut Page| {
        for (sync, config) in syncs {
            page.table(&[name, sync.as_str()], |page| config.print(page));
        }
    };
    Codec::on_page("one table per sync, such as [sync.web]", read_syncs, print)
}

fn read_syncs(node: &Node<'_>) -> Option<BTreeMap<SyncName, SyncConfig>> {
    let members = node.members()?;
    if members.is_empty() {
        return node
            .refuse("no sync is configured, expected one table per sync, such as [sync.web]");
    }
    let mut syncs = BTreeMap::new();
    for member in members {
        let name = SyncName::new(member.name);
        if name.is_none() {
            member.node.note(
                "not the name of a sync, expected lower-case letters and digits, in parts joined \
                 by single underscores, beginning with a letter",
            );
        }
        let table = member.node.expecting("a table, as in [sync.web]");
        if let (Some(sync), Some(name)) = (SyncConfig::read_node(&table), name) {
            syncs.insert(name, sync);
        }
    }
    Some(syncs)
}
