//! A042 Retrieve attachment (R4): a redirect to a store on another host, and that store.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Act;
use super::subject::is_related;
use crate::simulator::exchange::{Answer, Call};
use crate::simulator::files::{Availability, File};
use crate::simulator::issue::Issue;
use crate::simulator::percent;
use crate::simulator::refusal::Refusal;
use crate::simulator::world::World;

/// The redirect is to be followed at once.
const LINK_LIFETIME: SignedDuration = SignedDuration::from_secs(60);

pub fn answer(act: &Act<'_>, id: &str) -> Result<Answer, Refusal> {
    let (id, file) = find(act, id)?;
    if !is_related_to_file(act, &file) {
        return Err(Refusal::one(403, Issue::new("NO_RELATIONSHIP", "no legitimate relationship with the request")));
    }
    check_available(&file, act.now)?;
    let expires = act.now.checked_add(LINK_LIFETIME).unwrap_or(Timestamp::MAX).as_second();
    let signature = signature(id, expires);
    let store = &act.world.addresses.object_store_url;
    let mut answer =
        Answer::bare(307).with("Location", format!("{store}/{id}?expires={expires}&signature={signature}"));
    answer.ubrn = file.linked_to;
    Ok(answer)
}

/// The file of a path.
pub fn find(act: &Act<'_>, id: &str) -> Result<(Uuid, File), Refusal> {
    id.parse().ok().and_then(|id: Uuid| Some((id, act.world.files.get(id)?))).ok_or(Refusal::Status(404))
}

/// Whether the caller is related to the request that the file is attached to.
pub fn is_related_to_file(act: &Act<'_>, file: &File) -> bool {
    file.linked_to.is_none_or(|ubrn| {
        let of_referral = act.world.referrals.with(ubrn, |found| is_related(act, found.organisation.as_deref()));
        let of_advice = || act.world.advice.with(ubrn, |found| is_related(act, found.organisation.as_deref()));
        of_referral.or_else(of_advice).unwrap_or(true)
    })
}

pub fn check_available(file: &File, now: Timestamp) -> Result<(), Refusal> {
    let text = match file.availability(now) {
        Availability::Available => return Ok(()),
        Availability::Pending => {
            "The file is being scanned and cannot be retrieved. Wait at least 5 minutes before checking its availability again."
        }
        Availability::ThreatsFound => "The file has been quarantined.",
        Availability::ValidationFailed => "The file has failed validation.",
    };
    Err(Refusal::unprocessable(file.availability(now).code(), text))
}

/// The file itself, under its name; without one once it has been forgotten for lack of room.
pub fn content(file: File) -> Option<Answer> {
    let content = file.content?;
    let answer = Answer::bare(200)
        .with("Content-Type", file.content_type)
        .with("Content-Disposition", disposition(&file.name))
        .with_body(content);
    Some(answer)
}

/// A name beyond plain text, or with a comma, is written as RFC 5987 has it.
fn disposition(name: &str) -> String {
    let plain = name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !matches!(byte, b'"' | b'\\' | b','));
    if plain {
        return format!("attachment; filename=\"{name}\"");
    }
    format!("attachment; filename*=UTF-8''{}", percent::encoded(name))
}

/// Ties a link to its file and its time; no secret is needed where everything is invented.
fn signature(id: Uuid, expires: i64) -> String {
    format!("{:x}", Sha256::digest(format!("{id}:{expires}")))
}

/// The object store: it refuses links that are old or made up, and callers who bring a bearer token along.
pub fn download(world: &World, call: &Call) -> Answer {
    let query = percent::pairs(&call.query);
    let given = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let id = call.path.rsplit('/').next().and_then(|id| id.parse().ok());
    let expires = given("expires").and_then(|seconds| seconds.parse().ok());
    let (Some(id), Some(expires)) = (id, expires) else { return Answer::empty_text(404) };
    if call.header("Authorization").is_some() {
        return Answer::empty_text(400);
    }
    if given("signature") != Some(&signature(id, expires)) || expires < world.now().as_second() {
        return Answer::empty_text(403);
    }
    world.files.get(id).and_then(content).unwrap_or_else(|| Answer::empty_text(404))
}
