//! One decision to one commit, for content that is answered by its outcome alone (commands, FHIR).

use super::Intake;
use super::admission::{Decision, Received};
use super::again::Company;
use super::answer::{Answer, Outcome};
use crate::command::MessageId;
use crate::mapping::Problem;
use crate::store::{Admitted, StoreError, TakenAgain};

pub(super) enum Kept {
    Answered(Answer),
    /// The control id belongs to an earlier message, which said something else; nothing was stored.
    KeyReused {
        earlier: MessageId,
        problems: Vec<Problem>,
    },
}

impl Intake {
    pub(super) async fn keep(&self, received: &Received<'_>, decision: Decision) -> Result<Kept, StoreError> {
        let decision = self.review(received, decision).await?;
        self.keep_reviewed(received, decision, None).await
    }

    /// The same for what was reviewed already; `taken_again`, where a person has a refused message taken in once more.
    pub(super) async fn keep_reviewed(
        &self,
        received: &Received<'_>,
        decision: Decision,
        taken_again: Option<(TakenAgain, Company)>,
    ) -> Result<Kept, StoreError> {
        let (outcome, problems) = match &decision {
            Decision::Refuse(problems) => (Outcome::Rejected, problems.clone()),
            Decision::Notice { .. } => (Outcome::Notice, Vec::new()),
            Decision::Command { .. } | Decision::Hold => (Outcome::Accepted, Vec::new()),
        };
        let mut prepared = self.prepare(received, decision);
        if let Some((taken_again, company)) = taken_again {
            prepared.admission.taken_again = Some(taken_again);
            if company == Company::OneOfMany {
                for command in &mut prepared.admission.commands {
                    command.class = command.class.in_bulk();
                }
            }
        }
        let (message, commands) = (prepared.message, prepared.commands.clone());
        let answer = match self.admit(received, prepared).await? {
            Admitted::New { repeats: Some(earlier), .. } => {
                Answer { message: Some(message), commands: vec![earlier], ..Answer::bare(Outcome::Duplicate, problems) }
            }
            Admitted::New { .. } => Answer { message: Some(message), commands, ..Answer::bare(outcome, problems) },
            Admitted::Resend { message, .. } => {
                let commands = self.store.commands_of(message).await?.iter().map(|view| view.id).collect();
                let problems = self.problems_of_first(message, problems).await?;
                let outcome = if problems.is_empty() { Outcome::Duplicate } else { Outcome::Rejected };
                Answer { message: Some(message), commands, ..Answer::bare(outcome, problems) }
            }
            Admitted::ControlIdReused { message } => return Ok(Kept::KeyReused { earlier: message, problems }),
        };
        Ok(Kept::Answered(answer))
    }
}
