use proptest::prelude::*;

use super::*;
use crate::hl7::samples::sample;

fn stamp() -> Stamp {
    let at = "2026-03-25T02:00:30+00:00[Europe/London]".parse().expect("a literal time");
    Stamp { at, control_id: "GW1".to_owned(), expected: None, wants_commit: false }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\r', "\n")
}

fn problems(batch: &Batch<'_>) -> Vec<String> {
    let place = |at: &ErrorLocation| {
        let field = at.field.map(|field| format!("-{field}")).unwrap_or_default();
        format!("{}({}){field}", at.segment, at.ordinal)
    };
    batch
        .problems()
        .iter()
        .map(|p| format!("{}: {}", p.location.as_ref().map(place).unwrap_or_default(), p.code))
        .collect()
}

#[test]
fn a_file_of_one_batch_is_split_and_answered_in_order() {
    let bytes = sample("66");
    assert!(Batch::starts(&bytes));
    let batch = Batch::split(&bytes);
    assert_eq!(problems(&batch), [""; 0]);
    let ids: Vec<_> = batch
        .messages()
        .map(|range| String::from_utf8_lossy(Header::scan(&bytes[range]).expect("MSH").control_id()).into_owned())
        .collect();
    assert_eq!(ids, ["E66A", "E66B", "E66C"]);
    let answers: Vec<_> = ids.iter().map(|id| Some(Bytes::from(format!("MSH|^~\\&\rMSA|AA|{id}\r")))).collect();
    assert_eq!(
        text(&batch.reply(&answers, &stamp())),
        "FHS|^~\\&|ERSGW|RXX00|EASTVALE|RYY00|20260325020030+0000||||GW1|FILE1\n\
         BHS|^~\\&|ERSGW|RXX00|EASTVALE|RYY00|20260325020030+0000||||GW1-1|BATCH1\n\
         MSH|^~\\&\nMSA|AA|E66A\nMSH|^~\\&\nMSA|AA|E66B\nMSH|^~\\&\nMSA|AA|E66C\n\
         BTS|3\nFTS|1\n"
    );
}

#[test]
fn a_batch_with_a_wrong_count_is_refused_as_a_whole() {
    let bytes = sample("67");
    let batch = Batch::split(&bytes);
    assert_eq!(problems(&batch), ["BTS(1)-1: 102"]);
    assert_eq!(
        text(&batch.refusal(&stamp())),
        "BHS|^~\\&|ERSGW|RXX00|EASTVALE|RYY00|20260325020030+0000||||GW1-1|BATCH2\n\
         MSH|^~\\&|ERSGW|RXX00|EASTVALE|RYY00|20260325020030+0000||ACK|GW1|P|2.4\n\
         MSA|AE|BATCH2|the count does not match\n\
         ERR|BTS^1^1^102&Data type error&HL70357&&the count does not match\n\
         BTS|1\n"
    );
}

#[test]
fn messages_and_trailers_belong_together() {
    const M: &str = "MSH|^~\\&|A\rPID|1\r";
    for (body, messages, expected) in [
        (format!("BHS|^~\\&\r{M}{M}BTS|2\r"), 2, &[][..]),
        (format!("BHS|^~\\&\r\n{M}\n\nBTS|1|text"), 1, &[]),
        (format!("BHS|^~\\&\r{M}BTS\r"), 1, &[]),   // no count
        (format!("BHS|^~\\&\r{M}BTS|0\r"), 1, &[]), // 0 says nothing
        ("BHS|^~\\&\rBTS|0\r".to_owned(), 0, &[]),
        (format!("BHS|^~\\&\r{M}BTS|x\r"), 1, &["BTS(1)-1: 102"]),
        (format!("BHS|^~\\&\r{M}"), 1, &["BTS(1): 100"]), // cut short
        (format!("FHS|^~\\&\r{M}{M}FTS|1\r"), 2, &[]),    // BHS may be left out
        (format!("FHS|^~\\&\rBHS|^~\\&\r{M}BTS|1\rBHS|^~\\&\r{M}BTS|1\rFTS|2\r"), 2, &[]),
        (
            format!("FHS|^~\\&\rBHS|^~\\&\r{M}BTS|1\rBHS|^~\\&\r{M}BTS|4\rFTS|3\r"),
            2,
            &["BTS(2)-1: 102", "FTS(1)-1: 102"],
        ),
        (format!("FHS|^~\\&\rBHS|^~\\&\r{M}BTS|1\r"), 1, &["FTS(1): 100"]),
        (format!("FHS|^~\\&\rBHS|^~\\&\r{M}FTS|1\r"), 1, &["BTS(1): 100"]),
        (format!("FHS|^~\\&\r{M}FTS|1\r{M}"), 1, &["FTS(1): 100"]),
        (format!("BHS|^~\\&\r{M}BTS|1\rFTS|1\r"), 1, &["FTS(1): 100"]),
        ("BHS|^~\\&\rPID|1\rBTS|1\r".to_owned(), 0, &["BHS(1): 100", "BTS(1): 100"]),
        (format!("BHS|^^\\&\r{M}BTS|1\r"), 1, &["BHS(1)-2: 102"]),
        (format!("BHS\r{M}BTS|1\r"), 1, &["BHS(1)-1: 102"]),
    ] {
        let batch = Batch::split(body.as_bytes());
        assert_eq!(problems(&batch), expected, "{body:?}");
        assert_eq!(batch.messages().count(), messages, "{body:?}");
        for range in batch.messages() {
            assert!(Header::scan(&body.as_bytes()[range.clone()]).is_ok(), "{body:?} {range:?}");
        }
    }
}

#[test]
fn a_message_is_no_batch() {
    for (bytes, expected) in [(&b"MSH|"[..], false), (b"\r\nBHS|", true), (b"\xef\xbb\xbfFHS|", true), (b"", false)] {
        assert_eq!(Batch::starts(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn messages_that_want_no_answer_get_none_in_the_reply() {
    let bytes = sample("66");
    let reply = Batch::split(&bytes).reply(&[None, Some(Bytes::from_static(b"MSA|AR\r")), None], &stamp());
    assert!(text(&reply).contains("|BATCH1\nMSA|AR\nBTS|1\nFTS|1\n"));
}

#[test]
fn a_batch_without_end_is_refused() {
    let bytes = format!("BHS|^~\\&\r{}", "MSH|^~\\&\r".repeat(20_000));
    let batch = Batch::split(bytes.as_bytes());
    assert_eq!(problems(&batch), ["MSH(1): 100", "BTS(1): 100"]);
    assert!(batch.messages().count() <= MESSAGES_MAX + 1);
}

proptest! {
    #[test]
    fn no_bytes_make_splitting_panic(lines in prop::collection::vec("(FHS|BHS|MSH|BTS|FTS|PID|X|)[|0-9^~&\\\\]{0,8}", 0..20)) {
        let bytes = lines.join("\r");
        let batch = Batch::split(bytes.as_bytes());
        let ranges: Vec<_> = batch.messages().collect();
        prop_assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
        prop_assert!(ranges.iter().all(|range| bytes.as_bytes()[range.clone()].starts_with(b"MSH")));
        batch.reply(&vec![None; ranges.len()], &stamp());
        batch.refusal(&stamp());
    }
}
