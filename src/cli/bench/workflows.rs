//! What each workflow of a referrer takes inside the gateway: claim, plan, calls, commits, event.
//!
//! Enters: commands, one at a time, of referrals made for them. Leaves: the median time of each from its commit by
//! intake to its last commit, and how many calls it made. e-RS is the simulator in this very process, so no network
//! and no pace is in the time; the disk is, and so is what the simulator needs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics::Registry;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::{broadcast, watch};

use super::super::exit::CliError;
use super::Scale;
use super::figure::Figure;
use super::ground::Ground;
use super::house::Folder;
use crate::command::{Class, CommandId, MessageId, State, Verdict};
use crate::config::{self, Access, Connection, Pacing, RefreshToken, Source};
use crate::delivery::{Delivery, DeliveryMetrics, DeliveryParts};
use crate::environment::Environment;
use crate::keys::Keys;
use crate::mapping::{MappingSet, MappingSets};
use crate::simulator::services::Slot;
use crate::simulator::{Simulator, SimulatorConfig, SimulatorHandle, demonstration};
use crate::store::{Admission, Alias, AliasKind, NewCommand, NewDocument, NewMessage, Settled, Store, Transport};

const SOURCE: &str = "bench";
/// Has slots enough for every booking of a chosen slot.
const SERVICE: &str = "20013";
/// Has one for every wish, so that they are on one page.
const WISHED: &str = "20011";
/// Has one for every appointment that is moved.
const OTHER: &str = "20014";
/// Has none.
const FULL: &str = "20012";
const TRIAGE: &str = "50001";
const LETTER: &[u8] = b"A letter of a few words";
/// One that takes longer does not work.
const ROUND_MAX: Duration = Duration::from_secs(20);

/// Commands in their order; the last is the one that is measured.
struct Workflow {
    what: &'static str,
    before: &'static [&'static str],
    command: &'static str,
    more: fn(&Round) -> Value,
}

/// What a round is about.
struct Round {
    /// Of all.
    number: usize,
    of_workflow: usize,
}

impl Round {
    /// A chosen slot of its own.
    fn slot(&self) -> Value {
        Self::chosen(slot(SERVICE, self.number))
    }

    /// The slot that its appointment is moved to.
    fn other_slot(&self) -> Value {
        Self::chosen(slot(OTHER, self.of_workflow))
    }

    fn chosen(slot: Slot) -> Value {
        json!({
            "service": slot.service, "slot": slot.id, "start": slot.start.to_string(), "end": slot.end.to_string(),
        })
    }
}

const WORKFLOWS: &[Workflow] = &[
    Workflow { what: "CreateReferral", before: &[], command: "CreateReferral", more: |_| referral(SERVICE) },
    Workflow {
        what: "– with a letter, sent for triage",
        before: &[],
        command: "CreateReferral",
        more: |_| {
            let mut body = with_letter(referral(TRIAGE));
            body["then"] = "triage".into();
            body["letterIntention"] = "NEED_TO_ADD_LATER".into();
            body
        },
    },
    Workflow {
        what: "AttachLetters, one",
        before: &["CreateReferral"],
        command: "AttachLetters",
        more: |_| with_letter(json!({})),
    },
    Workflow { what: "BookAppointment", before: &["CreateReferral"], command: "BookAppointment", more: |r| r.slot() },
    Workflow {
        what: "– by wish",
        before: &["CreateReferral"],
        command: "BookAppointment",
        more: |_| json!({ "service": WISHED, "windowStart": "2040-01-01", "windowEnd": "2041-12-31" }),
    },
    Workflow {
        what: "CancelAppointment",
        before: &["CreateReferral", "BookAppointment"],
        command: "CancelAppointment",
        more: |_| json!({ "reason": "PATIENT_ILL" }),
    },
    Workflow {
        what: "RebookAppointment",
        before: &["CreateReferral", "BookAppointment"],
        command: "RebookAppointment",
        more: |round| {
            let mut body = round.other_slot();
            body["reason"] = "PATIENT_ILL".into();
            body
        },
    },
    Workflow {
        what: "DeferAppointment",
        before: &["CreateReferral"],
        command: "DeferAppointment",
        more: |_| json!({ "service": FULL, "reason": "NO_SLOTS_AT_SERVICE" }),
    },
    Workflow {
        what: "ChangeShortlist",
        before: &["CreateReferral"],
        command: "ChangeShortlist",
        more: |_| {
            let mut body = referral(FULL);
            body.as_object_mut().expect("an object").remove("patient");
            body
        },
    },
    Workflow {
        what: "CancelReferral",
        before: &["CreateReferral"],
        command: "CancelReferral",
        more: |_| json!({ "reason": "RAISED_IN_ERROR" }),
    },
    Workflow {
        what: "GeneratePatientLetter",
        before: &["CreateReferral"],
        command: "GeneratePatientLetter",
        more: |_| json!({}),
    },
    Workflow { what: "CreateAdviceRequest", before: &[], command: "CreateAdviceRequest", more: |_| advice() },
    Workflow {
        what: "SearchSlots",
        before: &["CreateReferral"],
        command: "SearchSlots",
        more: |_| json!({ "service": WISHED }),
    },
    Workflow {
        what: "RetrieveReferral",
        before: &["CreateReferral"],
        command: "RetrieveReferral",
        more: |_| json!({}),
    },
];

fn referral(service: &str) -> Value {
    json!({
        "patient": { "nhsNumber": "9994120034" }, "priority": "ROUTINE", "shortlist": [{ "service": service }],
        "letterIntention": "NOT_INTENDING_TO_ADD", "firstReminderDays": 0,
    })
}

fn advice() -> Value {
    json!({
        "patient": { "nhsNumber": "9994120034" }, "priority": "ROUTINE", "service": "11014",
        "conversion": "AUTHORISED_TO_CONVERT", "request": "What now?",
    })
}

fn with_letter(mut body: Value) -> Value {
    body["letters"] = json!([{
        "fileName": "letter.txt", "contentType": "text/plain", "bytes": LETTER.len(),
        "sha256": format!("{:x}", Sha256::digest(LETTER)), "content": { "in": "document", "number": 1 },
    }]);
    body
}

fn slot(service: &str, number: usize) -> Slot {
    let first: jiff::Timestamp = "2040-01-02T09:00:00Z".parse().expect("a literal instant");
    let start = first + Duration::from_secs(1_800) * u32::try_from(number).unwrap_or(u32::MAX);
    Slot {
        id: format!("{service}{number:06}"),
        service: service.into(),
        start,
        end: start + Duration::from_secs(1_800),
        clinician: None,
    }
}

pub(super) async fn measure(scale: &Scale) -> Result<Vec<Figure>, CliError> {
    let folder = Folder::new_in(&scale.folder)?;
    let ground = Ground::new_in(&folder.0, scale.server.as_ref()).await?;
    let rounds = scale.workflow_rounds;
    let mut desk = Desk::open(&folder.0, ground.open().await?, rounds).await?;
    let mut figures = Vec::new();
    for workflow in WORKFLOWS {
        let (mut times, mut calls) = (Vec::with_capacity(rounds), 0);
        for of_workflow in 0..rounds {
            let (time, made) = desk.round(workflow, of_workflow).await?;
            times.push(time);
            calls = made;
        }
        times.sort_unstable();
        let median = times[times.len() / 2].as_secs_f64() * 1e3;
        let limited = format!("calls: {calls}, each with its commits; {}", ground.name());
        figures.push(Figure::new(format!("inside the gateway: {}", workflow.what), median, "ms").limited_by(limited));
    }
    desk.environment.drain(Duration::from_secs(5)).await;
    Ok(figures)
}

/// A gateway's inside, one source, and the simulator behind it.
struct Desk {
    environment: Environment,
    store: Arc<dyn Store>,
    simulator: SimulatorHandle,
    keys: Keys,
    set: Arc<MappingSet>,
    settled: broadcast::Receiver<Settled>,
    /// Kept: delivery ends with it.
    _sources: watch::Sender<Arc<crate::delivery::Sources>>,
    next: usize,
}

impl Desk {
    async fn open(folder: &Path, store: Arc<dyn Store>, rounds: usize) -> Result<Self, CliError> {
        let broken = |what: &str| CliError::Unavailable(format!("the benchmark cannot begin: {what}"));
        let environment = Environment::system();
        let of = |service, number| (0..number).map(move |number| slot(service, number));
        // A rebooking looks for its slot page by page: it is on the first.
        let slots =
            of(SERVICE, WORKFLOWS.len() * rounds).chain(of(WISHED, rounds + 1)).chain(of(OTHER, rounds)).collect();
        let config = SimulatorConfig { slots, ..SimulatorConfig::default() };
        let simulator = Simulator::in_process(config, environment.clone());
        let keys = Keys::load_or_create(&folder.join("bench.key"), &environment).map_err(|_| broken("no key"))?;
        let set = Arc::new(MappingSet::built_in().map_err(|_| broken("the built-in mapping set"))?);
        store.register_set(set.digest(), set.files().to_archive(), environment.now()).await.map_err(CliError::from)?;
        let source = json!({ "name": SOURCE, "connection": SOURCE, "book_by_wish": true, "follow_scans": false });
        let source: Source = serde_json::from_value(source).map_err(|_| broken("a source"))?;
        let (sources, watched) = watch::channel(Arc::new([(SOURCE.to_owned(), source)].into()));
        let delivery = Delivery::new(DeliveryParts {
            environment: environment.clone(),
            store: store.clone(),
            mappings: Arc::new(MappingSets::new(set.clone())),
            transport: Arc::new(simulator.transport()),
            keys: keys.clone(),
            connections: vec![connection(&simulator)],
            pds: None,
            sources: watched,
            settings: config::Delivery {
                pacing: Pacing { enabled: false, ..Pacing::default() },
                ..config::Delivery::default()
            },
            instance: SOURCE.into(),
            metrics: DeliveryMetrics::register(&Registry::new()).map_err(|_| broken("metrics"))?,
            traces: crate::telemetry::Traces::default(),
        })
        .map_err(|_| broken("delivery"))?;
        environment.spawn(delivery.run());
        let settled = store.signals().settled.subscribe();
        Ok(Self { environment, store, simulator, keys, set, settled, _sources: sources, next: 0 })
    }

    /// The time of the measured command, and its calls.
    async fn round(&mut self, workflow: &Workflow, of_workflow: usize) -> Result<(Duration, usize), CliError> {
        let round = Round { number: self.next, of_workflow };
        self.next += 1;
        let thread = format!("R{}", round.number);
        for name in workflow.before {
            let body = match *name {
                "BookAppointment" => round.slot(),
                _ => {
                    let mut body = referral(SERVICE);
                    body["shortlist"] = json!([{ "service": SERVICE }, { "service": WISHED }, { "service": OTHER }, { "service": FULL }]);
                    body
                }
            };
            self.carry_out(name, &thread, body).await?;
        }
        let calls = self.simulator.calls().len();
        let began = Instant::now();
        self.carry_out(workflow.command, &thread, (workflow.more)(&round)).await?;
        Ok((began.elapsed(), self.simulator.calls().len() - calls))
    }

    async fn carry_out(&mut self, name: &str, thread: &str, body: Value) -> Result<(), CliError> {
        let id = CommandId(self.environment.new_id());
        let admission = self.admission(id, name, thread, body);
        self.store.admit(admission).await.map_err(CliError::from)?;
        let rests = async {
            loop {
                match self.settled.recv().await {
                    Ok(settled) if settled.command != id => {}
                    _ => return,
                }
            }
        };
        let in_time = tokio::time::timeout(ROUND_MAX, rests).await.is_ok();
        let view = self.store.command(id).await.map_err(CliError::from)?;
        match view.map(|view| view.state) {
            Some(State::Completed) if in_time => Ok(()),
            other => Err(CliError::No(format!("{name} of the benchmark was not carried out: {other:?}"))),
        }
    }

    fn admission(&self, id: CommandId, name: &str, thread: &str, mut body: Value) -> Admission {
        body["localId"] = thread.into();
        let kind = AliasKind::LocalId;
        let command = NewCommand {
            id,
            name: name.into(),
            body,
            class: Class::Routine,
            aliases: vec![Alias { kind, digest: self.keys.alias_digest(kind, &[SOURCE, thread]) }],
            creates: None,
            mapping_set: self.set.digest().to_owned(),
            state: State::Queued,
            plan: Value::Null,
            not_after: None,
        };
        let message = NewMessage {
            id: MessageId(self.environment.new_id()),
            source: SOURCE.into(),
            transport: Transport::Http,
            control_id: None,
            received_at: self.environment.now(),
            sha256: [0; 32],
            charset: "UTF-8".into(),
            kind: name.into(),
            raw: bytes::Bytes::from_static(b"{}"),
            problems: Value::Null,
        };
        Admission {
            message,
            verdict: Verdict::Accepted,
            acknowledgement: bytes::Bytes::new(),
            commands: vec![command],
            documents: vec![NewDocument { number: 1, content: bytes::Bytes::from_static(LETTER) }],
            events: Vec::new(),
            patients: Vec::new(),
            taken_again: None,
        }
    }
}

fn connection(simulator: &SimulatorHandle) -> Connection {
    Connection {
        name: SOURCE.into(),
        base_url: simulator.base_url().into(),
        code_system_base: None,
        token_url: simulator.token_url().into(),
        client_id: demonstration::USER_CLIENT_ID.into(),
        proxy: None,
        ca: None,
        access: Access::UserRestricted(RefreshToken {
            client_secret: demonstration::USER_CLIENT_SECRET.into(),
            refresh_token: Some(demonstration::REFRESH_TOKEN.into()),
            organisation: "R69".into(),
            business_function: "REFERRING_CLINICIAN".into(),
            on_behalf_of: None,
            user: None,
        }),
    }
}
