//! Lists of messages, newest first, by whatever filter: from an index that leads to what is wanted, never by
//! passing what is finished.

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;

use super::columns;
use super::patient;
use super::problems;
use super::search::{message_columns, message_view, thread_number};
use crate::command::Verdict;
use crate::store::standing::Standing;
use crate::store::vault::Vault;
use crate::store::{Alias, CauseId, MessageFilter, MessageView, PatientDigest, Result};

/// Messages in one answer.
const MESSAGES_MAX: usize = 1_000;
/// Messages are numbered at their commit, so their times of receipt are in order but for this.
pub(super) const DISORDER: i64 = 60_000_000;
/// Looked at together, where not all of them match.
const PAGE_MIN: usize = 50;
/// Numbers between two messages.
const COMMANDS_AND_MESSAGE: i64 = 4096;

/// Messages of one referral that are found.
const OF_ONE_REFERRAL_MAX: i64 = 10_000;

/// Where to look for candidates: each yields message numbers downwards.
enum Candidates {
    /// All of a source, of a verdict, of both, or simply all.
    Messages,
    /// Those of commands that are completed: the many, with an index of their own.
    Completed,
    /// Those of commands that stand elsewhere.
    Commands(Vec<i16>),
    /// Refused for a cause, or with a command that does not get on for it.
    Cause(CauseId),
    Patient(PatientDigest),
    /// The few that a control id names, or that are of one referral.
    Numbers(Vec<i64>),
}

/// The messages that match, newest first.
pub(super) async fn messages(
    client: &ClientWrapper,
    vault: &Vault,
    filter: &MessageFilter,
) -> Result<Vec<MessageView>> {
    let max = filter.max.min(MESSAGES_MAX);
    let Some(mut below) = upper_end(client, filter).await? else { return Ok(Vec::new()) };
    let above = match filter.since {
        Some(since) => first_received_at(client, since.as_microsecond().saturating_sub(DISORDER)).await?,
        None => i64::MIN,
    };
    let candidates = Candidates::of(client, filter).await?;
    let mut found = Vec::new();
    while found.len() < max {
        let numbers = candidates.next(client, filter, below, max.max(PAGE_MIN)).await?;
        let Some(last) = numbers.last().copied() else { break };
        let wanted = numbers.into_iter().filter(|number| *number >= above).collect();
        let wanted = with_all(client, wanted, filter, &candidates).await?;
        for view in load(client, vault, &wanted).await? {
            if found.len() < max && matches(&view, filter) {
                found.push(view);
            }
        }
        if last < above {
            break;
        }
        below = last;
    }
    Ok(found)
}

impl Candidates {
    async fn of(client: &ClientWrapper, filter: &MessageFilter) -> Result<Self> {
        if let Some(control_id) = &filter.control_id {
            return Ok(Self::Numbers(by_control_id(client, control_id).await?));
        }
        if let Some(referral) = &filter.referral {
            return Ok(Self::Numbers(of_referral(client, referral).await?));
        }
        if let Some(patient) = filter.patient {
            return Ok(Self::Patient(patient));
        }
        if let Some(cause) = filter.cause {
            return Ok(Self::Cause(cause));
        }
        let Some(name) = filter.state.as_deref() else { return Ok(Self::Messages) };
        let standings: Vec<Standing> =
            Standing::ALL.into_iter().filter(|standing| standing.state_name() == name).collect();
        Ok(match standings[..] {
            [Standing::Completed] => Self::Completed,
            _ => Self::Commands(standings.into_iter().map(columns::code).collect()),
        })
    }

    /// Up to `max` numbers under `below`, downwards.
    async fn next(&self, client: &ClientWrapper, filter: &MessageFilter, below: i64, max: usize) -> Result<Vec<i64>> {
        let limit = columns::signed(max as u64);
        match self {
            Self::Numbers(numbers) => Ok(numbers.iter().copied().filter(|number| *number < below).collect()),
            Self::Commands(standings) => by_standing(client, standings, filter.source.as_deref(), below, limit).await,
            Self::Completed => completed(client, filter.source.as_deref(), below, limit).await,
            Self::Messages => by_message(client, filter, below, limit).await,
            Self::Patient(patient) => patient::messages_before(client, patient, below, limit).await,
            Self::Cause(cause) => problems::messages(client, *cause, below, limit).await,
        }
    }
}

async fn by_message(client: &ClientWrapper, filter: &MessageFilter, below: i64, limit: i64) -> Result<Vec<i64>> {
    if filter.source.is_none() && filter.verdict.is_none() {
        let statement =
            client.prepare_cached("SELECT number FROM message WHERE number < $1 ORDER BY number DESC LIMIT $2").await?;
        let rows = client.query(&statement, &[&below, &limit]).await?;
        return rows.iter().map(|row| Ok(row.try_get(0)?)).collect();
    }
    // Place by place: the newest of each, however rare it is.
    let statement = client
        .prepare_cached(
            "SELECT m.number FROM source s CROSS JOIN unnest($2::text[]) AS v (verdict) CROSS JOIN LATERAL (
               SELECT number FROM message
               WHERE source = s.number AND verdict = v.verdict AND number < $3 ORDER BY number DESC LIMIT $4
             ) m WHERE $1::text IS NULL OR s.name = $1 ORDER BY m.number DESC LIMIT $4",
        )
        .await?;
    let verdicts: Vec<&str> = match filter.verdict {
        Some(verdict) => vec![verdict.name()],
        None => Verdict::ALL.into_iter().map(Verdict::name).collect(),
    };
    let rows = client.query(&statement, &[&filter.source, &verdicts, &below, &limit]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Messages of the newest completed commands.
async fn completed(client: &ClientWrapper, source: Option<&str>, below: i64, limit: i64) -> Result<Vec<i64>> {
    let statement = client
        .prepare_cached(
            "SELECT DISTINCT number / $4 * $4 FROM (
               SELECT c.number FROM source s CROSS JOIN generate_series(0, 5) AS k (class) CROSS JOIN LATERAL (
                 SELECT number FROM command
                 WHERE standing = 7 AND class = k.class AND source = s.number AND number < $2
                 ORDER BY number DESC LIMIT $3
               ) c WHERE $1::text IS NULL OR s.name = $1 ORDER BY c.number DESC LIMIT $3
             ) newest ORDER BY 1 DESC",
        )
        .await?;
    let rows = client.query(&statement, &[&source, &below, &limit, &COMMANDS_AND_MESSAGE]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Messages of the newest commands at any of `standings`, place by place.
async fn by_standing(
    client: &ClientWrapper,
    standings: &Vec<i16>,
    source: Option<&str>,
    below: i64,
    limit: i64,
) -> Result<Vec<i64>> {
    let statement = client
        .prepare_cached(
            "SELECT DISTINCT number / $5 * $5 FROM (
               SELECT c.number FROM (
                 SELECT standing, class, source FROM tally
                 WHERE standing = ANY ($1)
                   AND ($2::text IS NULL OR source = (SELECT number FROM source WHERE name = $2))
                 GROUP BY 1, 2, 3 HAVING sum(count) > 0
               ) p CROSS JOIN LATERAL (
                 SELECT number FROM command
                 WHERE standing = p.standing AND standing <> 7 AND class = p.class AND source = p.source
                   AND number < $3
                 ORDER BY number DESC LIMIT $4
               ) c ORDER BY c.number DESC LIMIT $4
             ) newest ORDER BY 1 DESC",
        )
        .await?;
    let rows = client.query(&statement, &[standings, &source, &below, &limit, &COMMANDS_AND_MESSAGE]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Those that have also what they were not found by.
async fn with_all(
    client: &ClientWrapper,
    mut messages: Vec<i64>,
    filter: &MessageFilter,
    by: &Candidates,
) -> Result<Vec<i64>> {
    if let (Some(state), Candidates::Numbers(_) | Candidates::Patient(_) | Candidates::Cause(_)) = (&filter.state, by) {
        let standings = Standing::ALL.into_iter().filter(|standing| standing.state_name() == state);
        let standings: Vec<i16> = standings.map(columns::code).collect();
        let of_state = client
            .prepare_cached(
                "SELECT m.number FROM message m WHERE m.number = ANY ($1) AND EXISTS (
                   SELECT 1 FROM command c
                   WHERE c.number > m.number AND c.number <= m.number + m.commands AND c.standing = ANY ($2)
                 ) ORDER BY m.number DESC",
            )
            .await?;
        let rows = client.query(&of_state, &[&messages, &standings]).await?;
        messages = rows.iter().map(|row| row.try_get(0)).collect::<std::result::Result<_, _>>()?;
    }
    match (filter.cause, by) {
        (Some(cause), Candidates::Numbers(_) | Candidates::Patient(_)) => {
            problems::having(client, messages, cause).await
        }
        _ => Ok(messages),
    }
}

/// Newest first.
async fn of_referral(client: &ClientWrapper, referral: &Alias) -> Result<Vec<i64>> {
    let Some(thread) = thread_number(client, referral).await? else { return Ok(Vec::new()) };
    let statement = client
        .prepare_cached(
            "SELECT DISTINCT c.number / $3 * $3 FROM thread t JOIN command c ON c.thread = t.number
             WHERE t.number = $1 ORDER BY 1 DESC LIMIT $2",
        )
        .await?;
    let rows = client.query(&statement, &[&thread, &OF_ONE_REFERRAL_MAX, &COMMANDS_AND_MESSAGE]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// A probe for each source: control ids are kept by source.
async fn by_control_id(client: &ClientWrapper, control_id: &str) -> Result<Vec<i64>> {
    let statement = client
        .prepare_cached(
            "SELECT m.number FROM source s
             CROSS JOIN LATERAL (SELECT message FROM dedup WHERE source = s.number AND control_id = $1) d
             JOIN message m ON m.id = d.message ORDER BY m.number DESC",
        )
        .await?;
    let rows = client.query(&statement, &[&&*columns::storable(control_id)]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Views of messages, newest first.
async fn load(client: &ClientWrapper, vault: &Vault, numbers: &Vec<i64>) -> Result<Vec<MessageView>> {
    let statement = client
        .prepare_cached(concat!(
            "SELECT ",
            message_columns!(),
            " FROM message m WHERE m.number = ANY ($1) ORDER BY m.number DESC"
        ))
        .await?;
    client.query(&statement, &[numbers]).await?.iter().map(|row| message_view(row, vault)).collect()
}

fn matches(view: &MessageView, filter: &MessageFilter) -> bool {
    filter.source.as_ref().is_none_or(|source| *source == view.source)
        && filter.verdict.is_none_or(|verdict| verdict == view.verdict)
        && filter.since.is_none_or(|since| view.received_at >= since)
        && filter.until.is_none_or(|until| view.received_at < until)
}

/// The number under which the list begins; `None` if the message to begin before is unknown.
async fn upper_end(client: &ClientWrapper, filter: &MessageFilter) -> Result<Option<i64>> {
    let mut below = i64::MAX;
    if let Some(before) = filter.before {
        let statement = client.prepare_cached("SELECT number FROM message WHERE id = $1").await?;
        let Some(row) = client.query_opt(&statement, &[&before.0]).await? else { return Ok(None) };
        below = row.try_get(0)?;
    }
    if let Some(until) = filter.until {
        let at = Timestamp::as_microsecond(until).saturating_add(DISORDER);
        below = below.min(first_received_at(client, at).await?);
    }
    Ok(Some(below))
}

/// The number of the first message that came at `at` or later, by halving: times grow with numbers, so no
/// index of times is needed.
pub(super) async fn first_received_at(client: &ClientWrapper, at: i64) -> Result<i64> {
    let ends =
        client.prepare_cached("SELECT coalesce(min(number), 0), coalesce(max(number), 0) + 1 FROM message").await?;
    let row = client.query_one(&ends, &[]).await?;
    let (mut low, mut high): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let probe = client
        .prepare_cached("SELECT number, received_at FROM message WHERE number >= $1 ORDER BY number LIMIT 1")
        .await?;
    while low < high {
        let middle = low + (high - low) / 2;
        match client.query_opt(&probe, &[&middle]).await? {
            Some(row) if row.try_get::<_, i64>(1)? < at => low = row.try_get::<_, i64>(0)? + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}
