//! The control API: faults, locks, scans, the clock, the quota; the ledger and what e-RS holds. JSON.
//!
//! | Method and path under `/_simulator` | Does |
//! |---|---|
//! | `GET /` | addresses, clock, counters |
//! | `GET /ledger?after=N&max=M` | calls with higher numbers than N |
//! | `GET /creations`, `GET /duplicates` | referrals made; those made more than once |
//! | `GET /referrals`, `GET /referrals/{ubrn}` | what e-RS holds |
//! | `GET`, `POST`, `DELETE /faults`, `DELETE /faults/{id}` | see [`super::faults::Fault`] |
//! | `PUT`, `DELETE /locks/{ubrn}` | writes get 423 |
//! | `PUT /files/{id}` `{"availability": "THREATS_FOUND"}` | ends the scan |
//! | `PUT /scans/{name}`, the same | what the scans of later uploads with this file name will find |
//! | `PUT /clock` `{"now": …}`, `{"frozen": …}`, `{"advance_ms": …}`, `{}` | set, stop, move, release |
//! | `PUT /quota` `{"per_minute": 600, "spike_arrest_per_minute": 720}` or `null` | limits per client |
//! | `PUT /clients/{id}` `{"revoked": true}` | the token endpoint refuses the application |
//! | `POST /tokens/revoke`, `POST /reset` | |

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::exchange::{Answer, Call};
use super::faults::{Fault, FaultId};
use super::files::Availability;
use super::percent;
use super::referral::Ubrn;
use super::settings::Quota;
use super::view::ReferralView;
use super::world::World;

pub const PATH: &str = "/_simulator";

/// What the control API says to a request it cannot serve.
enum Trouble {
    NotFound,
    Bad(String),
}

pub fn answer(world: &World, call: &Call) -> Answer {
    match route(world, call) {
        Ok(value) => Answer::json(200, &value),
        Err(Trouble::NotFound) => Answer::json(404, &json!({"error": "not found"})),
        Err(Trouble::Bad(text)) => Answer::json(400, &json!({"error": text})),
    }
}

fn route(world: &World, call: &Call) -> Result<Value, Trouble> {
    let path = call.path.strip_prefix(PATH).unwrap_or_default().trim_matches('/');
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match (call.method.as_str(), segments.as_slice()) {
        ("GET", []) => Ok(overview(world)),
        ("GET", ["ledger"]) => ledger(world, call),
        ("GET", ["creations"]) => Ok(json!(world.ledger.creations())),
        ("GET", ["duplicates"]) => Ok(json!(world.ledger.duplicates())),
        ("GET", ["referrals"]) => Ok(json!(ReferralView::all(world))),
        ("GET", ["referrals", id]) => {
            let found = world.referrals.with(ubrn(id)?, |referral| ReferralView::of(referral));
            found.map(|view| json!(view)).ok_or(Trouble::NotFound)
        }
        ("GET", ["faults"]) => Ok(json!(world.faults.list())),
        ("POST", ["faults"]) => Ok(json!({"id": world.faults.inject(body::<Fault>(call)?)})),
        ("PUT", ["clock"]) => set_clock(world, &body(call)?),
        _ => act(world, call, &segments).map(|()| json!({})),
    }
}

/// What is done without anything to say about it.
fn act(world: &World, call: &Call, segments: &[&str]) -> Result<(), Trouble> {
    match (call.method.as_str(), segments) {
        ("DELETE", ["faults"]) => world.faults.clear(),
        ("DELETE", ["faults", id]) => {
            let id = id.parse().map_err(|_| Trouble::NotFound)?;
            return found(world.faults.remove(FaultId(id)));
        }
        ("PUT", ["locks", id]) => world.lock(ubrn(id)?),
        ("DELETE", ["locks", id]) => world.unlock(ubrn(id)?),
        ("PUT", ["files", id]) => {
            let id = id.parse().map_err(|_| Trouble::NotFound)?;
            return found(world.files.set_verdict(id, availability(call)?));
        }
        ("PUT", ["scans", name]) => world.files.set_finding(&percent::decoded(name), availability(call)?),
        ("PUT", ["quota"]) => {
            let quota: Option<QuotaChange> = body(call)?;
            world.quota.set(quota.map(|quota| Quota {
                per_minute: quota.per_minute,
                spike_arrest_per_minute: quota.spike_arrest_per_minute,
            }));
        }
        ("POST", ["tokens", "revoke"]) => world.tokens.revoke_all(),
        ("PUT", ["clients", id]) => {
            let Withdrawal { revoked } = body(call)?;
            world.tokens.revoke_client(&percent::decoded(id), revoked);
        }
        ("POST", ["reset"]) => world.reset(),
        _ => return Err(Trouble::NotFound),
    }
    Ok(())
}

fn overview(world: &World) -> Value {
    json!({
        "base_url": world.addresses.base_url,
        "token_url": world.addresses.token_url,
        "object_store_url": world.addresses.object_store_url,
        "now": world.now(),
        "frozen": world.clock.is_frozen(),
        "referrals": world.referrals.count(),
        "files": world.files.count(),
        "counters": world.ledger.counters(),
    })
}

fn ledger(world: &World, call: &Call) -> Result<Value, Trouble> {
    const PAGE: usize = 1000;
    let query = percent::pairs(&call.query);
    let number = |name: &str| {
        let value = query.iter().find(|(key, _)| key == name).map(|(_, value)| value.parse());
        value.transpose().map_err(|_| Trouble::Bad(format!("{name} must be a number")))
    };
    let after = number("after")?.unwrap_or(0);
    let max = number("max")?.and_then(|max: u64| usize::try_from(max).ok()).unwrap_or(PAGE);
    Ok(json!(world.ledger.entries(after, max)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdict {
    availability: String,
}

fn availability(call: &Call) -> Result<Availability, Trouble> {
    let Verdict { availability } = body(call)?;
    Availability::parse(&availability)
        .ok_or_else(|| Trouble::Bad(format!("{availability} is not an availability status")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Withdrawal {
    revoked: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockChange {
    now: Option<Timestamp>,
    frozen: Option<Timestamp>,
    advance_ms: Option<u64>,
}

fn set_clock(world: &World, change: &ClockChange) -> Result<Value, Trouble> {
    match change {
        ClockChange { now: Some(now), frozen: None, advance_ms: None } => world.clock.set(*now),
        ClockChange { now: None, frozen: Some(at), advance_ms: None } => world.clock.freeze(*at),
        ClockChange { now: None, frozen: None, advance_ms: Some(by) } => {
            world.clock.advance(Duration::from_millis(*by))
        }
        ClockChange { now: None, frozen: None, advance_ms: None } => world.clock.release(),
        _ => return Err(Trouble::Bad("say one of now, frozen and advance_ms".into())),
    }
    Ok(json!({"now": world.now(), "frozen": world.clock.is_frozen()}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaChange {
    per_minute: u32,
    spike_arrest_per_minute: u32,
}

fn body<T: DeserializeOwned>(call: &Call) -> Result<T, Trouble> {
    serde_json::from_slice(&call.body).map_err(|error| Trouble::Bad(error.to_string()))
}

fn ubrn(text: &str) -> Result<Ubrn, Trouble> {
    Ubrn::parse(text).ok_or_else(|| Trouble::Bad("a UBRN has 12 digits".into()))
}

fn found(found: bool) -> Result<(), Trouble> {
    if found { Ok(()) } else { Err(Trouble::NotFound) }
}
