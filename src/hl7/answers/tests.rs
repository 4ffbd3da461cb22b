use super::*;
use crate::hl7::samples::sample;

fn wanted(msh15: &str, msh16: &str) -> AnswersWanted {
    let message = format!("MSH|^~\\&|||||||REF^I12|1|P|2.4|||{msh15}|{msh16}\rPID|1\r");
    AnswersWanted::of(&Header::scan(message.as_bytes()).expect("a header"))
}

#[test]
fn msh_15_and_16_choose_the_answers() {
    use Phase::{Application, Commit};
    // on arrival: accepted, refused; afterwards: success, failure
    for (msh15, msh16, accepted, refused, success, failure) in [
        ("", "", Some(Application), Some(Application), false, false),
        ("AL", "NE", Some(Commit), Some(Commit), false, false),
        ("AL", "AL", Some(Commit), Some(Commit), true, true),
        ("AL", "ER", Some(Commit), Some(Commit), false, true),
        ("AL", "", Some(Commit), Some(Commit), false, false), // an empty one counts as NE
        ("", "AL", None, Some(Application), true, true),
        ("ER", "NE", None, Some(Commit), false, false),
        ("ER", "AL", None, Some(Commit), true, true),
        ("SU", "NE", Some(Commit), None, false, false),
        ("SU", "ER", Some(Commit), Some(Application), false, true),
        ("NE", "AL", None, Some(Application), true, true),
        ("NE", "SU", None, None, true, false),
        ("NE", "NE", None, None, false, false),
        ("??", "NE", Some(Commit), Some(Commit), false, false),
    ] {
        let wanted = wanted(msh15, msh16);
        let found = (
            wanted.on_arrival(true),
            wanted.on_arrival(false),
            wanted.after_outcome(true),
            wanted.after_outcome(false),
        );
        assert_eq!(found, (accepted, refused, success, failure), "{msh15}/{msh16}");
        assert_eq!(wanted.may_follow(), success || failure, "{msh15}/{msh16}");
    }
}

#[test]
fn an_acknowledgement_is_never_acknowledged() {
    for (message, expected) in [
        ("MSH|^~\\&|||||||ACK^I12^ACK|1|P|2.4|||AL|AL\rMSA|AA|1", AnswersWanted::None),
        ("MSH|^~\\&|||||||ACK|1|P|2.3\rMSA|AA|1", AnswersWanted::None),
        ("MSH|^~\\&|||||||MCF^Q02|1|P|2.3\rMSA|AA|1", AnswersWanted::None),
        ("MSH|^~\\&|||||||RRI^I12|1|P|2.4\rMSA|AA|1\rPID|1", AnswersWanted::Original),
        ("MSH|^~\\&|||||||RRI^I12|1|P|2.4", AnswersWanted::Original),
        (
            "MSH|^~\\&|||||||RRI^I12|1|P|2.4|||AL|NE\rMSA|AA|1",
            AnswersWanted::Enhanced { commit: Condition::Always, application: Condition::Never },
        ),
    ] {
        let header = Header::scan(message.as_bytes()).expect("a header");
        assert_eq!(AnswersWanted::of(&header), expected, "{message}");
    }
}

#[test]
fn the_samples_get_the_kind_of_answer_their_index_says() {
    for (number, accepted) in [
        ("01", Some(Phase::Application)),
        ("02", Some(Phase::Commit)),
        ("03", Some(Phase::Commit)),
        ("15", None),
        ("27", Some(Phase::Application)),
        ("76", None),
    ] {
        let bytes = sample(number);
        let header = Header::scan(&bytes).expect("a header");
        assert_eq!(AnswersWanted::of(&header).on_arrival(true), accepted, "{number}");
    }
}
