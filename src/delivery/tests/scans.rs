//! Letters after they were linked: watched until e-RS has scanned them, and told.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::world::World;
use crate::command::CommandId;
use crate::events::EventSchemas;
use crate::simulator::{Action, Availability, Fault};
use crate::store::{CommandView, MessageFilter, NewDocument, SearchStore as _};

const UBRN: &str = "000000070001";
const MINUTES: Duration = Duration::from_secs(300);

async fn watching(files: &[(&str, Availability)]) -> World {
    let world = World::started_before_the_simulator("REFERRING_CLINICIAN").await;
    world.set_source(|source| source.follow_scans = true);
    for (name, finding) in files {
        world.simulator().scan_finds(name, *finding);
    }
    world
}

fn letters(names: &[&str]) -> (Value, Vec<NewDocument>) {
    let letter = |(number, name): (usize, &&str)| {
        json!({
            "fileName": name, "contentType": "text/plain", "bytes": 5,
            "sha256": format!("{:x}", Sha256::digest(b"hello")),
            "content": { "in": "document", "number": number + 1 },
        })
    };
    let documents = (1..=names.len() as u32).map(|number| NewDocument { number, content: "hello".into() });
    (names.iter().enumerate().map(letter).collect(), documents.collect())
}

async fn attach(world: &World, thread: &str, names: &[&str]) -> CommandId {
    let (letters, documents) = letters(names);
    let body = json!({ "ubrn": UBRN, "letters": letters });
    let command = world.admit_as("AttachLetters", thread, body, b"{}", documents).await;
    world.until(command, "completed").await;
    command
}

/// The commands that follow letters, oldest first.
async fn followers(world: &World) -> Vec<CommandView> {
    let filter = MessageFilter { max: 50, ..MessageFilter::default() };
    let mut found = Vec::new();
    for message in world.store.messages(filter).await.expect("readable") {
        let commands = world.store.commands_of(message.id).await.expect("readable");
        found.extend(commands.into_iter().filter(|command| command.name == "FollowLetters"));
    }
    found.reverse();
    found
}

#[tokio::test(start_paused = true)]
async fn what_is_linked_becomes_available_and_is_asked_about_no_sooner_than_every_five_minutes() {
    let world = watching(&[]).await;
    attach(&world, "R1", &["notes.txt"]).await;
    assert_eq!(world.simulator().calls(), ["A005", "A020", "A012"]);
    let follower = followers(&world).await.remove(0);
    world.rest(Duration::from_secs(290)).await;
    assert_eq!(world.simulator().calls().len(), 3, "too soon to ask");
    let done = world.until(follower.id, "completed").await;
    assert_eq!(world.simulator().calls(), ["A005", "A020", "A012", "A005"]);
    assert_eq!(done.plan["result"]["letters"][0]["status"], "AVAILABLE");
    assert_eq!(world.event_names().await, ["ReferralLetterAttached", "ReferralLetterAvailable"]);
    let told = &world.events().await[1].data;
    assert_eq!(EventSchemas::built_in().violations("ReferralLetterAvailable", told), [], "{told}");
    assert_eq!((&told["ubrn"], &told["localId"]), (&json!(UBRN), &json!("R1")));
    assert_eq!(told["letters"][0]["binary"], world.events().await[0].data["letters"][0]["binary"]);
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_quarantined_is_told_loudly_and_the_others_are_available() {
    for (finding, status) in
        [(Availability::ThreatsFound, "THREATS_FOUND"), (Availability::ValidationFailed, "VALIDATION_FAILED")]
    {
        let world = watching(&[("bad.txt", finding)]).await;
        attach(&world, "R1", &["good.txt", "bad.txt"]).await;
        let follower = followers(&world).await.remove(0);
        let (code, text) = world.failure(follower.id).await;
        assert!(code == "LETTER_UNAVAILABLE" && text.contains("send it again"), "{code}: {text}");
        let names = ["ReferralLetterAttached", "ReferralLetterAvailable", "ReferralLetterUnavailable", "CommandFailed"];
        assert_eq!(world.event_names().await, names);
        let told = &world.events().await[2].data;
        assert_eq!(EventSchemas::built_in().violations("ReferralLetterUnavailable", told), [], "{told}");
        assert_eq!(
            (&told["letters"][0]["fileName"], &told["letters"][0]["status"]),
            (&json!("bad.txt"), &json!(status))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_scan_that_never_ends_goes_to_a_person_and_holds_up_nobody() {
    let world = watching(&[("slow.txt", Availability::Pending)]).await;
    attach(&world, "R1", &["slow.txt"]).await;
    let follower = followers(&world).await.remove(0);
    world.rest(2 * MINUTES).await;
    // Of the same referral, while it is watched.
    let removed = json!({ "ubrn": UBRN, "remove": [{ "fileName": "referralletter.pdf" }] });
    let command = world.admit_as("RemoveLetters", "R1", removed, b"{}", Vec::new()).await;
    world.until(command, "completed").await;
    world.rest(100 * MINUTES).await;
    assert_eq!(world.failure(follower.id).await.0, "SCAN_UNDECIDED");
    let looks = world.attempts(follower.id).await.len();
    assert_eq!(looks, 100);
}

#[tokio::test(start_paused = true)]
async fn a_new_referrals_letters_are_watched_too_and_only_once() {
    let world = watching(&[]).await;
    let (letters, documents) = letters(&["notes.txt"]);
    let more = json!({ "letters": letters, "letterIntention": "NEED_TO_ADD_LATER" });
    let command = world.admit_as("CreateReferral", "R1", more, b"{}", documents).await;
    let done = world.until(command, "completed").await;
    let followers = followers(&world).await;
    assert_eq!((followers.len(), &followers[0].body["ubrn"]), (1, &done.plan["result"]["ubrn"]));
    world.until(followers[0].id, "completed").await;
    // e-RS is away at its first look: it is asked again, and told once.
    let world = watching(&[]).await;
    world.simulator().inject(Fault::on("A005", Action::answer(503)).skip(1).times(2));
    attach(&world, "R1", &["notes.txt"]).await;
    let follower = self::followers(&world).await.remove(0);
    world.until(follower.id, "completed").await;
    assert_eq!(world.event_names().await, ["ReferralLetterAttached", "ReferralLetterAvailable"]);
}
