//! `[queue]`: the store.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::codecs::{LONG, MOST_BYTES, SIZE, count, duration, path, size};
use crate::config::print;
use crate::config::schema::KeyDefault::{Example, Value};
use crate::config::schema::{Codec, section};
use crate::config::units::format_size;

/// The store keeps fingerprints this long, so it can honour no longer window.
const LONGEST_WINDOW: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// How long Amplitude repeats an event without a 2xx answer.
const AMPLITUDE_REPEATS_FOR: Duration = Duration::from_secs(4 * 60 * 60);

section! {
    /// `[queue]`.
    #[derive(Clone, Debug)]
    pub struct QueueConfig = Section::new("queue", "The store: every accepted event, until Meta has taken it.");

    path: PathBuf = path("the path of a folder"), Value(r#""data""#), "Folder of the store.";
    max_bytes: NonZeroU64 = max_bytes(), Value(r#""10GiB""#),
        "Most bytes in use. Shared out among the syncs; a sync that is full answers 503.";
    min_free_disk: Option<u64> = size(0..=MOST_BYTES).optional(), Example(r#""1GiB""#),
        "Free disk below which nothing is taken. Absent: the smaller of 1 GiB and a tenth of \
         the volume.";
    duplicate_window: Duration = duration(Duration::ZERO..=LONGEST_WINDOW), Value(r#""48h""#),
        "How long a repeat is recognised; at most 8 days. Amplitude repeats for 4 hours.";
    duplicate_ids: NonZeroUsize = count(1_000_000_000), Value("1_800_000"),
        "Most ids remembered for it; the oldest leave first. A million take about 20 MB of \
         memory.";
    dead_letter_retention: Duration = duration(Duration::from_secs(1)..=LONG), Value(r#""30d""#),
        "How long dead letters are kept.";
    dead_letter_max_bytes: u64 = size(0..=MOST_BYTES), Value(r#""1GiB""#),
        "Most bytes of dead letters; they count within `max_bytes`, so it is never more than \
         that.";

    => then(table) {
        if duplicate_window.is_some_and(|window| window < AMPLITUDE_REPEATS_FOR) {
            table.node.warn(
                &["duplicate_window"],
                "shorter than the 4 hours for which Amplitude repeats an event: a late repeat is sent twice",
            );
        }
        let dead_letter_max_bytes = dead_letter_max_bytes
            .zip(max_bytes)
            .map(|(dead, all)| dead.min(all.get()));
    }
}

fn max_bytes() -> Codec<NonZeroU64> {
    Codec::new(
        SIZE,
        |node| NonZeroU64::new(node.size(1..=MOST_BYTES)?),
        |bytes| print::text(&format_size(bytes.get())),
    )
}
