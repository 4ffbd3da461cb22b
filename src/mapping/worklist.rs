//! Worklists, compiled: `worklists/<LIST>.yaml`, what of a list's entries is compared, and what a change has carried out.
//!
//! ```yaml
//! list: REFERRALS_FOR_REVIEW
//! entries: entry
//! key: { at: item.reference, after: ReferralRequest/ }
//! fields:
//!   version: extension.extension[url=referralRequestVersion].valueInteger
//! changed_by: [version]            # left out: an entry that is still there is looked at again each time
//! urgency: priority                # of the fields; an eRS-Priority-1 code
//! observe: ObserveReferral
//! ```
//!
//! Enters: an answer of e-RS, and the list as it was. Leaves: entries, and their differences. Guarantees: each entry is one
//! difference at most; nothing of the answer is kept but the named fields, and no more than one entry of it is a tree at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::diagnostic::{Diagnostics, did_you_mean};
use super::yaml::{Keys, Node};

#[derive(Debug)]
pub struct Worklist {
    pub list: String,
    entries: JsonPath,
    key: JsonPath,
    /// What stands before the key in its text.
    after: String,
    fields: Vec<(String, JsonPath)>,
    changed_by: Vec<String>,
    urgency: Option<String>,
    /// The command that looks at an entry.
    pub observe: String,
}

/// Entries of a list by their keys (UBRNs), with the fields that the mapping names.
pub type Entries = BTreeMap<String, Map<String, Value>>;

/// A list as it was read, until it is compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FetchedList {
    pub list: String,
    /// When it was read: RFC 3339.
    pub at: String,
    pub entries: Entries,
}

/// What became of an entry since the list was read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    New,
    Changed,
    /// Still there, and nothing in the list says whether it changed.
    Listed,
    Left,
}

impl Change {
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Listed => "listed",
            Self::Left => "left",
        }
    }
}

/// One difference.
#[derive(Debug, PartialEq)]
pub struct Difference<'e> {
    pub key: &'e str,
    pub change: Change,
    /// As the list has them now; of one that left, as it had them.
    pub fields: &'e Map<String, Value>,
}

/// Entries beyond this are no worklist: e-RS answers 10 MB at most.
const ENTRIES_MAX: usize = 100_000;
const FIELDS_MAX: usize = 40;

pub fn compile(file: &str, node: &Node, diagnostics: &mut Diagnostics) -> Option<Worklist> {
    const KEYS: &[&str] = &["list", "entries", "key", "fields", "changed_by", "urgency", "observe", "about"];
    let keys = Keys::of(file, node, KEYS, diagnostics)?;
    let list = keys.text("list", diagnostics);
    let observe = keys.text("observe", diagnostics);
    let entries = path(file, keys.get("entries"), diagnostics);
    let key = keys.get("key").and_then(|node| Keys::of(file, node, &["at", "after"], diagnostics));
    let at = key.as_ref().and_then(|key| path(file, key.get("at"), diagnostics));
    let after = key.as_ref().and_then(|key| key.text("after", diagnostics)).unwrap_or_default();
    let mut fields = Vec::new();
    for (name, node) in keys.get("fields").and_then(Node::as_map).unwrap_or_default() {
        fields.extend(path(file, Some(node), diagnostics).map(|path| (name.name.clone(), path)));
    }
    if fields.len() > FIELDS_MAX {
        diagnostics.report(file, node.at, format!("`fields` has more than {FIELDS_MAX}"));
    }
    let mut known = |name: &str, at| {
        if !fields.iter().any(|(field, _)| field == name) {
            let hint = did_you_mean(name, fields.iter().map(|(field, _)| field.as_str()));
            diagnostics.report_with_hint(file, at, format!("`{name}` is not one of `fields`"), hint);
        }
    };
    let mut changed_by = Vec::new();
    let named = keys.texts("changed_by", &mut Diagnostics::default());
    for (name, at) in named {
        known(&name, at);
        changed_by.push(name);
    }
    let urgency = keys.get("urgency").and_then(|node| Some((node.as_text()?.to_owned(), node.at)));
    if let Some((name, at)) = &urgency {
        known(name, *at);
    }
    let urgency = urgency.map(|(name, _)| name);
    let (Some(list), Some(observe), Some(entries), Some(key)) = (list, observe, entries, at) else {
        let text = "a worklist needs `list`, `entries`, `key: { at }` and `observe`";
        diagnostics.report(file, node.at, text);
        return None;
    };
    Some(Worklist { list, entries, key, after, fields, changed_by, urgency, observe })
}

fn path(file: &str, node: Option<&Node>, diagnostics: &mut Diagnostics) -> Option<JsonPath> {
    let node = node?;
    let parsed = node.as_text().and_then(JsonPath::parse);
    if parsed.is_none() {
        diagnostics.report(file, node.at, "a path is like extension.extension[url=priority].valueCode");
    }
    parsed
}

impl Worklist {
    /// Every entry; a list without any has none. What is no list, or has an entry without a key, is not taken at all:
    /// whatever is missing would seem to have left. One entry after the other becomes a tree; the rest stays bytes.
    pub fn entries(&self, answer: &[u8]) -> Result<Entries, &'static str> {
        const NO_LIST: &str = "e-RS answered something else than a list";
        let mut entries = Entries::new();
        let answer: &RawValue = serde_json::from_slice(answer).map_err(|_| NO_LIST)?;
        let kind = member(answer, "resourceType").and_then(|kind| serde_json::from_str::<String>(kind.get()).ok());
        if kind.as_deref() != Some("List") {
            return Err(NO_LIST);
        }
        let Some(list) = walk_raw(&self.entries.0, answer) else { return Ok(entries) };
        let list: Vec<&RawValue> =
            serde_json::from_str(list.get()).map_err(|_| "the entries of the list are no list")?;
        if list.len() > ENTRIES_MAX {
            return Err("the list has more entries than any worklist");
        }
        for entry in list {
            let entry: Value = serde_json::from_str(entry.get()).map_err(|_| "an entry of the list cannot be read")?;
            let key = self.key.first(&entry).and_then(Value::as_str);
            let key = key.and_then(|key| key.strip_prefix(&self.after)).filter(|key| !key.is_empty());
            let key = key.ok_or("an entry of the list does not say what it is about")?;
            let fields = self.fields.iter();
            let fields = fields.filter_map(|(name, path)| Some((name.clone(), path.first(&entry)?.clone()))).collect();
            entries.insert(key.to_owned(), fields);
        }
        Ok(entries)
    }

    /// Differences in the order of keys: what left behind what is there.
    pub fn differences<'e>(&self, before: &'e Entries, now: &'e Entries) -> Vec<Difference<'e>> {
        let mut differences = Vec::new();
        for (key, fields) in now {
            let change = match before.get(key) {
                None => Change::New,
                Some(_) if self.changed_by.is_empty() => Change::Listed,
                Some(old) if self.changed_by.iter().any(|name| old.get(name) != fields.get(name)) => Change::Changed,
                Some(_) => continue,
            };
            differences.push(Difference { key, change, fields });
        }
        let left = before.iter().filter(|(key, _)| !now.contains_key(*key));
        differences.extend(left.map(|(key, fields)| Difference { key, change: Change::Left, fields }));
        differences
    }

    /// eRS-Priority-1 code of an entry.
    pub fn urgency<'e>(&self, fields: &'e Map<String, Value>) -> Option<&'e str> {
        fields.get(self.urgency.as_ref()?)?.as_str()
    }
}

/// As [`walk`], in what is not read yet. The last of two members of a name counts, as in a tree.
fn walk_raw<'v>(steps: &[Step], value: &'v RawValue) -> Option<&'v RawValue> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    if let Some(items) = items(value) {
        return items.into_iter().find_map(|item| walk_raw(steps, item));
    }
    let found = member(value, &step.name)?;
    let Some((name, wanted)) = &step.only else { return walk_raw(rest, found) };
    let fits = |item: &&RawValue| {
        let text = member(item, name).and_then(|text| serde_json::from_str::<String>(text.get()).ok());
        text.as_ref() == Some(wanted)
    };
    items(found).unwrap_or_else(|| vec![found]).into_iter().filter(fits).find_map(|item| walk_raw(rest, item))
}

fn items(value: &RawValue) -> Option<Vec<&RawValue>> {
    value.get().starts_with('[').then(|| serde_json::from_str(value.get()).ok()).flatten()
}

fn member<'v>(value: &'v RawValue, name: &str) -> Option<&'v RawValue> {
    serde_json::from_str::<BTreeMap<String, &RawValue>>(value.get()).ok()?.remove(name)
}

/// Names with dots between; of a list, its first entry that leads to a value, or that has a member of this value
/// (`extension[url=priority]`).
#[derive(Clone, Debug, PartialEq, Eq)]
struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    name: String,
    only: Option<(String, String)>,
}

impl JsonPath {
    fn parse(text: &str) -> Option<Self> {
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            if !is_name(name) {
                return None;
            }
            let (only, after) = match after.strip_prefix('[') {
                None => (None, after),
                Some(inner) => {
                    let (predicate, after) = inner.split_once(']')?;
                    let (member, value) = predicate.split_once('=')?;
                    (is_name(member).then(|| (member.to_owned(), value.to_owned())), after)
                }
            };
            steps.push(Step { name: name.to_owned(), only });
            match after.strip_prefix('.') {
                Some(more) => rest = more,
                None => return after.is_empty().then_some(Self(steps)),
            }
        }
    }

    fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        walk(&self.0, value)
    }
}

fn walk<'v>(steps: &[Step], value: &'v Value) -> Option<&'v Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    let member = match value {
        Value::Array(items) => return items.iter().find_map(|item| walk(steps, item)),
        value => value.get(&step.name)?,
    };
    match (&step.only, member) {
        (None, member) => walk(rest, member),
        (Some((name, wanted)), Value::Array(items)) => {
            let fits = |item: &&Value| item.get(name).and_then(Value::as_str) == Some(wanted);
            items.iter().filter(fits).find_map(|item| walk(rest, item))
        }
        (Some((name, wanted)), member) => {
            (member.get(name).and_then(Value::as_str) == Some(wanted)).then(|| walk(rest, member)).flatten()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mapping::yaml;

    fn compiled(text: &str) -> (Option<Worklist>, usize) {
        let mut diagnostics = Diagnostics::default();
        let node = yaml::parse("worklists/X.yaml", text, &mut diagnostics).expect("YAML");
        let worklist = compile("worklists/X.yaml", &node, &mut diagnostics);
        (worklist, diagnostics.into_vec().len())
    }

    const FORM: &str = "list: X\nentries: entry\nkey: { at: item.reference, after: ReferralRequest/ }\n\
        fields: { version: \"extension.extension[url=v].valueInteger\", priority: \"extension.extension[url=p].code\" }\n\
        changed_by: [version]\nurgency: priority\nobserve: ObserveReferral\n";

    fn entry(key: &str, version: u32) -> Value {
        json!({"item": {"reference": format!("ReferralRequest/{key}")},
            "extension": [{"extension": [{"url": "p", "code": "URGENT"}, {"url": "v", "valueInteger": version}]}]})
    }

    fn bytes(value: &Value) -> Vec<u8> {
        value.to_string().into_bytes()
    }

    #[test]
    fn a_path_leads_to_the_same_in_what_is_not_read_yet_as_in_a_tree() {
        for (path, text) in [
            ("entry", r#"{"entry":[1]}"#),
            ("entry", r#" { "ent\u0072y" : [ 1 , {} ] } "#),
            ("entry", r#"{"entry":[1],"entry":[2]}"#),
            ("entry", r#"{"other":[1]}"#),
            ("entry", r#"{"entry":null}"#),
            ("entry", r#"[{"other":1},{"entry":[2]},{"entry":[3]}]"#),
            ("entry", r#""entry""#),
            ("part.entry", r#"{"part":[{"x":1},{"entry":[2]}]}"#),
            ("part.entry", r#"{"part":7}"#),
            ("part[url=b].entry", r#"{"part":[{"url":"a","entry":[1]},{"url":"\u0062"},{"entry":[2],"url":"b"}]}"#),
            ("part[url=b].entry", r#"{"part":{"url":"b","entry":[1]}}"#),
            ("part[url=b].entry", r#"{"part":{"url":["b"],"entry":[1]}}"#),
            ("part[url=b].entry", r#"{"part":[[{"url":"b","entry":[1]}],"b"]}"#),
        ] {
            let path = JsonPath::parse(path).expect("a path");
            let tree: Value = serde_json::from_str(text).expect("JSON");
            let raw: &RawValue = serde_json::from_str(text).expect("JSON");
            let found = walk_raw(&path.0, raw).map(|found| serde_json::from_str(found.get()).expect("JSON"));
            assert_eq!(found.as_ref(), path.first(&tree), "{path:?} in {text}");
        }
    }

    #[test]
    fn what_is_new_changed_and_gone_is_found_once() {
        let (worklist, problems) = compiled(FORM);
        let worklist = worklist.expect("compiles");
        assert_eq!(problems, 0);
        let before = worklist
            .entries(&bytes(&json!({"resourceType": "List", "entry": [entry("1", 1), entry("2", 1), entry("3", 1)]})))
            .expect("read");
        let now = worklist
            .entries(&bytes(&json!({"resourceType": "List", "entry": [entry("4", 1), entry("2", 2), entry("1", 1)]})))
            .expect("read");
        let found: Vec<_> =
            worklist.differences(&before, &now).iter().map(|one| (one.key.to_owned(), one.change)).collect();
        assert_eq!(
            found,
            [("2".to_owned(), Change::Changed), ("4".to_owned(), Change::New), ("3".to_owned(), Change::Left)]
        );
        assert_eq!(worklist.urgency(&now["4"]), Some("URGENT"));
        assert_eq!(
            worklist.entries(&bytes(&json!({"resourceType": "List"}))).expect("read").len(),
            0,
            "an empty list has no entries"
        );
        assert!(
            worklist.entries(&bytes(&json!({"resourceType": "List", "entry": [{"item": {}}]}))).is_err(),
            "whatever it is, it has not left"
        );
        for other in
            ["", "null", "{}", "\"<html>\"", r#"{"resourceType":"OperationOutcome"}"#, r#"{"resourceType":"List""#]
        {
            assert!(worklist.entries(other.as_bytes()).is_err(), "{other} is no empty list");
        }
    }

    #[test]
    fn without_a_version_what_is_still_there_is_looked_at_again() {
        let (worklist, _) = compiled(&FORM.replace("changed_by: [version]\n", ""));
        let worklist = worklist.expect("compiles");
        let list = worklist.entries(&bytes(&json!({"resourceType": "List", "entry": [entry("1", 1)]}))).expect("read");
        assert_eq!(worklist.differences(&list, &list)[0].change, Change::Listed);
    }

    #[test]
    fn mistakes_are_told_with_their_places() {
        for text in [
            "list: X\n".to_owned(),
            FORM.replace("changed_by: [version]", "changed_by: [versoin]"),
            FORM.replace("urgency: priority", "urgency: urgent"),
            FORM.replace("at: item.reference", "at: \"item..reference\""),
            FORM.replace("observe:", "observes:"),
        ] {
            assert!(compiled(&text).1 > 0, "{text}");
        }
    }

    /// Every list of the published examples, with every field that its mapping names in at least one of its entries.
    #[test]
    fn the_published_lists_are_read_whole() {
        let set = crate::mapping::tests::set();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ers/examples");
        for (list, file, count) in [
            ("REFERRALS_FOR_REVIEW", "a008-retrieve-worklist/response-referrals-for-review.json", 2),
            ("APPOINTMENT_SLOT_ISSUES", "a008-retrieve-worklist/response-appointment-slot-issues.json", 1),
            ("AWAITING_BOOKING", "a008-retrieve-worklist/response-awaiting-booking.json", 1),
            ("LETTERS_OUTSTANDING", "a008-retrieve-worklist/response-letters-outstanding.json", 1),
            ("REJECTED_TRIAGE_RESPONSE", "a008-retrieve-worklist/response-rejected-triage-response.json", 1),
            (
                "ASSESSMENT_RETURNED_CANCELLED_DNA",
                "a008-retrieve-worklist/response-assessment-returned-cancelled-dna.json",
                1,
            ),
            (
                "ADVICE_AND_GUIDANCE_REQUESTS",
                "a023-retrieve-advice-worklist/response-advice-and-guidance-requests.json",
                2,
            ),
        ] {
            let text = std::fs::read_to_string(folder.join(file)).expect("a published example");
            let worklist = set.worklist(list).unwrap_or_else(|| panic!("mappings/worklists/{list}.yaml"));
            let entries = worklist.entries(text.as_bytes()).expect("every entry has a key");
            assert!(entries.len() >= count, "{list}: {}", entries.len());
            for (name, _) in &worklist.fields {
                assert!(entries.values().any(|fields| fields.contains_key(name)), "{list}: {name}");
            }
            assert!(entries.keys().all(|key| key.len() == 12), "{list}: {:?}", entries.keys());
        }
    }
}
