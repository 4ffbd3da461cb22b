//! Selectors, references and coverage over messages, good and hostile.

use proptest::prelude::*;

use super::document::RESOURCES_MAX;
use super::*;
use crate::mapping::problem::Location;
use crate::mapping::source::{Document, Entry, Language, Selector};

const BUNDLE: &str = r##"{
  "resourceType": "Bundle", "type": "transaction",
  "entry": [
    {"fullUrl": "https://a.invalid/fhir/ServiceRequest/1", "resource": {
      "resourceType": "ServiceRequest", "id": "1", "status": "active",
      "identifier": [{"system": "local", "value": "L1"}, {"system": "ubrn", "value": "000000070001"}],
      "subject": {"reference": "Patient/1/_history/3"},
      "requester": {"reference": "#dr"},
      "contained": [{"resourceType": "Practitioner", "id": "dr", "name": [{"family": "Fabrikator"}]}],
      "performer": [{"reference": "urn:uuid:s1"}, {"reference": "urn:uuid:s2"}, {"reference": "urn:uuid:gone"}],
      "supportingInfo": [{"reference": "Patient/twin"}],
      "basedOn": [{"reference": "#"}],
      "encounter": {"reference": "Encounter/9"},
      "doNotPerform": false, "quantityQuantity": {"value": 3},
      "note": [{"text": ""}, {"text": "first"}, {"text": "second"}]
    }},
    {"fullUrl": "https://a.invalid/fhir/Patient/1", "resource": {
      "resourceType": "Patient", "id": "1", "birthDate": "1957-03-14",
      "identifier": [{"system": "hospital", "value": "H1"}, {"system": "nhs", "value": "9994120034"}],
      "name": [{"use": "usual", "given": ["Addie"]}, {"use": "official", "family": "Testerton", "given": ["Adeline", null, "Mae"]}]
    }},
    {"fullUrl": "urn:uuid:s1", "resource": {"resourceType": "HealthcareService", "name": "A"}},
    {"fullUrl": "urn:uuid:s2", "resource": {"resourceType": "HealthcareService", "name": "B"}},
    {"fullUrl": "urn:uuid:t1", "resource": {"resourceType": "Patient", "id": "twin"}},
    {"fullUrl": "urn:uuid:t2", "resource": {"resourceType": "Patient", "id": "twin"}}
  ]
}"##;

fn selector(text: &str) -> Selector {
    Selector::parse(text, Language::Fhir).unwrap_or_else(|why| panic!("{why}"))
}

/// Runs `look` over a message.
fn over<T>(text: &str, look: impl FnOnce(&FhirDocument<'_>) -> T) -> T {
    let json = Json::read(text).expect("JSON");
    let document = FhirDocument::of(text, &json).unwrap_or_else(|problems| panic!("{problems:?}"));
    look(&document)
}

#[test]
fn selectors_find_what_they_say() {
    over(BUNDLE, |document| {
        let document = Document::Fhir(document);
        for (text, expected) in [
            ("ServiceRequest.status", vec!["active"]),
            ("ServiceRequest.identifier[system=ubrn].value", vec!["000000070001"]),
            ("ServiceRequest.identifier[system!=ubrn].value", vec!["L1"]),
            ("ServiceRequest.identifier[*].value", vec!["L1", "000000070001"]),
            ("ServiceRequest.identifier[1].value", vec!["000000070001"]),
            ("ServiceRequest.identifier[system=x|ubrn].value", vec!["000000070001"]),
            ("ServiceRequest.identifier[system^=ub].value", vec!["000000070001"]),
            ("ServiceRequest.identifier[system!^=ub].value", vec!["L1"]),
            ("ServiceRequest.identifier[system$=cal].value", vec!["L1"]),
            ("ServiceRequest.identifier[use=].value", vec!["L1"]),
            ("ServiceRequest.identifier[system=ubrn,use=old].value", vec![]),
            ("ServiceRequest.note.text", vec!["first"]),
            ("ServiceRequest.note[*].text", vec!["first", "second"]),
            ("ServiceRequest.doNotPerform", vec!["false"]),
            ("ServiceRequest.quantityQuantity.value", vec!["3"]),
            ("ServiceRequest.subject -> Patient.identifier[system=nhs].value", vec!["9994120034"]),
            ("ServiceRequest.subject -> Patient.name[use=official].family", vec!["Testerton"]),
            ("ServiceRequest.subject -> Patient.name[use=official].given[2]", vec!["Mae"]),
            ("ServiceRequest.subject -> Practitioner.name.family", vec![]),
            ("ServiceRequest.requester -> Practitioner.name.family", vec!["Fabrikator"]),
            ("ServiceRequest.basedOn -> ServiceRequest.status", vec!["active"]),
            ("ServiceRequest.performer -> HealthcareService.name", vec!["A"]),
            ("ServiceRequest.performer[*] -> HealthcareService.name", vec!["A", "B"]),
            ("ServiceRequest.performer[*] -> HealthcareService[name=B].name", vec!["B"]),
            ("HealthcareService.name", vec!["A", "B"]),
            ("ServiceRequest.subject", vec![]),
            ("Observation.valueString", vec![]),
            ("ServiceRequest.status.extension.url", vec![]),
        ] {
            let found: Vec<String> =
                selector(text).all(&document, None).iter().map(|found| found.raw.clone().into_owned()).collect();
            assert_eq!(found, expected, "{text}");
        }
    });
}

#[test]
fn a_place_is_a_fhirpath_also_of_what_is_not_there() {
    over(BUNDLE, |fhir| {
        let document = Document::Fhir(fhir);
        for (text, expected) in [
            ("ServiceRequest.subject -> Patient.birthDate", "Bundle.entry[1].resource.birthDate"),
            ("ServiceRequest.subject -> Patient.gender", "Bundle.entry[1].resource.gender"),
            ("ServiceRequest.subject -> Patient.name[use=official].text", "Bundle.entry[1].resource.name[1].text"),
            ("ServiceRequest.identifier[system=none].value", "Bundle.entry[0].resource.identifier.value"),
            ("ServiceRequest.encounter -> Encounter.status", "Bundle.entry[0].resource.encounter"),
            ("ServiceRequest.requester -> Practitioner.id", "Bundle.entry[0].resource.contained[0].id"),
            ("Observation.status", "Observation.status"),
        ] {
            let location = selector(text).nominal_location(&document, None);
            assert_eq!(location, Location::Fhir(expected.into()), "{text}");
        }
        let found = selector("ServiceRequest.note.text").first(&document, None).expect("a note");
        assert_eq!(found.location(&document), Location::Fhir("Bundle.entry[0].resource.note[1].text".into()));
        let offset = found.offset(&document).expect("it has no escapes");
        assert_eq!(&BUNDLE[offset..offset + 5], "first");
    });
}

#[test]
fn a_reference_that_leads_nowhere_is_told_at_its_place_unless_it_means_something_else() {
    over(BUNDLE, |document| {
        let document = Document::Fhir(document);
        for (text, expected) in [
            (
                "ServiceRequest.performer[*] -> HealthcareService.id",
                vec!["Bundle.entry[0].resource.performer[2].reference"],
            ),
            ("ServiceRequest.encounter -> Encounter.id", vec!["Bundle.entry[0].resource.encounter.reference"]),
            // `Encounter/9` is no Patient, wherever it is.
            ("ServiceRequest.encounter -> Patient.id", vec![]),
            ("ServiceRequest.subject -> Patient.id", vec![]),
            // Two resources have that name.
            (
                "ServiceRequest.supportingInfo -> Patient.id",
                vec!["Bundle.entry[0].resource.supportingInfo[0].reference"],
            ),
        ] {
            let places: Vec<String> =
                selector(text).astray(&document, None).iter().map(|problem| problem.location.to_string()).collect();
            assert_eq!(places, expected, "{text}");
        }
    });
}

#[test]
fn inside_each_a_selector_begins_at_the_entry_and_a_type_is_the_resource_at_hand() {
    let text = r#"{"resourceType": "Bundle", "type": "transaction", "entry": [
        {"resource": {"resourceType": "DocumentReference", "status": "current",
            "content": [{"attachment": {"title": "a", "url": "urn:uuid:b"}}, {"attachment": {"title": "b"}}]}},
        {"resource": {"resourceType": "DocumentReference", "status": "superseded",
            "content": [{"attachment": {"title": "c"}}]}},
        {"fullUrl": "urn:uuid:b", "resource": {"resourceType": "Binary", "data": "QQ=="}}
    ]}"#;
    over(text, |document| {
        let document = Document::Fhir(document);
        let read = |entry: Entry<'_>, text: &str| {
            selector(text).first(&document, Some(entry)).map(|found| found.raw.into_owned()).unwrap_or_default()
        };
        let entries = selector("DocumentReference.content[*].attachment").entries(&document);
        let found: Vec<String> = entries
            .iter()
            .map(|entry| {
                let parts = ["title", "DocumentReference.status", "url -> Binary.data"].map(|text| read(*entry, text));
                parts.join(" ")
            })
            .collect();
        assert_eq!(found, ["a current QQ==", "b current ", "c superseded "]);
    });
}

#[test]
fn what_is_not_a_selector_says_why() {
    for text in [
        "",
        "Patient.",
        ".name",
        "Patient..name",
        "Patient.Name",
        "Patient.name[",
        "Patient.name[x]",
        "Patient.name[=y]",
        "Patient.name[-1]",
        "Patient.name ->",
        "Patient.name -> family",
        "Patient->Patient->Patient->Patient->Patient->Patient",
        "PID-3.1",
        "Patient name",
    ] {
        assert!(FhirSelector::parse(text).is_err(), "{text:?} was accepted");
    }
}

#[test]
fn a_structure_that_cannot_be_taken_is_told_with_its_place() {
    let entry = |url: &str| format!(r#"{{"fullUrl": "{url}", "resource": {{"resourceType": "Patient"}}}}"#);
    let many = vec![r#"{"resource": {"resourceType": "Patient"}}"#; RESOURCES_MAX + 1].join(",");
    let bundle =
        |kind: &str, entries: &str| format!(r#"{{"resourceType": "Bundle", "type": "{kind}", "entry": [{entries}]}}"#);
    for (text, place, code) in [
        ("[1]".to_owned(), "message", 100),
        ("{}".to_owned(), "message", 100),
        (bundle("batch", &entry("urn:a")), "Bundle.type", 200),
        (bundle("collection", &entry("urn:a")), "Bundle.type", 200),
        (r#"{"resourceType": "Bundle"}"#.to_owned(), "Bundle.type", 101),
        (bundle("transaction", ""), "Bundle.entry", 101),
        (bundle("transaction", "{}"), "Bundle.entry[0].resource", 101),
        (bundle("transaction", "null, 1"), "Bundle.entry[0].resource", 101),
        (bundle("message", &entry("urn:a")), "Bundle.entry[0].resource", 100),
        (bundle("transaction", &[entry("urn:a"), entry("urn:a")].join(",")), "Bundle.entry[1].fullUrl", 100),
        (bundle("transaction", &many), "Bundle.entry", 104),
    ] {
        let json = Json::read(&text).expect("JSON");
        let problems = FhirDocument::of(&text, &json).err().unwrap_or_default();
        let first = problems.first().map(|problem| (problem.location.to_string(), problem.code));
        assert_eq!(first, Some((place.to_owned(), code)), "{}", text.chars().take(80).collect::<String>());
    }
}

#[test]
fn circles_of_references_and_fans_of_them_come_to_an_end() {
    let circle = r#"{"resourceType": "Bundle", "type": "transaction", "entry": [
        {"fullUrl": "urn:a", "resource": {"resourceType": "Task", "focus": {"reference": "urn:b"}}},
        {"fullUrl": "urn:b", "resource": {"resourceType": "Task", "focus": {"reference": "urn:a"}, "status": "x"}}
    ]}"#;
    over(circle, |document| {
        let document = Document::Fhir(document);
        let found = selector("Task.focus -> Task.focus -> Task.focus -> Task.status").all(&document, None);
        assert_eq!(found.len(), 1);
    });
    let references = vec![r#"{"reference": "urn:a"}"#; 2_000].join(",");
    let fan = format!(
        r#"{{"resourceType": "Bundle", "type": "transaction", "entry": [
            {{"fullUrl": "urn:a", "resource": {{"resourceType": "Task", "basedOn": [{references}]}}}}]}}"#
    );
    let started = std::time::Instant::now();
    over(&fan, |fhir| {
        let document = Document::Fhir(fhir);
        let long = selector("Task.basedOn[*] -> Task.basedOn[*] -> Task.basedOn[*] -> Task.status");
        assert_eq!(long.all(&document, None).len(), 0);
        assert!(fhir.is_exhausted());
    });
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}

/// As large as a message may be, and wrong in every entry.
#[test]
fn a_message_that_is_wrong_everywhere_is_refused_in_time() {
    let many = |entry: &str, count: usize| vec![entry; count].join(",");
    for (what, members) in [
        ("services without a number", format!(r#""performer": [{}]"#, many(r##"{"reference": "#"}"##, 80_000))),
        (
            "references that lead nowhere",
            format!(r#""supportingInfo": [{}]"#, many(r##"{"reference": "#x"}"##, 80_000)),
        ),
        (
            "NHS numbers that differ",
            format!(
                r##""subject": {{"reference": "#p"}}, "contained": [{{"resourceType": "Patient", "id": "p", "identifier": [
                    {{"system": "https://fhir.nhs.uk/Id/nhs-number", "value": "9994120034"}}, {}]}}]"##,
                many(r#"{"system": "https://fhir.nhs.uk/Id/nhs-number", "value": "9994121405"}"#, 60_000)
            ),
        ),
        ("elements that change others", format!(r#""note": [{}]"#, many(r#"{"modifierExtension": 1}"#, 100_000))),
    ] {
        let text = format!(r#"{{"resourceType": "ServiceRequest", "status": "active", "intent": "order", {members}}}"#);
        let started = std::time::Instant::now();
        let problems = over(&text, |document| {
            let set = crate::mapping::tests::set();
            let dialect = set.dialect("default").expect("shipped");
            set.normalise_fhir(dialect, document, &serde_json::Map::new(), None).problems.len()
        });
        assert!((1..500).contains(&problems), "{what}: {problems}");
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "{what}: {:?}", started.elapsed());
    }
}

#[test]
fn what_is_unread_is_told_by_its_name_and_odd_names_are_not_repeated() {
    let text = r#"{"resourceType": "Patient", "birthDate": "1957-03-14", "telecom": [{"value": "1"}, {"value": "2"}],
        "Testerton 9994120034": "x", "active": "", "deceasedBoolean": null, "maritalStatus": {"coding": []}}"#;
    over(text, |document| {
        let mut elements = Elements::default();
        elements.add(&FhirSelector::parse("Patient.birthDate").expect("a selector"), None);
        assert_eq!(elements.unused(document), ["Patient.telecom.value", "Patient.(unusual name)"]);
        elements.ignore(&IgnoredElement::parse("Patient.telecom").expect("an element"));
        assert_eq!(elements.unused(document), ["Patient.(unusual name)"]);
        elements.ignore(&IgnoredElement::parse("Patient").expect("a type"));
        assert_eq!(elements.unused(document), Vec::<String>::new());
    });
    for text in ["PID", "patient", "*", "Patient.", "Patient.Name", "Patient.name[0]", "*.Name", ""] {
        assert_eq!(IgnoredElement::parse(text), None, "{text:?}");
    }
}

/// JSON around the words that messages are made of.
fn hostile() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let word = prop::sample::select(vec![
        "Bundle",
        "message",
        "transaction",
        "ServiceRequest",
        "Patient",
        "MessageHeader",
        "DocumentReference",
        "Appointment",
        "urn:a",
        "urn:b",
        "#",
        "#a",
        "Patient/a",
        "Patient/a/_history/1",
        "/",
        "//",
        "a",
        "active",
        "current",
        "POST",
        "QQ==",
        "",
        "https://fhir.nhs.uk/Id/nhs-number",
        "9994120034",
        "\u{202e}",
        "é",
    ]);
    let name = prop::sample::select(vec![
        "resourceType",
        "type",
        "entry",
        "resource",
        "fullUrl",
        "reference",
        "identifier",
        "system",
        "value",
        "subject",
        "contained",
        "id",
        "status",
        "performer",
        "content",
        "attachment",
        "data",
        "url",
        "note",
        "text",
        "supportingInfo",
        "modifierExtension",
        "extension",
        "name",
        "request",
        "method",
        "context",
        "related",
        "basedOn",
        "participant",
        "actor",
    ]);
    let leaf = prop_oneof![
        word.prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!(true))
    ];
    leaf.prop_recursive(6, 120, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..8).prop_map(|members| members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
        if let Ok(selector) = FhirSelector::parse(&text) {
            over(BUNDLE, |document| {
                selector.visit(document, None, &mut |_| Took::More, &mut |_, _| {});
                let _ = selector.nominal(document, None);
            });
        }
    }

    #[test]
    fn no_message_makes_mapping_panic(
        resources in prop::collection::vec(hostile(), 1..6),
        kinds in prop::collection::vec(prop::sample::select(vec![
            "ServiceRequest", "Patient", "DocumentReference", "Appointment", "Task", "MessageHeader", "HealthcareService",
        ]), 6),
    ) {
        let entries: Vec<serde_json::Value> = resources.into_iter().zip(kinds).enumerate().map(|(number, (mut resource, kind))| {
            if let Some(members) = resource.as_object_mut() {
                members.insert("resourceType".into(), kind.into());
            }
            serde_json::json!({"fullUrl": format!("urn:{number}"), "resource": resource})
        }).collect();
        let text = serde_json::json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string();
        let json = Json::read(&text).expect("JSON");
        if let Ok(document) = FhirDocument::of(&text, &json) {
            let set = crate::mapping::tests::set();
            let dialect = set.dialect("default").expect("shipped");
            let mut trace = crate::mapping::Trace::default();
            let _ = set.normalise_fhir(dialect, &document, &serde_json::Map::new(), Some(&mut trace));
        }
    }

    #[test]
    fn any_json_is_a_message_or_refused(json in hostile()) {
        let text = json.to_string();
        let json = Json::read(&text).expect("JSON");
        let _ = FhirDocument::of(&text, &json);
    }
}
