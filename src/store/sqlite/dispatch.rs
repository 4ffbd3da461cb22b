//! Messages to hospital systems: what is owed, what is due, what became of it.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql};

use super::books::Books;
use super::columns;
use super::patient;
use crate::command::{DispatchId, MessageId};
use crate::store::patient::THREADS_OF_EVENTS;
use crate::store::vault::Column;
use crate::store::{
    Act, DispatchContent, DispatchDepth, DispatchFilter, DispatchState, DispatchStep, DispatchView, DueDispatch, Made,
    NewDispatch, Noted, OwedAnswer, Result, StoreError, ToldPlace, damaged,
};

const VIEW: &str = "id, destination, kind, control_id, subject, state, created_at, changed_at, tries, why,
                    coalesce(opened_size(content), 0), number";
/// What its outcome waits for (`Standing`): queued, held, running, waiting, unauthorised, in doubt.
const UNDECIDED: &str = "(0, 1, 2, 3, 4, 5)";

pub(super) fn answers_due(connection: &Connection, max: usize) -> Result<Vec<OwedAnswer>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT o.message, o.outcome_of, o.destination, o.at FROM owed_answer o
         WHERE o.settled_at IS NULL AND NOT EXISTS (
           SELECT 1 FROM message m
           JOIN command c ON c.number >= m.first_command AND c.number < m.first_command + m.commands
           WHERE m.id = o.outcome_of AND c.standing IN {UNDECIDED}
         ) ORDER BY o.at LIMIT ?1"
    ))?;
    let mut rows = statement.query([columns::signed(max as u64)])?;
    let mut owed = Vec::new();
    while let Some(row) = rows.next()? {
        owed.push(OwedAnswer {
            message: MessageId(columns::uuid(row, 0)?),
            outcome_of: MessageId(columns::uuid(row, 1)?),
            destination: row.get(2)?,
            at: columns::time(row, 3)?,
        });
    }
    Ok(owed)
}

pub(super) fn told_up_to(connection: &Connection, destination: &str) -> Result<Option<u64>> {
    let position: Option<i64> = connection
        .prepare_cached("SELECT position FROM told WHERE destination = ?1")?
        .query_row([destination], |row| row.get(0))
        .optional()?;
    position.map(|position| u64::try_from(position).map_err(|_| damaged("a position is negative"))).transpose()
}

pub(super) fn told(connection: &Connection) -> Result<Vec<ToldPlace>> {
    let mut statement =
        connection.prepare_cached("SELECT destination, position, left_at FROM told ORDER BY destination")?;
    let mut rows = statement.query([])?;
    let mut places = Vec::new();
    while let Some(row) = rows.next()? {
        places.push(ToldPlace {
            destination: row.get(0)?,
            position: columns::count(row, 1)?,
            left_at: columns::optional_time(row, 2)?,
        });
    }
    Ok(places)
}

pub(super) fn was_dispatched(connection: &Connection, destination: &str, control_id: &str) -> Result<bool> {
    Ok(connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM dispatch WHERE destination = ?1 AND control_id = ?2)")?
        .query_row([destination, control_id], |row| row.get(0))?)
}

pub(super) fn due(connection: &Connection, destination: &str, max: usize) -> Result<Vec<DueDispatch>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, event, tries, kind, control_id, opened_if_whole('dispatch.content', id, content), put_off FROM dispatch
         WHERE destination = ?1 AND state = 'waiting' ORDER BY number LIMIT ?2",
    )?;
    let mut rows = statement.query((destination, columns::signed(max as u64)))?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let content: Option<Vec<u8>> = row.get(5)?;
        let (kind, control_id) = (row.get(3)?, row.get(4)?);
        due.push(DueDispatch {
            id: DispatchId(columns::uuid(row, 0)?),
            event: row.get::<_, Option<i64>>(1)?.map(i64::unsigned_abs),
            tries: row.get(2)?,
            put_off: row.get(6)?,
            content: content.map(|bytes| DispatchContent { kind, control_id, bytes: bytes.into() }),
        });
    }
    Ok(due)
}

fn view(row: &Row<'_>) -> Result<DispatchView> {
    let state: String = row.get(5)?;
    Ok(DispatchView {
        id: DispatchId(columns::uuid(row, 0)?),
        destination: row.get(1)?,
        kind: row.get(2)?,
        control_id: row.get(3)?,
        subject: row.get(4)?,
        state: DispatchState::named(&state).ok_or_else(|| damaged("an unknown state of a dispatch"))?,
        created_at: columns::time(row, 6)?,
        changed_at: columns::time(row, 7)?,
        tries: row.get(8)?,
        why: row.get(9)?,
        size: columns::count(row, 10)?,
        number: columns::count(row, 11)?,
    })
}

pub(super) fn dispatch(connection: &Connection, id: DispatchId) -> Result<Option<DispatchView>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {VIEW} FROM dispatch WHERE id = ?1"))?;
    let mut rows = statement.query([id.0.into_bytes()])?;
    rows.next()?.map(view).transpose()
}

pub(super) fn dispatches(connection: &Connection, filter: &DispatchFilter) -> Result<Vec<DispatchView>> {
    let before = match filter.before {
        None => u64::MAX,
        Some(id) => dispatch(connection, id)?.ok_or(StoreError::NotFound)?.number,
    };
    let mut sql = format!("SELECT {VIEW} FROM dispatch WHERE number < ?");
    let (before, max) = (columns::signed(before), columns::signed(filter.max as u64));
    let state = filter.state.map(DispatchState::name);
    let mut values: Vec<&dyn ToSql> = vec![&before];
    if let Some(destination) = &filter.destination {
        sql += " AND destination = ?";
        values.push(destination);
    }
    if let Some(state) = &state {
        sql += " AND state = ?";
        values.push(state);
    }
    sql += " ORDER BY number DESC LIMIT ?";
    values.push(&max);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(&values[..])?;
    let mut views = Vec::new();
    while let Some(row) = rows.next()? {
        views.push(view(row)?);
    }
    Ok(views)
}

pub(super) fn content(connection: &Connection, id: DispatchId) -> Result<Vec<u8>> {
    let content: Option<Option<Vec<u8>>> = connection
        .prepare_cached("SELECT opened('dispatch.content', id, content) FROM dispatch WHERE id = ?1")?
        .query_row([id.0.into_bytes()], |row| row.get(0))
        .optional()?;
    content.map(Option::unwrap_or_default).ok_or(StoreError::NotFound)
}

pub(super) fn depths(connection: &Connection) -> Result<Vec<DispatchDepth>> {
    let mut statement = connection.prepare_cached(
        "SELECT destination, state, count(*), min(created_at) FROM dispatch
         WHERE state NOT IN ('delivered', 'discarded') GROUP BY state, destination",
    )?;
    let mut rows = statement.query([])?;
    let mut depths = Vec::new();
    while let Some(row) = rows.next()? {
        let state: String = row.get(1)?;
        depths.push(DispatchDepth {
            destination: row.get(0)?,
            state: DispatchState::named(&state).ok_or_else(|| damaged("an unknown state of a dispatch"))?,
            count: columns::count(row, 2)?,
            oldest: columns::optional_time(row, 3)?,
        });
    }
    Ok(depths)
}

impl Books {
    pub(super) fn owe_answer(&mut self, owed: &OwedAnswer) -> Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO owed_answer (message, outcome_of, destination, at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (message) DO NOTHING",
            )?
            .execute((
                owed.message.0.into_bytes(),
                owed.outcome_of.0.into_bytes(),
                &owed.destination,
                owed.at.as_microsecond(),
            ))?;
        Ok(())
    }

    pub(super) fn settle_answer(
        &mut self,
        message: MessageId,
        answer: Option<&NewDispatch>,
        at: Timestamp,
    ) -> Result<bool> {
        let destination: Option<String> = self
            .connection
            .prepare_cached(
                "UPDATE owed_answer SET settled_at = ?2 WHERE message = ?1 AND settled_at IS NULL
                 RETURNING destination",
            )?
            .query_row((message.0.into_bytes(), at.as_microsecond()), |row| row.get(0))
            .optional()?;
        let Some(destination) = destination else { return Ok(false) };
        if let Some(answer) = answer {
            self.add_dispatch(&destination, answer)?;
        }
        Ok(true)
    }

    pub(super) fn tell(
        &mut self,
        destination: &str,
        from: Option<u64>,
        to: u64,
        dispatches: &[NewDispatch],
    ) -> Result<bool> {
        let to = columns::signed(to);
        let changed = match from {
            None => self
                .connection
                .prepare_cached("INSERT INTO told (destination, position) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
                .execute((destination, to))?,
            Some(from) => self
                .connection
                .prepare_cached(
                    "UPDATE told SET position = ?2, left_at = NULL WHERE destination = ?1 AND position = ?3",
                )?
                .execute((destination, to, columns::signed(from)))?,
        };
        if changed == 1 {
            for dispatch in dispatches {
                self.add_dispatch(destination, dispatch)?;
            }
        }
        Ok(changed == 1)
    }

    pub(super) fn leave_told(&mut self, destination: &str, at: Timestamp) -> Result<()> {
        self.connection
            .prepare_cached("UPDATE told SET left_at = ?2 WHERE destination = ?1 AND left_at IS NULL")?
            .execute((destination, at.as_microsecond()))?;
        Ok(())
    }

    fn add_dispatch(&mut self, destination: &str, dispatch: &NewDispatch) -> Result<()> {
        let (state, kind, control_id, why, content) = match &dispatch.made {
            Made::Message(content) => {
                (DispatchState::Waiting, &*content.kind, &*content.control_id, "", Some(&content.bytes[..]))
            }
            Made::Unmade(why) => (DispatchState::Unmade, "", "", &**why, None),
        };
        let sealer = self.vault.sealer();
        let content = content.map(|content| sealer.bytes(Column::DispatchContent.of_id(dispatch.id.0), content));
        self.connection
            .prepare_cached(
                "INSERT INTO dispatch (id, destination, state, kind, control_id, subject, event, created_at, changed_at,
                                       tries, why, content)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, 0, ?9, ?10)",
            )?
            .execute((
                dispatch.id.0.into_bytes(),
                destination,
                state.name(),
                kind,
                control_id,
                &dispatch.subject,
                dispatch.event.map(columns::signed),
                dispatch.at.as_microsecond(),
                why,
                content.as_deref(),
            ))?;
        Ok(())
    }

    pub(super) fn make_dispatch(&mut self, id: DispatchId, content: &DispatchContent) -> Result<()> {
        let sealer = self.vault.sealer();
        let bytes = sealer.bytes(Column::DispatchContent.of_id(id.0), &content.bytes);
        self.connection
            .prepare_cached(
                "UPDATE dispatch SET kind = ?2, control_id = ?3, content = ?4 WHERE id = ?1 AND content IS NULL",
            )?
            .execute((id.0.into_bytes(), &content.kind, &content.control_id, &bytes[..]))?;
        Ok(())
    }

    pub(super) fn step_dispatch(&mut self, step: &DispatchStep) -> Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE dispatch SET state = ?2, changed_at = ?3, tries = ?4, why = ?5, put_off = ?6
                 WHERE id = ?1 AND state = 'waiting'",
            )?
            .execute((
                step.id.0.into_bytes(),
                step.state.name(),
                step.at.as_microsecond(),
                step.tries,
                &step.why,
                step.put_off,
            ))?;
        Ok(())
    }

    pub(super) fn replay_dispatch(&mut self, id: DispatchId, act: &Act) -> Result<()> {
        self.decide_dispatch(id, DispatchState::Waiting, "replay", act, DispatchState::waits_for_a_person)
    }

    pub(super) fn discard_dispatch(&mut self, id: DispatchId, act: &Act) -> Result<()> {
        let may = |state| !matches!(state, DispatchState::Delivered | DispatchState::Discarded);
        self.decide_dispatch(id, DispatchState::Discarded, "discard", act, may)
    }

    fn decide_dispatch(
        &mut self,
        id: DispatchId,
        to: DispatchState,
        name: &'static str,
        act: &Act,
        may: impl Fn(DispatchState) -> bool,
    ) -> Result<()> {
        let from = dispatch(&self.connection, id)?.ok_or(StoreError::NotFound)?.state;
        if !may(from) {
            return Err(StoreError::Outdated(format!("it is {}, so {name} is not possible", from.name())));
        }
        self.connection
            .prepare_cached(
                "UPDATE dispatch SET state = ?2, changed_at = ?3, why = '', tries = iif(?2 = 'waiting', 0, tries),
                        put_off = iif(?2 = 'waiting', 0, put_off) WHERE id = ?1",
            )?
            .execute((id.0.into_bytes(), to.name(), act.at.as_microsecond()))?;
        self.note_act(&Noted { act: name, subject: format!("dispatch {id}"), by: act.clone() })
    }

    pub(super) fn purge_dispatches(&mut self, before: Timestamp, max: usize) -> Result<u64> {
        let (before, max) = (before.as_microsecond(), columns::signed(max as u64));
        let dispatches = self
            .connection
            .prepare_cached(&format!(
                "{} DELETE FROM dispatch WHERE number IN (
                       SELECT number FROM dispatch d
                       WHERE state IN ('delivered', 'discarded') AND changed_at < ?1 AND NOT EXISTS (
                         SELECT 1 FROM outbox e WHERE e.position = d.event AND e.thread IN ({THREADS_OF_EVENTS})
                       ) ORDER BY changed_at LIMIT ?2
                     )",
                patient::held()
            ))?
            .execute((before, max))?;
        let answers = self
            .connection
            .prepare_cached(
                "DELETE FROM owed_answer WHERE message IN (
                   SELECT message FROM owed_answer WHERE settled_at < ?1 LIMIT ?2
                 )",
            )?
            .execute((before, max))?;
        Ok((dispatches + answers) as u64)
    }
}
