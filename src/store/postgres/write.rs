//! A workspace back into rows, and the commit: everything in one flight, a statement for each table.
//!
//! Guarantees: the statements are executed in this order and the commit last; if one fails, nothing is committed.
//! Where rows must be as they were read, a guard fails the statement (a division by zero, the one error that plain
//! SQL can raise), and the whole is done again from the beginning.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::columns::{code, micros, rank, text};
use super::failure::Failed;
use super::flight::Flight;
use super::problems::{Causes, NOTE_CAUSES};
use super::workspace::{Command, Named, Workspace};
use crate::store::Cause;
use crate::store::standing::Place;

/// The outbox's lock; the other half of the key is the schema.
pub(super) const OUTBOX_LOCK: i32 = 0x6572_7302;
/// Standing of unconfirmed events in the tally.
pub(super) const UNCONFIRMED: i16 = -1;

/// Threads, aliases and commands that are new, in one statement: every one has a price of its own. Fails if one of the
/// aliases is there: another instance was quicker.
const ARRIVE: &str = "WITH threads AS (
       INSERT INTO thread (number, id, sequence, created_by, created_by_id, created_by_digest, purged_creator,
         purged_creator_id, purged_creates, known, merged_into)
       SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::bigint[], $5::uuid[], $6::bytea[],
         $7::bigint[], $8::uuid[], $9::bytea[], $10::text[], $11::bigint[])
     ), named AS (
       INSERT INTO alias (digest, kind, thread) SELECT * FROM unnest($12::bytea[], $13::smallint[], $14::bigint[])
       ON CONFLICT DO NOTHING RETURNING 1
     ), commands AS (
       INSERT INTO command (number, id, message, source, thread, name, class, standing, state, received_at, changed_at,
         not_after, due, deferrals, changes, fence, owner, lease_until, lease, creates, local_id, mapping_set, body,
         plan, cause)
       SELECT * FROM unnest($15::bigint[], $16::uuid[], $17::uuid[], $18::integer[], $19::bigint[], $20::text[],
         $21::smallint[], $22::smallint[], $23::text[], $24::bigint[], $25::bigint[], $26::bigint[], $27::bigint[],
         $28::integer[], $29::integer[], $30::bigint[], $31::text[], $32::bigint[], $33::bigint[], $34::bytea[],
         $35::text[], $36::text[], $37::text[], $38::text[], $39::bigint[])
     ) SELECT 1 / (count(*) = cardinality($13))::int FROM named";

const UPDATE_THREADS: &str =
    "UPDATE thread t SET sequence = u.sequence, created_by = u.created_by, created_by_id = u.created_by_id,
            created_by_digest = u.created_by_digest, purged_creator = u.purged_creator,
            purged_creator_id = u.purged_creator_id, purged_creates = u.purged_creates, known = u.known,
            merged_into = u.merged_into
     FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::bigint[], $5::uuid[], $6::bytea[], $7::bigint[],
                 $8::uuid[], $9::bytea[], $10::text[], $11::bigint[])
          AS u (number, id, sequence, created_by, created_by_id, created_by_digest, purged_creator, purged_creator_id,
                purged_creates, known, merged_into)
     WHERE t.number = u.number";

const UPDATE_ALIASES: &str = "UPDATE alias a SET thread = u.thread
     FROM unnest($1::bytea[], $2::smallint[], $3::bigint[]) AS u (digest, kind, thread)
     WHERE a.digest = u.digest AND a.kind = u.kind";

const UPDATE_COMMANDS: &str = "UPDATE command c SET thread = u.thread, class = u.class, standing = u.standing,
       state = u.state, changed_at = u.changed_at, due = u.due, deferrals = u.deferrals, changes = u.changes,
       fence = u.fence, owner = u.owner, lease_until = u.lease_until, lease = u.lease, cause = u.cause,
       plan = CASE WHEN u.replanned THEN u.plan ELSE c.plan END,
       not_after = CASE WHEN u.ageless THEN NULL ELSE c.not_after END
     FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::smallint[], $5::text[], $6::bigint[], $7::bigint[],
       $8::integer[], $9::integer[], $10::bigint[], $11::text[], $12::bigint[], $13::bigint[], $14::boolean[],
       $15::text[], $16::boolean[], $17::bigint[])
       AS u (number, thread, class, standing, state, changed_at, due, deferrals, changes, fence, owner, lease_until,
             lease, replanned, plan, ageless, cause)
     WHERE c.number = u.number";

/// What is finished of merged threads; the rest was moved with what changed of it.
const MOVE_FINISHED: &str = "UPDATE command c SET thread = u.survivor
     FROM unnest($1::bigint[], $2::bigint[]) AS u (absorbed, survivor) WHERE c.thread = u.absorbed";

/// Threads whose creator was discarded: the first other that would make the referral, if there is one.
const FIND_CREATORS: &str = "UPDATE thread t SET created_by = c.number, created_by_id = c.id,
       created_by_digest = c.creates
     FROM unnest($1::bigint[]) AS u (number) CROSS JOIN LATERAL (
       SELECT number, id, creates FROM (
         SELECT number, id, creates FROM command
         WHERE thread = u.number AND creates IS NOT NULL AND standing NOT IN (8, 9)
         UNION ALL
         SELECT purged_creator, purged_creator_id, purged_creates FROM thread
         WHERE number = u.number AND purged_creator IS NOT NULL
       ) either ORDER BY number LIMIT 1
     ) c
     WHERE t.number = u.number";

const INSERT_TRANSITIONS: &str = "INSERT INTO transition (command, number, at, from_state, to_state, why, by)
     SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[])";

const INSERT_EVENTS: &str = "INSERT INTO outbox (position, id, name, at, source, subject, thread, sequence, data)
     SELECT nextval('outbox_position'), * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[],
       $6::uuid[], $7::bigint[], $8::text[])";

pub(super) const ADD_TO_TALLY: &str = "INSERT INTO tally (desk, standing, class, source, count)
     SELECT $1, * FROM unnest($2::smallint[], $3::smallint[], $4::integer[], $5::bigint[])
     ON CONFLICT (desk, standing, class, source) DO UPDATE SET count = tally.count + excluded.count";

/// The counts, and the group's number (`$6`) where it has one.
const SIGN: &str =
    "WITH noted AS (UPDATE desk SET last_group = $6::bigint WHERE number = $1 AND $6::bigint IS NOT NULL)
     INSERT INTO tally (desk, standing, class, source, count)
     SELECT $1, * FROM unnest($2::smallint[], $3::smallint[], $4::integer[], $5::bigint[])
     ON CONFLICT (desk, standing, class, source) DO UPDATE SET count = tally.count + excluded.count";

/// Which desk commits, and the number of its group, where somebody may have to ask afterwards.
#[derive(Clone, Copy)]
pub(super) struct Signature {
    pub(super) desk: i32,
    pub(super) group: Option<i64>,
}

/// Why commands that changed do not get on.
fn causes(workspace: &Workspace) -> Causes {
    let changed = workspace.commands.values().filter(|command| command.arrival.is_some() || command.changed);
    Causes::of(changed.filter_map(|command| Some((cause_of(command, workspace)?, command.changed_at))))
}

fn cause_of(command: &Command, workspace: &Workspace) -> Option<Cause> {
    let source = workspace.source_name(command.source).ok()?;
    Cause::of_command(source, &command.name, &command.state)
}

/// Prepared beforehand: within a flight there is no time to prepare.
struct Statements {
    arrive: Statement,
    update_threads: Statement,
    update_aliases: Statement,
    note_causes: Statement,
    update_commands: Statement,
    move_finished: Statement,
    find_creators: Statement,
    insert_transitions: Statement,
    lock_outbox: Statement,
    insert_events: Statement,
    sign: Statement,
}

impl Statements {
    async fn prepared(client: &ClientWrapper) -> Result<Self, tokio_postgres::Error> {
        let lock_outbox = format!("SELECT pg_advisory_xact_lock({OUTBOX_LOCK}, hashtext(current_schema()))");
        Ok(Self {
            arrive: client.prepare_cached(ARRIVE).await?,
            update_threads: client.prepare_cached(UPDATE_THREADS).await?,
            update_aliases: client.prepare_cached(UPDATE_ALIASES).await?,
            note_causes: client.prepare_cached(NOTE_CAUSES).await?,
            update_commands: client.prepare_cached(UPDATE_COMMANDS).await?,
            move_finished: client.prepare_cached(MOVE_FINISHED).await?,
            find_creators: client.prepare_cached(FIND_CREATORS).await?,
            insert_transitions: client.prepare_cached(INSERT_TRANSITIONS).await?,
            lock_outbox: client.prepare_cached(&lock_outbox).await?,
            insert_events: client.prepare_cached(INSERT_EVENTS).await?,
            sign: client.prepare_cached(SIGN).await?,
        })
    }
}

/// Writes what changed and commits. `flight`: with statements of the caller, sent before these.
pub(super) async fn write_and_commit(
    client: &ClientWrapper,
    workspace: &Workspace,
    signature: Signature,
    flight: Flight<'_>,
) -> Result<(), Failed> {
    let statements = Statements::prepared(client).await?;
    let (new, old): (Vec<_>, Vec<_>) =
        workspace.threads.values().filter(|thread| thread.is_new || thread.changed).partition(|thread| thread.is_new);
    let (new_threads, threads) = (Threads::of(&new), Threads::of(&old));
    let new_aliases = Aliases::of(workspace.named.iter().filter(|(_, named)| named.is_new));
    let aliases = Aliases::of(workspace.named.iter().filter(|(_, named)| !named.is_new));
    let arrivals = Arrivals::of(workspace.commands.values().filter(|command| command.arrival.is_some()), workspace);
    let old = workspace.commands.values().filter(|command| command.arrival.is_none() && command.changed);
    let changes = Changes::of(old, workspace);
    let causes = causes(workspace);
    let (absorbed, survivors): (Vec<i64>, Vec<i64>) = workspace.absorbed.iter().copied().unzip();
    let orphans: Vec<i64> = workspace.orphans.iter().copied().collect();
    let transitions = Transitions::of(workspace);
    let events = Events::of(workspace);
    let tally = Tally::of(workspace);

    // After what it borrows.
    let mut flight = flight;
    flight.send_if(!causes.is_empty(), &statements.note_causes, causes.parameters());
    if !(new_threads.numbers.is_empty() && new_aliases.kinds.is_empty() && arrivals.numbers.is_empty()) {
        let arriving = [&new_threads.parameters()[..], &new_aliases.parameters(), &arrivals.parameters()].concat();
        flight.send_list(&statements.arrive, arriving);
    }
    flight.send_if(!threads.numbers.is_empty(), &statements.update_threads, threads.parameters());
    flight.send_if(!aliases.kinds.is_empty(), &statements.update_aliases, aliases.parameters());
    flight.send_if(!changes.numbers.is_empty(), &statements.update_commands, changes.parameters());
    flight.send_if(!absorbed.is_empty(), &statements.move_finished, [&absorbed, &survivors]);
    flight.send_if(!orphans.is_empty(), &statements.find_creators, [&orphans]);
    flight.send_if(!transitions.commands.is_empty(), &statements.insert_transitions, transitions.parameters());
    let signed: [&(dyn ToSql + Sync); 6] =
        [&signature.desk, &tally.standings, &tally.classes, &tally.sources, &tally.counts, &signature.group];
    flight.send_if(signature.group.is_some() || !tally.counts.is_empty(), &statements.sign, signed);
    // Last, for the lock is held from here to the end of the commit.
    flight.send_if(!events.ids.is_empty(), &statements.lock_outbox, []);
    flight.send_if(!events.ids.is_empty(), &statements.insert_events, events.parameters());
    flight.run("COMMIT");
    flight.land().await?;
    Ok(())
}

/// Columns of `alias`.
struct Aliases<'a> {
    digests: Vec<&'a [u8]>,
    kinds: Vec<i16>,
    threads: Vec<i64>,
}

impl<'a> Aliases<'a> {
    fn of(named: impl Iterator<Item = (&'a (Vec<u8>, i16), &'a Named)>) -> Self {
        let mut columns = Self { digests: Vec::new(), kinds: Vec::new(), threads: Vec::new() };
        for ((digest, kind), named) in named {
            columns.digests.push(digest);
            columns.kinds.push(*kind);
            columns.threads.push(named.thread);
        }
        columns
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 3] {
        [&self.digests, &self.kinds, &self.threads]
    }
}

/// Columns of `thread`.
#[derive(Default)]
struct Threads<'a> {
    numbers: Vec<i64>,
    ids: Vec<Uuid>,
    sequences: Vec<i64>,
    creators: Vec<Option<i64>>,
    creator_ids: Vec<Option<Uuid>>,
    creator_digests: Vec<Option<Vec<u8>>>,
    purged: Vec<Option<i64>>,
    purged_ids: Vec<Option<Uuid>>,
    purged_digests: Vec<Option<Vec<u8>>>,
    known: Vec<Option<&'a str>>,
    merged_into: Vec<Option<i64>>,
}

impl<'a> Threads<'a> {
    fn of(threads: &[&'a super::workspace::Thread]) -> Self {
        let mut columns = Self::default();
        for thread in threads {
            columns.numbers.push(thread.number);
            columns.ids.push(thread.id);
            columns.sequences.push(thread.sequence);
            columns.creators.push(thread.creator.map(|creator| creator.command));
            columns.creator_ids.push(thread.creator.map(|creator| creator.id));
            columns.creator_digests.push(thread.creator.map(|creator| creator.digest.to_vec()));
            columns.purged.push(thread.purged.map(|creator| creator.command));
            columns.purged_ids.push(thread.purged.map(|creator| creator.id));
            columns.purged_digests.push(thread.purged.map(|creator| creator.digest.to_vec()));
            columns.known.push(thread.known.as_deref());
            columns.merged_into.push(thread.merged_into);
        }
        columns
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 11] {
        [
            &self.numbers,
            &self.ids,
            &self.sequences,
            &self.creators,
            &self.creator_ids,
            &self.creator_digests,
            &self.purged,
            &self.purged_ids,
            &self.purged_digests,
            &self.known,
            &self.merged_into,
        ]
    }
}

/// Columns of a command that are written whenever it changed.
#[derive(Default)]
struct Changes<'a> {
    numbers: Vec<i64>,
    threads: Vec<i64>,
    classes: Vec<i16>,
    standings: Vec<i16>,
    states: Vec<String>,
    changed_at: Vec<i64>,
    due: Vec<Option<i64>>,
    deferrals: Vec<i32>,
    changes: Vec<i32>,
    fences: Vec<i64>,
    owners: Vec<Option<&'a str>>,
    leases_until: Vec<Option<i64>>,
    leases: Vec<Option<i64>>,
    replanned: Vec<bool>,
    plans: Vec<Option<&'a str>>,
    ageless: Vec<bool>,
    causes: Vec<Option<i64>>,
}

impl<'a> Changes<'a> {
    fn of(commands: impl Iterator<Item = &'a Command>, workspace: &Workspace) -> Self {
        let mut columns = Self::default();
        for command in commands {
            columns.push(command, workspace);
        }
        columns
    }

    fn push(&mut self, command: &'a Command, workspace: &Workspace) {
        self.numbers.push(command.number);
        self.threads.push(command.thread);
        self.classes.push(rank(command.class));
        self.standings.push(code(command.standing));
        self.states.push(text(&command.state));
        self.changed_at.push(micros(command.changed_at));
        self.due.push(command.due.map(micros));
        self.deferrals.push(command.deferrals);
        self.changes.push(command.changes);
        self.fences.push(command.fence);
        self.owners.push(command.owner.as_deref());
        self.leases_until.push(command.lease_until);
        self.leases.push(command.lease);
        self.replanned.push(command.plan.is_some());
        self.plans.push(command.plan.as_ref().and_then(Option::as_deref));
        self.ageless.push(command.ageless);
        self.causes.push(cause_of(command, workspace).map(|cause| cause.id.number()));
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 17] {
        [
            &self.numbers,
            &self.threads,
            &self.classes,
            &self.standings,
            &self.states,
            &self.changed_at,
            &self.due,
            &self.deferrals,
            &self.changes,
            &self.fences,
            &self.owners,
            &self.leases_until,
            &self.leases,
            &self.replanned,
            &self.plans,
            &self.ageless,
            &self.causes,
        ]
    }
}

/// Columns of a new command.
#[derive(Default)]
struct Arrivals<'a> {
    numbers: Vec<i64>,
    as_changes: Changes<'a>,
    ids: Vec<Uuid>,
    messages: Vec<Uuid>,
    sources: Vec<i32>,
    names: Vec<&'a str>,
    received_at: Vec<i64>,
    not_after: Vec<Option<i64>>,
    creates: Vec<Option<Vec<u8>>>,
    local_ids: Vec<Option<&'a str>>,
    mapping_sets: Vec<&'a str>,
    bodies: Vec<&'a str>,
}

impl<'a> Arrivals<'a> {
    fn of(commands: impl Iterator<Item = &'a Command>, workspace: &Workspace) -> Self {
        let mut columns = Self::default();
        for command in commands {
            let Some(arrival) = &command.arrival else { continue };
            columns.numbers.push(command.number);
            columns.as_changes.push(command, workspace);
            columns.ids.push(command.id);
            columns.messages.push(command.message);
            columns.sources.push(command.source);
            columns.names.push(&command.name);
            columns.received_at.push(micros(arrival.received_at));
            columns.not_after.push(arrival.not_after.map(micros));
            columns.creates.push(command.creates.map(|digest| digest.to_vec()));
            columns.local_ids.push(command.local_id.as_deref());
            columns.mapping_sets.push(&arrival.mapping_set);
            columns.bodies.push(&arrival.body);
        }
        columns
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 25] {
        let changes = &self.as_changes;
        [
            &self.numbers,
            &self.ids,
            &self.messages,
            &self.sources,
            &changes.threads,
            &self.names,
            &changes.classes,
            &changes.standings,
            &changes.states,
            &self.received_at,
            &changes.changed_at,
            &self.not_after,
            &changes.due,
            &changes.deferrals,
            &changes.changes,
            &changes.fences,
            &changes.owners,
            &changes.leases_until,
            &changes.leases,
            &self.creates,
            &self.local_ids,
            &self.mapping_sets,
            &self.bodies,
            &changes.plans,
            &changes.causes,
        ]
    }
}

#[derive(Default)]
struct Transitions<'a> {
    commands: Vec<i64>,
    numbers: Vec<i32>,
    at: Vec<i64>,
    from: Vec<Option<&'a str>>,
    to: Vec<&'a str>,
    why: Vec<&'a str>,
    by: Vec<&'a str>,
}

impl<'a> Transitions<'a> {
    fn of(workspace: &'a Workspace) -> Self {
        let mut columns = Self::default();
        for transition in &workspace.transitions {
            columns.commands.push(transition.command);
            columns.numbers.push(transition.number);
            columns.at.push(micros(transition.at));
            columns.from.push(transition.from);
            columns.to.push(transition.to);
            columns.why.push(&transition.why);
            columns.by.push(&transition.by);
        }
        columns
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 7] {
        [&self.commands, &self.numbers, &self.at, &self.from, &self.to, &self.why, &self.by]
    }
}

#[derive(Default)]
struct Events<'a> {
    ids: Vec<Uuid>,
    names: Vec<&'a str>,
    at: Vec<i64>,
    sources: Vec<&'a str>,
    subjects: Vec<&'a str>,
    threads: Vec<Uuid>,
    sequences: Vec<i64>,
    data: Vec<&'a str>,
}

impl<'a> Events<'a> {
    fn of(workspace: &'a Workspace) -> Self {
        let mut columns = Self::default();
        for event in &workspace.events {
            columns.ids.push(event.id);
            columns.names.push(&event.name);
            columns.at.push(micros(event.at));
            columns.sources.push(&event.source);
            columns.subjects.push(&event.subject);
            columns.threads.push(event.thread);
            columns.sequences.push(event.sequence);
            columns.data.push(&event.data);
        }
        columns
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 8] {
        [&self.ids, &self.names, &self.at, &self.sources, &self.subjects, &self.threads, &self.sequences, &self.data]
    }
}

/// What this transaction changes in the counts.
#[derive(Default)]
struct Tally {
    standings: Vec<i16>,
    classes: Vec<i16>,
    sources: Vec<i32>,
    counts: Vec<i64>,
}

impl Tally {
    fn of(workspace: &Workspace) -> Self {
        let mut tally = Self::default();
        for (Place { standing, class, source }, count) in workspace.tallies.iter().filter(|(_, count)| **count != 0) {
            let source = i32::try_from(*source).expect("sources have small numbers");
            tally.push(code(*standing), rank(*class), source, *count);
        }
        if !workspace.events.is_empty() {
            let events = i64::try_from(workspace.events.len()).expect("a group is small");
            tally.push(UNCONFIRMED, 0, 0, events);
        }
        tally
    }

    fn push(&mut self, standing: i16, class: i16, source: i32, count: i64) {
        self.standings.push(standing);
        self.classes.push(class);
        self.sources.push(source);
        self.counts.push(count);
    }
}
