//! What a day's counts read.

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::store::postgres::report;

#[tokio::test]
async fn of_events_only_those_of_the_day_are_read_however_many_came_since() {
    let home = Schema::new();
    drop(home.store().await);
    let pool = Address::parse(&home.url.lock()).expect("a URL").pool();
    let client = pool.get().await.expect("a connection");
    client
        .batch_execute(
            "INSERT INTO outbox (position, id, name, at, source, subject, thread, sequence, confirmed_at, data)
             SELECT n + 1, gen_random_uuid(), 'ReferralCreated', n * 2160000000, 'northmoor', n::text,
               gen_random_uuid(), 1, 0, '{}' FROM generate_series(0, 39999) n;
             INSERT INTO source (name) VALUES ('northmoor');
             INSERT INTO message (number, id, source, transport, kind, charset, received_at, verdict, size, sha256,
               commands, acknowledgement)
             SELECT (d + 1) * 4096, gen_random_uuid(), 1, 'mllp', 'REF^I12', 'UTF-8', d * 86400000000 + 1, 'rejected', 1,
               '', 1, '' FROM generate_series(0, 999) d;
             INSERT INTO command (number, id, message, source, thread, name, class, standing, state, received_at,
               changed_at, deferrals, changes, fence, mapping_set, body)
             SELECT number + 1, gen_random_uuid(), id, 1, number, 'CreateReferral', 3, 6, '{}', received_at,
               received_at + 1, 0, 1, 1, 'set', '{}' FROM message;
             ANALYZE outbox; ANALYZE message; ANALYZE command",
        )
        .await
        .expect("filled");
    for day in [0, 500, 999] {
        let from = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day);
        client.batch_execute("BEGIN").await.expect("begun");
        let counted = report::day(&client, from, from + SignedDuration::from_hours(24)).await.expect("counted");
        let untold = counted.sources["northmoor"].untold;
        assert_eq!((untold.rejected, untold.failed), (1, 1), "no event tells of them");
        let sql = "SELECT (seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_user_tables
                   WHERE relname = 'outbox' AND schemaname = current_schema()";
        let rows: i64 = client.query_one(sql, &[]).await.expect("counted").get(0);
        client.batch_execute("ROLLBACK").await.expect("ended");
        // 40 a day, read twice; those of an hour before it is said that nothing tells of them; and where each begins and ends: of 40,000.
        assert!((80..2_000).contains(&rows), "{rows} of day {day}");
    }
}
