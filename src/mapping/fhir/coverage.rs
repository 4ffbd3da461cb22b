//! Which elements a mapping uses or names as ignored, and what a message has besides.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{FhirDocument, Led, Node, shown_name};
use super::json::Json;
use super::selector::FhirSelector;
use crate::mapping::problem::{Location, Problem};

/// A resource, or an element, that a mapping names as not wanted: `Location`, `Patient.telecom`, `*.meta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredElement {
    /// `None`: in every type.
    kind: Option<String>,
    path: Vec<String>,
}

/// More than that are told as these.
const UNUSED_MAX: usize = 200;

const NOT_SUPPORTED: u16 = 200;

/// The frame of a Bundle is read by the gateway itself.
const FRAME: &[&str] = &["resourceType", "id", "meta", "type", "identifier", "timestamp"];
const FRAME_OF_ENTRY: &[&str] = &["fullUrl", "resource"];
const FRAME_OF_REQUEST: &[&str] = &["method", "url"];

impl IgnoredElement {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let kind = parts.next()?;
        let path: Vec<String> = parts.map(str::to_owned).collect();
        let is_name = |name: &str, first: fn(&u8) -> bool| {
            name.bytes().next().is_some_and(|byte| first(&byte))
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let elements = path.iter().all(|name| is_name(name, |byte| byte.is_ascii_lowercase() || *byte == b'_'));
        match kind {
            "*" if elements && !path.is_empty() => Some(Self { kind: None, path }),
            kind if elements && is_name(kind, u8::is_ascii_uppercase) && kind.len() > 3 => {
                Some(Self { kind: Some(kind.to_owned()), path })
            }
            _ => None,
        }
    }
}

/// Paths of elements by type; a path covers everything below it.
#[derive(Debug, Default)]
pub struct Elements {
    by_kind: BTreeMap<String, BTreeSet<Vec<String>>>,
    ignored: BTreeMap<String, BTreeSet<Vec<String>>>,
    /// At the top of every resource.
    everywhere: Vec<Vec<String>>,
    /// Types that are ignored as a whole.
    whole: BTreeSet<String>,
}

impl Elements {
    pub fn add(&mut self, selector: &FhirSelector, within: Option<&FhirSelector>) {
        for (kind, path) in selector.elements(within) {
            // A selector of nothing but a type asks whether there is one.
            let paths = self.by_kind.entry(kind).or_default();
            if !path.is_empty() {
                paths.insert(path);
            }
        }
    }

    /// An `each` whose entries others read: what it goes through, not all that is below.
    pub fn add_each(&mut self, selector: &FhirSelector) {
        let mut elements = selector.elements(None);
        let last = elements.pop();
        for (kind, path) in elements {
            self.by_kind.entry(kind).or_default().insert(path);
        }
        if let Some((kind, _)) = last {
            self.by_kind.entry(kind).or_default();
        }
    }

    pub fn ignore(&mut self, ignored: &IgnoredElement) {
        match (&ignored.kind, ignored.path.as_slice()) {
            (None, path) => self.everywhere.push(path.to_vec()),
            (Some(kind), []) => {
                self.whole.insert(kind.clone());
            }
            (Some(kind), path) => {
                self.ignored.entry(kind.clone()).or_default().insert(path.to_vec());
            }
        }
    }

    /// Resources that no selector came to, of types that are not ignored: what they say would be lost.
    pub fn unread(&self, document: &FhirDocument<'_>) -> Vec<Problem> {
        let lost = |resource: &&super::document::Resource<'_>| {
            !document.was_reached(resource) && !self.whole.contains(resource.kind)
        };
        let told = document.resources().iter().filter(lost).take(UNUSED_MAX);
        told.map(|resource| {
            let text = "Resource not supported: nothing that is made of this message would carry it; leave it out, or \
                        send it as a document";
            Problem::new(Location::fhir(&resource.place), NOT_SUPPORTED, text)
        })
        .collect()
    }

    /// Elements that change the meaning of what is around them (FHIR R4, isModifier) and that nobody reads.
    pub fn modifiers(&self, document: &FhirDocument<'_>) -> Vec<Problem> {
        let mut problems = Vec::new();
        for resource in document.resources() {
            if self.whole.contains(resource.kind) || !document.was_reached(resource) {
                continue;
            }
            self.walk(resource.kind, resource.node, &mut Vec::new(), &mut |path| {
                let last = path.last().map(String::as_str).unwrap_or_default();
                if matches!(last, "modifierExtension" | "implicitRules") && problems.len() < UNUSED_MAX {
                    let names: String = path.iter().map(|name| format!(".{name}")).collect();
                    let text = "Element not supported: it changes the meaning of others, and nothing here reads it";
                    let place = Location::fhir(&format!("{}{names}", resource.place));
                    problems.push(Problem::new(place, NOT_SUPPORTED, text));
                }
            });
        }
        problems.dedup();
        problems
    }

    /// Populated elements that nobody mentions, each once: `Patient.telecom.value`.
    pub fn unused(&self, document: &FhirDocument<'_>) -> Vec<String> {
        let mut unused: Vec<String> = Vec::new();
        let mut add = |name: String| {
            if unused.len() < UNUSED_MAX && !unused.contains(&name) {
                unused.push(name);
            }
        };
        frame(document.root(), &mut add);
        for resource in document.resources() {
            if self.whole.contains(resource.kind) {
                continue;
            }
            // A type comes from the message; only those that the mapping knows are named.
            if !self.by_kind.contains_key(resource.kind) && !self.ignored.contains_key(resource.kind) {
                add("Bundle.entry.resource".into());
                continue;
            }
            self.walk(resource.kind, resource.node, &mut Vec::new(), &mut |path| {
                let names: String = path.iter().map(|name| format!(".{}", shown_name(name))).collect();
                add(format!("{}{names}", resource.kind));
            });
        }
        unused
    }

    /// Tells every populated leaf below `json` that is not covered, and every modifier.
    fn walk(&self, kind: &str, json: &Json<'_>, path: &mut Vec<String>, tell: &mut dyn FnMut(&[String])) {
        match json {
            Json::Object(members) => {
                for (name, value) in members {
                    let at_top = path.is_empty();
                    if at_top && matches!(name.as_ref(), "resourceType" | "contained") {
                        continue;
                    }
                    path.push(name.clone().into_owned());
                    if !self.covers(kind, path) {
                        if matches!(name.as_ref(), "modifierExtension") {
                            tell(path);
                        } else {
                            self.walk(kind, value, path, tell);
                        }
                    }
                    path.pop();
                }
            }
            Json::Array(entries) => entries.iter().for_each(|entry| self.walk(kind, entry, path, tell)),
            Json::Null => {}
            Json::Text(text) if text.is_empty() => {}
            Json::Text(_) | Json::Bool(_) | Json::Number(_) => tell(path),
        }
    }

    fn covers(&self, kind: &str, path: &[String]) -> bool {
        self.by_kind.get(kind).is_some_and(|paths| paths.contains(path)) || self.is_ignored(kind, path)
    }

    fn is_ignored(&self, kind: &str, path: &[String]) -> bool {
        self.ignored.get(kind).is_some_and(|paths| paths.contains(path))
            || self.everywhere.iter().any(|everywhere| everywhere == path)
    }

    /// References of the request itself that lead out of the message, unless they are ignored, read as they are, or
    /// say by an identifier what they mean: a document that is only pointed at would be lost.
    pub fn astray(&self, kind: &str, document: &FhirDocument<'_>) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, resource) in document.resources().iter().enumerate() {
            if resource.kind == kind && !self.whole.contains(kind) && document.was_reached(resource) {
                let mut path = Vec::new();
                self.references(
                    kind,
                    Node { json: resource.node, resource: index },
                    document,
                    &mut path,
                    &mut problems,
                );
            }
        }
        problems
    }

    fn references(
        &self,
        kind: &str,
        node: Node<'_>,
        document: &FhirDocument<'_>,
        path: &mut Vec<String>,
        problems: &mut Vec<Problem>,
    ) {
        match node.json {
            Json::Array(entries) => {
                for entry in entries {
                    self.references(kind, Node { json: entry, ..node }, document, path, problems);
                }
            }
            Json::Object(members) => {
                let is_reference = node.json.text_of("reference").is_some() && node.json.get("identifier").is_none();
                let is_read = || {
                    let whole: Vec<String> =
                        path.iter().map(String::as_str).chain(["reference"]).map(str::to_owned).collect();
                    self.by_kind.get(kind).is_some_and(|paths| paths.contains(&whole))
                };
                if is_reference
                    && !is_read()
                    && problems.len() < UNUSED_MAX
                    && let Led::Astray(why) = document.follow(node)
                {
                    problems.push(why.problem(format!("{}.reference", document.place(node))));
                }
                for (name, value) in members {
                    if path.is_empty() && name == "contained" {
                        continue;
                    }
                    path.push(name.clone().into_owned());
                    if !self.is_ignored(kind, path) {
                        self.references(kind, Node { json: value, ..node }, document, path, problems);
                    }
                    path.pop();
                }
            }
            _ => {}
        }
    }
}

/// Members of a Bundle outside of its resources that nobody reads.
fn frame(root: &Json<'_>, add: &mut dyn FnMut(String)) {
    if root.text_of("resourceType") != Some("Bundle") {
        return;
    }
    let members = |json: &Json<'_>, known: &[&str], prefix: &str, add: &mut dyn FnMut(String)| {
        if let Json::Object(members) = json {
            for (name, _) in members.iter().filter(|(name, _)| !known.contains(&name.as_ref())) {
                add(format!("{prefix}.{}", shown_name(name)));
            }
        }
    };
    members(root, &[FRAME, &["entry"]].concat(), "Bundle", add);
    for entry in root.get("entry").map(Json::entries).unwrap_or_default() {
        members(entry, &[FRAME_OF_ENTRY, &["request"]].concat(), "Bundle.entry", add);
        if let Some(request) = entry.get("request") {
            members(request, FRAME_OF_REQUEST, "Bundle.entry.request", add);
        }
    }
}
