//! The queue as a whole: counts from the tally, and the oldest of each place from the queue's index.

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;

use super::columns;
use crate::command::CommandId;
use crate::store::queue::{shares, told_standing};
use crate::store::{Queue, QueuePlace, QueueStanding, QueuedCommand, Result};

const PLACES: &str = "SELECT p.standing, p.class, p.source, s.name, p.count, (
       SELECT received_at FROM command c
       WHERE c.standing = p.standing AND c.standing <> 7 AND c.class = p.class AND c.source = p.source
       ORDER BY c.number DESC LIMIT 1
     )
     FROM (SELECT standing, class, source, sum(count)::bigint AS count FROM tally
           WHERE standing >= 0 AND standing < $1 GROUP BY 1, 2, 3) p
     JOIN source s ON s.number = p.source
     WHERE p.count > 0";

/// `$1` to `$4`: standings, classes and sources of the places, and how many of each.
const OLDEST: &str = "SELECT p.place, c.id, c.number, c.thread, c.name, c.received_at, c.due
     FROM unnest($1::smallint[], $2::smallint[], $3::integer[], $4::bigint[])
          WITH ORDINALITY AS p (standing, class, source, share, place)
     CROSS JOIN LATERAL (
       SELECT id, number, thread, name, received_at, due FROM command
       WHERE standing = p.standing AND standing <> 7 AND class = p.class AND source = p.source
       ORDER BY number LIMIT p.share
     ) c";

pub(super) async fn queue(client: &ClientWrapper, max: u64) -> Result<Queue> {
    let places = client.prepare_cached(PLACES).await?;
    let below = i16::try_from(QueueStanding::CODES_BELOW).unwrap_or(i16::MAX);
    let rows = client.query(&places, &[&below]).await?;
    let (mut standings, mut classes, mut sources): (Vec<i16>, Vec<i16>, Vec<i32>) = Default::default();
    let mut queue = Queue::default();
    for row in &rows {
        let standing: i16 = row.try_get(0)?;
        standings.push(standing);
        classes.push(row.try_get(1)?);
        sources.push(row.try_get(2)?);
        queue.places.push(QueuePlace {
            standing: told_standing(i64::from(standing))?,
            class: columns::class(row, 1)?,
            source: row.try_get(3)?,
            count: columns::count(row, 4)?,
            newest: columns::optional_time(row, 5)?.unwrap_or(Timestamp::UNIX_EPOCH),
            commands: Vec::new(),
        });
    }
    let counts: Vec<u64> = queue.places.iter().map(|place| place.count).collect();
    let shares: Vec<i64> = shares(&counts, max).into_iter().map(columns::signed).collect();
    let oldest = client.prepare_cached(OLDEST).await?;
    for row in client.query(&oldest, &[&standings, &classes, &sources, &shares]).await? {
        let place: i64 = row.try_get(0)?;
        let place = usize::try_from(place - 1).ok().and_then(|place| queue.places.get_mut(place));
        if let Some(place) = place {
            place.commands.push(QueuedCommand {
                id: CommandId(row.try_get(1)?),
                number: row.try_get(2)?,
                thread: row.try_get(3)?,
                name: row.try_get(4)?,
                received_at: columns::time(&row, 5)?,
                due: columns::optional_time(&row, 6)?,
            });
        }
    }
    for place in &mut queue.places {
        place.commands.sort_unstable_by_key(|command| command.number);
    }
    Ok(queue)
}
