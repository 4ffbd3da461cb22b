//! Selectors: where in a FHIR message a value is. Declared in mappings, never computed.
//!
//! `ServiceRequest.subject -> Patient.identifier[system=https://fhir.nhs.uk/Id/nhs-number].value`: of the resource
//! ServiceRequest, what the element `subject` refers to, if that is a Patient; of that, the identifier of this system;
//! of that, the value. `Condition.code.text`: of all Conditions, the first that has one. Inside `each`, the start is
//! left out: `identifier.value`, `-> HealthcareService.name`; a type names the resource at hand, if it is of that type.
//!
//! An element that repeats gives the first entry that leads to a value; `[*]` gives all, `[1]` the second, as FHIRPath
//! counts. Operators of predicates: those of `mapping::predicate`.

use std::fmt;

use super::document::{Astray, FhirDocument, Led, Node};
use super::json::Json;
use crate::mapping::predicate::{Comparison, bracketed};

/// More arrows than that are a mistake: they would multiply what a hostile message makes of them.
const ARROWS_MAX: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FhirSelector {
    written: String,
    /// The first has no type inside `each`.
    chains: Vec<Chain>,
}

/// What stands between two arrows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chain {
    kind: Option<String>,
    predicates: Vec<Predicate>,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    name: String,
    which: Which,
    predicates: Vec<Predicate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    First,
    Nth(usize),
    All,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Predicate {
    path: Vec<String>,
    comparison: Comparison,
}

/// What a visitor makes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// Nothing there for it: the next entry may have it.
    No,
    More,
    Enough,
}

/// How a part of a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Walked {
    found: bool,
    stop: bool,
}

const NOTHING: Walked = Walked { found: false, stop: false };

/// Visitors of one walk.
struct Walk<'v, 'd> {
    document: &'v FhirDocument<'d>,
    take: &'v mut dyn FnMut(Node<'d>) -> Took,
    astray: &'v mut dyn FnMut(Node<'d>, Astray),
}

impl FhirSelector {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let written = text.trim();
        let mut chains = Vec::new();
        for (index, part) in written.split("->").enumerate() {
            chains.push(Parser { rest: part.trim() }.chain(index > 0)?);
        }
        if chains.len() > ARROWS_MAX + 1 {
            return Err("too many arrows");
        }
        if let [only] = chains.as_slice()
            && only.kind.is_none()
            && only.steps.is_empty()
        {
            return Err("it is empty");
        }
        Ok(Self { written: written.to_owned(), chains })
    }

    /// Begins with a resource, not with the value at hand.
    pub fn is_absolute(&self) -> bool {
        self.chains.first().is_some_and(|chain| chain.kind.is_some())
    }

    /// Each type that it goes through, with the elements that it looks at there. A place before an arrow is looked at
    /// as a whole. `within`: where a relative one begins.
    pub fn elements(&self, within: Option<&FhirSelector>) -> Vec<(String, Vec<String>)> {
        let mut looked_at = Vec::new();
        let mut base: Vec<String> = Vec::new();
        let mut kind = String::new();
        if !self.is_absolute()
            && let Some(around) = within.and_then(|within| within.chains.last())
        {
            kind = around.kind.clone().unwrap_or_default();
            base = around.steps.iter().map(|step| step.name.clone()).collect();
        }
        for chain in &self.chains {
            if let Some(named) = &chain.kind {
                kind.clone_from(named);
                base.clear();
            }
            let mut add = |base: &[String], path: &[String]| looked_at.push((kind.clone(), [base, path].concat()));
            chain.predicates.iter().for_each(|predicate| add(&base, &predicate.path));
            let mut path = base.clone();
            for step in &chain.steps {
                path.push(step.name.clone());
                step.predicates.iter().for_each(|predicate| add(&path, &predicate.path));
            }
            add(&path, &[]);
        }
        looked_at
    }

    /// Types of the resources that it goes through.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.chains.iter().filter_map(|chain| chain.kind.as_deref())
    }

    /// Walks to every place that it names until `take` has enough. `astray` hears of references that lead nowhere.
    pub fn visit<'d>(
        &self,
        document: &FhirDocument<'d>,
        within: Option<Node<'d>>,
        take: &mut dyn FnMut(Node<'d>) -> Took,
        astray: &mut dyn FnMut(Node<'d>, Astray),
    ) {
        let Some(first) = self.chains.first() else { return };
        let mut walk = Walk { document, take, astray };
        match &first.kind {
            None => {
                if let Some(node) = within {
                    self.steps(&mut walk, 0, &first.steps, node);
                }
            }
            Some(kind) => {
                let at_hand = within
                    .map(|node| node.resource)
                    .filter(|index| document.resources().get(*index).is_some_and(|resource| resource.kind == kind));
                let all = 0..document.resources().len();
                let range = at_hand.map_or(all, |index| index..index + 1);
                for index in range {
                    if document.resources().get(index).is_none_or(|resource| resource.kind != kind) {
                        continue;
                    }
                    let Some(node) = document.node(index) else { continue };
                    if !document.step() {
                        return;
                    }
                    if !first.predicates.iter().all(|predicate| predicate.holds(node.json)) {
                        continue;
                    }
                    document.reach(index);
                    if self.steps(&mut walk, 0, &first.steps, node).stop {
                        return;
                    }
                }
            }
        }
    }

    fn steps<'d>(&self, walk: &mut Walk<'_, 'd>, chain: usize, steps: &[Step], node: Node<'d>) -> Walked {
        if !walk.document.step() {
            return Walked { found: false, stop: true };
        }
        let [step, rest @ ..] = steps else { return self.arrive(walk, chain, node) };
        let Some(member) = node.json.get(&step.name) else { return NOTHING };
        let mut found = false;
        for (index, entry) in member.entries().iter().enumerate() {
            if let Which::Nth(wanted) = step.which
                && wanted != index
            {
                continue;
            }
            if !step.predicates.is_empty() {
                if !walk.document.step() {
                    return Walked { found, stop: true };
                }
                if !step.predicates.iter().all(|predicate| predicate.holds(entry)) {
                    continue;
                }
            }
            let walked = self.steps(walk, chain, rest, Node { json: entry, resource: node.resource });
            found |= walked.found;
            if walked.stop {
                return Walked { found, stop: true };
            }
            if found && step.which != Which::All {
                break;
            }
        }
        Walked { found, stop: false }
    }

    /// The end of a chain: a value, or what a reference leads to.
    fn arrive<'d>(&self, walk: &mut Walk<'_, 'd>, chain: usize, node: Node<'d>) -> Walked {
        let Some(next) = self.chains.get(chain + 1) else {
            return match (walk.take)(node) {
                Took::No => NOTHING,
                Took::More => Walked { found: true, stop: false },
                Took::Enough => Walked { found: true, stop: true },
            };
        };
        let target = match walk.document.follow(node) {
            Led::Nowhere => return NOTHING,
            Led::Astray(why) => {
                // `Practitioner/1` can be told not to be a Patient without having it.
                if might_be(node.json, next.kind.as_deref()) {
                    (walk.astray)(node, why);
                }
                return NOTHING;
            }
            Led::To(target) => target,
        };
        let is_wanted = |resource: &super::document::Resource<'_>| Some(resource.kind) == next.kind.as_deref();
        let Some(found) = walk.document.node(target) else { return NOTHING };
        let holds = next.predicates.iter().all(|predicate| predicate.holds(found.json));
        if !walk.document.resources().get(target).is_some_and(is_wanted) || !holds {
            return NOTHING;
        }
        walk.document.reach(target);
        self.steps(walk, chain + 1, &next.steps, found)
    }

    /// FHIRPath of where the value would stand: as far as the message goes, and then as the selector says.
    pub fn nominal(&self, document: &FhirDocument<'_>, within: Option<Node<'_>>) -> String {
        let Some(first) = self.chains.first() else { return String::new() };
        let start = match &first.kind {
            None => within.map(|node| (node.resource, node.json)),
            Some(kind) => {
                let at_hand = within.filter(|node| {
                    document.resources().get(node.resource).is_some_and(|resource| resource.kind == kind)
                });
                let index = at_hand
                    .map(|node| node.resource)
                    .or_else(|| document.resources().iter().position(|resource| resource.kind == kind));
                index.and_then(|index| Some((index, document.node(index)?.json)))
            }
        };
        let Some((mut resource, mut json)) = start else { return self.written_place() };
        for (number, chain) in self.chains.iter().enumerate() {
            let mut steps = chain.steps.iter();
            while let Some(step) = steps.next() {
                let entries = json.get(&step.name).map(Json::entries).unwrap_or_default();
                let wanted = |entry: &&Json<'_>| step.predicates.iter().all(|predicate| predicate.holds(entry));
                let entry = match step.which {
                    Which::Nth(index) => entries.get(index).filter(wanted),
                    Which::First | Which::All => entries.iter().find(wanted),
                };
                match entry {
                    Some(entry) => json = entry,
                    None => {
                        let rest: String =
                            std::iter::once(step).chain(steps).map(|step| format!(".{}", step.name)).collect();
                        return format!("{}{rest}", document.place_of(json, resource));
                    }
                }
            }
            let Some(next) = self.chains.get(number + 1) else { break };
            let led = match document.follow_at(json, resource) {
                Led::To(target) => target,
                Led::Nowhere | Led::Astray(_) => return document.place_of(json, resource),
            };
            let Some(target) = document.resources().get(led).filter(|found| Some(found.kind) == next.kind.as_deref())
            else {
                return document.place_of(json, resource);
            };
            (resource, json) = (led, target.node);
        }
        document.place_of(json, resource)
    }

    /// Without a message: `ServiceRequest.status`.
    fn written_place(&self) -> String {
        let Some(first) = self.chains.first() else { return String::new() };
        let names = first.kind.iter().map(String::as_str).chain(first.steps.iter().map(|step| step.name.as_str()));
        names.collect::<Vec<_>>().join(".")
    }
}

/// Whether a reference that leads nowhere may have meant a resource of that type: a relative one says its type.
fn might_be(reference: &Json<'_>, kind: Option<&str>) -> bool {
    let text = match reference {
        Json::Text(text) => text.as_ref(),
        object => object.text_of("reference").unwrap_or_default(),
    };
    let unversioned = text.split_once("/_history/").map_or(text, |(before, _)| before);
    let mut parts = unversioned.rsplit('/').skip(1);
    match parts.next() {
        Some(named)
            if named.bytes().all(|byte| byte.is_ascii_alphabetic()) && named.starts_with(char::is_uppercase) =>
        {
            Some(named) == kind
        }
        _ => true,
    }
}

impl Predicate {
    fn holds(&self, json: &Json<'_>) -> bool {
        let mut values = Vec::new();
        collect(json, &self.path, &mut values);
        self.comparison.holds(&values)
    }
}

/// The first this many values of a path in a predicate are looked at.
const PREDICATE_VALUES_MAX: usize = 64;

fn collect(json: &Json<'_>, path: &[String], values: &mut Vec<String>) {
    if values.len() >= PREDICATE_VALUES_MAX {
        return;
    }
    match path {
        [] => values.extend(primitive(json)),
        [name, rest @ ..] => {
            let entries = json.get(name).map(Json::entries).unwrap_or_default();
            entries.iter().take(PREDICATE_VALUES_MAX).for_each(|entry| collect(entry, rest, values));
        }
    }
}

/// The text of a primitive that is there.
pub fn primitive(json: &Json<'_>) -> Option<String> {
    match json {
        Json::Text(text) if !text.is_empty() => Some(text.clone().into_owned()),
        Json::Bool(flag) => Some(flag.to_string()),
        Json::Number(number) => Some(number.to_string()),
        Json::Null | Json::Text(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

/// As it was written.
impl fmt::Display for FhirSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

struct Parser<'t> {
    rest: &'t str,
}

impl<'t> Parser<'t> {
    fn chain(&mut self, after_arrow: bool) -> Result<Chain, &'static str> {
        let mut chain = Chain { kind: None, predicates: Vec::new(), steps: Vec::new() };
        if self.rest.is_empty() {
            // `-> Type.element` inside `each`.
            return if after_arrow { Err("an arrow leads to a type, such as `-> Patient`") } else { Ok(chain) };
        }
        if self.rest.starts_with(|c: char| c.is_ascii_uppercase()) {
            chain.kind = Some(self.name()?.to_owned());
            while let Some(inside) = self.brackets()? {
                chain.predicates.extend(predicates(inside)?);
            }
            if self.rest.is_empty() {
                return Ok(chain);
            }
            self.rest = self.rest.strip_prefix('.').ok_or("after the type comes `.` and an element")?;
        } else if after_arrow {
            return Err("an arrow leads to a type, such as `-> Patient`");
        }
        loop {
            chain.steps.push(self.step()?);
            if self.rest.is_empty() {
                return Ok(chain);
            }
            self.rest = self.rest.strip_prefix('.').ok_or("between elements stands `.`")?;
        }
    }

    fn step(&mut self) -> Result<Step, &'static str> {
        if self.rest.starts_with(|c: char| c.is_ascii_uppercase()) {
            return Err("an element begins with a small letter; to another resource leads `->`");
        }
        let name = self.name()?.to_owned();
        let mut step = Step { name, which: Which::First, predicates: Vec::new() };
        while let Some(inside) = self.brackets()? {
            if inside == "*" {
                step.which = Which::All;
            } else if !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_digit()) {
                step.which = Which::Nth(inside.parse().map_err(|_| "the number is too large")?);
            } else {
                step.predicates.extend(predicates(inside)?);
            }
        }
        Ok(step)
    }

    fn name(&mut self) -> Result<&'t str, &'static str> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("a type or an element was expected");
        }
        self.rest = rest;
        Ok(name)
    }

    fn brackets(&mut self) -> Result<Option<&'t str>, &'static str> {
        let Some((inside, rest)) = bracketed(self.rest)? else { return Ok(None) };
        self.rest = rest;
        Ok(Some(inside))
    }
}

fn predicates(inside: &str) -> Result<Vec<Predicate>, &'static str> {
    inside.split(',').map(|text| predicate(text.trim())).collect()
}

fn predicate(text: &str) -> Result<Predicate, &'static str> {
    const FORM: &str = "between `[` and `]` stands `*`, a number from 0, or `element=value` (`!=`, `^=`, `$=`)";
    let (path, comparison) = Comparison::split(text).ok_or(FORM)?;
    let path: Vec<String> = path.split('.').map(|name| name.trim().to_owned()).collect();
    let is_name = |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !path.iter().all(is_name) {
        return Err(FORM);
    }
    Ok(Predicate { path, comparison })
}
