//! The senders: they send again, unchanged, what was not acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::events;
use crate::place::SECRET;

/// The longest time for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Senders, and what was acknowledged.
pub struct Load {
    address: watch::Sender<Option<String>>,
    next: AtomicU64,
    /// By serial number, with what `mark` said when the answer was there.
    acknowledged: Mutex<BTreeMap<u64, u64>>,
    /// Answers that were wrong.
    wrong: Mutex<Vec<String>>,
    stop: CancellationToken,
    mark: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Load {
    /// Makes a load without senders. `mark` says how far some other record has come.
    pub fn new(mark: impl Fn() -> u64 + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            address: watch::Sender::new(None),
            next: AtomicU64::new(1),
            acknowledged: Mutex::default(),
            wrong: Mutex::default(),
            stop: CancellationToken::new(),
            mark: Box::new(mark),
        })
    }

    /// Goes on with this serial number.
    pub fn skip_to(&self, serial: u64) {
        self.next.store(serial, Ordering::SeqCst);
    }

    /// Every event that was sent has a smaller number.
    pub fn sent(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// Starts senders.
    pub fn start(self: &Arc<Self>, connections: u64, random: &mut fastrand::Rng) -> JoinSet<()> {
        let mut senders = JoinSet::new();
        for _ in 0..connections {
            senders.spawn(Arc::clone(self).send_on(random.fork()));
        }
        senders
    }

    /// Sets the address of the daemon; `None` while it is down.
    pub fn point_at(&self, address: Option<String>) {
        self.address.send_replace(address);
    }

    /// Ends the senders.
    pub async fn stop(&self, senders: JoinSet<()>) {
        self.stop.cancel();
        senders.join_all().await;
    }

    pub fn acknowledged(&self) -> BTreeMap<u64, u64> {
        self.acknowledged.lock().unwrap().clone()
    }

    pub fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    /// Sends so many new events until they are acknowledged; returns whether that was within the time.
    pub async fn send(&self, events: u64, patience: Duration) -> bool {
        let client = client();
        let sending = self.send_body(&client, events);
        tokio::time::timeout(patience, sending).await.is_ok()
    }

    async fn send_on(self: Arc<Self>, mut random: fastrand::Rng) {
        let client = client();
        loop {
            let events = if random.u8(0..30) == 0 {
                random.u64(100..300)
            } else {
                random.u64(1..20)
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.send_body(&client, events) => {}
            }
            sleep(Duration::from_millis(random.u64(0..20))).await;
        }
    }

    async fn send_body(&self, client: &reqwest::Client, events: u64) {
        let first = self.next.fetch_add(events, Ordering::SeqCst);
        let body = events::body(first..first + events);
        let mut addresses = self.address.subscribe();
        loop {
            let address = addresses.wait_for(Option::is_some).await.unwrap().clone();
            if let Some(address) = address
                && self.try_once(client, &address, body.clone()).await
            {
                let mark = (self.mark)();
                let serials = (first..first + events).map(|serial| (serial, mark));
                self.acknowledged.lock().unwrap().extend(serials);
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a body once; returns whether it was acknowledged.
    async fn try_once(&self, client: &reqwest::Client, address: &str, body: Vec<u8>) -> bool {
        let request = client
            .post(format!("{address}/webhook"))
            .header("authorization", SECRET);
        let Ok(answer) = request.body(body).send().await else {
            return false;
        };
        let status = answer.status().as_u16();
        if status != 200 && status != 503 {
            let text = answer.text().await.unwrap_or_default();
            let wrong = format!("a good request was answered {status} {text}");
            self.wrong.lock().unwrap().push(wrong);
        }
        status == 200
    }
}

/// One connection, which goes with its daemon.
fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap()
}
