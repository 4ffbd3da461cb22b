//! `docs/outcomes.md`: what each answer of e-RS and each check of a plan comes to. Made here from the table of outcomes
//! and the plans: `ERS_GATEWAY_WRITE_OUTCOMES=1 cargo test --test it outcomes`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use ers_gateway::command::State;
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

const HEAD: &str = "\
# Outcomes

What can become of a message, and who sees what. The tables of codes are made from `mappings/ers/` and `src/problems/guide.yaml` by
`ERS_GATEWAY_WRITE_OUTCOMES=1 cargo test --test it outcomes`; `./test` fails when they are not true any more.

## States

| Situation | The sender | Operations | The queue |
|---|---|---|---|
| the message has faults | AE (or AR) with every fault and its place, a problem document over HTTP; nothing goes to e-RS | message `rejected`, kept | `MessageRejected` |
| stored, and waiting its turn | AA, or 202 with `Location` | `queued`, `running` | |
| e-RS is busy, locked or down, and nothing was done | nothing yet | `waiting`, with the reason and when it is tried again | |
| done | the reply from `replies/` or the `result`, where it waits for one | `completed`, with every call | the events of the plan |
| refused by e-RS, or by a check of the plan | AE with the code and the sentence, where it waits for an answer; over HTTP the state | `failed`: mend the cause, then replay or discard | `CommandFailed` |
| a write may have been done, and nobody knows | no answer until it is settled; over HTTP the state | `in_doubt`, with the time at which e-RS is read to find out; it is never sent again blindly | `CommandInDoubt`, then `DoubtSettled` |
| reading e-RS proved nothing | no answer until a person has decided; over HTTP the state | `in_doubt` without a time: look in e-RS, then `indoubt decide` | `DecisionNeeded` |
| who is needed has not signed in | no answer until it goes on; over HTTP the state | `unauthorised`: its person signs in and confirms ([sign-in](sign-in.md)); of a seeded session: seed it, then release | `AuthorisationRequired` |
| a person set it aside | AE that says so, where it waits; over HTTP the state | `discarded`, with who and why | |
| the source is in `mode: shadow` | as if it were done | `shadowed`, with the calls that would have been made | |
| cancelled, and the new booking did not come about | as the state says | `failed`, `in_doubt` or `unauthorised` | `PatientWithoutAppointment` beside the event above |

What comes later for the same referral is held behind a command that failed, is in doubt or is unauthorised.

";

fn yaml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// What a verdict comes to. A write is one whose answer matters: that with a doubt.
fn becomes(verdict: &str, write: bool) -> &'static str {
    match (verdict, write) {
        ("success", _) => "done",
        ("throttled" | "locked" | "unavailable", _) | ("settle", false) => "waits",
        ("authenticate", _) => "a new token once, then `unauthorised`",
        ("fix" | "look", false) | ("fix", true) => "`failed`",
        ("bug" | "investigate", _) => "`failed`, and an error in the log",
        ("look", true) => "read and decided again, three times at most, then `failed`; nothing guards it: `in_doubt`",
        ("settle", true) => "`in_doubt`; once it is settled, it goes on",
        (other, _) => panic!("{other} is no verdict that this page knows"),
    }
}

fn answers(page: &mut String, table: &Value) {
    page.push_str(
        "## What e-RS answers\n\nThe first row that fits decides. *Write* is a call whose repeat could do harm (guarded and unguarded in \
         [coverage](coverage.md)); all others are *read*.\n\n\
         | Answer | Means | Read | Write |\n|---|---|---|---|\n",
    );
    for rule in table["rules"].as_array().expect("a list of rules") {
        let mut answer = Vec::new();
        answer.extend(rule["operation"].as_str().map(str::to_owned));
        answer.extend(match &rule["status"] {
            Value::Null => None,
            Value::String(status) => Some(status.clone()),
            status => Some(status.to_string()),
        });
        answer.extend(rule["issue"].as_str().map(|issue| format!("issue {issue}")));
        let codes: Vec<String> = texts(&rule["codes"]).map(|code| format!("`{code}`")).collect();
        answer.extend((!codes.is_empty()).then(|| codes.join(" or ")));
        let read = rule["read"].as_str().expect("a verdict");
        let write = rule["write"].as_str().unwrap_or(read);
        let after = rule["after"].as_str().map(|after| format!(", {after} at least")).unwrap_or_default();
        let means = rule["means"].as_str().expect("a sentence");
        let read = becomes(read, false);
        let write = match rule["fails_undone"] {
            Value::Bool(true) => "`in_doubt`; `failed` if it proves not to be done",
            _ => becomes(write, true),
        };
        writeln!(page, "| {} | {means} | {read}{after} | {write}{after} |", answer.join(", "))
            .expect("text takes text");
    }
    page.push_str(
        "\nAn answer that fits no row: a read is `failed`, a write `in_doubt`. No answer at all: a read waits, a write is \
         `in_doubt`; a call that surely was not sent waits in any case. A command that only reads waits no longer than \
         `delivery.read_deadline`, then it is `failed`. What the check of the patient comes to: [safety](safety.md).\n\n",
    );
}

fn checks(page: &mut String, plans: &BTreeMap<String, Value>) {
    page.push_str(
        "## What a plan checks itself\n\nAfter the call named, before the next one. The command is `failed` with the code and the \
         sentence; replaying it reads everything anew if nothing had been written.\n\n\
         | Command | Code | After | Says |\n|---|---|---|---|\n",
    );
    for (command, plan) in plans {
        for step in plan["steps"].as_array().into_iter().flatten() {
            for check in step["require"].as_array().into_iter().flatten() {
                let (code, text) =
                    (check["code"].as_str().expect("a code"), check["text"].as_str().expect("a sentence"));
                let call = step["call"].as_str().expect("an A-number");
                writeln!(page, "| `{command}` | `{code}` | {call} | {} |", text.trim()).expect("text takes text");
            }
        }
    }
}

fn who_mends(page: &mut String) {
    page.push_str(
        "\n## Who mends what\n\nAs `ers-gateway problems` says it. The first row that fits decides.\n\n\
         | Code | For patients | Who can mend it | What to do |\n|---|---|---|---|\n",
    );
    for advice in ers_gateway::problems::guide() {
        let codes: Vec<String> = advice.codes.iter().map(|code| format!("`{code}`")).collect();
        let state = advice.state.as_ref().map(|state| format!("`{state}`"));
        let text = advice.contains.as_ref().map(|part| format!("“{part}”"));
        let which: Vec<String> = state.into_iter().chain(text).chain([codes.join(" ")]).collect();
        let which = which.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(", ");
        let (patients, who, what_to_do) = (&advice.patients, &advice.who, &advice.what_to_do);
        writeln!(page, "| {which} | {patients} | {who} | {what_to_do} [See](runbooks.md#{}) |", advice.look)
            .expect("text takes text");
    }
}

#[test]
fn the_page_says_what_becomes_of_a_message() {
    let folder = Path::new(ROOT).join("mappings/ers");
    let plans: BTreeMap<String, Value> = std::fs::read_dir(&folder)
        .expect("the mappings are there")
        .map(|entry| yaml(&entry.expect("a file").path()))
        .filter_map(|plan| Some((plan["command"].as_str()?.to_owned(), plan)))
        .collect();
    let mut page = HEAD.to_owned();
    answers(&mut page, &yaml(&folder.join("outcomes.yaml")));
    checks(&mut page, &plans);
    who_mends(&mut page);

    let path = Path::new(ROOT).join("docs/outcomes.md");
    if std::env::var("ERS_GATEWAY_WRITE_OUTCOMES").is_ok() {
        std::fs::write(&path, &page).expect("written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/outcomes.md is out of date: ERS_GATEWAY_WRITE_OUTCOMES=1 cargo test --test it outcomes"
    );
    for state in State::NAMES {
        assert!(page.contains(&format!("`{state}`")), "{state} is explained");
    }
}
