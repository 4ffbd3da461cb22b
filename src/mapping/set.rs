//! A mapping set: every file under `mappings/`, checked together and named by its digest.
//!
//! A plan stays on the set it was made with through reload, restart and upgrade. Loading reports every
//! mistake; a set with one is not made, so a broken reload leaves the running set in place.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use encoding_rs::Encoding;
use include_dir::{Dir, include_dir};
use serde_json::{Map, Value};

use super::codes::CodeTable;
use super::command_plan::{self, CommandPlan, Operations, SETTLING, Settling};
use super::diagnostic::{Diagnostic, Diagnostics, Place, did_you_mean};
use super::dialect::Dialect;
use super::fhir::FhirDocument;
use super::files::MappingFiles;
use super::halt::Halt;
use super::inbound::{self, CodeTables, Ignored, InboundFile, Outcome};
use super::inheritance::{Extends, chain};
use super::members;
use super::normalise::{Normalised, Trace, normalise};
use super::operations::{Effect, Operation};
use super::outbound::{self, OutboundDialect};
use super::plan::{NextCall, PlanEvent, PlanState, PreparedCall, Reply};
use super::reply::{self, ReplyMapping};
use super::source::Document;
use super::template::{ROOTS, Root, Step, Template, TemplateCompiler};
use super::worklist::{self, FetchedList, Worklist};
use super::yaml::{self, Keys, Node, Yaml};
use crate::command::CommandSchemas;
use crate::hl7::Message;

static SCHEMAS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/schemas/commands");

/// The dialect that every other inherits from.
pub const DEFAULT_DIALECT: &str = "default";

/// What a plan may look at besides its own saved values.
#[derive(Clone, Copy, Debug)]
pub struct PlanContext<'a> {
    /// `CreateReferral`
    pub command: &'a str,
    /// Of this one; empty where there is none yet.
    pub id: &'a str,
    pub body: &'a Value,
    /// What is known of the thread's referral: `ubrn`, `version`.
    pub known: &'a Value,
    /// `codeSystemBase`, `organisation`, `businessFunction` of the connection.
    pub connection: &'a Value,
    /// Settings of the source that a plan may ask for: `searchFirst`.
    pub settings: &'a Value,
    /// RFC 3339, UTC.
    pub now: &'a str,
}

/// What a reply changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Absorbed {
    /// Published when the step's result is recorded.
    pub events: Vec<PlanEvent>,
    /// Merged into the thread's `known`; a `ubrn` in it becomes an alias.
    pub known: Map<String, Value>,
    /// The worklist that the answer is.
    pub(super) compare: Option<String>,
}

/// A plan that cannot go on. The text names file, step and expression, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct PlanProblem {
    /// Bounded: `MAPPING`, or the code that a step's `require` names.
    pub code: String,
    pub text: String,
}

pub struct MappingSet {
    digest: String,
    files: MappingFiles,
    dialects: BTreeMap<String, Dialect>,
    plans: BTreeMap<String, CommandPlan>,
    settlings: BTreeMap<String, Settling>,
    replies: BTreeMap<String, Vec<Arc<ReplyMapping>>>,
    worklists: BTreeMap<String, Worklist>,
    outbound: BTreeMap<String, OutboundDialect>,
    operations: Operations,
    schemas: Arc<CommandSchemas>,
}

impl std::fmt::Debug for MappingSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MappingSet({})", self.digest)
    }
}

/// The schemas that came with the binary; a command's shape is the gateway's, not a mapping's.
pub fn command_schemas() -> Arc<CommandSchemas> {
    static COMPILED: OnceLock<Arc<CommandSchemas>> = OnceLock::new();
    COMPILED
        .get_or_init(|| {
            let compiled = CommandSchemas::compile(schema_files());
            Arc::new(compiled.expect("the shipped schemas are valid: a test compiles them"))
        })
        .clone()
}

fn schema_files() -> impl Iterator<Item = (&'static str, &'static str)> {
    SCHEMAS.files().filter_map(|file| Some((file.path().file_stem()?.to_str()?, file.contents_utf8()?)))
}

/// The schema of one command as JSON.
pub fn command_schema(name: &str) -> Option<Value> {
    schema_files().find(|(known, _)| *known == name).and_then(|(_, text)| serde_json::from_str(text).ok())
}

impl MappingSet {
    /// The set that came with the binary.
    pub fn built_in() -> Result<Self, Vec<Diagnostic>> {
        Self::load(MappingFiles::built_in())
    }

    /// Checks everything and reports everything.
    pub fn load(files: MappingFiles) -> Result<Self, Vec<Diagnostic>> {
        let mut diagnostics = Diagnostics::default();
        let schemas = command_schemas();
        let operations = operations(&files, &mut diagnostics);
        let fragments = fragments(&files, &mut diagnostics);
        let plans = plans(&files, &fragments, &operations, &schemas, &mut diagnostics);
        let settlings = settlings(&files, &fragments, &operations, &mut diagnostics);
        let (dialects, replies) = dialects(&files, &schemas, &mut diagnostics);
        let worklists = worklists(&files, &schemas, &mut diagnostics);
        let outbound = outbound::dialects(&files, &mut diagnostics);
        check_outcomes(&files, &mut diagnostics);
        if !diagnostics.is_empty() {
            return Err(diagnostics.into_vec());
        }
        let digest = files.digest();
        Ok(Self { digest, files, dialects, plans, settlings, replies, worklists, outbound, operations, schemas })
    }

    /// Hex SHA-256 over the names and contents of the set's files.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    pub fn files(&self) -> &MappingFiles {
        &self.files
    }

    pub fn dialect(&self, name: &str) -> Option<&Dialect> {
        self.dialects.get(name)
    }

    pub fn dialects(&self) -> impl Iterator<Item = &Dialect> {
        self.dialects.values()
    }

    pub fn schemas(&self) -> &CommandSchemas {
        &self.schemas
    }

    pub fn plan(&self, command: &str) -> Option<&CommandPlan> {
        self.plans.get(command)
    }

    pub fn plans(&self) -> impl Iterator<Item = &CommandPlan> {
        self.plans.values()
    }

    /// How a dialect answers a message of this type and trigger event; `None`: with a plain ACK.
    pub fn reply(&self, dialect: &str, code: &str, trigger: &str) -> Option<&ReplyMapping> {
        let replies = self.replies.get(dialect)?;
        replies.iter().find(|reply| reply.answers(code, trigger)).map(|reply| &**reply)
    }

    /// What a destination of this dialect is told.
    pub fn outbound(&self, dialect: &str) -> Option<&OutboundDialect> {
        self.outbound.get(dialect)
    }

    pub fn outbound_dialects(&self) -> impl Iterator<Item = &str> {
        self.outbound.keys().map(String::as_str)
    }

    pub fn operation(&self, call: &str) -> Option<&Operation> {
        self.operations.get(call)
    }

    /// From a message to a command, by a dialect.
    pub fn normalise(
        &self,
        dialect: &Dialect,
        message: &Message<'_>,
        encoding: &'static Encoding,
        settings: &Map<String, Value>,
        trace: Option<&mut Trace>,
    ) -> Normalised {
        normalise(dialect, Document::Hl7v2 { message, encoding }, settings, trace)
    }

    /// The same from FHIR.
    pub fn normalise_fhir(
        &self,
        dialect: &Dialect,
        document: &FhirDocument<'_>,
        settings: &Map<String, Value>,
        trace: Option<&mut Trace>,
    ) -> Normalised {
        normalise(dialect, Document::Fhir(document), settings, trace)
    }

    /// The next call of the plan, skipping steps whose condition does not hold; moves `state` past them.
    /// Pure: the same inputs give the same call.
    pub fn next_call(&self, context: &PlanContext<'_>, state: &mut PlanState) -> Result<NextCall, PlanProblem> {
        self.known_plan(context)?.next_call(&self.operations, context, state)
    }

    /// Takes in the reply to `call`: keeps what the step saves, moves `state` to what follows.
    pub fn absorb(
        &self,
        context: &PlanContext<'_>,
        state: &mut PlanState,
        call: &PreparedCall,
        reply: &Reply,
    ) -> Result<Absorbed, PlanProblem> {
        let absorbed = self.known_plan(context)?.absorb(context, state, call, reply)?;
        if let Some(list) = &absorbed.compare {
            let unusable = |text: String| PlanProblem { code: "WORKLIST".into(), text };
            let worklist = self.worklist(list);
            let worklist = worklist.ok_or_else(|| unusable(format!("there is no mappings/worklists/{list}.yaml")))?;
            let entries = worklist.entries(reply.body.bytes()).map_err(|why| unusable(why.into()))?;
            state.fetched = Some(FetchedList { list: list.clone(), at: context.now.to_owned(), entries });
        }
        Ok(absorbed)
    }

    /// How a worklist is compared, by its name.
    pub fn worklist(&self, list: &str) -> Option<&Worklist> {
        self.worklists.get(list)
    }

    /// e-RS refused the call at hand because what was read before it is old: back to where that is read, if the plan
    /// says where.
    pub fn go_back(&self, command: &str, state: &mut PlanState) -> bool {
        self.plans.get(command).is_some_and(|plan| plan.go_back(state))
    }

    /// e-RS refused the call at hand with this code: the next entry of its list, if the plan says so.
    pub fn try_next(&self, context: &PlanContext<'_>, state: &mut PlanState, code: &str) -> bool {
        self.plans.get(context.command).is_some_and(|plan| plan.try_next(context, state, code))
    }

    /// How a write is settled whose outcome is unknown.
    pub fn settling(&self, call: &str) -> Option<&Settling> {
        self.settlings.get(call)
    }

    /// The next read of a settling, as `next_call`.
    pub fn next_look(
        &self,
        settling: &Settling,
        context: &PlanContext<'_>,
        state: &mut PlanState,
    ) -> Result<NextCall, PlanProblem> {
        settling.next_call(&self.operations, context, state)
    }

    /// What the plan has to tell of a command that halts where it stands.
    pub fn halt_events(
        &self,
        context: &PlanContext<'_>,
        state: &PlanState,
        halt: Halt,
    ) -> Result<Vec<PlanEvent>, PlanProblem> {
        self.known_plan(context)?.halt_events(context, state, halt)
    }

    /// Every call of the plan as it would be if e-RS agreed to all; what only e-RS can give is a stand-in.
    pub fn preview(&self, context: &PlanContext<'_>) -> Result<Vec<PreparedCall>, PlanProblem> {
        let plan = self.known_plan(context)?;
        let mut state = PlanState::default();
        let mut calls = Vec::new();
        loop {
            match plan.next_call(&self.operations, context, &mut state)? {
                NextCall::Call(call) => {
                    plan.assume(context, &mut state, &call)?;
                    calls.push(*call);
                }
                NextCall::Pause(_) => state.waited = true,
                NextCall::Done(_) => return Ok(calls),
            }
        }
    }

    fn known_plan(&self, context: &PlanContext<'_>) -> Result<&CommandPlan, PlanProblem> {
        self.plans.get(context.command).ok_or_else(|| PlanProblem {
            code: "MAPPING".into(),
            text: format!("there is no mappings/ers/{}.yaml in this set", context.command),
        })
    }
}

fn operations(files: &MappingFiles, diagnostics: &mut Diagnostics) -> Operations {
    const FILE: &str = "ers/operations.yaml";
    let Some(text) = files.get(FILE) else {
        diagnostics.report(FILE, Place::default(), "the catalogue of operations is missing");
        return Operations::new();
    };
    let operations: Operations = serde_saphyr::from_str(text).unwrap_or_else(|error| {
        let at = error.location().map(|location| Place {
            line: u32::try_from(location.line()).unwrap_or_default(),
            column: u32::try_from(location.column()).unwrap_or_default(),
        });
        let text = error.to_string();
        diagnostics.report(FILE, at.unwrap_or_default(), text.lines().next().unwrap_or_default());
        Operations::new()
    });
    for (call, operation) in operations.iter().filter(|(_, operation)| !operation.keep.is_zero()) {
        if operation.effect != Effect::Read || operation.method != "GET" {
            let text = format!("{call} has `keep`, which is for reads with GET only: leave it out");
            diagnostics.report(FILE, Place::default(), text);
        }
    }
    operations
}

/// The table of outcomes belongs to the set: a broken one must not wait for the first answer of e-RS.
fn check_outcomes(files: &MappingFiles, diagnostics: &mut Diagnostics) {
    const FILE: &str = "ers/outcomes.yaml";
    match files.get(FILE).map(crate::ers::OutcomeTable::parse) {
        None => diagnostics.report(FILE, Place::default(), "the table of outcomes is missing"),
        Some(Err(error)) => diagnostics.report(FILE, Place::default(), error.to_string()),
        Some(Ok(_)) => {}
    }
}

/// Files in `ers/` that are not a command's plan.
const NOT_PLANS: &[&str] = &["operations", "outcomes", "fragments", "steps", "settling"];

/// A set from before a write was settled has none: a person decides.
fn settlings(
    files: &MappingFiles,
    fragments: &BTreeMap<String, Arc<Template>>,
    operations: &Operations,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<String, Settling> {
    let node = files.get(SETTLING).and_then(|text| yaml::parse(SETTLING, text, diagnostics));
    node.map(|node| command_plan::compile_settlings(&node, fragments, operations, diagnostics)).unwrap_or_default()
}

fn plans(
    files: &MappingFiles,
    fragments: &BTreeMap<String, Arc<Template>>,
    operations: &Operations,
    schemas: &CommandSchemas,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<String, CommandPlan> {
    let parts = parts(files, diagnostics);
    let mut plans = BTreeMap::new();
    for (stem, file, text) in files.in_folder("ers", "yaml") {
        if NOT_PLANS.contains(&stem) {
            continue;
        }
        let Some(node) = yaml::parse(file, text, diagnostics) else { continue };
        let compiled = command_plan::compile(file, &node, fragments, operations, &parts, diagnostics);
        let Some((plan, paths)) = compiled else { continue };
        if !schemas.knows(&plan.command) {
            let hint = did_you_mean(&plan.command, schemas.names());
            diagnostics.report_with_hint(file, node.at, format!("there is no command {}", plan.command), hint);
            continue;
        }
        let schema = command_schema(&plan.command).unwrap_or_default();
        for path in paths.iter().filter(|path| path.root == Root::Command) {
            check_against_schema("command", &schema, &schema, path, diagnostics);
        }
        for next in plan.follows().filter(|next| !schemas.knows(next)) {
            let hint = did_you_mean(next, schemas.names());
            diagnostics.report_with_hint(file, node.at, format!("there is no command {next} that could follow"), hint);
        }
        plans.insert(plan.command.clone(), plan);
    }
    plans
}

fn worklists(
    files: &MappingFiles,
    schemas: &CommandSchemas,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<String, Worklist> {
    let mut worklists = BTreeMap::new();
    for (_, file, text) in files.in_folder("worklists", "yaml") {
        let Some(node) = yaml::parse(file, text, diagnostics) else { continue };
        let Some(worklist) = worklist::compile(file, &node, diagnostics) else { continue };
        if !schemas.knows(&worklist.observe) {
            let hint = did_you_mean(&worklist.observe, schemas.names());
            diagnostics.report_with_hint(file, node.at, format!("there is no command {}", worklist.observe), hint);
        }
        worklists.insert(worklist.list.clone(), worklist);
    }
    worklists
}

/// A path must exist in the schema of what it leads into, as far as that names properties. `root`: the whole schema, of
/// which `schema` may be a part.
pub(super) fn check_against_schema(
    what: &str,
    root: &Value,
    schema: &Value,
    path: &super::template::Path,
    diagnostics: &mut Diagnostics,
) {
    let mut schema = schema;
    for step in &path.steps {
        schema = members::resolved(root, schema);
        match step {
            Step::Index(_) | Step::ByIndex => match schema.get("items") {
                Some(items) => schema = items,
                None => return,
            },
            Step::Member(name) => {
                let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
                match properties.get(name) {
                    Some(inner) => schema = inner,
                    None => {
                        let hint = did_you_mean(name, properties.keys().map(String::as_str));
                        let text = format!("`{path}`: the {what} has no `{name}`");
                        diagnostics.report_with_hint(&path.written.file, path.written.at, text, hint);
                        return;
                    }
                }
            }
        }
    }
}

fn parts(files: &MappingFiles, diagnostics: &mut Diagnostics) -> BTreeMap<String, Node> {
    const FILE: &str = command_plan::PARTS;
    let Some(node) = files.get(FILE).and_then(|text| yaml::parse(FILE, text, diagnostics)) else {
        return BTreeMap::new();
    };
    match node.yaml {
        Yaml::Map(entries) => entries.into_iter().map(|(key, node)| (key.name, node)).collect(),
        _ => {
            diagnostics.report(FILE, node.at, "names with lists of steps are expected");
            BTreeMap::new()
        }
    }
}

fn fragments(files: &MappingFiles, diagnostics: &mut Diagnostics) -> BTreeMap<String, Arc<Template>> {
    const FILE: &str = "ers/fragments.yaml";
    let mut fragments: BTreeMap<String, Arc<Template>> = BTreeMap::new();
    let Some(node) = files.get(FILE).and_then(|text| yaml::parse(FILE, text, diagnostics)) else { return fragments };
    for (key, node) in node.as_map().unwrap_or_default() {
        // A fragment may use those above it.
        let mut compiler =
            TemplateCompiler { file: FILE.into(), roots: ROOTS, fragments: &fragments, diagnostics, paths: Vec::new() };
        let template = compiler.template(node);
        fragments.insert(key.name.clone(), Arc::new(template));
    }
    fragments
}

/// A dialect as its own folder says it.
#[derive(Default)]
struct Own {
    extends: Option<String>,
    ignore: Vec<Ignored>,
    files: BTreeMap<String, InboundFile>,
    tables: CodeTables,
    replies: BTreeMap<String, Arc<ReplyMapping>>,
}

impl Extends for Own {
    fn extends(&self) -> Option<&str> {
        self.extends.as_deref()
    }
}

type Replies = BTreeMap<String, Vec<Arc<ReplyMapping>>>;

fn dialects(
    files: &MappingFiles,
    schemas: &Arc<CommandSchemas>,
    diagnostics: &mut Diagnostics,
) -> (BTreeMap<String, Dialect>, Replies) {
    let mut own: BTreeMap<&str, Own> = BTreeMap::new();
    for name in files.folders_in("inbound") {
        own.insert(name, own_dialect(name, files, diagnostics));
    }
    let mut dialects = BTreeMap::new();
    let mut all_replies = Replies::new();
    for name in own.keys() {
        let Some(chain) = chain("inbound", name, &own, diagnostics) else { continue };
        let mut merged: BTreeMap<String, InboundFile> = BTreeMap::new();
        let mut tables = CodeTables::new();
        let mut ignore = Vec::new();
        let mut replies: BTreeMap<&String, Arc<ReplyMapping>> = BTreeMap::new();
        for link in chain.iter().rev() {
            replies.extend(link.replies.iter().map(|(stem, reply)| (stem, reply.clone())));
            for (stem, file) in &link.files {
                let overlaid = merged.get(stem).map_or_else(|| file.clone(), |base| base.overlaid(file));
                merged.insert(stem.clone(), overlaid);
            }
            tables.extend(link.tables.clone());
            ignore.extend(link.ignore.iter().cloned());
        }
        for file in merged.values() {
            check_resolved(file, &tables, schemas, diagnostics);
        }
        all_replies.insert((*name).to_owned(), replies.into_values().collect());
        dialects.insert((*name).to_owned(), Dialect::new(name, &merged, &ignore, tables, schemas.clone()));
    }
    (dialects, all_replies)
}

fn own_dialect(name: &str, files: &MappingFiles, diagnostics: &mut Diagnostics) -> Own {
    let folder = format!("inbound/{name}");
    let mut own = Own { extends: (name != DEFAULT_DIALECT).then(|| DEFAULT_DIALECT.to_owned()), ..Own::default() };
    for (stem, file, text) in files.in_folder(&folder, "yaml") {
        let Some(node) = yaml::parse(file, text, diagnostics) else { continue };
        if stem == "dialect" {
            read_dialect_file(file, &node, &mut own, diagnostics);
        } else {
            own.files.insert(stem.to_owned(), inbound::compile(file, &node, diagnostics));
        }
    }
    for (stem, file, text) in files.in_folder(&format!("replies/{name}"), "yaml") {
        let compiled = yaml::parse(file, text, diagnostics).and_then(|node| reply::compile(file, &node, diagnostics));
        own.replies.extend(compiled.map(|reply| (stem.to_owned(), Arc::new(reply))));
    }
    for (stem, file, text) in files.in_folder(&format!("codes/{name}"), "csv") {
        own.tables.insert(stem.to_owned(), Arc::new(CodeTable::parse(file, text, diagnostics)));
    }
    own
}

fn read_dialect_file(file: &str, node: &Node, own: &mut Own, diagnostics: &mut Diagnostics) {
    let Some(keys) = Keys::of(file, node, &["extends", "ignore", "about"], diagnostics) else { return };
    if let Some(extends) = keys.text("extends", diagnostics) {
        own.extends = Some(extends);
    }
    if let Some(node) = keys.get("ignore") {
        own.ignore = inbound::ignored(file, node, diagnostics);
    }
}

fn check_resolved(file: &InboundFile, tables: &CodeTables, schemas: &CommandSchemas, diagnostics: &mut Diagnostics) {
    if file.from.is_none() {
        diagnostics.report(&file.file, Place::default(), "`from` is missing, here and in what it inherits");
    }
    match &file.outcome {
        None => {
            diagnostics.report(&file.file, Place::default(), "it makes nothing: give `command`, `notice` or `refuse`")
        }
        Some(Outcome::Command(command)) if !schemas.knows(command) => {
            let hint = did_you_mean(command, schemas.names());
            diagnostics.report_with_hint(&file.file, Place::default(), format!("there is no command {command}"), hint);
        }
        Some(Outcome::Command(command)) => {
            members::check(file, tables, &command_schema(command).unwrap_or_default(), diagnostics);
        }
        Some(Outcome::Notice(_) | Outcome::Refuse { .. }) => {}
    }
    if let Some(from) = &file.from {
        for (selector, written_in, at) in file.selectors_of_leaves() {
            if selector.language() != from.language() {
                let text =
                    format!("`{selector}` is no selector of {}, which this mapping is for", from.language().name());
                diagnostics.report(written_in, at, text);
            }
        }
    }
    for (table, written_in, at) in file.tables() {
        if !tables.contains_key(table) {
            let hint = did_you_mean(table, tables.keys().map(String::as_str));
            diagnostics.report_with_hint(written_in, at, format!("there is no code table `{table}`"), hint);
        }
    }
}
