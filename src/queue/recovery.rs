//! Opens the store and brings memory into line with the file: at the start, and after an error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::clock::UnixMillis;

use super::OpenError;
use super::disk::Quota;
use super::packed::Packer;
use super::row::fingerprints;
use super::salvage;
use super::schema;
use super::seen::DuplicateWindow;
use super::standstill;
use super::store::{Core, QueueContext};
use super::totals::Counters;

/// Opens the file and reads what is kept in memory. `restarted`: the process is new, so that no
/// request can be under way.
pub(super) fn open(ground: &Arc<QueueContext>, restarted: bool) -> Result<Core, OpenError> {
    let config = &ground.config;
    let now = ground.clock.now();
    salvage::finish(&config.path).map_err(|error| OpenError::Folder(config.path.clone(), error))?;
    let connection = schema::open(&config.path)?;
    // The file may be another one by now.
    *ground.shared.reader() = None;
    if !restarted {
        schema::truncate_log(&connection)?;
        prove_writable(&connection)?;
    }
    if restarted {
        ground.shared.view().standstills = standstill::load(&connection)?;
    }
    let mut seen = DuplicateWindow::new(config.duplicate_ids.get(), config.duplicate_window);
    // An id is forgotten with the last of its second, and a restart must not forget it sooner.
    let window = config.duplicate_window + Duration::from_secs(1);
    let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
    load_seen(&connection, &mut seen, now.0.saturating_sub(window))?;
    let room = Quota::open(config, ground.syncs.clone(), &connection)?;
    let mut store = Core {
        ground: Arc::clone(ground),
        ledger: Counters::load(&connection)?,
        connection,
        seen,
        room,
        drafts: BTreeMap::new(),
        packer: Packer::new(),
        effects: Vec::new(),
        damaged: Vec::new(),
        overdue: false,
        now,
    };
    store.transact(|store| {
        for sync in &Arc::clone(&store.ground).syncs {
            store.ledger.account(&store.connection, sync)?;
        }
        store.resolve_open_deliveries(restarted)
    })?;
    for account in store.ledger.accounts() {
        ground.shared.lanes().lane(&account.name).reset_marks();
    }
    store.publish()?;
    Ok(store)
}

/// Checks that a write reaches the disk.
fn prove_writable(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "BEGIN IMMEDIATE;
         INSERT INTO total VALUES (0, 'reopened', 1) ON CONFLICT DO UPDATE SET value = value + 1;
         COMMIT",
    )
}

/// Loads the newest fingerprints, as many as the window holds.
fn load_seen(
    connection: &Connection,
    seen: &mut DuplicateWindow,
    from: i64,
) -> rusqlite::Result<()> {
    let mut first = i64::MAX;
    let mut count = 0;
    let mut sizes = connection
        .prepare("SELECT row, taken_at, length(fingerprints) / 16 FROM seen ORDER BY row DESC")?;
    let mut sizes = sizes.query([])?;
    while let Some(size) = sizes.next()?
        && count < seen.capacity()
        && size.get::<_, i64>(1)? > from
    {
        first = size.get(0)?;
        count += usize::try_from(size.get::<_, i64>(2)?).unwrap_or(0);
    }
    let mut blobs = connection
        .prepare("SELECT taken_at, fingerprints FROM seen WHERE row >= ?1 ORDER BY row")?;
    let mut blobs = blobs.query([first])?;
    while let Some(blob) = blobs.next()? {
        let taken_at = UnixMillis(blob.get(0)?);
        for id in fingerprints(blob.get_ref(1)?.as_blob()?) {
            seen.insert(id, taken_at);
        }
    }
    Ok(())
}
