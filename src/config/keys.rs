//! The table of keys: each with what it takes, its default and a sentence.
//!
//! Everything that has to know which keys there are reads this one table: the layer of defaults, the
//! reader (what is expected, which key was meant), `docs/CONFIG.md` and `config/pixel-relay.toml`.

/// A table of the configuration.
#[derive(Debug)]
pub(super) struct Section {
    /// Its name, with `<name>` and `<event>` for what the operator chooses.
    pub(super) name: &'static str,
    /// What it is about.
    pub(super) doc: &'static str,
    /// Its keys, in the order of the documentation.
    pub(super) keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name.
    pub(super) name: &'static str,
    /// What it takes, to follow "expected".
    pub(super) expects: &'static str,
    /// What holds where it is absent, or an example.
    pub(super) absent: Absent,
    /// What it does: a sentence or two.
    pub(super) doc: &'static str,
    /// Whether its value must never be shown.
    pub(super) secret: bool,
}

/// What holds where a key is absent; the texts are TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// This value.
    Means(&'static str),
    /// Nothing; the text is an example.
    Nothing(&'static str),
    /// The key cannot be absent; the text is an example.
    Refused(&'static str),
}

impl Section {
    /// Finds a key by its name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The defaults, as lines of TOML.
    pub(super) fn defaults(&self) -> String {
        self.keys
            .iter()
            .filter_map(|key| match key.absent {
                Absent::Means(value) => Some(format!("{} = {value}\n", key.name)),
                Absent::Nothing(_) | Absent::Refused(_) => None,
            })
            .collect()
    }
}

const fn key(name: &'static str, expects: &'static str, absent: Absent, doc: &'static str) -> Key {
    Key {
        name,
        expects,
        absent,
        doc,
        secret: false,
    }
}

const fn secret(
    name: &'static str,
    expects: &'static str,
    absent: Absent,
    doc: &'static str,
) -> Key {
    Key {
        name,
        expects,
        absent,
        doc,
        secret: true,
    }
}

const ADDRESS: &str = "an IP address and port such as \"0.0.0.0:8080\"";
const BOOLEAN: &str = "true or false";
const TEXT: &str = "a text";
const TEXTS: &str = "a list of texts";
const SIZE: &str = "a size such as \"2MiB\" or a number of bytes";
const DURATION: &str = "a duration such as \"30s\", \"15m\" or \"48h\"";
const COUNT: &str = "a whole number";
const RATE: &str = "a number such as 10 or 0.5, or \"unlimited\"";
const FILE: &str = "the path of a file";
const TABLE: &str = "a table";
const SECRET: &str = "a text of printable ASCII characters";
const DIGITS: &str = "digits, as a text";
/// What a value expression looks like.
pub(super) const VALUE: &str = "a path such as \"user_properties.email\", a list of paths, \
     { from = …, default = … } or { constant = … }";
/// What a field of `custom_data` looks like.
pub(super) const CUSTOM_VALUE: &str = "a path such as \"event_properties.total\", a list of paths, \
     { from = …, default = … }, { constant = … } or { each = …, id = … }";
/// What a row of the event table looks like.
pub(super) const EVENT_ROW: &str = "Meta's event name as a text, or a table ({} keeps the name)";
/// What a path looks like.
pub(super) const PATH: &str =
    "a path such as \"event_properties.total\" or 'event_properties[\"Order Value\"]'";
const CONDITIONS: &str = "a list of conditions such as { property = \"user_properties.plan\", op = \"is\", value = \"pro\" }";
const ACTION_SOURCE: &str =
    "\"auto\", one of Meta's values such as \"website\", or { from = …, default = … }";

/// The outermost table.
pub(super) static ROOT: Section = Section {
    name: "",
    doc: "",
    keys: &[
        key("server", TABLE, Absent::Nothing(""), "The public listener."),
        key("log", TABLE, Absent::Nothing(""), "Logs."),
        key(
            "admin",
            TABLE,
            Absent::Nothing(""),
            "The listener for operators.",
        ),
        key("ingest", TABLE, Absent::Nothing(""), "Who may send events."),
        key("queue", TABLE, Absent::Nothing(""), "The store."),
        key("meta", TABLE, Absent::Nothing(""), "Where events go."),
        key(
            "sync",
            "one table per sync, such as [sync.web]",
            Absent::Refused(""),
            "The streams of events, by name.",
        ),
    ],
};

/// `[server]`.
pub(super) static SERVER: Section = Section {
    name: "server",
    doc: "The public listener.",
    keys: &[
        key(
            "listen",
            ADDRESS,
            Absent::Means("\"0.0.0.0:8080\""),
            "Address of `/webhook` and of the public `/health`.",
        ),
        key(
            "max_body",
            SIZE,
            Absent::Means("\"2MiB\""),
            "Largest body taken, before and after decompression.",
        ),
        key(
            "trusted_proxies",
            "a list of networks such as \"10.0.0.0/8\"",
            Absent::Means("[]"),
            "Networks whose `X-Forwarded-For` is believed.",
        ),
        key(
            "cors_origins",
            "a list of origins such as \"https://shop.example.com\", or \"*\"",
            Absent::Means("[]"),
            "Origins that browsers may send from.",
        ),
    ],
};

/// `[log]`.
pub(super) static LOG: Section = Section {
    name: "log",
    doc: "Logs, written to standard error.",
    keys: &[
        key(
            "format",
            "\"text\" or \"json\"",
            Absent::Means("\"text\""),
            "`text` for people, `json` for one object per line.",
        ),
        key(
            "level",
            "a level (off, error, warn, info, debug, trace), or levels by module such as \
             \"info,pixel_relay::deliver=debug\"",
            Absent::Means("\"info\""),
            "How much is written: a level, or levels by module.",
        ),
    ],
};

/// `[admin]`.
pub(super) static ADMIN: Section = Section {
    name: "admin",
    doc: "The listener for operators, read-only.",
    keys: &[
        key(
            "listen",
            ADDRESS,
            Absent::Means("\"127.0.0.1:9090\""),
            "Address of `/metrics` and of the detailed `/health`.",
        ),
        secret(
            "secret",
            SECRET,
            Absent::Nothing("\"…\""),
            "Asked for as `Authorization: Bearer …`; for when it must listen wider, as for \
             Prometheus beside a container.",
        ),
        key(
            "secret_file",
            FILE,
            Absent::Nothing("\"/run/secrets/admin_secret\""),
            "A file that holds the secret, in place of `secret`.",
        ),
    ],
};

/// `[ingest]`.
pub(super) static INGEST: Section = Section {
    name: "ingest",
    doc: "Who may send events.",
    keys: &[
        key(
            "header",
            "the name of an HTTP header",
            Absent::Means("\"Authorization\""),
            "The header that carries the secret: one of those set in Amplitude's webhook.",
        ),
        secret(
            "secret",
            "a text of printable ASCII characters, or a list of them",
            Absent::Refused("\"Bearer REPLACE_ME\""),
            "The header's whole value. A list accepts each of its entries, so that secrets can be \
             rotated.",
        ),
        key(
            "secret_file",
            "the path of a file, or a list of them",
            Absent::Nothing("\"/run/secrets/ingest_secret\""),
            "A file that holds the secret, in place of `secret`.",
        ),
        key(
            "allow_unauthenticated",
            BOOLEAN,
            Absent::Means("false"),
            "Takes events from anyone, in place of a secret.",
        ),
        key(
            "silence_after",
            DURATION,
            Absent::Nothing("\"30m\""),
            "Warns when nothing came for so long.",
        ),
    ],
};

/// `[queue]`.
pub(super) static QUEUE: Section = Section {
    name: "queue",
    doc: "The store: every accepted event, until Meta has taken it.",
    keys: &[
        key(
            "path",
            "the path of a folder",
            Absent::Means("\"data\""),
            "Folder of the store.",
        ),
        key(
            "max_bytes",
            SIZE,
            Absent::Means("\"10GiB\""),
            "Most bytes in use. Shared out among the syncs; a sync that is full answers 503.",
        ),
        key(
            "min_free_disk",
            SIZE,
            Absent::Nothing("\"1GiB\""),
            "Free disk below which nothing is taken. Absent: the smaller of 1 GiB and a tenth of \
             the volume.",
        ),
        key(
            "duplicate_window",
            DURATION,
            Absent::Means("\"48h\""),
            "How long a repeat is recognised; at most 8 days. Amplitude repeats for 4 hours.",
        ),
        key(
            "duplicate_ids",
            COUNT,
            Absent::Means("1_800_000"),
            "Most ids remembered for it; the oldest leave first. A million take about 20 MB of \
             memory.",
        ),
        key(
            "dead_letter_retention",
            DURATION,
            Absent::Means("\"30d\""),
            "How long dead letters are kept.",
        ),
        key(
            "dead_letter_max_bytes",
            SIZE,
            Absent::Means("\"1GiB\""),
            "Most bytes of dead letters; they count within `max_bytes`, so it is never more than \
             that.",
        ),
    ],
};

/// `[meta]`.
pub(super) static META: Section = Section {
    name: "meta",
    doc: "Where events go.",
    keys: &[
        key(
            "url",
            "an https URL such as \"https://graph.facebook.com\" (http only for a loopback address)",
            Absent::Means("\"https://graph.facebook.com\""),
            "Base URL of the Graph API.",
        ),
        key(
            "api_version",
            "a version such as \"v26.0\"",
            Absent::Means("\"v26.0\""),
            "Version of the Graph API.",
        ),
    ],
};

/// `[sync.<name>]`.
pub(super) static SYNC: Section = Section {
    name: "sync.<name>",
    doc: "One stream of events to one pixel. The name is lower-case letters and digits, in parts \
          joined by single underscores, and begins with a letter.",
    keys: &[
        key(
            "enabled",
            BOOLEAN,
            Absent::Means("true"),
            "Amplitude's \"Status\". A disabled sync takes nothing in and still drains.",
        ),
        key(
            "pixel_id",
            DIGITS,
            Absent::Refused("\"123456789012345\""),
            "The Pixel (dataset) ID.",
        ),
        secret(
            "access_token",
            SECRET,
            Absent::Refused("\"REPLACE_ME\""),
            "The Conversions API access token.",
        ),
        key(
            "access_token_file",
            FILE,
            Absent::Nothing("\"/run/secrets/web_token\""),
            "A file that holds the token, in place of `access_token`; a new token in it is picked \
             up.",
        ),
        key(
            "test_event_code",
            "letters and digits, as a text",
            Absent::Nothing("\"TEST12345\""),
            "Shows the events in Meta's Test Events tool, where they still count. Warned about at \
             start.",
        ),
        secret(
            "app_secret",
            SECRET,
            Absent::Nothing("\"…\""),
            "Adds `appsecret_proof` to each request.",
        ),
        key(
            "app_secret_file",
            FILE,
            Absent::Nothing("\"/run/secrets/web_app_secret\""),
            "A file that holds the app secret, in place of `app_secret`.",
        ),
        key(
            "send_events",
            BOOLEAN,
            Absent::Means("true"),
            "Amplitude's \"Send Events\".",
        ),
        key(
            "where",
            CONDITIONS,
            Absent::Means("[]"),
            "Conditions that every event must meet, such as consent.",
        ),
        key(
            "properties",
            "a list of names of event properties, or [\"*\"]",
            Absent::Means("[]"),
            "Amplitude's \"Specify event properties to send\". Nothing is sent unless named; \
             `[\"*\"]` sends all.",
        ),
        key(
            "action_source",
            ACTION_SOURCE,
            Absent::Means("\"auto\""),
            "Where conversions took place. `auto`: `website` for platform Web or where a page URL \
             was found, `app` where `[sync.<name>.app]` is there and the system's version is known, \
             else `other`.",
        ),
        key(
            "event_id",
            VALUE,
            Absent::Means("[\"$insert_id\", \"insert_id\", \"uuid\"]"),
            "What becomes the `event_id`. Amplitude's own `event_id` counts per device and is \
             refused.",
        ),
        key(
            "event_source_url",
            VALUE,
            Absent::Means(
                "['event_properties[\"[Amplitude] Page Location\"]', \
                 'event_properties[\"[Amplitude] Page URL\"]']",
            ),
            "The page's URL.",
        ),
        key(
            "referrer_url",
            VALUE,
            Absent::Nothing("\"event_properties.referrer\""),
            "The page's referrer.",
        ),
        key(
            "opt_out",
            VALUE,
            Absent::Nothing("\"user_properties.ads_opt_out\""),
            "Where true, Meta uses the event for attribution only.",
        ),
        key(
            "default_calling_code",
            "a calling code such as \"1\", or \"country\"",
            Absent::Nothing("\"1\""),
            "For phone numbers written without one. `country`: the one of the event's country.",
        ),
        key(
            "date_order",
            "\"mdy\" or \"dmy\"",
            Absent::Means("\"mdy\""),
            "How a date of birth such as 05/03/1995 is read.",
        ),
        key(
            "external_id_case",
            "\"lower\" or \"keep\"",
            Absent::Means("\"lower\""),
            "What happens to an external id before it is hashed. `keep` is for sites whose ids \
             differ by case alone.",
        ),
        key(
            "allow_personal_data",
            TEXTS,
            Absent::Means("[]"),
            "Names of properties that may hold an e-mail address or phone number.",
        ),
        key(
            "user_data",
            TABLE,
            Absent::Nothing(""),
            "What Meta matches people by.",
        ),
        key("custom_data", TABLE, Absent::Nothing(""), "What happened."),
        key(
            "original_event_data",
            TABLE,
            Absent::Nothing(""),
            "The event that this one adds to.",
        ),
        key(
            "events",
            TABLE,
            Absent::Nothing(""),
            "Which events are sent, and as what.",
        ),
        key(
            "limited_data_use",
            TABLE,
            Absent::Nothing(""),
            "Meta's Limited Data Use.",
        ),
        key("app", TABLE, Absent::Nothing(""), "App events."),
        key(
            "delivery",
            TABLE,
            Absent::Nothing(""),
            "How requests are made.",
        ),
        key(
            "test",
            "tables, each written [[sync.<name>.test]]",
            Absent::Nothing(""),
            "Rule tests.",
        ),
    ],
};

/// `[sync.<name>.user_data]`: Amplitude's mappings, and two more.
pub(super) static USER_DATA: Section = Section {
    name: "sync.<name>.user_data",
    doc: "Amplitude's \"Mappings\": what Meta matches people by. Meta's short keys are accepted too.",
    keys: &[
        key(
            "external_id",
            VALUE,
            Absent::Means("\"user_id\""),
            "Your id of the person. Hashed.",
        ),
        key(
            "email",
            VALUE,
            Absent::Nothing("\"user_properties.email\""),
            "E-mail address. Hashed.",
        ),
        key(
            "phone",
            VALUE,
            Absent::Nothing("\"user_properties.phone\""),
            "Phone number. Hashed.",
        ),
        key(
            "first_name",
            VALUE,
            Absent::Nothing("\"user_properties.first_name\""),
            "First name. Hashed.",
        ),
        key(
            "last_name",
            VALUE,
            Absent::Nothing("\"user_properties.last_name\""),
            "Last name. Hashed.",
        ),
        key(
            "date_of_birth",
            VALUE,
            Absent::Nothing("\"user_properties.birthday\""),
            "Date of birth. Hashed.",
        ),
        key(
            "gender",
            VALUE,
            Absent::Nothing("\"user_properties.gender\""),
            "Gender. Hashed.",
        ),
        key("city", VALUE, Absent::Nothing("\"city\""), "City. Hashed."),
        key(
            "state",
            VALUE,
            Absent::Nothing("\"region\""),
            "State or region. Hashed.",
        ),
        key(
            "zip_code",
            VALUE,
            Absent::Nothing("\"user_properties.zip\""),
            "Postal code. Hashed.",
        ),
        key(
            "country",
            VALUE,
            Absent::Nothing("\"country\""),
            "Country. Hashed.",
        ),
        key(
            "client_ip_address",
            VALUE,
            Absent::Means("\"ip_address\""),
            "IP address. Not hashed, by Meta's rule.",
        ),
        key(
            "client_user_agent",
            VALUE,
            Absent::Nothing("\"user_properties.user_agent\""),
            "The browser's user agent. Not hashed, by Meta's rule.",
        ),
        key(
            "click_id",
            VALUE,
            Absent::Nothing("[\"user_properties.fbc\", \"user_properties.fbclid\"]"),
            "Meta's click id: the `_fbc` cookie, an `fbclid`, or a URL that holds one. Not hashed.",
        ),
        key(
            "browser_id",
            VALUE,
            Absent::Nothing("\"user_properties.fbp\""),
            "Meta's browser id: the `_fbp` cookie. Not hashed.",
        ),
        key(
            "subscription_id",
            VALUE,
            Absent::Nothing("\"user_properties.subscription_id\""),
            "Subscription id. Not hashed.",
        ),
        key(
            "facebook_login_id",
            VALUE,
            Absent::Nothing("\"user_properties.facebook_id\""),
            "App-scoped id of Facebook Login. Not hashed.",
        ),
        key(
            "lead_id",
            VALUE,
            Absent::Nothing("\"event_properties.lead_id\""),
            "Id of a lead from Meta's lead ads. Not hashed.",
        ),
        key(
            "mobile_advertiser_id",
            VALUE,
            Absent::Nothing("[\"idfa\", \"adid\"]"),
            "Advertising id of a phone; app events only. Not hashed.",
        ),
        key(
            "anonymous_id",
            VALUE,
            Absent::Nothing("\"device_id\""),
            "Id of the app's installation; app events only. Not hashed.",
        ),
    ],
};

/// `[sync.<name>.original_event_data]`.
pub(super) static ORIGINAL_EVENT_DATA: Section = Section {
    name: "sync.<name>.original_event_data",
    doc: "Ties a late or enriched event to the one it adds to.",
    keys: &[
        key(
            "event_name",
            VALUE,
            Absent::Nothing("{ constant = \"Purchase\" }"),
            "Its event name.",
        ),
        key(
            "event_time",
            VALUE,
            Absent::Nothing("\"event_properties.ordered_at\""),
            "Its time.",
        ),
        key(
            "order_id",
            VALUE,
            Absent::Nothing("\"event_properties.order_id\""),
            "Its order id.",
        ),
        key(
            "event_id",
            VALUE,
            Absent::Nothing("\"event_properties.first_event_id\""),
            "Its event id.",
        ),
    ],
};

/// `[sync.<name>.events."<event>"]`.
pub(super) static EVENT: Section = Section {
    name: "sync.<name>.events.\"<event>\"",
    doc: "One row of Amplitude's \"Select and filter events\", by Amplitude's event type; `\"*\"` \
          stands for every other. What is mapped here is laid over the sync's mapping.",
    keys: &[
        key(
            "send_as",
            TEXT,
            Absent::Nothing("\"Purchase\""),
            "Meta's event name. Absent: Amplitude's.",
        ),
        key(
            "where",
            CONDITIONS,
            Absent::Nothing(
                "[{ property = \"event_properties.total\", op = \"greater\", value = 0 }]",
            ),
            "Conditions that the event must meet.",
        ),
        key(
            "properties",
            "a list of names of event properties, or [\"*\"]",
            Absent::Nothing("[\"coupon\"]"),
            "Event properties to send, added to the sync's.",
        ),
        key(
            "action_source",
            ACTION_SOURCE,
            Absent::Nothing("\"website\""),
            "In place of the sync's.",
        ),
        key(
            "event_id",
            VALUE,
            Absent::Nothing("\"event_properties.order_id\""),
            "In place of the sync's.",
        ),
        key(
            "event_source_url",
            VALUE,
            Absent::Nothing("\"event_properties.page\""),
            "In place of the sync's.",
        ),
        key(
            "referrer_url",
            VALUE,
            Absent::Nothing("\"event_properties.referrer\""),
            "In place of the sync's.",
        ),
        key(
            "opt_out",
            VALUE,
            Absent::Nothing("{ constant = true }"),
            "In place of the sync's.",
        ),
        key(
            "user_data",
            TABLE,
            Absent::Nothing(""),
            "Laid over the sync's, field by field.",
        ),
        key(
            "custom_data",
            TABLE,
            Absent::Nothing(""),
            "Laid over the sync's, field by field.",
        ),
        key(
            "original_event_data",
            TABLE,
            Absent::Nothing(""),
            "Laid over the sync's, field by field.",
        ),
    ],
};

/// `[sync.<name>.limited_data_use]`.
pub(super) static LIMITED_DATA_USE: Section = Section {
    name: "sync.<name>.limited_data_use",
    doc: "Meta's Limited Data Use.",
    keys: &[
        key(
            "mode",
            "\"off\", \"always\" or \"when\"",
            Absent::Means("\"off\""),
            "`off`; `always`: for every event; `when`: for events that meet the conditions of `when`.",
        ),
        key(
            "when",
            CONDITIONS,
            Absent::Nothing("[{ property = \"region\", op = \"is\", value = \"California\" }]"),
            "The conditions of `mode = \"when\"`.",
        ),
        key(
            "country",
            "0, 1 or \"event\"",
            Absent::Means("0"),
            "Meta's code: 1 for the USA, 0 lets Meta locate the person; `event`: from the event's \
             country.",
        ),
        key(
            "state",
            "0, a state code of Meta's such as 1000, or \"event\"",
            Absent::Means("0"),
            "Meta's code, 0 lets Meta locate the person; `event`: from the event's region.",
        ),
    ],
};

/// `[sync.<name>.app]`.
pub(super) static APP: Section = Section {
    name: "sync.<name>.app",
    doc: "App events: what Amplitude does not send, or sends elsewhere. Table absent: no event has \
          `action_source = \"app\"`. The defaults hold where the table is there.",
    keys: &[
        key(
            "advertiser_tracking_enabled",
            VALUE,
            Absent::Nothing("\"user_properties.att_authorized\""),
            "Whether the person allowed tracking (ATT on iOS).",
        ),
        key(
            "application_tracking_enabled",
            VALUE,
            Absent::Nothing("{ constant = true }"),
            "Whether the app itself allows tracking.",
        ),
        key(
            "bundle_id",
            VALUE,
            Absent::Nothing("{ constant = \"com.example.shop\" }"),
            "The app's package or bundle id.",
        ),
        key(
            "short_version",
            VALUE,
            Absent::Means("\"version_name\""),
            "The app's version.",
        ),
        key(
            "long_version",
            VALUE,
            Absent::Means("\"version_name\""),
            "The app's version and build.",
        ),
        key(
            "os_version",
            VALUE,
            Absent::Means("\"os_version\""),
            "The system's version; Meta insists on it.",
        ),
        key(
            "device_model",
            VALUE,
            Absent::Means("[\"device_model\", \"device_type\"]"),
            "The device's model.",
        ),
        key(
            "locale",
            VALUE,
            Absent::Nothing("\"user_properties.locale\""),
            "Such as `en_US`.",
        ),
        key(
            "time_zone",
            VALUE,
            Absent::Nothing("\"user_properties.time_zone\""),
            "Such as `PST`.",
        ),
        key(
            "carrier",
            VALUE,
            Absent::Means("\"device_carrier\""),
            "The mobile network.",
        ),
        key(
            "screen_width",
            VALUE,
            Absent::Nothing("\"user_properties.screen_width\""),
            "In pixels.",
        ),
        key(
            "screen_height",
            VALUE,
            Absent::Nothing("\"user_properties.screen_height\""),
            "In pixels.",
        ),
        key(
            "screen_density",
            VALUE,
            Absent::Nothing("\"user_properties.screen_density\""),
            "Such as `2.00`.",
        ),
        key(
            "cpu_cores",
            VALUE,
            Absent::Nothing("\"user_properties.cpu_cores\""),
            "How many.",
        ),
        key(
            "storage_size",
            VALUE,
            Absent::Nothing("\"user_properties.storage_gb\""),
            "In GB.",
        ),
        key(
            "free_storage",
            VALUE,
            Absent::Nothing("\"user_properties.free_gb\""),
            "In GB.",
        ),
        key(
            "device_time_zone",
            VALUE,
            Absent::Nothing("\"user_properties.time_zone_name\""),
            "Such as `USA/New York`.",
        ),
        key(
            "vendor_id",
            VALUE,
            Absent::Means("\"idfv\""),
            "Apple's identifier for vendors.",
        ),
        key(
            "campaign_ids",
            VALUE,
            Absent::Nothing("\"user_properties.campaign_ids\""),
            "Of the install.",
        ),
        key(
            "install_referrer",
            VALUE,
            Absent::Nothing("\"user_properties.install_referrer\""),
            "Google Play's install referrer.",
        ),
        key(
            "installer_package",
            VALUE,
            Absent::Nothing("\"user_properties.installer\""),
            "What installed the app.",
        ),
        key(
            "url_schemes",
            VALUE,
            Absent::Nothing("\"user_properties.url_schemes\""),
            "Of the app.",
        ),
        key(
            "windows_attribution_id",
            VALUE,
            Absent::Nothing("\"user_properties.windows_attribution_id\""),
            "Of a Windows app.",
        ),
    ],
};

/// `[sync.<name>.delivery]`.
pub(super) static DELIVERY: Section = Section {
    name: "sync.<name>.delivery",
    doc: "How requests are made.",
    keys: &[
        key(
            "max_batch_events",
            COUNT,
            Absent::Means("1000"),
            "Most events in one request; Meta takes up to 1000.",
        ),
        key(
            "max_batch_bytes",
            SIZE,
            Absent::Means("\"1MiB\""),
            "Most bytes in one request.",
        ),
        key(
            "max_batch_delay",
            DURATION,
            Absent::Means("\"1s\""),
            "Longest wait for a batch to fill.",
        ),
        key(
            "max_in_flight",
            COUNT,
            Absent::Means("4"),
            "Most requests under way.",
        ),
        key(
            "requests_per_second",
            RATE,
            Absent::Means("10"),
            "Most requests per second.",
        ),
        key(
            "events_per_second",
            RATE,
            Absent::Means("\"unlimited\""),
            "Most events per second.",
        ),
        key(
            "timeout",
            DURATION,
            Absent::Means("\"15s\""),
            "Longest wait for an answer.",
        ),
    ],
};

/// `[[sync.<name>.test]]`.
pub(super) static TEST: Section = Section {
    name: "sync.<name>.test",
    doc: "A rule test, run by `pixel-relay check`: an event, and what must become of it.",
    keys: &[
        key(
            "name",
            TEXT,
            Absent::Nothing("\"an order becomes a Purchase\""),
            "What the test shows.",
        ),
        key(
            "event",
            "an event, as a table or as JSON text",
            Absent::Nothing("'{\"event_type\": \"Order Completed\"}'"),
            "The event, as a table or as JSON text.",
        ),
        key(
            "event_file",
            FILE,
            Absent::Nothing("\"events/order.json\""),
            "A file that holds the event as JSON, in place of `event`; a relative path starts from \
             the folder of the configuration file.",
        ),
        key(
            "now",
            "a time in UTC such as \"2026-11-20T18:05:00Z\"",
            Absent::Nothing("\"2026-11-20T18:05:00Z\""),
            "The present moment, as the test sees it.",
        ),
        key(
            "outcome",
            "\"mapped\", \"filtered\" or \"invalid\"",
            Absent::Nothing("\"mapped\""),
            "What becomes of the event. Absent: what `reason` says, else `mapped`.",
        ),
        key(
            "reason",
            "a reason such as \"not_selected\"",
            Absent::Nothing("\"not_selected\""),
            "Why, where it is not mapped.",
        ),
        key(
            "fields",
            TABLE,
            Absent::Nothing("{ event_name = \"Purchase\", custom_data.value = 59.9 }"),
            "Fields of the mapped event that must be so, nested as in the event; there may be others.",
        ),
    ],
};

/// A value expression that is a table.
pub(super) static EXPRESSION: Section = Section {
    name: "",
    doc: "",
    keys: &[
        key(
            "from",
            "a path, or a list of paths",
            Absent::Nothing(""),
            "The paths; the first present value wins.",
        ),
        key(
            "default",
            "a value",
            Absent::Nothing(""),
            "Taken where no path finds anything.",
        ),
        key(
            "constant",
            "a value",
            Absent::Nothing(""),
            "A fixed value; stands alone.",
        ),
    ],
};

/// A condition.
pub(super) static CONDITION: Section = Section {
    name: "",
    doc: "",
    keys: &[
        key("property", PATH, Absent::Nothing(""), "What is looked at."),
        key(
            "op",
            "an operator such as \"is\"",
            Absent::Nothing(""),
            "How it is compared.",
        ),
        key(
            "value",
            "a text, a number, true or false",
            Absent::Nothing(""),
            "What it is compared with.",
        ),
        key(
            "values",
            "a list of texts, numbers or booleans",
            Absent::Nothing(""),
            "Several, as alternatives.",
        ),
    ],
};

/// The one table that has a key of this name, as a hint for a key in the wrong table.
pub(super) fn section_of(name: &str) -> Option<&'static str> {
    let mut holders = SECTIONS
        .iter()
        .filter(|section| section.key(name).is_some());
    let holder = holders.next()?;
    holders.next().is_none().then_some(holder.name)
}

/// The sections that are always there.
pub(super) static STAGES: &[&Section] = &[&SERVER, &LOG, &ADMIN, &INGEST, &QUEUE, &META];

/// Every section that has a name, in the order of the documentation.
pub(super) static SECTIONS: &[&Section] = &[
    &SERVER,
    &LOG,
    &ADMIN,
    &INGEST,
    &QUEUE,
    &META,
    &SYNC,
    &USER_DATA,
    &ORIGINAL_EVENT_DATA,
    &EVENT,
    &LIMITED_DATA_USE,
    &APP,
    &DELIVERY,
    &TEST,
];
