//! What a replay would come to, before anything is done.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::intake::Again;
use crate::intake::Receive;
use crate::store::{ReplayCandidate, ReplayCandidates, ReplayFilter, ReplayOf, Result, Store};

/// Looked at together.
const PAGE: usize = 1_000;
/// Looked at in all; beyond, `more` says so.
const LOOKED_AT_MAX: usize = 200_000;
/// Refused messages that are read once more for it.
const READ_ONCE_MORE: usize = 50;
const EXAMPLES: usize = 5;

#[derive(Default)]
struct Found {
    all: usize,
    overtaken: usize,
    begun: usize,
    by_name: BTreeMap<String, usize>,
    by_set: BTreeMap<String, usize>,
    examples: Vec<Value>,
}

impl Found {
    fn take(&mut self, candidate: &ReplayCandidate, send_overtaken: bool) {
        self.all += 1;
        if candidate.overtaken {
            self.overtaken += 1;
            if !send_overtaken {
                return;
            }
        }
        self.begun += usize::from(candidate.begun);
        *self.by_name.entry(candidate.name.clone()).or_default() += 1;
        if !candidate.mapping_set.is_empty() {
            *self.by_set.entry(candidate.mapping_set.clone()).or_default() += 1;
        }
        if self.examples.len() < EXAMPLES {
            self.examples.push(json!({ "message": candidate.message, "command": candidate.command }));
        }
    }
}

/// `intake`: of a gateway that runs, which reads some of the refused messages once more, as it would now.
pub async fn preview(
    store: &dyn Store,
    intake: Option<&dyn Receive>,
    filter: &ReplayFilter,
    send_overtaken: bool,
) -> Result<Value> {
    let mut found = Found::default();
    let mut reread = Reread::default();
    let mut after = 0;
    let mut more = false;
    loop {
        let filter = filter.clone();
        let page =
            store.replay_candidates(ReplayCandidates { filter, except: None, after, until: None, max: PAGE }).await?;
        let Some(last) = page.last() else { break };
        after = last.number;
        for candidate in &page {
            found.take(candidate, send_overtaken);
            if let (Some(intake), true) = (intake, reread.all < READ_ONCE_MORE && candidate.command.is_none()) {
                reread.take(intake.would_take_again(candidate.message).await?);
            }
        }
        if found.all >= LOOKED_AT_MAX {
            more = true;
            break;
        }
    }
    let newest = store.newest_set().await?;
    let sent: usize = found.by_name.values().sum();
    let others =
        found.by_set.iter().filter(|(set, _)| Some(*set) != newest.as_ref()).map(|(_, count)| count).sum::<usize>();
    let mut shown = json!({
        "filter": filter,
        "candidates": found.all,
        "wouldBeSent": sent,
        "overtaken": found.overtaken,
        "overtakenAreSent": send_overtaken,
        "more": more,
        "byName": found.by_name,
        "examples": found.examples,
    });
    match filter.of {
        ReplayOf::Failed => {
            shown["begun"] = json!(found.begun);
            shown["onAnotherMappingSet"] = json!(others);
        }
        ReplayOf::Rejected => shown["readOnceMore"] = reread.shown(),
    }
    Ok(shown)
}

/// What became of some of the refused messages, had they come now.
#[derive(Default)]
struct Reread {
    all: usize,
    taken: usize,
    impossible: usize,
    refused: usize,
    problems: BTreeMap<String, usize>,
}

impl Reread {
    fn take(&mut self, again: Again) {
        self.all += 1;
        match again {
            Again::Taken(_) => self.taken += 1,
            Again::Impossible(why) => {
                self.impossible += 1;
                *self.problems.entry(why.to_owned()).or_default() += 1;
            }
            Again::StillRefused(problems) => {
                self.refused += 1;
                for problem in problems {
                    *self.problems.entry(format!("{}: {}", problem.location, problem.text)).or_default() += 1;
                }
            }
        }
    }

    fn shown(&self) -> Value {
        json!({
            "messages": self.all,
            "taken": self.taken,
            "stillRefused": self.refused,
            "impossible": self.impossible,
            "problems": self.problems,
        })
    }
}
