//! Looks for damage in the file, a step at a time: each is a short transaction, so that the log can shrink.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Connection;

use crate::queue::OpenError;
use crate::queue::batch::BatchId;
use crate::queue::damage::{DamageKind, Finding, SearchProgress, Verified, VerifyStep};
use crate::queue::engine::{
    Batches as _, Beside, DeadLetters as _, EngineError, EngineResult, Fingerprints as _,
    Profiles as _,
};
use crate::queue::state::Soundness;
use crate::queue::totals;

use super::space::Filler;
use super::{FileAccess, SqliteEngine, description, folder, log, salvage, schema};

/// Batches or dead letters that one step looks at.
const PIECE: usize = 1024;
/// Faults that one look at a table reports.
const MAX_FAULTS: usize = 20;
/// `SQLite` calls the stop sign after so many of its steps.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;
/// After so many calls the search counts as having got on.
const LOOKS_BETWEEN_SIGNS: u32 = 128;

/// What the stages behind the first look at. `content` and `seen` are read with the batches.
const TABLES: [&str; 10] = [
    "sync",
    "total",
    "row",
    "delivery",
    "dead",
    "damaged",
    "standstill",
    "filler",
    "profile",
    "click",
];
#[expect(clippy::cast_possible_truncation, reason = "a dozen tables")]
const BATCHES: u32 = 1 + TABLES.len() as u32;
const DEAD_LETTERS: u32 = BATCHES + 1;
const FINGERPRINTS: u32 = DEAD_LETTERS + 1;
const PROFILES: u32 = FINGERPRINTS + 1;

/// Looks at what is read before the store is open, which nobody may have. Changes nothing.
pub(super) fn inspect(folder: &Path) -> Result<Vec<Finding>, OpenError> {
    folder::check_kinds(folder)?;
    let mut findings = Vec::new();
    let [log, shared, file] = folder::files(folder);
    if let Some(copy) = salvage::rescued(folder) {
        let copy = copy.display();
        let fate = if file.exists() {
            "another file stands in its place, and is used when the store is opened"
        } else {
            "it is used when the store is opened"
        };
        let what = format!(
            "{} was removed; what it held is in {copy}: {fate}",
            file.display()
        );
        findings.push(Finding::new(DamageKind::File, what));
    }
    if !file.exists() {
        return Ok(findings);
    }
    match log::lost_frames(&log, &shared) {
        Ok(Some(lost)) => findings.push(Finding::new(
            DamageKind::Log,
            format!(
                "the log is damaged in the middle: {} transactions that were acknowledged are lost \
                 ({} frames) when the store is opened",
                lost.commits, lost.frames
            ),
        )),
        Ok(None) => {}
        Err(error) => findings.push(Finding::new(
            DamageKind::Log,
            format!("the log cannot be read: {error}"),
        )),
    }
    let is_ours = schema::is_like_store(&file);
    let opened = schema::open_untouched(folder);
    let opened = opened.map_err(|error| schema::unreadable(error, &file, is_ours));
    let described = opened.and_then(|connection| {
        let found = schema::version(&connection, &file, is_ours)?;
        if found < schema::VERSION {
            return Err(OpenError::Earlier { found });
        }
        Ok(description::faults(&connection)?)
    });
    match described {
        Ok(faults) => findings.extend(
            faults
                .into_iter()
                .map(|fault| Finding::new(DamageKind::Schema, format!("{fault} is damaged"))),
        ),
        Err(OpenError::Engine(error @ EngineError::Damaged(_))) => findings.push(Finding::new(
            DamageKind::Schema,
            format!("{} cannot be opened: {error}", file.display()),
        )),
        Err(refused) => return Err(refused),
    }
    Ok(findings)
}

/// Does one step. One wrong read is no damage: what is found counts if a new connection finds it too.
pub(super) fn step(
    folder: &Path,
    step: VerifyStep,
    beside: Beside,
    progress: &SearchProgress,
) -> EngineResult<Verified> {
    if beside == Beside::Nobody && !folder::file(folder).exists() {
        return Ok(Verified::default());
    }
    let found = look(folder, step, beside, progress)?;
    if found.findings.is_empty() {
        return Ok(found);
    }
    look(folder, step, beside, progress)
}

fn look(
    folder: &Path,
    step: VerifyStep,
    beside: Beside,
    progress: &SearchProgress,
) -> EngineResult<Verified> {
    let mut connection = match beside {
        Beside::Writer => schema::open_reader(folder),
        Beside::Nobody => schema::open_untouched(folder),
    }?;
    let (sign, mut calls) = (progress.clone(), 0_u32);
    let get_on = move || {
        calls = calls.wrapping_add(1);
        if calls.is_multiple_of(LOOKS_BETWEEN_SIGNS) {
            sign.step();
        }
        sign.is_stopped()
    };
    connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(get_on))?;
    let mut engine = SqliteEngine {
        connection,
        filler: Filler::default(),
        access: FileAccess::Once,
    };
    let VerifyStep { stage, after } = step;
    let found = match stage {
        0 => records(&mut engine),
        BATCHES => batches(&mut engine, after),
        DEAD_LETTERS => dead_letters(&mut engine, after),
        FINGERPRINTS => fingerprints(&mut engine, after),
        PROFILES => profiles(&mut engine, after),
        _ => match TABLES.get(stage as usize - 1) {
            Some(table) => self::table(&engine.connection, table),
            None => return Ok(Verified::default()),
        },
    };
    let next_stage = (stage < PROFILES).then(|| VerifyStep {
        stage: stage + 1,
        after: 0,
    });
    match found {
        Ok(StageResult {
            findings,
            batches,
            last,
        }) => Ok(Verified {
            findings,
            batches,
            next: last.map(|after| VerifyStep { stage, after }).or(next_stage),
        }),
        Err(EngineError::Damaged(error)) => Ok(Verified {
            findings: vec![Finding::new(DamageKind::Pages, error.to_string())],
            batches: 0,
            next: next_stage,
        }),
        Err(_) if progress.is_stopped() => Ok(Verified::default()),
        Err(error) => Err(error),
    }
}

/// What was found in a piece, and the last record of it, if more may follow.
#[derive(Debug, Default)]
struct StageResult {
    findings: Vec<Finding>,
    batches: u64,
    last: Option<i64>,
}

/// Compares counters with their checksum, and with what they count.
fn records(engine: &mut SqliteEngine) -> EngineResult<StageResult> {
    let mut piece = StageResult::default();
    // One transaction, so that both are of the same moment.
    engine.connection.execute_batch("BEGIN")?;
    let differences = totals::differences(engine)?;
    engine.connection.execute_batch("COMMIT")?;
    piece.findings.extend(
        differences
            .into_iter()
            .map(|what| Finding::new(DamageKind::Counters, what)),
    );
    Ok(piece)
}

/// Has `SQLite` compare a table with its indexes.
fn table(connection: &Connection, table: &str) -> EngineResult<StageResult> {
    let select = format!("PRAGMA integrity_check({table})");
    let messages: Vec<String> = connection
        .prepare(&select)?
        .query_map([], |row| row.get(0))?
        .take(MAX_FAULTS)
        .collect::<rusqlite::Result<_>>()?;
    let mut findings = BTreeMap::new();
    for message in messages.into_iter().filter(|message| message != "ok") {
        let index = [
            " missing from index ",
            "wrong # of entries in index ",
            "non-unique entry in index ",
        ]
        .iter()
        .find_map(|words| Some(message.split_once(words)?.1.to_owned()));
        let finding = match index {
            Some(index) => Finding::new(
                DamageKind::Index,
                format!("index {index} disagrees with table {table}"),
            ),
            None => Finding::new(
                DamageKind::Pages,
                format!("table {table}: {}", message.replace('\n', "; ")),
            ),
        };
        findings.insert(finding.what.clone(), finding);
    }
    Ok(StageResult {
        findings: findings.into_values().collect(),
        ..StageResult::default()
    })
}

/// Reads batches with their events and their fingerprints.
fn batches(engine: &mut SqliteEngine, after: i64) -> EngineResult<StageResult> {
    engine.connection.execute_batch("BEGIN")?;
    let after = Some(BatchId::embedded(after));
    let states = engine.all_batches(after, PIECE)?;
    let mut unreadable = BTreeSet::new();
    let mut unsound = BTreeSet::new();
    for state in &states {
        if engine.content(state.id)?.is_none() {
            unreadable.insert(state.id.sequence);
        }
        if state.soundness != Soundness::Sound {
            unsound.insert(state.id.sequence);
        }
    }
    engine.fingerprints(after, PIECE)?;
    engine.connection.execute_batch("COMMIT")?;
    let mut findings = Vec::new();
    if !unreadable.is_empty() {
        let numbers = listed(&unreadable);
        findings.push(Finding::new(
            DamageKind::Batch,
            format!("the events of these batches cannot be read: {numbers}"),
        ));
    }
    if !unsound.is_empty() {
        let numbers = listed(&unsound);
        findings.push(Finding::new(
            DamageKind::Batch,
            format!("the states of these batches are damaged: {numbers}"),
        ));
    }
    Ok(StageResult {
        findings,
        batches: states.len() as u64,
        last: states
            .last()
            .filter(|_| states.len() == PIECE)
            .map(|state| state.id.sequence),
    })
}

fn dead_letters(engine: &mut SqliteEngine, after: i64) -> EngineResult<StageResult> {
    engine.connection.execute_batch("BEGIN")?;
    let headers = engine.dead_headers(after, PIECE)?;
    let mut unsound = BTreeSet::new();
    for header in &headers {
        // A later version may know the reason of one that cannot be read here.
        if header.reason.is_some()
            && let Some(letter) = engine.dead_letter(header.id)?
            && !letter.is_sound
        {
            unsound.insert(header.id);
        }
    }
    engine.connection.execute_batch("COMMIT")?;
    let mut findings = Vec::new();
    if !unsound.is_empty() {
        let numbers = listed(&unsound);
        findings.push(Finding::new(
            DamageKind::DeadLetter,
            format!("these dead letters are damaged: {numbers}"),
        ));
    }
    Ok(StageResult {
        findings,
        batches: 0,
        last: headers
            .last()
            .filter(|_| headers.len() == PIECE)
            .map(|header| header.id),
    })
}

fn fingerprints(engine: &mut SqliteEngine, after: i64) -> EngineResult<StageResult> {
    let after = Some(BatchId::embedded(after));
    let seen = engine.fingerprints(after, PIECE)?;
    let unsound = seen.iter().filter(|seen| !seen.is_sound);
    let unsound: BTreeSet<i64> = unsound.map(|seen| seen.batch.sequence).collect();
    let mut piece = StageResult {
        last: (seen.last().filter(|_| seen.len() == PIECE)).map(|seen| seen.batch.sequence),
        ..StageResult::default()
    };
    if !unsound.is_empty() {
        let numbers = listed(&unsound);
        piece.findings.push(Finding::new(
            DamageKind::Fingerprints,
            format!("the fingerprints of these batches are damaged: {numbers}"),
        ));
    }
    Ok(piece)
}

fn profiles(engine: &mut SqliteEngine, after: i64) -> EngineResult<StageResult> {
    let found = engine.profiles(after, PIECE)?;
    let unsound = found.iter().filter(|(_, _, profile)| !profile.is_sound);
    let unsound = unsound.count();
    let mut piece = StageResult {
        last: (found.last().filter(|_| found.len() == PIECE)).map(|(place, _, _)| *place),
        ..StageResult::default()
    };
    if unsound > 0 {
        piece.findings.push(Finding::new(
            DamageKind::Profile,
            format!("the profiles of {unsound} people or devices are damaged"),
        ));
    }
    Ok(piece)
}

/// Some numbers, for people.
fn listed(numbers: &BTreeSet<i64>) -> String {
    const SHOWN: usize = 10;
    let shown = numbers.iter().take(SHOWN).map(i64::to_string);
    let shown = shown.collect::<Vec<_>>().join(", ");
    match numbers.len() {
        0..=SHOWN => shown,
        all => format!("{shown} and {} more", all - SHOWN),
    }
}
