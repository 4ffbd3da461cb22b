//! The course of the demonstration: send, watch, compare with what must come of it.

use std::time::Duration;

use super::super::exit::CliError;
use super::scenes::{SCENES, Scene, referrals_made};
use super::stage::{Seen, Stage};
use super::teller::Teller;

/// Longer than any scene takes, waits for e-RS included.
const SCENE_MAX: Duration = Duration::from_secs(30);
/// Where nothing must follow, so long is waited for it not to.
const NOTHING_FOLLOWS: Duration = Duration::from_millis(300);

/// Tells all scenes; returns what went wrong, in words.
pub async fn tell(stage: &Stage, teller: &mut Teller) -> Result<Vec<String>, CliError> {
    let mut went_wrong = Vec::new();
    let mut ubrn = None;
    for (index, scene) in SCENES.iter().enumerate() {
        teller.scene(index + 1, scene);
        let seen = play(stage, teller, scene, ubrn.as_deref()).await?;
        if let Some(learnt) = &seen.ubrn {
            ubrn = Some(learnt.clone());
        }
        for complaint in compare(scene, &seen) {
            teller.complaint(&complaint);
            went_wrong.push(format!("scene {}, {}: {complaint}", index + 1, scene.title));
        }
    }
    let made = stage.referrals_made();
    if made != referrals_made() {
        went_wrong.push(format!("e-RS has {made} new referrals, not {}", referrals_made()));
    }
    if stage.has_duplicates() {
        went_wrong.push("e-RS has a referral twice".to_owned());
    }
    if stage.has_broker() && !stage.outbox_drained(SCENE_MAX).await? {
        went_wrong.push("RabbitMQ did not confirm every event".to_owned());
    }
    Ok(went_wrong)
}

async fn play(stage: &Stage, teller: &mut Teller, scene: &Scene, ubrn: Option<&str>) -> Result<Seen, CliError> {
    let message = with_ubrn(scene.message, ubrn);
    let before = stage.look().await?;
    stage.throttle(scene.throttled);
    teller.sent(scene, &message);
    let answer = stage.send(scene.way, &message).await?;
    teller.answered(&answer);
    let mut seen = Seen { answer: answer.code.clone(), ..Seen::default() };
    let started = tokio::time::Instant::now();
    loop {
        let settled = stage.watch(&before, &mut seen, teller).await?;
        let complete = seen.calls.len() >= scene.calls.len() && seen.events.len() >= scene.events.len();
        let long_enough = !scene.calls.is_empty() || started.elapsed() >= NOTHING_FOLLOWS;
        if (settled && complete && long_enough) || started.elapsed() >= SCENE_MAX {
            return Ok(seen);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn with_ubrn(message: &[u8], ubrn: Option<&str>) -> Vec<u8> {
    const PLACE: &[u8] = b"{UBRN}";
    match (memchr::memmem::find(message, PLACE), ubrn) {
        (Some(at), Some(ubrn)) => [&message[..at], ubrn.as_bytes(), &message[at + PLACE.len()..]].concat(),
        _ => message.to_vec(),
    }
}

/// What did not come as it must.
fn compare(scene: &Scene, seen: &Seen) -> Vec<String> {
    let mut complaints = Vec::new();
    if seen.answer != scene.answer {
        complaints.push(format!("the answer is {}, not {}", seen.answer, scene.answer));
    }
    let calls: Vec<(&str, u16)> = seen.calls.iter().map(|(call, status)| (call.as_str(), *status)).collect();
    if calls != scene.calls {
        complaints.push(format!("e-RS was called {calls:?}, not {:?}", scene.calls));
    }
    if seen.events != scene.events {
        complaints.push(format!("the events are {:?}, not {:?}", seen.events, scene.events));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_that_goes_otherwise_is_noticed() {
        let scene = &SCENES[0];
        let as_it_should = Seen {
            answer: "AA".into(),
            calls: vec![("A011".into(), 201)],
            events: vec!["ReferralCreated".into()],
            ubrn: None,
        };
        assert_eq!(compare(scene, &as_it_should), [""; 0]);
        let twice = Seen { calls: vec![("A011".into(), 201); 2], ..as_it_should };
        assert_eq!(compare(scene, &twice).len(), 1);
    }

    #[test]
    fn the_letter_names_the_referral_of_the_scene_before() {
        let letter = with_ubrn(SCENES[7].message, Some("000000070123"));
        assert!(memchr::memmem::find(&letter, b"||000000070123^ERS|").is_some());
    }
}
