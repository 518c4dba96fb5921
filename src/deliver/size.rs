//! How large a batch may be.
//!
//! Pure but for the moments it is handed. Where Meta found a request too large the lane sends
//! smaller ones for a while; the size doubles again with each quiet period.

use std::time::Duration;

use tokio::time::Instant;

/// After so long without another complaint the size doubles.
const RECOVERY: Duration = Duration::from_secs(300);

/// The largest batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// Events.
    pub events: usize,
    /// Bytes.
    pub bytes: usize,
}

/// The largest batch at present.
#[derive(Clone, Debug)]
pub struct AdaptiveSize {
    configured: BatchSize,
    lowered: Option<(BatchSize, Instant)>,
}

impl AdaptiveSize {
    /// Begins with the configured size.
    pub const fn new(configured: BatchSize) -> Self {
        Self {
            configured,
            lowered: None,
        }
    }

    /// The size at the given moment.
    pub fn at(&mut self, now: Instant) -> BatchSize {
        while let Some((size, since)) = self.lowered
            && now.saturating_duration_since(since) >= RECOVERY
        {
            let doubled = BatchSize {
                events: (size.events * 2).min(self.configured.events),
                bytes: (size.bytes * 2).min(self.configured.bytes),
            };
            self.lowered = (doubled != self.configured).then_some((doubled, since + RECOVERY));
        }
        self.lowered.map_or(self.configured, |(size, _)| size)
    }

    /// A request with this many events and bytes was too large: half of it is the most from now on.
    pub fn too_large(&mut self, sent: BatchSize, now: Instant) {
        let present = self.at(now);
        let half = BatchSize {
            events: (sent.events / 2).clamp(1, present.events.max(1)),
            bytes: (sent.bytes / 2).clamp(1, present.bytes.max(1)),
        };
        self.lowered = Some((half, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURED: BatchSize = BatchSize {
        events: 1000,
        bytes: 1_000_000,
    };

    #[test]
    fn it_halves_and_recovers() {
        let start = Instant::now();
        let mut size = AdaptiveSize::new(CONFIGURED);
        assert_eq!(size.at(start), CONFIGURED);
        size.too_large(
            BatchSize {
                events: 800,
                bytes: 400_000,
            },
            start,
        );
        let sizes: Vec<(usize, usize)> = [0, 299, 300, 600, 3000]
            .map(|seconds| {
                let size = size.at(start + Duration::from_secs(seconds));
                (size.events, size.bytes)
            })
            .to_vec();
        assert_eq!(
            sizes,
            [
                (400, 200_000),
                (400, 200_000),
                (800, 400_000),
                (1000, 800_000),
                (1000, 1_000_000)
            ]
        );
    }

    #[test]
    fn it_never_grows_by_a_complaint_nor_reaches_zero() {
        let start = Instant::now();
        let mut size = AdaptiveSize::new(BatchSize {
            events: 10,
            bytes: 100,
        });
        size.too_large(CONFIGURED, start);
        assert_eq!(
            size.at(start),
            BatchSize {
                events: 10,
                bytes: 100
            }
        );
        size.too_large(
            BatchSize {
                events: 1,
                bytes: 1,
            },
            start,
        );
        assert_eq!(
            size.at(start),
            BatchSize {
                events: 1,
                bytes: 1
            }
        );
    }
}
