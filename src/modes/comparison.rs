//! A source in shadow beside what was really sent the old way, referral by referral and member by member.
//!
//! Enters: what the old interface sent, from a file of its own, by local id: members of the command (CSV), or bodies of calls to
//! e-RS (JSON lines); and what e-RS shows of those whose UBRN the file says, if somebody asks for that. Leaves: what is equal, what
//! differs and where, what only one of the two has. Guarantees: nothing is written and nothing is stored; what a plan would only
//! learn from an answer of e-RS is not compared; e-RS is read a bounded number of times.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::command::{CommandId, MessageId, Ubrn};
use crate::store::{CommandView, MessageFilter, Result, Store};

/// Rehearsed messages that are looked through, the newest first.
const MESSAGES_MAX: usize = 20_000;
const PAGE: usize = 500;
/// Differences that are told of one referral, and referrals that are told one by one.
const CHANGES_MAX: usize = 100;
/// Referrals that are read from e-RS: ten seconds of its quota.
const READ_MAX: usize = 100;
const LISTED_MAX: usize = 1_000;

/// What the old way sent of one referral.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sent {
    /// Members of the command, by path: `patient.nhsNumber`, `shortlist.0.service`.
    pub members: BTreeMap<String, String>,
    /// Bodies of calls, by A-number.
    pub bodies: BTreeMap<String, Value>,
    /// Under which e-RS has it.
    pub ubrn: Option<Ubrn>,
}

/// Where a file of what was sent cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {text}")]
pub struct SentError {
    pub line: usize,
    pub text: String,
}

/// Why a referral was not read, and whether the next need not be tried.
pub struct NotRead {
    pub why: String,
    pub ends: bool,
}

/// A line of JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    local_id: String,
    ubrn: Option<String>,
    call: Option<String>,
    body: Option<Value>,
    members: Option<Value>,
}

/// By local id. A file that begins with `{` is JSON lines, any other CSV with `localId` in its head.
pub fn read_sent(text: &str) -> std::result::Result<BTreeMap<String, Sent>, SentError> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('{') { read_lines(text) } else { read_csv(text) }
}

const NO_UBRN: &str = "a UBRN is exactly 12 digits";

fn read_lines(text: &str) -> std::result::Result<BTreeMap<String, Sent>, SentError> {
    let mut sent: BTreeMap<String, Sent> = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |text: &str| SentError { line: number + 1, text: text.to_owned() };
        let form = r#"a line is {"localId": "…", "call": "A011", "body": {…}} or {"localId": "…", "members": {…}}"#;
        let line: Line = serde_json::from_str(line).map_err(|_| wrong(form))?;
        let known = sent.entry(line.local_id).or_default();
        let says_ubrn = line.ubrn.is_some();
        if let Some(ubrn) = &line.ubrn {
            known.ubrn = Some(Ubrn::parse(ubrn).ok_or_else(|| wrong(NO_UBRN))?);
        }
        match (line.call, line.body, line.members) {
            (Some(call), Some(body), None) => drop(known.bodies.insert(call, body)),
            (None, None, Some(members)) => known.members.extend(leaves(&members)),
            (None, None, None) if says_ubrn => {}
            _ => return Err(wrong(form)),
        }
    }
    Ok(sent)
}

fn read_csv(text: &str) -> std::result::Result<BTreeMap<String, Sent>, SentError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let wrong = |error: &csv::Error| SentError {
        line: error.position().map_or(1, |position| position.line() as usize),
        text: "it has another number of columns than the head, or is not text".to_owned(),
    };
    let head = reader.headers().map_err(|error| wrong(&error))?.clone();
    let key = head.iter().position(|name| name == "localId");
    let key = key.ok_or_else(|| SentError { line: 1, text: "the head has no column localId".into() })?;
    let mut sent: BTreeMap<String, Sent> = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(|error| wrong(&error))?;
        let members =
            head.iter().zip(&record).enumerate().filter(|(column, (_, value))| *column != key && !value.is_empty());
        let mut members: BTreeMap<String, String> =
            members.map(|(_, (name, value))| (name.to_owned(), value.to_owned())).collect();
        let line = record.position().map_or(1, |position| position.line() as usize);
        let ubrn = members
            .remove("ubrn")
            .map(|text| Ubrn::parse(&text))
            .map(|ubrn| ubrn.ok_or_else(|| SentError { line, text: NO_UBRN.to_owned() }));
        let local_id = record.get(key).unwrap_or_default().to_owned();
        sent.insert(local_id, Sent { members, bodies: BTreeMap::new(), ubrn: ubrn.transpose()? });
    }
    Ok(sent)
}

/// What was compared, and what came of it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Referrals that both have.
    pub compared: u64,
    pub equal: u64,
    pub different: Vec<Difference>,
    /// How often each member differs.
    pub members: BTreeMap<String, u64>,
    /// Local ids that the old way sent and no rehearsed command has.
    pub only_sent: Vec<String>,
    pub only_rehearsed: Vec<Rehearsed>,
    /// There was more than is told.
    pub more: bool,
    /// Beside what e-RS shows, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ers: Option<BesideErs>,
    /// Rehearsed referrals whose UBRN is known.
    #[serde(skip)]
    known_in_ers: Vec<KnownInErs>,
}

/// What the gateway would have made, and where that is.
#[derive(Clone, Debug)]
struct KnownInErs {
    of: Rehearsed,
    ubrn: Ubrn,
    /// Members that e-RS shows as well.
    members: BTreeMap<&'static str, String>,
}

/// What e-RS shows beside what would have been sent.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BesideErs {
    pub read: u64,
    pub equal: u64,
    pub different: Vec<DifferentInErs>,
    /// Those that could not be read, and why.
    pub unread: Vec<Unread>,
    /// There are more of which the UBRN is known.
    pub more: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DifferentInErs {
    #[serde(flatten)]
    pub of: Rehearsed,
    pub ubrn: Ubrn,
    pub changes: Vec<ErsChange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErsChange {
    pub member: &'static str,
    pub in_ers: Option<String>,
    pub would_send: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unread {
    pub local_id: String,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rehearsed {
    pub local_id: String,
    pub message: MessageId,
    pub command: CommandId,
    pub name: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    #[serde(flatten)]
    pub of: Rehearsed,
    pub changes: Vec<MemberChange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberChange {
    /// Of the command, or of a call behind its A-number.
    pub member: String,
    pub sent: Option<String>,
    pub would_send: Option<String>,
}

/// Puts what a source rehearsed since a time beside what was sent.
pub async fn compare(
    store: &dyn Store,
    source: &str,
    since: Option<Timestamp>,
    sent: &BTreeMap<String, Sent>,
) -> Result<Comparison> {
    let mut found = Comparison::default();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let (mut before, mut looked_through) = (None, 0);
    loop {
        let filter = MessageFilter {
            source: Some(source.to_owned()),
            state: Some("shadowed".into()),
            since,
            before,
            max: PAGE,
            ..MessageFilter::default()
        };
        let page = store.messages(filter).await?;
        for message in &page {
            for command in store.commands_of(message.id).await? {
                found.take(&command, sent, &mut seen);
            }
        }
        looked_through += page.len();
        before = page.last().map(|message| message.id);
        if page.len() < PAGE || looked_through >= MESSAGES_MAX {
            found.more |= page.len() == PAGE;
            break;
        }
    }
    let only_sent = sent.keys().filter(|local_id| !seen.contains(*local_id)).cloned();
    found.only_sent = only_sent.take(LISTED_MAX).collect();
    found.more |= found.only_sent.len() == LISTED_MAX;
    Ok(found)
}

/// Members of a command that e-RS shows of a referral, and how.
fn seen_by_ers(body: &Value) -> BTreeMap<&'static str, String> {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let services = body
        .get("shortlist")
        .and_then(Value::as_array)
        .map(|entries| listed(entries.iter().filter_map(|entry| entry.get("service").and_then(Value::as_str))));
    let members = [
        ("priority", text("/priority")),
        ("patient.nhsNumber", text("/patient/nhsNumber").map(|number| number.replace(' ', ""))),
        ("shortlist", services),
    ];
    members.into_iter().filter_map(|(member, value)| Some((member, value?))).collect()
}

/// The result of `RetrieveReferral`, in the words of a command.
fn shown_by_ers(result: &Value) -> BTreeMap<&'static str, String> {
    let text = |pointer: &str| result.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let services = result.get("services").and_then(Value::as_array);
    let members = [
        ("priority", text("/priority")),
        ("patient.nhsNumber", text("/referral/subject/identifier/value")),
        ("shortlist", services.map(|services| listed(services.iter().filter_map(Value::as_str)))),
    ];
    members.into_iter().filter_map(|(member, value)| Some((member, value?))).collect()
}

/// Their order is the patient's, and says nothing.
fn listed<'s>(services: impl Iterator<Item = &'s str>) -> String {
    services.collect::<BTreeSet<&str>>().into_iter().collect::<Vec<_>>().join(" ")
}

impl Comparison {
    /// Reads e-RS for the newest referrals whose UBRN is known. A first that cannot be read at all ends it: so would the rest.
    pub async fn beside_ers(&mut self, read: impl AsyncFn(&Ubrn) -> std::result::Result<Value, NotRead>) {
        let mut found = BesideErs { more: self.known_in_ers.len() > READ_MAX, ..BesideErs::default() };
        for KnownInErs { of, ubrn, members } in self.known_in_ers.drain(..).take(READ_MAX) {
            let shown = match read(&ubrn).await {
                Ok(result) => shown_by_ers(&result),
                Err(NotRead { why, ends }) => {
                    found.unread.push(Unread { local_id: of.local_id, why });
                    if ends {
                        found.more = true;
                        break;
                    }
                    continue;
                }
            };
            found.read += 1;
            let names: BTreeSet<&'static str> = members.keys().chain(shown.keys()).copied().collect();
            let changes: Vec<ErsChange> = names
                .into_iter()
                .filter(|name| members.get(name) != shown.get(name))
                .map(|member| ErsChange {
                    member,
                    in_ers: shown.get(member).cloned(),
                    would_send: members.get(member).cloned(),
                })
                .collect();
            match changes.is_empty() {
                true => found.equal += 1,
                false => found.different.push(DifferentInErs { of, ubrn, changes }),
            }
        }
        self.ers = Some(found);
    }

    /// The newest of a referral counts: an earlier one was said anew.
    fn take(&mut self, command: &CommandView, sent: &BTreeMap<String, Sent>, seen: &mut BTreeSet<String>) {
        let Some(local_id) = command.body.get("localId").and_then(Value::as_str) else { return };
        let of = Rehearsed {
            local_id: local_id.to_owned(),
            message: command.message,
            command: command.id,
            name: command.name.clone(),
        };
        let Some(sent) = sent.get(local_id) else {
            match self.only_rehearsed.len() < LISTED_MAX {
                true => self.only_rehearsed.push(of),
                false => self.more = true,
            }
            return;
        };
        // A file of members speaks of what begins a referral.
        let calls = calls_of(command);
        let begins = command.name.starts_with("Create");
        let speaks = begins && !(sent.members.is_empty() && sent.ubrn.is_none())
            || sent.bodies.keys().any(|call| calls.contains_key(call.as_str()));
        if !speaks || !seen.insert(local_id.to_owned()) {
            return;
        }
        if let Some(ubrn) = sent.ubrn.clone().filter(|_| begins) {
            self.known_in_ers.push(KnownInErs { of: of.clone(), ubrn, members: seen_by_ers(&command.body) });
        }
        let mut changes = Vec::new();
        if !sent.members.is_empty() {
            let ours = leaves(&command.body);
            let theirs = sent.members.iter();
            changes.extend(theirs.filter_map(|(member, value)| changed(member.clone(), Some(value), ours.get(member))));
        }
        for (call, body) in &sent.bodies {
            let Some(ours) = calls.get(call.as_str()) else { continue };
            let (theirs, ours) = (leaves(body), leaves(ours));
            let members: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
            let of_call = members.into_iter();
            changes.extend(
                of_call.filter_map(|member| changed(format!("{call} {member}"), theirs.get(member), ours.get(member))),
            );
        }
        self.compared += 1;
        if changes.is_empty() {
            self.equal += 1;
            return;
        }
        for change in &changes {
            *self.members.entry(change.member.clone()).or_default() += 1;
        }
        if changes.len() > CHANGES_MAX || self.different.len() == LISTED_MAX {
            self.more = true;
        }
        changes.truncate(CHANGES_MAX);
        if self.different.len() < LISTED_MAX {
            self.different.push(Difference { of, changes });
        }
    }
}

fn changed(member: String, sent: Option<&String>, would_send: Option<&String>) -> Option<MemberChange> {
    let is_learnt = would_send.is_some_and(|value| is_stand_in(value));
    (sent != would_send && !is_learnt).then(|| MemberChange {
        member,
        sent: sent.cloned(),
        would_send: would_send.cloned(),
    })
}

/// `<version from A005>`: e-RS would have said it.
fn is_stand_in(value: &str) -> bool {
    value.starts_with('<') && value.ends_with('>') && value.contains(" from A")
}

/// The rehearsed calls of a command that have a body.
fn calls_of(command: &CommandView) -> BTreeMap<&str, &Value> {
    let preview = command.plan.get("preview").and_then(Value::as_array).into_iter().flatten();
    let calls = preview.filter_map(|call| Some((call.get("call")?.as_str()?, call.get("body")?)));
    calls.filter(|(_, body)| body.is_object()).collect()
}

/// What stands at the ends of a tree, by path. What is `null` is not there.
pub fn leaves(value: &Value) -> BTreeMap<String, String> {
    fn walk(value: &Value, path: String, found: &mut BTreeMap<String, String>) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Object(members) => walk_members(members, below, found),
            Value::Array(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    walk(entry, below(&index.to_string()), found);
                }
            }
            Value::Null => {}
            Value::String(text) => drop(found.insert(path, text.clone())),
            other => drop(found.insert(path, other.to_string())),
        }
    }
    fn walk_members(
        members: &Map<String, Value>,
        below: impl Fn(&str) -> String,
        found: &mut BTreeMap<String, String>,
    ) {
        for (name, value) in members {
            walk(value, below(name), found);
        }
    }
    let mut found = BTreeMap::new();
    walk(value, String::new(), &mut found);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_sent_is_read_from_a_table_or_from_lines() {
        let table =
            read_sent("localId,priority,shortlist.0.service\nNM-1,URGENT,11014\n\"NM-2\", ,11014\n").expect("read");
        assert_eq!(table["NM-1"].members["priority"], "URGENT");
        assert_eq!(table["NM-2"].members.len(), 1, "what is empty is not said: {table:?}");
        let lines = "{\"localId\":\"NM-1\",\"call\":\"A011\",\"body\":{\"a\":[{\"b\":1}]}}\n\n{\"localId\":\"NM-1\",\"members\":{\"priority\":\"ROUTINE\"}}\n";
        let sent = read_sent(lines).expect("read");
        assert_eq!(sent["NM-1"].members["priority"], "ROUTINE");
        assert_eq!(sent["NM-1"].bodies["A011"], json!({"a": [{"b": 1}]}));
        assert_eq!(read_sent("{\"localId\":\"NM-1\"}\n").expect_err("says nothing").line, 1);
        assert!(read_sent("id,priority\n1,URGENT\n").is_err());
        assert_eq!(read_sent("localId,priority\nNM-1\n").expect_err("too short").line, 2);
    }

    #[test]
    fn a_file_says_under_which_ubrn_ers_has_a_referral() {
        let table = read_sent("localId,ubrn,priority\nNM-1,0000 0007 0001,URGENT\nNM-2,,URGENT\n").expect("read");
        let ubrn = |id: &str| table[id].ubrn.as_ref().map(Ubrn::as_str);
        assert_eq!((ubrn("NM-1"), ubrn("NM-2"), table["NM-1"].members.len()), (Some("000000070001"), None, 1));
        let lines = read_sent("{\"localId\":\"NM-1\",\"ubrn\":\"000000070001\"}\n").expect("read");
        assert!(lines["NM-1"].ubrn.is_some());
        for wrong in ["localId,ubrn\nNM-1,7\n", "{\"localId\":\"NM-1\",\"ubrn\":\"7\"}\n"] {
            let error = read_sent(wrong).expect_err("no UBRN");
            assert!(error.text.contains("12 digits") && !error.text.contains("NM-1"), "{error}");
        }
    }

    #[tokio::test]
    async fn ers_is_read_no_more_often_than_it_may_be_and_differences_are_told() {
        let ubrn = |number: usize| Ubrn::parse(&format!("{number:012}")).expect("12 digits");
        let known = |number: usize, priority: &str| KnownInErs {
            of: Rehearsed {
                local_id: format!("NM-{number}"),
                message: MessageId(uuid::Uuid::nil()),
                command: CommandId(uuid::Uuid::nil()),
                name: "CreateReferral".into(),
            },
            ubrn: ubrn(number),
            members: seen_by_ers(&json!({
                "priority": priority, "patient": {"nhsNumber": "999 000 0018"}, "shortlist": [{"service": "2"}, {"service": "1"}],
            })),
        };
        let shows = json!({
            "priority": "ROUTINE", "services": ["1", "2"],
            "referral": {"subject": {"identifier": {"value": "9990000018"}}},
        });
        let many = |count: usize| Comparison {
            known_in_ers: (0..count)
                .map(|number| known(number, if number == 1 { "URGENT" } else { "ROUTINE" }))
                .collect(),
            ..Comparison::default()
        };
        let mut found = many(READ_MAX + 5);
        let reads = std::cell::Cell::new(0);
        found
            .beside_ers(async |asked| {
                reads.set(reads.get() + 1);
                match *asked == ubrn(3) {
                    true => Err(NotRead { why: "e-RS answered 404".into(), ends: false }),
                    false => Ok(shows.clone()),
                }
            })
            .await;
        let ers = found.ers.expect("asked for");
        assert_eq!((reads.get(), ers.read, ers.equal), (READ_MAX, READ_MAX as u64 - 1, READ_MAX as u64 - 2));
        assert!(ers.more && ers.unread.len() == 1 && ers.unread[0].local_id == "NM-3");
        let change =
            ErsChange { member: "priority", in_ers: Some("ROUTINE".into()), would_send: Some("URGENT".into()) };
        assert_eq!((ers.different.len(), &ers.different[0].changes), (1, &vec![change]));

        let mut found = many(5);
        found.beside_ers(async |_| Err(NotRead { why: "no token".into(), ends: true })).await;
        let ers = found.ers.expect("asked for");
        assert!(ers.more && ers.unread.len() == 1, "what cannot be read at all is tried once");
    }

    #[test]
    fn what_only_ers_would_have_said_is_no_difference() {
        assert_eq!(changed("v".into(), Some(&"7".into()), Some(&"<version from A005>".into())), None);
        let change = changed("v".into(), None, Some(&"7".into())).expect("a difference");
        assert_eq!((change.sent, change.would_send.as_deref()), (None, Some("7")));
        assert_eq!(
            leaves(&json!({"a": {"b": [1, null, "x"]}})),
            BTreeMap::from([("a.b.0".into(), "1".into()), ("a.b.2".into(), "x".into())])
        );
    }
}
