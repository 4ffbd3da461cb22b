//! Clock, randomness, identifiers, sleeping and spawning, injected into every room.
//!
//! Enters: nothing. Leaves: the time, random numbers, identifiers, timers and tasks that the rest of
//! the gateway uses. Guarantees: no other module reads a clock, draws a random number or spawns a
//! task on its own, so a test can run the whole house on a seeded, paused clock.

mod scheduled;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::scheduled::Scheduled;
pub use self::scheduled::{Scheduler, Turn};

/// What tells the time. `System` reads the machine's clock; `Simulated` moves with tokio's (paused) clock.
#[derive(Clone, Debug)]
enum Clock {
    System,
    /// `off`: by how many microseconds it is wrong.
    Simulated {
        epoch: Timestamp,
        started: tokio::time::Instant,
        off: Arc<AtomicI64>,
    },
}

impl Clock {
    fn simulated(epoch: Timestamp) -> Self {
        Self::Simulated { epoch, started: tokio::time::Instant::now(), off: Arc::default() }
    }
}

/// The outside world as the gateway sees it. Cheap to clone; clones share randomness, tasks and shutdown.
#[derive(Clone)]
pub struct Environment {
    clock: Clock,
    random: Arc<Mutex<StdRng>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// In a simulated world with one thread.
    scheduler: Option<Arc<dyn Scheduler>>,
}

impl Environment {
    /// The machine's own clock and entropy.
    pub fn system() -> Self {
        Self::with(Clock::System, StdRng::from_os_rng())
    }

    /// A seeded world that starts at `epoch` and advances with tokio's clock (pause it for tests).
    pub fn simulated(seed: u64, epoch: Timestamp) -> Self {
        Self::with(Clock::simulated(epoch), StdRng::seed_from_u64(seed))
    }

    fn with(clock: Clock, random: StdRng) -> Self {
        Self {
            clock,
            random: Arc::new(Mutex::new(random)),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            scheduler: None,
        }
    }

    /// Of a simulated world: a machine of its own, whose clock can be set without the clocks of others.
    pub fn with_own_clock(mut self) -> Self {
        if let Clock::Simulated { off, .. } = &mut self.clock {
            *off = Arc::new(AtomicI64::new(off.load(Ordering::Relaxed)));
        }
        self
    }

    /// Sets a simulated clock wrong by so much; zero sets it right. Everything made of this environment sees it.
    pub fn set_clock_wrong_by(&self, by: SignedDuration) {
        if let Clock::Simulated { off, .. } = &self.clock {
            off.store(i64::try_from(by.as_micros()).unwrap_or_default(), Ordering::Relaxed);
        }
    }

    /// Every poll of a task is asked for, and work that blocks is a task like any other: the world has one thread.
    pub fn scheduled_by(self, scheduler: Arc<dyn Scheduler>) -> Self {
        Self { scheduler: Some(scheduler), ..self }
    }

    /// Wall-clock time, in microseconds at best.
    pub fn now(&self) -> Timestamp {
        match &self.clock {
            Clock::System => Timestamp::now(),
            Clock::Simulated { epoch, started, off } => {
                *epoch + started.elapsed() + SignedDuration::from_micros(off.load(Ordering::Relaxed))
            }
        }
    }

    /// Time that never goes backwards, for measuring durations.
    pub fn instant(&self) -> tokio::time::Instant {
        tokio::time::Instant::now()
    }

    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// What `work` gives, if it is done within `limit`.
    pub async fn within<F: Future>(&self, limit: Duration, work: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.sleep(limit) => None,
        }
    }

    /// A UUID version 7 (RFC 9562): ordered by time, so that new rows land at the end of an index.
    pub fn new_id(&self) -> Uuid {
        let now = self.now();
        let mut bytes = [0u8; 10];
        self.random.lock().fill_bytes(&mut bytes);
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }

    /// A UUID version 4, where the identifier must not reveal the time (token `jti`, correlation ids).
    pub fn random_id(&self) -> Uuid {
        let mut bytes = [0u8; 16];
        self.random.lock().fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// Uniform in `0.0..1.0`; for jitter.
    pub fn fraction(&self) -> f64 {
        self.random.lock().random()
    }

    pub fn fill_random(&self, bytes: &mut [u8]) {
        self.random.lock().fill_bytes(bytes);
    }

    /// Runs `task` until it ends; `drain` waits for it.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.scheduler {
            None => self.tasks.spawn(task),
            Some(scheduler) => self.tasks.spawn(Scheduled::new(task, scheduler)),
        }
    }

    /// As [`Self::spawn`], on a runtime that is named, so that the task does not end with the one that asks for it.
    pub fn spawn_on<F>(&self, runtime: &Handle, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.scheduler {
            None => self.tasks.spawn_on(task, runtime),
            Some(scheduler) => self.tasks.spawn_on(Scheduled::new(task, scheduler), runtime),
        }
    }

    /// Runs `work` on `runtime`'s threads for work that blocks (files, SQLite); `drain` waits for it. A
    /// simulated clock stands still meanwhile. The runtime is named, so that work begun for a short-lived
    /// runtime (a worker of the HTTP server) does not end with it.
    pub fn spawn_blocking_on<F, T>(&self, runtime: &Handle, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match &self.scheduler {
            None => self.tasks.spawn_blocking_on(work, runtime),
            Some(scheduler) => self.tasks.spawn_on(Scheduled::new(async move { work() }, scheduler), runtime),
        }
    }

    /// The same world with tasks and shutdown of its own, for rooms that stop before others. It is asked to
    /// stop with its parent at the latest.
    pub fn stage(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            random: self.random.clone(),
            tasks: TaskTracker::new(),
            shutdown: self.shutdown.child_token(),
            scheduler: self.scheduler.clone(),
        }
    }

    /// Cancelled when the gateway is asked to stop: listeners stop accepting, loops finish what they hold.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Asks everything to stop and waits for it, at most `limit`. Returns false if something did not stop.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.shutdown.cancel();
        self.tasks.close();
        tokio::time::timeout(limit, self.tasks.wait()).await.is_ok()
    }
}

/// Whether a host, by its name or address, is surely this machine: what is sent there is on no wire.
pub fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_this_machine() {
        for (host, is_own) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.8.8.8", true),
            ("::1", true),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("127.0.0.1.example.com", false),
            ("", false),
        ] {
            assert_eq!(is_this_machine(host), is_own, "{host}");
        }
    }

    #[tokio::test]
    async fn a_stage_stops_alone_or_with_the_whole() {
        let whole = Environment::system();
        let (first, second) = (whole.stage(), whole.stage());
        let waits_for = second.shutdown().clone();
        second.spawn(async move { waits_for.cancelled().await });
        assert!(first.drain(Duration::from_secs(1)).await);
        assert!(!second.shutdown().is_cancelled());
        whole.shutdown().cancel();
        assert!(second.drain(Duration::from_secs(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulated_world_repeats_itself() {
        let epoch: Timestamp = "2026-03-16T09:30:00Z".parse().expect("a literal instant");
        let one = Environment::simulated(7, epoch);
        let two = Environment::simulated(7, epoch);
        assert_eq!(one.new_id(), two.new_id());
        assert_eq!(one.fraction(), two.fraction());
        one.sleep(Duration::from_secs(60)).await;
        assert_eq!(one.now(), epoch + Duration::from_secs(60));
    }
}
