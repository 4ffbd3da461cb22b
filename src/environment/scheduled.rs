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
