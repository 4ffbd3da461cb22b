//! One FHIR message: its resources wherever they stand, and what a reference in it leads to.

use std::cell::Cell;
use std::collections::HashMap;

use super::json::Json;
use crate::mapping::problem::{Location, Problem};

/// A bundle of a referral has ten to fifty; contained resources count.
pub const RESOURCES_MAX: usize = 1_000;
/// Values that all selectors of one mapping may look at together. The largest synthetic bundle needs under 20 000.
const STEPS_MAX: u32 = 2_000_000;

const STRUCTURE: u16 = 100;
const REQUIRED: u16 = 101;
const VALUE: u16 = 102;
const CODE: u16 = 103;
const TOO_LONG: u16 = 104;
const NOT_SUPPORTED: u16 = 200;

/// A value in a message, and the resource that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Node<'d> {
    pub json: &'d Json<'d>,
    pub resource: usize,
}

impl PartialEq for Node<'_> {
    /// The same place, not the same value.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.json, other.json)
    }
}

#[derive(Debug)]
pub struct Resource<'d> {
    pub node: &'d Json<'d>,
    pub kind: &'d str,
    /// FHIRPath: `Bundle.entry[1].resource`, or the type where the message is this one resource.
    pub place: String,
    full_url: Option<&'d str>,
    /// The resource that contains it.
    container: Option<usize>,
    /// A selector came to it.
    reached: Cell<bool>,
}

#[derive(Debug)]
pub struct FhirDocument<'d> {
    text: &'d str,
    root: &'d Json<'d>,
    resources: Vec<Resource<'d>>,
    by_url: HashMap<&'d str, usize>,
    by_id: HashMap<(&'d str, &'d str), Vec<usize>>,
    /// By container and id.
    contained: HashMap<(usize, &'d str), Vec<usize>>,
    steps: Cell<u32>,
}

/// What a reference leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Led {
    To(usize),
    /// No reference stands there (a logical one, by identifier, say).
    Nowhere,
    /// There is one, and nothing in this message has that name, or two have.
    Astray(Astray),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Astray {
    Unknown,
    Ambiguous,
}

impl<'d> FhirDocument<'d> {
    /// `text` is what `root` was read from.
    pub fn of(text: &'d str, root: &'d Json<'d>) -> Result<Self, Vec<Problem>> {
        let mut document = Self {
            text,
            root,
            resources: Vec::new(),
            by_url: HashMap::new(),
            by_id: HashMap::new(),
            contained: HashMap::new(),
            steps: Cell::new(STEPS_MAX),
        };
        let mut problems = Vec::new();
        match root.text_of("resourceType") {
            None => problems.push(at(
                "",
                STRUCTURE,
                "no FHIR resource: a JSON object with the member resourceType is expected",
            )),
            Some("Bundle") => document.bundle(&mut problems),
            Some(kind) => document.add(root, kind, shown_type(kind), None, None, &mut problems),
        }
        if problems.is_empty() { Ok(document) } else { Err(problems) }
    }

    fn bundle(&mut self, problems: &mut Vec<Problem>) {
        let is_message = match self.root.text_of("type") {
            Some("message") => true,
            Some("transaction") => false,
            Some(_) => {
                let text = "a Bundle of this type is not taken: send one of type message or transaction";
                problems.push(at("Bundle.type", NOT_SUPPORTED, text));
                return;
            }
            None => {
                problems.push(at("Bundle.type", REQUIRED, "Required field missing, type of the Bundle"));
                return;
            }
        };
        let entries = match self.root.get("entry") {
            Some(Json::Array(entries)) if !entries.is_empty() => entries,
            _ => {
                problems.push(at("Bundle.entry", REQUIRED, "Required field missing, entries of the Bundle"));
                return;
            }
        };
        for (index, entry) in entries.iter().enumerate() {
            let place = format!("Bundle.entry[{index}]");
            let full_url = entry.text_of("fullUrl");
            if let Some(method) = entry.get("request").and_then(|request| request.text_of("method"))
                && !matches!(method, "POST" | "PUT")
            {
                let text = "Table value not acceptable: entries are sent with POST or PUT; what is to end is said by \
                            its status";
                problems.push(at(&format!("{place}.request.method"), CODE, text));
            }
            let resource = entry.get("resource");
            let Some((resource, kind)) = resource.and_then(|node| Some((node, node.text_of("resourceType")?))) else {
                problems.push(at(&format!("{place}.resource"), REQUIRED, "Required field missing, resource"));
                continue;
            };
            if is_message && index == 0 && kind != "MessageHeader" {
                let text = "the first entry of a message is its MessageHeader";
                problems.push(at(&format!("{place}.resource"), STRUCTURE, text));
            }
            if let Some(url) = full_url
                && self.by_url.contains_key(url)
            {
                let text = "Data type error: another entry has the same fullUrl";
                problems.push(at(&format!("{place}.fullUrl"), STRUCTURE, text));
            }
            self.add(resource, kind, format!("{place}.resource"), full_url, None, problems);
            if self.resources.len() > RESOURCES_MAX {
                return;
            }
        }
    }

    fn add(
        &mut self,
        node: &'d Json<'d>,
        kind: &'d str,
        place: String,
        full_url: Option<&'d str>,
        container: Option<usize>,
        problems: &mut Vec<Problem>,
    ) {
        let index = self.resources.len();
        if index >= RESOURCES_MAX {
            let text = format!("Value too long: more than {RESOURCES_MAX} resources in one message");
            let problem = at("Bundle.entry", TOO_LONG, text);
            if !problems.contains(&problem) {
                problems.push(problem);
            }
            return;
        }
        if let Some(url) = full_url {
            self.by_url.entry(url).or_insert(index);
        }
        if let Some(id) = node.text_of("id") {
            match container {
                None => self.by_id.entry((kind, id)).or_default().push(index),
                Some(container) => self.contained.entry((container, id)).or_default().push(index),
            }
        }
        let contained = format!("{place}.contained");
        self.resources.push(Resource { node, kind, place, full_url, container, reached: Cell::new(false) });
        // Contained resources do not contain any (FHIR R4, dom-2).
        if container.is_none()
            && let Some(Json::Array(inside)) = node.get("contained")
        {
            for (number, inner) in inside.iter().enumerate() {
                let place = format!("{contained}[{number}]");
                match inner.text_of("resourceType") {
                    Some(kind) => self.add(inner, kind, place, None, Some(index), problems),
                    None => problems.push(at(&place, STRUCTURE, "a contained resource without resourceType")),
                }
            }
        }
    }

    pub fn resources(&self) -> &[Resource<'d>] {
        &self.resources
    }

    pub fn root(&self) -> &'d Json<'d> {
        self.root
    }

    pub fn node(&self, resource: usize) -> Option<Node<'d>> {
        self.resources.get(resource).map(|found| Node { json: found.node, resource })
    }

    /// `Bundle^message`, `Bundle^transaction`, or the type of the one resource that the message is.
    pub fn kind(&self) -> &'d str {
        match (self.root.text_of("resourceType"), self.root.text_of("type")) {
            (Some("Bundle"), Some("message")) => "Bundle^message",
            (Some("Bundle"), _) => "Bundle^transaction",
            (kind, _) => kind.unwrap_or_default(),
        }
    }

    /// What names this message, so that a resend is known: the identifier of the Bundle, the id of the MessageHeader (or
    /// the UUID that its entry has), or an identifier of a single resource together with its version. Without a version, a change could not be told
    /// from a resend.
    pub fn control_id(&self) -> Option<String> {
        let value = |json: &'d Json<'d>| json.entries().iter().find_map(|entry| entry.text_of("value"));
        let identifier = self.root.get("identifier").and_then(value);
        if self.root.text_of("resourceType") == Some("Bundle") {
            let header = self.first("MessageHeader");
            let id = header.and_then(|header| header.node.text_of("id"));
            let url = header.and_then(|header| header.full_url?.strip_prefix("urn:uuid:"));
            return identifier.or(id).or(url).map(str::to_owned);
        }
        let version = self.root.get("meta").and_then(|meta| meta.text_of("versionId"))?;
        Some(format!("{}/{version}", identifier?))
    }

    /// The first resource of that type.
    pub fn first(&self, kind: &str) -> Option<&Resource<'d>> {
        self.resources.iter().find(|resource| resource.kind == kind)
    }

    /// A selector came to this resource.
    pub fn reach(&self, resource: usize) {
        if let Some(found) = self.resources.get(resource) {
            found.reached.set(true);
        }
    }

    /// What came to a resource so far only asked which mapping is for the message.
    pub fn begin(&self) {
        self.resources.iter().for_each(|resource| resource.reached.set(false));
    }

    pub fn was_reached(&self, resource: &Resource<'d>) -> bool {
        resource.reached.get()
    }

    /// One more value looked at; false when it was enough.
    pub fn step(&self) -> bool {
        let left = self.steps.get();
        self.steps.set(left.saturating_sub(1));
        left > 0
    }

    /// There is more than anybody wants: nothing further is looked at.
    pub fn exhaust(&self) {
        self.steps.set(0);
    }

    /// Selectors were stopped: what they found is not all that there is.
    pub fn is_exhausted(&self) -> bool {
        self.steps.get() == 0
    }

    /// Byte offset of a string in the message; `None` if it was written with escapes.
    pub fn offset(&self, node: Node<'d>) -> Option<usize> {
        let Json::Text(std::borrow::Cow::Borrowed(text)) = node.json else { return None };
        let offset = (text.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize)?;
        (offset.checked_add(text.len())? <= self.text.len()).then_some(offset)
    }

    /// FHIRPath of a value: `Bundle.entry[1].resource.identifier[0].value`.
    pub fn place(&self, node: Node<'d>) -> String {
        self.place_of(node.json, node.resource)
    }

    pub(super) fn place_of(&self, json: &Json<'_>, resource: usize) -> String {
        let Some(resource) = self.resources.get(resource) else { return String::new() };
        let mut path = resource.place.clone();
        find(resource.node, json, &mut path);
        path
    }

    pub fn location(&self, node: Node<'d>) -> Location {
        Location::fhir(&self.place(node))
    }

    /// Follows a Reference, or a string that is one (`Attachment.url`), inside the message.
    pub fn follow(&self, node: Node<'d>) -> Led {
        self.follow_at(node.json, node.resource)
    }

    pub(super) fn follow_at(&self, json: &Json<'_>, resource: usize) -> Led {
        let reference = match json {
            Json::Text(text) => text.as_ref(),
            object => object.text_of("reference").unwrap_or_default(),
        };
        if reference.is_empty() {
            return Led::Nowhere;
        }
        let from = self.resources.get(resource);
        if let Some(id) = reference.strip_prefix('#') {
            let container = from.and_then(|resource| resource.container).unwrap_or(resource);
            if id.is_empty() {
                return Led::To(container);
            }
            return only(self.contained.get(&(container, id)).into_iter().flatten().copied());
        }
        let unversioned = reference.split_once("/_history/").map_or(reference, |(before, _)| before);
        for url in [reference, unversioned] {
            if let Some(found) = self.by_url.get(url) {
                return Led::To(*found);
            }
        }
        let mut parts = unversioned.rsplitn(3, '/');
        let (Some(id), Some(kind), None) = (parts.next(), parts.next(), parts.next()) else {
            return Led::Astray(Astray::Unknown);
        };
        // Relative to the entry that it stands in (FHIR R4, bundle.html, resolving references).
        let container = from.and_then(|resource| resource.container).and_then(|index| self.resources.get(index));
        if let Some(full_url) = container.or(from).and_then(|resource| resource.full_url) {
            let mut base = full_url.rsplitn(3, '/');
            let (_, _, base) = (base.next(), base.next(), base.next());
            if let Some(found) = base.and_then(|base| self.by_url.get(format!("{base}/{kind}/{id}").as_str())) {
                return Led::To(*found);
            }
        }
        only(self.by_id.get(&(kind, id)).into_iter().flatten().copied())
    }
}

fn only(mut found: impl Iterator<Item = usize>) -> Led {
    match (found.next(), found.next()) {
        (Some(one), None) => Led::To(one),
        (Some(_), Some(_)) => Led::Astray(Astray::Ambiguous),
        _ => Led::Astray(Astray::Unknown),
    }
}

/// Extends `path` by the way from `from` to `wanted`; false if that is not below it.
fn find(from: &Json<'_>, wanted: &Json<'_>, path: &mut String) -> bool {
    if std::ptr::eq(from, wanted) {
        return true;
    }
    let length = path.len();
    let mut inside = |step: &str, value: &Json<'_>| {
        path.push_str(step);
        let found = find(value, wanted, path);
        if !found {
            path.truncate(length);
        }
        found
    };
    match from {
        Json::Array(entries) => entries.iter().enumerate().any(|(index, entry)| inside(&format!("[{index}]"), entry)),
        Json::Object(members) => members.iter().any(|(name, value)| inside(&format!(".{}", shown_name(name)), value)),
        _ => false,
    }
}

/// What a sender calls an element is shown where it is a name as FHIR has them; it might be anything.
pub fn shown_name(name: &str) -> &str {
    let mut letters = name.bytes();
    let starts = letters.next().is_some_and(|first| first.is_ascii_lowercase() || first == b'_');
    if starts && name.len() <= 40 && letters.all(|byte| byte.is_ascii_alphabetic()) { name } else { "(unusual name)" }
}

/// A type's name comes from the message; FHIR's own are made of letters.
fn shown_type(kind: &str) -> String {
    let usual = kind.len() <= 40 && kind.bytes().all(|byte| byte.is_ascii_alphabetic());
    if usual { kind.to_owned() } else { "Resource".to_owned() }
}

fn at(place: &str, code: u16, text: impl Into<String>) -> Problem {
    let location = if place.is_empty() { Location::Message } else { Location::fhir(place) };
    Problem::new(location, code, text)
}

impl Astray {
    /// What to tell about a reference that stands at `place`.
    pub fn problem(self, place: String) -> Problem {
        let text = match self {
            Self::Unknown => {
                "Data type error: the reference leads out of the message; send what it means in the same message"
            }
            Self::Ambiguous => "Data type error: two resources of the message have what the reference names",
        };
        Problem::new(Location::fhir(&place), VALUE, text)
    }
}
