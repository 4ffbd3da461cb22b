use proptest::prelude::*;
use tokio_util::codec::{Decoder as _, Encoder as _};

use super::*;
use crate::hl7::samples::sample;

/// Feeds `pieces` one after the other; the frames, then what was discarded.
fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Discarded) {
    let mut decoder = Decoder::new(1 << 20);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(frame) = decoder.decode(&mut buffer).expect("within the limit") {
            frames.push(frame.to_vec());
        }
    }
    while let Some(frame) = decoder.decode_eof(&mut buffer).expect("within the limit") {
        frames.push(frame.to_vec());
    }
    (frames, decoder.discarded())
}

#[test]
fn frames_are_found_in_whatever_surrounds_them() {
    for (stream, frames, bytes, cut) in [
        (&b"\x0bMSH|1\r\x1c\r"[..], &["MSH|1\r"][..], 0, 0),
        (b"\x0bone\x1c\r\x0btwo\x1c\r", &["one", "two"], 0, 0), // two in one read are two
        (b"\x0bone\x1c\x0btwo\x1c", &["one", "two"], 0, 0),     // no carriage return behind the end block
        (b"\x0bone\x1c\r\n\x0btwo\x1c\r", &["one", "two"], 1, 0),
        (b"noise\x0bone\x1c\rnoise", &["one"], 10, 0),
        (b"\x0bone\x0btwo\x1c\r", &["two"], 0, 1), // never joined
        (b"\x0bone", &[], 0, 1),
        (b"\x1c\r\x1c\r\x0bone\x1c\r", &["one"], 4, 0),
        (b"\x0b\x1c\r", &[""], 0, 0),
        (b"GET / HTTP/1.1\r\n\r\n", &[], 18, 0),
        (b"", &[], 0, 0),
    ] {
        let expected: Vec<Vec<u8>> = frames.iter().map(|frame| frame.as_bytes().to_vec()).collect();
        let discarded = Discarded { bytes, frames: cut };
        assert_eq!(feed([stream]), (expected.clone(), discarded), "{stream:?}");
        assert_eq!(feed(stream.chunks(1)), (expected, discarded), "{stream:?} one byte at a time");
    }
}

#[test]
fn the_samples_of_raw_bytes_hold_the_frames_they_should() {
    for (number, control_ids, cut) in [
        ("60", &[][..], 1),
        ("61", &["E60", "E60"], 0),
        ("62", &["E60", "E60"], 0),
        ("63", &["E63A", "E63B"], 0),
        ("64", &["E64B"], 1),
        ("78", &[], 0),
    ] {
        let bytes = sample(number);
        let (frames, discarded) = feed(bytes.chunks(7));
        let found: Vec<_> =
            frames.iter().map(|frame| crate::hl7::Header::scan(frame).expect("MSH").control_id().to_vec()).collect();
        assert_eq!(found, control_ids.iter().map(|id| id.as_bytes().to_vec()).collect::<Vec<_>>(), "{number}");
        assert_eq!(discarded.frames, cut, "{number}");
    }
}

#[test]
fn bytes_of_utf16_that_look_like_block_characters_end_no_frame() {
    let utf16 = |text: &str, order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    // U+041C has 0x1C in it, U+0B1C both, U+1C0D the end block and carriage return at an odd place of LE.
    let text = "\u{feff}MSH|\u{041c}\u{0b1c}\u{0d0b}\u{001c}x|\r";
    for message in [utf16(text, u16::to_le_bytes), utf16(text, u16::to_be_bytes), utf16(&text[3..], u16::to_le_bytes)] {
        let stream = [b"\x0b", &message[..], b"\x1c\r\x0bMSH|1\r\x1c\r"].concat();
        let expected = vec![message, b"MSH|1\r".to_vec()];
        assert_eq!(feed([&stream[..]]), (expected.clone(), Discarded::default()));
        assert_eq!(feed(stream.chunks(1)), (expected, Discarded::default()), "one byte at a time");
    }
}

#[test]
fn a_frame_over_the_limit_is_an_error_as_soon_as_it_is_known() {
    let mut decoder = Decoder::new(4);
    let mut buffer = BytesMut::from(&b"\x0bfour\x1c\r\x0bfive5"[..]);
    assert_eq!(decoder.decode(&mut buffer).expect("within the limit").as_deref(), Some(&b"four"[..]));
    assert!(matches!(decoder.decode(&mut buffer), Err(FramingError::TooLarge { limit: 4 })));
    let mut decoder = Decoder::new(4);
    let mut buffer = BytesMut::from(&b"\x0bfive5\x1c\r"[..]);
    assert!(matches!(decoder.decode(&mut buffer), Err(FramingError::TooLarge { limit: 4 })));
    // What a start block throws away does not count.
    let mut buffer = BytesMut::from(&b"\x0bfive5\x0bfour\x1c\r"[..]);
    assert_eq!(Decoder::new(4).decode(&mut buffer).expect("within the limit").as_deref(), Some(&b"four"[..]));
}

#[test]
fn four_megabytes_one_byte_at_a_time_take_linear_time() {
    let mut decoder = Decoder::new(8 << 20);
    let mut buffer = BytesMut::new();
    let began = std::time::Instant::now();
    buffer.put_u8(START_BLOCK);
    for _ in 0..4 << 20 {
        buffer.put_u8(b'x');
        assert!(decoder.decode(&mut buffer).expect("within the limit").is_none());
    }
    buffer.put_u8(END_BLOCK);
    assert_eq!(decoder.decode(&mut buffer).expect("within the limit").map(|frame| frame.len()), Some(4 << 20));
    assert!(began.elapsed().as_secs() < 20, "took {:?}", began.elapsed());
}

#[test]
fn noise_is_not_kept() {
    let mut decoder = Decoder::new(1024);
    let mut buffer = BytesMut::new();
    for _ in 0..1024 {
        buffer.extend_from_slice(&[b'x'; 4096]);
        assert!(decoder.decode(&mut buffer).expect("noise is no error").is_none());
        assert!(buffer.is_empty());
    }
    assert_eq!(decoder.discarded().bytes, 4 << 20);
}

#[test]
fn block_characters_cannot_be_written_inside_a_frame() {
    let mut buffer = BytesMut::new();
    for message in [&b"a\x0bb"[..], b"a\x1cb"] {
        assert!(matches!(Encoder.encode(message, &mut buffer), Err(FramingError::BlockCharacter)));
    }
    assert!(buffer.is_empty());
}

/// Bytes in which block characters are as frequent as can be.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        prop_oneof![Just(START_BLOCK), Just(END_BLOCK), Just(CARRIAGE_RETURN), Just(b'a'), any::<u8>()],
        0..200,
    )
}

proptest! {
    #[test]
    fn frames_do_not_depend_on_how_a_stream_is_split(stream in stream(), cuts in prop::collection::vec(1usize..20, 0..40)) {
        let whole = feed([stream.as_slice()]);
        let mut rest = stream.as_slice();
        let mut pieces = Vec::new();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        prop_assert_eq!(feed(pieces), whole);
    }

    #[test]
    fn what_is_written_is_read_back(messages in prop::collection::vec("[^\u{b}\u{1c}]{0,50}", 0..8)) {
        let mut stream = BytesMut::new();
        for message in &messages {
            Encoder.encode(message.as_bytes(), &mut stream).expect("no block characters");
        }
        let (frames, discarded) = feed([stream.as_ref()]);
        prop_assert_eq!(frames, messages.iter().map(|m| m.as_bytes().to_vec()).collect::<Vec<_>>());
        prop_assert_eq!(discarded, Discarded::default());
    }
}
