//! What one instance does at a time.

use std::time::Duration;

use super::Home;
use crate::environment::Environment;
use crate::instances::Duty;

pub(crate) async fn a_duty_that_was_left_is_had_again_at_once(home: &impl Home) {
    let store = home.open().await;
    let environment = Environment::system();
    let duty = Duty::new(store.clone(), "outbox", "gateway-1", &environment);
    for _ in 0..3 {
        duty.hold().await.expect("it is free").leave().await;
    }
    let held = duty.hold().await.expect("it is free");
    assert!(tokio::time::timeout(Duration::from_millis(100), held.lost()).await.is_err(), "it is ours");
    held.leave().await;
}

pub(crate) async fn a_duty_that_was_taken_anew_outlives_a_late_leave(home: &impl Home) {
    let store = home.open().await;
    let hold = Duration::from_secs(60);
    let take =
        async || store.take_duty("outbox", "gateway-1", hold).await.expect("asked").expect("nobody else is here");
    let (first, anew) = (take().await, take().await);
    assert!(first < anew, "{first} is not before {anew}");
    store.leave_duty("outbox", "gateway-1", first).await.expect("asked");
    assert!(anew < take().await);
}
