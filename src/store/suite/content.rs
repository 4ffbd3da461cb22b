//! Long messages and letters.

use bytes::Bytes;

use super::Home;
use super::given::{admitted, arrives, at, ends, local, message, new_id, the_claimed};
use crate::command::{AttemptId, CommandId, MessageId, State};
use crate::store::{Purge, PurgePlace, StoreError};

/// Bytes that differ from place to place.
fn pattern(length: u64) -> Bytes {
    (0..length).map(|index| u8::try_from((index * 31 + index / 251) % 256).expect("below 256")).collect()
}

fn piece(bytes: &Bytes, start: u64, end: u64) -> Bytes {
    let clip = |at: u64| usize::try_from(at).expect("small").min(bytes.len());
    bytes.slice(clip(start)..clip(end).max(clip(start)))
}

const CHUNK: u64 = 256 << 10;

pub(crate) async fn messages_are_read_as_they_came(home: &dyn Home) {
    let store = home.open().await;
    for length in [0, 1, 1_600, 32 << 10, (32 << 10) + 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17] {
        let mut long = message(&format!("M{length}"));
        long.message.raw = pattern(length);
        let expected = long.message.raw.clone();
        let id = admitted(&*store, long).await;
        assert_eq!(store.message(id).await.expect("read").expect("there").size, length);
        for (start, end) in [
            (0, length),
            (0, u64::MAX),
            (1, 2),
            (CHUNK - 1, CHUNK + 1),
            (CHUNK, 2 * CHUNK),
            (length, length + 5),
            (length.saturating_sub(3), length),
            (5, 5),
        ] {
            let read = store.read_message(id, start..end).await.expect("read");
            assert_eq!(read, piece(&expected, start, end), "{start}..{end} of {length}");
        }
    }
    assert!(matches!(store.read_message(MessageId(super::given::new_id()), 0..1).await, Err(StoreError::NotFound)));
}

pub(crate) async fn documents_are_read_in_ranges(home: &dyn Home) {
    let store = home.open().await;
    let (long, short) = (pattern(2 * CHUNK + 5), Bytes::from_static(b"Dear colleague"));
    let with_letters =
        message("M1").with_document(0, short.clone()).with_document(7, long.clone()).with_document(8, Bytes::new());
    let id = admitted(&*store, with_letters).await;
    assert_eq!(store.read_document(id, 0, 0..u64::MAX).await.expect("read"), short);
    assert_eq!(
        store.read_document(id, 7, CHUNK - 2..CHUNK + 2).await.expect("read"),
        piece(&long, CHUNK - 2, CHUNK + 2)
    );
    assert_eq!(store.read_document(id, 7, 0..u64::MAX).await.expect("read"), long);
    assert_eq!(store.read_document(id, 8, 0..10).await.expect("read"), Bytes::new());
    assert!(matches!(store.read_document(id, 1, 0..10).await, Err(StoreError::NotFound)));
}

pub(crate) async fn a_fetched_document_is_read_part_by_part_and_goes_with_its_command(home: &dyn Home) {
    let store = home.open().await;
    arrives(&*store, &[local("r1")]).await;
    let running = the_claimed(&*store).await;
    let (whole, broken_off) = (AttemptId(new_id()), AttemptId(new_id()));
    let part = pattern(CHUNK);
    for (attempt, position, bytes) in [
        (whole, 0, part.clone()),
        (whole, 1, Bytes::from_static(b"end")),
        (whole, 0, Bytes::from_static(b"another")),
        (broken_off, 0, Bytes::from_static(b"half")),
    ] {
        store.keep_fetched(running.id, attempt, position, bytes).await.expect("kept");
    }
    drop(store);
    let store = home.open().await;
    let read = async |attempt, position| store.fetched(running.id, attempt, position).await.expect("read");
    assert_eq!(read(whole, 0).await, Some(part), "one that is there stays as it is");
    assert_eq!(read(whole, 1).await.as_deref(), Some(&b"end"[..]));
    assert_eq!((read(whole, 2).await, read(AttemptId(new_id()), 0).await), (None, None));
    let nobody = store.keep_fetched(CommandId(new_id()), whole, 0, Bytes::new()).await;
    assert!(matches!(nobody, Err(StoreError::NotFound)), "{nobody:?}");

    ends(&*store, &running, State::Completed).await;
    let purge = Purge {
        messages_before: Some(at(1_000)),
        events_before: None,
        keep_unconfirmed: true,
        told_up_to: u64::MAX,
        max: 100,
        from: PurgePlace::START,
    };
    assert_eq!(store.purge(purge).await.expect("purged").commands, 1);
    assert_eq!((read(whole, 0).await, read(broken_off, 0).await), (None, None));
    drop(store);
    home.prove().await;
}
