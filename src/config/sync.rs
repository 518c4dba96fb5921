//! `[sync.<name>]` and the tables below it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use config::ValueKind;
use secrecy::SecretString;

use crate::config::codecs::{
    self, LONG, MOST_BYTES, boolean, choice, duration, list, parsed, size, table, text,
};
use crate::config::delivery::DeliveryConfig;
use crate::config::expressions::{
    CONDITIONS, PassedProperties, conditions, print, some_conditions, value,
};
use crate::config::fields::AppField;
use crate::config::mapping::{EventConfig, MappingConfig, events, mapping_of_sync};
use crate::config::node::Node;
use crate::config::print::{Page, text as toml_text};
use crate::config::rule_tests::{RuleTest, rule_tests};
use crate::config::schema::KeyDefault::{Example, Required, Table as Below, Value, Warned};
use crate::config::schema::{Codec, Key, KnownTable, Table, keys, section};
use crate::config::secrets::{access_token, printed_file_of, secret};
use crate::config::{SyncName, is_metas_secret, is_test_event_code};
use crate::event::money::{is_currency, is_subunit};
use crate::expr::condition::Condition;
use crate::expr::path::Path;
use crate::expr::value::ValueExpr;
use crate::normalize::date::DateOrder;
use crate::normalize::field::UserDataField;
use crate::normalize::identifier::ExternalIdCase;

const CONSENT: &str = r#""not_required", or a list of conditions such as { property = "user_properties.ads_consent", op = "is", value = "granted" }"#;

const HOUR: Duration = Duration::from_secs(60 * 60);

section! {
    /// `[sync.<name>]`. A stand-in replaces a value that cannot be read, so that one run finds the errors
    /// in the rules too; nothing is sent by it.
    #[derive(Clone, Debug)]
    pub struct SyncConfig = Section::new(
        "sync.<name>",
        "One stream of events to one pixel. The name is lower-case letters and digits, in parts \
         joined by single underscores, and begins with a letter.",
    );

    enabled: bool = boolean(), Value("true"),
        "Amplitude's \"Status\". A disabled sync takes nothing in (its events are filtered, reason \
         `sync_disabled`) and still drains." else true;
    pixel_id: String = Codec::new("digits", read_pixel_id, toml_text).hidden(), Required(r#""123456789012345""#),
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
    app_secret: Option<SecretString> = secret("app_secret_file", is_metas_secret), Example(r#""REPLACE_ME""#),
        "Adds `appsecret_proof` to each request.";
    app_secret_file: Option<PathBuf> = printed_file_of("app_secret"), Example(r#""/run/secrets/web_app_secret""#),
        "A file that holds the app secret, in place of `app_secret`; a new secret in it is picked up.";
    send_events: bool = boolean(), Value("true"), "Amplitude's \"Send Events\"." else true;
    consent: Consent = Codec::new(CONSENT, read_consent, print_consent).or_default(), Warned(r#""not_required""#),
        "Conditions that must hold before anything of a person is used, sent or remembered; an \
         event without consent is filtered, reason `no_consent`. `is` asks for a yes; `is not` \
         also holds where the property is absent, for people who were never asked." else Consent::Unsaid;
    conditions as "where": Vec<Condition> = codecs::conditions(), Value("[]"),
        "Further conditions that every event must meet." else Vec::new();
    properties: PassedProperties = codecs::properties(), Value("[]"),
        "Amplitude's \"Specify event properties to send\". Nothing is sent unless named; \
         `[\"*\"]` sends all." else PassedProperties::All;
    default_calling_code: Option<CallingCode> = Codec::new(r#"a calling code such as "1", or "country""#, read_calling_code, print_calling_code).optional(),
        Example(r#""1""#),
        "For phone numbers written without one. `country`: the one of the event's country.";
    date_order: DateOrder = choice(r#""mdy" or "dmy""#, &[("mdy", DateOrder::MonthFirst), ("dmy", DateOrder::DayFirst)]),
        Value(r#""mdy""#), "How a date of birth such as 05/03/1995 is read." else DateOrder::default();
    external_id_case: ExternalIdCase = choice(r#""lower" or "keep""#, &[("lower", ExternalIdCase::Lower), ("keep", ExternalIdCase::Keep)]),
        Value(r#""lower""#),
        "What happens to an external id before it is hashed. `keep` is for sites whose ids \
         differ by case alone and that have no Pixel: it hashes ids in lower case, always. Warned \
         about by `check`." else ExternalIdCase::default();
    page_url_parameters: Vec<String> = list("a list of names of parameters, in which * stands for any characters", parameter_name),
        Value(r#"["fbclid", "utm_*", "gclid", "gclsrc", "gbraid", "wbraid", "dclid", "gad_source", "gad_campaignid", "msclkid", "ttclid", "twclid", "li_fat_id", "rdt_cid", "sccid", "epik", "yclid", "ko_click_id", "irclickid"]"#),
        "What stays of the query of a page's address, in `event_source_url`, `referrer_url` and \
         properties; a site's own parameters tell of people and sessions. `[\"*\"]` keeps all."
        else Vec::new();
    currency: Option<String> = parsed(r#"a currency of ISO 4217 such as "USD""#, currency).optional(), Example(r#""USD""#),
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
    mapping: MappingConfig = mapping_of_sync(), Below, "What every event's fields are made from.";
    events: Option<BTreeMap<String, EventConfig>> = events(), Below,
        "Which events are sent, and as what.";
    limited_data_use: LimitedDataUse = table(), Below, "Meta's Limited Data Use." else LimitedDataUse::default();
    app: Option<AppConfig> = table().optional(), Below, "App events.";
    user_memory: Option<UserMemory> = table().optional(), Below, "What is remembered of people.";
    delivery: DeliveryConfig = table(), Below, "How requests are made.";
    tests as "test": Vec<RuleTest> = rule_tests(), Below, "Rule tests, run by `check`." else Vec::new();
}

/// What a sync asks of people's consent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Consent {
    /// The key is absent: nothing is asked, and a warning says so.
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

fn read_consent(node: &Node<'_>) -> Option<Consent> {
    if matches!(node.kind(), ValueKind::String(_)) {
        return node.parsed(|text| (text == "not_required").then_some(Consent::NotRequired));
    }
    match conditions(node)? {
        none if none.is_empty() => node.unexpected(),
        conditions => Some(Consent::Conditions(conditions)),
    }
}

fn print_consent(consent: &Consent) -> String {
    match consent.conditions() {
        [] => toml_text("not_required"),
        asked => print::conditions(asked),
    }
}

/// Digits, written as a text or as a number. No message shows the value: a token may stand there by
/// mistake.
fn read_pixel_id(node: &Node<'_>) -> Option<String> {
    let id = match node.kind() {
        ValueKind::I64(number) => number.to_string(),
        ValueKind::String(text) => text.trim().to_owned(),
        _ => return node.unexpected(),
    };
    let is_id = !id.is_empty() && id.len() <= 20 && id.bytes().all(|byte| byte.is_ascii_digit());
    if is_id { Some(id) } else { node.unexpected() }
}

/// An international calling code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallingCode {
    /// Digits, such as `1` or `44`.
    Fixed(String),
    /// `"country"`: the calling code of the event's country.
    FromCountry,
}

fn print_calling_code(code: &CallingCode) -> String {
    match code {
        CallingCode::Fixed(digits) => toml_text(digits),
        CallingCode::FromCountry => toml_text("country"),
    }
}

fn read_calling_code(node: &Node<'_>) -> Option<CallingCode> {
    let text = match node.kind() {
        ValueKind::I64(number) => &number.to_string(),
        _ => node.text()?,
    };
    if text == "country" {
        return Some(CallingCode::FromCountry);
    }
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_code = (1..=4).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    if is_code {
        Some(CallingCode::Fixed(digits.to_owned()))
    } else {
        node.unexpected()
    }
}

fn currency(text: &str) -> Option<String> {
    let code = text.to_ascii_uppercase();
    (is_currency(&code) && !is_subunit(text)).then_some(code)
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
    // `map` checks which numbers are states.
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
    let when = keys! {
        "when": CONDITIONS, Example(r#"[{ property = "region", op = "is", value = "California" }]"#),
            r#"The conditions of `mode = "when"`."#;
    };
    let expects = Some(r#""off", "always" or "when""#);
    Codec::of_table(expects, when, read_mode, |mode, name, page| match mode {
        LimitedDataUseMode::Off => page.key(name, toml_text("off")),
        LimitedDataUseMode::Always => page.key(name, toml_text("always")),
        LimitedDataUseMode::When(held) => {
            page.key(name, toml_text("when"));
            page.key("when", print::conditions(held));
        }
    })
}

fn read_mode(table: &KnownTable<'_>, name: &'static str) -> Option<LimitedDataUseMode> {
    const WORDS: &[(&str, LimitedDataUseMode)] = &[
        ("off", LimitedDataUseMode::Off),
        ("always", LimitedDataUseMode::Always),
        ("when", LimitedDataUseMode::When(Vec::new())),
    ];
    let mode = (choice("", WORDS).read)(table, name);
    match (mode?, table.get("when")) {
        (LimitedDataUseMode::When(_), Some(when)) => {
            some_conditions(&when).map(LimitedDataUseMode::When)
        }
        (LimitedDataUseMode::When(_), None) => {
            let message = "missing, expected the conditions of mode = \"when\"";
            table.refuse("when", message);
            None
        }
        (_, Some(node)) => node.refuse("found conditions, expected them with mode = \"when\" only"),
        (mode, None) => Some(mode),
    }
}

/// Where a person is: a known number of Meta's, or a value.
fn place(expects: &'static str, is_known: fn(u32) -> bool) -> Codec<LimitedDataUsePlace> {
    let print = |place: &LimitedDataUsePlace| match place {
        LimitedDataUsePlace::From(value) => print::expression(value),
        LimitedDataUsePlace::Code(code) => code.to_string(),
        LimitedDataUsePlace::FromEvent => toml_text("event"),
    };
    Codec::new(expects, move |node| read_place(node, is_known), print)
}

fn read_place(node: &Node<'_>, is_known: fn(u32) -> bool) -> Option<LimitedDataUsePlace> {
    match node.kind() {
        ValueKind::String(text) if text == "event" => Some(LimitedDataUsePlace::FromEvent),
        ValueKind::Array(_) | ValueKind::Table(_) => value(node).map(LimitedDataUsePlace::From),
        ValueKind::String(text) if Path::parse(text).is_ok() => {
            value(node).map(LimitedDataUsePlace::From)
        }
        _ => match u32::try_from(node.integer(0..=u64::MAX)?) {
            Ok(code) if is_known(code) => Some(LimitedDataUsePlace::Code(code)),
            _ => node.unexpected(),
        },
    }
}

section! {
    /// `[sync.<name>.app]`: what app events need and Amplitude does not send.
    #[derive(Clone, Debug, Default)]
    pub struct AppConfig = Section::by_presence(
        "sync.<name>.app",
        "App events: what Amplitude does not send, or sends elsewhere. Table absent: no event has \
         `action_source = \"app\"`.",
    );

    fields: BTreeMap<AppField, ValueExpr> = app_fields(), Below,
        "`extinfo` and `app_data` fields, by name.";
}

fn app_fields() -> Codec<BTreeMap<AppField, ValueExpr>> {
    let keys: Vec<Key> = AppField::ALL.iter().map(|field| field.key()).collect();
    let read = |table: &KnownTable<'_>, _| {
        let read = |field: &AppField| {
            let node = table.get(field.mapping_name())?;
            Some((*field, value(&node)?))
        };
        Some(AppField::ALL.iter().filter_map(read).collect())
    };
    let print = |fields: &BTreeMap<AppField, ValueExpr>, _: &str, page: &mut Page| {
        for (field, value) in fields {
            page.key(field.mapping_name(), print::expression(value));
        }
    };
    Codec::of_table(None, keys, read, print)
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
         Amplitude has merged those already, so it rarely helps.";
    keep_as_is: Vec<String> = list("a list of names of user properties", property_name), Value("[]"),
        "User properties that are remembered as they came, for conditions and `custom_data` that \
         name them. What they hold is then on disk in clear text.";
    max_age: Duration = duration(HOUR..=LONG), Value(r#""90d""#),
        "How long a person who is not seen is remembered.";
    max_bytes: u64 = size(1 << 16..=MOST_BYTES), Value(r#""256MiB""#),
        "Most bytes of the store for it; people who were not seen for longest are forgotten first. The \
         memories of all syncs together take at most a quarter of `queue.max_bytes`.";
}

/// The name of a user property: any text that is not a path.
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
    for (name, node) in members {
        let name = SyncName::new(name);
        if name.is_none() {
            node.note(
                "not the name of a sync, expected lower-case letters and digits, in parts joined \
                 by single underscores, beginning with a letter",
            );
        }
        let table = node.expecting("a table, as in [sync.web]");
        let Some(sync) = SyncConfig::read_node(&table) else {
            continue;
        };
        if let Some(name) = name {
            warn(&node, &sync);
            syncs.insert(name, sync);
        }
    }
    Some(syncs)
}

/// Warns of what a sync may do and its operator may not have meant.
fn warn(table: &Node<'_>, sync: &SyncConfig) {
    if sync.test_event_code.is_some() {
        table.warn(
            &["test_event_code"],
            "every event is sent as a test event: remove it when you go live",
        );
    }
    if sync.consent == Consent::Unsaid {
        table.warn(
            &["consent"],
            "missing: events are sent whatever a person said to ads; write conditions, such as \
             consent = [{ property = \"user_properties.ads_consent\", op = \"is\", value = \"granted\" }], or \
             consent = \"not_required\"",
        );
    }
    warn_of_limited_data_use(table, sync);
    let original_name = sync.mapping.original_event_data.get("event_name");
    if original_name.is_some_and(ValueExpr::always_gives) {
        table.warn(
            &["original_event_data", "event_name"],
            "a fixed value marks every event as adding to another; expected in the table of the \
             event that does",
        );
    }
}

fn warn_of_limited_data_use(table: &Node<'_>, sync: &SyncConfig) {
    const BY_META: LimitedDataUsePlace = LimitedDataUsePlace::Code(0);
    let limit = &sync.limited_data_use;
    if limit.mode == LimitedDataUseMode::Off || limit.country != BY_META {
        return;
    }
    let address = sync.mapping.user_data.get(&UserDataField::ClientIpAddress);
    let is_switched_off = address.is_some_and(ValueExpr::is_empty);
    let message = if limit.state != BY_META {
        "found 0 beside a state: Meta takes a state together with country = 1"
    } else if limit.mode == LimitedDataUseMode::Always && is_switched_off {
        "found 0, by which Meta locates the person by IP address, and user_data.client_ip_address is \
         switched off"
    } else {
        return;
    };
    table.warn(&["limited_data_use", "country"], message);
}
