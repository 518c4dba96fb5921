//! `pixel-relay forget`: erases a person.
//!
//! What is stored of a person is hashed, so the person is looked for by the hashes that every
//! configured sync would have made of what is given: by the same rules as when events are mapped. The
//! given values themselves are neither stored nor logged.

use std::collections::{BTreeSet, HashSet};

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

/// Rounds in which events that were being sent are looked for again.
const ROUNDS: usize = 20;
const BETWEEN_ROUNDS: std::time::Duration = std::time::Duration::from_millis(500);

/// What `pixel-relay forget` takes.
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
        // All of it is personal data.
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
    } = forgotten?;
    terminal.tell(
        &json!({
            "queued": queued, "dead_letters": dead, "profiles": profiles, "in_flight": in_flight,
        }),
        &format!(
            "{queued} queued events erased, {dead} dead letters removed, {profiles} profiles forgotten; \
             their bytes on disk are overwritten"
        ),
    )?;
    if in_flight > 0 {
        return Err(anyhow::anyhow!(
            "{in_flight} events are being sent at this moment and are left; run the command again"
        )
        .into());
    }
    Ok(())
}

/// Erases, again while requests that may carry the person's events are under way.
fn erase(store: &StoreClient, person: &Person) -> anyhow::Result<Forgotten> {
    let mut all = Forgotten::default();
    for round in 0..ROUNDS {
        if round > 0 {
            std::thread::sleep(BETWEEN_ROUNDS);
        }
        let found = store.perform(person.clone())?;
        all.queued += found.queued;
        all.dead += found.dead;
        all.profiles += found.profiles;
        all.in_flight = found.in_flight;
        if found.in_flight == 0 {
            break;
        }
    }
    Ok(all)
}

/// The keys under which a sync may remember a user or device.
fn profiles(ids: &[String], config: &Config) -> HashSet<ProfileKey> {
    let keys = config.syncs.keys().flat_map(|sync| {
        ids.iter().flat_map(move |id| {
            let id = id.trim();
            [ProfileKey::user(sync, id), ProfileKey::device(sync, id)]
        })
    });
    keys.collect()
}

/// Every hash that a sync may have stored for what is given.
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
            // The value itself is not repeated: this may end in a log.
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
            // What is stored as it is has its hash beside it.
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
            // Where two calling codes make no difference, the number has its own.
            if hashed(Some("1"))? == hashed(Some("49"))? {
                return Ok(bare);
            }
            let code = country
                .and_then(normalize::country::calling_code)
                .ok_or("a sync reads such numbers by the event's country; give --country, or write + and the calling code")?;
            // An event that told no country had its number taken as it was.
            Ok([bare, hashed(Some(code))?].concat())
        }
    }
}

fn parse_country(text: &str) -> Result<&'static str, String> {
    normalize::country::code(text).ok_or_else(|| format!("`{text}` is no country, such as DE"))
}
