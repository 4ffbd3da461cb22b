//! Replies, compiled: `replies/<dialect>/<MESSAGE>.yaml`, what became of a message to its application answer.
//!
//! ```yaml
//! for: { hl7v2: [REF^I12, REF^I13] }
//! reply: RRI^*^RRI_I12                  # `*`: the trigger event of the message
//! needs: known.ubrn                     # without it, a plain ACK is the answer
//! segments:
//!   - RF1: { 1: [P, Pending, HL70283], 6: "{command.localId?}", 11: ["{known.ubrn}", ERS, "", UBRN] }
//!   - PRD: { 1: [RT], 7: ["{item.service}", ERS] }
//!     each: command.shortlist
//!   - copy: "PRD[1=RP]"                 # those whose PRD-1.1 is RP
//!   - SCH: { 1: { copy: ARQ-1 } }
//!   - NTE: { 1: "1", 3: "{failure.text}" }
//!     needs: failure
//! ```
//!
//! A field is text, or a list of components, or a field of the message. Values are escaped; `copy` repeats what the
//! message has as it was sent. MSH, MSA and ERR are the gateway's. Roots: `command`, `known`, `settings`, `result` (what
//! the plan answers), `failure` (`code`, `text`; absent where nothing failed), `document` (`contentType`, `base64`: of the
//! step that `result.step` names), with `each` also `item` and `index`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::diagnostic::Diagnostics;
use super::inbound::message_types;
use super::segments::{self, Copies, Line, Segment};
use super::set::{PlanContext, PlanProblem};
use super::template::{Path, REPLY_ROOTS, Root, Scope, TemplateCompiler};
use super::yaml::{Keys, Node};
use crate::hl7::Delimiters;

#[derive(Debug)]
pub struct ReplyMapping {
    /// MSH-9.1 and MSH-9.2 of the messages answered.
    answers: Vec<(String, String)>,
    /// MSH-9 of the reply; `*` is the trigger event of the message.
    message_type: [String; 3],
    needs: Vec<Path>,
    segments: Vec<Segment>,
    wants_document: bool,
}

/// What a reply speaks of, besides the command and what is known.
#[derive(Clone, Debug, Default)]
pub struct ReplyOutcome {
    /// What the plan answers; null if it did not come to its end.
    pub result: Value,
    /// `{"code", "text"}`, or null.
    pub failure: Value,
    /// `{"contentType", "base64"}`, or null.
    pub document: Value,
}

pub fn compile(file: &str, node: &Node, diagnostics: &mut Diagnostics) -> Option<ReplyMapping> {
    let keys = Keys::of(file, node, &["for", "reply", "needs", "segments", "about"], diagnostics)?;
    let answers = keys
        .get("for")
        .and_then(|node| Keys::of(file, node, &["hl7v2"], diagnostics))
        .and_then(|keys| message_types(file, keys.get("hl7v2")?, diagnostics));
    let reply = keys.text("reply", diagnostics);
    let parts: Vec<&str> = reply.as_deref().unwrap_or_default().split('^').collect();
    let (Some(answers), [kind, event, structure]) = (answers, parts.as_slice()) else {
        let text = "a reply needs `for: { hl7v2: REF^I12 }` and `reply: RRI^I12^RRI_I12`";
        diagnostics.report(file, node.at, text);
        return None;
    };
    let none = BTreeMap::new();
    let mut compiler =
        TemplateCompiler { file: file.into(), roots: REPLY_ROOTS, fragments: &none, diagnostics, paths: Vec::new() };
    let needs = keys.get("needs").map(|node| compiler.paths_of(node)).unwrap_or_default();
    let segments = segments::compile(&mut compiler, keys.get("segments"), node.at, Copies::OfTheMessage);
    Some(ReplyMapping {
        answers,
        message_type: [(*kind).to_owned(), (*event).to_owned(), (*structure).to_owned()],
        needs,
        segments,
        wants_document: compiler.paths.iter().any(|path| path.root == Root::Document),
    })
}

impl ReplyMapping {
    pub fn answers(&self, code: &str, trigger: &str) -> bool {
        self.answers.iter().any(|(known, event)| known == code && event == trigger)
    }

    /// MSH-9 of the reply to a message with this trigger event.
    pub fn message_type(&self, trigger: &str) -> [String; 3] {
        self.message_type.clone().map(|part| if part == "*" { trigger.to_owned() } else { part })
    }

    /// Whether it carries a document that e-RS made.
    pub fn wants_document(&self) -> bool {
        self.wants_document
    }

    /// The lines below MSH and MSA; `None` when what the reply needs is not known.
    pub fn lines(
        &self,
        context: &PlanContext<'_>,
        outcome: ReplyOutcome,
        delimiters: &Delimiters,
    ) -> Result<Option<Vec<Line>>, PlanProblem> {
        let ReplyOutcome { result, failure, document } = outcome;
        let saved: Map<String, Value> = [("result", result), ("failure", failure), ("document", document)]
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let scope = Scope { context, saved: &saved, item: None, index: 0, reply: None };
        if !self.needs.iter().all(|path| scope.has(path)) {
            return Ok(None);
        }
        segments::lines(&self.segments, &scope, delimiters).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mapping::segments::{CopiedSegments, Piece};
    use crate::mapping::yaml;

    fn compiled(text: &str) -> (Option<ReplyMapping>, usize) {
        let mut diagnostics = Diagnostics::default();
        let node = yaml::parse("replies/x/REF_I12.yaml", text, &mut diagnostics).expect("YAML");
        let reply = compile("replies/x/REF_I12.yaml", &node, &mut diagnostics);
        (reply, diagnostics.into_vec().len())
    }

    fn lines(reply: &ReplyMapping, known: &Value) -> Option<Vec<Line>> {
        let (body, nothing) = (json!({"localId": "A|1"}), json!({}));
        let context = PlanContext {
            command: "CreateReferral",
            id: "",
            body: &body,
            known,
            connection: &nothing,
            settings: &nothing,
            now: "",
        };
        let outcome = ReplyOutcome { result: json!({"ids": ["1", "2"]}), ..ReplyOutcome::default() };
        reply.lines(&context, outcome, &Delimiters::STANDARD).expect("rendered")
    }

    fn text(text: &str) -> Line {
        Line::Made(vec![Piece::Text(text.into())])
    }

    const REPLY: &str = "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nneeds: known.ubrn\nsegments:\n  - RF1: { 6: \"{command.localId?}\", 11: [\"{known.ubrn}\", ERS, \"\", UBRN] }\n  - copy: PID\n";

    #[test]
    fn fields_stand_at_their_numbers_and_values_are_escaped() {
        let (reply, problems) = compiled(REPLY);
        assert_eq!(problems, 0);
        let made = lines(&reply.expect("compiles"), &json!({"ubrn": "000000070000"}));
        assert_eq!(
            made,
            Some(vec![
                text("RF1||||||A\\F\\1|||||000000070000^ERS^^UBRN"),
                Line::Copy(CopiedSegments { name: "PID".into(), only: None })
            ])
        );
    }

    #[test]
    fn without_what_it_needs_there_is_no_typed_reply() {
        let (reply, _) = compiled(REPLY);
        assert_eq!(lines(&reply.expect("compiles"), &json!({})), None);
    }

    #[test]
    fn a_segment_may_be_made_for_each_of_a_list_or_need_something_or_repeat_a_field() {
        let file = "for: { hl7v2: [SRM^S01, SRM^S04] }\nreply: SRR^*^SRR_S01\nsegments:\n  \
            - SCH: { 1: { copy: ARQ-1 }, 3: x }\n  \
            - PRD: { 7: [\"{item}\", ERS, \"{failure.code?}\"] }\n    each: result.ids\n  \
            - NTE: { 3: \"{failure.text}\" }\n    needs: failure\n";
        let (reply, problems) = compiled(file);
        assert_eq!(problems, 0);
        let reply = reply.expect("compiles");
        assert!(reply.answers("SRM", "S04") && !reply.answers("SRM", "S02") && !reply.wants_document());
        assert_eq!(reply.message_type("S04").join("^"), "SRR^S04^SRR_S01");
        let copied = Piece::Field { segment: "ARQ".into(), number: 1 };
        let schedule = Line::Made(vec![Piece::Text("SCH|".into()), copied, Piece::Text("||x".into())]);
        let expected = vec![schedule, text("PRD|||||||1^ERS"), text("PRD|||||||2^ERS")];
        assert_eq!(lines(&reply, &json!({})), Some(expected));
    }

    #[test]
    fn mistakes_are_reported() {
        for text in [
            "reply: RRI^I12^RRI_I12\nsegments: []\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI\nsegments: []\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nsegments: [ { RF1: { x: 1 } } ]\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nsegments: [ { RF1: 1 } ]\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nsegments: [ { RF1: { 1: { copy: ARQ } } } ]\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nsegments: [ { RF1: { 1: \"{saved.x}\" } } ]\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nsegments: [ { copy: \"PRD[1]\" } ]\n",
            "for: { hl7v2: REF^I12 }\nreply: RRI^I12^RRI_I12\nsegments: [ { needs: known.ubrn } ]\n",
        ] {
            assert!(compiled(text).1 > 0, "{text}");
        }
    }
}
