//! All messages of a problem read once more with other mappings: what would be taken, what would still be refused, and which
//! members would be others.
//!
//! Enters: a filter as a bulk replay has it, a mapping set. Leaves: counts and changes, grouped, of some hundred messages at a time,
//! and where to go on. Guarantees: nothing is stored or sent; what only the store knows (whether a referral is known) is not asked.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{NotTried, Trials, is_command};
use crate::command::MessageId;
use crate::intake::{RereadVerdict, reread};
use crate::mapping::{MappingFiles, MappingSet};
use crate::modes::leaves;
use crate::store::{CommandView, MessageView, ReplayCandidates, ReplayFilter};

/// Messages in one answer.
pub const RERUN_MAX: usize = 500;
/// Different values of one member that are told apart: beyond, it is only counted.
const VALUES_MAX: usize = 12;
const VALUE_CHARS_MAX: usize = 120;
const PROBLEMS_MAX: usize = 50;

#[derive(Clone, Debug, Default)]
pub struct RerunAsked {
    pub filter: ReplayFilter,
    /// An archive of mapping files; without one, the files on the gateway's disk as they are now.
    pub archive: Option<Bytes>,
    /// `next` of the answer before.
    pub after: u64,
}

/// What other mappings would come to, of some messages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rerun {
    pub mapping_set: String,
    /// These are the mappings in use: nothing on disk was changed, or it is loaded already.
    pub is_current: bool,
    pub messages: u64,
    /// Would be commands, by name.
    pub taken: BTreeMap<String, u64>,
    pub notices: u64,
    pub refused: u64,
    /// Came as commands, in pieces, or from a source that is not configured any more.
    pub not_tried: u64,
    /// The most frequent first.
    pub changes: Vec<MemberChange>,
    /// What would still be wrong, by place and text.
    pub problems: BTreeMap<String, u64>,
    /// Where to go on; `None`: that was all.
    pub next: Option<u64>,
}

/// One member that would be another in so many messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberChange {
    /// JSON pointer of the command.
    pub member: String,
    /// `None`: it was not there, or too many different values were.
    pub was: Option<String>,
    /// The place was refused, and so the message.
    #[serde(rename = "wasRefused")]
    pub was_refused: bool,
    pub is: Option<String>,
    /// Too many different values: only counted.
    pub various: bool,
    pub messages: u64,
    pub example: MessageId,
}

type Change = (String, Option<String>, bool, Option<String>);

impl Trials {
    pub async fn rerun(&self, asked: &RerunAsked) -> Result<Rerun, NotTried> {
        let set = self.other_set(asked.archive.as_ref())?;
        let candidates = ReplayCandidates {
            filter: asked.filter.clone(),
            except: None,
            after: asked.after,
            until: None,
            max: RERUN_MAX,
        };
        let candidates = self.store.replay_candidates(candidates).await?;
        let mut rerun = Rerun {
            mapping_set: set.digest().to_owned(),
            is_current: set.digest() == self.mappings.current().digest(),
            next: (candidates.len() == RERUN_MAX).then(|| candidates.last().map_or(0, |last| last.number)),
            ..Rerun::default()
        };
        let mut grouped = Grouped::default();
        let mut seen = HashSet::new();
        for candidate in candidates {
            if !seen.insert(candidate.message) {
                continue;
            }
            let Some(message) = self.store.message(candidate.message).await? else { continue };
            let before = match candidate.command {
                Some(command) => self.store.command(command).await?,
                None => None,
            };
            rerun.messages += 1;
            self.rerun_one(&set, &message, before.as_ref(), &mut rerun, &mut grouped).await?;
        }
        rerun.changes = grouped.told();
        Ok(rerun)
    }

    async fn rerun_one(
        &self,
        set: &MappingSet,
        message: &MessageView,
        before: Option<&CommandView>,
        rerun: &mut Rerun,
        grouped: &mut Grouped,
    ) -> Result<(), NotTried> {
        let raw = self.store.read_message(message.id, 0..u64::MAX).await?;
        let source = self.sources.named(&message.source).filter(|_| !is_command(message, &raw));
        let Some(again) = source.and_then(|source| reread(set, source, &raw)) else {
            rerun.not_tried += 1;
            return Ok(());
        };
        let (name, body) = match again.verdict {
            RereadVerdict::Notice => {
                rerun.notices += 1;
                return Ok(());
            }
            RereadVerdict::Refused(problems) => {
                rerun.refused += 1;
                for problem in problems {
                    let text = format!("{}: {}", problem.location, problem.text);
                    if rerun.problems.len() < PROBLEMS_MAX || rerun.problems.contains_key(&text) {
                        *rerun.problems.entry(text).or_default() += 1;
                    }
                }
                return Ok(());
            }
            RereadVerdict::Command { name, body } => (name, body),
        };
        *rerun.taken.entry(name.clone()).or_default() += 1;
        match before {
            Some(before) => {
                if before.name != name {
                    grouped.note(("command".into(), Some(before.name.clone()), false, Some(name)), message.id);
                }
                let (was, is) = (leaves(&before.body), leaves(&body));
                let members: std::collections::BTreeSet<&String> = was.keys().chain(is.keys()).collect();
                for member in members.into_iter().filter(|member| was.get(*member) != is.get(*member)) {
                    let pointer = format!("/{}", member.replace('.', "/"));
                    grouped.note(
                        (pointer, was.get(member).map(|text| cut(text)), false, is.get(member).map(|text| cut(text))),
                        message.id,
                    );
                }
            }
            // Of what was refused there is no command to compare with: what was wrong is what is other.
            None => {
                let places: HashSet<&str> = message
                    .problems
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|problem| problem["location"].as_str())
                    .collect();
                for (_, member) in again.places.iter().filter(|(place, _)| places.contains(place.as_str())) {
                    let is = body.pointer(member).map(text);
                    grouped.note((member.clone(), None, true, is), message.id);
                }
            }
        }
        Ok(())
    }

    /// Those that were sent along, or those on disk.
    fn other_set(&self, archive: Option<&Bytes>) -> Result<Arc<MappingSet>, NotTried> {
        let unreadable =
            |error: &dyn std::fmt::Display| NotTried::Impossible(format!("The mappings cannot be read: {error}"));
        let files = match (archive, &self.folder) {
            (Some(archive), _) => MappingFiles::from_archive(archive).map_err(|error| unreadable(&error))?,
            (None, Some(folder)) => MappingFiles::from_folder(folder).map_err(|error| unreadable(&error))?,
            (None, None) => {
                let why = "The settings name no mappings folder: the built-in ones are in use, and nothing on disk can differ. Name a folder with `ers-gateway replay preview --mappings FOLDER`.";
                return Err(NotTried::Impossible(why.into()));
            }
        };
        let digest = files.digest();
        if let Some(known) = self.mappings.pinned(&digest) {
            return Ok(known);
        }
        if let Some(tried) = self.tried.lock().as_ref().filter(|tried| tried.digest() == digest) {
            return Ok(tried.clone());
        }
        let set = MappingSet::load(files).map_err(|diagnostics| {
            let lines: Vec<String> = diagnostics.iter().take(PROBLEMS_MAX).map(ToString::to_string).collect();
            NotTried::Impossible(format!("The mappings have mistakes:\n{}", lines.join("\n")))
        })?;
        let set = Arc::new(set);
        *self.tried.lock() = Some(set.clone());
        Ok(set)
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text),
        other => cut(&other.to_string()),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Changes that are the same in several messages.
#[derive(Default)]
struct Grouped(BTreeMap<Change, (u64, MessageId)>);

impl Grouped {
    fn note(&mut self, change: Change, message: MessageId) {
        self.0.entry(change).or_insert((0, message)).0 += 1;
    }

    fn told(self) -> Vec<MemberChange> {
        let mut by_member: BTreeMap<String, Vec<MemberChange>> = BTreeMap::new();
        for ((member, was, was_refused, is), (messages, example)) in self.0 {
            let change = MemberChange { member, was, was_refused, is, various: false, messages, example };
            by_member.entry(change.member.clone()).or_default().push(change);
        }
        let mut told: Vec<MemberChange> = by_member.into_values().flat_map(few).collect();
        told.sort_by(|one, other| other.messages.cmp(&one.messages).then_with(|| one.member.cmp(&other.member)));
        told
    }
}

/// Each value by itself, or all of them as one where they are many.
fn few(changes: Vec<MemberChange>) -> Vec<MemberChange> {
    if changes.len() <= VALUES_MAX {
        return changes;
    }
    let messages = changes.iter().map(|change| change.messages).sum();
    let first = changes.into_iter().next();
    first.into_iter().map(|first| MemberChange { was: None, is: None, various: true, messages, ..first }).collect()
}

impl Rerun {
    /// With what another page of the same messages came to.
    pub fn and(mut self, page: Self) -> Self {
        self.messages += page.messages;
        self.notices += page.notices;
        self.refused += page.refused;
        self.not_tried += page.not_tried;
        for (name, count) in page.taken {
            *self.taken.entry(name).or_default() += count;
        }
        for (text, count) in page.problems {
            *self.problems.entry(text).or_default() += count;
        }
        for change in page.changes {
            let same = |known: &&mut MemberChange| {
                (&known.member, &known.was, known.was_refused, &known.is, known.various)
                    == (&change.member, &change.was, change.was_refused, &change.is, change.various)
            };
            match self.changes.iter_mut().find(same) {
                Some(known) => known.messages += change.messages,
                None => self.changes.push(change),
            }
        }
        self.changes.sort_by_key(|change| std::cmp::Reverse(change.messages));
        Self { next: page.next, ..self }
    }
}

impl MemberChange {
    /// `/priority: refused → URGENT in 214 messages`
    pub fn in_words(&self) -> String {
        let plural = if self.messages == 1 { "" } else { "s" };
        if self.various {
            return format!("{}: various values in {} message{plural}", self.member, self.messages);
        }
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
        let was = if self.was_refused { "refused".to_owned() } else { value(&self.was) };
        format!("{}: {was} → {} in {} message{plural}", self.member, value(&self.is), self.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(is: &str, messages: u64) -> (Change, u64) {
        (("/priority".into(), None, true, Some(is.to_owned())), messages)
    }

    #[test]
    fn the_same_change_is_told_once_and_too_many_values_are_only_counted() {
        let example = MessageId(uuid::Uuid::nil());
        let mut grouped = Grouped::default();
        for (change, messages) in [change("URGENT", 3), change("ROUTINE", 1)] {
            (0..messages).for_each(|_| grouped.note(change.clone(), example));
        }
        let told = grouped.told();
        let words: Vec<String> = told.iter().map(MemberChange::in_words).collect();
        assert_eq!(words, ["/priority: refused → URGENT in 3 messages", "/priority: refused → ROUTINE in 1 message"]);
        let mut grouped = Grouped::default();
        for number in 0..=VALUES_MAX {
            grouped.note(change(&number.to_string(), 1).0, example);
        }
        assert_eq!(grouped.told()[0].in_words(), "/priority: various values in 13 messages");
        let page = |messages| Rerun { messages, changes: told.clone(), next: Some(7), ..Rerun::default() };
        let both = page(4).and(Rerun { next: None, ..page(4) });
        assert_eq!((both.messages, both.changes[0].messages, both.next), (8, 6, None));
    }
}
