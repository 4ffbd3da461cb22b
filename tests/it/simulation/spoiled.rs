//! Histories in which all was well, each spoiled in one way: the checker says what is wrong with it.

use ers_gateway::command::{EventId, State};
use jiff::SignedDuration;
use serde_json::json;
use uuid::Uuid;

use super::gateway::FIXED;
use super::run;
use crate::history::kept::KeptCommand;
use crate::history::{Broken, History, Told};

type Spoil = (&'static str, Broken, fn(&mut History));

/// A seed whose world has one referral and two letters, all of them done.
fn good_seed() -> u64 {
    let is_good = |seed: &u64| {
        let outcome = run(*seed, None).history.outcome();
        (outcome.referrals, outcome.letters, outcome.completed, outcome.failed + outcome.in_doubt) == (1, 2, 3, 0)
    };
    (1..500).find(is_good).expect("there are such worlds")
}

/// The command that makes the referral.
fn creation(history: &mut History) -> &mut KeptCommand {
    let commands = history.kept.messages.values_mut().flatten().flat_map(|message| &mut message.commands);
    commands.into_iter().find(|command| command.view.name == "CreateReferral").expect("one of them makes the referral")
}

#[test]
fn whatever_is_wrong_with_a_history_is_found() {
    let spoils: [Spoil; 15] = [
        ("an event does not arrive", Broken::Unheard, |history| {
            history.heard.retain(|event| event["type"] != "ReferralCreated");
        }),
        ("events change places", Broken::Unheard, |history| history.heard.reverse()),
        ("an event comes again with other words", Broken::Unheard, |history| {
            let mut again = history.heard[0].clone();
            again["data"]["ubrn"] = json!("000000000000");
            history.heard.push(again);
        }),
        ("an event was never made", Broken::Unheard, |history| {
            let mut invented = history.heard[0].clone();
            invented["id"] = json!(Uuid::from_u128(7).to_string());
            invented["partitionkey"] = json!("another thread");
            history.heard.push(invented);
        }),
        ("a change is told twice", Broken::Unmatched, |history| {
            let mut again = history.heard[0].clone();
            let mut stored = history.kept.events[0].clone();
            stored.id = EventId(Uuid::from_u128(7));
            again["id"] = json!(stored.id.to_string());
            again["partitionkey"] = json!("another thread");
            history.kept.events.push(stored);
            history.heard.push(again);
        }),
        ("a referral is made twice", Broken::Twice, |history| history.done.made.push(history.done.made[0].clone())),
        ("a letter is linked twice", Broken::Twice, |history| {
            let letter = history.done.referrals[0].letters[0].clone();
            history.done.referrals[0].letters.push(letter);
        }),
        ("a write comes to e-RS without a row", Broken::Unannounced, |history| creation(history).attempts.clear()),
        ("a write is sent again without an answer", Broken::Blind, |history| {
            let attempts = &mut creation(history).attempts;
            let mut lost = attempts.iter().find(|attempt| attempt.is_write).expect("it wrote").clone();
            lost.started_at -= SignedDuration::from_secs(1);
            (lost.status, lost.outcome) = (None, Some("unanswered".into()));
            attempts.insert(0, lost);
        }),
        ("e-RS is called in another order", Broken::Overtaken, |history| history.done.calls.reverse()),
        ("a message is not stored", Broken::Missing, |history| {
            history.kept.messages.pop_first();
        }),
        ("a command never ends", Broken::Missing, |history| {
            creation(history).view.state = State::Running { step: "create".into() };
        }),
        ("a resend is answered otherwise", Broken::AnsweredOtherwise, |history| {
            history.sent[0].answers.push(Told::Taken("other words".into()));
        }),
        ("what is done is not there", Broken::Untrue, |history| history.done.referrals[0].letters.clear()),
        ("a step is left out", Broken::Illegal, |history| {
            creation(history).transitions.remove(1);
        }),
    ];
    let seed = good_seed();
    for (what, broken, spoil) in spoils {
        let mut history = run(seed, None).history;
        assert_eq!(history.check(&FIXED.set), [], "{what}: nothing is wrong before");
        spoil(&mut history);
        let found = history.check(&FIXED.set);
        assert!(found.iter().any(|violation| violation.broken == broken), "{what}: {found:?}");
    }
}
