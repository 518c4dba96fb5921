//! The table of keys: each with what it takes, its default and a sentence.
//!
//! Everything that has to know which keys there are reads this one table: the layer of defaults, the
//! reader (what is expected, which key was meant), `docs/CONFIG.md` and `config/pixel-relay.toml`.

use KeyDefault::{Means, Nothing, Refused, WarnedAbout};

/// One key a row: as plain values, each would be spread over six lines.
macro_rules! keys {
    ($($key:expr;)+) => { &[$($key,)+] };
}

pub(super) mod sync;

/// A table of the configuration.
#[derive(Debug)]
pub(super) struct Section {
    /// Its name, with `<name>` and `<event>` for what the operator chooses.
    pub(super) name: &'static str,
    /// What it is about.
    pub(super) doc: &'static str,
    /// Whether something is meant by its mere presence.
    pub(super) by_presence: bool,
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
    pub(super) absent: KeyDefault,
    /// What it does: a sentence or two.
    pub(super) doc: &'static str,
    /// Whether its value must never be shown.
    pub(super) secret: bool,
}

/// What holds where a key is absent; the texts are TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyDefault {
    /// This value.
    Means(&'static str),
    /// Nothing; the text is an example.
    Nothing(&'static str),
    /// Nothing, which is warned about; the text is an example, and what the sample file says.
    WarnedAbout(&'static str),
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
                Means(value) => Some(format!("{} = {value}\n", key.name)),
                Nothing(_) | WarnedAbout(_) | Refused(_) => None,
            })
            .collect()
    }
}

const fn key(
    name: &'static str,
    expects: &'static str,
    absent: KeyDefault,
    doc: &'static str,
) -> Key {
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
    absent: KeyDefault,
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
const SIZE: &str = "a size such as \"2MiB\" or a number of bytes";
const DURATION: &str = "a duration such as \"30s\", \"15m\" or \"48h\"";
const COUNT: &str = "a whole number";
const FILE: &str = "the path of a file";
const TABLE: &str = "a table";
const SECRET: &str = "a text of printable ASCII characters";
const RATE: &str = "a number such as 10 or 0.5, from 0.001 to 1000000, or \"unlimited\"";
const API_KEYS: &str = "a list of Amplitude API keys, each a text or a table such as { key = \"…\", syncs = [\"web\"] }";
/// What a path looks like.
pub(super) const PATH: &str =
    "a path such as \"event_properties.total\" or 'event_properties[\"Order Value\"]'";

/// Where a list may be.
pub(super) const PATHS: &str = "a path such as \"event_properties.products\", or a list of paths";

/// The outermost table.
pub(super) static ROOT: Section = Section {
    name: "",
    doc: "",
    by_presence: false,
    keys: keys! {
        key("server", TABLE, Nothing(""), "The public listener.");
        key("log", TABLE, Nothing(""), "Logs.");
        key("admin", TABLE, Nothing(""), "The listener for operators.");
        key("ingest", TABLE, Nothing(""), "Who may send events.");
        key("queue", TABLE, Nothing(""), "The store.");
        key("meta", TABLE, Nothing(""), "Where events go.");
        key("sync", "one table per sync, such as [sync.web]", Refused(""),
            "The streams of events, by name.");
    },
};

/// `[server]`.
pub(super) static SERVER: Section = Section {
    name: "server",
    doc: "The public listener.",
    by_presence: false,
    keys: keys! {
        key("listen", ADDRESS, Means(r#""0.0.0.0:8080""#),
            "Address of `/webhook`, of the SDK endpoints and of the public `/health`.");
        key("max_body", SIZE, Means(r#""2MiB""#),
            "Largest body taken, before and after decompression.");
        key("trusted_proxies", r#"a list of networks such as "10.0.0.0/8""#, Means("[]"),
            "Networks whose `X-Forwarded-For` is believed.");
        key("cors_origins", r#"a list of origins such as "https://shop.example.com" or "https://*.example.com", or "*""#,
            Means("[]"),
            "Origins whose browsers may send to the SDK endpoints. Empty: any, as Amplitude itself \
             allows, since a browser's restraint keeps nobody else from sending. `*.` stands for one \
             label before a domain; an app's own origin is listed as it is, such as `capacitor://localhost`.");
    },
};

/// `[log]`.
pub(super) static LOG: Section = Section {
    name: "log",
    doc: "Logs, written to standard error.",
    by_presence: false,
    keys: keys! {
        key("format", r#""text" or "json""#, Means(r#""text""#),
            "`text` for people, `json` for one object per line.");
        key("level", r#"a level (off, error, warn, info, debug, trace), or levels by module such as "info,pixel_relay::deliver=debug""#,
            Means(r#""info""#),
            "How much is written: a level, or levels by module.");
    },
};

/// `[admin]`.
pub(super) static ADMIN: Section = Section {
    name: "admin",
    doc: "The listener for operators, read-only.",
    by_presence: false,
    keys: keys! {
        key("listen", ADDRESS, Means(r#""127.0.0.1:9090""#),
            "Address of `/metrics` and of the detailed `/health`.");
        secret("secret", SECRET, Nothing(r#""REPLACE_ME""#),
            "Asked for as `Authorization: Bearer …`; for when it must listen wider, as for \
             Prometheus beside a container.");
        key("secret_file", FILE, Nothing(r#""/run/secrets/admin_secret""#),
            "A file that holds the secret, in place of `secret`; a new secret in it is picked up.");
    },
};

/// `[ingest]`.
pub(super) static INGEST: Section = Section {
    name: "ingest",
    doc: "Who may send events.",
    by_presence: false,
    keys: keys! {
        key("header", "the name of an HTTP header", Means(r#""Authorization""#),
            "The header that carries the secret: one of those set in Amplitude's webhook.");
        secret("secret", "a text of printable ASCII characters, or a list of them",
            Refused(r#""Bearer REPLACE_ME""#),
            "The header's whole value. A list accepts each of its entries, so that secrets can be \
             rotated. Required, unless there is `secret_file`, `allow_unauthenticated` or `api_keys`.");
        key("secret_file", "the path of a file, or a list of them",
            Nothing(r#""/run/secrets/ingest_secret""#),
            "A file that holds the secret, in place of `secret`; a new secret in it is picked up.");
        key("allow_unauthenticated", BOOLEAN, Means("false"),
            "Takes events from anyone, in place of a secret.");
        key("api_keys", API_KEYS, Nothing(r#"["0123456789abcdef0123456789abcdef"]"#),
            "Turns on the endpoints of Amplitude's SDKs, for these projects. An API key is shown to \
             anyone who looks into a page or an app, so it is no secret. `{ key = \"…\", syncs = \
             [\"web\"] }` binds one to some syncs.");
        key("address_requests_per_second", RATE, Means("100"),
            "Most requests that one address may send to the SDK endpoints, with ten seconds' worth \
             at once; more are answered with 429. Behind a proxy, name it in `trusted_proxies`, or \
             all senders count as one.");
        key("upstream", r#"an https URL such as "https://api2.amplitude.com" (http only for a loopback address)"#,
            Nothing(r#""https://api2.amplitude.com""#),
            "Passes what SDKs send on to Amplitude, once it is stored here, and answers with \
             Amplitude's answer.");
        key("upstream_when_full", r#""pass_on" or "refuse""#, Means(r#""pass_on""#),
            "What becomes of a request for `upstream` that cannot be stored here: the queue is full, \
             the disk low, the store cannot write. `pass_on`: Amplitude gets it all the same, and what \
             Meta misses is counted, logged and warned about. `refuse`: its sender is told 503 and \
             sends it again.");
        key("silence_after", DURATION, Nothing(r#""30m""#), "Warns when nothing came for so long.");
    },
};

/// `[queue]`.
pub(super) static QUEUE: Section = Section {
    name: "queue",
    doc: "The store: every accepted event, until Meta has taken it.",
    by_presence: false,
    keys: keys! {
        key("path", "the path of a folder", Means(r#""data""#), "Folder of the store.");
        key("max_bytes", SIZE, Means(r#""10GiB""#),
            "Most bytes in use. Shared out among the syncs; a sync that is full answers 503.");
        key("min_free_disk", SIZE, Nothing(r#""1GiB""#),
            "Free disk below which nothing is taken. Absent: the smaller of 1 GiB and a tenth of \
             the volume.");
        key("duplicate_window", DURATION, Means(r#""48h""#),
            "How long a repeat is recognised; at most 8 days. Amplitude repeats for 4 hours.");
        key("duplicate_ids", COUNT, Means("1_800_000"),
            "Most ids remembered for it; the oldest leave first. A million take about 20 MB of \
             memory.");
        key("dead_letter_retention", DURATION, Means(r#""30d""#),
            "How long dead letters are kept.");
        key("dead_letter_max_bytes", SIZE, Means(r#""1GiB""#),
            "Most bytes of dead letters; they count within `max_bytes`, so it is never more than \
             that.");
    },
};

/// `[meta]`.
pub(super) static META: Section = Section {
    name: "meta",
    doc: "Where events go.",
    by_presence: false,
    keys: keys! {
        key("url", r#"an https URL such as "https://graph.facebook.com" (http only for a loopback address)"#,
            Means(r#""https://graph.facebook.com""#),
            "Base URL of the Graph API.");
        key("api_version", r#"a version such as "v26.0""#, Means(r#""v26.0""#),
            "Version of the Graph API.");
    },
};

/// An API key that is a table.
pub(super) static API_KEY: Section = Section {
    name: "",
    doc: "",
    by_presence: false,
    keys: keys! {
        key("key", "an Amplitude API key", Nothing(""), "The project's API key.");
        key("syncs", "a list of names of configured syncs", Nothing(""), "The syncs that take its events.");
    },
};

/// A value expression that is a table.
pub(super) static EXPRESSION: Section = Section {
    name: "",
    doc: "",
    by_presence: false,
    keys: keys! {
        key("from", sync::VALUE, Nothing(""), "Where it comes from; the first present value wins.");
        key("all", sync::VALUE, Nothing(""), "Several, all of whose values are taken.");
        key("constant", "a value", Nothing(""), "A fixed value.");
        key("split", r#"a text such as ",""#, Nothing(""),
            "What stands between the parts of a text; each part is a value.");
        key("map", "a table of values and what replaces them", Nothing(""),
            "What replaces a value; one that is not in it counts as not found.");
        key("default", "a value", Nothing(""), "Taken where nothing is found.");
        key("when", sync::CONDITIONS, Nothing(""), "Conditions under which it applies at all.");
    },
};

/// A condition.
pub(super) static CONDITION: Section = Section {
    name: "",
    doc: "",
    by_presence: false,
    keys: keys! {
        key("property", PATH, Nothing(""), "What is looked at.");
        key("op", r#"an operator such as "is""#, Nothing(""), "How it is compared.");
        key("value", "a text, a number, true or false", Nothing(""), "What it is compared with.");
        key("values", "a list of texts, numbers or booleans", Nothing(""),
            "Several, as alternatives.");
    },
};

/// The one table that has a key of this name, as a hint for a key in the wrong table. What an event
/// overrides belongs in the sync's table first.
pub(super) fn section_of(name: &str) -> Option<&'static str> {
    let below_an_event = sync::EVENT.name;
    let mut holders = SECTIONS.iter().filter(|section| {
        let is_override =
            section.name.len() > below_an_event.len() && section.name.starts_with(below_an_event);
        !is_override && section.key(name).is_some()
    });
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
    &sync::SYNC,
    &sync::USER_DATA,
    &sync::CUSTOM_DATA,
    &sync::ORIGINAL_EVENT_DATA,
    &sync::EVENTS,
    &sync::EVENT,
    &sync::EVENT_USER_DATA,
    &sync::EVENT_CUSTOM_DATA,
    &sync::EVENT_ORIGINAL_EVENT_DATA,
    &sync::LIMITED_DATA_USE,
    &sync::APP,
    &sync::USER_MEMORY,
    &sync::DELIVERY,
    &sync::TEST,
];
