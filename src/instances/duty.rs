//! A duty: something that one instance does at a time.

use std::sync::Arc;
use std::time::Duration;

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
                Ok(true) => return Some(self.held(asked)),
                Ok(false) => {}
                Err(error) => tracing::debug!(duty = self.name, %error, "whether a duty is free is not known"),
            }
            tokio::select! {
                () = self.environment.sleep(ASK_EVERY) => {}
                () = self.environment.shutdown().cancelled() => return None,
            }
        }
    }

    fn held(&self, asked: tokio::time::Instant) -> Held {
        let (lost, left) = (CancellationToken::new(), CancellationToken::new());
        let (duty, tells, let_go) = (self.clone(), lost.clone(), left.clone());
        self.environment.spawn(async move { duty.renew(asked, &tells, &let_go).await });
        Held { lost, left }
    }

    /// Renews until it is let go, or another has it, or the store did not answer for too long.
    async fn renew(&self, mut surely_since: tokio::time::Instant, lost: &CancellationToken, left: &CancellationToken) {
        loop {
            tokio::select! {
                () = self.environment.sleep(RENEW_EVERY) => {}
                () = left.cancelled() => {
                    if let Err(error) = self.store.leave_duty(self.name, &self.instance).await {
                        tracing::debug!(duty = self.name, %error, "a duty was not given back; it ends by itself");
                    }
                    return;
                }
            }
            let asked = self.environment.instant();
            let renewing = self.store.take_duty(self.name, &self.instance, HOLD);
            match tokio::time::timeout(RENEW_EVERY, renewing).await {
                Ok(Ok(true)) => surely_since = asked,
                Ok(Ok(false)) => break,
                Ok(Err(_)) | Err(_) if surely_since.elapsed() + RENEW_EVERY + MARGIN < HOLD => {}
                Ok(Err(_)) | Err(_) => break,
            }
        }
        tracing::warn!(duty = self.name, "a duty was lost; another instance may have it");
        lost.cancel();
    }
}

/// The duty is this instance's, until it is lost or this is dropped.
pub struct Held {
    lost: CancellationToken,
    left: CancellationToken,
}

impl Held {
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.left.cancel();
    }
}
