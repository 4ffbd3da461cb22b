//! Faults on demand: which call to hurt, and how.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::referral::Ubrn;

/// One fault. Everything that is not said matches everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// `A011`; `token` for the token endpoint.
    #[serde(default)]
    pub operation: Option<String>,
    /// Matching calls that pass unhurt first.
    #[serde(default)]
    pub skip: u64,
    /// Matching calls that are hurt, then; absent: all.
    #[serde(default)]
    pub times: Option<u64>,
    /// The patient that the body names.
    #[serde(default)]
    pub nhs_number: Option<String>,
    #[serde(default)]
    pub ubrn: Option<String>,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Answers without doing anything; with the usual code of the status if none is given.
    Answer {
        status: u16,
        #[serde(default)]
        code: Option<String>,
        #[serde(default)]
        diagnostics: Option<String>,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
        /// Sent as it is, instead of an outcome.
        #[serde(default)]
        body: Option<String>,
    },
    /// Waits; before anything has happened, or with the state changed and the answer held back.
    Delay {
        millis: u64,
        #[serde(default)]
        after_commit: bool,
    },
    /// Never answers, and keeps the connection open.
    Hang {
        #[serde(default)]
        after_commit: bool,
    },
    /// Cuts the connection without an answer.
    Reset {
        #[serde(default)]
        after_commit: bool,
    },
    /// Does what was asked, and cuts the connection in the middle of the answer's body.
    Truncate,
}

impl Fault {
    /// Hurts every call of `operation`.
    pub fn on(operation: &str, action: Action) -> Self {
        Self { operation: Some(operation.into()), skip: 0, times: None, nhs_number: None, ubrn: None, action }
    }

    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    pub fn skip(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    pub fn for_patient(mut self, nhs_number: &str) -> Self {
        self.nhs_number = Some(nhs_number.into());
        self
    }

    pub fn for_ubrn(mut self, ubrn: &str) -> Self {
        self.ubrn = Some(ubrn.into());
        self
    }
}

impl Action {
    pub fn answer(status: u16) -> Self {
        Self::Answer { status, code: None, diagnostics: None, retry_after: None, body: None }
    }

    pub fn lost_answer() -> Self {
        Self::Reset { after_commit: true }
    }

    pub fn delay(duration: Duration) -> Self {
        Self::Delay { millis: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), after_commit: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FaultId(pub u64);

#[derive(Clone, Debug, Serialize)]
pub struct Armed {
    pub id: FaultId,
    pub fault: Fault,
    /// Calls that matched so far.
    pub matched: u64,
    /// Calls that were hurt so far.
    pub fired: u64,
}

/// What a call is about, as far as faults care.
pub struct Subject<'a> {
    pub operation: &'a str,
    pub nhs_number: Option<&'a str>,
    pub ubrn: Option<Ubrn>,
}

#[derive(Default)]
pub struct Faults {
    armed: Mutex<Vec<Armed>>,
    /// So that the usual case costs one load.
    count: AtomicUsize,
    next: AtomicU64,
}

impl Faults {
    pub fn inject(&self, fault: Fault) -> FaultId {
        let id = FaultId(self.next.fetch_add(1, Ordering::Relaxed));
        let mut armed = self.armed.lock();
        armed.push(Armed { id, fault, matched: 0, fired: 0 });
        self.count.store(armed.len(), Ordering::Release);
        id
    }

    /// False when it is not there.
    pub fn remove(&self, id: FaultId) -> bool {
        let mut armed = self.armed.lock();
        let before = armed.len();
        armed.retain(|one| one.id != id);
        self.count.store(armed.len(), Ordering::Release);
        armed.len() < before
    }

    pub fn clear(&self) {
        self.armed.lock().clear();
        self.count.store(0, Ordering::Release);
    }

    pub fn list(&self) -> Vec<Armed> {
        self.armed.lock().clone()
    }

    pub fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// What to do to this call: the action of the first fault that fires.
    pub fn strike(&self, subject: &Subject<'_>) -> Option<Action> {
        if !self.any() {
            return None;
        }
        let mut armed = self.armed.lock();
        for one in armed.iter_mut().filter(|one| matches(&one.fault, subject)) {
            one.matched += 1;
            let due = one.matched > one.fault.skip && one.fault.times.is_none_or(|times| one.fired < times);
            if due {
                one.fired += 1;
                return Some(one.fault.action.clone());
            }
        }
        None
    }
}

fn matches(fault: &Fault, subject: &Subject<'_>) -> bool {
    fault.operation.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(subject.operation))
        && fault.nhs_number.as_deref().is_none_or(|wanted| subject.nhs_number == Some(wanted))
        && fault.ubrn.as_deref().is_none_or(|wanted| subject.ubrn.is_some() && Ubrn::parse(wanted) == subject.ubrn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_the_calls_it_names_and_no_others() {
        let faults = Faults::default();
        faults.inject(Fault::on("A011", Action::answer(503)).skip(1).times(1).for_patient("9994120034"));
        let call = |operation, nhs_number| Subject { operation, nhs_number, ubrn: None };
        for (operation, patient, struck) in [
            ("A005", Some("9994120034"), false),
            ("A011", Some("9994121405"), false),
            ("A011", Some("9994120034"), false), // passes unhurt
            ("A011", Some("9994120034"), true),
            ("A011", Some("9994120034"), false), // used up
        ] {
            assert_eq!(faults.strike(&call(operation, patient)).is_some(), struck, "{operation} {patient:?}");
        }
    }

    #[test]
    fn faults_are_written_as_json() {
        let text = r#"{"operation": "A011", "times": 2, "action": {"do": "answer", "status": 429}}"#;
        let fault: Fault = serde_json::from_str(text).expect("the documented form");
        assert_eq!(fault.action, Action::answer(429));
        assert!(serde_json::from_str::<Fault>(r#"{"action": {"do": "explode"}}"#).is_err());
    }
}
