//! Members of a command: read, refined by filters and code tables, and put where they belong.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::filter::Refusal;
use super::super::inbound::{Leaf, Nulls, Read, Source};
use super::super::problem::{Location, Problem};
use super::super::source::{Entry, Found, Selector};
use super::{DATA_TYPE_ERROR, INTERNAL_ERROR, Normaliser, REQUIRED_FIELD_MISSING, TABLE_VALUE_NOT_FOUND, TraceRow};

/// Values that differ from the first one: so many are told of each member.
const DIFFERING_MAX: usize = 20;

enum Evaluated {
    Absent,
    Null,
    Present(Value),
}

impl<'d> Normaliser<'_, 'd> {
    pub(super) fn leaf(
        &mut self,
        leaf: &Leaf,
        within: Option<Entry<'d>>,
        nulls: Nulls,
        base: &str,
        into: &mut Map<String, Value>,
    ) {
        let evaluated = match &leaf.source {
            Source::Constant(value) => Evaluated::Present(value.clone()),
            Source::Read(read) => self.read(leaf, read, within, base),
            Source::Each { over, of, .. } => self.each(leaf, over, of, nulls, base),
            Source::Expression { with, expression } => {
                let mut context: BTreeMap<&str, Option<String>> = std::collections::BTreeMap::new();
                for (name, selector) in with {
                    let found = selector.first(&self.document, within);
                    self.note(leaf, selector, found.as_ref(), found.is_some(), base, within);
                    context.insert(name, found.map(|found| found.text(&self.document).into_owned()));
                }
                match expression.evaluate(minijinja::Value::from(minijinja::value::Serde(&context))) {
                    Ok(Some(Value::Null) | None) => Evaluated::Absent,
                    Ok(Some(value)) => Evaluated::Present(value),
                    Err(why) => {
                        let location = with.first().map_or(Location::Message, |(_, selector)| {
                            selector.nominal_location(&self.document, within)
                        });
                        let text = format!("mappings/{}:{}: {}: {why}", leaf.file, leaf.at.line, leaf.key);
                        self.problems.push(Problem::new(location, INTERNAL_ERROR, text));
                        Evaluated::Absent
                    }
                }
            }
        };
        match evaluated {
            Evaluated::Present(value) => insert(into, &leaf.path, value),
            Evaluated::Null if nulls == Nulls::Keep => insert(into, &leaf.path, Value::Null),
            Evaluated::Null | Evaluated::Absent => {}
        }
    }

    fn each(
        &mut self,
        leaf: &Leaf,
        over: &Selector,
        of: &[std::sync::Arc<Leaf>],
        nulls: Nulls,
        base: &str,
    ) -> Evaluated {
        let pointer = format!("{base}/{}", leaf.path.join("/"));
        let mut entries = Vec::new();
        for within in over.entries(&self.document) {
            let mut entry = Map::new();
            let entry_base = if self.trace.is_some() { format!("{pointer}/{}", entries.len()) } else { String::new() };
            for member in of {
                self.leaf(member, Some(within), nulls, &entry_base, &mut entry);
            }
            if !entry.is_empty() {
                entries.push(Value::Object(entry));
            }
        }
        if let Some(trace) = self.trace.as_deref_mut() {
            trace.rows.push(TraceRow {
                pointer,
                selector: over.to_string(),
                location: over.nominal_location(&self.document, None),
                present: !entries.is_empty(),
                file: leaf.file.clone(),
            });
        }
        if entries.is_empty() { Evaluated::Absent } else { Evaluated::Present(Value::Array(entries)) }
    }

    fn read(&mut self, leaf: &Leaf, read: &Read, within: Option<Entry<'d>>, base: &str) -> Evaluated {
        if read.agree {
            return self.read_agreeing(leaf, read, within, base);
        }
        if let Some(separator) = &read.join {
            let texts: Vec<String> = read
                .at
                .iter()
                .flat_map(|selector| selector.all(&self.document, within))
                .map(|found| found.text(&self.document).into_owned())
                .collect();
            self.note(leaf, &read.at[0], None, !texts.is_empty(), base, within);
            return if texts.is_empty() {
                self.absent(leaf, read, within)
            } else {
                Evaluated::Present(Value::from(texts.join(separator)))
            };
        }
        let found = read.at.iter().find_map(|selector| Some((selector, selector.first(&self.document, within)?)));
        match found {
            None => {
                self.note(leaf, &read.at[0], None, false, base, within);
                self.absent(leaf, read, within)
            }
            Some((selector, found)) => {
                self.note(leaf, selector, Some(&found), true, base, within);
                if found.is_null() {
                    return Evaluated::Null;
                }
                match self.refine(read, &found) {
                    Some(value) => Evaluated::Present(value),
                    None => Evaluated::Absent,
                }
            }
        }
    }

    /// Every match is refined; they must all say the same (two NHS numbers in one PID are refused).
    fn read_agreeing(&mut self, leaf: &Leaf, read: &Read, within: Option<Entry<'d>>, base: &str) -> Evaluated {
        let matches: Vec<(&Selector, Found<'d>)> = read
            .at
            .iter()
            .flat_map(|selector| selector.all(&self.document, within).into_iter().map(move |found| (selector, found)))
            .filter(|(_, found)| !found.is_null())
            .collect();
        let Some((selector, first)) = matches.first() else {
            self.note(leaf, &read.at[0], None, false, base, within);
            return self.absent(leaf, read, within);
        };
        self.note(leaf, selector, Some(first), true, base, within);
        let Some(value) = self.refine(read, first) else { return Evaluated::Absent };
        let told_before = self.problems.len();
        for (_, other) in &matches[1..] {
            if other.stands_where(first) {
                continue;
            }
            if self.problems.len() >= told_before + DIFFERING_MAX {
                break;
            }
            if self.refine(read, other).is_some_and(|other| other != value) {
                let label = read.label.as_deref().unwrap_or(&leaf.key);
                self.problems.push(Problem::new(
                    other.location(&self.document),
                    DATA_TYPE_ERROR,
                    format!("Data type error: differs from another {label} in the same message"),
                ));
            }
        }
        Evaluated::Present(value)
    }

    fn absent(&mut self, leaf: &Leaf, read: &Read, within: Option<Entry<'d>>) -> Evaluated {
        // Something was said, where nobody here can read it: that is not the same as absent.
        let astray: Vec<Problem> =
            read.at.iter().flat_map(|selector| selector.astray(&self.document, within)).collect();
        if !astray.is_empty() {
            self.tell(astray);
            return Evaluated::Absent;
        }
        if let Some(default) = &read.default {
            return Evaluated::Present(default.clone());
        }
        let excused = |name: &String| self.settings.get(name).is_some_and(|setting| *setting == Value::Bool(true));
        let required = read.required || read.required_unless.as_ref().is_some_and(|name| !excused(name));
        if required {
            let label = read.label.as_deref().unwrap_or(&leaf.key);
            let location = read.at[0].nominal_location(&self.document, within);
            self.problems.push(Problem::new(
                location,
                REQUIRED_FIELD_MISSING,
                format!("Required field missing, {label}"),
            ));
        }
        Evaluated::Absent
    }

    /// Filters, code table, accepted values; a refusal becomes a problem at the value's own place.
    fn refine(&mut self, read: &Read, found: &Found<'d>) -> Option<Value> {
        let text = found.text(&self.document);
        let mut value = Value::from(text.as_ref());
        for filter in &read.then {
            let refined = match &value {
                Value::String(text) => filter.apply(text, &self.zones),
                _ => Err(Refusal { code: DATA_TYPE_ERROR, text: "a filter needs text".into() }),
            };
            match refined {
                Ok(refined) => value = refined,
                Err(refusal) => {
                    let kind =
                        if refusal.code == TABLE_VALUE_NOT_FOUND { "Table value not found" } else { "Data type error" };
                    let text = format!("{kind}, {}", refusal.text);
                    self.problems.push(Problem::new(found.location(&self.document), refusal.code, text));
                    return None;
                }
            }
        }
        if let Some(name) = &read.code {
            let local = value.as_str().unwrap_or_default();
            let table = self.dialect.table(name);
            match table.and_then(|table| table.get(local)) {
                Some(code) => value = Value::from(code),
                None => {
                    let text = table.map_or_else(
                        || format!("there is no code table {name}"),
                        |table| format!("Table value not found: {}", table.unknown(name, local)),
                    );
                    self.problems.push(Problem::new(found.location(&self.document), TABLE_VALUE_NOT_FOUND, text));
                    return None;
                }
            }
        }
        if let Some((accepted, otherwise)) = &read.accept
            && !value.as_str().is_some_and(|text| accepted.iter().any(|known| known == text))
        {
            self.problems.push(Problem::new(found.location(&self.document), TABLE_VALUE_NOT_FOUND, otherwise.clone()));
            return None;
        }
        (value != "").then_some(value)
    }

    fn note(
        &mut self,
        leaf: &Leaf,
        selector: &Selector,
        found: Option<&Found<'d>>,
        present: bool,
        base: &str,
        within: Option<Entry<'d>>,
    ) {
        let Some(trace) = self.trace.as_deref_mut() else { return };
        trace.rows.push(TraceRow {
            pointer: format!("{base}/{}", leaf.path.join("/")),
            selector: selector.to_string(),
            location: found.map_or_else(
                || selector.nominal_location(&self.document, within),
                |found| found.location(&self.document),
            ),
            present,
            file: leaf.file.clone(),
        });
    }
}

/// `a.b.c` into nested objects.
fn insert(into: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            into.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let entry = into.entry(first.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = entry {
                insert(inner, rest, value);
            }
        }
    }
}
