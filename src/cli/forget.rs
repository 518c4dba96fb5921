//! `pixel-relay forget`: erases a person.
//!
//! Personal data is stored hashed. So this makes the hashes that each configured sync would make of the
//! given values, by the rules of mapping, and looks for them. It neither stores nor logs the values.

use std::collections::{BTreeSet, HashSet};

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use serde_json::json;

use crate::cli::store::{Missing, StoreClient};
use crate::cli::{CommandFailure, Terminal, load_config};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::config::load::{Loaded, Sources};
use crate::config::sync::{CallingCode, SyncConfig};
use crate::hash::Hashed;
use crate::normalize::field::UserDataField;
use crate::normalize::{self, Context, Normalized, Scratch};
use crate::profile::ProfileKey;
use crate::queue::erase::{Forgotten, Person};

/// How often to look again for events that are being sent.
const ROUNDS: usize = 20;
const BETWEEN_ROUNDS: std::time::Duration = std::time::Duration::from_millis(500);

#[derive(Args)]
#[command(group = ArgGroup::new("person").required(true).multiple(true).args(["external_ids", "emails", "phones", "event_ids"]))]
pub(super) struct ForgetArguments {
    /// An external id, as a user id, or its SHA-256; may be given several times. What is remembered of a
    /// user or device is found by the id itself, not by its SHA-256
    #[arg(long = "external-id", value_name = "ID")]
    external_ids: Vec<String>,
    /// An e-mail address, or its SHA-256
    #[arg(long = "email", value_name = "ADDRESS")]
    emails: Vec<String>,
    /// A phone number, best with `+` and calling code, or its SHA-256
    #[arg(long = "phone", value_name = "NUMBER")]
    phones: Vec<String>,
    /// The country of phone numbers that are written without a calling code
    #[arg(long, value_name = "COUNTRY", value_parser = parse_country)]
    country: Option<&'static str>,
    /// The id of an event
    #[arg(long = "event-id", value_name = "ID")]
    event_ids: Vec<String>,
}

impl std::fmt::Debug for ForgetArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Every argument is personal data.
        f.debug_struct("ForgetArguments").finish_non_exhaustive()
    }
}

pub(super) fn forget(
    arguments: &ForgetArguments,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let (Loaded { config, .. }, _) = load_config(sources)?;
    let hashes = hashes(arguments, &config)?;
    let store = StoreClient::open(&config, Missing::Refused)?;
    let person = Person {
        hashes,
        event_ids: arguments.event_ids.clone(),
        profiles: profiles(&arguments.external_ids, &config),
    };
    let forgotten = erase(&store, &person);
    store.close()?;
    let Forgotten {
        queued,
        dead,
        in_flight,
        profiles,
        damaged,
    } = forgotten?;
    let mut data = json!({
        "queued": queued, "dead_letters": dead, "profiles": profiles, "in_flight": in_flight,
    });
    let mut text = format!(
        "{queued} queued events erased, {dead} dead letters removed, {profiles} profiles forgotten; \
         their bytes on disk are overwritten"
    );
    if damaged > 0 {
        data["damaged_rows"] = damaged.into();
        let kept = "damaged rows that were kept, since nobody can say whom they hold";
        text = format!("{text}; so are {damaged} {kept}");
    }
    terminal.tell(&data, &text)?;
    if in_flight > 0 {
        return Err(anyhow::anyhow!(
            "{in_flight} events are being sent right now and were not erased; run the command again"
        )
        .into());
    }
    Ok(())
}

/// Erases the person, and again while requests may carry events of the person.
fn erase(store: &StoreClient, person: &Person) -> anyhow::Result<Forgotten> {
    let mut all = Forgotten::default();
    for round in 0..ROUNDS {
        if round > 0 {
            std::thread::sleep(BETWEEN_ROUNDS);
        }
        let found = store.perform(person.clone()).with_context(|| {
            let Forgotten { queued, dead, .. } = all;
            format!("{queued} queued events and {dead} dead letters were erased in earlier rounds")
        })?;
        all.queued += found.queued;
        all.dead += found.dead;
        all.profiles += found.profiles;
        all.damaged += found.damaged;
        all.in_flight = found.in_flight;
        if found.in_flight == 0 {
            break;
        }
    }
    Ok(all)
}

/// The keys of the profiles that a sync may hold of a user or device.
fn profiles(ids: &[String], config: &Config) -> HashSet<ProfileKey> {
    let keys = config.syncs.keys().flat_map(|sync| {
        ids.iter().flat_map(move |id| {
            let id = id.trim();
            [ProfileKey::user(sync, id), ProfileKey::device(sync, id)]
        })
    });
    keys.collect()
}

/// Every hash that a sync may have stored of the given values.
fn hashes(arguments: &ForgetArguments, config: &Config) -> Result<Vec<String>, CommandFailure> {
    let given = [
        (
            UserDataField::ExternalId,
            "--external-id",
            &arguments.external_ids,
        ),
        (UserDataField::Email, "--email", &arguments.emails),
        (UserDataField::Phone, "--phone", &arguments.phones),
    ];
    let mut hashes = BTreeSet::new();
    for (field, option, values) in given {
        for (place, value) in values.iter().enumerate() {
            // The message may end in a log, so it does not repeat the value.
            let wrong = |why: &str| {
                CommandFailure::Usage(format!(
                    "value {} of {option} cannot be looked for: {why}",
                    place + 1
                ))
            };
            for sync in config.syncs.values() {
                let forms = forms(field, value, sync, arguments.country);
                hashes.extend(forms.map_err(wrong)?);
            }
        }
    }
    Ok(hashes.into_iter().collect())
}

/// The hashes that a sync makes of a value.
fn forms(
    field: UserDataField,
    value: &str,
    sync: &SyncConfig,
    country: Option<&str>,
) -> Result<Vec<String>, &'static str> {
    let hash = |form: &str| Hashed::of(form).as_str().to_owned();
    let hashed = |calling_code| {
        let context = Context {
            calling_code,
            country,
            named_country: None,
            date_order: sync.date_order,
            external_id_case: sync.external_id_case,
            now: SystemClock.now(),
            click_seen: SystemClock.now(),
        };
        match normalize::normalize(field, value, &context, &mut Scratch::default()) {
            Ok(Normalized::ToHash { first, second }) => {
                let forms = [Some(first), second].into_iter().flatten();
                Ok(forms.map(hash).collect())
            }
            // The plain value is stored beside its hash.
            Ok(Normalized::HashAndPlain(id)) => Ok(vec![hash(id)]),
            Ok(Normalized::AlreadyHashed(hash)) => Ok(vec![hash.as_str().to_owned()]),
            Ok(Normalized::Plain(_) | Normalized::Integer(_)) => Ok(Vec::new()),
            Err(why) => Err(why.as_str()),
        }
    };
    match &sync.default_calling_code {
        Some(CallingCode::Fixed(code)) => hashed(Some(code)),
        None => hashed(None),
        Some(CallingCode::FromCountry) => {
            let bare: Vec<String> = hashed(None)?;
            // If the calling code makes no difference, the number has its own.
            if hashed(Some("1"))? == hashed(Some("49"))? {
                return Ok(bare);
            }
            let code = country
                .and_then(normalize::country::calling_code)
                .ok_or("a sync reads such numbers by the event's country; give --country, or write + and the calling code")?;
            // Of an event without a country, the number was hashed without a calling code.
            Ok([bare, hashed(Some(code))?].concat())
        }
    }
}

fn parse_country(text: &str) -> Result<&'static str, String> {
    normalize::country::code(text)
        .ok_or_else(|| format!("`{text}` is not a country code such as DE"))
}
