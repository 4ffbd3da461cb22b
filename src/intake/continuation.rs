//! Messages in pieces (`hl7/reference.md` section 8): each piece is stored and acknowledged alone, and all of them are one
//! message when the last has come.
//!
//! Enters: a piece. Leaves: the piece remembered, or the whole message. Guarantees: a piece is remembered before it is
//! acknowledged; the pieces are joined from the store, so it does not matter over which connection or after how many
//! restarts the next one comes; who waits in vain is told, as an event, when the time is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::SignedDuration;
use sha2::{Digest, Sha256};

use super::admission::{Decision, Received};
use super::hl7v2::kind_of;
use super::sources::KnownSource;
use super::wire::Wire;
use super::{Content, Inbound, Intake};
use crate::hl7::Header;
use crate::hl7::continuation::{Piece, join};
use crate::mapping::{Location, Problem};
use crate::store::{HeldPiece, MessageFilter, StoreError, Transport};

/// Pieces of one message.
const PIECES_MAX: usize = 100;
/// Of pieces whose time is over, told in one go.
const TOLD_AT_ONCE: usize = 100;
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY_MIN: Duration = Duration::from_millis(200);

const SEGMENT_SEQUENCE_ERROR: u16 = 100;
const DATA_TYPE_ERROR: u16 = 102;
const VALUE_TOO_LONG: u16 = 104;
const UNKNOWN_KEY_IDENTIFIER: u16 = 204;

/// A message made of pieces.
pub(super) struct Joined {
    pub wire: Wire,
    /// Those before the last.
    pub pieces: Vec<HeldPiece>,
}

pub(super) fn pointer_digest(pointer: &[u8]) -> [u8; 32] {
    Sha256::digest(pointer).into()
}

impl Intake {
    /// The pieces before `wire`, and with it the whole message. The inner error is for the sender.
    pub(super) async fn joined(
        &self,
        source: &KnownSource,
        header: &Header<'_>,
        follows: &[u8],
        wire: &Wire,
    ) -> Result<Result<Joined, Problem>, StoreError> {
        let limit = source.config.message_bytes_max;
        let mut texts = vec![wire.text.clone()];
        let mut pieces = Vec::new();
        let mut size = wire.text.len();
        let mut pointer = Some(pointer_digest(follows));
        while let Some(wanted) = pointer {
            let Some(piece) = self.piece_before(source, wanted).await? else { return Ok(Err(missing_piece())) };
            let raw = match self.store.read_message(piece.message, 0..limit as u64 + 1).await {
                Err(StoreError::NotFound) => return Ok(Err(missing_piece())),
                raw => raw?,
            };
            let text = Wire::of(raw).text;
            size += text.len();
            if size > limit || pieces.len() + 2 > PIECES_MAX {
                return Ok(Err(refusal(
                    VALUE_TOO_LONG,
                    format!("Value too long: a message has at most {PIECES_MAX} pieces and {limit} bytes in all"),
                )));
            }
            pointer = match Header::scan(&text) {
                Ok(earlier) if [1, 2, 9].iter().all(|field| earlier.field(*field) == header.field(*field)) => {
                    Some(earlier.field(14).trim_ascii()).filter(|field| !field.is_empty()).map(pointer_digest)
                }
                _ => {
                    let text = "Data type error: MSH-1, MSH-2 and MSH-9 must be the same in all pieces of a message";
                    return Ok(Err(refusal(DATA_TYPE_ERROR, text.into())));
                }
            };
            pieces.push(piece);
            texts.push(text);
        }
        texts.reverse();
        let joined = join(&texts.iter().map(Bytes::as_ref).collect::<Vec<_>>());
        Ok(Ok(Joined { wire: Wire::as_it_is(joined.into()), pieces }))
    }

    /// The piece that ended with this pointer, unless its time is over.
    pub(super) async fn piece_before(
        &self,
        source: &KnownSource,
        pointer: [u8; 32],
    ) -> Result<Option<HeldPiece>, StoreError> {
        let piece = self.store.held_piece(&source.config.name, pointer).await?;
        Ok(piece.filter(|piece| !self.is_over(source, piece)))
    }

    fn is_over(&self, source: &KnownSource, piece: &HeldPiece) -> bool {
        let wait = SignedDuration::try_from(source.config.continuation_wait).unwrap_or(SignedDuration::MAX);
        piece.at.checked_add(wait).is_ok_and(|end| end < self.environment.now())
    }

    /// A message with this control id was taken, so that one like it is a resend.
    pub(super) async fn was_taken(&self, received: &Received<'_>) -> Result<bool, StoreError> {
        let Some(control_id) = &received.control_id else { return Ok(false) };
        let filter = MessageFilter {
            source: Some(received.source.config.name.clone()),
            control_id: Some(control_id.clone()),
            max: 1,
            ..MessageFilter::default()
        };
        let found = self.store.messages(filter).await?;
        Ok(found.first().is_some_and(|message| message.verdict != crate::command::Verdict::Rejected))
    }

    /// Tells, until the listeners stop, of pieces that nothing followed in time.
    pub async fn watch_pieces(self: Arc<Self>) {
        let shortest = self.sources.all().map(|source| source.continuation_wait).min().unwrap_or(LOOK_EVERY_MAX);
        let every = (shortest / 2).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
        loop {
            tokio::select! {
                () = self.environment.sleep(every) => {}
                () = self.environment.shutdown().cancelled() => return,
            }
            if let Err(error) = self.tell_of_pieces().await {
                tracing::warn!(%error, "cannot see which pieces of messages wait in vain");
            }
        }
    }

    async fn tell_of_pieces(&self) -> Result<(), StoreError> {
        for piece in self.store.held_pieces(TOLD_AT_ONCE).await? {
            match self.sources.named(&piece.source) {
                Some(source) if !self.is_over(source, &piece) => {}
                Some(source) => self.tell_of_piece(&source.clone(), piece).await?,
                // Configured no more: nobody could send the rest.
                None => self.store.let_go_of_pieces(vec![piece]).await?,
            }
        }
        Ok(())
    }

    /// As a refused message, so that it is seen and can be replayed by hand; known by its control id, so that it is told
    /// once, whoever looks.
    async fn tell_of_piece(&self, source: &KnownSource, piece: HeldPiece) -> Result<(), StoreError> {
        let raw = match self.store.read_message(piece.message, 0..source.config.message_bytes_max as u64).await {
            Err(StoreError::NotFound) => return self.store.let_go_of_pieces(vec![piece]).await,
            raw => raw?,
        };
        let wire = Wire::of(raw.clone());
        let header = Header::scan(&wire.text).ok();
        let inbound = Inbound {
            source: Some(piece.source.clone()),
            transport: Transport::Replay,
            received_at: self.environment.now(),
            peer: None,
            content: Content::Hl7v2 { bytes: raw.clone(), charset: None },
        };
        let control_id = header.as_ref().and_then(Header::known_control_id).unwrap_or_default();
        let received = Received {
            inbound: &inbound,
            source,
            sha256: Sha256::digest(&raw).into(),
            raw,
            charset: wire.stored_name().unwrap_or(encoding_rs::UTF_8.name()),
            control_id: Some(format!("{control_id} (never continued, {})", piece.message)),
            kind: header.as_ref().map_or_else(|| "not HL7 v2".to_owned(), kind_of),
            places: BTreeMap::new(),
            expected: None,
        };
        let wait = source.config.continuation_wait.as_secs();
        let text = format!(
            "Segment sequence error: this piece of a message was stored as {}, and the rest did not come within {wait} s; \
             nothing of it was done, so all of it must be sent again",
            piece.message
        );
        let problem = Problem::new(Location::field("DSC", 1), SEGMENT_SEQUENCE_ERROR, text);
        tracing::warn!(message.id = %piece.message, source = %piece.source, "a message was never completed");
        self.admit(&received, self.prepare(&received, Decision::Refuse(vec![problem]))).await?;
        self.store.let_go_of_pieces(vec![piece]).await
    }
}

/// What a piece is before it is stored.
pub(super) fn held(source: &KnownSource, piece: &Piece<'_>) -> Option<(String, [u8; 32])> {
    piece.goes_on.map(|pointer| (source.config.name.clone(), pointer_digest(pointer)))
}

pub(super) fn missing_piece() -> Problem {
    refusal(
        UNKNOWN_KEY_IDENTIFIER,
        "Unknown key identifier: no piece with this continuation pointer waits; it was lost, or its time is over: send all \
         pieces again"
            .into(),
    )
}

fn refusal(code: u16, text: String) -> Problem {
    Problem::new(Location::field("MSH", 14), code, text)
}
