//! Typed replies where the sender waits for the result: what came of it, or why nothing did, on the same connection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ers_gateway::config::ReplyMode;
use ers_gateway::simulator::services::Slot;
use ers_gateway::simulator::{Action, Fault, SimulatorConfig};

use crate::support::referrals::sample;
use crate::support::sender::{MllpSender, contains, field};
use crate::support::world::World;

const BEFORE_THE_SLOTS: &str = "2026-03-16T09:30:00Z";

/// Every source waits for the result; whoever books by wish may.
async fn world() -> World {
    let mut simulator = SimulatorConfig::default();
    let start: jiff::Timestamp = "2026-04-02T09:00:00Z".parse().expect("a literal instant");
    let end = start + jiff::SignedDuration::from_mins(30);
    simulator.slots.push(Slot { id: "20012001".into(), service: "20012".into(), start, end, clinician: None });
    let world = World::of(simulator, |config| {
        for source in &mut config.sources {
            source.reply = ReplyMode::Result;
            source.book_by_wish = true;
        }
    })
    .await;
    world.simulator.clock().set(BEFORE_THE_SLOTS.parse().expect("a literal instant"));
    world
}

fn shown(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).replace('\r', "\n")
}

fn text(number: &str) -> String {
    String::from_utf8(sample(number)).expect("ASCII")
}

/// In original mode, so that the one answer has the result.
fn original(message: &str) -> String {
    let (header, rest) = message.split_once('\r').expect("segments");
    let fields: Vec<&str> = header.split('|').take(12).collect();
    format!("{}\r{rest}", fields.join("|"))
}

async fn ask(world: &World, message: &str) -> Vec<u8> {
    MllpSender::new(world.mllp).deliver_once(message.as_bytes()).await
}

fn check(answer: &[u8], kind: &str, code: &str, fields: &[(&str, usize, &str)]) {
    assert_eq!(field(answer, b"MSH", 8), kind.as_bytes(), "{}", shown(answer));
    assert_eq!(field(answer, b"MSA", 1), code.as_bytes(), "{}", shown(answer));
    for (segment, number, wanted) in fields {
        let found = String::from_utf8_lossy(field(answer, segment.as_bytes(), *number)).into_owned();
        assert_eq!(&found, wanted, "{segment}-{number} of\n{}", shown(answer));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_and_a_cancelled_referral_are_answered_as_rri() {
    let world = world().await;
    let answer = ask(&world, &original(&text("11-"))).await;
    assert_ne!(field(&answer, b"MSH", 8), b"ACK^I13^ACK", "{}", world.story().await);
    check(&answer, "RRI^I13^RRI_I12", "AA", &[("RF1", 11, "000000070001^ERS^^UBRN"), ("NTE", 0, "")]);
    let cancel = text("13-");
    let answer = ask(&world, &cancel).await;
    let told = [("RF1", 1, "E^Expired^HL70283^CANCELLED_REFERRAL^^ERS"), ("RF1", 10, "INTEND_PRIVATE^^ERSCANCEL")];
    check(&answer, "RRI^I14^RRI_I12", "AA", &told);
    // It cannot be cancelled twice: the referral is as it was, and NTE says why.
    let answer = ask(&world, &cancel.replacen("EV-0000104270", "EV-AGAIN", 1)).await;
    check(&answer, "RRI^I14^RRI_I12", "AE", &[("RF1", 1, ""), ("RF1", 11, "000000070004^ERS^^UBRN")]);
    assert!(!field(&answer, b"NTE", 3).is_empty(), "{}", shown(&answer));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_of_a_referral_is_answered_as_rri_and_never_that_of_another_patient() {
    let world = World::start().await;
    // Even where only the storing is acknowledged: nothing else carries an answer.
    let question = original(&text("15-"));
    let answer = ask(&world, &question).await;
    let told = [
        ("RF1", 1, "P^Pending^HL70283^NOT_BOOKED^^ERS"),
        ("RF1", 2, "A^ASAP^HL70280^URGENT^^ERS"),
        ("RF1", 6, "SB-700441^SBEPR"),
        ("RF1", 11, "000000070003^ERS^^UBRN"),
    ];
    check(&answer, "RRI^I15^RRI_I12", "AA", &told);
    assert!(contains(&answer, b"\rPRD|RT^Referred to Provider^HL70286||||||20021^ERS^ERSSVC\r"), "{}", shown(&answer));
    // Whoever sends it again is answered again.
    let again = ask(&world, &question).await;
    check(&again, "RRI^I15^RRI_I12", "AA", &told);

    let other = question.replace("000000070003", "000000070004").replacen("SB20260318T1200-1", "OTHER", 1);
    let answer = ask(&world, &other).await;
    check(&answer, "RRI^I15^RRI_I12", "AE", &[("RF1", 1, ""), ("PRD", 1, "RP^Referring Provider^HL70286")]);
    assert!(field(&answer, b"NTE", 3).starts_with(b"PATIENT_DIFFERS"), "{}", shown(&answer));
    assert!(!contains(&answer, b"20031"), "nothing of the other referral: {}", shown(&answer));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_e_rs_does_not_answer_in_time_is_told_so() {
    let world = World::with(|config| config.delivery.read_deadline = std::time::Duration::from_secs(1)).await;
    let silence = Action::Answer { status: 503, code: None, diagnostics: None, retry_after: Some(60), body: None };
    world.simulator.inject(Fault::on("A005", silence));
    let answer = ask(&world, &original(&text("15-"))).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AE", "{}", shown(&answer));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clinical_information_is_answered_as_rci_with_the_document() {
    let world = World::start().await;
    let question = original(&text("31-"));
    let answer = ask(&world, &question).await;
    let told = [("OBX", 2, "ED"), ("OBX", 11, "F"), ("OBR", 2, "000000070001^ERS"), ("QRD", 4, "WPQ1")];
    check(&answer, "RCI^I05^RCI_I05", "AA", &told);
    let data = String::from_utf8_lossy(field(&answer, b"OBX", 5)).into_owned();
    let base64 = data.strip_prefix("^application^pdf^Base64^").expect("a document");
    assert!(STANDARD.decode(base64).expect("Base64").starts_with(b"%PDF-"));

    let unknown = question.replace("000000070001", "000000099999").replacen("WP260323-005", "UNKNOWN", 1);
    let answer = ask(&world, &unknown).await;
    check(&answer, "RCI^I05^RCI_I05", "AE", &[("OBX", 2, ""), ("QRD", 4, "WPQ1")]);
    assert!(!field(&answer, b"NTE", 3).is_empty(), "{}", shown(&answer));
    world.stop().await;

    // Where the source has it checked whose referral it is.
    let world = World::with(|config| {
        for source in &mut config.sources {
            source.settings.insert("checkPatient".into(), true.into());
        }
    })
    .await;
    let answer = ask(&world, &question.replace("000000070001", "000000070003")).await;
    check(&answer, "RCI^I05^RCI_I05", "AE", &[("OBX", 2, "")]);
    assert!(field(&answer, b"NTE", 3).starts_with(b"PATIENT_DIFFERS"), "{}", shown(&answer));
    assert_eq!(world.calls(), ["A005"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_appointment_is_answered_as_srr_through_its_whole_life() {
    let world = world().await;
    let answer = ask(&world, &text("16-")).await;
    let appointment = String::from_utf8_lossy(field(&answer, b"SCH", 2)).into_owned();
    let told = [
        ("SCH", 1, "SB-APT-1^SBEPR"),
        ("SCH", 11, "^^^20260411131500+0100^20260411134500+0100"),
        ("SCH", 25, "Booked^Booked^HL70278"),
        ("SCH", 26, "000000070003^ERS"),
        ("AIG", 3, "11008006^Slot^ERSSLOT"),
    ];
    check(&answer, "SRR^S01^SRR_S01", "AA", &told);
    assert!(appointment.ends_with("^ERS") && appointment.len() > 4, "{}", shown(&answer));

    // Another slot takes its place.
    let rebook = text("16-")
        .replace("SRM^S01^SRM_S01", "SRM^S02^SRM_S01")
        .replacen("SB20260319T0900-1", "REBOOK", 1)
        .replace(
            "ARQ|SB-APT-1^SBEPR||||||",
            &format!("ARQ|SB-APT-1^SBEPR|{appointment}||||PATIENT_HOLIDAY^^ERSCANCEL|"),
        )
        .replace("20260411", "20260418")
        .replace("11008006", "11008007");
    let rebook: String =
        rebook.split('\r').filter(|line| !line.starts_with("AIP")).map(|line| format!("{line}\r")).collect();
    let answer = ask(&world, &rebook).await;
    let told = [
        ("SCH", 11, "^^^20260418131500+0100^20260418134500+0100"),
        ("SCH", 24, appointment.as_str()),
        ("SCH", 25, "Booked^Booked^HL70278"),
    ];
    check(&answer, "SRR^S02^SRR_S01", "AA", &told);
    let moved = String::from_utf8_lossy(field(&answer, b"SCH", 2)).into_owned();
    assert_ne!(moved, appointment);

    // By the sender's own number alone.
    let own = text("20-")
        .replacen("SB20260321T0800-3", "OWN", 1)
        .replace("|70001^ERS|", "||")
        .replace("000000070003^ERS", "");
    let answer = ask(&world, &own.replace("SB-APT-1", "SB-APT-9")).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AR", "{}", shown(&answer));
    let answer = ask(&world, &own.replacen("OWN", "OWN-1", 1)).await;
    let told =
        [("SCH", 2, moved.as_str()), ("SCH", 25, "Cancelled^Cancelled^HL70278"), ("SCH", 26, "000000070003^ERS")];
    check(&answer, "SRR^S04^SRR_S01", "AA", &told);
    // What is cancelled cannot be cancelled again.
    let again = text("20-").replace("70001^ERS", &moved);
    let answer = ask(&world, &again).await;
    check(&answer, "SRR^S04^SRR_S01", "AE", &[("SCH", 25, ""), ("SCH", 2, &moved)]);
    assert!(!field(&answer, b"NTE", 3).is_empty(), "{}", shown(&answer));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_is_answered_with_the_slot_that_was_taken_or_why_there_is_none() {
    let world = world().await;
    let wish = text("17-");
    let answer = ask(&world, &wish).await;
    let told = [("SCH", 25, "Booked^Booked^HL70278"), ("AIS", 3, "20012^^ERSSVC"), ("AIG", 3, "20012001^Slot^ERSSLOT")];
    check(&answer, "SRR^S01^SRR_S01", "AA", &told);
    let late = wish.replace("20260401^20260430", "20260601^20260630").replacen("EV-0000104280", "LATE", 1);
    let answer = ask(&world, &late).await;
    check(&answer, "SRR^S01^SRR_S01", "AE", &[("SCH", 25, ""), ("SCH", 26, "000000070001^ERS"), ("NTE", 2, "L")]);
    assert!(field(&answer, b"NTE", 3).starts_with(b"NO_SLOT_IN_TIME"), "{}", shown(&answer));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deferral_an_order_and_a_question_for_advice_are_answered_in_their_own_types() {
    let world = world().await;
    let answer = ask(&world, &text("18-").replace("20012", "20011")).await;
    check(&answer, "SRR^S01^SRR_S01", "AA", &[("SCH", 25, "Waitlist^Waitlist^HL70278")]);
    let referral = text("02-").replacen("ZRX|REFER|", "ZRX|DEFER|", 1);
    let answer = ask(&world, &original(&referral)).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", shown(&answer));
    let ubrn = String::from_utf8_lossy(field(&answer, b"RF1", 11)).into_owned();
    let made = world.simulator.referral(ubrn.split('^').next().unwrap_or_default()).expect("it was made");
    assert_eq!((made.state, made.reason), ("DEFERRED_TO_PROVIDER", Some("NO_SLOTS_AT_SERVICE")));
    let answer = ask(&world, &text("10-")).await;
    let ubrn = world.simulator.creations()[1].ubrn.to_string();
    let filler = format!("{ubrn}^ERS");
    check(&answer, "ORG^O20^ORG_O20", "AA", &[("ORC", 1, "OK"), ("ORC", 2, "SB-ORD-3301^SBEPR"), ("ORC", 3, &filler)]);
    let answer = ask(&world, &text("09-")).await;
    assert_eq!(field(&answer, b"MSH", 8), b"RRI^I12^RRI_I12", "{}", shown(&answer));
    let asked = String::from_utf8_lossy(field(&answer, b"RF1", 11)).into_owned();
    let ubrn = asked.split('^').next().unwrap_or_default();
    assert!(world.simulator.advice_requests().iter().any(|known| known == ubrn), "{}", shown(&answer));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_is_replaced_and_cancelled_by_the_number_that_its_sender_gave_it() {
    let world = world().await;
    let letter = text("24-");
    let answer = ask(&world, &letter).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", shown(&answer));
    let replacement = letter
        .replace("MDM^T02^MDM_T02", "MDM^T10^MDM_T02")
        .replacen("EV-0000104310", "REPLACE", 1)
        .replace("DOC-5512^EASTVALE||", "DOC-5513^EASTVALE|DOC-5512^EASTVALE|")
        .replace("referral-letter.pdf", "better-letter.pdf");
    let answer = ask(&world, &replacement).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}\n{}", shown(&answer), world.story().await);
    let names = letters(&world);
    assert_eq!(names, ["referralletter.pdf", "better-letter.pdf"], "the one of before, and the new one");
    // The parent is gone.
    let again = replacement.replacen("REPLACE", "AGAIN", 1).replace("DOC-5513^EASTVALE|", "DOC-5514^EASTVALE|");
    let answer = ask(&world, &again).await;
    assert!(contains(&answer, b"LETTER_NOT_LINKED"), "{}", shown(&answer));
    assert_eq!(letters(&world), names);
    world.stop().await;

    let world = self::world().await;
    ask(&world, &letter).await;
    // The number of the document is enough.
    let cancel: String = letter
        .replace("MDM^T02^MDM_T02", "MDM^T11^MDM_T01")
        .replace("000000070001^ERS", "")
        .replacen("EV-0000104310", "CANCEL", 1)
        .split('\r')
        .filter(|line| !line.starts_with("OBX"))
        .map(|line| format!("{line}\r"))
        .collect();
    let answer = ask(&world, &cancel).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}\n{}", shown(&answer), world.story().await);
    assert_eq!(letters(&world), ["referralletter.pdf"]);
    let unknown = cancel.replacen("CANCEL", "UNKNOWN", 1).replace("DOC-5512", "DOC-1");
    let answer = ask(&world, &unknown).await;
    assert!(contains(&answer, b"TXA^1^12^204&"), "{}", shown(&answer));
    let another =
        unknown.replacen("UNKNOWN", "OTHER", 1).replace("DOC-1^EASTVALE||", "DOC-1^EASTVALE||000000070001^ERS");
    let answer = ask(&world, &another).await;
    assert!(contains(&answer, b"LETTER_NOT_LINKED"), "{}", shown(&answer));
    world.stop().await;
}

/// Names of what is linked to the referral of that sample.
fn letters(world: &World) -> Vec<String> {
    let referrals = world.simulator.referrals();
    let view = referrals.iter().find(|view| view.ubrn == "000000070001").expect("it is there");
    view.letters.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_gets_the_application_answer_that_it_wants() {
    let world = World::start().await;
    let notice = text("23-").replacen("|P|2.4", "|P|2.4|||AL|AL", 1);
    let mut sender = MllpSender::new(world.mllp);
    let stored = sender.deliver_once(notice.as_bytes()).await;
    assert_eq!(field(&stored, b"MSA", 1), b"CA", "{}", shown(&stored));
    let told = tokio::time::timeout(std::time::Duration::from_secs(10), sender.frame()).await.expect("in time");
    assert_eq!(field(&told.expect("one"), b"MSA", 1), b"AA");
    let by_http = notice.replacen("|AL|AL", "|NE|AL", 1).replacen("EV-", "HTTP-", 1);
    let request = reqwest::Client::new().post(format!("http://{}/v1/hl7v2", world.http));
    let answer = request.header("content-type", "application/hl7-v2").body(by_http).send().await.expect("an answer");
    assert_eq!(field(&answer.bytes().await.expect("a body"), b"MSA", 1), b"AA");
    world.stop().await;
}
