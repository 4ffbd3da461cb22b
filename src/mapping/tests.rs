//! The shipped set against the sample messages and the official e-RS request samples.

mod advice;
mod appointments;
mod cancellation;
mod changes;
mod deprecated;
mod samples;
mod services;
mod settling;
mod walk;

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};

use super::*;
use crate::hl7::Message;

/// The shipped mappings, loaded once for all tests.
pub(crate) fn set() -> Arc<MappingSet> {
    static SHIPPED: LazyLock<Arc<MappingSet>> = LazyLock::new(|| match MappingSet::built_in() {
        Ok(set) => Arc::new(set),
        Err(diagnostics) => {
            panic!(
                "the shipped mappings are broken:\n{}",
                diagnostics.iter().map(|d| format!("{d}\n")).collect::<String>()
            )
        }
    });
    SHIPPED.clone()
}

fn sample(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hl7/");
    let file = std::fs::read_dir(folder)
        .expect("the samples are there")
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with(name))
        .unwrap_or_else(|| panic!("no sample {name}"));
    String::from_utf8(std::fs::read(file.path()).expect("readable")).expect("this sample is UTF-8")
}

fn dialect_of(message: &Message<'_>) -> &'static str {
    let application = message.segment("MSH").and_then(|msh| msh.field(3)).map(|field| field.raw().to_owned());
    match application.as_deref().unwrap_or_default().split('^').next().unwrap_or_default() {
        "NMPAS" => "northmoor",
        "EASTVALE" => "eastvale",
        "SBEPR" => "southbeck",
        "WMCARE" => "westmere",
        _ => "default",
    }
}

fn normalised(set: &MappingSet, name: &str) -> Normalised {
    let text = sample(name);
    let message = Message::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let dialect = set.dialect(dialect_of(&message)).expect("shipped");
    let settings = json!({"trustUntraced": true}).as_object().cloned().unwrap_or_default();
    set.normalise(dialect, &message, encoding_rs::UTF_8, &settings, None)
}

fn body(set: &MappingSet, name: &str) -> Value {
    match normalised(set, name) {
        Normalised { kind: Kind::Command(draft), .. } => draft.body,
        other => panic!("{name} made no command: {other:?}"),
    }
}

#[test]
fn samples_become_the_commands_that_the_index_says() {
    let set = set();
    for (name, pointer, expected) in [
        ("01-", "/patient/nhsNumber", json!("9994120034")),
        ("01-", "/priority", json!("ROUTINE")),
        ("01-", "/shortlist/2/service", json!("20003")),
        ("01-", "/localId", json!("NM-REF-88001")),
        ("01-", "/referrer/sdsUserId", json!("555012345678")),
        ("02-", "/patient/nhsNumberStatus", json!("01")),
        ("02-", "/specialty", json!("CARDIOLOGY")),
        ("02-", "/clinicType", json!("CHEST_PAIN")),
        ("02-", "/pathway/id", json!("RYY0000000000EV55210")),
        ("02-", "/pathway/issuer", json!("RYY00")),
        ("02-", "/gpPractice", json!("Z99001")),
        ("02-", "/shortlist/1/service", json!("20012")),
        ("03-", "/priority", json!("URGENT")),
        ("03-", "/letters/0/bytes", json!(403)),
        ("03-", "/letters/0/contentType", json!("application/pdf")),
        ("04-", "/priority", json!("TWO_WEEK_WAIT")),
        ("04-", "/clinicType", json!("2WW_LOWER_GI")),
        ("05-", "/then", json!("triage")),
        ("06-", "/patient/given", json!("FFÎON")),
        ("07-", "/priority", json!("URGENT")),
        ("07-", "/letters/0/contentType", json!("text/plain")),
        ("09-", "/service", json!("20081")),
        ("09-", "/conversion", json!("AUTHORISED_TO_CONVERT")),
        ("11-", "/ubrn", json!("000000070001")),
        ("11-", "/shortlist/1/service", json!("20014")),
        ("13-", "/reason", json!("INTEND_PRIVATE")),
        ("13-", "/comment", json!("Patient will go to a private clinic")),
        ("15-", "/ubrn", json!("000000070003")),
        ("16-", "/slot", json!("11008006")),
        ("16-", "/start", json!("2026-04-11T13:15:00+01:00")),
        ("16-", "/clinician", json!("555012340001")),
        ("18-", "/service", json!("20012")),
        ("20-", "/appointment", json!("70001")),
        ("20-", "/reason", json!("PATIENT_HOLIDAY")),
        ("24-", "/ubrn", json!("000000070001")),
        ("24-", "/letters/0/fileName", json!("referral-letter.pdf")),
        ("31-", "/ubrn", json!("000000070001")),
        ("40-", "/shortlist/0/service", json!("20011")),
        ("77-", "/patient/family", json!("<script>alert(1)</script>")),
        ("83-", "/patient/family", json!("SAMPLEWORTH")),
    ] {
        assert_eq!(body(&set, name).pointer(pointer), Some(&expected), "{name} {pointer}");
    }
}

#[test]
fn refusals_name_the_place_and_the_code() {
    let set = set();
    for (name, location, code) in [
        ("54-", "MSH-9.2", 201),
        ("55-", "MSH-9.1", 200),
        ("56-", "PID-3.1", 102),
        ("58-", "PID-32.1", 103),
        ("71-", "OBX-5.5", 102),
        ("73-", "PID", 100),
        ("81-", "ZRS", 101),
    ] {
        let problems = normalised(&set, name).problems;
        let found: Vec<(String, u16)> = problems.iter().map(|p| (p.location.to_string(), p.code)).collect();
        assert_eq!(found, [(location.to_owned(), code)], "{name}: {problems:?}");
    }
}

#[test]
fn no_populated_field_of_a_core_sample_is_unaccounted_for() {
    let set = set();
    for name in ["01-", "02-", "03-", "04-", "05-", "06-", "07-", "24-"] {
        assert_eq!(normalised(&set, name).unused, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn clinical_text_becomes_a_letter_of_its_own() {
    let set = set();
    let Normalised { kind: Kind::Command(draft), .. } = normalised(&set, "52-") else { panic!("52 makes a command") };
    let (_, text) = draft.documents.first().expect("the note is a document");
    let text = std::str::from_utf8(text).expect("UTF-8");
    assert!(text.contains("- F=| S=^ T=& R=~ E=\\ hex=AB"), "{text}");
    assert_eq!(draft.body.pointer("/letters/0/fileName"), Some(&json!("clinical-information.txt")));
}

fn official(name: &str) -> Value {
    let path = format!("{}/tests/data/ers/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("the sample is there")).expect("the sample is JSON")
}

fn preview(set: &MappingSet, command: &str, body: &Value, business_function: &str) -> Vec<PreparedCall> {
    assert_eq!(set.schemas().violations(command, body), [], "the command is valid");
    let connection = json!({"codeSystemBase": "_baseUrl_", "businessFunction": business_function});
    let context = PlanContext {
        command,
        id: "",
        body,
        known: &json!({"ubrn": "000000070000"}),
        connection: &connection,
        settings: &Value::Object(Map::new()),
        now: "2026-03-16T09:30:00Z",
    };
    set.preview(&context).expect("the plan can be made")
}

fn json_body<'c>(calls: &'c [PreparedCall], call: &str) -> &'c Value {
    match calls.iter().find(|prepared| prepared.call == call).map(|prepared| &prepared.body) {
        Some(CallBody::Json(body)) => body,
        other => panic!("{call} has no JSON body: {other:?}"),
    }
}

#[test]
fn filters_are_for_the_lists_of_a_provider() {
    let set = set();
    for (command, is_valid) in [
        (json!({"list": "AWAITING_BOOKING", "service": "21012"}), false),
        (json!({"list": "REFERRALS_FOR_REVIEW", "specialty": "CARDIOLOGY"}), false),
        (
            json!({"list": "REFERRALS_FOR_REVIEW", "specialty": "CARDIOLOGY", "specialtyAssigned": "NOT_ASSIGNED"}),
            false,
        ),
        (json!({"list": "REFERRALS_FOR_REVIEW", "specialty": "CARDIOLOGY", "specialtyAssigned": "ASSIGNED"}), true),
    ] {
        let violations = set.schemas().violations("RetrieveWorklist", &command);
        assert_eq!(violations.is_empty(), is_valid, "{command}: {violations:?}");
    }
}

#[test]
fn reads_are_known_by_what_they_call() {
    let set = set();
    let reads: Vec<&str> = set.plans().filter(|plan| plan.is_read()).map(|plan| plan.command.as_str()).collect();
    for name in [
        "RetrieveAvailableActions",
        "RetrieveBusinessFunctions",
        "RetrieveReferenceData",
        "RetrieveReferral",
        "RetrieveServices",
        "RetrieveWorklist",
        "SearchServices",
    ] {
        assert!(reads.contains(&name), "{name}: {reads:?}");
    }
    for name in ["CreateReferral", "AttachLetters"] {
        assert!(!reads.contains(&name), "{name}");
    }
}

#[test]
fn the_directory_is_asked_one_question_at_a_time() {
    let set = set();
    let both = json!({"service": "11002", "versionOf": "11002"});
    assert!(!set.schemas().violations("RetrieveServices", &both).is_empty());
}

fn letter_handle(description: &str, indexed: &str) -> Value {
    json!({
        "fileName": "results.pdf", "contentType": "application/pdf", "description": description, "indexed": indexed,
        "bytes": 17, "sha256": "0".repeat(64), "content": {"in": "document", "number": 1}
    })
}

/// The calls of a plan that is carried out with given answers, so that later bodies hold what e-RS would have said.
fn run(set: &MappingSet, command: &str, body: &Value, answers: &[(&str, Reply)]) -> Vec<PreparedCall> {
    let walk = walk::walk_through(set, (command, body), json!({"ubrn": "000000070000"}), answers);
    walk.result();
    walk.calls
}

fn answer(status: u16, headers: &[(&str, &str)], body: Value) -> Reply {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Reply { status, headers, body: ReplyBody::of(body.to_string().into()), document: None }
}

#[test]
fn letters_that_are_linked_already_are_kept() {
    let set = set();
    let one = json!({"ubrn": "000000070000", "letters": [letter_handle("New", "2026-03-16T09:30:00Z")]});
    let calls = run(
        &set,
        "AttachLetters",
        &one,
        &[
            ("A005", answer(200, &[], official("a005-retrieve-referral-request/response-unbooked.json"))),
            ("A020", answer(201, &[("location", "Binary/new")], Value::Null)),
            ("A012", answer(200, &[], json!({"meta": {"versionId": "6"}}))),
        ],
    );
    let urls: Vec<&Value> = json_body(&calls, "A012")["parameter"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|parameter| &parameter["resource"]["content"][0]["attachment"]["url"])
        .collect();
    assert_eq!(urls, ["Binary/19eb7224-dff3-4730-a5cb-67eac811f1a5", "Binary/new"]);
}

#[test]
fn the_official_a016_triage_sample_is_made_exactly() {
    let set = set();
    let mut command = json!({
        "patient": {"nhsNumber": "9912003888"}, "priority": "URGENT", "shortlist": [{"service": "50001"}],
        "letterIntention": "NEED_TO_ADD_LATER", "firstReminderDays": 0, "then": "triage",
    });
    command["letters"] = json!([letter_handle("Letter", "2026-03-16T09:30:00Z")]);
    let calls = run(
        &set,
        "CreateReferral",
        &command,
        &[
            ("A011", answer(201, &[], json!({"id": "000000070000", "meta": {"versionId": "3"}}))),
            ("A020", answer(201, &[("location", "Binary/x")], Value::Null)),
            ("A012", answer(200, &[], json!({"meta": {"versionId": "6"}}))),
            ("A016", answer(201, &[], json!({"id": "70000"}))),
        ],
    );
    assert_eq!(json_body(&calls, "A016"), &official("a016-book-or-defer-appointment/request-triage-deferral.json"));
}

#[test]
fn mistakes_in_mapping_files_are_all_reported_with_line_and_hint() {
    for (file, text, line, expected) in [
        ("inbound/x/REF_I12.yaml", "comand: CreateReferral\n", 1, "did you mean `command`?"),
        ("inbound/x/REF_I12.yaml", "body:\n  priority: { at: RF12-1 }\n", 2, "not a selector"),
        ("inbound/x/REF_I12.yaml", "body:\n  priority: { at: RF1-2, then: uper }\n", 2, "did you mean `upper`?"),
        (
            "inbound/x/REF_I12.yaml",
            "body:\n  priority: { at: RF1-2, code: prioritty }\n",
            2,
            "did you mean `priority`?",
        ),
        ("inbound/x/REF_I12.yaml", "body:\n  specialtyy: ZAP-2\n", 2, "did you mean `specialty`?"),
        (
            "inbound/x/REF_I12.yaml",
            "body:\n  shortlist:\n    each: ZAP\n    of:\n      servise: \"2\"\n",
            5,
            "did you mean `service`?",
        ),
        ("codes/x/priority.csv", "local,ers\n1,ROUTINE\n2,URGENTT\n", 3, "did you mean `URGENT`?"),
        (
            "ers/X.yaml",
            "command: CreateReferral\nsteps:\n  - step: a\n    call: A11\n",
            4,
            "not in ers/operations.yaml",
        ),
        (
            "ers/X.yaml",
            "command: CreateReferral\nsteps:\n  - step: a\n    call: A011\n    body: { x: \"{command.priorty}\" }\n",
            5,
            "did you mean `priority`?",
        ),
        (
            "ers/X.yaml",
            "command: CreateReferral\nsteps:\n  - step: a\n    call: A011\n    body: { x: \"{saved.ubrn}\" }\n",
            5,
            "no step saves `ubrn`",
        ),
        (
            "ers/X.yaml",
            "command: CreateReferral\nsteps:\n  - step: a\n    call: A011\n    lacks: [[known.version, comand.x]]\n",
            5,
            "did you mean `command`?",
        ),
        (
            "ers/X.yaml",
            "command: CreateReferral\nsteps:\n  - step: a\n    call: A011\n  - step: b\n    call: A012\n    path: { ubrn: x }\n    stale: a\n",
            8,
            "names a step above this one that reads",
        ),
        ("ers/X.yaml", "command: CreateReferral\nsteps:\n  - use: BookByWhish\n", 3, "did you mean `BookByWish`?"),
        (
            "ers/X.yaml",
            "command: CreateReferral\nsteps:\n  - step: a\n    call: A011\n    next_on: [X]\n",
            5,
            "`next_on` goes with `each`",
        ),
        (
            "ers/X.yaml",
            "command: CreateReferral\nsteps:\n  - step: a\n    call: A011\n    again: { while: true, max: 1000 }\n",
            5,
            "`max`, from 2 to 100 calls",
        ),
        (
            "ers/X.yaml",
            "command: CreateReferral\nsteps:\n  - step: a\n    call: A011\n    each: command.letters\n    again: { while: true, max: 2 }\n",
            6,
            "do not go together",
        ),
        (
            "ers/X.yaml",
            "command: CreateReferral\nsteps: []\nhalted:\n  - event: Lost\n    on: failed\n    needs: saved.ubrn\n    data: {}\n",
            6,
            "no step saves `ubrn`",
        ),
        (
            "ers/X.yaml",
            "command: CreateReferral\nsteps: []\nhalted:\n  - event: Lost\n    on: fialed\n    data: {}\n",
            5,
            "did you mean `failed`?",
        ),
        (
            "ers/X.yaml",
            "command: CreateReferral\nsteps: []\nhalted:\n  - event: Lost\n    data: {}\n",
            4,
            "when is Lost published?",
        ),
        ("ers/X.yaml", "command: CreateReferal\nsteps: []\n", 1, "did you mean `CreateReferral`?"),
        ("codes/x/priority.csv", "a;b\n", 1, "the first line must be"),
    ] {
        let mut files = MappingFiles::built_in();
        files.insert("inbound/x/dialect.yaml", "about: a test\n");
        files.insert(file, text);
        let diagnostics = MappingSet::load(files).expect_err(expected);
        let shown: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
        let found = diagnostics.iter().any(|d| d.file == file && d.line == line && d.to_string().contains(expected));
        assert!(found, "wanted {file}:{line} {expected}, got {shown:#?}");
    }
}

#[test]
fn only_the_answers_of_reads_are_kept() {
    let mut files = MappingFiles::built_in();
    let catalogue = files.get("ers/operations.yaml").expect("the catalogue").replace("timeout: 185s", "keep: 1h");
    files.insert("ers/operations.yaml", &catalogue);
    let diagnostics = MappingSet::load(files).expect_err("A014, A016, A022, A034 and A036 write");
    let shown: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    let told: Vec<bool> = ["A014", "A016", "A022", "A034", "A036"]
        .iter()
        .zip(&shown)
        .map(|(call, text)| text.contains(&format!("{call} has `keep`")))
        .collect();
    assert_eq!((told, shown.len()), (vec![true; 5], 5), "{shown:?}");
}

/// A dialect whose NHS number is made by an expression, from `NHS:9994120034` in PID-3.
fn expression_dialect() -> MappingSet {
    let mut files = MappingFiles::built_in();
    files.insert("inbound/x/dialect.yaml", "about: a test\n");
    let text = "body:\n  patient.nhsNumber: { expr: \"id | replace('NHS:', '')\", with: { id: PID-3 } }\n";
    files.insert("inbound/x/REF_I12.yaml", text);
    MappingSet::load(files).expect("the test's dialect is well-formed")
}

#[test]
fn a_check_digit_is_counted_however_the_number_was_made() {
    let set = expression_dialect();
    for (number, refused) in [("9994120034", false), ("9994120035", true)] {
        let text = sample("01-").replace("\rPID|", &format!("\rPID|1||NHS:{number}||TESTERTON^ADELINE\rNTE|1||"));
        let message = Message::parse(&text).expect("still HL7 v2");
        let dialect = set.dialect("x").expect("just loaded");
        let found = set.normalise(dialect, &message, encoding_rs::UTF_8, &Map::new(), None);
        let at_the_number =
            found.problems.iter().any(|problem| problem.code == 102 && problem.location.to_string() == "PID-3");
        assert_eq!(at_the_number, refused, "{number}: {:?}", found.problems);
    }
}

#[test]
fn a_trace_has_what_an_expression_reads() {
    let set = expression_dialect();
    let text = sample("01-");
    let message = Message::parse(&text).expect("a sample");
    let mut trace = Trace::default();
    let dialect = set.dialect("x").expect("just loaded");
    set.normalise(dialect, &message, encoding_rs::UTF_8, &Map::new(), Some(&mut trace));
    assert!(trace.rows.iter().any(|row| row.pointer == "/patient/nhsNumber" && row.selector == "PID-3"));
}

#[test]
fn a_specification_speaks_the_senders_language() {
    let set = set();
    let text = specification(set.dialect("default").expect("shipped"));
    for part in ["nhs_number", "`PRD[1=RT]-7[2=ERS].1`", "OBX[2=ED]-11 must be F or C."] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("NhsNumber"), "{text}");
}

#[test]
fn a_set_survives_its_archive_and_keeps_its_digest() {
    let set = set();
    let files = MappingFiles::from_archive(&set.files().to_archive()).expect("its own archive");
    assert_eq!(MappingSet::load(files).expect("still valid").digest(), set.digest());
}

/// What an editor is told of a mapping file must be what the gateway takes.
#[test]
fn every_shipped_file_is_valid_for_editors_too() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/mappings/");
    let schema = |name: &str| {
        let text = std::fs::read_to_string(format!("{folder}{name}.json")).expect("the schema is there");
        jsonschema::draft202012::new(&serde_json::from_str(&text).expect("JSON")).expect("a schema")
    };
    let (inbound, dialect, plan, test) = (schema("inbound"), schema("dialect"), schema("plan"), schema("test"));
    let (reply, worklist) = (schema("reply"), schema("worklist"));
    let files = MappingFiles::built_in();
    let mut checked = 0;
    let mut check = |schema: &jsonschema::Validator, file: &str, text: &str| {
        let mut diagnostics = diagnostic::Diagnostics::default();
        let node = yaml::parse(file, text, &mut diagnostics).unwrap_or_else(|| panic!("{file} is YAML"));
        let errors: Vec<String> =
            schema.iter_errors(&node.to_json()).map(|error| format!("{} {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{file}: {errors:#?}");
        checked += 1;
    };
    for name in files.folders_in("inbound") {
        for (stem, file, text) in files.in_folder(&format!("inbound/{name}"), "yaml") {
            check(if stem == "dialect" { &dialect } else { &inbound }, file, text);
        }
        for (_, file, text) in files.in_folder(&format!("inbound/{name}/tests"), "yaml") {
            check(&test, file, text);
        }
    }
    for (_, file, text) in files.in_folder("worklists", "yaml") {
        check(&worklist, file, text);
    }
    for name in files.folders_in("replies") {
        for (_, file, text) in files.in_folder(&format!("replies/{name}"), "yaml") {
            check(&reply, file, text);
        }
    }
    let (outbound, outbound_test) = (schema("outbound"), schema("outbound-test"));
    for name in files.folders_in("outbound") {
        for (_, file, text) in files.in_folder(&format!("outbound/{name}"), "yaml") {
            check(&outbound, file, text);
        }
        for (_, file, text) in files.in_folder(&format!("outbound/{name}/tests"), "yaml") {
            check(&outbound_test, file, text);
        }
    }
    for (stem, file, text) in files.in_folder("ers", "yaml") {
        match stem {
            "operations" | "outcomes" | "fragments" | "steps" => {}
            "settling" => check(&schema("settling"), file, text),
            _ => check(&plan, file, text),
        }
    }
    assert!(checked > 25, "{checked} files");
}

mod hostile {
    use proptest::prelude::*;

    use super::*;

    /// YAML-like text around the words that mapping files are made of.
    fn mapping_text() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec![
            "from",
            "event",
            "ReferralReceived",
            "message",
            "skip",
            "segments",
            "hl7v2",
            "REF^I12",
            "command",
            "CreateReferral",
            "body",
            "at",
            "PID-3",
            "each",
            "of",
            "then",
            "expr",
            "with",
            "letters",
            "data",
            "steps",
            "halted",
            "on",
            "lacks",
            "again",
            "stale",
            "use",
            "next_on",
            "$where",
            "while",
            "max",
            "step",
            "call",
            "A011",
            "$each",
            "$mentions",
            "$use",
            "$need",
            "{command.x}",
            "{{ x |",
            "[",
            "]",
            "{",
            "}",
            ": ",
            "- ",
            "\n",
            "\n  ",
            "\n    ",
            "&a",
            "*a",
            "!!",
            "\t",
            "\"",
            "'",
            "#",
            "null",
            "1e9",
            "~",
        ]);
        prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn no_mapping_file_makes_loading_panic(text in mapping_text(), file in prop::sample::select(vec![
            "inbound/x/REF_I12.yaml", "inbound/x/dialect.yaml", "ers/X.yaml", "ers/fragments.yaml", "codes/x/priority.csv",
            "ers/operations.yaml", "ers/settling.yaml", "outbound/x/ReferralReceived.yaml", "outbound/x/dialect.yaml",
        ])) {
            let mut files = MappingFiles::built_in();
            files.insert("inbound/x/dialect.yaml", "about: hostile\n");
            files.insert(file, &text);
            let _ = MappingSet::load(files);
        }

        #[test]
        fn no_text_makes_an_expression_panic(source in "\\PC{0,60}") {
            if let Ok(expression) = expression::Expression::compile(&source) {
                let _ = expression.evaluate(minijinja::context! { x => "text" });
            }
        }

        #[test]
        fn no_message_makes_normalising_panic(fields in prop::collection::vec("[^\r\n]{0,30}", 0..60), cut in 0usize..2000) {
            let set = set();
            let mut text = sample("02-");
            text.truncate(text.char_indices().nth(cut).map_or(text.len(), |(at, _)| at));
            for (number, field) in fields.iter().enumerate() {
                let name = ["PID", "RF1", "PRD", "OBX", "NTE", "ZRS", "ZRX", "XYZ"][number % 8];
                text.push_str(&format!("\r{name}|{field}|{field}"));
            }
            if let Ok(message) = Message::parse(&text) {
                let dialect = set.dialect("eastvale").expect("shipped");
                let _ = set.normalise(dialect, &message, encoding_rs::UTF_8, &Map::new(), None);
            }
        }
    }
}
