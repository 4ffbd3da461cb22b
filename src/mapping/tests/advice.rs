//! Advice requests: the official samples, and a call that names a parameter several times.

use super::walk::walk;
use super::*;

#[test]
fn the_official_a044_sample_is_made_exactly() {
    let command = json!({
        "patient": {"nhsNumber": "9912003888"}, "referrer": {"sdsUserId": "021600556514"},
        "priority": "ROUTINE", "specialty": "CARDIOLOGY", "clinicType": "HEART_FAILURE",
        "criteria": {"ageAndGenderAppropriate": false},
        "service": "11014", "conversion": "AUTHORISED_TO_CONVERT", "request": "Request text.",
        "letters": [letter_handle("Treatment Specification", "2021-09-29T13:22:35.335000+00:00")],
    });
    let answers = |call: &PreparedCall| match call.call.as_str() {
        "A020" => answer(201, &[("location", "Binary/e1015896-92f4-4073-ad3c-5f30fca76448")], Value::Null),
        _ => answer(200, &[], official("a044-create-advice-request/response-example-rca-with-attachments.json")),
    };
    let walk = walk(&set(), ("CreateAdviceRequest", &command), Some("REFERRING_CLINICIAN_ADMIN"), &answers);
    assert_eq!(walk.names(), ["A020", "A044"]);
    let expected = official("a044-create-advice-request/request-example-rca-with-attachments.json");
    assert_eq!(json_body(&walk.calls, "A044"), &expected);
    assert!(walk.calls[0].headers.iter().all(|(name, _)| name != "NHSD-eRS-Referral-ID"), "there is no UBRN yet");
    assert_eq!(walk.end, Ok(json!({"ubrn": "000000070000", "version": "1"})));
    let PlanEvent { name, data } = &walk.events[0];
    let expected = json!({
        "ubrn": "000000070000", "version": "1", "priority": "ROUTINE", "service": "11014",
        "conversion": "AUTHORISED_TO_CONVERT",
    });
    assert_eq!((name.as_str(), data), ("AdviceRequestCreated", &expected));
}

#[test]
fn the_official_samples_of_an_advice_request_are_read() {
    for (sample, version) in [
        ("response-minimal-example", "5"),
        ("response-with-attachment-file-reference", ""),
        ("response-with-unavailable-attachments", ""),
    ] {
        let body = official(&format!("a024-retrieve-advice-request/{sample}.json"));
        let answers = |_: &PreparedCall| answer(200, &[], body.clone());
        let command = json!({"ubrn": "000000070000"});
        let walk = walk(&set(), ("RetrieveAdviceRequest", &command), Some("REFERRING_CLINICIAN"), &answers);
        assert_eq!(walk.names(), ["A024"]);
        let result = walk.end.expect(sample);
        assert_eq!(result["version"], body["meta"]["versionId"], "{sample}");
        assert!(version.is_empty() || result["version"] == version);
        assert_eq!(result["status"], body["category"][0]["coding"][0]["code"], "{sample}");
        assert_eq!(result["request"], body, "{sample}");
    }
}

#[test]
fn the_official_samples_of_a_conversation_are_read() {
    for (sample, by, files) in [
        ("response-single-message-from-referrer", vec!["REQUESTER"], 0),
        ("response-one-message-each-way", vec!["REQUESTER", "RESPONDER"], 0),
        ("response-attachment-uploaded-from-rcs", vec!["REQUESTER", "REFERRER_CLINICAL_INFORMATION_UPDATED"], 1),
        ("response-unavailable-attachments", vec!["REQUESTER", "RESPONDER"], 3),
    ] {
        let body = official(&format!("a025-retrieve-advice-conversation/{sample}.json"));
        let answers = |call: &PreparedCall| match call.call.as_str() {
            "A024" => answer(200, &[], json!({"meta": {"versionId": "7"}})),
            _ => answer(200, &[], body.clone()),
        };
        let command = json!({"ubrn": "000000070000"});
        let walk = walk(&set(), ("RetrieveAdviceConversation", &command), Some("REFERRING_CLINICIAN"), &answers);
        assert_eq!(walk.names(), ["A024", "A025"]);
        let result = walk.end.expect(sample);
        let messages = result["messages"].as_array().expect("messages");
        let authors: Vec<&str> = messages.iter().filter_map(|message| message["by"].as_str()).collect();
        assert_eq!(authors, by, "{sample}");
        let sent: Vec<&str> = messages.iter().filter_map(|message| message["sent"].as_str()).collect();
        assert!(sent.is_sorted() && sent.len() == by.len(), "{sample}: {sent:?}");
        let oldest = body["entry"].as_array().into_iter().flatten().map(|entry| &entry["resource"]);
        let oldest = oldest.filter(|one| one["resourceType"] == "Communication").min_by_key(|one| one["sent"].as_str());
        assert_eq!(messages[0]["text"], oldest.expect("a message")["note"][0]["text"], "{sample}");
        assert_eq!(result["files"].as_array().map(Vec::len), Some(files), "{sample}");
    }
}

#[test]
fn a_conversation_is_asked_for_by_its_version_with_every_include_by_name() {
    let answers = |_: &PreparedCall| answer(200, &[], json!({}));
    let command = json!({"ubrn": "000000070000", "version": "3"});
    let walk = walk(&set(), ("RetrieveAdviceConversation", &command), Some("REFERRING_CLINICIAN"), &answers);
    assert_eq!(walk.names(), ["A025"], "a version that is known is not asked for");
    assert_eq!(
        walk.calls[0].path,
        "/STU3/Communication?based-on=CommunicationRequest/000000070000/_history/3\
         &_include=Communication%3Arequester-practitionerrole%3APractitionerRole\
         &_include=Communication%3Asender-practitionerrole%3APractionerRole\
         &_include=Communication%3Acontent-reference%3ADocumentReference"
    );
}
