//! Acknowledgements: MSH, MSA and ERR in the shape of the sender's version (`reference.md` sections 3 and 5).
//!
//! Enters: the header of the message answered, a code, every problem found. Leaves: the bytes of the answer
//! in the sender's charset and delimiters. Guarantees: MSA-2 is MSH-10 byte for byte; no value of the message
//! other than its header is repeated.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use encoding_rs::Encoding;
use jiff::Zoned;

use super::charset::{answer_label, encode_or_question_mark, provisional};
use super::{Delimiters, Header, Phase, Version, escape, timestamp};

/// MSA-3 holds 80 characters up to v2.6.
const MSA_TEXT_MAX: usize = 80;

/// MSA-1, table 0008.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckCode {
    AA,
    AE,
    AR,
    CA,
    CE,
    CR,
}

impl AckCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AA => "AA",
            Self::AE => "AE",
            Self::AR => "AR",
            Self::CA => "CA",
            Self::CE => "CE",
            Self::CR => "CR",
        }
    }

    pub fn parse(raw: &[u8]) -> Option<Self> {
        [Self::AA, Self::AE, Self::AR, Self::CA, Self::CE, Self::CR]
            .into_iter()
            .find(|code| code.as_str().as_bytes() == raw)
    }

    pub fn is_positive(self) -> bool {
        matches!(self, Self::AA | Self::CA)
    }

    /// No problem: accepted. A problem that refuses the message as such (2xx, or delimiters that cannot be
    /// read): rejected. Else an error.
    pub fn of(errors: &[AckError], phase: Phase) -> Self {
        let rejected = errors.iter().any(AckError::rejects);
        match (phase, errors.is_empty(), rejected) {
            (Phase::Application, true, _) => Self::AA,
            (Phase::Application, false, false) => Self::AE,
            (Phase::Application, false, true) => Self::AR,
            (Phase::Commit, true, _) => Self::CA,
            (Phase::Commit, false, false) => Self::CE,
            (Phase::Commit, false, true) => Self::CR,
        }
    }
}

impl fmt::Display for AckCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a problem is: ELD up to v2.4, ERL from v2.5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorLocation {
    pub segment: Cow<'static, str>,
    /// 1 for the first segment of that name.
    pub ordinal: u16,
    pub field: Option<u16>,
    pub repetition: Option<u16>,
    pub component: Option<u16>,
    pub subcomponent: Option<u16>,
}

impl ErrorLocation {
    pub fn segment(name: impl Into<Cow<'static, str>>) -> Self {
        Self { segment: name.into(), ordinal: 1, field: None, repetition: None, component: None, subcomponent: None }
    }

    pub fn field(name: impl Into<Cow<'static, str>>, field: u16) -> Self {
        Self { field: Some(field), ..Self::segment(name) }
    }
}

/// One problem to tell the sender. The text never carries a value of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckError {
    /// `None`: the whole message.
    pub location: Option<ErrorLocation>,
    /// HL7 table 0357.
    pub code: u16,
    pub text: String,
}

impl AckError {
    fn rejects(&self) -> bool {
        let header = |at: &ErrorLocation| at.segment == "MSH" && matches!(at.field, Some(1 | 2));
        self.code >= 200 || self.location.as_ref().is_some_and(header)
    }
}

/// Table 0357.
fn code_text(code: u16) -> &'static str {
    match code {
        0 => "Message accepted",
        100 => "Segment sequence error",
        101 => "Required field missing",
        102 => "Data type error",
        103 => "Table value not found",
        104 => "Value too long",
        200 => "Unsupported message type",
        201 => "Unsupported event code",
        202 => "Unsupported processing id",
        203 => "Unsupported version id",
        204 => "Unknown key identifier",
        205 => "Duplicate key identifier",
        206 => "Application record locked",
        _ => "Application internal error",
    }
}

/// What makes one answer different from every other.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// MSH-7, written with its offset.
    pub at: Zoned,
    /// MSH-10 of the answer: at most 20 characters up to v2.6, letters, digits and hyphens.
    pub control_id: String,
    /// MSA-4: the sequence number that comes next, -1 if none is known; absent without the sequence protocol.
    pub expected: Option<i64>,
    /// MSH-15 asks for a commit answer: a later answer, on a connection of our own, is a message of ours.
    pub wants_commit: bool,
}

/// An ACK message. `encoding` is that of the message answered.
pub fn acknowledge(
    header: &Header<'_>,
    code: AckCode,
    errors: &[AckError],
    stamp: &Stamp,
    encoding: &'static Encoding,
) -> Bytes {
    let mut answer = Writer::answering(header, encoding);
    answer.header(header, Reply::Acknowledgement, stamp);
    answer.msa(header, code, errors, stamp);
    if answer.version >= Version::V2_5 {
        for error in errors {
            answer.err(error);
        }
    } else if !errors.is_empty() {
        answer.err_list(errors);
    }
    answer.bytes.into()
}

/// MSH and MSA of an application answer with a type of its own (`RRI^I12^RRI_I12`), each ended by CR. Its
/// other segments follow in the same charset and delimiters.
pub fn reply_head(
    header: &Header<'_>,
    message_type: [&str; 3],
    code: AckCode,
    errors: &[AckError],
    stamp: &Stamp,
    encoding: &'static Encoding,
) -> Vec<u8> {
    let mut answer = Writer::answering(header, encoding);
    answer.header(header, Reply::Typed(message_type), stamp);
    answer.msa(header, code, errors, stamp);
    answer.bytes
}

enum Reply<'a> {
    Acknowledgement,
    Typed([&'a str; 3]),
}

struct Writer {
    bytes: Vec<u8>,
    delimiters: Delimiters,
    version: Version,
    encoding: &'static Encoding,
}

impl Writer {
    fn answering(header: &Header<'_>, encoding: &'static Encoding) -> Self {
        let delimiters = header.delimiters().unwrap_or(Delimiters::STANDARD);
        Self { bytes: Vec::with_capacity(256), delimiters, version: header.answer_version(), encoding }
    }

    fn header(&mut self, header: &Header<'_>, reply: Reply<'_>, stamp: &Stamp) {
        let Delimiters { field, component, .. } = self.delimiters;
        self.bytes.extend_from_slice(b"MSH");
        self.bytes.push(field);
        self.bytes.extend_from_slice(&self.delimiters.encoding_characters());
        for number in [5, 6, 3, 4] {
            self.echo(header, number);
        }
        self.literal(&timestamp::format(&stamp.at));
        self.literal("");
        match reply {
            Reply::Acknowledgement => {
                self.literal("ACK");
                let trigger = header.component(9, 2);
                if self.version > Version::V2_3 && !trigger.is_empty() && header.delimiters().is_ok() {
                    self.bytes.push(component);
                    self.bytes.extend_from_slice(trigger);
                    self.bytes.push(component);
                    self.bytes.extend_from_slice(b"ACK");
                }
            }
            Reply::Typed([kind, trigger, structure]) => {
                self.literal(kind);
                self.bytes.push(component);
                self.bytes.extend_from_slice(trigger.as_bytes());
                if self.version > Version::V2_3 {
                    self.bytes.push(component);
                    self.bytes.extend_from_slice(structure.as_bytes());
                }
            }
        }
        self.text(&stamp.control_id);
        self.echo(header, 11);
        self.literal(self.version.as_str());
        let label = provisional(header.component(18, 1));
        let label = answer_label(&label);
        let (accept, application) = if stamp.wants_commit { ("AL", "NE") } else { ("", "") };
        // MSH-13 to MSH-18.
        let rest = ["", "", accept, application, "", label];
        let written = rest.iter().rposition(|field| !field.is_empty()).map_or(0, |last| last + 1);
        for field in &rest[..written] {
            self.text(field);
        }
        self.bytes.push(b'\r');
    }

    fn msa(&mut self, header: &Header<'_>, code: AckCode, errors: &[AckError], stamp: &Stamp) {
        self.bytes.extend_from_slice(b"MSA");
        self.literal(code.as_str());
        self.echo(header, 10);
        // Withdrawn in v2.7, but up to then the only text that many senders show.
        if self.version <= Version::V2_6 {
            self.text(&msa_text(errors));
        }
        if let Some(expected) = stamp.expected {
            if self.version > Version::V2_6 {
                self.literal("");
            }
            self.literal(&expected.to_string());
        }
        self.bytes.push(b'\r');
    }

    /// ERR from v2.5: one segment a problem.
    fn err(&mut self, error: &AckError) {
        self.bytes.extend_from_slice(b"ERR");
        self.literal("");
        self.literal("");
        self.location(error.location.as_ref(), &[Part::Repetition, Part::Component, Part::Subcomponent]);
        let separator = char::from(self.delimiters.component);
        self.literal(&format!("{1}{0}{2}{0}HL70357", separator, error.code, code_text(error.code)));
        self.literal("E");
        self.literal("");
        self.literal("");
        self.literal("");
        self.text(&error.text);
        self.bytes.push(b'\r');
    }

    /// ERR up to v2.4: one segment, in which ERR-1 repeats.
    fn err_list(&mut self, errors: &[AckError]) {
        self.bytes.extend_from_slice(b"ERR");
        let Delimiters { component, repetition, subcomponent, .. } = self.delimiters;
        for (at, error) in errors.iter().enumerate() {
            if at == 0 {
                self.literal("");
            } else {
                self.bytes.push(repetition);
            }
            let written = self.location(error.location.as_ref(), &[]);
            for _ in written..4 {
                self.bytes.push(component);
            }
            let separator = char::from(subcomponent);
            let code = format!("{1}{0}{2}{0}HL70357{0}{0}", separator, error.code, code_text(error.code));
            self.bytes.extend_from_slice(code.as_bytes());
            self.escaped(&error.text);
        }
        self.bytes.push(b'\r');
    }

    /// Segment, sequence, field, then the given parts; empty ones at the end are left out. Returns how many
    /// components were written, at least one.
    fn location(&mut self, location: Option<&ErrorLocation>, further: &[Part]) -> usize {
        let Some(location) = location else { return 1 };
        let mut parts = vec![Some(location.ordinal), location.field];
        parts.extend(further.iter().map(|part| match part {
            // A component is always one of a repetition.
            Part::Repetition => location.repetition.or(location.component.map(|_| 1)),
            Part::Component => location.component,
            Part::Subcomponent => location.subcomponent,
        }));
        while parts.last().is_some_and(Option::is_none) {
            parts.pop();
        }
        self.escaped(&location.segment);
        for part in &parts {
            self.bytes.push(self.delimiters.component);
            if let Some(number) = part {
                self.bytes.extend_from_slice(number.to_string().as_bytes());
            }
        }
        parts.len() + 1
    }

    /// A field of the sender, byte for byte. Only if the sender's delimiters could not be used, and its MSH-1
    /// with them, what would now end the field is escaped.
    fn echo(&mut self, header: &Header<'_>, number: usize) {
        let Delimiters { field, escape, .. } = self.delimiters;
        self.bytes.push(field);
        for byte in header.field(number) {
            if *byte == field {
                self.bytes.extend_from_slice(&[escape, b'F', escape]);
            } else {
                self.bytes.push(*byte);
            }
        }
    }

    /// A field of our own that needs no escaping.
    fn literal(&mut self, text: &str) {
        self.bytes.push(self.delimiters.field);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn text(&mut self, text: &str) {
        self.bytes.push(self.delimiters.field);
        self.escaped(text);
    }

    fn escaped(&mut self, text: &str) {
        let escaped = escape(text, &self.delimiters);
        self.bytes.extend_from_slice(&encode_or_question_mark(&escaped, self.encoding));
    }
}

enum Part {
    Repetition,
    Component,
    Subcomponent,
}

fn msa_text(errors: &[AckError]) -> String {
    let Some(first) = errors.first() else { return "Message stored".to_owned() };
    let more = if errors.len() > 1 { format!(" (and {} more)", errors.len() - 1) } else { String::new() };
    let room = MSA_TEXT_MAX - more.len();
    let mut text = first.text.clone();
    if text.chars().count() > room {
        text = text.chars().take(room - 3).collect::<String>() + "...";
    }
    text + &more
}

#[cfg(test)]
mod tests;
