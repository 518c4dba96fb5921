//! Whose turn it is: few commands are performed at a time, and those that take long hold up no short one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::problem::{Problem, ProblemCode};

/// Commands of a kind that are performed at a time, and that wait for it; each may hold a whole request in memory.
const PERFORMED: usize = 4;
const WAITING: usize = 12;
/// Most commands at a time, of both kinds.
pub(super) const MOST: usize = 2 * (PERFORMED + WAITING);
/// How long a command waits for its turn: less than its sender waits for a sign.
const WAIT: Duration = Duration::from_secs(20);

/// The turns of commands that may take long, and of those that take a moment.
#[derive(Debug, Default)]
pub(super) struct Turns {
    long: KindOfCommand,
    short: KindOfCommand,
}

#[derive(Debug)]
struct KindOfCommand {
    performed: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for KindOfCommand {
    fn default() -> Self {
        Self {
            performed: Arc::new(Semaphore::new(PERFORMED)),
            waiting: Semaphore::new(WAITING),
        }
    }
}

impl Turns {
    /// Waits for the turn of a command, which lasts until what this gives is dropped.
    pub(super) async fn take(&self, is_long: bool) -> Result<OwnedSemaphorePermit, Problem> {
        let kind = if is_long { &self.long } else { &self.short };
        if let Ok(turn) = Arc::clone(&kind.performed).try_acquire_owned() {
            return Ok(turn);
        }
        let busy = |why: &str| {
            let message = format!(
                "the daemon performs {PERFORMED} other commands{}, and {why}: run this one again later",
                if is_long { " that may take long" } else { "" }
            );
            Problem::new(ProblemCode::Busy, message)
        };
        let Ok(_waits) = kind.waiting.try_acquire() else {
            return Err(busy("more wait for their turn than may"));
        };
        match timeout(WAIT, Arc::clone(&kind.performed).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(busy(&format!(
                "none of them has ended in {} s",
                WAIT.as_secs()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn long_commands_hold_up_no_short_one_and_none_waits_for_ever() {
        let turns = Turns::default();
        let mut long = Vec::new();
        for _ in 0..PERFORMED {
            long.push(turns.take(true).await.unwrap());
        }
        let short = turns.take(false).await.unwrap();
        let problem = turns.take(true).await.unwrap_err();
        assert_eq!(problem.code, ProblemCode::Busy);
        assert!(problem.message.contains("none of them has ended in 20 s"));
        drop(short);
        // One that ends makes room for one that waits.
        let (turn, ()) = tokio::join!(turns.take(true), async { drop(long.pop()) });
        drop(turn.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait() {
        let turns = Arc::new(Turns::default());
        let mut commands = tokio::task::JoinSet::new();
        for _ in 0..=PERFORMED + WAITING {
            let turns = Arc::clone(&turns);
            commands.spawn(async move {
                let turn = turns.take(true).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(turn);
                Ok::<_, Problem>(())
            });
        }
        let refused = commands.join_all().await.into_iter();
        let refused: Vec<Problem> = refused.filter_map(Result::err).collect();
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(refused[0].message.contains("more wait"), "{refused:?}");
    }
}
