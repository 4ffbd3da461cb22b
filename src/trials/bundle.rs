//! One message as a case for people who must not know whose it is: the message, its command, calls and answers with other values in
//! the place of those that might name somebody, the mapping files, and a mapping test that reproduces it.
//!
//! Guarantees: the same value becomes the same everywhere; what stays is a code by its place, by the tables or the selectors of the
//! mapping, or by the standard; whether the case still comes to the same verdict was tried, and stands in it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use encoding_rs::Encoding;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::disguise::Disguise;
use super::disguised::{disguised_command, disguised_fhir, disguised_hl7};
use super::zip::zip;
use super::{NotTried, Trials, connection_of, is_command};
use crate::intake::{KnownSource, Trial, is_fhir, try_message};
use crate::mapping::{MappingFiles, MappingSet};
use crate::store::{CommandView, MessageView};

/// Longer ones are described by telephone.
const MESSAGE_BYTES_MAX: u64 = 4 << 20;
/// Members of a command that are nobody's: where they stood in the message stays.
const CODED_MEMBERS: [&str; 17] = [
    "/priority",
    "/specialty",
    "/specialtyLocal",
    "/clinicType",
    "/criteria",
    "/shortlist",
    "/service",
    "/then",
    "/letterIntention",
    "/firstReminderDays",
    "/conversion",
    "/days",
    "/gpPractice",
    "/referrer/practice",
    "/referrer/gmpCode",
    "/patient/nhsNumberStatus",
    "/patient/gender",
];

/// Files by name.
pub struct Bundle {
    pub files: BTreeMap<String, String>,
    /// The disguised message comes to the same verdict.
    pub reproduces: bool,
}

impl Bundle {
    pub fn zipped(&self) -> Vec<u8> {
        zip(&self.files)
    }
}

/// What a mapping makes of a message, without its values.
#[derive(PartialEq, Eq)]
struct Verdict {
    ack: String,
    errors: Vec<String>,
    notice: bool,
    command: Option<String>,
    calls: Vec<String>,
}

impl Trials {
    pub async fn bundle(&self, message: &MessageView) -> Result<Bundle, NotTried> {
        if message.size > MESSAGE_BYTES_MAX {
            return Err(NotTried::Impossible("It is longer than 4 MiB.".into()));
        }
        let source = self.source_of(message)?;
        let raw = self.store.read_message(message.id, 0..u64::MAX).await?;
        let commands = self.store.commands_of(message.id).await?;
        let set = match commands.first() {
            Some(command) => self.set_of(command).await?,
            None => self.mappings.current(),
        };
        let dialect = source.dialect(|name| set.dialect(name).is_some()).to_owned();
        let year = message.received_at.to_zoned(TimeZone::UTC).year();
        let mut disguise = Disguise::new(codes(&set, &dialect), year);
        let connection = connection_of(&self.connections, &source.config, None);
        let kept = self.kept_places(&set, source, &raw);
        let encoding = Encoding::for_label(message.charset.as_bytes()).unwrap_or(encoding_rs::UTF_8);
        let text = encoding.decode(&raw).0.into_owned();
        let is_mapped = !is_command(message, &raw);
        let (name, other) = match (is_mapped, is_fhir(&raw)) {
            (true, false) => ("message.hl7", disguised_hl7(&mut disguise, &text, &kept)),
            (true, true) => ("message.json", disguised_json(&text, |json| disguised_fhir(&mut disguise, json))?),
            (false, _) => ("message.json", disguised_json(&text, |json| disguised_command(&mut disguise, json))?),
        };
        let mut files = BTreeMap::from([(name.to_owned(), other.clone())]);
        let mut reproduces = false;
        let mut verdict = None;
        if is_mapped {
            let tried = |bytes: &Bytes| verdict_of(&set, source, &connection, bytes);
            let (was, is) = (tried(&raw)?, tried(&Bytes::from(other.clone()))?);
            reproduces = was == is;
            let test = test_file(source, &connection, &other, &was);
            files.insert(format!("mappings/inbound/{dialect}/tests/case.yaml"), test);
            files.extend(mapping_files(set.files(), &dialect));
            verdict = Some(was);
        }
        files.insert("command.json".into(), self.commands(&mut disguise, &commands)?);
        files.insert("calls.json".into(), self.calls(&mut disguise, &commands).await?);
        files.insert("README.txt".into(), read_me(message, &set, &dialect, verdict.as_ref(), reproduces));
        Ok(Bundle { files, reproduces })
    }

    /// Where codes stand in this message: what became members that are nobody's.
    fn kept_places(&self, set: &MappingSet, source: &KnownSource, raw: &Bytes) -> BTreeSet<String> {
        let places = crate::intake::reread(set, source, raw).map(|again| again.places).unwrap_or_default();
        let is_coded = |member: &str| {
            CODED_MEMBERS
                .iter()
                .any(|coded| member.strip_prefix(coded).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
                && !member.ends_with("/name")
        };
        places.into_iter().filter(|(_, member)| is_coded(member)).map(|(place, _)| place).collect()
    }

    fn commands(&self, disguise: &mut Disguise, commands: &[CommandView]) -> Result<String, NotTried> {
        let shown: Vec<Value> = commands
            .iter()
            .map(|command| {
                let mut body = command.body.clone();
                disguised_command(disguise, &mut body);
                let mut state = json!(command.state);
                if let Some(text) = state.pointer_mut("/why/text") {
                    *text = disguise.sentence(text.as_str().unwrap_or_default()).into();
                }
                json!({ "name": command.name, "state": state, "class": command.class, "body": body })
            })
            .collect();
        Ok(pretty(&json!(shown)))
    }

    async fn calls(&self, disguise: &mut Disguise, commands: &[CommandView]) -> Result<String, NotTried> {
        let mut shown = Vec::new();
        for command in commands {
            let mut calls: Vec<Value> = Vec::new();
            for attempt in self.store.attempts(command.id).await? {
                let (mut request, mut response) = (attempt.request, attempt.response);
                disguised_call(disguise, &mut request);
                disguised_call(disguise, &mut response);
                calls.push(json!({
                    "step": attempt.step, "call": attempt.call, "isWrite": attempt.is_write, "status": attempt.status,
                    "outcome": attempt.outcome, "durationMs": attempt.duration_ms, "request": request, "response": response,
                }));
            }
            // Of a rehearsal: what would have been sent.
            let mut preview = command.plan.get("preview").cloned().unwrap_or_default();
            preview.as_array_mut().into_iter().flatten().for_each(|call| disguised_call(disguise, call));
            shown.push(json!({ "command": command.name, "calls": calls, "rehearsed": preview }));
        }
        Ok(pretty(&json!(shown)))
    }
}

/// Address and headers keep their forms; what a body says does not.
fn disguised_call(disguise: &mut Disguise, call: &mut Value) {
    let Some(members) = call.as_object_mut() else { return };
    members.remove("headers");
    for (name, value) in members.iter_mut() {
        match (name.as_str(), &mut *value) {
            ("body", body) => disguised_fhir(disguise, body),
            (_, Value::String(text)) => *text = disguise.sentence(text),
            (_, other) => disguised_fhir(disguise, other),
        }
    }
}

fn disguised_json(text: &str, mut change: impl FnMut(&mut Value)) -> Result<String, NotTried> {
    let mut json = serde_json::from_str(text).map_err(|_| NotTried::Impossible("It is not JSON.".into()))?;
    change(&mut json);
    Ok(pretty(&json))
}

fn pretty(json: &Value) -> String {
    serde_json::to_string_pretty(json).unwrap_or_default() + "\n"
}

fn verdict_of(set: &MappingSet, source: &KnownSource, connection: &Value, bytes: &Bytes) -> Result<Verdict, NotTried> {
    let unplanned = |problem| NotTried::Impossible(format!("Its plan cannot be made: {problem}"));
    let Trial { ack, notice, commands, plan, .. } = try_message(set, source, connection, bytes).map_err(unplanned)?;
    Ok(Verdict {
        ack: ack.code,
        errors: ack.errors.iter().map(|error| format!("{} {}", error.location, error.code)).collect(),
        notice,
        command: commands.first().map(|command| command.name.clone()),
        calls: plan.iter().map(|call| call["call"].as_str().unwrap_or_default().to_owned()).collect(),
    })
}

/// JSON is YAML.
fn test_file(source: &KnownSource, connection: &Value, message: &str, was: &Verdict) -> String {
    let mut expect = json!({ "ack": was.ack, "errors": was.errors, "notice": was.notice, "calls": was.calls });
    if let Some(command) = &was.command {
        expect["command"] = command.as_str().into();
    }
    let mut test = json!({
        "about": "A case from a gateway, with the values of nobody",
        "message": message.replace('\r', "\n"),
        "settings": Map::from_iter(source.settings.clone()),
        "expect": expect,
    });
    if let Some(function) = connection.get("businessFunction").filter(|function| function.is_string()) {
        test["as"] = function.clone();
    }
    pretty(&test)
}

/// What takes part: nothing of other senders.
fn mapping_files(files: &MappingFiles, dialect: &str) -> BTreeMap<String, String> {
    let is_of = |name: &str| {
        let parts: Vec<&str> = name.split('/').collect();
        !matches!(parts[..], ["inbound" | "codes" | "replies", folder, _, ..] if folder != "default" && folder != dialect)
            && !name.contains("/tests/")
    };
    let of_dialect: BTreeMap<String, String> = files.all().filter(|(name, _)| is_of(name)).map(owned).collect();
    let mut loads = MappingFiles::empty();
    of_dialect.iter().for_each(|(name, text)| loads.insert(name, text));
    let whole = || files.all().filter(|(name, _)| !name.contains("/tests/")).map(owned).collect();
    let chosen: BTreeMap<String, String> = if MappingSet::load(loads).is_ok() { of_dialect } else { whole() };
    chosen.into_iter().map(|(name, text)| (format!("mappings/{name}"), text)).collect()
}

fn owned((name, text): (&str, &str)) -> (String, String) {
    (name.to_owned(), text.to_owned())
}

/// Values that the mapping itself names: rows of code tables, literals of selectors and lists.
fn codes(set: &MappingSet, dialect: &str) -> BTreeSet<String> {
    let mut codes: BTreeSet<String> = STANDARD_CODES.iter().map(|code| (*code).to_owned()).collect();
    for (name, text) in set.files().all() {
        let is_own =
            |folder: &str| ["default", dialect].iter().any(|own| name.starts_with(&format!("{folder}/{own}/")));
        if is_own("codes") {
            let cells = text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| line.split(',').take(2));
            codes.extend(cells.map(|cell| cell.trim().to_uppercase()).filter(|cell| !cell.is_empty()));
        } else if is_own("inbound") && !name.contains("/tests/") {
            codes.extend(literals(text));
        }
    }
    codes
}

/// Of what stands in brackets: `PID-3(*)[4.1=NHS,5=NH]`, `accept: ["01"]`, `types: {"11": [F, C]}`.
fn literals(text: &str) -> impl Iterator<Item = String> {
    let brackets = text.split('[').skip(1).filter_map(|rest| rest.split(']').next());
    let words = brackets.flat_map(|inside| inside.split([',', '=', '|', '!', '"', ' ', '^']));
    words.map(|word| word.trim().to_uppercase()).filter(|word| !word.is_empty() && word.len() <= 40)
}

/// HL7 v2 and the gateway's own: structure, types, authorities, states.
const STANDARD_CODES: [&str; 40] = [
    "NHS",
    "NH",
    "MR",
    "PI",
    "PAS",
    "ERS",
    "ERSSVC",
    "UBRN",
    "SDS",
    "GMP",
    "GMC",
    "ODS",
    "RP",
    "RT",
    "RR",
    "ED",
    "TX",
    "FT",
    "ST",
    "CE",
    "CWE",
    "NM",
    "DT",
    "TS",
    "DTM",
    "L",
    "F",
    "C",
    "P",
    "I",
    "O",
    "BASE64",
    "A",
    "HEX",
    "TEXT",
    "APPLICATION",
    "PDF",
    "AL",
    "NE",
    "ER",
];

fn read_me(
    message: &MessageView,
    set: &MappingSet,
    dialect: &str,
    verdict: Option<&Verdict>,
    reproduces: bool,
) -> String {
    let mut text = format!(
        "A case from ers-gateway {version}, with the values of nobody.\n\n\
         Names, addresses, numbers, dates and free text were replaced, the same value by the same everywhere; codes, and when\n\
         something happened (to the minute, within two years of the message), stayed. Letters with accents stayed as they are, for a character set may be the case.\n\
         Look through it before it leaves your organisation: nobody can know every place where a sender writes a name.\n\n\
         source       {source}\nkind         {kind}\ncharset      {charset}\nmapping set  {set}\n",
        version = env!("CARGO_PKG_VERSION"),
        source = message.source,
        kind = message.kind,
        charset = message.charset,
        set = set.digest(),
    );
    let Some(verdict) = verdict else {
        return text + "\nIt came as a command: there is no mapping to test.\n";
    };
    text += &format!("verdict      {}", verdict.ack);
    if let Some(command) = &verdict.command {
        text += &format!(", {command}: {}", verdict.calls.join(", "));
    }
    for error in &verdict.errors {
        text += &format!("\n             {error}");
    }
    text += &match reproduces {
        true => "\n\nThe case comes to the same verdict.".to_owned(),
        false => "\n\nTHE CASE DOES NOT COME TO THIS VERDICT: what made it so was replaced.".to_owned(),
    };
    text + &format!(" Try it:\n\n  ers-gateway map test {dialect} --mappings mappings\n")
}
