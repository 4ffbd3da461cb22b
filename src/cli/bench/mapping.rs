//! What it costs to make a command of a message, without store and sockets.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Map;

use super::super::exit::CliError;
use super::Scale;
use super::figure::Figure;
use super::frames::Frame;
use crate::hl7::{Declared, Header, Message, Undecodable, charset};
use crate::mapping::{Kind, MappingSet};

const TARGET_MICROSECONDS: f64 = 100.0;
/// Times are taken of so many messages together.
const ROUND: u32 = 100;

pub(super) fn measure(scale: &Scale) -> Result<Vec<Figure>, CliError> {
    let set =
        MappingSet::built_in().map_err(|_| CliError::Unavailable("the built-in mapping set is broken".to_owned()))?;
    let dialect = set.dialect("eastvale").ok_or_else(|| CliError::Unavailable("no dialect eastvale".to_owned()))?;
    let message = Bytes::copy_from_slice(Frame::referral().message());
    let settings = Map::new();
    let make_command = || {
        let header = Header::scan(&message).ok()?;
        let charsets = header.charsets();
        let declared = Declared { http: None, msh18: &charsets, source: encoding_rs::WINDOWS_1252 };
        let decoded = charset::decode(&message, declared, Undecodable::Refuse).ok()?;
        let parsed = Message::parse(&decoded.text).ok()?;
        match set.normalise(dialect, &parsed, decoded.encoding, &settings, None).kind {
            Kind::Command(draft) => Some(draft),
            _ => None,
        }
    };
    let began = Instant::now();
    let mut rounds: Vec<Duration> = Vec::new();
    while began.elapsed() < scale.measured / 2 || rounds.is_empty() {
        let round = Instant::now();
        for _ in 0..ROUND {
            if std::hint::black_box(make_command()).is_none() {
                return Err(CliError::No("the message of the benchmark was refused".to_owned()));
            }
        }
        rounds.push(round.elapsed() / ROUND);
    }
    rounds.sort_unstable();
    let median = rounds[rounds.len() / 2].as_secs_f64() * 1e6;
    Ok(vec![
        Figure::new("mapping and validation, one core", median, "µs")
            .less_than(TARGET_MICROSECONDS)
            .limited_by("one processor; median, store and sockets left out"),
    ])
}
