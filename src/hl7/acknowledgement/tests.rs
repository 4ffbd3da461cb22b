use encoding_rs::{UTF_8, WINDOWS_1252};
use proptest::prelude::*;

use super::*;
use crate::hl7::Message;
use crate::hl7::samples::sample;

fn stamp() -> Stamp {
    let at = "2026-03-16T09:31:00+00:00[Europe/London]".parse().expect("a literal time");
    Stamp { at, control_id: "GW1".to_owned(), expected: None, wants_commit: false }
}

fn problem(at: ErrorLocation, code: u16, text: &str) -> AckError {
    AckError { location: Some(at), code, text: text.to_owned() }
}

fn check_digit() -> AckError {
    let at = ErrorLocation { component: Some(1), ..ErrorLocation::field("PID", 3) };
    problem(at, 102, "NHS number check digit")
}

fn no_service() -> AckError {
    problem(ErrorLocation::segment("ZRS"), 101, "a service is needed: ZRS or PRD RT")
}

/// The answer to a message, with `\n` for CR.
fn answer(message: &[u8], errors: &[AckError]) -> String {
    let header = Header::scan(message).expect("a header");
    let code = AckCode::of(errors, Phase::Application);
    let bytes = acknowledge(&header, code, errors, &stamp(), UTF_8);
    String::from_utf8(bytes.to_vec()).expect("UTF-8").replace('\r', "\n")
}

#[test]
fn an_accepted_message_is_answered_in_its_own_version() {
    for (number, expected) in [
        (
            "01",
            "MSH|^~\\&|ERSGW|RXX00|NMPAS|RXX00|20260316093100+0000||ACK|GW1|P|2.3\n\
             MSA|AA|NM2603160001|Message stored\n",
        ),
        (
            "04",
            "MSH|^~\\&|ERSGW|RXX00|EASTVALE|RYY00|20260316093100+0000||ACK^I12^ACK|GW1|P|2.4\n\
             MSA|AA|EV-0000104240|Message stored\n",
        ),
        (
            "06",
            "MSH|^~\\&|ERSGW|RXX00|WMCARE|7XX00|20260316093100+0000||ACK^I12^ACK|GW1|P|2.8||||||UNICODE UTF-8\n\
             MSA|AA|0197f3a2-6c1e-7b40-9d11-2f5f0f1b7a01\n",
        ),
        (
            "40",
            "MSH$%*?#$ERSGW$RXX00$EASTVALE$RYY00$20260316093100+0000$$ACK%I12%ACK$GW1$P$2.4\n\
             MSA$AA$E40$Message stored\n",
        ),
    ] {
        assert_eq!(answer(&sample(number), &[]), expected, "{number}");
    }
}

#[test]
fn errors_have_the_shape_of_the_senders_version() {
    let errors = [check_digit(), no_service(), AckError { location: None, code: 100, text: "a|b".into() }];
    let message = |version: &str| format!("MSH|^~\\&|A|B|C|D|2026||REF^I12|77|P|{version}").into_bytes();
    let ends = |version| answer(&message(version), &errors).split_once("MSA|").expect("MSA").1.to_owned();
    let before_2_5 = "AE|77|NHS number check digit (and 2 more)\n\
        ERR|PID^1^3^102&Data type error&HL70357&&NHS number check digit\
        ~ZRS^1^^101&Required field missing&HL70357&&a service is needed: ZRS or PRD RT\
        ~^^^100&Segment sequence error&HL70357&&a\\F\\b\n";
    let from_2_5 = "ERR||PID^1^3^1^1|102^Data type error^HL70357|E||||NHS number check digit\n\
        ERR||ZRS^1|101^Required field missing^HL70357|E||||a service is needed: ZRS or PRD RT\n\
        ERR|||100^Segment sequence error^HL70357|E||||a\\F\\b\n";
    assert_eq!(ends("2.3"), before_2_5);
    assert_eq!(ends("2.4"), before_2_5);
    assert_eq!(ends("2.5"), format!("AE|77|NHS number check digit (and 2 more)\n{from_2_5}"));
    assert_eq!(ends("2.6"), format!("AE|77|NHS number check digit (and 2 more)\n{from_2_5}"));
    assert_eq!(ends("2.7"), format!("AE|77\n{from_2_5}"));
    assert_eq!(ends("2.8"), format!("AE|77\n{from_2_5}"));
}

#[test]
fn the_code_follows_from_the_problems() {
    let delimiters = problem(ErrorLocation::field("MSH", 2), 102, "");
    let unknown_type = problem(ErrorLocation::field("MSH", 9), 200, "");
    let no_control_id = problem(ErrorLocation::field("MSH", 10), 101, "");
    for (errors, application, commit) in [
        (&[][..], AckCode::AA, AckCode::CA),
        (&[check_digit()], AckCode::AE, AckCode::CE),
        (&[no_control_id], AckCode::AE, AckCode::CE),
        (std::slice::from_ref(&unknown_type), AckCode::AR, AckCode::CR),
        (&[check_digit(), unknown_type.clone()], AckCode::AR, AckCode::CR),
        (&[delimiters], AckCode::AR, AckCode::CR),
    ] {
        assert_eq!(AckCode::of(errors, Phase::Application), application, "{errors:?}");
        assert_eq!(AckCode::of(errors, Phase::Commit), commit, "{errors:?}");
    }
}

#[test]
fn a_message_with_bad_delimiters_is_rejected_with_its_control_id() {
    let bytes = sample("41");
    let errors = Header::scan(&bytes).expect("a header").problems(&["P".to_owned()]);
    assert_eq!(
        answer(&bytes, &errors),
        "MSH|^~\\&|ERSGW|RXX00|EASTVALE|RYY00|20260316093100+0000||ACK|GW1|P|2.4\n\
         MSA|AR|E41|the characters of MSH-1 and MSH-2 must differ from each other\n\
         ERR|MSH^1^2^102&Data type error&HL70357&&the characters of MSH-1 and MSH-2 must differ from each other\n"
    );
    // With another MSH-1, what would end a field of the answer is escaped.
    let other = answer(b"MSHxxAx|Bxxxxxx7|7xPx2.4", &[]);
    assert!(other.contains("MSA|AA|7\\F\\7|"), "{other}");
}

#[test]
fn an_unsupported_version_or_charset_is_not_repeated() {
    let old = answer(&sample("74"), &[problem(ErrorLocation::field("MSH", 12), 203, "version")]);
    assert!(old.starts_with("MSH|^~\\&|ERSGW|RXX00|EASTVALE|RYY00|20260316093100+0000||ACK|GW1|P|2.3\n"), "{old}");
    let klingon = answer(&sample("50"), &[problem(ErrorLocation::field("MSH", 18), 103, "charset")]);
    assert!(klingon.contains("|GW1|P|2.4\nMSA|AE|E50|charset\n"), "{klingon}");
}

#[test]
fn the_control_id_is_echoed_byte_for_byte() {
    for id in [&b"a^b~c\\d&e"[..], b"\xff\xfe\xe9", b" padded ", b"", "Zoë".as_bytes()] {
        let message = [b"MSH|^~\\&|A|B|C|D|2026||REF^I12|", id, b"|P|2.5\r"].concat();
        let header = Header::scan(&message).expect("a header");
        let answer = acknowledge(&header, AckCode::AA, &[], &stamp(), WINDOWS_1252);
        let expected = [b"\rMSA|AA|", id, b"|Message stored\r"].concat();
        assert!(answer.ends_with(&expected), "{id:?}");
    }
}

#[test]
fn the_text_of_msa_stays_within_eighty_characters() {
    let errors = vec![problem(ErrorLocation::segment("PID"), 100, &"é".repeat(200)); 12];
    let text = msa_text(&errors);
    assert_eq!(text.chars().count(), MSA_TEXT_MAX);
    assert!(text.ends_with("... (and 11 more)"), "{text}");
}

#[test]
fn a_typed_reply_starts_like_an_acknowledgement() {
    let bytes = sample("15");
    let header = Header::scan(&bytes).expect("a header");
    let head = reply_head(&header, ["RRI", "I15", "RRI_I12"], AckCode::AA, &[], &stamp(), UTF_8);
    let text = String::from_utf8(head).expect("UTF-8");
    assert!(text.contains("|20260316093100+0000||RRI^I15^RRI_I12|GW1|P|2.5.1"), "{text}");
    assert!(text.contains("\rMSA|AA|SB20260318T1200-1|"), "{text}");
}

#[test]
fn letters_that_the_charset_lacks_become_question_marks() {
    let header = Header::scan(b"MSH|^~\\&|||||||REF|1|P|2.4||||||8859/1").expect("a header");
    let error = problem(ErrorLocation::segment("PID"), 100, "Ŵ é");
    let answer = acknowledge(&header, AckCode::AE, &[error], &stamp(), WINDOWS_1252);
    assert!(answer.windows(4).any(|part| part == b"|? \xe9"));
}

proptest! {
    #[test]
    fn every_answer_can_be_read(
        header in "MSH|[|$x][\\^~&#|]{0,5}[A-Za-z0-9|^ ]{0,80}",
        text in any::<String>(),
        code in 100u16..208,
    ) {
        let Ok(header) = Header::scan(header.as_bytes()) else { return Ok(()) };
        let errors = [AckError { location: None, code, text }, check_digit()];
        let answer = acknowledge(&header, AckCode::AE, &errors, &stamp(), UTF_8);
        let answer = String::from_utf8(answer.to_vec()).expect("the header is ASCII");
        let message = Message::parse(&answer).map_err(|e| TestCaseError::fail(format!("{e}: {answer:?}")))?;
        let names: Vec<_> = message.segments().iter().map(|segment| segment.name()).collect();
        prop_assert_eq!(&names[..3], &["MSH", "MSA", "ERR"]);
        prop_assert_eq!(message.segments()[1].field(1).map(|code| code.raw()), Some("AE"));
    }
}
