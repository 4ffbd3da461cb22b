//! Letters, shortlists and documents: what is kept, and what is refused before anything is written.

use super::walk::{Walk, referral, set_state, walk};
use super::*;
use crate::mapping::Document;

/// The referral sample with one letter, and two more.
fn with_three_letters() -> Value {
    let mut referral = referral("response-unbooked");
    let contained = referral["contained"].as_array_mut().expect("contained resources");
    let first = contained.iter().find(|one| one["resourceType"] == "DocumentReference").expect("a letter").clone();
    for number in ["2", "3"] {
        let mut letter = first.clone();
        letter["id"] = format!("DocumentReference-9000{number}").into();
        letter["content"][0]["attachment"]["url"] = format!("Binary/letter-{number}").into();
        letter["content"][0]["attachment"]["title"] = format!("letter-{number}.pdf").into();
        contained.push(letter);
    }
    // What the provider attached is none of the referrer's.
    let mut theirs = first;
    theirs["id"] = "DocumentReference-90009".into();
    theirs["type"]["coding"][0]["code"] = "PROVIDER".into();
    theirs["content"][0]["attachment"]["title"] = "outcome.pdf".into();
    contained.push(theirs);
    referral
}

fn removal(remove: Value) -> Walk {
    let command = json!({"ubrn": "000000070000", "remove": remove});
    let answers = |call: &PreparedCall| match call.call.as_str() {
        "A005" => answer(200, &[], with_three_letters()),
        _ => answer(200, &[], json!({"meta": {"versionId": "9"}})),
    };
    walk(&set(), ("RemoveLetters", &command), Some("REFERRING_CLINICIAN"), &answers)
}

#[test]
fn letters_that_are_not_named_stay() {
    let first = "Binary/19eb7224-dff3-4730-a5cb-67eac811f1a5";
    for (remove, remaining, removed) in [
        (json!([{"fileName": "letter-2.pdf"}]), vec![first, "Binary/letter-3"], vec!["Binary/letter-2"]),
        (json!([{"document": "Binary/letter-3"}]), vec![first, "Binary/letter-2"], vec!["Binary/letter-3"]),
        (
            json!([{"document": "DocumentReference-90002"}, {"fileName": "letter-3.pdf"}]),
            vec![first],
            vec!["Binary/letter-2", "Binary/letter-3"],
        ),
    ] {
        let walk = removal(remove.clone());
        assert!(walk.end.is_ok(), "{remove}: {:?}", walk.end);
        assert_eq!(walk.names(), ["A005", "A012"]);
        let linked: Vec<&str> = json_body(&walk.calls, "A012")["parameter"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|part| part["resource"]["content"][0]["attachment"]["url"].as_str())
            .collect();
        assert_eq!(linked, remaining, "{remove}");
        let PlanEvent { name, data } = &walk.events[0];
        let told: Vec<&str> =
            data["letters"].as_array().expect("letters").iter().filter_map(|one| one["binary"].as_str()).collect();
        assert_eq!((name.as_str(), told), ("ReferralLetterRemoved", removed), "{remove}");
    }
}

#[test]
fn a_letter_that_is_not_linked_and_the_last_one_are_not_removed() {
    let all = json!([
        {"fileName": "letter-2.pdf"},
        {"fileName": "letter-3.pdf"},
        {"document": "Binary/19eb7224-dff3-4730-a5cb-67eac811f1a5"},
    ]);
    for (remove, code) in [
        (json!([{"fileName": "letter-2.pdf"}, {"fileName": "no-such.pdf"}]), "LETTER_NOT_LINKED"),
        (json!([{"document": "Binary/other"}]), "LETTER_NOT_LINKED"),
        (json!([{"fileName": "outcome.pdf"}]), "LETTER_NOT_LINKED"), // the provider's
        (all, "LAST_LETTER"),
    ] {
        let walk = removal(remove.clone());
        assert_eq!((walk.code(), walk.names()), (code, vec!["A005"]), "{remove}");
    }
}

fn shortlist(services: &[&str]) -> Value {
    json!({
        "ubrn": "000000070000", "priority": "URGENT", "specialty": "CARDIOLOGY", "clinicType": "HEART_FAILURE",
        "criteria": {"ageAndGenderAppropriate": false},
        "shortlist": services.iter().map(|service| json!({"service": service})).collect::<Vec<_>>(),
        "letterIntention": "NEED_TO_ADD_LATER", "firstReminderDays": 0,
    })
}

fn change(command: &Value, referral: &Value, done: &str) -> Walk {
    let done = official(&format!("a031-change-shortlist/{done}.json"));
    let answers = |call: &PreparedCall| match call.call.as_str() {
        "A005" => answer(200, &[], referral.clone()),
        _ => answer(200, &[], done.clone()),
    };
    walk(&set(), ("ChangeShortlist", command), Some("REFERRING_CLINICIAN"), &answers)
}

#[test]
fn a_shortlist_is_not_changed_where_the_patient_would_lose_what_was_noted() {
    let needy = referral("response-with-additional-requirements");
    let mut named = shortlist(&["11002"]);
    let needed = ["ADVOCACY", "INTERPRETER", "TRANSPORT"];
    for (names, code) in
        [(&[][..], "ADDITIONAL_REQUIREMENTS"), (&needed[..2], "ADDITIONAL_REQUIREMENTS"), (&needed, "")]
    {
        let mut unbooked = needy.clone();
        set_state(&mut unbooked, "NOT_BOOKED");
        named["additionalRequirements"] = json!(names);
        let walk = change(&named, &unbooked, "response-unbooked-referral");
        let calls = if code.is_empty() { vec!["A005", "A031"] } else { vec!["A005"] };
        assert_eq!((walk.code(), walk.names()), (code, calls), "{names:?}");
    }
    let booked = change(&shortlist(&["11002"]), &referral("response-booked-dbs"), "response-unbooked-referral");
    assert_eq!((booked.code(), booked.names()), ("APPOINTMENT_STANDS", vec!["A005"]));
}

#[test]
fn a_document_that_is_no_pdf_is_not_told() {
    let page = Document { content_type: "text/html".into(), bytes: 26822, sha256: "a".repeat(64) };
    for command in ["GeneratePatientLetter", "RetrieveClinicalInformation", "RetrieveAdviceOverview"] {
        let body = json!({"ubrn": "000000070000"});
        for wrong in [None, Some(page.clone())] {
            let answers = |_: &PreparedCall| Reply { document: wrong.clone(), ..answer(200, &[], Value::Null) };
            assert_eq!(walk(&set(), (command, &body), None, &answers).code(), "NOT_A_PDF");
        }
    }
}
