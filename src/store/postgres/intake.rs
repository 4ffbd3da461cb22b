//! Admission: one commit for a group of messages and everything that intake decided about them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use parking_lot::RwLock;
use serde_json::Value;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::audit;
use super::columns::{self, micros, storable};
use super::content::Chunks;
use super::failure::Failed;
use super::flight::Flight;
use super::lane::{Batch, Decided};
use super::patient::{self, MENTION, Mentions};
use super::problems::{ABSOLVE, BLAME, Causes, NOTE_CAUSES};
use super::read;
use super::sources::Sources;
use super::workspace::{Arrival, Command, EventText, Workspace};
use super::write::{Signature, write_and_commit};
use crate::command::{CommandId, Failure, MessageId, State, Verdict};
use crate::environment::Environment;
use crate::store::pieces::{Document, Raw, sealed_raw};
use crate::store::standing::Standing;
use crate::store::unreadable::if_whole;
use crate::store::vault::{Column, Vault};
use crate::store::{
    Admission, Admitted, Cause, NewCommand, NewMessage, Noted, RESENT_WITH_A_CHANGE, Result, StoreError, Stored,
    TakenAgain,
};

/// Numbers between two messages: a message's commands have those after it.
const COMMANDS_MAX: usize = 4095;
pub(super) const MESSAGE_STEP: i64 = COMMANDS_MAX as i64 + 1;

/// Takes the keys that are free; those of other transactions under way are waited for.
const TAKE_KEYS: &str = "INSERT INTO dedup (source, control_id, sha256, message)
     SELECT * FROM unnest($1::integer[], $2::text[], $3::bytea[], $4::uuid[])
     ON CONFLICT DO NOTHING RETURNING source, control_id";

const KNOWN_KEYS: &str = "SELECT d.source, d.control_id, d.sha256, d.message, m.acknowledgement
     FROM unnest($1::integer[], $2::text[]) AS u (source, control_id)
     JOIN dedup d ON d.source = u.source AND d.control_id = u.control_id
     LEFT JOIN message m ON m.id = d.message";

/// For as many threads as may begin, and at least as many messages.
const NUMBERS: &str = "SELECT nextval('thread_number'), nextval('message_number') FROM generate_series(1, $1::integer)";
const MESSAGE_NUMBERS: &str = "SELECT nextval('message_number') FROM generate_series(1, $1::integer)";

const INSERT_MESSAGES: &str = "INSERT INTO message (number, id, source, transport, control_id, kind, charset,
       received_at, verdict, size, sha256, problems, commands, acknowledgement, raw)
     SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::text[],
       $8::bigint[], $9::text[], $10::bigint[], $11::bytea[], $12::text[], $13::integer[], $14::bytea[],
       $15::bytea[])";

const INSERT_CHUNKS: &str = "INSERT INTO message_chunk (message, position, bytes)
     SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bytea[])";

const INSERT_DOCUMENTS: &str = "INSERT INTO document (message, number, position, bytes)
     SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::bytea[])";

/// An admission with its JSON already written out and all content sealed: that work is the caller's, not the lane's.
pub(super) struct Prepared {
    /// Without what is taken out of it.
    admission: Admission,
    size: usize,
    raw: Raw,
    documents: Vec<Document>,
    acknowledgement: Acknowledgement,
    plans: Vec<Option<String>>,
    source: i32,
    control_id: Option<String>,
    bodies: Vec<String>,
    local_ids: Vec<Option<String>>,
    problems: Option<String>,
    /// Why it is refused.
    causes: Vec<Cause>,
    events: Vec<EventText>,
}

impl Prepared {
    pub(super) fn new(mut admission: Admission, source: i32, vault: &Vault) -> Self {
        let sealer = vault.sealer();
        let (mut local_ids, mut bodies, mut plans) = (Vec::new(), Vec::new(), Vec::new());
        for command in &mut admission.commands {
            let sealed = |column: Column, text| sealer.text(column.of_id(command.id.0), text);
            let body = std::mem::take(&mut command.body);
            let local_id = body.get("localId").and_then(Value::as_str).map(|id| storable(id).into_owned());
            local_ids.push(local_id.map(|id| sealed(Column::CommandLocalId, id)));
            bodies.push(sealed(Column::CommandBody, body.to_string()));
            let plan = (!command.plan.is_null()).then(|| command.plan.to_string());
            plans.push(plan.map(|plan| sealed(Column::CommandPlan, plan)));
        }
        let id = admission.message.id;
        let raw = std::mem::take(&mut admission.message.raw);
        let documents = std::mem::take(&mut admission.documents);
        let acknowledgement = std::mem::take(&mut admission.acknowledgement);
        let message = &admission.message;
        let causes = match admission.verdict {
            Verdict::Rejected => Cause::of_message(&message.source, &message.problems),
            _ => Vec::new(),
        };
        let place = Column::MessageAcknowledgement.of_id(id.0);
        Self {
            source,
            causes,
            size: raw.len(),
            raw: sealed_raw(id, raw, &sealer),
            documents: documents.into_iter().map(|document| Document::sealed(id, document, &sealer)).collect(),
            acknowledgement: Acknowledgement {
                sealed: sealer.shared(place, acknowledgement.clone()),
                clear: acknowledgement,
            },
            plans,
            control_id: admission.message.control_id.as_deref().map(|id| storable(id).into_owned()),
            bodies,
            local_ids,
            problems: columns::optional_text(&admission.message.problems),
            events: admission.events.iter().map(|event| EventText::of(event, &sealer)).collect(),
            admission,
        }
    }
}

/// As it is stored, and as a resend in the same group gets it.
struct Acknowledgement {
    sealed: Bytes,
    clear: Bytes,
}

pub(super) struct Intake {
    pub(super) vault: Vault,
    pub(super) environment: Environment,
    pub(super) sources: Arc<RwLock<Sources>>,
}

/// What is to be written of a group.
pub(super) struct Changes {
    workspace: Workspace,
    /// Of each item that is new: its number, verdict and how many commands of it were stored.
    messages: Vec<(usize, i64, Verdict, i32)>,
}

/// What a key was first used for.
struct Known {
    sha256: [u8; 32],
    message: Uuid,
    acknowledgement: Bytes,
}

impl Batch for Intake {
    type Item = Prepared;
    type Outcome = Admitted;
    type Changes = Changes;

    fn weight(item: &Prepared) -> usize {
        item.size + item.documents.iter().map(Document::size).sum::<usize>()
    }

    async fn decide(&self, client: &ClientWrapper, items: &[&Prepared]) -> std::result::Result<Decided<Self>, Failed> {
        let mut workspace = Workspace::new(&self.sources, &self.vault);
        let (mut known, numbers) = self.read(client, items, &mut workspace).await?;
        let mut changes = Vec::with_capacity(items.len());
        let mut outcomes = Vec::with_capacity(items.len());
        for ((index, item), number) in items.iter().enumerate().zip(numbers) {
            let message = &item.admission.message;
            if let Some(control_id) = &item.control_id {
                if let Some(known) = known.get(&(item.source, control_id.clone())) {
                    outcomes.push(Ok(answer_to_known(known, message)));
                    continue;
                }
                let taken = Known {
                    sha256: message.sha256,
                    message: message.id.0,
                    acknowledgement: item.acknowledgement.clear.clone(),
                };
                known.insert((item.source, control_id.clone()), taken);
            }
            let (verdict, stored, repeats) = self.admit(&mut workspace, item, number)?;
            changes.push((index, number, verdict, stored));
            outcomes.push(Ok(Admitted::New { stored: Stored::committed(message.id), repeats }));
        }
        let bells = std::mem::take(&mut workspace.bells);
        Ok(Decided { outcomes, changes: Changes { workspace, messages: changes }, bells })
    }

    async fn commit(
        &self,
        client: &ClientWrapper,
        items: &[&Prepared],
        changes: &Changes,
        signature: Signature,
    ) -> std::result::Result<(), Failed> {
        let insert_messages = client.prepare_cached(INSERT_MESSAGES).await?;
        let insert_chunks = client.prepare_cached(INSERT_CHUNKS).await?;
        let insert_documents = client.prepare_cached(INSERT_DOCUMENTS).await?;
        let note = client.prepare_cached(audit::NOTE).await?;
        let mention = client.prepare_cached(MENTION).await?;
        let note_causes = client.prepare_cached(NOTE_CAUSES).await?;
        let blame = client.prepare_cached(BLAME).await?;
        let absolve = client.prepare_cached(ABSOLVE).await?;
        let taken_again =
            changes.messages.iter().filter_map(|(index, ..)| items[*index].admission.taken_again.as_ref());
        let acts: Vec<Noted> = taken_again.clone().map(TakenAgain::noted).collect();
        let taken_again: Vec<Uuid> = taken_again.map(|again| again.first.0).collect();
        let acts = audit::following(client, &acts, &self.environment).await?;
        let messages = Messages::of(items, &changes.messages);
        let mentions = changes
            .messages
            .iter()
            .flat_map(|(index, number, ..)| patient::mentions(*number, &items[*index].admission.patients));
        let mentions = Mentions::of(mentions.collect());
        let (blamed, causes) = blames(items, changes);
        let mut chunks = Chunks::default();
        let mut documents = Chunks::default();
        for (index, number, ..) in &changes.messages {
            let item = items[*index];
            if let Raw::Chunks(sealed) = &item.raw {
                chunks.add(*number, 0, sealed);
            }
            for document in &item.documents {
                documents.add(*number, i64::from(document.number), &document.chunks);
            }
        }
        let mut flight = Flight::of(client);
        flight.send_if(!messages.numbers.is_empty(), &insert_messages, messages.parameters());
        flight.send_if(!chunks.is_empty(), &insert_chunks, [&chunks.of, &chunks.positions, &chunks.bytes]);
        let texts: [&(dyn ToSql + Sync); 4] =
            [&documents.of, &documents.numbers, &documents.positions, &documents.bytes];
        flight.send_if(!documents.is_empty(), &insert_documents, texts);
        flight.send_if(!mentions.is_empty(), &mention, mentions.parameters());
        flight.send_if(!causes.is_empty(), &note_causes, causes.parameters());
        flight.send_if(!blamed.0.is_empty(), &blame, [&blamed.0, &blamed.1]);
        flight.send_if(!taken_again.is_empty(), &absolve, [&taken_again]);
        flight.send_if(!acts.is_empty(), &note, acts.parameters());
        write_and_commit(client, &changes.workspace, signature, flight).await
    }
}

impl Intake {
    /// Begins, takes the keys, and locks the threads that are there already with what is unfinished of them. The
    /// numbers of the messages are drawn under these locks.
    async fn read(
        &self,
        client: &ClientWrapper,
        items: &[&Prepared],
        workspace: &mut Workspace,
    ) -> std::result::Result<(HashMap<(i32, String), Known>, Vec<i64>), Failed> {
        let take_keys = client.prepare_cached(TAKE_KEYS).await?;
        let find_aliases = client.prepare_cached(read::ALIASES).await?;
        let draw_numbers = client.prepare_cached(NUMBERS).await?;
        let message_numbers = client.prepare_cached(MESSAGE_NUMBERS).await?;

        let keys = Keys::of(items);
        let aliases = items.iter().flat_map(|item| &item.admission.commands).flat_map(|command| &command.aliases);
        let (digests, kinds) = read::alias_keys(aliases);
        let threads = items.iter().map(|item| item.admission.commands.len() + 1).sum::<usize>();
        let (threads, messages) = (small(threads), small(items.len()));
        let mut flight = Flight::of(client);
        flight.run("BEGIN");
        flight.send_if(!keys.sources.is_empty(), &take_keys, keys.parameters());
        flight.send_if(!digests.is_empty(), &find_aliases, [&digests, &kinds]);
        flight.send(&draw_numbers, [&threads]);
        let [_, taken, found, drawn] = flight.land_all().await?;
        // The last is taken first.
        for row in drawn.iter().rev() {
            workspace.thread_numbers.push(row.try_get(0)?);
        }
        let mut numbers = Vec::with_capacity(drawn.len());
        for row in &drawn {
            numbers.push(row.try_get(1)?);
        }
        let mut wanted = Vec::new();
        for row in &found {
            let (alias, thread) = read::alias(row)?;
            workspace.take_alias(alias, thread);
            wanted.push(thread);
        }
        let known = if taken.len() < keys.sources.len() {
            known_keys(client, &keys, &taken, &self.vault).await?
        } else {
            HashMap::new()
        };
        if !wanted.is_empty() {
            lock(client, workspace, wanted).await?;
            // Drawn anew, under the locks.
            let drawn = client.query(&message_numbers, &[&messages]).await?;
            numbers = drawn.iter().map(|row| row.try_get(0)).collect::<std::result::Result<_, _>>()?;
        }
        Ok((known, numbers))
    }

    /// What the transaction does for one message. Returns its verdict and how many of its commands are new.
    fn admit(
        &self,
        workspace: &mut Workspace,
        item: &Prepared,
        number: i64,
    ) -> Result<(Verdict, i32, Option<CommandId>)> {
        let admission = &item.admission;
        if admission.commands.len() > COMMANDS_MAX {
            return Err(StoreError::Outdated(format!("a message makes at most {COMMANDS_MAX} commands")));
        }
        let (mut stored, mut repeats, mut first_thread) = (0, None, None);
        for (index, command) in admission.commands.iter().enumerate() {
            let thread = workspace.thread_of(&command.aliases, command.id.0)?;
            first_thread.get_or_insert(thread);
            let creator = workspace.thread(thread)?.creator;
            let changed = match (command.creates, creator) {
                (Some(digest), Some(earlier)) if earlier.digest == digest => {
                    repeats.get_or_insert(CommandId(earlier.id));
                    continue;
                }
                (Some(_), Some(earlier)) => Some(CommandId(earlier.id)),
                _ => None,
            };
            let arriving = arriving(item, index, number + 1 + i64::from(stored), thread, changed);
            let (arrived, at) = (arriving.number, admission.message.received_at);
            workspace.arrive(arriving, changed.is_none())?;
            if changed.is_some() {
                workspace.refuse_at_arrival(arrived, at, &self.environment)?;
            }
            stored += 1;
        }
        if !admission.events.is_empty() {
            let thread = match first_thread {
                Some(thread) => workspace.surviving(thread)?,
                None => workspace.begin_thread(admission.message.id.0)?,
            };
            for (event, text) in admission.events.iter().zip(&item.events) {
                workspace.publish(thread, event, text)?;
            }
        }
        let verdict = match repeats {
            // Where other commands of the message are new, it is more than a duplicate.
            Some(_) if stored == 0 => Verdict::Duplicate,
            _ => admission.verdict,
        };
        Ok((verdict, stored, repeats))
    }
}

/// Which messages are refused, each with its causes: columns of `blame`, and the causes.
fn blames(items: &[&Prepared], changes: &Changes) -> ((Vec<i64>, Vec<i64>), Causes) {
    let refused = changes.messages.iter().map(|(index, number, ..)| (items[*index], *number));
    let blamed = refused
        .clone()
        .flat_map(|(item, number)| item.causes.iter().map(move |cause| (number, cause.id.number())))
        .unzip();
    let noted = refused
        .flat_map(|(item, _)| item.causes.iter().map(|cause| (cause.clone(), item.admission.message.received_at)));
    (blamed, Causes::of(noted))
}

/// A command as it enters its thread. `changed`: the earlier one that it contradicts.
fn arriving(item: &Prepared, index: usize, number: i64, thread: i64, changed: Option<CommandId>) -> Command {
    let message = &item.admission.message;
    let command: &NewCommand = &item.admission.commands[index];
    let state = match changed {
        Some(earlier) => State::Failed {
            why: Failure {
                code: RESENT_WITH_A_CHANGE.into(),
                text: format!("command {earlier} makes the same referral and says something else"),
            },
        },
        None => command.state.clone(),
    };
    Command {
        number,
        id: command.id.0,
        message: message.id.0,
        thread,
        source: item.source,
        name: command.name.clone(),
        class: command.class,
        standing: Standing::of(&state),
        state,
        changed_at: message.received_at,
        due: None,
        deferrals: 0,
        changes: i32::from(changed.is_some()),
        fence: 0,
        owner: None,
        lease_until: None,
        lease: None,
        creates: command.creates,
        local_id: item.local_ids[index].clone(),
        plan: item.plans[index].clone().map(Some),
        ageless: false,
        arrival: Some(Arrival {
            received_at: message.received_at,
            not_after: command.not_after,
            mapping_set: command.mapping_set.clone(),
            body: item.bodies[index].clone(),
        }),
        changed: true,
    }
}

/// Locks threads, and those that they were merged into, with what is unfinished of them.
pub(super) async fn lock(
    client: &ClientWrapper,
    workspace: &mut Workspace,
    mut wanted: Vec<i64>,
) -> std::result::Result<(), Failed> {
    let lock_threads = client.prepare_cached(read::LOCK_THREADS).await?;
    let unfinished = client.prepare_cached(read::UNFINISHED).await?;
    while !wanted.is_empty() {
        wanted.sort_unstable();
        wanted.dedup();
        let mut flight = Flight::of(client);
        flight.send(&lock_threads, [&wanted]);
        flight.send(&unfinished, [&wanted]);
        let [threads, commands] = flight.land_all().await?;
        if threads.len() < wanted.len() {
            return Err(crate::store::damaged("an alias leads to a thread that is missing").into());
        }
        wanted = workspace.take_rows(&threads, &commands)?;
    }
    Ok(())
}

/// The answer to a message whose control id is known.
fn answer_to_known(known: &Known, message: &NewMessage) -> Admitted {
    let first = MessageId(known.message);
    if known.sha256 != message.sha256 {
        return Admitted::ControlIdReused { message: first };
    }
    // Empty when the first message was purged: who asks then makes the answer anew.
    let acknowledgement = known.acknowledgement.clone();
    Admitted::Resend { stored: Stored::committed(first), acknowledgement, message: first }
}

async fn known_keys(
    client: &ClientWrapper,
    keys: &Keys<'_>,
    taken: &[tokio_postgres::Row],
    vault: &Vault,
) -> std::result::Result<HashMap<(i32, String), Known>, Failed> {
    let mut free = std::collections::HashSet::new();
    for row in taken {
        free.insert((row.try_get::<_, i32>(0)?, row.try_get::<_, String>(1)?));
    }
    let known_keys = client.prepare_cached(KNOWN_KEYS).await?;
    let rows = client.query(&known_keys, &[&keys.sources, &keys.control_ids]).await?;
    let mut known = HashMap::new();
    for row in rows {
        let key = (row.try_get(0)?, row.try_get(1)?);
        if free.contains(&key) {
            continue;
        }
        let (message, acknowledgement): (Uuid, Option<Vec<u8>>) = (row.try_get(3)?, row.try_get(4)?);
        let place = Column::MessageAcknowledgement.of_id(message);
        let first = Known {
            sha256: columns::digest(row.try_get(2)?)?,
            message,
            // One that cannot be read is made anew, as one that was purged.
            acknowledgement: if_whole(vault.open(place, acknowledgement.unwrap_or_default()))?
                .unwrap_or_default()
                .into(),
        };
        known.insert(key, first);
    }
    Ok(known)
}

/// Deduplication keys of a group, each once, in an order that all instances share.
struct Keys<'a> {
    sources: Vec<i32>,
    control_ids: Vec<&'a str>,
    sha256: Vec<&'a [u8]>,
    messages: Vec<Uuid>,
}

impl<'a> Keys<'a> {
    fn of(items: &[&'a Prepared]) -> Self {
        let keyed = items.iter().filter_map(|item| {
            let message = &item.admission.message;
            item.control_id.as_deref().map(|id| (item.source, id, &message.sha256[..], message.id.0))
        });
        let mut keyed: Vec<_> = keyed.collect();
        // Stable: of two with one key the first is kept.
        keyed.sort_by_key(|(source, id, ..)| (*source, *id));
        keyed.dedup_by_key(|(source, id, ..)| (*source, *id));
        let mut keys = Self { sources: Vec::new(), control_ids: Vec::new(), sha256: Vec::new(), messages: Vec::new() };
        for (source, id, sha256, message) in keyed {
            keys.sources.push(source);
            keys.control_ids.push(id);
            keys.sha256.push(sha256);
            keys.messages.push(message);
        }
        keys
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.sources, &self.control_ids, &self.sha256, &self.messages]
    }
}

/// Columns of `message`.
#[derive(Default)]
struct Messages<'a> {
    numbers: Vec<i64>,
    ids: Vec<Uuid>,
    sources: Vec<i32>,
    transports: Vec<&'static str>,
    control_ids: Vec<Option<&'a str>>,
    kinds: Vec<std::borrow::Cow<'a, str>>,
    charsets: Vec<&'a str>,
    received_at: Vec<i64>,
    verdicts: Vec<&'static str>,
    sizes: Vec<i64>,
    sha256: Vec<&'a [u8]>,
    problems: Vec<Option<&'a str>>,
    commands: Vec<i32>,
    acknowledgements: Vec<&'a [u8]>,
    raw: Vec<Option<&'a [u8]>>,
}

impl<'a> Messages<'a> {
    fn of(items: &[&'a Prepared], new: &[(usize, i64, Verdict, i32)]) -> Self {
        let mut columns = Self::default();
        for (index, number, verdict, commands) in new {
            let item = items[*index];
            let message = &item.admission.message;
            columns.numbers.push(*number);
            columns.ids.push(message.id.0);
            columns.sources.push(item.source);
            columns.transports.push(message.transport.name());
            columns.control_ids.push(item.control_id.as_deref());
            columns.kinds.push(storable(&message.kind));
            columns.charsets.push(&message.charset);
            columns.received_at.push(micros(message.received_at));
            columns.verdicts.push(verdict.name());
            columns.sizes.push(columns::signed(item.size as u64));
            columns.sha256.push(&message.sha256);
            columns.problems.push(item.problems.as_deref());
            columns.commands.push(*commands);
            columns.acknowledgements.push(&item.acknowledgement.sealed);
            columns.raw.push(match &item.raw {
                Raw::Inline(raw) => Some(&raw[..]),
                Raw::Chunks(_) => None,
            });
        }
        columns
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 15] {
        [
            &self.numbers,
            &self.ids,
            &self.sources,
            &self.transports,
            &self.control_ids,
            &self.kinds,
            &self.charsets,
            &self.received_at,
            &self.verdicts,
            &self.sizes,
            &self.sha256,
            &self.problems,
            &self.commands,
            &self.acknowledgements,
            &self.raw,
        ]
    }
}

fn small(number: usize) -> i32 {
    i32::try_from(number).expect("a group is small")
}
