//! A lane whose batch has a bug.

use tokio::runtime::Handle;
use uuid::Uuid;

use super::*;
use crate::store::postgres::bells::{Bells, Ringer};
use crate::store::postgres::failure::Failed;
use crate::store::postgres::lane::{Batch, Decided, Lane, LaneParts};
use crate::store::postgres::write::Signature;
use crate::store::{Signals, StoreError};
use deadpool_postgres::ClientWrapper;
use prometheus::IntCounter;

/// Writes numbers; the number 13 panics when it is decided on, and 14 when it is committed.
struct Numbers;

impl Batch for Numbers {
    type Item = i64;
    type Outcome = i64;
    type Changes = ();

    fn weight(_: &i64) -> usize {
        1
    }

    async fn decide(&self, client: &ClientWrapper, items: &[&i64]) -> std::result::Result<Decided<Self>, Failed> {
        client.batch_execute("BEGIN; CREATE TABLE IF NOT EXISTS number (number bigint)").await?;
        assert!(!items.contains(&&13), "a bug");
        let outcomes = items.iter().map(|number| Ok(**number)).collect();
        Ok(Decided { outcomes, changes: (), bells: Bells::default() })
    }

    async fn commit(
        &self,
        client: &ClientWrapper,
        items: &[&i64],
        (): &(),
        _: Signature,
    ) -> std::result::Result<(), Failed> {
        for number in items {
            client.execute("INSERT INTO number VALUES ($1)", &[*number]).await?;
        }
        assert!(!items.contains(&&14), "a bug");
        Ok(client.batch_execute("COMMIT").await?)
    }
}

#[tokio::test]
async fn a_panic_costs_its_group_an_answer_and_nothing_else() {
    let home = Schema::new();
    let address = Address::parse(&home.url.lock()).expect("a URL");
    let (pool, environment, runtime) = (address.pool(), Environment::system(), Handle::current());
    let ringer =
        Ringer::new(Signals::default(), pool.clone(), environment.clone(), runtime.clone(), Uuid::new_v4(), "lanes");
    let parts = LaneParts {
        pool: pool.clone(),
        ringer: Arc::new(ringer),
        environment,
        runtime,
        commits: IntCounter::new("commits", "commits").expect("a metric"),
        desk: 1,
        last_group: 0,
    };
    let lane = Lane::new(Numbers, parts);
    for round in [1, 2] {
        for bug in [13, 14] {
            let answer = lane.write(bug).await;
            assert!(matches!(answer, Err(StoreError::Unavailable(_))), "round {round}: {answer:?}");
            let fine = 10 * round + bug % 13;
            assert_eq!(lane.write(fine).await.expect("the next is written"), fine);
        }
    }
    let client = pool.get().await.expect("a connection");
    let rows = client.query("SELECT number FROM number ORDER BY number", &[]).await.expect("read");
    let written: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(written, [10, 11, 20, 21], "nothing of a group that panicked");
}
