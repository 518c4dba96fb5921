//! What a listener counts of its connections, and what it says of them in the log.

use std::sync::Mutex;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::http::LOG_TARGET;
use crate::words::words;

/// The shortest time between two lines about the same cause.
const PAUSE: Duration = Duration::from_secs(60);

words! {
    /// Why a listener ended a connection, as labels of `connections_ended_total`.
    pub enum ConnectionEnd with line: &'static str {
        /// Its address holds its whole share.
        AddressShare = "address_share" =>
            "refused connections of an address that holds half of all that are allowed; a proxy in front \
             must be named in server.trusted_proxies, or send the secret",
        /// The listener has all that it may have.
        Limit = "limit" =>
            "refused connections, since the listener holds as many as it may; /health and senders with the \
             secret still get in",
        /// It was idle, or its address held more than that of the newcomer.
        MadeRoom = "made_room" =>
            "ended idle connections, or long requests of the address with the most connections, to make room \
             for new ones",
        /// The other end does not read its answers.
        NotReading = "not_reading" => "ended connections whose other end does not read its answers",
    }
}

/// Counts the connections of one listener.
#[derive(Debug)]
pub struct ConnectionMetrics {
    listener: &'static str,
    pub(super) open: Gauge,
    ended: Vec<EndMetrics>,
}

/// The connections that ended for one cause.
#[derive(Debug)]
struct EndMetrics {
    end: ConnectionEnd,
    count: Counter,
    line: Mutex<ThrottledLine>,
}

/// When a line was last written, and how many connections have ended since.
#[derive(Debug, Default)]
struct ThrottledLine {
    last: Option<Instant>,
    connections: u64,
}

impl ConnectionMetrics {
    /// Counts by these. `listener` names the listener in the log.
    pub fn new(
        listener: &'static str,
        open: Gauge,
        count: impl Fn(ConnectionEnd) -> Counter,
    ) -> Self {
        let ended = ConnectionEnd::ALL.iter().map(|end| EndMetrics {
            end: *end,
            count: count(*end),
            line: Mutex::default(),
        });
        Self {
            listener,
            open,
            ended: ended.collect(),
        }
    }

    /// Counts a connection that the listener ended, and logs it, unless a line was written lately.
    pub(super) fn note(&self, end: ConnectionEnd) {
        for metrics in self.ended.iter().filter(|metrics| metrics.end == end) {
            metrics.count.inc();
            if let Some(connections) = metrics.due() {
                let listener = self.listener;
                tracing::warn!(target: LOG_TARGET, listener, connections, "{}", end.line());
            }
        }
    }
}

impl EndMetrics {
    /// The number of connections that a line is due for.
    fn due(&self) -> Option<u64> {
        let mut line = self.line.lock().expect("no holder of this lock panics");
        line.connections += 1;
        let is_due = line.last.is_none_or(|last| last.elapsed() >= PAUSE);
        is_due.then(|| {
            line.last = Some(Instant::now());
            std::mem::take(&mut line.connections)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_is_due_once_a_minute_and_tells_how_many() {
        let metrics = ConnectionMetrics::new("public", Gauge::default(), |_| Counter::default());
        let [share, ..] = &*metrics.ended else {
            panic!("a cause for each")
        };
        assert_eq!(share.due(), Some(1));
        for _ in 0..5 {
            assert_eq!(share.due(), None);
        }
        tokio::time::advance(PAUSE).await;
        assert_eq!(share.due(), Some(6));
        metrics.note(ConnectionEnd::AddressShare);
        assert_eq!(share.count.get(), 1);
    }
}
