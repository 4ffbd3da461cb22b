//! A duty: something that one instance does at a time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::environment::Environment;
use crate::store::InstanceStore;

/// How long a duty stays with an instance that gives no sign of life.
const HOLD: Duration = Duration::from_secs(15);
const RENEW_EVERY: Duration = Duration::from_secs(4);
/// Who counts on a duty stops this long before the store would give it to another.
const MARGIN: Duration = Duration::from_secs(3);
/// Between two questions whether it is free.
const ASK_EVERY: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct Duty {
    store: Arc<dyn InstanceStore>,
    name: &'static str,
    instance: String,
    environment: Environment,
}

impl Duty {
    pub fn new(store: Arc<dyn InstanceStore>, name: &'static str, instance: &str, environment: &Environment) -> Self {
        Self { store, name, instance: instance.to_owned(), environment: environment.clone() }
    }

    /// Waits until this instance has the duty; `None` if the gateway stops first.
    pub async fn hold(&self) -> Option<Held> {
        loop {
            let asked = self.environment.instant();
            match self.store.take_duty(self.name, &self.instance, HOLD).await {
                Ok(Some(until)) => return Some(self.held(asked, until)),
                Ok(None) => {}
                Err(error) => tracing::debug!(duty = self.name, %error, "whether a duty is free is not known"),
            }
            tokio::select! {
                biased;
                () = self.environment.sleep(ASK_EVERY) => {}
                () = self.environment.shutdown().cancelled() => return None,
            }
        }
    }

    fn held(&self, asked: Instant, until: Timestamp) -> Held {
        let (lost, left) = (CancellationToken::new(), CancellationToken::new());
        let (duty, tells, let_go) = (self.clone(), lost.clone(), left.clone());
        let renewing = self.environment.spawn(async move { duty.renew(asked, until, &tells, &let_go).await });
        Held { lost, left, renewing: Some(renewing) }
    }

    /// Renews until it is let go, or another has it, or the store did not answer for too long.
    async fn renew(
        &self,
        mut surely_since: Instant,
        mut until: Timestamp,
        lost: &CancellationToken,
        left: &CancellationToken,
    ) {
        loop {
            tokio::select! {
                biased;
                () = self.environment.sleep(RENEW_EVERY) => {}
                () = left.cancelled() => {
                    if let Err(error) = self.store.leave_duty(self.name, &self.instance, until).await {
                        tracing::debug!(duty = self.name, %error, "a duty was not given back; it ends by itself");
                    }
                    return;
                }
            }
            let asked = self.environment.instant();
            let renewing = self.store.take_duty(self.name, &self.instance, HOLD);
            match tokio::time::timeout(RENEW_EVERY, renewing).await {
                Ok(Ok(Some(renewed))) => (surely_since, until) = (asked, renewed),
                Ok(Ok(None)) => break,
                Ok(Err(_)) | Err(_) if surely_since.elapsed() + RENEW_EVERY + MARGIN < HOLD => {}
                Ok(Err(_)) | Err(_) => break,
            }
        }
        tracing::warn!(duty = self.name, "a duty was lost; another instance may have it");
        lost.cancel();
    }
}

/// The duty is this instance's, until it is lost, left or dropped. Who may want it again leaves it: what is dropped is
/// given back some time later.
pub struct Held {
    lost: CancellationToken,
    left: CancellationToken,
    renewing: Option<JoinHandle<()>>,
}

impl Held {
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Gives it back, and returns when the store has it: nothing of this hold can end one that is taken anew.
    pub async fn leave(mut self) {
        self.left.cancel();
        if let Some(renewing) = self.renewing.take() {
            // It ends by itself; a panic in it was told where it happened.
            let _ = renewing.await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.left.cancel();
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use parking_lot::Mutex;

    use super::*;
    use crate::store::{Beat, InstanceView, Result};

    /// Answers late, and has what `take` and `leave` did last.
    struct Slow {
        environment: Environment,
        until: Mutex<Option<Timestamp>>,
    }

    const SLOW: Duration = Duration::from_secs(3);

    #[async_trait]
    impl InstanceStore for Slow {
        async fn beat(&self, _beat: Beat) -> Result<()> {
            Ok(())
        }

        async fn instances(&self) -> Result<Vec<InstanceView>> {
            Ok(Vec::new())
        }

        async fn take_duty(&self, _duty: &str, _instance: &str, hold: Duration) -> Result<Option<Timestamp>> {
            self.environment.sleep(SLOW).await;
            let until = self.environment.now() + hold;
            *self.until.lock() = Some(until);
            Ok(Some(until))
        }

        async fn leave_duty(&self, _duty: &str, _instance: &str, until: Timestamp) -> Result<()> {
            self.environment.sleep(SLOW).await;
            self.until.lock().take_if(|held| *held == until);
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_duty_that_is_left_and_taken_anew_is_not_given_back_by_the_hold_before() {
        let environment = Environment::simulated(5, Timestamp::UNIX_EPOCH);
        let store = Arc::new(Slow { environment: environment.clone(), until: Mutex::new(None) });
        let duty = Duty::new(store.clone(), "outbox", "gateway-1", &environment);
        // At once, and in the middle of a renewal.
        for after in [Duration::ZERO, RENEW_EVERY + SLOW / 2] {
            let held = duty.hold().await.expect("it is free");
            environment.sleep(after).await;
            held.leave().await;
            assert_eq!(*store.until.lock(), None, "left after {after:?}");
        }
        let held = duty.hold().await.expect("it is free");
        tokio::select! {
            () = held.lost() => panic!("nobody else wants it"),
            () = environment.sleep(HOLD * 4) => {}
        }
        assert!(store.until.lock().is_some_and(|until| until > environment.now()), "it is renewed");
    }
}
