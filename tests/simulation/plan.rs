//! What a seed stands for: a configuration, and a list of operations drawn up front.
//!
//! Each operation has a seed of its own, so that the rest stays as it is when one is left out.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub syncs: Vec<SyncPlan>,
    pub operations: Vec<Operation>,
    /// The machine's clock begins this far from the truth, in milliseconds.
    pub clock_error: i64,
}

/// A sync of the configuration.
#[derive(Clone, Debug)]
pub struct SyncPlan {
    pub name: &'static str,
    pub pixel_id: &'static str,
    pub token: &'static str,
    pub max_batch_events: usize,
    pub max_batch_delay: Duration,
    pub max_in_flight: usize,
    /// `None`: unlimited.
    pub requests_per_second: Option<u32>,
    pub timeout: Duration,
    pub remembers: bool,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub struct Operation {
    pub at: Duration,
    pub seed: u64,
    pub what: Happening,
}

#[derive(Clone, Debug)]
pub enum Happening {
    /// A request comes, with this many events.
    Request(usize),
    /// The machine's clock is set this many milliseconds ahead, or back.
    StepClock(i64),
    /// The machine's clock is set right.
    RightClock,
    /// The machine's clock shows 1970.
    Epoch,
    /// The machine's clock goes wrong by so many millionths.
    Drift(i64),
    /// Graph and the way to it behave in another manner.
    Graph(GraphMood),
    /// Commits fail for so long.
    StoreDown(Duration),
    /// Commits that note a request fail for so long.
    NoAttempts(Duration),
    /// Commits that note an answer fail for so long.
    NoAnswers(Duration),
    /// The next commit is stored, but reports that nobody knows.
    UnknownAndStored,
    /// The next commit is lost, and reports that nobody knows.
    UnknownAndLost,
    /// The next read of a batch reports damage.
    ReportsDamage,
    /// The writer stands still for so long: a disk that answers late.
    Stall(Duration),
    /// The index of deadlines loses an entry.
    LoseIndexEntry,
    /// A batch is damaged.
    Damage,
    /// The process is killed, and started again after this time.
    Kill(Duration),
    /// The process is stopped in order, and started again.
    Restart,
    /// The configuration is replaced by another while the process runs.
    Reload,
    /// An operator retries dead letters.
    RetryDead,
}

/// How Graph behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphMood {
    Well,
    /// Answers come late, some later than anyone waits.
    Slow,
    /// Connections fail.
    Unreachable,
    /// Requests and answers get lost.
    Lossy,
    /// 5xx and pages of proxies.
    Faulty,
    /// Counts too few, or nothing.
    Miscounting,
    /// Asks for pauses.
    Throttling,
    /// Nearly all of a rate limit is used up.
    Busy,
    /// Blocks the account.
    Blocking,
    /// The token is dead.
    TokenDead,
    /// A permission or the pixel is missing.
    Forbidden,
    /// Asks for smaller requests.
    Small,
    /// A refused batch has its good events taken all the same.
    TakesGood,
}

/// How long the drawn operations go on.
const LENGTH: Duration = Duration::from_secs(60);
/// Wrong by hours, days, years.
const STEPS: [i64; 12] = [
    1_500,
    30_000,
    61_000,
    3_600_000,
    2 * 3_600_000,
    7 * 3_600_000,
    86_400_000,
    6 * 86_400_000,
    8 * 86_400_000,
    30 * 86_400_000,
    365 * 86_400_000,
    20 * 365 * 86_400_000,
];

impl Plan {
    pub fn draw(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let is_clock_wrong = random.f32() < 0.15;
        let clock_error = if is_clock_wrong { step(&mut random) } else { 0 };
        let syncs = syncs(&mut random);
        // Most runs have few kinds of trouble, so that each is seen alone too.
        let kinds: Vec<u32> = (0..random.u32(0..6)).map(|_| random.u32(0..20)).collect();
        let mut operations = Vec::new();
        for _ in 0..random.usize(4..18) {
            let events = if random.u8(..8) == 0 {
                random.usize(20..60)
            } else {
                random.usize(1..8)
            };
            operations.push(Operation::draw(&mut random, Happening::Request(events)));
        }
        for kind in kinds {
            for _ in 0..random.usize(1..4) {
                let what = trouble(kind, &mut random);
                operations.push(Operation::draw(&mut random, what));
            }
        }
        operations.sort_by_key(|operation| operation.at);
        Self {
            seed,
            syncs,
            operations,
            clock_error,
        }
    }
}

impl Operation {
    fn draw(random: &mut Rng, what: Happening) -> Self {
        let length = u64::try_from(LENGTH.as_millis()).unwrap();
        Self {
            at: Duration::from_millis(random.u64(0..length)),
            seed: random.u64(..),
            what,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:9.3} s  {:?}", self.at.as_secs_f64(), self.what)
    }
}

fn syncs(random: &mut Rng) -> Vec<SyncPlan> {
    let names = ["web", "shop", "app"];
    let count = random.usize(1..=3);
    let shares_pixel = random.bool();
    let shares_token = random.bool();
    let mut one = |place: usize| SyncPlan {
        name: names[place],
        pixel_id: if shares_pixel {
            "11"
        } else {
            ["11", "22", "33"][place]
        },
        token: if shares_token {
            "token-1"
        } else {
            ["token-1", "token-2", "token-3"][place]
        },
        max_batch_events: [1, 2, 3, 10, 50, 1000][random.usize(..6)],
        max_batch_delay: Duration::from_millis([0, 50, 500, 1000, 3000][random.usize(..5)]),
        max_in_flight: random.usize(1..=4),
        requests_per_second: [None, Some(10), Some(3), Some(50)][random.usize(..4)],
        timeout: Duration::from_secs([2, 5, 15][random.usize(..3)]),
        remembers: random.u8(..4) == 0,
    };
    (0..count).map(&mut one).collect()
}

fn step(random: &mut Rng) -> i64 {
    let length = STEPS[random.usize(..STEPS.len())];
    if random.bool() { length } else { -length }
}

fn trouble(kind: u32, random: &mut Rng) -> Happening {
    let seconds = |random: &mut Rng, from: u64, to: u64| {
        Duration::from_millis(random.u64(from * 1000..to * 1000))
    };
    match kind {
        0..=2 => Happening::StepClock(step(random)),
        3 => Happening::RightClock,
        4 if random.bool() => Happening::Epoch,
        4 => Happening::Drift(random.i64(-300..=300)),
        5 => Happening::StoreDown(seconds(random, 1, 20)),
        6 if random.bool() => Happening::NoAttempts(seconds(random, 1, 10)),
        6 => Happening::NoAnswers(seconds(random, 1, 10)),
        7 => Happening::UnknownAndStored,
        8 => Happening::UnknownAndLost,
        9 if random.bool() => Happening::ReportsDamage,
        9 => Happening::Damage,
        10 => Happening::Stall(seconds(random, 0, 8)),
        11 => Happening::LoseIndexEntry,
        12 | 13 => Happening::Kill(seconds(random, 0, 5)),
        14 => Happening::Restart,
        15 => Happening::Reload,
        16 => Happening::RetryDead,
        _ => Happening::Graph(mood(random)),
    }
}

fn mood(random: &mut Rng) -> GraphMood {
    use GraphMood as Mood;
    // The account is blocked for hours, which take long to pass even here.
    if random.u8(..40) == 0 {
        return Mood::Blocking;
    }
    let moods = [
        Mood::Well,
        Mood::Slow,
        Mood::Unreachable,
        Mood::Lossy,
        Mood::Faulty,
        Mood::Miscounting,
        Mood::Throttling,
        Mood::Busy,
        Mood::TokenDead,
        Mood::Forbidden,
        Mood::Small,
        Mood::TakesGood,
    ];
    moods[random.usize(..moods.len())]
}
