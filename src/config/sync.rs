//! `[sync.<name>]` and the tables below it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::ValueKind;
use secrecy::SecretString;

use crate::config::amounts::{bytes, count, rate};
use crate::config::delivery::DeliveryConfig;
use crate::config::expressions::PassedProperties;
use crate::config::expressions::{conditions, properties, value};
use crate::config::fields::AppField;
use crate::config::keys::sync::{APP, DELIVERY, LIMITED_DATA_USE, SYNC, USER_MEMORY, VALUE};
use crate::config::mapping::{EventConfig, MappingConfig};
use crate::config::mapping::{events, mapping};
use crate::config::rule_tests;
use crate::config::rule_tests::RuleTest;
use crate::config::secrets;
use crate::config::values::Node;
use crate::config::{SyncName, is_test_event_code};
use crate::event::money::{is_currency, is_subunit};
use crate::expr::condition::Condition;
use crate::expr::path::Path as ValuePath;
use crate::expr::value::ValueExpr;

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
    pub fields: BTreeMap<AppField, ValueExpr>,
}

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Longest time for which a person may be remembered: beyond it lies a slip.
const LONGEST_MEMORY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The names of all syncs, whatever may be wrong in them.
pub(super) fn names(node: &Node<'_>) -> Vec<SyncName> {
    node.member_names().filter_map(SyncName::new).collect()
}

/// Reads all syncs. Files of rule tests are looked for in `folder`.
pub(super) fn all(node: &Node<'_>, folder: &Path) -> Option<BTreeMap<SyncName, SyncConfig>> {
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
        if let (Some(sync), Some(name)) = (sync(&table, folder), name) {
            syncs.insert(name, sync);
        }
    }
    Some(syncs)
}

fn sync(node: &Node<'_>, folder: &Path) -> Option<SyncConfig> {
    let table = node.table(&SYNC)?;
    let enabled = table.require("enabled").and_then(|node| node.boolean());
    let pixel_id = table.require("pixel_id").and_then(|node| pixel_id(&node));
    let token = secrets::unbroken(&table, "access_token", "access_token_file");
    if table
        .get("access_token")
        .or_else(|| table.get("access_token_file"))
        .is_none()
    {
        table.refuse(
            "access_token",
            "missing, expected the Conversions API access token (or access_token_file)",
        );
    }
    let test_event_code = table
        .get("test_event_code")
        .and_then(|node| node.parsed(|text| is_test_event_code(text).then(|| text.to_owned())));
    let app_secret = secrets::unbroken(&table, "app_secret", "app_secret_file");
    let send_events = table.require("send_events").and_then(|node| node.boolean());
    let consent = table.get("consent").and_then(|node| consent(&node));
    let conditions = table.require("where").and_then(|node| conditions(&node));
    let properties = table
        .require("properties")
        .and_then(|node| properties(&node));
    let events = match table.get("events") {
        Some(node) => events(&node).map(Some),
        None => Some(None),
    };
    let mapping = mapping(&table);
    let default_calling_code = table
        .get("default_calling_code")
        .and_then(|node| calling_code(&node));
    let date_order = table.require("date_order").and_then(|node| {
        node.choice(&[("mdy", DateOrder::MonthFirst), ("dmy", DateOrder::DayFirst)])
    });
    let external_id_case = table.require("external_id_case").and_then(|node| {
        node.choice(&[
            ("lower", ExternalIdCase::Lower),
            ("keep", ExternalIdCase::Keep),
        ])
    });
    let currency = table.get("currency").and_then(|node| {
        node.parsed(|text| {
            let code = text.to_ascii_uppercase();
            (is_currency(&code) && !is_subunit(text)).then_some(code)
        })
    });
    let browser_pixel = table.get("browser_pixel").and_then(|node| node.boolean());
    let limited_data_use = table
        .require("limited_data_use")
        .and_then(|node| limited_data_use(&node));
    let app = table.get("app").and_then(|node| app(&node));
    let page_url_parameters = table
        .require("page_url_parameters")
        .and_then(|node| node.list(parameter_name));
    let allow_personal_data = table
        .require("allow_personal_data")
        .and_then(|node| node.list(|node| node.text().map(str::to_owned)));
    let user_memory = table.get("user_memory").and_then(|node| user_memory(&node));
    let delivery = table.require("delivery").and_then(|node| delivery(&node));
    let tests = table
        .get("test")
        .map_or_else(|| Some(Vec::new()), |node| rule_tests::all(&node, folder));
    let (access_token, access_token_file) = token.unwrap_or_default();
    let (app_secret, app_secret_file) = app_secret.unzip();
    // Whatever is missing was noted, so nothing will run by this. The stand-ins keep the rules
    // readable, so that mistakes in them are found in the same go.
    Some(SyncConfig {
        enabled: enabled.unwrap_or(true),
        pixel_id: pixel_id.unwrap_or_default(),
        access_token,
        access_token_file,
        test_event_code,
        app_secret,
        app_secret_file: app_secret_file.flatten(),
        send_events: send_events.unwrap_or(true),
        consent: consent.unwrap_or_default(),
        conditions: conditions.unwrap_or_default(),
        properties: properties.unwrap_or(PassedProperties::All),
        events: events?,
        mapping: mapping?,
        default_calling_code,
        date_order: date_order.unwrap_or_default(),
        external_id_case: external_id_case.unwrap_or_default(),
        limited_data_use: limited_data_use.unwrap_or_default(),
        app,
        page_url_parameters: page_url_parameters.unwrap_or_default(),
        allow_personal_data: allow_personal_data.unwrap_or_default(),
        user_memory,
        currency,
        browser_pixel,
        delivery: delivery?,
        tests: tests.unwrap_or_default(),
    })
}

/// Reads what is asked of people's consent.
fn consent(node: &Node<'_>) -> Option<Consent> {
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
fn pixel_id(node: &Node<'_>) -> Option<String> {
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

fn calling_code(node: &Node<'_>) -> Option<CallingCode> {
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

fn limited_data_use(node: &Node<'_>) -> Option<LimitedDataUse> {
    #[derive(Clone, Copy)]
    enum ModeWord {
        Off,
        Always,
        When,
    }

    let table = node.table(&LIMITED_DATA_USE)?;
    let mode = table.require("mode").and_then(|node| {
        node.choice(&[
            ("off", ModeWord::Off),
            ("always", ModeWord::Always),
            ("when", ModeWord::When),
        ])
    });
    let when = table.get("when");
    let held = when.as_ref().and_then(conditions);
    let country = table
        .require("country")
        .and_then(|node| place(&node, |code| code <= 1));
    // Which numbers are states, `map` knows.
    let state = table
        .require("state")
        .and_then(|node| place(&node, |_| true));
    let mode = match (mode?, when) {
        (ModeWord::When, Some(node)) => match held? {
            conditions if conditions.is_empty() => {
                node.refuse("found an empty list, expected conditions")?
            }
            conditions => LimitedDataUseMode::When(conditions),
        },
        (ModeWord::When, None) => {
            table.refuse(
                "when",
                "missing, expected the conditions of mode = \"when\"",
            );
            return None;
        }
        (_, Some(node)) => {
            node.refuse("found conditions, expected them with mode = \"when\" only")?
        }
        (ModeWord::Off, None) => LimitedDataUseMode::Off,
        (ModeWord::Always, None) => LimitedDataUseMode::Always,
    };
    Some(LimitedDataUse {
        mode,
        country: country?,
        state: state?,
    })
}

fn place(node: &Node<'_>, known: impl FnOnce(u32) -> bool) -> Option<LimitedDataUsePlace> {
    if let ValueKind::String(text) = node.kind()
        && text == "event"
    {
        return Some(LimitedDataUsePlace::FromEvent);
    }
    let is_value = match node.kind() {
        ValueKind::String(text) => ValuePath::parse(text).is_ok(),
        kind => matches!(kind, ValueKind::Array(_) | ValueKind::Table(_)),
    };
    if is_value {
        return value(node).map(LimitedDataUsePlace::From);
    }
    match u32::try_from(node.integer(0..=u64::MAX)?) {
        Ok(code) if known(code) => Some(LimitedDataUsePlace::Code(code)),
        _ => node.unexpected(),
    }
}

fn app(node: &Node<'_>) -> Option<AppConfig> {
    let table = node.table(&APP)?;
    let mut fields = BTreeMap::new();
    for field in AppField::ALL {
        let read = table
            .get(field.mapping_name())
            .and_then(|node| value(&node.expecting(VALUE)));
        if let Some(value) = read {
            fields.insert(*field, value);
        }
    }
    Some(AppConfig { fields })
}

fn user_memory(node: &Node<'_>) -> Option<UserMemory> {
    let table = node.table(&USER_MEMORY)?;
    let webhook = table.require("webhook").and_then(|node| node.boolean());
    let keep_as_is = table
        .require("keep_as_is")
        .and_then(|node| node.list(property_name));
    let max_age = table
        .require("max_age")
        .and_then(|node| node.duration(HOUR..=LONGEST_MEMORY));
    let max_bytes = table
        .require("max_bytes")
        .and_then(|node| node.size(1 << 16..=u64::MAX >> 1));
    Some(UserMemory {
        webhook: webhook?,
        keep_as_is: keep_as_is?,
        max_age: max_age?,
        max_bytes: max_bytes?,
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

fn delivery(node: &Node<'_>) -> Option<DeliveryConfig> {
    let table = node.table(&DELIVERY)?;
    let max_batch_events = table
        .require("max_batch_events")
        .and_then(|node| count(&node, 1000));
    let max_batch_bytes = table
        .require("max_batch_bytes")
        .and_then(|node| bytes(&node, 16 << 20));
    let max_batch_delay = table
        .require("max_batch_delay")
        .and_then(|node| node.duration(Duration::ZERO..=Duration::from_secs(60 * 60)));
    let max_in_flight = table
        .require("max_in_flight")
        .and_then(|node| count(&node, 256));
    let requests_per_second = table
        .require("requests_per_second")
        .and_then(|node| rate(&node));
    let events_per_second = table
        .require("events_per_second")
        .and_then(|node| rate(&node));
    let timeout = table
        .require("timeout")
        .and_then(|node| node.duration(Duration::from_millis(100)..=Duration::from_secs(600)));
    // Stand-ins, as for the sync itself.
    Some(DeliveryConfig {
        max_batch_events: max_batch_events.unwrap_or(NonZeroUsize::MIN),
        max_batch_bytes: max_batch_bytes.unwrap_or(NonZeroUsize::MIN),
        max_batch_delay: max_batch_delay.unwrap_or_default(),
        max_in_flight: max_in_flight.unwrap_or(NonZeroUsize::MIN),
        requests_per_second: requests_per_second.flatten(),
        events_per_second: events_per_second.flatten(),
        timeout: timeout.unwrap_or_default(),
    })
}
