//! The keys of a sync.

use super::KeyDefault::{Means, Nothing, Refused, WarnedAbout};
use super::{
    BOOLEAN, COUNT, DURATION, FILE, RATE, SECRET, SIZE, Section, TABLE, TEXT, key, secret,
};

const TEXTS: &str = "a list of texts";
const DIGITS: &str = "digits";
/// What a value expression looks like.
pub(in crate::config) const VALUE: &str = "a path such as \"user_properties.email\", a list of paths, \
     { from = …, default = … } or { constant = … }";
/// What a field of `custom_data` looks like.
pub(in crate::config) const CUSTOM_VALUE: &str = "a path such as \"event_properties.total\", a list of paths, \
     { from = …, default = … }, { constant = … } or { each = …, id = … }";
/// What a row of the event table looks like.
pub(in crate::config) const EVENT_ROW: &str =
    "Meta's event name as a text, or a table ({} keeps the name)";
/// What conditions look like.
pub(in crate::config) const CONDITIONS: &str = "a list of conditions such as { property = \"user_properties.plan\", op = \"is\", value = \"pro\" }";
const CONSENT: &str = "\"not_required\", or a list of conditions such as { property = \"user_properties.ads_consent\", op = \"is\", value = \"granted\" }";
const SEND_AS: &str = "Meta's event name as a text, or a value in a list or table";
const ACTION_SOURCE: &str =
    "\"auto\", one of Meta's values such as \"website\", or { from = …, default = … }";

/// `[sync.<name>]`.
pub(in crate::config) static SYNC: Section = Section {
    name: "sync.<name>",
    doc: "One stream of events to one pixel. The name is lower-case letters and digits, in parts \
          joined by single underscores, and begins with a letter.",
    by_presence: false,
    keys: keys! {
        key("enabled", BOOLEAN, Means("true"),
            r#"Amplitude's "Status". A disabled sync takes nothing in (its events are filtered, reason `sync_disabled`) and still drains."#);
        key("pixel_id", DIGITS, Refused(r#""123456789012345""#), "The Pixel (dataset) ID.");
        secret("access_token", SECRET, Refused(r#""REPLACE_ME""#),
            "The Conversions API access token. Required, unless there is `access_token_file`.");
        key("access_token_file", FILE, Nothing(r#""/run/secrets/web_token""#),
            "A file that holds the token, in place of `access_token`; a new token in it is picked \
             up.");
        key("test_event_code", "letters and digits, as a text", Nothing(r#""TEST12345""#),
            "Shows the events in Meta's Test Events tool, where they still count. Warned about at \
             start.");
        secret("app_secret", SECRET, Nothing(r#""REPLACE_ME""#), "Adds `appsecret_proof` to each request.");
        key("app_secret_file", FILE, Nothing(r#""/run/secrets/web_app_secret""#),
            "A file that holds the app secret, in place of `app_secret`; a new secret in it is picked up.");
        key("send_events", BOOLEAN, Means("true"), r#"Amplitude's "Send Events"."#);
        key("consent", CONSENT, WarnedAbout(r#""not_required""#),
            "Conditions that must hold before anything of a person is used, sent or remembered; an \
             event without consent is filtered, reason `no_consent`. `is` asks for a yes; `is not` \
             also holds where the property is absent, for whoever was never asked.");
        key("where", CONDITIONS, Means("[]"), "Further conditions that every event must meet.");
        key("properties", r#"a list of names of event properties, or ["*"]"#, Means("[]"),
            "Amplitude's \"Specify event properties to send\". Nothing is sent unless named; \
             `[\"*\"]` sends all.");
        key("action_source", ACTION_SOURCE, Means(r#""auto""#),
            "Where conversions took place. `auto`: `website` for platform Web or where a page URL \
             was found, `app` where `[sync.<name>.app]` is there and the system's version is \
             known, else `other`.");
        key("event_id", VALUE, Means(r#"["$insert_id", "insert_id", "uuid"]"#),
            "What becomes the `event_id`. Amplitude's own `event_id` counts per device and is \
             refused.");
        key("event_source_url", VALUE,
            Means(r#"['event_properties["[Amplitude] Page Location"]', 'event_properties["[Amplitude] Page URL"]']"#),
            "The page's URL.");
        key("referrer_url", VALUE, Nothing(r#""event_properties.referrer""#),
            "The page's referrer.");
        key("page_url_parameters", "a list of names of parameters, in which * stands for any characters",
            Means(r#"["fbclid", "utm_*", "gclid", "gclsrc", "gbraid", "wbraid", "dclid", "gad_source", "gad_campaignid", "msclkid", "ttclid", "twclid", "li_fat_id", "rdt_cid", "sccid", "epik", "yclid", "ko_click_id", "irclickid"]"#),
            "What stays of the query of a page's address, in `event_source_url`, `referrer_url` and \
             properties; a site's own parameters tell of people and sessions. `[\"*\"]` keeps all.");
        key("opt_out", VALUE, Nothing(r#""user_properties.ads_opt_out""#),
            "Where true, Meta uses the event for attribution only.");
        key("default_calling_code", r#"a calling code such as "1", or "country""#,
            Nothing(r#""1""#),
            "For phone numbers written without one. `country`: the one of the event's country.");
        key("date_order", r#""mdy" or "dmy""#, Means(r#""mdy""#),
            "How a date of birth such as 05/03/1995 is read.");
        key("external_id_case", r#""lower" or "keep""#, Means(r#""lower""#),
            "What happens to an external id before it is hashed. `keep` is for sites whose ids \
             differ by case alone and that have no Pixel: it hashes ids in lower case, always. Warned \
             about by `check`.");
        key("currency", r#"a currency of ISO 4217 such as "USD""#, Nothing(r#""USD""#),
            "The currency of every value of the sync that names none, neither by a mapping nor by \
             Amplitude's revenue properties.");
        key("browser_pixel", BOOLEAN, Nothing("true"),
            "Whether Meta's Pixel reports the same events from browsers. Meta pairs the two for 48 \
             hours, and counts a website event that comes later once more. `true` keeps those back \
             (`too_old_for_pixel`), `false` sends them; absent, they are sent and warned about.");
        key("allow_personal_data", TEXTS, Means("[]"),
            "Names of properties that may go out in clear though a hashed field reads them, or though \
             they hold an e-mail address or the number of a phone or card.");
        key("user_data", TABLE, Nothing(""), "What Meta matches people by.");
        key("custom_data", TABLE, Nothing(""), "What happened.");
        key("original_event_data", TABLE, Nothing(""), "The event that this one adds to.");
        key("events", TABLE, Nothing(""), "Which events are sent, and as what.");
        key("limited_data_use", TABLE, Nothing(""), "Meta's Limited Data Use.");
        key("app", TABLE, Nothing(""), "App events.");
        key("user_memory", TABLE, Nothing(""), "What is remembered of people.");
        key("delivery", TABLE, Nothing(""), "How requests are made.");
        key("test", "tables, each written [[sync.<name>.test]]", Nothing(""), "Rule tests.");
    },
};

/// `[sync.<name>.user_data]`: Amplitude's mappings, and two more.
pub(in crate::config) static USER_DATA: Section = Section {
    name: "sync.<name>.user_data",
    doc: "Amplitude's \"Mappings\": what Meta matches people by. Meta's short keys are accepted too; an \
          empty list switches a field off.",
    by_presence: false,
    keys: keys! {
        key("external_id", VALUE, Means(r#""user_id""#), "Your id of the person. Hashed.");
        key("email", VALUE, Nothing(r#""user_properties.email""#), "E-mail address. Hashed.");
        key("phone", VALUE, Nothing(r#""user_properties.phone""#), "Phone number. Hashed.");
        key("first_name", VALUE, Nothing(r#""user_properties.first_name""#), "First name. Hashed.");
        key("last_name", VALUE, Nothing(r#""user_properties.last_name""#), "Last name. Hashed.");
        key("date_of_birth", VALUE, Nothing(r#""user_properties.birthday""#),
            "Date of birth. Hashed.");
        key("gender", VALUE, Nothing(r#""user_properties.gender""#), "Gender. Hashed.");
        key("city", VALUE, Nothing(r#""city""#), "City. Hashed.");
        key("state", VALUE, Nothing(r#""region""#), "State or region. Hashed.");
        key("zip_code", VALUE, Nothing(r#""user_properties.zip""#), "Postal code. Hashed.");
        key("country", VALUE, Nothing(r#""country""#), "Country. Hashed.");
        key("client_ip_address", VALUE, Means(r#""ip_address""#),
            "IP address. Not hashed, by Meta's rule.");
        key("client_user_agent", VALUE, Nothing(r#"["event_properties.user_agent", "user_properties.user_agent"]"#),
            "The browser's user agent. Not hashed, by Meta's rule.");
        key("click_id", VALUE, Nothing(r#"["event_properties.fbc", "user_properties.fbc", "user_properties.fbclid"]"#),
            "Meta's click id: the `_fbc` cookie, an `fbclid`, or a URL that holds one. Not \
             hashed.");
        key("browser_id", VALUE, Nothing(r#"["event_properties.fbp", "user_properties.fbp"]"#),
            "Meta's browser id: the `_fbp` cookie. Not hashed.");
        key("subscription_id", VALUE, Nothing(r#""user_properties.subscription_id""#),
            "Subscription id. Not hashed.");
        key("facebook_login_id", VALUE, Nothing(r#""user_properties.facebook_id""#),
            "App-scoped id of Facebook Login. Not hashed.");
        key("lead_id", VALUE, Nothing(r#""event_properties.lead_id""#),
            "Id of a lead from Meta's lead ads. Not hashed.");
        key("mobile_advertiser_id", VALUE, Nothing(r#"["idfa", "adid"]"#),
            "Advertising id of a phone; app events only. Not hashed.");
        key("anonymous_id", VALUE, Nothing(r#""device_id""#),
            "Id of the app's installation; app events only. Not hashed.");
    },
};

/// `[sync.<name>.custom_data]`: Meta's standard fields; any other name may stand there too.
pub(in crate::config) static CUSTOM_DATA: Section = Section {
    name: "sync.<name>.custom_data",
    doc: "What happened, for every event of the sync. These are the commonest of Meta's standard \
          fields, typed and checked (docs/CONFIG.md lists all of them); any other name becomes a \
          custom property.",
    by_presence: false,
    keys: keys! {
        key("value", CUSTOM_VALUE, Nothing(r#""event_properties.total""#),
            "The amount of money. Purchase needs it.");
        key("currency", CUSTOM_VALUE,
            Nothing(r#"{ from = "event_properties.currency", default = "USD" }"#),
            "Its currency, by ISO 4217. Purchase needs it.");
        key("content_ids", CUSTOM_VALUE, Nothing(r#""event_properties.products[*].sku""#),
            "Ids of the products.");
        key("content_type", CUSTOM_VALUE, Nothing(r#"{ constant = "product" }"#),
            "`product` or `product_group`.");
        key("contents", CUSTOM_VALUE,
            Nothing(r#"{ each = "event_properties.products", id = "sku", quantity = "qty", item_price = "price" }"#),
            "The products, one object each: the other paths begin at the product, and read the event \
             where they are absent there and begin like `event_properties.…`. `each` may be a list \
             of paths, of which the first present one counts.");
        key("content_name", CUSTOM_VALUE, Nothing(r#""event_properties.product""#),
            "Name of the page or product.");
        key("content_category", CUSTOM_VALUE, Nothing(r#""event_properties.category""#),
            "Category of the page or product.");
        key("order_id", CUSTOM_VALUE, Nothing(r#""event_properties.order_id""#),
            "Id of the order.");
        key("num_items", CUSTOM_VALUE, Nothing(r#""event_properties.items""#),
            "How many items.");
        key("search_string", CUSTOM_VALUE, Nothing(r#""event_properties.query""#),
            "What was searched for.");
        key("status", CUSTOM_VALUE, Nothing(r#""event_properties.status""#),
            "Status of a registration.");
        key("predicted_ltv", CUSTOM_VALUE, Nothing(r#""user_properties.predicted_ltv""#),
            "Predicted lifetime value.");
        key("net_revenue", CUSTOM_VALUE, Nothing(r#""event_properties.margin""#),
            "The margin on the value.");
        key("delivery_category", CUSTOM_VALUE, Nothing(r#"{ constant = "home_delivery" }"#),
            "`in_store`, `curbside` or `home_delivery`.");
    },
};

/// `[sync.<name>.original_event_data]`.
pub(in crate::config) static ORIGINAL_EVENT_DATA: Section = Section {
    name: "sync.<name>.original_event_data",
    doc: "Ties a late or enriched event to the one it adds to.",
    by_presence: true,
    keys: keys! {
        key("event_name", VALUE, Nothing(r#"{ constant = "Purchase" }"#), "Its event name.");
        key("event_time", VALUE, Nothing(r#""event_properties.ordered_at""#), "Its time.");
        key("order_id", VALUE, Nothing(r#""event_properties.order_id""#), "Its order id.");
        key("event_id", VALUE, Nothing(r#""event_properties.first_event_id""#), "Its event id.");
    },
};

/// `[sync.<name>.events]`: the short forms of a row.
pub(in crate::config) static EVENTS: Section = Section {
    name: "sync.<name>.events",
    doc: "Amplitude's \"Select and filter events\", by Amplitude's event type. Table absent: all \
          events, under their own names, without Amplitude's bookkeeping (sessions, identifies) and \
          what it captures by itself (`[Amplitude] …`, `[Experiment] …`, heartbeats).",
    by_presence: true,
    keys: keys! {
        key("Sign Up", EVENT_ROW, Nothing(r#""CompleteRegistration""#),
            "Selected, and sent as another event.");
        key("Trial Started", EVENT_ROW, Nothing("{}"), "Selected, keeps its name.");
        key("*", EVENT_ROW, Nothing("{}"), "Everything else too.");
    },
};

/// `[sync.<name>.events."<event>"]`.
pub(in crate::config) static EVENT: Section = Section {
    name: "sync.<name>.events.\"<event>\"",
    doc: "One row of Amplitude's \"Select and filter events\", by Amplitude's event type; `\"*\"` \
          stands for every other. What is mapped here is laid over the sync's mapping.",
    by_presence: true,
    keys: keys! {
        key("send_as", SEND_AS, Nothing(r#""Purchase""#),
            "Meta's event name. Absent, or a value that finds nothing: Amplitude's.");
        key("where", CONDITIONS,
            Nothing(r#"[{ property = "event_properties.total", op = "greater", value = 0 }]"#),
            "Conditions that the event must meet.");
        key("properties", r#"a list of names of event properties, or ["*"]"#,
            Nothing(r#"["coupon"]"#),
            "Event properties to send, added to the sync's.");
        key("action_source", ACTION_SOURCE, Nothing(r#""website""#), "In place of the sync's.");
        key("event_id", VALUE, Nothing(r#""event_properties.order_id""#),
            "In place of the sync's.");
        key("event_source_url", VALUE, Nothing(r#""event_properties.page""#),
            "In place of the sync's.");
        key("referrer_url", VALUE, Nothing(r#""event_properties.referrer""#),
            "In place of the sync's.");
        key("opt_out", VALUE, Nothing("{ constant = true }"), "In place of the sync's.");
        key("user_data", TABLE, Nothing(""), "Laid over the sync's, field by field.");
        key("custom_data", TABLE, Nothing(""), "Laid over the sync's, field by field.");
        key("original_event_data", TABLE, Nothing(""), "Laid over the sync's, field by field.");
    },
};

/// `[sync.<name>.events."<event>".user_data]`: a sample of the sync's keys.
pub(in crate::config) static EVENT_USER_DATA: Section = Section {
    name: "sync.<name>.events.\"<event>\".user_data",
    doc: "What differs for this event from `[sync.<name>.user_data]`: any of its keys, such as these. \
          An empty list switches a field off.",
    by_presence: true,
    keys: keys! {
        key("external_id", VALUE, Nothing(r#""event_properties.customer_id""#),
            "In place of the sync's.");
        key("lead_id", VALUE, Nothing(r#""event_properties.lead_id""#), "For this event alone.");
        key("phone", VALUE, Nothing("[]"), "Not sent with this event.");
    },
};

/// `[sync.<name>.events."<event>".custom_data]`: a sample of the sync's keys.
pub(in crate::config) static EVENT_CUSTOM_DATA: Section = Section {
    name: "sync.<name>.events.\"<event>\".custom_data",
    doc: "What this event holds beside, or in place of, `[sync.<name>.custom_data]`: any of its keys, \
          such as these, and custom ones.",
    by_presence: true,
    keys: keys! {
        key("value", CUSTOM_VALUE, Nothing(r#""event_properties.total""#),
            "The amount of money. Purchase needs it.");
        key("contents", CUSTOM_VALUE,
            Nothing(r#"{ each = "event_properties.products", id = "sku", quantity = "quantity", item_price = "price" }"#),
            "The products, one object each.");
    },
};

/// `[sync.<name>.events."<event>".original_event_data]`: a sample of the sync's keys.
pub(in crate::config) static EVENT_ORIGINAL_EVENT_DATA: Section = Section {
    name: "sync.<name>.events.\"<event>\".original_event_data",
    doc: "Ties this event to the one it adds to, by the keys of `[sync.<name>.original_event_data]`.",
    by_presence: true,
    keys: keys! {
        key("event_name", VALUE, Nothing(r#"{ constant = "Purchase" }"#),
            "The event name of the other.");
        key("order_id", VALUE, Nothing(r#""event_properties.order_id""#),
            "The order id of the other.");
    },
};

/// `[sync.<name>.limited_data_use]`.
pub(in crate::config) static LIMITED_DATA_USE: Section = Section {
    name: "sync.<name>.limited_data_use",
    doc: "Meta's Limited Data Use.",
    by_presence: false,
    keys: keys! {
        key("mode", r#""off", "always" or "when""#, Means(r#""off""#),
            "`off`; `always`: for every event; `when`: for events that meet the conditions of \
             `when`.");
        key("when", CONDITIONS,
            Nothing(r#"[{ property = "region", op = "is", value = "California" }]"#),
            r#"The conditions of `mode = "when"`."#);
        key("country", r#"0, 1, "event", or a value such as "event_properties.ldu_country""#, Means("0"),
            "Meta's code: 1 for the USA, 0 lets Meta locate the person; `event`: from the event's \
             country; a value: Meta's code or a country, from the event.");
        key("state", r#"0, a state code of Meta's such as 1000, "event", or a value such as "event_properties.ldu_state""#,
            Means("0"),
            "Meta's code, 0 lets Meta locate the person; `event`: from the event's region; a value: \
             Meta's code or a state, from the event.");
    },
};

/// `[sync.<name>.app]`.
pub(in crate::config) static APP: Section = Section {
    name: "sync.<name>.app",
    doc: "App events: what Amplitude does not send, or sends elsewhere. Table absent: no event has \
          `action_source = \"app\"`.",
    by_presence: true,
    keys: keys! {
        key("advertiser_tracking_enabled", VALUE, Nothing(r#""user_properties.att_authorized""#),
            "Whether the person allowed tracking (ATT on iOS). Absent: no on iOS, yes on Android.");
        key("application_tracking_enabled", VALUE, Nothing("{ constant = true }"),
            "Whether the app itself allows tracking. Absent: yes.");
        key("platform", VALUE, Nothing(r#""event_properties.platform""#),
            "`ios` or `android`, on which Meta insists. Absent, or another word: Amplitude's \
             `platform`, else `os_name`.");
        key("bundle_id", VALUE, Nothing(r#"{ constant = "com.example.shop" }"#),
            "The app's package or bundle id.");
        key("short_version", VALUE, Nothing(r#""version_name""#),
            "The app's version. Absent: Amplitude's `version_name`.");
        key("long_version", VALUE, Nothing(r#""user_properties.build""#),
            "The app's version and build. Absent: Amplitude's `version_name`.");
        key("os_version", VALUE, Nothing(r#""os_version""#),
            "The system's version; Meta insists on it. Absent: Amplitude's `os_version`.");
        key("device_model", VALUE, Nothing(r#""device_model""#),
            "The device's model. Absent: Amplitude's `device_model`, else `device_type`.");
        key("locale", VALUE, Nothing(r#""user_properties.locale""#), "Such as `en_US`.");
        key("time_zone", VALUE, Nothing(r#""user_properties.time_zone""#), "Such as `PST`.");
        key("carrier", VALUE, Nothing(r#""device_carrier""#),
            "The mobile network. Absent: Amplitude's `device_carrier`.");
        key("screen_width", VALUE, Nothing(r#""user_properties.screen_width""#), "In pixels.");
        key("screen_height", VALUE, Nothing(r#""user_properties.screen_height""#), "In pixels.");
        key("screen_density", VALUE, Nothing(r#""user_properties.screen_density""#),
            "Such as `2.00`.");
        key("cpu_cores", VALUE, Nothing(r#""user_properties.cpu_cores""#), "How many.");
        key("storage_size", VALUE, Nothing(r#""user_properties.storage_gb""#), "In GB.");
        key("free_storage", VALUE, Nothing(r#""user_properties.free_gb""#), "In GB.");
        key("device_time_zone", VALUE, Nothing(r#""user_properties.time_zone_name""#),
            "Such as `USA/New York`.");
        key("vendor_id", VALUE, Nothing(r#""idfv""#), "Apple's identifier for vendors.");
        key("campaign_ids", VALUE, Nothing(r#""user_properties.campaign_ids""#), "Of the install.");
        key("install_referrer", VALUE, Nothing(r#""user_properties.install_referrer""#),
            "Google Play's install referrer.");
        key("installer_package", VALUE, Nothing(r#""user_properties.installer""#),
            "What installed the app.");
        key("url_schemes", VALUE, Nothing(r#""user_properties.url_schemes""#), "Of the app.");
        key("windows_attribution_id", VALUE, Nothing(r#""user_properties.windows_attribution_id""#),
            "Of a Windows app.");
    },
};

/// `[sync.<name>.user_memory]`.
pub(in crate::config) static USER_MEMORY: Section = Section {
    name: "sync.<name>.user_memory",
    doc: "Remembers what people's user properties were, so that later events of the same user or \
          device carry what they lack: traits that SDKs send in identify calls alone, the click id with \
          the time it was first seen, the browser id, address and user agent. Stored hashed, as Meta \
          gets it. Table absent: nothing is remembered.",
    by_presence: true,
    keys: keys! {
        key("webhook", BOOLEAN, Means("false"),
            "Whether events and user payloads of the webhook feed the memory and take from it too. \
             Amplitude has merged there already, so that it rarely helps.");
        key("keep_as_is", "a list of names of user properties", Means("[]"),
            "User properties that are remembered as they came, for conditions and `custom_data` that \
             name them. What they hold is then on disk in clear text.");
        key("max_age", DURATION, Means(r#""90d""#),
            "How long a person is remembered who is not seen.");
        key("max_bytes", SIZE, Means(r#""256MiB""#),
            "Most bytes of the store for it; who was not seen for longest is forgotten first. The \
             memories of all syncs together take at most a quarter of `queue.max_bytes`.");
    },
};

/// `[sync.<name>.delivery]`.
pub(in crate::config) static DELIVERY: Section = Section {
    name: "sync.<name>.delivery",
    doc: "How requests are made.",
    by_presence: false,
    keys: keys! {
        key("max_batch_events", COUNT, Means("1000"),
            "Most events in one request; Meta takes up to 1000.");
        key("max_batch_bytes", SIZE, Means(r#""1MiB""#), "Most bytes in one request.");
        key("max_batch_delay", DURATION, Means(r#""1s""#), "Longest wait for a batch to fill.");
        key("max_in_flight", COUNT, Means("4"), "Most requests under way.");
        key("requests_per_second", RATE, Means("10"), "Most requests per second.");
        key("events_per_second", RATE, Means(r#""unlimited""#), "Most events per second.");
        key("timeout", DURATION, Means(r#""15s""#), "Longest wait for an answer.");
    },
};

/// `[[sync.<name>.test]]`.
pub(in crate::config) static TEST: Section = Section {
    name: "sync.<name>.test",
    doc: "A rule test, run by `pixel-relay check`: an event, and what must become of it.",
    by_presence: true,
    keys: keys! {
        key("name", TEXT, Nothing(r#""an order becomes a Purchase""#), "What the test shows.");
        key("event", "an event, as a table or as JSON text",
            Nothing(r#"'{"event_type": "Order Completed"}'"#),
            "The event, as a table or as JSON text.");
        key("event_file", FILE, Nothing(r#""events/order.json""#),
            "A file that holds the event as JSON, in place of `event`; a relative path starts \
             from the folder of the configuration file.");
        key("request", "a table of what a browser's own request tells",
            Nothing(r#"{ user_agent = "Mozilla/5.0", cookies._fbp = "fb.1.1790000000000.1234567890", gpc = true }"#),
            "What the request tells where a browser brings the event in, as the paths `request.…` find it. Absent: \
             no browser does.");
        key("now", r#"a time in UTC such as "2026-11-20T18:05:00Z""#,
            Nothing(r#""2026-11-20T18:05:00Z""#),
            "The present moment, as the test sees it.");
        key("outcome", r#""mapped", "filtered" or "invalid""#, Nothing(r#""mapped""#),
            "What becomes of the event. Absent: what `reason` says, else `mapped`.");
        key("reason", r#"a reason such as "not_selected""#, Nothing(r#""not_selected""#),
            "Why, where it is not mapped.");
        key("fields", TABLE, Nothing(r#"{ event_name = "Purchase", custom_data.value = 59.9 }"#),
            "Fields of the mapped event that must be so, nested as in the event; there may be \
             others.");
    },
};
