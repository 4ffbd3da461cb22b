//! What there is of a patient, and what is held.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::audit;
use super::columns::{self, micros, storable};
use super::failure::Failed;
use crate::command::MessageId;
use crate::environment::Environment;
use crate::store::patient::{HELD_MESSAGES, IS_THEIRS, MESSAGES_OF_THREADS, THEIRS};
use crate::store::{Act, Held, LegalHold, Noted, PatientDigest, PlacedMessage, Result, StoreError, damaged};

pub(super) const MENTION: &str = "INSERT INTO mention (message, patient)
     SELECT * FROM unnest($1::bigint[], $2::bytea[]) ON CONFLICT DO NOTHING";

/// Parameters of [`MENTION`].
#[derive(Default)]
pub(super) struct Mentions {
    messages: Vec<i64>,
    patients: Vec<Vec<u8>>,
}

impl Mentions {
    /// In one order, whoever writes them: two transactions never wait for each other.
    pub(super) fn of(mut rows: Vec<(i64, Vec<u8>)>) -> Self {
        rows.sort_unstable();
        rows.dedup();
        let (messages, patients) = rows.into_iter().unzip();
        Self { messages, patients }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 2] {
        [&self.messages, &self.patients]
    }
}

/// Rows of a message; one that mentions nobody has an empty one.
pub(super) fn mentions(message: i64, patients: &[PatientDigest]) -> impl Iterator<Item = (i64, Vec<u8>)> {
    let nobody = patients.is_empty().then(Vec::new);
    patients.iter().map(|patient| patient.to_vec()).chain(nobody).map(move |patient| (message, patient))
}

/// In the texts that both stores share.
pub(super) fn here(sql: &str) -> String {
    // A message's commands have the numbers that follow.
    sql.replace("{first}", "(m.number + 1)")
}

/// What is held, as the beginning of a statement.
pub(super) fn held() -> String {
    here(&THEIRS.replace("{messages}", HELD_MESSAGES))
}

/// Nearly always there is no hold, and then nothing is looked for.
pub(super) async fn is_any_held(client: &ClientWrapper) -> Result<bool> {
    Ok(client.query_opt("SELECT 1 FROM legal_hold LIMIT 1", &[]).await?.is_some())
}

async fn number_of(client: &ClientWrapper, message: MessageId) -> Result<Option<i64>> {
    let row = client.query_opt("SELECT number FROM message WHERE id = $1", &[&message.0]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

pub(super) async fn note_mentions(
    client: &ClientWrapper,
    message: MessageId,
    patients: &[PatientDigest],
) -> Result<()> {
    let number = number_of(client, message).await?.ok_or(StoreError::NotFound)?;
    let mentions = Mentions::of(mentions(number, patients).collect());
    client.execute(MENTION, &mentions.parameters()).await?;
    Ok(())
}

pub(super) async fn put_legal_hold(
    client: &ClientWrapper,
    hold: &LegalHold,
    act: Act,
    environment: &Environment,
) -> std::result::Result<(), Failed> {
    let (message, patient) = match &hold.on {
        Held::Message(message) => (Some(message.0), None),
        Held::Patient(patient) => (None, Some(&patient[..])),
    };
    client.batch_execute("BEGIN").await?;
    if let Held::Message(message) = hold.on
        && number_of(client, message).await?.is_none()
    {
        return Err(StoreError::NotFound.into());
    }
    client
        .execute(
            "INSERT INTO legal_hold (id, message, patient, at, by) VALUES ($1, $2, $3, $4, $5)",
            &[&hold.id, &message, &patient, &micros(hold.at), &storable(&hold.by)],
        )
        .await?;
    audit::add(client, Noted { act: LegalHold::PUT, subject: hold.subject(), by: act }, environment).await?;
    Ok(client.batch_execute("COMMIT").await?)
}

pub(super) async fn lift_legal_hold(
    client: &ClientWrapper,
    id: Uuid,
    act: Act,
    environment: &Environment,
) -> std::result::Result<(), Failed> {
    client.batch_execute("BEGIN").await?;
    let row =
        client.query_opt("DELETE FROM legal_hold WHERE id = $1 RETURNING id, message, patient, at, by", &[&id]).await?;
    let hold = row.as_ref().map(legal_hold).transpose()?.ok_or(StoreError::NotFound)?;
    audit::add(client, Noted { act: LegalHold::LIFTED, subject: hold.subject(), by: act }, environment).await?;
    Ok(client.batch_execute("COMMIT").await?)
}

fn legal_hold(row: &Row) -> Result<LegalHold> {
    let on = match (row.try_get::<_, Option<Uuid>>(1)?, row.try_get::<_, Option<&[u8]>>(2)?) {
        (Some(message), None) => Held::Message(MessageId(message)),
        (None, Some(patient)) => Held::Patient(columns::digest(patient)?),
        _ => return Err(damaged("a legal hold is on nothing, or on two things")),
    };
    Ok(LegalHold { id: row.try_get(0)?, on, at: columns::time(row, 3)?, by: row.try_get(4)? })
}

pub(super) async fn legal_holds(client: &ClientWrapper) -> Result<Vec<LegalHold>> {
    let sql = "SELECT id, message, patient, at, by FROM legal_hold ORDER BY at, id";
    client.query(sql, &[]).await?.iter().map(legal_hold).collect()
}

pub(super) async fn is_held(client: &ClientWrapper, message: MessageId) -> Result<bool> {
    if !is_any_held(client).await? {
        return Ok(false);
    }
    let sql = format!("{} SELECT 1 FROM message m WHERE m.id = $1 AND {}", held(), here(IS_THEIRS));
    Ok(client.query_opt(&client.prepare_cached(&sql).await?, &[&message.0]).await?.is_some())
}

fn placed(row: &Row) -> Result<PlacedMessage> {
    Ok(PlacedMessage { number: columns::count(row, 0)?, id: MessageId(row.try_get(1)?) })
}

pub(super) async fn messages_of_patient(
    client: &ClientWrapper,
    patient: &PatientDigest,
    after: u64,
    max: usize,
) -> Result<Vec<PlacedMessage>> {
    let begun = "SELECT message FROM mention WHERE patient = $1";
    let sql = format!(
        "{} SELECT number, id FROM ({MESSAGES_OF_THREADS}) theirs WHERE number > $2 ORDER BY number LIMIT $3",
        here(&THEIRS.replace("{messages}", begun))
    );
    let statement = client.prepare_cached(&sql).await?;
    let (after, max) = (columns::signed(after), columns::signed(max as u64));
    client.query(&statement, &[&&patient[..], &after, &max]).await?.iter().map(placed).collect()
}

/// Their numbers under one, downwards.
pub(super) async fn messages_before(
    client: &ClientWrapper,
    patient: &PatientDigest,
    below: i64,
    limit: i64,
) -> Result<Vec<i64>> {
    let begun = "SELECT message FROM mention WHERE patient = $1";
    let sql = format!(
        "{} SELECT number FROM ({MESSAGES_OF_THREADS}) theirs WHERE number < $2 ORDER BY number DESC LIMIT $3",
        here(&THEIRS.replace("{messages}", begun))
    );
    let statement = client.prepare_cached(&sql).await?;
    let rows = client.query(&statement, &[&&patient[..], &below, &limit]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

pub(super) async fn unread_messages(client: &ClientWrapper, after: u64, max: usize) -> Result<Vec<PlacedMessage>> {
    let sql = "SELECT m.number, m.id FROM message m
         WHERE m.number > $1 AND NOT EXISTS (SELECT 1 FROM mention p WHERE p.message = m.number)
         ORDER BY m.number LIMIT $2";
    let statement = client.prepare_cached(sql).await?;
    let (after, max) = (columns::signed(after), columns::signed(max as u64));
    client.query(&statement, &[&after, &max]).await?.iter().map(placed).collect()
}
