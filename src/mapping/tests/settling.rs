//! What reading e-RS back proves.

use super::*;

/// What the reads of a settling come to, with these answers in their order.
fn proof(call: &str, sent: Value, known: &Value, answers: &[Value]) -> Proof {
    let set = set();
    let settling = set.settling(call).expect("it is in the file");
    let (body, nothing) = (json!({}), json!({}));
    let context = PlanContext {
        command: "SendAdviceResponse",
        id: "",
        body: &body,
        known,
        connection: &nothing,
        settings: &nothing,
        now: "2026-03-16T09:30:00.000Z",
    };
    let mut state = Settling::begin(sent, Value::Null);
    for answer in answers {
        let Ok(NextCall::Call(call)) = set.next_look(settling, &context, &mut state) else { panic!("a read more") };
        let reply = super::answer(200, &[], answer.clone());
        settling.absorb(&context, &mut state, &call, &reply).unwrap_or_else(|problem| panic!("{}", problem.text));
    }
    assert!(matches!(set.next_look(settling, &context, &mut state), Ok(NextCall::Done(_))));
    settling.proof(&context, &state).unwrap_or_else(|problem| panic!("{}", problem.text))
}

#[test]
fn the_same_words_of_an_earlier_answer_prove_nothing() {
    let guidance = json!({"name": "guidance", "valueString": "Which drug?"});
    let sent = json!({
        "version": "3", "from": "2026-03-16T09:28:00.000Z", "body": {"parameter": [guidance]},
    });
    let known = json!({"ubrn": "000049146177"});
    let talk = |at: Option<&str>, by: &str| {
        let mut message = json!({
            "resourceType": "Communication", "category": [{"coding": [{"code": by}]}],
            "note": [{"text": "Which drug?"}],
        });
        if let Some(at) = at {
            message["sent"] = at.into();
        }
        json!({"entry": [{"resource": message}]})
    };
    let proved = |version: &str, talk: Value| {
        let request = json!({"id": "000049146177", "meta": {"versionId": version}});
        proof("A026", sent.clone(), &known, &[request, talk])
    };
    let ours = proved("4", talk(Some("2026-03-16T09:29:30.120Z"), "RESPONDER"));
    assert!(matches!(ours, Proof::Done { .. }), "{ours:?}");
    for (at, by) in [
        (Some("2026-03-15T17:00:00.000Z"), "RESPONDER"),
        (None, "RESPONDER"),
        (Some("2026-03-16T09:29:30.120Z"), "REQUESTER"),
    ] {
        let nothing = proved("4", talk(at, by));
        assert!(matches!(nothing, Proof::Nothing { .. }), "{at:?} {by}: {nothing:?}");
    }
    let undone = proved("3", talk(Some("2026-03-15T17:00:00.000Z"), "RESPONDER"));
    assert!(matches!(undone, Proof::NotDone { .. }), "{undone:?}");
}

#[test]
fn a_lost_referral_is_looked_for_among_the_entries_that_mention_its_patient_only() {
    let (ours, other) = ("9990000018", "9990000026");
    let sent = json!({
        "from": "2026-03-16T09:28:00.000Z",
        "body": {"parameter": [{"name": "patient", "valueIdentifier": {"value": ours}}]},
    });
    let entry = |ubrn: &str, patient: &str, created: &str| {
        let facts = json!([
            {"url": "patient", "valueReference": {"identifier": {"value": patient}}},
            {"url": "referralCreated", "valueDateTime": created},
        ]);
        json!({"extension": [{"extension": facts}], "item": {"reference": format!("ReferralRequest/{ubrn}")}})
    };
    let lists = |entries: Value| {
        let set = set();
        let settling = set.settling("A011").expect("it is in the file");
        let nothing = json!({});
        let context = PlanContext {
            command: "CreateReferral",
            id: "",
            body: &nothing,
            known: &nothing,
            connection: &nothing,
            settings: &nothing,
            now: "2026-03-16T09:30:00.000Z",
        };
        let mut state = Settling::begin(sent.clone(), Value::Null);
        let Ok(NextCall::Call(call)) = set.next_look(settling, &context, &mut state) else { panic!("a list") };
        let reply = super::answer(200, &[], json!({ "entry": entries }));
        settling.absorb(&context, &mut state, &call, &reply).map(|_| state.saved["awaiting"].clone())
    };
    let found = lists(json!([
        entry("000000000001", other, "2026-03-16T09:29:00Z"),
        entry("000000000002", ours, "2026-03-16T09:29:00Z"),
        entry("000000000003", ours, "2026-03-15T09:29:00Z"),
        // Nothing is evaluated of what mentions others, so nothing can be wrong with it.
        entry("000000000004", other, "no time"),
        entry("000000000005", &format!("{ours} and more"), "no time"),
    ]));
    assert_eq!(found.unwrap_or_else(|problem| panic!("{}", problem.text)), json!([{"ubrn": "000000000002"}]));
    let unreadable = lists(json!([entry("000000000006", ours, "no time")]));
    assert!(unreadable.is_err(), "this patient's is not passed over: {unreadable:?}");
}
