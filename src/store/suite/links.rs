//! What is remembered between two messages of a sender.

use super::Home;
use super::given::{at, new_id};
use crate::command::MessageId;
use crate::store::HeldPiece;

pub(crate) async fn a_piece_is_held_until_it_is_let_go(home: &dyn Home) {
    let store = home.open().await;
    let piece = |source: &str, pointer: u8, second| HeldPiece {
        source: source.into(),
        pointer: [pointer; 32],
        message: MessageId(new_id()),
        at: at(second),
    };
    let (late, early, other) = (piece("northmoor", 1, 5), piece("northmoor", 2, 1), piece("eastvale", 1, 3));
    for piece in [&late, &early, &other] {
        store.hold_piece(piece.clone()).await.expect("held");
    }
    drop(store);
    let store = home.open().await;
    assert_eq!(store.held_piece("northmoor", [1; 32]).await.expect("read").as_ref(), Some(&late));
    assert_eq!(store.held_piece("northmoor", [3; 32]).await.expect("read"), None);
    assert_eq!(store.held_pieces(2).await.expect("read"), [early.clone(), other.clone()]);

    // The same pointer again is another piece; letting the old one go leaves it.
    let again = piece("northmoor", 1, 9);
    store.hold_piece(again.clone()).await.expect("held");
    store.let_go_of_pieces(vec![late, early, other]).await.expect("let go");
    assert_eq!(store.held_pieces(10).await.expect("read"), std::slice::from_ref(&again));
    store.let_go_of_pieces(vec![again]).await.expect("let go");
    assert!(store.held_pieces(10).await.expect("read").is_empty());
}

pub(crate) async fn the_number_that_comes_next_is_changed_by_who_knows_it(home: &dyn Home) {
    let store = home.open().await;
    assert_eq!(store.expected_number("northmoor").await.expect("read"), None);
    assert!(!store.expect_number("northmoor", Some(2), 3, at(0)).await.expect("asked"), "none is known");
    assert!(store.expect_number("northmoor", None, 3, at(0)).await.expect("asked"));
    assert!(!store.expect_number("northmoor", None, 9, at(1)).await.expect("asked"), "one is known");
    assert!(store.expect_number("northmoor", Some(3), 4, at(1)).await.expect("asked"));
    assert!(!store.expect_number("northmoor", Some(3), 4, at(2)).await.expect("asked"), "somebody was faster");
    drop(store);
    let store = home.open().await;
    assert_eq!(store.expected_number("northmoor").await.expect("read"), Some(4));
    assert_eq!(store.expected_number("eastvale").await.expect("read"), None);
}
