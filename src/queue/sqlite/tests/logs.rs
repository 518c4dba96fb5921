//! Damage inside the log, and the torn end that a power cut leaves.

use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::queue::sqlite::log::{self, LostFrames};

const FRAME: usize = 24 + 4096;

/// The files as they are after a commit, without a close: the file, its log, and the index of that in shared memory.
struct Files {
    store: Vec<u8>,
    log: Vec<u8>,
    shared: Vec<u8>,
}

impl Files {
    fn of(folder: &Path) -> Self {
        let [log, shared, store] = folder::files(folder).map(|file| std::fs::read(file).unwrap());
        Self { store, log, shared }
    }

    fn put(&self, folder: &Path) {
        std::fs::write(folder.join("queue.db"), &self.store).unwrap();
        std::fs::write(folder.join("queue.db-wal"), &self.log).unwrap();
    }

    fn put_shared(&self, folder: &Path) {
        std::fs::write(folder.join("queue.db-shm"), &self.shared).unwrap();
    }

    /// The places of the frames behind the last commit but `commits`, up to the last commit.
    fn last_transactions(&self, commits: usize) -> Range<usize> {
        let salts = &self.log[16..24];
        let frames = self.log[32..].chunks_exact(FRAME);
        let ends: Vec<usize> = frames
            .enumerate()
            .take_while(|(_, frame)| &frame[8..16] == salts)
            .filter(|(_, frame)| frame[4..8] != [0; 4])
            .map(|(place, _)| 32 + (place + 1) * FRAME)
            .collect();
        ends[ends.len() - 1 - commits]..ends[ends.len() - 1]
    }
}

async fn with_log(pushes: u64) -> (QueueFixture, Files) {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    for number in 0..pushes {
        fixture.push([event(number)]).await;
    }
    let files = Files::of(fixture.folder.path());
    (fixture, files)
}

fn lost(files: &Files, with_shared: bool) -> Option<LostFrames> {
    let folder = tempfile::tempdir().unwrap();
    files.put(folder.path());
    if with_shared {
        files.put_shared(folder.path());
    }
    let [log, shared, _] = folder::files(folder.path());
    log::lost_frames(&log, &shared).unwrap()
}

/// Replaces some of the sectors in a place by what was there before.
fn tear(files: &mut Files, place: Range<usize>, before: &[u8], random: &mut fastrand::Rng) {
    let mut at = place.start;
    while at < place.end {
        let end = (at / 512 + 1) * 512;
        let sector = at..end.min(place.end);
        if random.bool() {
            for byte in sector {
                files.log[byte] = before.get(byte).copied().unwrap_or(0);
            }
        }
        at = end;
    }
}

#[tokio::test]
async fn the_torn_end_of_a_log_is_no_damage() {
    let (fixture, mut whole) = with_log(30).await;
    let mut random = fastrand::Rng::with_seed(7);
    let mut before = Vec::new();
    for generation in 0..2 {
        assert_eq!(lost(&whole, true), None);
        for _ in 0..100 {
            let mut files = Files {
                store: Vec::new(),
                log: whole.log.clone(),
                shared: Vec::new(),
            };
            let place = files.last_transactions(1);
            tear(&mut files, place, &before, &mut random);
            assert_eq!(lost(&files, false), None, "generation {generation}");
        }
        // The next transactions begin the log anew, in front of what it held.
        before.clone_from(&whole.log);
        connection(&fixture)
            .execute_batch("PRAGMA wal_checkpoint(RESTART)")
            .unwrap();
        for number in 100..110 {
            fixture.push([event(number)]).await;
        }
        whole = Files::of(fixture.folder.path());
        assert_eq!(whole.log.len(), before.len(), "it has begun anew");
    }
}

#[tokio::test]
async fn damage_in_the_middle_of_a_log_is_noticed() {
    let (_fixture, whole) = with_log(30).await;
    let mut random = fastrand::Rng::with_seed(8);
    let early = whole.last_transactions(2).start;
    for _ in 0..200 {
        let at = random.usize(32..early);
        let mut log = whole.log.clone();
        log[at] ^= 1 << random.u8(0..8);
        let files = Files {
            store: Vec::new(),
            log,
            shared: whole.shared.clone(),
        };
        let found = lost(&files, false).unwrap_or_else(|| panic!("byte {at}"));
        assert!(
            found.commits >= 1 && found.frames > 1,
            "byte {at}: {found:?}"
        );
    }
    // Where shared memory has survived, as after a kill, the last transaction counts too.
    let last = whole.last_transactions(1);
    for _ in 0..100 {
        let mut log = whole.log.clone();
        log[random.usize(last.clone())] ^= 0x40;
        let files = Files {
            store: Vec::new(),
            log,
            shared: whole.shared.clone(),
        };
        assert!(lost(&files, true).is_some());
    }
}

fn kept(folder: &Path) -> Vec<PathBuf> {
    let kept = kept::all(folder).into_iter();
    kept.map(|(path, _)| path).collect()
}

#[tokio::test]
async fn a_damaged_log_is_reported_and_kept_until_someone_is_forgotten() {
    let (fixture, files) = with_log(30).await;
    fixture.queue.clone().close().await.unwrap();
    let folder = fixture.folder.path();
    let mut files = files;
    let middle = files.last_transactions(15).start;
    files.log[middle + 1000] ^= 4;
    files.put(folder);
    let queue = open(&fixture.config, &fixture.clock, &TestStore::Sqlite).unwrap();
    let fixture = QueueFixture { queue, ..fixture };
    let folder = fixture.folder.path();
    // A kill after this start leaves a log that is well.
    let [log, shared, _] = folder::files(folder);
    assert_eq!(log::lost_frames(&log, &shared).unwrap(), None);
    assert_law(&fixture.queue);
    let met = fixture.queue.stats().damage.recent;
    let (_, finding) = &met[0];
    assert_eq!(finding.kind, DamageKind::Log);
    assert!(finding.what.contains("15 transactions"), "{}", finding.what);
    let copies = kept(folder);
    assert_eq!(copies.len(), 1);
    assert_eq!(std::fs::read(&copies[0]).unwrap(), files.log);
    let mode = std::fs::metadata(&copies[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fixture.queue.forget(person('a')).await.unwrap();
    assert_eq!(kept(folder), Vec::<PathBuf>::new());
    assert!(!fixture.deliver_all().await.is_empty());
}
