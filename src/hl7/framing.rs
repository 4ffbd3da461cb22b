//! MLLP release 1 frames: `0x0B` message `0x1C 0x0D` (`reference.md` 6.1).
//!
//! A message in UTF-16 has bytes in it that look like block characters, so its frame ends at the end block and carriage
//! return together, where a code unit may begin.
//!
//! Enters: bytes in whatever pieces the network makes of them. Leaves: messages, without a copy. Guarantees:
//! the frames do not depend on the pieces; two frames are never joined; every byte is looked at once; no more
//! than one frame of the allowed size is kept.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use memchr::{memchr, memchr2};
use thiserror::Error;

use super::charset::utf16;

const START_BLOCK: u8 = 0x0b;
const END_BLOCK: u8 = 0x1c;
const CARRIAGE_RETURN: u8 = b'\r';

#[derive(Debug, Error)]
pub enum FramingError {
    /// The connection cannot be used any more: where the next frame starts is not known.
    #[error("a frame is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("a message must not contain the block characters 0x0B and 0x1C")]
    BlockCharacter,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What was thrown away so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discarded {
    /// Outside of frames.
    pub bytes: u64,
    /// Frames cut short: by another start block, or by the end of the stream.
    pub frames: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Outside,
    /// Between start block and end block; so many bytes of the buffer are known to hold neither.
    Inside {
        searched: usize,
    },
    /// Behind an end block, where a carriage return belongs.
    Behind,
}

/// Finds frames. A frame ends at the end block, whether or not the carriage return follows: a sender that
/// leaves it out waits for its answer, so it cannot be waited for.
#[derive(Debug)]
pub struct Decoder {
    place: Place,
    frame_bytes_max: usize,
    discarded: Discarded,
}

impl Decoder {
    /// `frame_bytes_max` counts what is between the block characters.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { place: Place::Outside, frame_bytes_max, discarded: Discarded::default() }
    }

    pub fn discarded(&self) -> Discarded {
        self.discarded
    }

    /// A frame has begun and not yet ended.
    pub fn is_inside(&self) -> bool {
        matches!(self.place, Place::Inside { .. })
    }

    fn discard(&mut self, buffer: &mut BytesMut, length: usize) {
        buffer.advance(length);
        self.discarded.bytes += length as u64;
    }
}

impl tokio_util::codec::Decoder for Decoder {
    type Item = Bytes;
    type Error = FramingError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        loop {
            match self.place {
                Place::Behind => {
                    let Some(&next) = buffer.first() else { return Ok(None) };
                    if next == CARRIAGE_RETURN {
                        buffer.advance(1);
                    }
                    self.place = Place::Outside;
                }
                Place::Outside => {
                    let Some(start) = memchr(START_BLOCK, buffer) else {
                        self.discard(buffer, buffer.len());
                        return Ok(None);
                    };
                    self.discard(buffer, start);
                    buffer.advance(1);
                    self.place = Place::Inside { searched: 0 };
                }
                Place::Inside { searched } => {
                    let is_wide = utf16(buffer).is_some();
                    let found = match is_wide {
                        true => end_of_utf16(buffer, searched),
                        false => memchr2(START_BLOCK, END_BLOCK, &buffer[searched..]).map(|at| searched + at),
                    };
                    let length = found.unwrap_or(buffer.len());
                    let restarts = !is_wide && found.is_some_and(|at| buffer[at] == START_BLOCK);
                    if length > self.frame_bytes_max && !restarts {
                        return Err(FramingError::TooLarge { limit: self.frame_bytes_max });
                    }
                    let Some(at) = found else {
                        // Of UTF-16 the end may be half there.
                        self.place = Place::Inside { searched: if is_wide { length & !1 } else { length } };
                        return Ok(None);
                    };
                    if restarts {
                        self.discarded.frames += 1;
                        buffer.advance(at + 1);
                        self.place = Place::Inside { searched: 0 };
                        continue;
                    }
                    let frame = buffer.split_to(at).freeze();
                    buffer.advance(1);
                    self.place = Place::Behind;
                    return Ok(Some(frame));
                }
            }
        }
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        let frame = self.decode(buffer)?;
        if frame.is_none() && self.is_inside() {
            self.discarded.frames += 1;
            self.place = Place::Outside;
            buffer.clear();
        }
        Ok(frame)
    }
}

/// Where the end block and carriage return stand in the place of a code unit.
fn end_of_utf16(bytes: &[u8], from: usize) -> Option<usize> {
    let even = from & !1;
    let units = bytes.get(even..)?.chunks_exact(2);
    units.into_iter().position(|unit| unit == [END_BLOCK, CARRIAGE_RETURN]).map(|unit| even + 2 * unit)
}

/// Writes frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Encoder;

impl<M: AsRef<[u8]>> tokio_util::codec::Encoder<M> for Encoder {
    type Error = FramingError;

    fn encode(&mut self, message: M, buffer: &mut BytesMut) -> Result<(), FramingError> {
        let message = message.as_ref();
        if memchr2(START_BLOCK, END_BLOCK, message).is_some() {
            return Err(FramingError::BlockCharacter);
        }
        buffer.reserve(message.len() + 3);
        buffer.put_u8(START_BLOCK);
        buffer.put_slice(message);
        buffer.put_slice(&[END_BLOCK, CARRIAGE_RETURN]);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
