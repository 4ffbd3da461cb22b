//! Batches: `[FHS] {[BHS] {messages} [BTS]} [FTS]` (`reference.md` section 8).
//!
//! Enters: the bytes of one. Leaves: where each message is, every problem with the whole, and the bytes of the
//! reply batch. Guarantees: each byte belongs to a header, a trailer or one message; if a count is wrong or a
//! trailer is missing, nothing of the batch may be taken.

use std::ops::Range;

use bytes::Bytes;
use memchr::memchr2;

use super::acknowledgement::{AckError, ErrorLocation, acknowledge};
use super::{AckCode, Delimiters, Header, Stamp, timestamp};

/// Messages in one batch.
const MESSAGES_MAX: usize = 10_000;

/// A batch, or a file of batches, and where its messages are.
#[derive(Clone, Debug, Default)]
pub struct Batch<'a> {
    file: Option<Header<'a>>,
    groups: Vec<Group<'a>>,
    first_message: Option<Header<'a>>,
    problems: Vec<AckError>,
}

/// What BHS and BTS enclose.
#[derive(Clone, Debug, Default)]
struct Group<'a> {
    header: Option<Header<'a>>,
    messages: Vec<Range<usize>>,
}

impl<'a> Batch<'a> {
    /// Whether the bytes are a batch and not a message.
    pub fn starts(bytes: &[u8]) -> bool {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
        bytes.starts_with(b"FHS") || bytes.starts_with(b"BHS")
    }

    pub fn split(bytes: &'a [u8]) -> Self {
        let mut reader = Reader { batch: Self::default(), message: None, in_batch: false, over: false };
        for (at, line) in lines(bytes) {
            if !reader.line(at, line) {
                break;
            }
        }
        reader.end(bytes.len());
        reader.batch
    }

    /// Why the whole is refused; empty if it is not.
    pub fn problems(&self) -> &[AckError] {
        &self.problems
    }

    /// Byte ranges of the messages, in order.
    pub fn messages(&self) -> impl Iterator<Item = Range<usize>> {
        self.groups.iter().flat_map(|group| group.messages.iter().cloned())
    }

    /// The reply batch: one answer for each message, in order (`None` where its sender wants none), in batches
    /// and a file like those received, with BHS-11 and FHS-11 echoed in BHS-12 and FHS-12.
    pub fn reply(&self, answers: &[Option<Bytes>], stamp: &Stamp) -> Bytes {
        let mut answers = answers.iter();
        let groups = self.groups.iter().map(|group| {
            let answers = answers.by_ref().take(group.messages.len()).flatten().map(Bytes::as_ref).collect();
            (group.header.as_ref(), answers)
        });
        self.write(groups.collect(), stamp)
    }

    /// The answer to a batch that is refused as a whole: one AE (or AR) that names every problem, in a batch.
    pub fn refusal(&self, stamp: &Stamp) -> Bytes {
        let group = self.groups.iter().find_map(|group| group.header.as_ref());
        let Some(header) = group.or(self.file.as_ref()) else { return Bytes::new() };
        let code = AckCode::of(&self.problems, super::Phase::Application);
        let as_message = header.as_message_header(self.first_message.as_ref());
        let answer = acknowledge(&as_message, code, &self.problems, stamp, encoding_rs::UTF_8);
        self.write(vec![(group, vec![&answer])], stamp)
    }

    fn write(&self, groups: Vec<(Option<&Header<'a>>, Vec<&[u8]>)>, stamp: &Stamp) -> Bytes {
        let mut bytes = Vec::new();
        let count = groups.len();
        if let Some(file) = &self.file {
            write_header(&mut bytes, b"FHS", file, stamp, &stamp.control_id);
        }
        for (number, (header, answers)) in groups.into_iter().enumerate() {
            if let Some(header) = header {
                let control_id = format!("{}-{}", stamp.control_id, number + 1);
                write_header(&mut bytes, b"BHS", header, stamp, &control_id);
            }
            for answer in &answers {
                bytes.extend_from_slice(answer);
            }
            if let Some(header) = header {
                write_trailer(&mut bytes, b"BTS", header, answers.len());
            }
        }
        if let Some(file) = &self.file {
            write_trailer(&mut bytes, b"FTS", file, count);
        }
        bytes.into()
    }
}

struct Reader<'a> {
    batch: Batch<'a>,
    /// Where the message begins that has not ended yet.
    message: Option<usize>,
    /// The last group has a BHS and no BTS yet.
    in_batch: bool,
    /// FTS was read.
    over: bool,
}

impl<'a> Reader<'a> {
    /// False if there is no point in reading on.
    fn line(&mut self, at: usize, line: &'a [u8]) -> bool {
        if self.over {
            self.problem("FTS", None, 100, "nothing may follow FTS");
            return false;
        }
        match line.get(..3) {
            Some(b"FHS") => self.file_header(line),
            Some(b"BHS") => self.batch_header(at, line),
            Some(b"MSH") => return self.message_header(at, line),
            Some(b"BTS") => self.batch_trailer(at, line),
            Some(b"FTS") => self.file_trailer(at, line),
            _ if self.message.is_some() => {}
            _ => {
                self.problem("BHS", None, 100, "only messages may stand between BHS and BTS");
                return false;
            }
        }
        true
    }

    fn file_header(&mut self, line: &'a [u8]) {
        if self.batch.file.is_some() || !self.batch.groups.is_empty() {
            return self.problem("FHS", None, 100, "FHS must be the first segment, and the only one of its name");
        }
        self.batch.file = self.header(line, "FHS");
    }

    fn batch_header(&mut self, at: usize, line: &'a [u8]) {
        self.end_batch(at);
        let header = self.header(line, "BHS");
        self.batch.groups.push(Group { header, messages: Vec::new() });
        self.in_batch = true;
    }

    fn message_header(&mut self, at: usize, line: &'a [u8]) -> bool {
        self.end_message(at);
        let in_group = self.in_batch || self.batch.groups.last().is_some_and(|group| group.header.is_none());
        if !in_group {
            // A file may hold messages without BHS and BTS around them.
            self.batch.groups.push(Group::default());
        }
        if self.batch.first_message.is_none() {
            self.batch.first_message = Header::scan(line).ok();
        }
        self.message = Some(at);
        let messages: usize = self.batch.groups.iter().map(|group| group.messages.len()).sum();
        if messages == MESSAGES_MAX {
            self.problem("MSH", None, 100, "more than 10000 messages in a batch");
        }
        messages < MESSAGES_MAX
    }

    fn batch_trailer(&mut self, at: usize, line: &[u8]) {
        self.end_message(at);
        if !self.in_batch {
            return self.problem("BTS", None, 100, "BTS without BHS");
        }
        let messages = self.batch.groups.last().map_or(0, |group| group.messages.len());
        self.check_count("BTS", line, messages);
        self.in_batch = false;
    }

    fn file_trailer(&mut self, at: usize, line: &[u8]) {
        self.end_batch(at);
        if self.batch.file.is_none() {
            return self.problem("FTS", None, 100, "FTS without FHS");
        }
        self.check_count("FTS", line, self.batch.groups.len());
        self.over = true;
    }

    fn end(&mut self, at: usize) {
        self.end_batch(at);
        if self.batch.file.is_some() && !self.over {
            self.problem("FTS", None, 100, "FTS is missing: the file may be cut short");
        }
    }

    fn end_batch(&mut self, at: usize) {
        self.end_message(at);
        if self.in_batch {
            self.problem("BTS", None, 100, "BTS is missing: the batch may be cut short");
            self.in_batch = false;
        }
    }

    fn end_message(&mut self, at: usize) {
        if let (Some(start), Some(group)) = (self.message.take(), self.batch.groups.last_mut()) {
            group.messages.push(start..at);
        }
    }

    /// BTS-1 or FTS-1; empty and 0 say nothing.
    fn check_count(&mut self, name: &'static str, line: &[u8], counted: usize) {
        let said = line
            .get(3)
            .map_or(&line[3..], |separator| line[4..].split(|byte| byte == separator).next().unwrap_or_default());
        let said = std::str::from_utf8(said.trim_ascii()).unwrap_or("?");
        let agrees = said.is_empty() || said.parse().is_ok_and(|said: usize| said == 0 || said == counted);
        if !agrees {
            self.problem(name, Some(1), 102, "the count does not match");
        }
    }

    fn header(&mut self, line: &'a [u8], name: &'static str) -> Option<Header<'a>> {
        let header = line.first_chunk::<3>().and_then(|name| Header::of_segment(line, name))?;
        if let Err(error) = header.delimiters() {
            let text = error.to_string().replace("MSH", name);
            self.problem(name, Some(error.field()), 102, &text);
        }
        Some(header)
    }

    fn problem(&mut self, segment: &'static str, field: Option<u16>, code: u16, text: &str) {
        let ordinal = match segment {
            "BHS" | "BTS" => u16::try_from(self.batch.groups.len().max(1)).unwrap_or(u16::MAX),
            _ => 1,
        };
        let location = ErrorLocation { ordinal, field, ..ErrorLocation::segment(segment) };
        self.batch.problems.push(AckError { location: Some(location), code, text: text.to_owned() });
    }
}

/// Lines that are not blank, with their offset.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    std::iter::from_fn(move || {
        let start = at;
        let rest = bytes.get(start..).filter(|rest| !rest.is_empty())?;
        let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        at = start + end + 1;
        Some((start, &rest[..end]))
    })
    .filter(|(_, line)| !line.trim_ascii().is_empty())
}

fn write_header(bytes: &mut Vec<u8>, name: &[u8; 3], sent: &Header<'_>, stamp: &Stamp, control_id: &str) {
    let delimiters = sent.delimiters().unwrap_or(Delimiters::STANDARD);
    bytes.extend_from_slice(name);
    let mut field = |content: &[u8]| {
        bytes.push(delimiters.field);
        bytes.extend_from_slice(content);
    };
    field(&delimiters.encoding_characters());
    for number in [5, 6, 3, 4] {
        field(sent.field(number));
    }
    field(timestamp::format(&stamp.at).as_bytes());
    for _ in 8..11 {
        field(b"");
    }
    field(control_id.as_bytes());
    field(sent.field(11));
    bytes.push(b'\r');
}

fn write_trailer(bytes: &mut Vec<u8>, name: &[u8; 3], sent: &Header<'_>, count: usize) {
    let delimiters = sent.delimiters().unwrap_or(Delimiters::STANDARD);
    bytes.extend_from_slice(name);
    bytes.push(delimiters.field);
    bytes.extend_from_slice(count.to_string().as_bytes());
    bytes.push(b'\r');
}

#[cfg(test)]
mod tests;
