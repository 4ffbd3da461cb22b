use serde_json::json;

use super::*;
use crate::mapping::{MappingFiles, MappingSet};

const GOOD: &str = "from: { event: ReferralReceived }\nmessage: REF^I12^REF_I12\nversion: \"2.4\"\n";

fn with(file: &str, text: &str) -> Result<MappingSet, Vec<String>> {
    let mut files = MappingFiles::built_in();
    files.insert(file, text);
    MappingSet::load(files).map_err(|found| found.iter().map(ToString::to_string).collect())
}

fn data() -> Value {
    json!({
        "ubrn": "000000070000", "state": "NEW", "comments": "a|b", "patient": "9994120034",
        "documents": [{ "document": "Binary/1" }, { "document": "Binary/2", "sha256": "00", "href": "/v1/x" }],
    })
}

/// Index, document and lines.
type Message = (usize, Option<String>, Vec<String>);

/// Each message that a file makes.
fn made(text: &str, settings: &Value) -> Result<Vec<Message>, PlanProblem> {
    let set = with("outbound/x/ReferralReceived.yaml", text).expect("it loads");
    let data = data();
    let facts = OutboundFacts {
        name: "ReferralReceived",
        at: "2026-03-16T09:30:15Z",
        source: "provider",
        data: &data,
        referral: Some("R"),
    };
    let seen = facts.seen_by_mappings();
    let event = OutboundEvent::new("ReferralReceived", settings, &seen);
    let dialect = set.outbound("x").expect("it is there");
    let file = dialect.files_for("ReferralReceived").find(|file| file.name() == "ReferralReceived");
    let file = file.expect("the dialect's own");
    let entries = file.entries(&event)?;
    entries
        .into_iter()
        .map(|entry| {
            let document = json!({ "base64": "QQ==" });
            let lines = file.lines(&event, &entry, document, &Delimiters::STANDARD)?;
            Ok((entry.index, entry.document, lines))
        })
        .collect()
}

#[test]
fn a_file_makes_a_message_where_its_conditions_hold() {
    let segments = "segments: [ { NTE: { 1: \"{event.source}\", 3: [\"{event.comments}\", \"{message.referral}\"], 9: \"{event.reason?}\" } } ]\n";
    let on = json!({ "on": true });
    let text = format!("{GOOD}when: {{ settings.on: true }}\n{segments}");
    assert_eq!(made(&text, &json!({})), Ok(vec![]));
    let line = "NTE|provider||a\\F\\b^R".to_owned();
    assert_eq!(made(&text, &on), Ok(vec![(0, None, vec![line.clone()])]));
    for (condition, wanted) in [
        ("where: \"{{ event.state == 'NEW' }}\"", true),
        ("where: \"{{ event.state == 'OLD' }}\"", false),
        ("where: \"{{ event.reason }}\"", false),
        ("needs: event.reason", false),
        ("needs: [event.state, event.patient]", true),
    ] {
        let found = made(&format!("{GOOD}{condition}\n{segments}"), &on).expect("no problem");
        assert_eq!(!found.is_empty(), wanted, "{condition}");
    }
}

#[test]
fn a_list_makes_a_message_for_each_entry_that_has_what_it_needs() {
    let text = format!(
        "{GOOD}each: event.documents\ndocument: \"{{item.href?}}\"\nsegments: [ {{ TXA: {{ 1: \"{{index}}\", 2: \"{{item.document}}\", 3: \"{{document.base64}}\" }} }} ]\n"
    );
    let second = (1, Some("/v1/x".to_owned()), vec!["TXA|1|Binary/2|QQ==".to_owned()]);
    assert_eq!(made(&text, &json!({})), Ok(vec![second]));
}

#[test]
fn what_has_no_value_is_a_problem_that_names_its_place_and_no_value() {
    let text = format!("{GOOD}segments: [ {{ PID: {{ 3: \"{{event.referrer}}\", 5: \"{{event.patient}}\" }} }} ]\n");
    let problem = made(&text, &json!({})).expect_err("there is no referrer");
    assert!(problem.text.contains("ReferralReceived.yaml:4:") && problem.text.contains("event.referrer"), "{problem}");
    assert!(!problem.text.contains("9994120034"), "{problem}");
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    for (text, expected) in [
        (
            GOOD.replace("ReferralReceived", "ReferralRecieved"),
            "1:16: there is no event ReferralRecieved (did you mean",
        ),
        (GOOD.replace("REF^I12^REF_I12", "REF^I12"), "2:10: `message` is type"),
        (GOOD.replace("2.4", "2.9"), "3:10: `version`"),
        (format!("{GOOD}whne: {{}}\n"), "4:1: unknown key `whne` (did you mean `when`?)"),
        (format!("{GOOD}needs: event.ubnr\n"), "the event has no `ubnr` (did you mean `ubrn`?)"),
        (format!("{GOOD}needs: command.ubrn\n"), "it starts with `command`"),
        (format!("{GOOD}needs: message.id\n"), "only `message.referral`"),
        (format!("{GOOD}each: event.documents\nneeds: item.sha\n"), "the entry has no `sha`"),
        (format!("{GOOD}where: \"{{{{ events.x }}}}\"\n"), "unknown name `events`"),
        (format!("{GOOD}segments: [ {{ OBX: {{ 5: \"{{document.base64}}\" }} }} ]\n"), "the file has no `document`"),
        (format!("{GOOD}segments: [ {{ copy: PID }} ]\n"), "`copy` is neither a segment"),
        (format!("{GOOD}segments: [ {{ PID: {{ 3: {{ copy: PID-3 }} }} }} ]\n"), "4:"),
        (format!("{GOOD}segments: [ {{ PID: {{ x: 1 }} }} ]\n"), "`x` is not the number of a field"),
        (format!("{GOOD}segments: PID\n"), "`segments` is a list"),
        ("skip: maybe\n".to_owned(), "1:7: `skip` is true"),
        ("skip: true\nmessage: REF^I12^REF_I12\n".to_owned(), "2:1: unknown key `message`"),
    ] {
        let text = if text.contains("segments") || text.starts_with("skip") { text } else { text + "segments: []\n" };
        let found = with("outbound/x/ReferralReceived.yaml", &text).err().unwrap_or_default();
        let is_told = found
            .iter()
            .any(|one| one.starts_with("mappings/outbound/x/ReferralReceived.yaml") && one.contains(expected));
        assert!(is_told, "{text}\n{expected}\n{found:#?}");
    }
}

#[test]
fn a_dialect_inherits_file_by_file_and_may_take_one_out() {
    let names = |set: &MappingSet, dialect: &str| {
        let dialect = set.outbound(dialect).expect("it is there");
        dialect.files_for("ReferralReceived").map(|file| file.name().to_owned()).collect::<Vec<_>>()
    };
    let set = with("outbound/x/ReferralReceived.yaml", "skip: true\n").expect("it loads");
    assert_eq!(names(&set, "default"), ["ReferralReceived", "documents"]);
    assert_eq!(names(&set, "x"), ["documents"]);
    let set = with("outbound/x/Other.yaml", &format!("{GOOD}segments: []\n")).expect("it loads");
    assert_eq!(names(&set, "x"), ["Other", "ReferralReceived", "documents"]);
    let unknown = with("outbound/x/dialect.yaml", "extends: defualt\n").err().unwrap_or_default();
    assert!(unknown[0].contains("there is no dialect defualt (did you mean `default`?)"), "{unknown:?}");
    assert!(with("outbound/x/dialect.yaml", "extends: x\n").is_err(), "a circle");
}

#[test]
fn no_event_has_a_member_of_its_own_where_the_gateway_adds_one() {
    for name in event_schemas::names() {
        let schema = event_schema(name).unwrap_or_else(|| panic!("{name}"));
        for added in ["at", "name"] {
            assert!(schema["properties"].get(added).is_none(), "{name} has {added}");
        }
    }
}
