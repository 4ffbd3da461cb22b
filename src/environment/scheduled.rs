//! Tasks of a simulated world that has one thread: each asks before it is polled.
//!
//! Enters: a task, and who decides. Leaves: the same task, polled when it may be. Guarantees: whoever decides sees every
//! poll, so that all of them together can be ordered by one seed, and ended between any two.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Decides in a simulated world which task goes on.
pub trait Scheduler: Send + Sync {
    /// Asked before a task is polled.
    fn turn(&self) -> Turn;
    /// The task that was let go on was polled.
    fn ended(&self);
}

/// What becomes of a task that could be polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Now,
    /// After the others that are ready.
    Later,
    /// Its process is no more: it is dropped where it stands, and whoever waits for it waits for ever.
    Never,
}

pub(super) struct Scheduled<F> {
    task: Option<Pin<Box<F>>>,
    scheduler: Arc<dyn Scheduler>,
}

impl<F> Scheduled<F> {
    pub(super) fn new(task: F, scheduler: &Arc<dyn Scheduler>) -> Self {
        Self { task: Some(Box::pin(task)), scheduler: scheduler.clone() }
    }
}

impl<F: Future> Future for Scheduled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        match self.scheduler.turn() {
            Turn::Later => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Turn::Never => {
                self.task = None;
                Poll::Pending
            }
            Turn::Now => {
                let Some(task) = &mut self.task else { return Poll::Pending };
                let polled = task.as_mut().poll(context);
                self.scheduler.ended();
                polled
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use jiff::Timestamp;
    use parking_lot::Mutex;
    use tokio::runtime::Handle;

    use super::*;
    use crate::environment::Environment;

    /// Turns as they were written down, and then every task goes on.
    #[derive(Default)]
    struct Written {
        turns: Mutex<VecDeque<Turn>>,
        polls: Mutex<u32>,
    }

    impl Scheduler for Written {
        fn turn(&self) -> Turn {
            self.turns.lock().pop_front().unwrap_or(Turn::Now)
        }

        fn ended(&self) {
            *self.polls.lock() += 1;
        }
    }

    fn world(turns: &[Turn]) -> (Environment, Arc<Written>) {
        let written = Arc::new(Written { turns: Mutex::new(turns.iter().copied().collect()), ..Written::default() });
        (Environment::simulated(1, Timestamp::UNIX_EPOCH).scheduled_by(written.clone()), written)
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_goes_on_when_it_is_let() {
        let (environment, written) = world(&[Turn::Later, Turn::Later]);
        assert_eq!(environment.spawn(async { 7 }).await.expect("it ends"), 7);
        assert_eq!(*written.polls.lock(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_of_a_process_that_is_no_more_is_dropped_where_it_stands() {
        let (environment, _) = world(&[Turn::Now, Turn::Never]);
        let held = Arc::new(());
        let (holds, sleeps) = (held.clone(), environment.clone());
        let task = environment.spawn(async move {
            sleeps.sleep(Duration::from_secs(1)).await;
            drop(holds);
        });
        assert!(environment.within(Duration::from_secs(60), task).await.is_none(), "nobody hears of its end");
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_blocks_is_a_task_on_the_same_thread() {
        let (environment, written) = world(&[Turn::Later]);
        let working = environment.spawn_blocking_on(&Handle::current(), || std::thread::current().id());
        assert_eq!(working.await.expect("it ends"), std::thread::current().id());
        assert_eq!(*written.polls.lock(), 1);
    }
}
