//! Why messages were refused and commands do not get on: what all that have the same reason share.
//!
//! Enters: a verdict with its problems, or a state. Leaves: a cause, whose number is a digest of what it says, so that every
//! instance and every store gives the same one. Guarantees: no text of a cause names a record: identifiers and numbers that tell one
//! record from another are left out, so that the few causes stand for the many.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::command::{CommandId, MessageId, State, WaitReason};

/// Causes of one message; a message has more problems than that only where it is nonsense as a whole.
const CAUSES_OF_A_MESSAGE_MAX: usize = 8;
const TEXT_CHARS_MAX: usize = 300;
const NAME_CHARS_MAX: usize = 80;
/// Digits in a row from which on a number tells one record from another.
const DIGITS_OF_A_RECORD: usize = 5;

/// 63 bits of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CauseId(i64);

impl CauseId {
    /// As it stands in a row.
    pub(super) fn number(self) -> i64 {
        self.0
    }

    pub(super) fn of_row(number: i64) -> Self {
        Self(number)
    }
}

impl fmt::Display for CauseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cause has 16 hexadecimal digits, as `problems` shows it")]
pub struct NoCause;

impl FromStr for CauseId {
    type Err = NoCause;

    fn from_str(text: &str) -> Result<Self, NoCause> {
        if text.len() != 16 {
            return Err(NoCause);
        }
        i64::from_str_radix(text, 16).map(Self).map_err(|_| NoCause)
    }
}

impl Serialize for CauseId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for CauseId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub id: CauseId,
    pub source: String,
    /// Name of the commands; `message` of messages.
    pub kind: String,
    /// `rejected`, or the state in which the commands are.
    pub state: String,
    /// HL7 table 0357 of a refused message; the code of a failure; why it waits.
    pub code: String,
    /// Where in the message, as `PID-3.1`; or the step of the plan.
    pub place: Option<String>,
    pub text: String,
}

/// Kind of causes of refused messages.
pub const OF_MESSAGES: &str = "message";

impl Cause {
    /// Why a command in that state does not get on; `None` if it does.
    pub(super) fn of_command(source: &str, name: &str, state: &State) -> Option<Self> {
        let (code, place, text) = match state {
            State::Failed { why } => (why.code.as_str(), None, why.text.as_str()),
            State::InDoubt { step, look_at: None, .. } => {
                ("DECISION_NEEDED", Some(step), "a write may have been done, and reading e-RS did not prove it")
            }
            State::InDoubt { step, .. } => ("IN_DOUBT", Some(step), "a write may have been done; e-RS is read again"),
            State::Unauthorised { step, .. } => ("NOT_AUTHORISED", Some(step), "nobody is signed in who may do this"),
            State::Waiting { why: WaitReason::Planned | WaitReason::Paused, .. } => return None,
            State::Waiting { step, why, .. } => {
                let (code, text) = waiting(*why);
                (code, Some(step), text)
            }
            State::Queued | State::Running { .. } | State::Completed | State::Discarded | State::Shadowed => {
                return None;
            }
        };
        let place = place.filter(|step| !step.is_empty()).map(String::as_str);
        Some(Self::new(source, name, state.name(), code, place, text))
    }

    /// Why a message was refused: `[{location, code, text}]`.
    pub(super) fn of_message(source: &str, problems: &Value) -> Vec<Self> {
        let mut causes: Vec<Self> = Vec::new();
        for problem in problems.as_array().into_iter().flatten() {
            let code = match &problem["code"] {
                Value::String(code) => code.clone(),
                code => code.to_string(),
            };
            let place = problem["location"].as_str().map(without_ordinals);
            let text = problem["text"].as_str().unwrap_or_default();
            let cause = Self::new(source, OF_MESSAGES, "rejected", &code, place.as_deref(), text);
            if !causes.iter().any(|known| known.id == cause.id) {
                causes.push(cause);
            }
            if causes.len() == CAUSES_OF_A_MESSAGE_MAX {
                break;
            }
        }
        if causes.is_empty() {
            causes.push(Self::new(source, OF_MESSAGES, "rejected", "", None, "no reason was kept"));
        }
        causes
    }

    fn new(source: &str, kind: &str, state: &str, code: &str, place: Option<&str>, text: &str) -> Self {
        let cut = |text: &str, max: usize| text.chars().filter(|c| !c.is_control()).take(max).collect::<String>();
        let mut cause = Self {
            id: CauseId(0),
            source: source.to_owned(),
            kind: cut(kind, NAME_CHARS_MAX),
            state: state.to_owned(),
            code: cut(code, NAME_CHARS_MAX),
            place: place.map(|place| cut(place, TEXT_CHARS_MAX)),
            text: of_no_record(&cut(text, TEXT_CHARS_MAX)),
        };
        cause.id = cause.digest();
        cause
    }

    fn digest(&self) -> CauseId {
        let mut digest = Sha256::new();
        let place = self.place.as_deref().unwrap_or_default();
        for part in [&self.source, &self.kind, &self.state, &self.code, place, &self.text] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        let mut first = [0; 8];
        first.copy_from_slice(&digest.finalize()[..8]);
        CauseId(i64::from_be_bytes(first) & i64::MAX)
    }
}

fn waiting(why: WaitReason) -> (&'static str, &'static str) {
    match why {
        WaitReason::Throttled => ("THROTTLED", "the quota of e-RS is used up"),
        WaitReason::Locked => ("LOCKED", "somebody else is changing the record in e-RS"),
        WaitReason::Unavailable => {
            ("UNAVAILABLE", "e-RS, or what stands behind it, did not answer or said that it is down")
        }
        WaitReason::NoToken => ("NO_TOKEN", "the token server gave no token"),
        WaitReason::BreakerOpen => ("BREAKER_OPEN", "e-RS failed several times in a row and is given a rest"),
        WaitReason::Planned => ("PLANNED", "its plan asks no sooner"),
        WaitReason::Paused => ("PAUSED", "a service that it is for is paused"),
    }
}

/// `OBX-5.5` for `OBX(2)-5.5`, `/letters/*/title` for `/letters/3/title`: the same in whichever repetition.
fn without_ordinals(place: &str) -> String {
    if place.starts_with('/') {
        let part = |part| if is_number(part) { "*" } else { part };
        return place.split('/').map(part).collect::<Vec<_>>().join("/");
    }
    let mut shown = String::with_capacity(place.len());
    let mut rest = place;
    while let Some(at) = rest.find(['(', '[']) {
        let close = if rest[at..].starts_with('(') { ')' } else { ']' };
        match rest[at + 1..].find(close) {
            Some(length) if is_number(&rest[at + 1..at + 1 + length]) => {
                shown.push_str(&rest[..at]);
                rest = &rest[at + length + 2..];
            }
            _ => {
                shown.push_str(&rest[..=at]);
                rest = &rest[at + 1..];
            }
        }
    }
    shown + rest
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The text without what tells one record from another: `…` for identifiers and long numbers. What stands between backticks
/// is a name or a code that was found harmless; only what may be an NHS number or a UBRN is left out of it.
fn of_no_record(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, part) in text.split('`').enumerate() {
        if at > 0 {
            shown.push('`');
        }
        let is_code = at % 2 == 1;
        let mut word = String::new();
        for c in part.chars() {
            if c.is_ascii_alphanumeric() || c == '-' || c == ':' {
                word.push(c);
                continue;
            }
            push_word(&mut shown, &word, is_code);
            word.clear();
            shown.push(c);
        }
        push_word(&mut shown, &word, is_code);
    }
    shown
}

fn push_word(shown: &mut String, word: &str, is_code: bool) {
    // What ends a sentence, or begins a list, is no part of the identifier.
    let bare = word.trim_end_matches([':', '-']);
    let digits = bare.bytes().filter(u8::is_ascii_digit).count();
    let of_a_record = match is_code {
        true => digits == bare.len() && matches!(digits, 10 | 12),
        false => longest_number(bare) >= DIGITS_OF_A_RECORD || is_identifier(bare) || is_instant(bare),
    };
    shown.push_str(if of_a_record { "…" } else { bare });
    shown.push_str(&word[bare.len()..]);
}

fn longest_number(word: &str) -> usize {
    word.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0)
}

/// Of the form of a UUID.
fn is_identifier(word: &str) -> bool {
    word.len() == 36 && word.bytes().filter(|byte| *byte == b'-').count() == 4
}

fn is_instant(word: &str) -> bool {
    word.len() > 10 && word.as_bytes()[4] == b'-' && word.as_bytes()[10] == b'T'
}

/// What has one cause, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub cause: Cause,
    /// Messages that are refused, or commands that do not get on.
    pub count: u64,
    /// When the oldest of them came to it, and the newest.
    pub first: Timestamp,
    pub last: Timestamp,
    /// The newest few.
    pub examples: Vec<ProblemExample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemExample {
    pub message: MessageId,
    pub command: Option<CommandId>,
}

#[derive(Clone, Debug, Default)]
pub struct ProblemFilter {
    pub source: Option<String>,
    /// Only that one.
    pub cause: Option<CauseId>,
    /// Only those that somebody came to at or after this.
    pub since: Option<Timestamp>,
    pub max: usize,
}

/// Examples of one problem.
pub(super) const EXAMPLES: i64 = 3;

/// What a person has to see to first: the most severe, then the many.
pub(super) fn in_order(problems: &mut [Problem]) {
    let severity = |state: &str| match state {
        "in_doubt" => 0,
        "unauthorised" => 1,
        "failed" => 2,
        "rejected" => 3,
        _ => 4,
    };
    problems.sort_by(|one, other| {
        let key = |problem: &Problem| (severity(&problem.cause.state), u64::MAX - problem.count, problem.cause.id);
        key(one).cmp(&key(other))
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::command::Failure;

    #[test]
    fn a_cause_names_no_record() {
        for (text, shown) in [
            ("priority code `4` has no row in mappings/codes/northmoor/priority.csv", None),
            ("specialty code `12345678` has no row in mappings/codes/northmoor/x.csv", None),
            ("code `9990000018` has no row", Some("code `…` has no row")),
            (
                "command 0199f2c4-7a31-7000-8000-0123456789ab makes the same referral",
                Some("command … makes the same referral"),
            ),
            ("UBRN 000049973145: it is closed", Some("UBRN …: it is closed")),
            ("expired at 2026-03-16T09:30:00Z, look", Some("expired at …, look")),
            ("e-RS refused a field (A011, 422)", None),
        ] {
            assert_eq!(of_no_record(text), shown.unwrap_or(text));
        }
    }

    #[test]
    fn the_place_is_the_same_in_whichever_repetition() {
        for (place, shown) in [
            ("PID-3.1", "PID-3.1"),
            ("OBX(2)-5.5", "OBX-5.5"),
            ("PID-3(2).1", "PID-3.1"),
            ("/letters/3/title", "/letters/*/title"),
            ("Bundle.entry[1].resource.identifier[0].value", "Bundle.entry.resource.identifier.value"),
            ("Bundle.where(x)", "Bundle.where(x)"),
        ] {
            assert_eq!(without_ordinals(place), shown);
        }
    }

    #[test]
    fn the_same_reason_has_the_same_number_and_another_has_another() {
        let failed = |code: &str, text: &str| State::Failed { why: Failure { code: code.into(), text: text.into() } };
        let of = |source, name, state: &State| Cause::of_command(source, name, state).expect("a cause").id;
        let one = of("northmoor", "CreateReferral", &failed("MAPPING", "look at 123456"));
        assert_eq!(one, of("northmoor", "CreateReferral", &failed("MAPPING", "look at 654321")));
        for other in [
            of("eastvale", "CreateReferral", &failed("MAPPING", "look at 123456")),
            of("northmoor", "AttachLetters", &failed("MAPPING", "look at 123456")),
            of("northmoor", "CreateReferral", &failed("EXPIRED", "look at 123456")),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(one.to_string().parse(), Ok(one));
        assert!("12".parse::<CauseId>().is_err());
        assert_eq!(Cause::of_command("northmoor", "CreateReferral", &State::Completed), None);
    }

    #[test]
    fn a_refused_message_has_a_cause_for_each_problem_once() {
        let problem = |place: &str| json!({ "location": place, "code": 103, "text": "priority code `4` has no row" });
        let causes = Cause::of_message("northmoor", &json!([problem("RF1-2"), problem("RF1(2)-2"), problem("PRD-1")]));
        assert_eq!(causes.len(), 2);
        assert_eq!((causes[0].code.as_str(), causes[0].place.as_deref()), ("103", Some("RF1-2")));
        assert_eq!(Cause::of_message("northmoor", &Value::Null).len(), 1, "it is counted in any case");
    }
}
