//! What there is of a patient, and what is held.

use rusqlite::{Connection, OptionalExtension as _, ToSql};
use uuid::Uuid;

use super::books::Books;
use super::columns;
use crate::command::MessageId;
use crate::store::patient::{HELD_MESSAGES, IS_THEIRS, MESSAGES_OF_THREADS, THEIRS};
use crate::store::{Act, Held, LegalHold, Noted, PatientDigest, PlacedMessage, Result, StoreError, damaged};

/// Rows in one statement.
const MENTIONS_AT_ONCE: usize = 32;

/// The rows of `mention` of messages behind `?1`, out of what stands in their own rows: 32 bytes each, and one empty row where
/// nobody is mentioned (`substr` of an empty blob is NULL).
pub(in crate::store) const MAKE_MENTIONS: &str = "INSERT OR IGNORE INTO mention (message, patient)
     WITH RECURSIVE piece (number, patient, rest) AS (
       SELECT number, coalesce(substr(patients, 1, 32), x''), substr(patients, 33) FROM message
       WHERE number > ?1 AND patients IS NOT NULL
       UNION ALL SELECT number, substr(rest, 1, 32), substr(rest, 33) FROM piece WHERE length(rest) > 0
     )
     SELECT number, patient FROM piece";

/// In the texts that both stores share.
pub(super) fn here(sql: &str) -> String {
    sql.replace("{first}", "m.first_command")
}

/// What is held, as the beginning of a statement.
pub(super) fn held() -> String {
    here(&THEIRS.replace("{messages}", HELD_MESSAGES))
}

impl Books {
    /// The rows of all messages that came since they were last made. Before anything is asked of them.
    pub(super) fn make_mentions(&mut self) -> Result<()> {
        if self.mentions_made + 1 < self.next_message() {
            self.connection.prepare_cached(MAKE_MENTIONS)?.execute([self.mentions_made])?;
            self.mentions_made = self.next_message() - 1;
        }
        Ok(())
    }

    /// Each once; with none, that it was read.
    fn mention(&self, message: i64, patients: &[PatientDigest]) -> Result<()> {
        let rows: Vec<_> = mentioned(patients).map(|patient| (message, patient.to_vec())).collect();
        rows.chunks(MENTIONS_AT_ONCE).try_for_each(|rows| insert(&self.connection, rows))
    }

    /// By an answer to a call of a command.
    pub(super) fn mention_of_command(&mut self, command: i64, patients: &[PatientDigest]) -> Result<()> {
        if patients.is_empty() {
            return Ok(());
        }
        self.make_mentions()?;
        let message = self
            .connection
            .prepare_cached("SELECT m.number FROM command c JOIN message m ON m.id = c.message WHERE c.number = ?1")?
            .query_row([command], |row| row.get(0))?;
        self.mention(message, patients)
    }

    pub(super) fn note_mentions(&mut self, message: MessageId, patients: &[PatientDigest]) -> Result<()> {
        let number = number_of(&self.connection, message)?.ok_or(StoreError::NotFound)?;
        self.make_mentions()?;
        self.mention(number, patients)
    }

    pub(super) fn put_legal_hold(&mut self, hold: &LegalHold, act: &Act) -> Result<()> {
        self.make_mentions()?;
        let (message, patient) = match &hold.on {
            Held::Message(message) => (Some(message.0.into_bytes()), None),
            Held::Patient(patient) => (None, Some(*patient)),
        };
        if let Held::Message(message) = hold.on
            && number_of(&self.connection, message)?.is_none()
        {
            return Err(StoreError::NotFound);
        }
        self.connection
            .prepare_cached("INSERT INTO legal_hold (id, message, patient, at, by) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute((hold.id.into_bytes(), message, patient, hold.at.as_microsecond(), &hold.by))?;
        self.note_act(&Noted { act: LegalHold::PUT, subject: hold.subject(), by: act.clone() })
    }

    pub(super) fn lift_legal_hold(&mut self, id: Uuid, act: &Act) -> Result<()> {
        let holds = legal_holds(&self.connection)?;
        let hold = holds.into_iter().find(|hold| hold.id == id).ok_or(StoreError::NotFound)?;
        self.connection.prepare_cached("DELETE FROM legal_hold WHERE id = ?1")?.execute([id.into_bytes()])?;
        self.note_act(&Noted { act: LegalHold::LIFTED, subject: hold.subject(), by: act.clone() })
    }
}

/// What stands in the rows of a message: one that mentions nobody has an empty one.
fn mentioned(patients: &[PatientDigest]) -> impl Iterator<Item = &[u8]> {
    let nobody = patients.is_empty().then_some(&[][..]);
    patients.iter().map(|patient| &patient[..]).chain(nobody)
}

/// One statement for many: a statement a row is most of what a row costs.
fn insert(connection: &Connection, rows: &[(i64, Vec<u8>)]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let values = vec!["(?, ?)"; rows.len()].join(", ");
    let sql = format!("INSERT INTO mention (message, patient) VALUES {values} ON CONFLICT DO NOTHING");
    let parameters = rows.iter().flat_map(|(message, patient)| [message as &dyn ToSql, patient as &dyn ToSql]);
    connection.prepare_cached(&sql)?.execute(rusqlite::params_from_iter(parameters))?;
    Ok(())
}

fn number_of(connection: &Connection, message: MessageId) -> Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT number FROM message WHERE id = ?1")?;
    Ok(statement.query_row([message.0.into_bytes()], |row| row.get(0)).optional()?)
}

pub(super) fn legal_holds(connection: &Connection) -> Result<Vec<LegalHold>> {
    let mut statement =
        connection.prepare_cached("SELECT id, message, patient, at, by FROM legal_hold ORDER BY at, id")?;
    let mut rows = statement.query([])?;
    let mut holds = Vec::new();
    while let Some(row) = rows.next()? {
        let on = match (row.get::<_, Option<[u8; 16]>>(1)?, row.get::<_, Option<[u8; 32]>>(2)?) {
            (Some(message), None) => Held::Message(MessageId(Uuid::from_bytes(message))),
            (None, Some(patient)) => Held::Patient(patient),
            _ => return Err(damaged("a legal hold is on nothing, or on two things")),
        };
        holds.push(LegalHold { id: columns::uuid(row, 0)?, on, at: columns::time(row, 3)?, by: row.get(4)? });
    }
    Ok(holds)
}

fn is_held_sql() -> String {
    format!("{} SELECT 1 FROM message m WHERE m.id = ?1 AND {}", held(), here(IS_THEIRS))
}

/// Nearly always there is none, and then nothing is looked for.
pub(super) fn is_any_held(connection: &Connection) -> Result<bool> {
    Ok(connection.prepare_cached("SELECT 1 FROM legal_hold LIMIT 1")?.exists([])?)
}

pub(super) fn is_held(connection: &Connection, message: MessageId) -> Result<bool> {
    Ok(connection.prepare_cached(&is_held_sql())?.exists([message.0.into_bytes()])?)
}

fn placed(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<PlacedMessage>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut messages = Vec::new();
    while let Some(row) = rows.next()? {
        messages.push(PlacedMessage { number: columns::count(row, 0)?, id: MessageId(columns::uuid(row, 1)?) });
    }
    Ok(messages)
}

fn messages_of_patient_sql() -> String {
    let begun = "SELECT message FROM mention WHERE patient = ?1";
    format!(
        "{} SELECT number, id FROM ({MESSAGES_OF_THREADS}) WHERE number > ?2 ORDER BY number LIMIT ?3",
        here(&THEIRS.replace("{messages}", begun))
    )
}

pub(super) fn messages_of_patient(
    connection: &Connection,
    patient: &PatientDigest,
    after: u64,
    max: usize,
) -> Result<Vec<PlacedMessage>> {
    placed(connection, &messages_of_patient_sql(), (&patient[..], columns::signed(after), columns::signed(max as u64)))
}

/// Their numbers under one, downwards.
pub(super) fn messages_before(
    connection: &Connection,
    patient: &PatientDigest,
    below: i64,
    max: i64,
) -> Result<Vec<i64>> {
    let begun = "SELECT message FROM mention WHERE patient = ?1";
    let mut statement = connection.prepare_cached(&format!(
        "{} SELECT number FROM ({MESSAGES_OF_THREADS}) WHERE number < ?2 ORDER BY number DESC LIMIT ?3",
        here(&THEIRS.replace("{messages}", begun))
    ))?;
    let numbers = statement.query_map((&patient[..], below, max), |row| row.get(0))?;
    Ok(numbers.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn unread_messages(connection: &Connection, after: u64, max: usize) -> Result<Vec<PlacedMessage>> {
    let sql = "SELECT m.number, m.id FROM message m
         WHERE m.number > ?1 AND NOT EXISTS (SELECT 1 FROM mention p WHERE p.message = m.number)
         ORDER BY m.number LIMIT ?2";
    placed(connection, sql, (columns::signed(after), columns::signed(max as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{migrations, retention};

    #[test]
    fn what_is_held_is_found_from_the_few_however_much_there_is() {
        let mut connection = Connection::open_in_memory().expect("memory is there");
        migrations::migrate(&mut connection, jiff::Timestamp::UNIX_EPOCH).expect("a new file");
        for sql in [retention::messages_sql(), retention::events_sql(), is_held_sql(), messages_of_patient_sql()] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect(&sql);
            // Nothing is bound.
            let mut rows = plan.raw_query();
            let mut steps: Vec<String> = Vec::new();
            while let Some(row) = rows.next().expect("a step") {
                steps.push(row.get(3).expect("in words"));
            }
            assert!(!steps.is_empty());
            // Letters as the statements name their tables; of holds, and what was found from them, all is read.
            let through_all = |step: &&String| {
                let table = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
                table.is_some_and(|table| ["m", "c", "t", "p", "outbox"].contains(&table))
            };
            assert_eq!(steps.iter().find(through_all), None, "{sql}\n{steps:#?}");
        }
    }
}
