//! From YAML to what a file says of letters and of clinical text.

use std::sync::Arc;

use super::super::yaml::{Keys, Node, Yaml};
use super::compile::Compiler;
use super::{ClinicalText, LetterSource, LetterSpec, Section};

impl Compiler<'_> {
    pub(super) fn letters(&mut self, node: &Node) -> Vec<Arc<LetterSpec>> {
        let Yaml::List(items) = &node.yaml else {
            self.report(node.at, format!("`letters` is a list, found {}", node.kind()));
            return Vec::new();
        };
        items.iter().filter_map(|item| self.letter(item)).map(Arc::new).collect()
    }

    fn letter(&mut self, node: &Node) -> Option<LetterSpec> {
        const LETTER_KEYS: &[&str] =
            &["each", "data", "encoding", "text", "refuse", "name", "description", "types", "finished"];
        let keys = Keys::of(self.file, node, LETTER_KEYS, self.diagnostics)?;
        let each = keys.get("each").and_then(|node| self.one_selector(node))?;
        let refuse = keys.text("refuse", self.diagnostics);
        let content = match (keys.get("data"), keys.get("text")) {
            (None, None) if refuse.is_some() => LetterSource::Refuse(refuse.unwrap_or_default()),
            (Some(data), None) => LetterSource::Data {
                data: Some(self.selectors(data)).filter(|data| !data.is_empty())?,
                encoding: keys.get("encoding").and_then(|node| self.one_selector(node)),
            },
            (None, Some(text)) => LetterSource::Text(self.one_selector(text)?),
            _ => {
                self.report(node.at, "a letter has `data` (with `encoding`), `text` or `refuse`");
                return None;
            }
        };
        let mut selectors = |name| keys.get(name).map(|node| self.selectors(node)).unwrap_or_default();
        let (name, description, types) = (selectors("name"), selectors("description"), selectors("types"));
        let finished = match keys.get("finished") {
            Some(node) => self.wanted_values(node),
            None => Vec::new(),
        };
        Some(LetterSpec { each, content, name, description, types, finished })
    }

    pub(super) fn clinical_text(&mut self, node: &Node) -> Option<ClinicalText> {
        let keys = Keys::of(self.file, node, &["fileName", "title", "sections"], self.diagnostics)?;
        let file_name = keys.text("fileName", self.diagnostics).unwrap_or_else(|| "clinical-information.txt".into());
        let title = keys.text("title", self.diagnostics).unwrap_or_default();
        let Some(Node { yaml: Yaml::List(items), .. }) = keys.get("sections") else {
            self.report(node.at, "`clinicalText` needs a list of `sections`");
            return None;
        };
        let sections = items.iter().filter_map(|item| self.section(item)).collect();
        Some(ClinicalText { file_name, title, sections })
    }

    fn section(&mut self, node: &Node) -> Option<Section> {
        let keys = Keys::of(self.file, node, &["title", "each", "line", "supplement"], self.diagnostics)?;
        Some(Section {
            title: keys.text("title", self.diagnostics).unwrap_or_default(),
            each: keys.get("each").and_then(|node| self.one_selector(node))?,
            line: keys.get("line").map(|node| self.selectors(node)).unwrap_or_default(),
            supplement: keys.flag("supplement", self.diagnostics),
        })
    }
}
