//! Answers that may be used again: reference data, for as long as the catalogue of operations says (`keep`).
//!
//! Enters: good answers to reads, by connection and path. Leaves: the same answers, while they are not too old.
//! Guarantees: kept in memory only, a bounded number of them; what is not here is asked of e-RS.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::environment::Environment;
use crate::ers::Response;

/// More than there are code systems, for a few connections.
const ANSWERS_MAX: usize = 64;

struct Kept {
    until: Instant,
    response: Response,
}

pub(super) struct KeptAnswers {
    answers: Mutex<HashMap<(String, String), Kept>>,
    environment: Environment,
}

impl KeptAnswers {
    pub(super) fn new(environment: &Environment) -> Self {
        Self { answers: Mutex::default(), environment: environment.clone() }
    }

    pub(super) fn get(&self, connection: &str, path: &str) -> Option<Response> {
        let now = self.environment.instant();
        let answers = self.answers.lock();
        let kept = answers.get(&(connection.to_owned(), path.to_owned()))?;
        (kept.until > now).then(|| kept.response.clone())
    }

    pub(super) fn forget(&self, connection: &str, path: &str) {
        self.answers.lock().remove(&(connection.to_owned(), path.to_owned()));
    }

    pub(super) fn put(&self, connection: &str, path: &str, response: &Response, keep: Duration) {
        let now = self.environment.instant();
        let mut answers = self.answers.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, kept| kept.until > now);
        }
        if answers.len() < ANSWERS_MAX {
            let kept = Kept { until: now + keep, response: response.clone() };
            answers.insert((connection.to_owned(), path.to_owned()), kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_used_again_until_it_is_too_old() {
        let environment = Environment::simulated(7, jiff::Timestamp::UNIX_EPOCH);
        let kept = KeptAnswers::new(&environment);
        let response = Response { status: 200, headers: Vec::new(), body: "{}".into() };
        kept.put("ers", "/a", &response, Duration::from_secs(60));
        assert!(
            kept.get("ers", "/a").is_some() && kept.get("ers", "/b").is_none() && kept.get("other", "/a").is_none()
        );
        environment.sleep(Duration::from_secs(61)).await;
        assert!(kept.get("ers", "/a").is_none());
        kept.put("ers", "/a", &response, Duration::from_secs(60));
        kept.forget("ers", "/a");
        assert!(kept.get("ers", "/a").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_a_few_are_kept_and_old_ones_make_room() {
        let environment = Environment::simulated(7, jiff::Timestamp::UNIX_EPOCH);
        let kept = KeptAnswers::new(&environment);
        let response = Response { status: 200, headers: Vec::new(), body: "{}".into() };
        for number in 0..=ANSWERS_MAX {
            kept.put("ers", &format!("/{number}"), &response, Duration::from_secs(60));
        }
        assert!(kept.get("ers", "/0").is_some() && kept.get("ers", &format!("/{ANSWERS_MAX}")).is_none());
        environment.sleep(Duration::from_secs(61)).await;
        kept.put("ers", "/new", &response, Duration::from_secs(60));
        assert!(kept.get("ers", "/new").is_some());
    }
}
