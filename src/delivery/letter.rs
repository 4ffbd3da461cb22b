//! Letters on their way out: from the store to e-RS in pieces, never whole in memory.
//!
//! Enters: a handle. Leaves: a body of known length. Guarantees: what leaves is what was admitted: size and
//! SHA-256 are checked on the way, and the last piece is held back until they agree, so that e-RS never
//! takes a damaged letter for a whole one.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use encoding_rs::Decoder;
use futures_util::stream;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::base64_text::Base64Text;
use crate::command::MessageId;
use crate::ers::Body;
use crate::hl7::charset::stored_text;
use crate::mapping::{Letter, LetterContent};
use crate::store::{ContentStore, StoreError};

/// Read from the store at a time.
const PIECE_BYTES: u64 = 64 * 1024;
/// The delimiters of an HL7 v2 message are in its first bytes: `MSH|^~\&`.
const ESCAPE_AT: usize = 6;
/// Enough for them, a byte order mark included, in UTF-16.
const HEAD_BYTES: u64 = 2 * (ESCAPE_AT as u64 + 2);

/// Why a letter could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LetterError {
    #[error("the letter cannot be read now: {0}")]
    Unavailable(String),
    #[error("the stored letter is not what was admitted: {0}")]
    Damaged(&'static str),
}

impl From<StoreError> for LetterError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) => Self::Unavailable(why),
            StoreError::NotFound => Self::Damaged("its message is not in the store"),
            StoreError::Outdated(_) | StoreError::Damaged(_) | StoreError::Locked(_) => {
                Self::Damaged("the store cannot read it")
            }
        }
    }
}

/// Says after the sending whether the letter, and not the network, was at fault.
#[derive(Clone, Default)]
pub(super) struct LetterFault(Arc<Mutex<Option<LetterError>>>);

impl LetterFault {
    pub(super) fn get(&self) -> Option<LetterError> {
        self.0.lock().clone()
    }
}

/// Opens a letter for sending. `charset` is that of the message.
pub(super) async fn open(
    store: Arc<dyn ContentStore>,
    message: MessageId,
    charset: &str,
    letter: &Letter,
) -> Result<(Body, LetterFault), LetterError> {
    let source = match &letter.content {
        LetterContent::Document { number } => Source::Document { number: *number, at: 0 },
        LetterContent::Message { base64 } => {
            let head = store.read_message(message, 0..HEAD_BYTES).await?;
            let head = match stored_text(charset).filter(|encoding| !encoding.is_ascii_compatible()) {
                Some(encoding) => encoding.decode_without_bom_handling(&head).0.into_owned().into_bytes().into(),
                None => head,
            };
            let head = head.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&head);
            let escape = head.get(ESCAPE_AT).copied().filter(|_| head.starts_with(b"MSH")).unwrap_or(b'\\');
            let ranges = base64.iter().map(|(start, length)| (*start, start.saturating_add(*length))).collect();
            let text = match stored_text(charset) {
                None => Text::Raw,
                Some(encoding) => Text::Decoded {
                    decoder: Box::new(encoding.new_decoder_without_bom_handling()),
                    raw_at: 0,
                    text_at: 0,
                },
            };
            Source::Message { ranges, text, base64: Base64Text::new(escape) }
        }
    };
    let fault = LetterFault::default();
    let reader = Reader {
        store,
        message,
        source,
        digest: Sha256::new(),
        read: 0,
        held_back: None,
        expected_bytes: letter.bytes,
        expected_sha256: letter.sha256.clone(),
    };
    let stream = stream::try_unfold((reader, fault.clone()), |(mut reader, fault)| async move {
        match reader.next().await {
            Ok(piece) => Ok(piece.map(|piece| (piece, (reader, fault)))),
            Err(error) => {
                let io = std::io::Error::other(error.to_string());
                *fault.0.lock() = Some(error);
                Err(io)
            }
        }
    });
    Ok((Body::Stream { length: letter.bytes, stream: Box::pin(stream) }, fault))
}

enum Source {
    Document {
        number: u32,
        at: u64,
    },
    /// Start and end of each range in the message's text.
    Message {
        ranges: VecDeque<(u64, u64)>,
        text: Text,
        base64: Base64Text,
    },
}

/// The message's text, in which the ranges are counted.
enum Text {
    /// The raw bytes are UTF-8.
    Raw,
    /// The raw bytes are decoded from the first on; only what lies in a range is kept.
    Decoded { decoder: Box<Decoder>, raw_at: u64, text_at: u64 },
}

struct Reader {
    store: Arc<dyn ContentStore>,
    message: MessageId,
    source: Source,
    digest: Sha256,
    read: u64,
    held_back: Option<Bytes>,
    expected_bytes: u64,
    expected_sha256: String,
}

impl Reader {
    /// The next piece to send; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, LetterError> {
        loop {
            match self.decode_some().await? {
                Some(piece) if piece.is_empty() => {}
                Some(piece) => {
                    self.digest.update(&piece);
                    self.read += piece.len() as u64;
                    if self.read > self.expected_bytes {
                        return Err(LetterError::Damaged("it is longer"));
                    }
                    if let Some(ready) = self.held_back.replace(piece) {
                        return Ok(Some(ready));
                    }
                }
                None => {
                    let Some(last) = self.held_back.take() else { return Ok(None) };
                    if self.read != self.expected_bytes {
                        return Err(LetterError::Damaged("it is shorter"));
                    }
                    let digest = format!("{:x}", self.digest.clone().finalize());
                    if !digest.eq_ignore_ascii_case(&self.expected_sha256) {
                        return Err(LetterError::Damaged("its SHA-256 differs"));
                    }
                    return Ok(Some(last));
                }
            }
        }
    }

    /// Bytes of the letter; perhaps none yet. `None` at its end.
    async fn decode_some(&mut self) -> Result<Option<Bytes>, LetterError> {
        match &mut self.source {
            Source::Document { number, at } => {
                let piece = self.store.read_document(self.message, *number, *at..*at + PIECE_BYTES).await?;
                *at += piece.len() as u64;
                Ok((!piece.is_empty()).then_some(piece))
            }
            Source::Message { ranges, text, base64 } => {
                let mut decoded = Vec::new();
                let not_base64 = |_| LetterError::Damaged("it is not base64");
                match next_text(&*self.store, self.message, ranges, text).await? {
                    Some(piece) => base64.push(&piece, &mut decoded).map_err(not_base64)?,
                    None => {
                        base64.finish(&mut decoded).map_err(not_base64)?;
                        if decoded.is_empty() {
                            return Ok(None);
                        }
                    }
                }
                Ok(Some(decoded.into()))
            }
        }
    }
}

/// Text from within the ranges; perhaps none yet. `None` when all of them are read.
async fn next_text(
    store: &dyn ContentStore,
    message: MessageId,
    ranges: &mut VecDeque<(u64, u64)>,
    text: &mut Text,
) -> Result<Option<Bytes>, LetterError> {
    let cut_short = LetterError::Damaged("its message is shorter");
    match text {
        Text::Raw => {
            let Some((start, end)) = ranges.front_mut() else { return Ok(None) };
            if start >= end {
                ranges.pop_front();
                return Ok(Some(Bytes::new()));
            }
            let piece = store.read_message(message, *start..(*end).min(*start + PIECE_BYTES)).await?;
            if piece.is_empty() {
                return Err(cut_short);
            }
            *start += piece.len() as u64;
            Ok(Some(piece))
        }
        Text::Decoded { decoder, raw_at, text_at } => {
            while ranges.front().is_some_and(|(start, end)| *text_at >= *end || start >= end) {
                ranges.pop_front();
            }
            if ranges.is_empty() {
                return Ok(None);
            }
            let raw = store.read_message(message, *raw_at..*raw_at + PIECE_BYTES).await?;
            if raw.is_empty() {
                return Err(cut_short);
            }
            *raw_at += raw.len() as u64;
            let room = decoder.max_utf8_buffer_length(raw.len()).unwrap_or(raw.len() * 3);
            let mut piece = String::with_capacity(room);
            let _ = decoder.decode_to_string(&raw, &mut piece, false);
            let (from, to) = (*text_at, *text_at + piece.len() as u64);
            *text_at = to;
            let mut inside = Vec::new();
            for (start, end) in ranges.iter().take_while(|(start, _)| *start < to) {
                let first = usize::try_from(start.saturating_sub(from)).unwrap_or(usize::MAX);
                let last = usize::try_from(end.min(&to) - from).unwrap_or(usize::MAX);
                inside.extend_from_slice(piece.as_bytes().get(first..last).unwrap_or_default());
            }
            Ok(Some(inside.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use async_trait::async_trait;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use futures_util::StreamExt as _;
    use proptest::prelude::*;

    use super::*;
    use crate::store::Result as StoreResult;

    struct OneMessage {
        raw: Vec<u8>,
        document: Vec<u8>,
        largest_read: Mutex<u64>,
    }

    impl OneMessage {
        fn cut(&self, bytes: &[u8], range: Range<u64>) -> Bytes {
            let mut largest = self.largest_read.lock();
            *largest = (*largest).max(range.end - range.start);
            let end = range.end.min(bytes.len() as u64) as usize;
            Bytes::copy_from_slice(&bytes[(range.start as usize).min(end)..end])
        }
    }

    #[async_trait]
    impl ContentStore for OneMessage {
        async fn read_message(&self, _: MessageId, range: Range<u64>) -> StoreResult<Bytes> {
            Ok(self.cut(&self.raw, range))
        }
        async fn read_document(&self, _: MessageId, number: u32, range: Range<u64>) -> StoreResult<Bytes> {
            if number == 1 { Ok(self.cut(&self.document, range)) } else { Err(StoreError::NotFound) }
        }
    }

    fn handle(bytes: &[u8], content: LetterContent) -> Letter {
        Letter {
            file_name: "letter.pdf".into(),
            content_type: "application/pdf".into(),
            description: None,
            indexed: None,
            bytes: bytes.len() as u64,
            sha256: format!("{:x}", Sha256::digest(bytes)),
            content,
        }
    }

    fn message_id() -> MessageId {
        MessageId(uuid::Uuid::nil())
    }

    async fn read(store: OneMessage, charset: &str, letter: &Letter) -> Result<Vec<u8>, LetterError> {
        let (body, fault) = open(Arc::new(store), message_id(), charset, letter).await?;
        let Body::Stream { length, mut stream } = body else { panic!("a letter is streamed") };
        assert_eq!(length, letter.bytes);
        let mut all = Vec::new();
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => all.extend_from_slice(&piece),
                Err(_) => {
                    assert!((all.len() as u64) < letter.bytes, "a damaged letter must not leave whole");
                    return Err(fault.get().expect("the fault says why"));
                }
            }
        }
        Ok(all)
    }

    /// A message with the letter's base64 cut over two OBX, with text in `filler` around it.
    fn message(letter: &[u8], filler: &str, encode: impl Fn(&str) -> Vec<u8>) -> (OneMessage, LetterContent) {
        let base64 = STANDARD.encode(letter);
        let (first, second) = base64.split_at(base64.len() / 3);
        let mut text = format!("MSH|^~\\&|{filler}\rOBX|1|ED|||^^^Base64^");
        let mut ranges = Vec::new();
        for part in [first, second] {
            ranges.push((text.len() as u64, part.len() as u64));
            text.push_str(part);
            text.push_str(&format!("\rOBX|2|ED|{filler}|"));
        }
        let store = OneMessage { raw: encode(&text), document: Vec::new(), largest_read: Mutex::new(0) };
        (store, LetterContent::Message { base64: ranges })
    }

    fn utf8(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    fn windows_1252(text: &str) -> Vec<u8> {
        encoding_rs::WINDOWS_1252.encode(text).0.into_owned()
    }

    #[tokio::test]
    async fn a_letter_of_5_mb_leaves_in_small_pieces() {
        let letter: Vec<u8> = (0..5_242_880u32).map(|n| (n % 251) as u8).collect();
        let (store, content) = message(&letter, "Zoë", utf8);
        let handle = handle(&letter, content);
        let store = Arc::new(store);
        let (body, _) = open(store.clone(), message_id(), "UTF-8", &handle).await.expect("opened");
        let Body::Stream { mut stream, .. } = body else { panic!("a letter is streamed") };
        let mut digest = Sha256::new();
        while let Some(piece) = stream.next().await {
            let piece = piece.expect("readable");
            assert!(piece.len() as u64 <= PIECE_BYTES);
            digest.update(&piece);
        }
        assert_eq!(format!("{:x}", digest.finalize()), handle.sha256);
        assert!(*store.largest_read.lock() <= PIECE_BYTES);
    }

    #[tokio::test]
    async fn a_letter_is_found_behind_characters_that_were_replaced() {
        use crate::hl7::charset::{Declared, Undecodable, decode};
        let letter = b"%PDF-1.4 synthetic".repeat(40);
        let (mut store, content) = message(&letter, "Zo\u{FFFD}", utf8);
        // What is U+FFFD in the text was one byte that is no UTF-8.
        store.raw = String::from_utf8(store.raw)
            .expect("made of text")
            .split('\u{FFFD}')
            .map(str::as_bytes)
            .collect::<Vec<_>>()
            .join(&0xEB);
        let unicode = [std::borrow::Cow::Borrowed("UNICODE UTF-8")];
        let declared = Declared { http: None, msh18: &unicode, source: encoding_rs::WINDOWS_1252 };
        let raw = store.raw.clone();
        let decoded = decode(&raw, declared, Undecodable::Replace).expect("replaced");
        assert_eq!(read(store, decoded.stored_name(), &handle(&letter, content)).await, Ok(letter));
    }

    #[tokio::test]
    async fn a_document_is_sent_as_it_is() {
        let text = "Dear colleague,\nZoë was seen today.".repeat(5_000).into_bytes();
        let store = OneMessage { raw: Vec::new(), document: text.clone(), largest_read: Mutex::new(0) };
        let letter = handle(&text, LetterContent::Document { number: 1 });
        assert_eq!(read(store, "UTF-8", &letter).await, Ok(text));
    }

    #[tokio::test]
    async fn a_letter_that_is_not_what_was_admitted_never_leaves_whole() {
        let letter: Vec<u8> = (0..200_000u32).map(|n| (n % 253) as u8).collect();
        let spoil = |change: &dyn Fn(&mut Letter)| {
            let (store, content) = message(&letter, "x", utf8);
            let mut handle = handle(&letter, content);
            change(&mut handle);
            (store, handle)
        };
        for (change, why) in [
            (&(|l: &mut Letter| l.sha256 = "00".repeat(32)) as &dyn Fn(&mut Letter), "its SHA-256 differs"),
            (&|l: &mut Letter| l.bytes += 1, "it is shorter"),
            (&|l: &mut Letter| l.bytes -= 1, "it is longer"),
            (&|l: &mut Letter| l.content = LetterContent::Message { base64: vec![(0, 40)] }, "it is not base64"),
            (
                &|l: &mut Letter| l.content = LetterContent::Message { base64: vec![(1 << 40, 40)] },
                "its message is shorter",
            ),
            (&|l: &mut Letter| l.content = LetterContent::Document { number: 7 }, "its message is not in the store"),
        ] {
            let (store, handle) = spoil(change);
            assert_eq!(read(store, "UTF-8", &handle).await, Err(LetterError::Damaged(why)), "{why}");
        }
    }

    proptest! {
        #[test]
        fn offsets_count_in_the_text_whatever_the_charset(
            letter in proptest::collection::vec(any::<u8>(), 1..90_000),
            filler in "[a-zA-Zéëäß€ ]{0,40}",
            decoded: bool,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let (charset, encode): (_, fn(&str) -> Vec<u8>) =
                if decoded { ("windows-1252", windows_1252) } else { ("UTF-8", utf8) };
            let (store, content) = message(&letter, &filler, encode);
            let handle = handle(&letter, content);
            prop_assert_eq!(runtime.block_on(read(store, charset, &handle)), Ok(letter));
        }
    }
}
