//! A042 Retrieve attachment (R4): a redirect to a store on another host, and that store.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Act;
use crate::simulator::exchange::{Answer, Call};
use crate::simulator::files::{Availability, File};
use crate::simulator::issue::Issue;
use crate::simulator::percent;
use crate::simulator::refusal::Refusal;
use crate::simulator::world::World;

/// The redirect is to be followed at once.
const LINK_LIFETIME: SignedDuration = SignedDuration::from_secs(60);

pub fn answer(act: &Act<'_>, id: &str) -> Result<Answer, Refusal> {
    let found = id.parse().ok().and_then(|id: Uuid| Some((id, act.world.files.get(id)?)));
    let (id, file) = found.ok_or(Refusal::Status(404))?;
    match act.world.files.availability(&file, act.now) {
        Availability::Available => {}
        status => return Err(Refusal::one(422, Issue::new(status.code(), reason(status)))),
    }
    let expires = act.now.checked_add(LINK_LIFETIME).unwrap_or(Timestamp::MAX).as_second();
    let signature = signature(id, expires);
    let store = &act.world.addresses.object_store_url;
    let mut answer =
        Answer::bare(307).with("Location", format!("{store}/{id}?expires={expires}&signature={signature}"));
    answer.ubrn = file.linked_to;
    Ok(answer)
}

fn reason(status: Availability) -> &'static str {
    match status {
        Availability::Pending => {
            "The file is being scanned and cannot be retrieved. Wait at least 5 minutes before checking its availability again."
        }
        Availability::ThreatsFound => "The file has been quarantined.",
        _ => "The file has failed validation.",
    }
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
    match world.files.get(id) {
        Some(File { content: Some(content), content_type, name, .. }) => Answer::bare(200)
            .with("Content-Type", content_type)
            .with("Content-Disposition", format!("attachment; filename=\"{}\"", name.replace('"', "")))
            .with_body(content),
        _ => Answer::empty_text(404),
    }
}
