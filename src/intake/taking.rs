//! One HL7 v2 message of a known source: its number, its pieces, its content, in this order.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::admission::{Decision, Received};
use super::answer::Answer;
use super::hl7v2::{Subject, kind_of};
use super::numbering::Numbered;
use super::reading::Reading;
use super::sources::KnownSource;
use super::wire::Wire;
use super::{Inbound, Intake, continuation};
use crate::hl7::continuation::Piece;
use crate::hl7::{AnswersWanted, Header};
use crate::mapping::ThreadNames;
use crate::store::{HeldPiece, StoreError};

impl Intake {
    /// A message of a known source: its number, its pieces, its content, in this order.
    pub(super) async fn take(
        &self,
        inbound: &Inbound,
        source: &KnownSource,
        header: &Header<'_>,
        wire: &Wire,
        http_charset: Option<&str>,
    ) -> Result<Answer, StoreError> {
        let numbered = self.numbered(source, header).await?;
        let mut received = Received {
            inbound,
            source,
            raw: wire.raw.clone(),
            sha256: Sha256::digest(&wire.raw).into(),
            charset: wire.stored_name().unwrap_or(encoding_rs::UTF_8.name()),
            control_id: header.known_control_id(),
            kind: kind_of(header),
            places: BTreeMap::new(),
            expected: numbered.expected(),
        };
        let shape = header.problems(&source.config.processing_ids);
        // Of a header that cannot be read nothing more is asked.
        let piece = if shape.is_empty() { Piece::of(header, &wire.text) } else { Piece::NONE };
        let mut refusal = numbered.problem();
        // Taken before: whatever is said of it today, it is a resend.
        let is_resend = (refusal.is_some() || piece.follows.is_some()) && self.was_taken(&received).await?;
        if is_resend && matches!(numbered, Numbered::Before { .. }) {
            refusal = None;
        }
        let mut whole = Cow::Borrowed(wire);
        let mut pieces = Vec::new();
        if let (None, Some(follows)) = (&refusal, piece.follows) {
            match (piece.goes_on, self.joined(source, header, follows, wire).await?) {
                (None, Ok(joined)) => {
                    received.raw = joined.wire.raw.clone();
                    (whole, pieces) = (Cow::Owned(joined.wire), joined.pieces);
                }
                // The last piece joins them all again.
                (Some(_), Ok(_)) => {}
                (_, Err(problem)) => refusal = Some(problem),
            }
        }
        let (decision, encoding) = if let Some(problem) = refusal {
            // Once what is missing has come, the same message is a new one.
            received.control_id = received.control_id.filter(|_| is_resend);
            (Decision::Refuse(vec![problem]), encoding_rs::UTF_8)
        } else if matches!(numbered, Numbered::Opens { .. }) {
            received.control_id = None;
            let (name, thread) = ("LinkOpened".to_owned(), ThreadNames::default());
            (Decision::Notice { name, thread, merged: Vec::new() }, encoding_rs::UTF_8)
        } else if piece.goes_on.is_some() {
            (Decision::Hold, encoding_rs::UTF_8)
        } else {
            let Reading { decision, encoding, charset, .. } = self.read(source, header, &whole, http_charset);
            received.charset = charset;
            (decision, encoding)
        };
        let held = matches!(decision, Decision::Hold).then(|| continuation::held(source, &piece)).flatten();
        let subject = Subject { header, wire: &whole, wanted: AnswersWanted::of(header), http_charset };
        let answer = self.store_all(received, &subject, encoding, decision).await?;
        // Remembered before the answer leaves: without it the sender comes again.
        if let (Some((source, pointer)), Some(message)) = (held, answer.message) {
            self.store.hold_piece(HeldPiece { source, pointer, message, at: self.environment.now() }).await?;
        }
        if !pieces.is_empty() {
            self.store.let_go_of_pieces(pieces).await?;
        }
        if let Numbered::InTurn { known, number } = numbered {
            let now = self.environment.now();
            self.store.expect_number(&source.config.name, known, number + 1, now).await?;
        }
        Ok(answer)
    }
}
