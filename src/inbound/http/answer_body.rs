//! The body of an answer that notes when it was handed to the connection.
//!
//! Promise 6 keeps apart whether the sender got its acknowledgement. A handler that returns does not
//! know that; the last poll of the body, after its bytes were taken, is the nearest that HTTP offers.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;

use crate::command::MessageId;
use crate::environment::Environment;
use crate::intake::Receive;

pub struct AnswerBody {
    bytes: Option<Bytes>,
    acknowledges: Option<Acknowledges>,
}

/// The message whose sender this answer tells.
pub struct Acknowledges {
    pub message: MessageId,
    pub intake: Arc<dyn Receive>,
    pub environment: Environment,
}

impl AnswerBody {
    pub fn new(bytes: Bytes, acknowledges: Option<Acknowledges>) -> Self {
        Self { bytes: Some(bytes), acknowledges }
    }
}

impl MessageBody for AnswerBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if let Some(bytes) = self.bytes.take().filter(|bytes| !bytes.is_empty()) {
            return Poll::Ready(Some(Ok(bytes)));
        }
        if let Some(told) = self.acknowledges.take() {
            let Acknowledges { message, intake, environment } = told;
            environment.spawn(async move { intake.acknowledged(message).await });
        }
        Poll::Ready(None)
    }
}
