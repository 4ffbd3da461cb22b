//! Characters: MSH-18 (table 0211), the Content-Type's charset, and what senders do instead.
//!
//! Enters: the bytes of one message and what is said about their charset. Leaves: text and the encoding it
//! had, or the problem. Guarantees: no byte is replaced or lost unless the source asked for replacement;
//! ASCII and UTF-8 are not copied.

use std::borrow::Cow;

use encoding_rs::{
    BIG5, DecoderResult, EUC_KR, Encoding, GB18030, ISO_2022_JP, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252,
};
use memchr::{memchr, memchr_iter, memrchr2};
use thiserror::Error;

use super::{AckError, ErrorLocation, Header};

/// What is said about a message's charset, strongest first.
#[derive(Clone, Copy, Debug)]
pub struct Declared<'a> {
    /// `charset` of the Content-Type: overrides MSH-18 (HL7 over HTTP).
    pub http: Option<&'a str>,
    /// MSH-18 as sent; repetitions as [`super::Header::charsets`] gives them.
    pub msh18: &'a [Cow<'a, str>],
    /// For messages that declare nothing, or ASCII, and are not UTF-8.
    pub source: &'static Encoding,
}

/// What to do with bytes that are no text in the declared charset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecodable {
    Refuse,
    /// Each becomes U+FFFD.
    Replace,
}

#[derive(Clone, Debug)]
pub struct Decoded<'a> {
    /// Borrowed exactly if the bytes of the text are the bytes of the message, so that offsets agree.
    pub text: Cow<'a, str>,
    pub encoding: &'static Encoding,
    /// The bytes were UTF-8 although something else was declared. Read as UTF-8; worth a warning.
    pub mislabelled: bool,
    /// Some bytes became U+FFFD.
    pub replaced: bool,
}

impl Decoded<'_> {
    /// The name under which the message is kept, by which [`stored_text`] finds its text again.
    pub fn stored_name(&self) -> &'static str {
        match (self.is_identical(), self.encoding == UTF_8) {
            (true, _) => UTF_8.name(),
            (false, true) => UTF_8_REPLACED,
            (false, false) => self.encoding.name(),
        }
    }

    /// Byte offsets of the text are byte offsets of the message.
    pub fn is_identical(&self) -> bool {
        matches!(self.text, Cow::Borrowed(_))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CharsetError {
    #[error("the charset in MSH-18 is not one of table 0211 that is supported")]
    UnknownMsh18,
    #[error("the charset in the Content-Type is not supported")]
    UnknownHttp,
    #[error("UTF-32, or UTF-16 that cannot be told from it, is not supported; send UTF-8 with MSH-18 UNICODE UTF-8")]
    Wide,
    #[error("code extension to the further charsets of MSH-18 is not supported; send UTF-8 with MSH-18 UNICODE UTF-8")]
    CodeExtension,
    #[error("the text is not valid {} at byte {position}", encoding.name())]
    Undecodable { encoding: &'static Encoding, position: usize },
}

impl CharsetError {
    /// As the sender is told. `message` is what could not be decoded.
    pub fn to_ack_error(&self, header: &Header<'_>, message: &[u8]) -> AckError {
        let (location, code) = match self {
            Self::UnknownMsh18 | Self::Wide | Self::CodeExtension => (Some(ErrorLocation::field("MSH", 18)), 103),
            Self::UnknownHttp => (None, 103),
            Self::Undecodable { position, .. } => (locate(header, message, *position), 102),
        };
        AckError { location, code, text: self.to_string() }
    }
}

/// The segment and field that hold a byte of a message that is not text yet.
fn locate(header: &Header<'_>, message: &[u8], position: usize) -> Option<ErrorLocation> {
    let before = message.get(..position)?;
    let start = memrchr2(b'\r', b'\n', before).map_or(0, |end| end + 1);
    let name = message.get(start..start + 3).filter(|name| name.iter().all(u8::is_ascii_alphanumeric))?;
    let same_name = |line: &&[u8]| line.starts_with(name);
    let earlier = message[..start].split(|byte| matches!(byte, b'\r' | b'\n')).filter(same_name).count();
    let separators = memchr_iter(*header.field(1).first()?, &before[start..]).count();
    let is_header = usize::from(name == b"MSH");
    let field = separators + is_header;
    Some(ErrorLocation {
        ordinal: u16::try_from(earlier + 1).unwrap_or(u16::MAX),
        field: u16::try_from(field).ok().filter(|field| *field > 0),
        ..ErrorLocation::segment(String::from_utf8_lossy(name).into_owned())
    })
}

/// What a label means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charset {
    /// Empty, ASCII: UTF-8 if it is, else the source's default.
    Ascii,
    One(&'static Encoding),
    Wide,
}

impl Charset {
    /// Table 0211, then the labels of the WHATWG Encoding Standard (`UTF8`, `ISO-8859-1`, `CP1252` …).
    fn named(label: &str) -> Option<Self> {
        let label = label.trim().to_ascii_uppercase();
        let encoding = match label.as_str() {
            "" | "ASCII" | "US-ASCII" | "ISO IR6" | "ISO IR 6" | "ISO-IR-6" => return Some(Self::Ascii),
            "UNICODE" | "UNICODE UTF-16" | "UNICODE UTF-32" | "UTF-16" | "UTF-16LE" | "UTF-16BE" | "UTF-32" => {
                return Some(Self::Wide);
            }
            "UNICODE UTF-8" | "UNICODE UTF8" | "UNICODE-UTF8" | "UNICODE-UTF-8" => UTF_8,
            "GB 18030-2000" => GB18030,
            "BIG-5" => BIG5,
            "KS X 1001" => EUC_KR,
            "ISO IR87" | "JIS X 0202" => ISO_2022_JP,
            _ => match label.strip_prefix("8859/") {
                Some(part @ ("1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "15")) => {
                    Encoding::for_label(format!("iso-8859-{part}").as_bytes())?
                }
                Some(_) => return None,
                None => named_encoding(&label)?,
            },
        };
        Some(Self::One(encoding))
    }
}

/// The encoding with this WHATWG label, for the default of a source. UTF-16 and the pseudo-encodings are none.
pub fn named_encoding(label: &str) -> Option<&'static Encoding> {
    Encoding::for_label_no_replacement(label.as_bytes())
        .filter(|encoding| encoding.is_ascii_compatible() || *encoding == ISO_2022_JP)
        .filter(|encoding| encoding.name() != "x-user-defined")
}

/// UTF-8 of which some bytes became U+FFFD, so that the text is not the bytes.
const UTF_8_REPLACED: &str = "UTF-8, partly replaced";

/// How the bytes of a kept message become its text: not at all, or by this encoding.
pub fn stored_text(name: &str) -> Option<&'static Encoding> {
    if name == UTF_8_REPLACED {
        return Some(UTF_8);
    }
    Encoding::for_label(name.as_bytes()).filter(|encoding| *encoding != UTF_8)
}

/// The text of a message.
pub fn decode<'a>(
    bytes: &'a [u8],
    declared: Declared<'_>,
    undecodable: Undecodable,
) -> Result<Decoded<'a>, CharsetError> {
    if is_wide(bytes) {
        return Err(CharsetError::Wide);
    }
    let charset = match (declared.http, declared.msh18) {
        (Some(label), _) => Charset::named(label).ok_or(CharsetError::UnknownHttp)?,
        (None, []) => Charset::Ascii,
        (None, [first, further @ ..]) => {
            // The shift to a further charset is an escape sequence of ISO 2022.
            if further.iter().any(|label| !label.trim().is_empty()) && memchr(0x1b, bytes).is_some() {
                return Err(CharsetError::CodeExtension);
            }
            Charset::named(first).ok_or(CharsetError::UnknownMsh18)?
        }
    };
    let utf8 = std::str::from_utf8(bytes);
    let as_utf8 =
        |text, mislabelled| Decoded { text: Cow::Borrowed(text), encoding: UTF_8, mislabelled, replaced: false };
    match (charset, utf8) {
        (Charset::Ascii, Ok(text)) => Ok(as_utf8(text, false)),
        (Charset::Ascii, Err(_)) => decode_as(bytes, declared.source, undecodable),
        // A header that could be read byte by byte is not UTF-16, whatever it says.
        (Charset::Wide, Ok(text)) => Ok(as_utf8(text, true)),
        (Charset::Wide, Err(_)) => Err(CharsetError::Wide),
        // Text in a one-byte charset that happens to be UTF-8 with letters of several bytes was written as UTF-8.
        (Charset::One(encoding), Ok(text)) if encoding.is_single_byte() && !text.is_ascii() => Ok(as_utf8(text, true)),
        (Charset::One(encoding), _) => decode_as(bytes, encoding, undecodable),
    }
}

fn decode_as<'a>(
    bytes: &'a [u8],
    encoding: &'static Encoding,
    undecodable: Undecodable,
) -> Result<Decoded<'a>, CharsetError> {
    if let Some(text) = encoding.decode_without_bom_handling_and_without_replacement(bytes) {
        return Ok(Decoded { text, encoding, mislabelled: false, replaced: false });
    }
    match undecodable {
        Undecodable::Refuse => {
            Err(CharsetError::Undecodable { encoding, position: first_undecodable(bytes, encoding) })
        }
        Undecodable::Replace => {
            let (text, replaced) = encoding.decode_without_bom_handling(bytes);
            Ok(Decoded { text, encoding, mislabelled: false, replaced })
        }
    }
}

/// Byte offset of the first sequence that is no text in `encoding`.
fn first_undecodable(bytes: &[u8], encoding: &'static Encoding) -> usize {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = [0; 4096];
    let mut read = 0;
    loop {
        let (result, consumed, _) = decoder.decode_to_utf8_without_replacement(&bytes[read..], &mut text, true);
        read += consumed;
        match result {
            DecoderResult::Malformed(sequence, after) => {
                return read.saturating_sub(usize::from(sequence) + usize::from(after));
            }
            DecoderResult::OutputFull => {}
            DecoderResult::InputEmpty => return read,
        }
    }
}

/// The encoding of a message in UTF-16: by its byte order mark, or by the first two letters of `MSH` (`FHS`, `BHS`) with
/// zero bytes in between.
pub fn utf16(bytes: &[u8]) -> Option<&'static Encoding> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, ..] => None,
        [0xff, 0xfe, ..] | [b'M', 0, b'S', 0, ..] | [b'F' | b'B', 0, b'H', 0, ..] => Some(UTF_16LE),
        [0xfe, 0xff, ..] | [0, b'M', 0, b'S', ..] | [0, b'F' | b'B', 0, b'H', ..] => Some(UTF_16BE),
        _ => None,
    }
}

/// A message in UTF-16 as UTF-8, its byte order mark included, and where the first bytes are that are no text: each
/// of those became U+FFFD.
pub fn from_utf16(bytes: &[u8], encoding: &'static Encoding) -> (String, Option<usize>) {
    let (text, replaced) = encoding.decode_without_bom_handling(bytes);
    let broken = replaced.then(|| first_undecodable(bytes, encoding));
    (text.into_owned(), broken)
}

/// UTF-16 or UTF-32: a byte order mark, or `MSH` (`FHS`, `BHS`) with zero bytes in between.
pub(super) fn is_wide(bytes: &[u8]) -> bool {
    let marked = matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 0, 0xfe, 0xff, ..]);
    // The first letter of MSH, FHS or BHS.
    let (little, big) = (matches!(bytes, [b'M' | b'F' | b'B', 0, ..]), matches!(bytes, [0, b'M' | b'F' | b'B', ..]));
    marked || little || big || matches!(bytes, [0, 0, 0, b'M' | b'F' | b'B', ..])
}

/// The MSH-18 that an answer in `encoding` echoes: what the sender wrote if the answer can keep it, else the
/// name of what is written instead.
pub(super) fn answer_label(msh18: &str) -> &str {
    match Charset::named(msh18) {
        Some(Charset::Ascii | Charset::One(_)) => msh18.trim(),
        Some(Charset::Wide) => UTF_8_LABEL,
        None => "",
    }
}

const UTF_8_LABEL: &str = "UNICODE UTF-8";

/// Text for an answer whose header is made of bytes: what the charset lacks becomes `?`.
pub fn encode_or_question_mark<'a>(text: &'a str, encoding: &'static Encoding) -> Cow<'a, [u8]> {
    let (bytes, _, unmappable) = encoding.encode(text);
    if !unmappable {
        return bytes;
    }
    let known: String = text
        .chars()
        .map(|character| {
            let (_, _, unmappable) = encoding.encode(character.encode_utf8(&mut [0; 4]));
            if unmappable { '?' } else { character }
        })
        .collect();
    Cow::Owned(encoding.encode(&known).0.into_owned())
}

/// A whole reply in the sender's charset. If that lacks a letter, the reply is UTF-8 and its MSH-18 says so.
pub fn encode_reply<'a>(reply: &'a str, encoding: &'static Encoding) -> Cow<'a, [u8]> {
    let (bytes, _, unmappable) = encoding.encode(reply);
    if unmappable { Cow::Owned(with_charset(reply, UTF_8_LABEL).into_bytes()) } else { bytes }
}

/// `reply` with another MSH-18.
fn with_charset(reply: &str, label: &str) -> String {
    let Some(separator) = reply.get(3..).and_then(|rest| rest.chars().next()) else { return reply.to_owned() };
    let end = reply.find('\r').unwrap_or(reply.len());
    let mut fields: Vec<&str> = reply[..end].split(separator).collect();
    // The separator is MSH-1, so MSH-18 is the eighteenth piece.
    if fields.len() < 18 {
        fields.resize(18, "");
    }
    fields[17] = label;
    fields.join(separator.encode_utf8(&mut [0; 4])) + &reply[end..]
}

/// Bytes of a header before its charset is known: UTF-8 if they are, else one letter a byte.
pub(super) fn provisional(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

#[cfg(test)]
mod tests;
