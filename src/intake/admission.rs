//! From a decision to one durable commit, whatever the transport.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::sources::KnownSource;
use super::{Inbound, Intake};
use crate::command::{Class, CommandId, EventId, Failure, MessageId, State, Verdict, services};
use crate::config::{EnvironmentName, Mode};
use crate::mapping::{CommandPlan, Location, Problem, ThreadNames};
use crate::store::{
    Act, Admission, Admitted, Alias, AliasKind, NewCommand, NewDocument, NewEvent, NewMessage, StoreError, ThreadView,
};

/// Commands that make a referral or an advice request: their content is digested, so that a resend under another control id
/// makes nothing new (`hl7/reference.md` 6.4, second guard).
pub(super) const CREATES: &[&str] = &["CreateReferral", "CreateAdviceRequest"];

const UNKNOWN_KEY_IDENTIFIER: u16 = 204;
const TABLE_VALUE_NOT_FOUND: u16 = 103;
const DUPLICATE_KEY_IDENTIFIER: u16 = 205;
const APPLICATION_ERROR: u16 = 207;
const REQUIRED_FIELD_MISSING: u16 = 101;

/// A message, decoded as far as it went.
pub(super) struct Received<'i> {
    pub inbound: &'i Inbound,
    pub source: &'i KnownSource,
    /// Kept.
    pub raw: Bytes,
    /// Of what came: of a message in pieces, the last.
    pub sha256: [u8; 32],
    pub charset: &'static str,
    pub control_id: Option<String>,
    pub kind: String,
    /// Where members of the command stand in a FHIR message.
    pub places: BTreeMap<String, Location>,
    /// The sequence number that comes next, where there is a protocol.
    pub expected: Option<i64>,
}

/// What the mapping made of it.
pub(super) enum Decision {
    Command {
        name: String,
        thread: ThreadNames,
        body: Value,
        documents: Vec<(u32, Bytes)>,
        /// The set that mapped it: its plan stays on that, whatever is loaded meanwhile.
        mapping_set: String,
    },
    Notice {
        name: String,
        thread: ThreadNames,
        /// Identifiers of patients whose records became one: what waits for them is held.
        merged: Vec<String>,
    },
    Refuse(Vec<Problem>),
    /// A piece of a message: it waits for the rest.
    Hold,
}

/// A commit to make, and what it is about.
pub(super) struct Prepared {
    pub admission: Admission,
    pub message: MessageId,
    pub commands: Vec<CommandId>,
}

/// A name that a sender has for a referral, or for something of it.
struct OwnName {
    kind: AliasKind,
    name: fn(&ThreadNames) -> Option<&str>,
    what: &'static str,
    /// Where it stands in HL7 v2, and in JSON.
    segment: &'static str,
    field: u16,
    pointer: &'static str,
}

const OWN_NAMES: [OwnName; 4] = [
    OwnName {
        kind: AliasKind::LocalId,
        name: |thread| thread.local_id.as_deref(),
        what: "this local id",
        segment: "RF1",
        field: 6,
        pointer: "/localId",
    },
    OwnName {
        kind: AliasKind::Document,
        name: |thread| thread.document.as_deref(),
        what: "the document of this number",
        segment: "TXA",
        field: 12,
        pointer: "/documentId",
    },
    OwnName {
        kind: AliasKind::Document,
        name: |thread| thread.replaces.as_deref(),
        what: "the document that is replaced",
        segment: "TXA",
        field: 13,
        pointer: "/replaces",
    },
    OwnName {
        kind: AliasKind::Appointment,
        name: |thread| thread.appointment.as_deref(),
        what: "the appointment of this number",
        segment: "ARQ",
        field: 1,
        pointer: "/placerAppointment",
    },
];

impl Intake {
    /// Checks that need the store or the settings, and not the message alone.
    pub(super) async fn review(&self, received: &Received<'_>, decision: Decision) -> Result<Decision, StoreError> {
        if let Decision::Notice { merged, .. } = &decision {
            self.hold_merged(received, merged).await?;
        }
        let Decision::Command { name, thread, mut body, documents, mapping_set } = decision else {
            return Ok(decision);
        };
        let mut problems = Vec::new();
        let test_number =
            body.pointer("/patient/nhsNumber").and_then(Value::as_str).is_some_and(|n| n.starts_with("999"));
        if test_number && self.place == EnvironmentName::Production {
            problems.push(Problem::new(
                location_of(received, "PID", 3, "/patient/nhsNumber"),
                TABLE_VALUE_NOT_FOUND,
                "Table value not acceptable: test NHS numbers (999…) are refused in production",
            ));
        }
        let creates = CREATES.contains(&name.as_str());
        if creates && !self.are_patients_checked && self.place != EnvironmentName::Simulator {
            problems.extend(self.missing_of_patient(received, &body));
        }
        if creates {
            problems.extend(self.echo(received, &thread));
        }
        if body.get("windowStart").is_some() && !received.source.config.book_by_wish {
            problems.push(Problem::new(
                location_of(received, "ARQ", 11, "/windowStart"),
                TABLE_VALUE_NOT_FOUND,
                "Table value not acceptable: this source chooses no slot for a patient (book_by_wish); send the slot that \
                 was chosen",
            ));
        }
        let is_read = self.is_read(&name);
        // What makes a referral and names no other asks nothing of what is known.
        let known = match creates && thread.ubrn.is_none() {
            true => None,
            false => self.known_by(received, &thread, &mut problems).await?,
        };
        let given = OWN_NAMES.iter().find(|own| (own.name)(&thread).is_some());
        let unknown = |problems: &mut Vec<Problem>, why: &str| {
            let OwnName { segment, field, pointer, .. } = given.unwrap_or(&OWN_NAMES[0]);
            let text = format!("Unknown key identifier: {why}");
            problems.push(Problem::new(location_of(received, segment, *field, pointer), UNKNOWN_KEY_IDENTIFIER, text));
        };
        match (&known, &thread.ubrn) {
            // It does not wait behind what makes the referral, so the UBRN must be known by now.
            (known, None) if is_read && given.is_some() => {
                match known.as_ref().and_then(|known| known.known.get("ubrn")) {
                    Some(ubrn) => body["ubrn"] = ubrn.clone(),
                    None => unknown(&mut problems, "no UBRN is known for this local id yet, and none was given"),
                }
            }
            _ if is_read => {}
            (None, None) if !creates => {
                unknown(&mut problems, "no referral is known by this local id, and no UBRN was given");
            }
            _ => {}
        }
        Ok(if problems.is_empty() {
            Decision::Command { name, thread, body, documents, mapping_set }
        } else {
            Decision::Refuse(problems)
        })
    }

    /// What waits for patients whose records a hospital has merged is left to a person, before the notice is acknowledged
    /// (`design.md` 9). What is on its way cannot be held any more.
    async fn hold_merged(&self, received: &Received<'_>, merged: &[String]) -> Result<(), StoreError> {
        if merged.is_empty() {
            return Ok(());
        }
        for open in self.store.open_for_patients(merged.to_vec()).await? {
            let why = Failure {
                code: "PATIENT_MERGED".into(),
                text:
                    "a hospital has merged the patient's record with another: check whose referral it is, then replay"
                        .into(),
            };
            let told = format!("a merge told by {}", received.source.config.name);
            let act = Act::of_gateway(told, self.environment.now());
            // What runs, or is with a person already, stays as it is.
            match self.store.hold(open.id, why, act).await {
                Ok(()) | Err(StoreError::Outdated(_) | StoreError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Everything that one commit holds, but for the acknowledgement.
    pub(super) fn prepare(&self, received: &Received<'_>, decision: Decision) -> Prepared {
        let message = MessageId(self.environment.new_id());
        let now = received.inbound.received_at;
        let source = &received.source.config.name;
        let mut admission = Admission {
            message: NewMessage {
                id: message,
                source: source.clone(),
                transport: received.inbound.transport,
                control_id: received.control_id.clone(),
                received_at: now,
                sha256: received.sha256,
                charset: received.charset.to_owned(),
                kind: received.kind.clone(),
                raw: received.raw.clone(),
                problems: Value::Array(Vec::new()),
            },
            verdict: Verdict::Accepted,
            acknowledgement: Bytes::new(),
            commands: Vec::new(),
            documents: Vec::new(),
            events: Vec::new(),
            patients: self.keys.patients_in(&received.raw),
            taken_again: None,
        };
        let mut event = |name: &str, data: Value| {
            let id = EventId(self.environment.new_id());
            admission.events.push(NewEvent {
                id,
                name: name.to_owned(),
                at: now,
                source: source.clone(),
                subject: message.to_string(),
                data,
            });
        };
        let mut commands = Vec::new();
        match decision {
            Decision::Refuse(problems) => {
                let problems = serde_json::to_value(&problems).unwrap_or_default();
                let mut data = json!({
                    "message": message, "source": source, "kind": received.kind, "problems": problems,
                });
                if let Some(control_id) = &received.control_id {
                    data["controlId"] = Value::from(control_id.as_str());
                }
                event("MessageRejected", data);
                admission.verdict = Verdict::Rejected;
                admission.message.problems = problems;
            }
            Decision::Hold => {}
            Decision::Notice { name, thread, .. } => {
                let mut data = json!({ "message": message, "source": source, "kind": received.kind, "reason": name });
                for (key, value) in [("localId", &thread.local_id), ("ubrn", &thread.ubrn)] {
                    if let Some(value) = value {
                        data[key] = Value::from(value.as_str());
                    }
                }
                event("MessageNoticed", data);
                admission.verdict = Verdict::Notice;
            }
            Decision::Command { name, thread, body, documents, mapping_set } => {
                let id = CommandId(self.environment.new_id());
                let is_read = self.is_read(&name);
                // A read is in nobody's way and behind nobody: a thread of its own. So is what pauses between its calls.
                let (class, thread) = if is_read {
                    (Class::Interactive, ThreadNames::default())
                } else if self.mappings.current().plan(&name).is_some_and(CommandPlan::pauses) {
                    (Class::Poll, ThreadNames::default())
                } else {
                    let priority = body.get("priority").and_then(Value::as_str);
                    (priority.map_or(Class::Routine, Class::of_priority), thread)
                };
                admission.commands.push(NewCommand {
                    id,
                    class,
                    aliases: self.aliases(received.source, &thread, id),
                    creates: CREATES.contains(&name.as_str()).then(|| business_digest(&body)),
                    mapping_set,
                    state: State::Queued,
                    plan: self.initial_plan(received.source, &body, now),
                    not_after: self.not_after(class, now),
                    name,
                    body,
                });
                admission.documents =
                    documents.into_iter().map(|(number, content)| NewDocument { number, content }).collect();
                commands.push(id);
            }
        }
        Prepared { admission, message, commands }
    }

    /// What came in shadow mode stays in it, whatever the mode is when its turn comes; a pause above it changes nothing. Where services have modes of their own
    /// and the command names none, they are known when its turn comes: how its source stood is kept until then.
    fn initial_plan(&self, source: &KnownSource, body: &Value, at: jiff::Timestamp) -> Value {
        let standing = self.sources.standing(&source.config, at);
        let services = services(body);
        if services.is_empty() && !standing.services_beneath.is_empty() {
            return json!({ "arrived": { "mode": standing.beneath, "services": standing.services_beneath } });
        }
        match standing.beneath_for(&services) {
            Mode::Live | Mode::Paused => Value::Null,
            Mode::Shadow => json!({ "shadow": true }),
        }
    }

    /// What the gateway told a hospital system and comes back makes no referral (`design.md` 9).
    fn echo(&self, received: &Received<'_>, thread: &ThreadNames) -> Option<Problem> {
        let is_hl7 = matches!(received.inbound.content, super::Content::Hl7v2 { .. });
        if is_hl7 && received.control_id.as_deref().is_some_and(|id| self.given.gave_control_id(id)) {
            let text = "Duplicate key identifier: this control id is one that the gateway gave to a message of its own, \
                        which comes back";
            return Some(Problem::new(Location::field("MSH", 10), DUPLICATE_KEY_IDENTIFIER, text));
        }
        let named = thread.local_id.as_deref().is_some_and(|id| self.given.gave_referral(id));
        named.then(|| {
            let text = "Duplicate key identifier: the gateway gave this identifier to a referral that e-RS has already";
            Problem::new(location_of(received, "RF1", 6, "/localId"), DUPLICATE_KEY_IDENTIFIER, text)
        })
    }

    /// Where nobody asks PDS, a person must at least be able to tell who is meant (`design.md` 9).
    fn missing_of_patient(&self, received: &Received<'_>, body: &Value) -> Vec<Problem> {
        let required = [("family", 5, "family name"), ("birthDate", 7, "date of birth")];
        let missing =
            required.into_iter().filter(|(member, ..)| body["patient"][member].as_str().is_none_or(str::is_empty));
        missing
            .map(|(member, field, name)| {
                let text = format!("Required field missing: {name} of the patient; nobody else checks who it is");
                Problem::new(
                    location_of(received, "PID", field, &format!("/patient/{member}")),
                    REQUIRED_FIELD_MISSING,
                    text,
                )
            })
            .collect()
    }

    pub(super) fn is_read(&self, command: &str) -> bool {
        self.mappings.current().plan(command).is_some_and(CommandPlan::is_read)
    }

    /// A command that got older than this before it could be sent waits for a person (`design.md` 9).
    fn not_after(&self, class: Class, received: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let age = match class {
            Class::TwoWeekWait => self.ages.age_max_two_week_wait,
            Class::Urgent => self.ages.age_max_urgent,
            Class::Interactive => self.ages.read_deadline,
            _ => self.ages.age_max_routine,
        };
        received.checked_add(age).ok()
    }

    /// The thread that one of the sender's own names leads to. Names that lead to another referral than the UBRN would
    /// make one thread of two, perhaps of two patients.
    async fn known_by(
        &self,
        received: &Received<'_>,
        thread: &ThreadNames,
        problems: &mut Vec<Problem>,
    ) -> Result<Option<ThreadView>, StoreError> {
        let mut found: Option<ThreadView> = None;
        for own in &OWN_NAMES {
            let Some(name) = (own.name)(thread) else { continue };
            let Some(view) = self.store.find_thread(&self.own_alias(received.source, own.kind, name)).await? else {
                continue;
            };
            let ubrn = view.known.get("ubrn").and_then(Value::as_str);
            let expected = thread
                .ubrn
                .as_deref()
                .or_else(|| found.as_ref().and_then(|first| first.known.get("ubrn").and_then(Value::as_str)));
            if let (Some(ubrn), Some(expected)) = (ubrn, expected)
                && ubrn != expected
            {
                problems.push(Problem::new(
                    location_of(received, own.segment, own.field, own.pointer),
                    UNKNOWN_KEY_IDENTIFIER,
                    format!("Unknown key identifier: {} belongs to a referral with another UBRN", own.what),
                ));
            }
            found = found.or(Some(view));
        }
        Ok(found)
    }

    fn own_alias(&self, source: &KnownSource, kind: AliasKind, name: &str) -> Alias {
        Alias { kind, digest: self.keys.alias_digest(kind, &[&source.config.name, name]) }
    }

    fn aliases(&self, source: &KnownSource, thread: &ThreadNames, command: CommandId) -> Vec<Alias> {
        let own = OWN_NAMES.iter().filter_map(|own| Some(self.own_alias(source, own.kind, (own.name)(thread)?)));
        let mut aliases: Vec<Alias> = own.collect();
        if let Some(ubrn) = &thread.ubrn {
            aliases.push(Alias { kind: AliasKind::Ubrn, digest: self.keys.alias_digest(AliasKind::Ubrn, &[ubrn]) });
        }
        if aliases.is_empty() {
            let kind = AliasKind::Command;
            aliases.push(Alias { kind, digest: self.keys.alias_digest(kind, &[&command.to_string()]) });
        }
        aliases
    }

    /// Why the first sending of a message was refused; nothing if it was taken, whatever the mapping says today.
    pub(super) async fn problems_of_first(
        &self,
        message: MessageId,
        today: Vec<Problem>,
    ) -> Result<Vec<Problem>, StoreError> {
        let first = self.store.message(message).await?;
        Ok(match first.is_some_and(|view| view.verdict == Verdict::Rejected) {
            false => Vec::new(),
            true if today.is_empty() => vec![Problem::new(
                Location::Message,
                APPLICATION_ERROR,
                format!("Application error: it was refused when it first came, as message {message}; replay that one"),
            )],
            true => today,
        })
    }

    /// Commits and waits for the disk.
    pub(super) async fn admit(&self, received: &Received<'_>, prepared: Prepared) -> Result<Admitted, StoreError> {
        let verdict = prepared.admission.verdict;
        let transport = received.inbound.transport;
        let admitted = self.store.admit(prepared.admission).await?;
        let decided = match &admitted {
            Admitted::New { repeats: Some(_), .. } | Admitted::Resend { .. } => Verdict::Duplicate.name(),
            Admitted::New { .. } => verdict.name(),
            Admitted::ControlIdReused { .. } => return Ok(admitted),
        };
        self.metrics.decided(&received.source.config.name, transport, decided);
        tracing::info!(
            message.id = %prepared.message,
            source = %received.source.config.name,
            transport = transport.name(),
            kind = %shown_kind(&received.kind),
            verdict = decided,
            size_bytes = received.raw.len(),
            "message stored"
        );
        Ok(admitted)
    }
}

/// A message type is short and made of letters; anything else came from the wrong field.
fn shown_kind(kind: &str) -> &str {
    let plain = kind.len() <= 40 && kind.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'^' | b'_'));
    if plain { kind } else { "unusual" }
}

/// Where a member stands in the sender's own terms.
fn location_of(received: &Received<'_>, segment: &str, field: u16, pointer: &str) -> Location {
    match received.inbound.content {
        super::Content::Hl7v2 { .. } => Location::field(segment, field),
        super::Content::Command { .. } => Location::Json(pointer.to_owned()),
        super::Content::Fhir { .. } => received.places.get(pointer).cloned().unwrap_or(Location::Message),
    }
}

/// SHA-256 over what a referral says: who, what for, where, how urgent, with which letters. What changes from
/// one sending to the next without meaning anything (places in the message, names of files) is left out.
fn business_digest(body: &Value) -> [u8; 32] {
    let mut digest = Sha256::new();
    let members =
        ["/patient/nhsNumber", "/priority", "/specialty", "/clinicType", "/criteria", "/then", "/referrer/sdsUserId"];
    for member in members {
        digest.update(member);
        digest.update(body.pointer(member).map(Value::to_string).unwrap_or_default());
        digest.update([0]);
    }
    // What came later counts only where it is: digests of before stay what they were.
    for member in ["/windowStart", "/windowEnd", "/days", "/clinician"] {
        if let Some(value) = body.pointer(member) {
            digest.update(member);
            digest.update(value.to_string());
            digest.update([0]);
        }
    }
    for service in body.pointer("/shortlist").and_then(Value::as_array).into_iter().flatten() {
        digest.update(service.get("service").map(Value::to_string).unwrap_or_default());
        digest.update([1]);
    }
    for letter in body.pointer("/letters").and_then(Value::as_array).into_iter().flatten() {
        digest.update(letter.get("sha256").map(Value::to_string).unwrap_or_default());
        digest.update([2]);
    }
    // Of advice requests only: what was digested before these came must stay the same.
    for member in ["/service", "/request", "/conversion"] {
        if let Some(value) = body.pointer(member) {
            digest.update(member);
            digest.update(value.to_string());
            digest.update([3]);
        }
    }
    digest.finalize().into()
}

/// For a control id that was used before for something else.
pub(super) fn key_reused(location: Location) -> Problem {
    Problem::new(location, 205, "Duplicate key identifier: this control id was used before for other content")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advice_request_says_something_else_when_its_question_does() {
        let asked = |service: &str, request: &str| {
            business_digest(&json!({
                "patient": { "nhsNumber": "9994120034" }, "priority": "ROUTINE", "service": service,
                "conversion": "AUTHORISED_TO_CONVERT", "request": request,
            }))
        };
        assert_eq!(asked("11014", "What now?"), asked("11014", "What now?"));
        assert_ne!(asked("11014", "What now?"), asked("11014", "What else?"));
        assert_ne!(asked("11014", "What now?"), asked("11010", "What now?"));
    }
}
