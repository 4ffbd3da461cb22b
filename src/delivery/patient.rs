//! The patient check before a call that makes something for a patient.
//!
//! Enters: what the command says of its patient. Leaves: the run goes on, waits, or fails with what a person or the
//! sender has to do. Guarantees: nothing is made for a patient whom PDS does not confirm, unless a person who was
//! told released it; a refusal cannot be released. A number that was merged into another is followed only while nothing
//! else is open for either.

use serde_json::{Value, json};
use uuid::Uuid;

use super::ledger::Abandoned;
use super::pace::{Pacer, Stopped};
use super::plan_record::PatientRecord;
use super::run::{Flow, Run};
use crate::command::{CommandId, WaitReason};
use crate::mapping::{CommandPlan, Operation};
use crate::pds::{Answered, Claimed, Hold, Kept, PatientCheck, Verdict};
use crate::store::StoreError;

/// The number was merged into another, and that may be news to others who refer the patient.
const OTHERS_OPEN: Hold = Hold {
    code: "PATIENT_OPEN_ELSEWHERE",
    text: "PDS knows the patient by another NHS number now, and something is not finished under one of the two: look \
           whether the patient is referred twice",
};
/// Commands that a failure names.
const OTHERS_SHOWN_MAX: usize = 5;

/// PDS, and the pace of our registration there.
pub(super) struct PatientDesk {
    pub(super) check: PatientCheck,
    pub(super) pacer: Pacer,
}

impl Run {
    /// Whether the patient is to be asked about before this call.
    pub(super) fn needs_patient_check(&self, operation: Option<&Operation>) -> bool {
        let Some(desk) = &self.shared.patients else { return false };
        let now = self.shared.environment.now();
        let is_fresh = self.plan.patient.as_ref().and_then(|patient| patient.checked_at).is_some_and(|at| {
            now.duration_since(at) < jiff::SignedDuration::try_from(desk.check.keeps()).unwrap_or_default()
        });
        operation.is_some_and(Operation::checks_patient) && !is_fresh
    }

    /// A number that PDS gave for the sender's holds for the whole run.
    pub(super) fn use_the_patients_number(&mut self) {
        let number = self.plan.patient.as_ref().and_then(|patient| patient.number.clone());
        if let (Some(number), Some(own)) = (number, self.command.body.pointer_mut("/patient/nhsNumber")) {
            *own = number.into();
        }
    }

    pub(super) async fn check_patient(&mut self) -> Result<Flow, Abandoned> {
        let shared = self.shared.clone();
        let Some(desk) = &shared.patients else { return Ok(Flow::On) };
        let body = self.command.body.clone();
        let claimed = claimed(&body);
        // What was held and is released is asked about anew: the record may be mended, or worse, by now.
        if self.plan.patient_told.is_empty()
            && let Some(kept) = desk.check.kept(&claimed)
        {
            return self.act_on_finding(kept).await;
        }
        if let Flow::Ended = self.stop_if_overdue().await? {
            return Ok(Flow::Ended);
        }
        // The answer may take long: what happened before is on disk.
        let request = self.plan.patient.get_or_insert_default();
        if request.request.is_nil() {
            request.request = shared.environment.random_id();
        }
        let request = request.request;
        self.ledger.plan(self.plan.to_value());
        self.ledger.commit().await?;
        match self.leave_for_pds(&desk.pacer).await {
            Ok(()) => {}
            Err(Stopped) => return self.give_back("the gateway stops").await,
        }
        match desk.check.ask(&claimed, request, &self.command.message.to_string()).await {
            Answered::Found(kept) => self.act_on_finding(kept).await,
            Answered::Later { why, retry_after } => {
                let text = format!("PDS cannot be asked about the patient now: {why}");
                self.wait(WaitReason::Unavailable, retry_after, &text).await
            }
            Answered::SetUp(why) => {
                tracing::error!(why, "PDS refuses the gateway: check client id, key and registration");
                let text = format!("PDS refuses the gateway ({why}): mend its settings, then replay");
                self.fail("PDS_REFUSED", &text).await
            }
        }
    }

    async fn leave_for_pds(&self, pacer: &Pacer) -> Result<(), Stopped> {
        let leave = tokio::select! {
            leave = pacer.wait(self.caller()) => leave?,
            () = self.shared.environment.shutdown().cancelled() => return Err(Stopped),
        };
        pacer.depart(leave).await
    }

    async fn act_on_finding(&mut self, Kept { mut finding, at }: Kept) -> Result<Flow, Abandoned> {
        if finding.verdict == Verdict::Refuse {
            self.plan.patient = None;
            let text = format!("{}. Have the sender correct it and send it again", finding.text);
            return self.fail(finding.code, &text).await;
        }
        let mut others = Vec::new();
        if let Some(number) = &finding.number {
            match self.others_open_for(number).await {
                Ok(found) => others = found,
                Err(error) => {
                    tracing::error!(%error, "the store cannot say what else is open for a patient");
                    let text = "it is not known now what else is open for the patient";
                    return self.wait(WaitReason::Unavailable, None, text).await;
                }
            }
        }
        if !others.is_empty() {
            finding = finding.held_for(OTHERS_OPEN);
        }
        let told = &self.plan.patient_told;
        if let Some(untold) = finding.holds.iter().find(|hold| !told.iter().any(|code| code == hold.code)) {
            self.plan.patient = None;
            let text: Vec<&str> = finding.holds.iter().map(|hold| hold.text).collect();
            let mut text = text.join("; and ");
            if let Some((first, more)) = others.split_first() {
                text.push_str(&format!(" (command {first}"));
                more.iter().for_each(|id| text.push_str(&format!(", {id}")));
                text.push(')');
            }
            self.plan.patient_told = finding.holds.iter().map(|hold| hold.code.to_owned()).collect();
            return self.fail(untold.code, &format!("{text}. Replay sends it")).await;
        }
        if let Some(number) = &finding.number {
            self.publish("PatientNumberSuperseded", json!({ "nhsNumber": number }));
        }
        let mut notes: Vec<String> = finding.notes.iter().map(|note| (*note).to_owned()).collect();
        if finding.verdict == Verdict::Hold {
            notes.push("released by a person who was told".to_owned());
        }
        let before = self.plan.patient.take().unwrap_or_default();
        self.plan.patient = Some(PatientRecord {
            request: Uuid::nil(),
            checked_at: Some(at),
            code: finding.code.to_owned(),
            notes,
            version: finding.version,
            // Asked about again, the new number is the only one: it still stands for the sender's.
            number: finding.number.or(before.number),
        });
        self.use_the_patients_number();
        Ok(Flow::On)
    }

    /// What is not finished under the number that was sent or the one that replaced it, in other threads: the same patient
    /// may be known twice to a hospital, and be referred twice. Questions change nothing, and count for nothing.
    async fn others_open_for(&self, number: &str) -> Result<Vec<CommandId>, StoreError> {
        let sent = self.command.body.pointer("/patient/nhsNumber").and_then(Value::as_str).unwrap_or_default();
        let open = self.shared.store.open_for_patients(vec![sent.to_owned(), number.to_owned()]).await?;
        let is_read = |name: &str| {
            let plan = self.ground.as_ref().and_then(|ground| ground.set.mappings.plan(name));
            plan.is_some_and(CommandPlan::is_read)
        };
        let elsewhere = open.into_iter().filter(|open| open.thread != self.command.thread.id && !is_read(&open.name));
        Ok(elsewhere.map(|open| open.id).take(OTHERS_SHOWN_MAX).collect())
    }
}

pub(super) fn claimed(body: &Value) -> Claimed<'_> {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    Claimed {
        number: text("/patient/nhsNumber").unwrap_or_default(),
        family: text("/patient/family"),
        given: text("/patient/given"),
        birth_date: text("/patient/birthDate"),
        gender: text("/patient/gender"),
        practice: text("/gpPractice").or(text("/referrer/practice")),
    }
}
