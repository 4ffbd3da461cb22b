//! Canonical commands as JSON through the door (HTTP, AMQP): checked against the same schema, letters given
//! inline as base64 turned into handles on the stored message.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::admission::{Decision, Received, key_reused};
use super::answer::{Answer, Outcome};
use super::keeping::Kept;
use super::{Inbound, Intake};
use crate::command::NhsNumber;
use crate::mapping::{
    Declared, LETTERS_MAX, LetterContent, Location, Problem, ThreadNames, inspect_base64, letter, make_names_differ,
};

const DATA_TYPE_ERROR: u16 = 102;
/// Members of commands that are lists of letters.
const LETTERS: [&str; 2] = ["letters", "guidanceLetters"];
/// Longer than the name of any command.
const NAME_CHARS_MAX: usize = 100;

impl Intake {
    pub(super) async fn receive_command(
        &self,
        inbound: &Inbound,
        name: &str,
        bytes: Bytes,
        key: Option<String>,
    ) -> Answer {
        let Some(source) = inbound.source.as_ref().and_then(|name| self.sources.named(name)) else {
            return Answer::bare(
                Outcome::UnknownSource,
                vec![Problem::new(Location::Message, 207, "no configured source: name one that the gateway knows")],
            );
        };
        if bytes.len() > source.config.message_bytes_max {
            let text = format!("the command is larger than {} bytes", source.config.message_bytes_max);
            return Answer::bare(Outcome::TooLarge, vec![Problem::new(Location::Message, 104, text)]);
        }
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => return unreadable(format!("not UTF-8 at byte {}", error.valid_up_to())),
        };
        let body: Value = match serde_json::from_str(text) {
            Ok(body) => body,
            Err(error) => return unreadable(format!("not JSON at line {} column {}", error.line(), error.column())),
        };
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        let decision = self.check_command(&name, text, body);
        let received = Received {
            inbound,
            source,
            sha256: Sha256::digest(&bytes).into(),
            raw: bytes.clone(),
            charset: encoding_rs::UTF_8.name(),
            control_id: key,
            // Any other name may be anything.
            kind: if self.mappings.current().schemas().knows(&name) { name } else { "unknown command".to_owned() },
            places: BTreeMap::new(),
            expected: None,
        };
        match self.keep(&received, decision).await {
            Ok(Kept::Answered(answer)) => answer,
            Ok(Kept::KeyReused { earlier, mut problems }) => {
                problems.push(key_reused(Location::Message));
                Answer { message: Some(earlier), ..Answer::bare(Outcome::Rejected, problems) }
            }
            Err(error) => {
                tracing::error!(source = %source.config.name, %error, "a command could not be stored and was not accepted");
                Answer::bare(Outcome::Unavailable, Vec::new())
            }
        }
    }

    pub(super) fn check_command(&self, name: &str, text: &str, mut body: Value) -> Decision {
        let set = self.mappings.current();
        let mut problems: Vec<Problem> =
            LETTERS.iter().flat_map(|member| inline_letters(text, &mut body, member)).collect();
        let letters_told = !problems.is_empty();
        let number = body.pointer("/patient/nhsNumber").and_then(Value::as_str);
        if let Some(Err(error)) = number.map(NhsNumber::parse) {
            let location = Location::Json("/patient/nhsNumber".into());
            problems.push(Problem::new(location, DATA_TYPE_ERROR, format!("Data type error, {error}")));
        }
        for violation in set.schemas().violations(name, &body) {
            // Letters that could not be read are not what the schema describes.
            if letters_told && LETTERS.iter().any(|member| violation.pointer.starts_with(&format!("/{member}"))) {
                continue;
            }
            let code = match violation.keyword.as_str() {
                "required" | "minItems" => 101,
                "enum" | "const" => 103,
                "maxLength" | "maxItems" => 104,
                _ => DATA_TYPE_ERROR,
            };
            let at = if violation.pointer.is_empty() { "the command" } else { &violation.pointer };
            let text = format!("{at} {}", violation.text);
            problems.push(Problem::new(Location::Json(violation.pointer.clone()), code, text));
        }
        if !problems.is_empty() {
            return Decision::Refuse(problems);
        }
        let member = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let thread = ThreadNames {
            local_id: member("localId"),
            ubrn: member("ubrn"),
            document: member("documentId"),
            replaces: member("replaces"),
            appointment: member("placerAppointment"),
        };
        Decision::Command {
            name: name.to_owned(),
            thread,
            body,
            documents: Vec::new(),
            mapping_set: set.digest().to_owned(),
        }
    }
}

fn unreadable(text: String) -> Answer {
    Answer::bare(Outcome::Unreadable, vec![Problem::new(Location::Message, DATA_TYPE_ERROR, text)])
}

/// Letters come as `{fileName, contentType?, description?, base64}` and become handles: where in the stored
/// JSON the base64 stands, its decoded size and digest. What is not base64, or what e-RS would not take, is a problem.
fn inline_letters(text: &str, body: &mut Value, list: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(letters) = body.get_mut(list).and_then(Value::as_array_mut) else { return problems };
    if letters.len() > LETTERS_MAX {
        let text = format!("Value too long: more than {LETTERS_MAX} letters in one command");
        return vec![Problem::new(Location::Json(format!("/{list}")), 104, text)];
    }
    let mut search_from = 0;
    let mut handles = Vec::new();
    for (index, given) in letters.iter().enumerate() {
        let at = |member: &str| Location::Json(format!("/{list}/{index}{member}"));
        let Some(base64) = given.get("base64").and_then(Value::as_str) else {
            problems.push(Problem::new(at("/base64"), 101, format!("/{list}/{index}/base64 is required")));
            continue;
        };
        // The text of a base64 string needs no JSON escapes but for `\/`, which is refused: then it stands
        // in the message exactly as it is here.
        let Some(offset) = text[search_from..].find(&format!("\"{base64}\"")).map(|found| search_from + found + 1)
        else {
            let text = format!("/{list}/{index}/base64 must be written without JSON escapes");
            problems.push(Problem::new(at("/base64"), DATA_TYPE_ERROR, text));
            continue;
        };
        search_from = offset + base64.len();
        let member = |name: &str| given.get(name).and_then(Value::as_str);
        let types: Vec<&str> = member("contentType").into_iter().collect();
        let declared = Declared {
            name: member("fileName").unwrap_or_default(),
            description: member("description"),
            types: &types,
        };
        let content = LetterContent::Message { base64: vec![(offset as u64, base64.len() as u64)] };
        match inspect_base64([base64], b'\\').and_then(|inspected| letter(inspected, declared, content)) {
            Ok(mut handle) => {
                handle.indexed = member("indexed").map(str::to_owned);
                handles.push(handle);
            }
            Err(problem) => problems.push(Problem::new(at("/base64"), problem.code, problem.text)),
        }
    }
    if problems.is_empty() {
        make_names_differ(&mut handles);
        *letters = handles.iter().map(|handle| serde_json::to_value(handle).unwrap_or_default()).collect();
    }
    problems
}
