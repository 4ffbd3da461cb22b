//! Waiting, never for ever.

use std::time::Duration;

use crate::support::world::World;

/// Longer than any answer takes that comes at all.
const ANSWER_MAX: Duration = Duration::from_secs(60);

pub fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(ANSWER_MAX).build().expect("a client")
}

pub async fn get(url: impl reqwest::IntoUrl) -> reqwest::Response {
    client().get(url).send().await.expect("an answer")
}

/// What a gateway answers to this.
pub async fn post(
    world: &World,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<reqwest::Body>,
) -> reqwest::Response {
    let mut request = client().post(format!("http://{}{path}", world.http)).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("the gateway answers")
}

/// Looks until it is so.
pub async fn until(what: &str, limit: Duration, mut reached: impl FnMut() -> bool) {
    let waiting = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(limit, waiting).await.is_ok(), "not within {limit:?}: {what}");
}
