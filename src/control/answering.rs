//! The answer to a command that takes long: a line now and then while it gets on, and its result as the last line.
//!
//! A command gets on by steps, such as a transaction or a page that was read: each wakes the future of the command. One
//! that takes no step for too long is given up, with what it has done so far.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, Interval, interval};

use super::problem::{Problem, ProblemCode};

/// How long a command may take before its answer begins, and the time between two lines.
pub(super) const BEAT: Duration = Duration::from_secs(5);
/// A command that takes no step for this long is given up.
const WITHOUT_STEP: Duration = Duration::from_secs(300);

/// A line of a long answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AnswerLine<A> {
    /// How many events, dead letters or profiles the command has dealt with so far.
    Done(u64),
    Answer(A),
    Problem(Problem),
}

/// The result of a command, as the last line of its answer.
pub(super) type CommandWork = Pin<Box<dyn Future<Output = String> + Send>>;

/// The body of a long answer.
pub(super) struct LongAnswer {
    work: CommandWork,
    steps: Arc<Steps>,
    /// How much is done.
    done: Box<dyn Fn() -> u64 + Send>,
    beat: Interval,
    /// The number of steps that was seen last, and since when.
    seen: (u64, Instant),
    is_over: bool,
    /// Is notified when the last line has been handed out.
    over: Arc<Notify>,
}

/// Counts how often a command was woken.
#[derive(Debug)]
struct Steps {
    count: AtomicU64,
    task: Mutex<Waker>,
}

impl Wake for Steps {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.task
            .lock()
            .expect("no holder of this lock panics")
            .wake_by_ref();
    }
}

impl LongAnswer {
    /// Goes on with a command that was begun.
    pub(super) fn new(work: CommandWork, done: impl Fn() -> u64 + Send + 'static) -> Self {
        let steps = Steps {
            count: AtomicU64::new(0),
            task: Mutex::new(Waker::noop().clone()),
        };
        Self {
            work,
            steps: Arc::new(steps),
            done: Box::new(done),
            beat: interval(BEAT),
            seen: (0, Instant::now()),
            is_over: false,
            over: Arc::default(),
        }
    }

    /// Is notified when the last line has been handed out.
    pub(super) fn over(&self) -> Arc<Notify> {
        Arc::clone(&self.over)
    }

    fn poll_work(&mut self, context: &Context<'_>) -> Poll<String> {
        let mut task = self
            .steps
            .task
            .lock()
            .expect("no holder of this lock panics");
        task.clone_from(context.waker());
        drop(task);
        let counting = Waker::from(Arc::clone(&self.steps));
        self.work.as_mut().poll(&mut Context::from_waker(&counting))
    }

    /// The line of a beat; the last one where the command does not get on.
    fn line(&mut self) -> String {
        let steps = self.steps.count.load(Ordering::Relaxed);
        if steps != self.seen.0 {
            self.seen = (steps, Instant::now());
        }
        let done = (self.done)();
        if self.seen.1.elapsed() < WITHOUT_STEP {
            return line(&AnswerLine::<()>::Done(done));
        }
        self.is_over = true;
        let seconds = WITHOUT_STEP.as_secs();
        let message =
            format!("the command got no further for {seconds} s; {done} were dealt with before");
        line(&AnswerLine::<()>::Problem(Problem::new(
            ProblemCode::Stuck,
            message,
        )))
    }
}

impl Body for LongAnswer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let line = if let Poll::Ready(last) = self.poll_work(context) {
            self.is_over = true;
            last
        } else if self.beat.poll_tick(context).is_ready() {
            self.line()
        } else {
            return Poll::Pending;
        };
        if self.is_over {
            self.over.notify_one();
        }
        Poll::Ready(Some(Ok(Frame::data(line.into()))))
    }
}

/// Writes a line. What cannot be written is told instead.
pub(super) fn line<A: Serialize>(content: &AnswerLine<A>) -> String {
    match serde_json::to_string(content) {
        Ok(line) => line + "\n",
        // A damaged record may hold a time that no calendar has.
        Err(error) => {
            tracing::error!(%error, "an answer could not be written");
            let message = "the answer cannot be written; the daemon's log says why";
            let problem = Problem::new(ProblemCode::Internal, message);
            line(&AnswerLine::<()>::Problem(problem))
        }
    }
}
