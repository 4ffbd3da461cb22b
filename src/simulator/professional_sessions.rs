//! The retired interface: professional sessions (A001 to A003), and STU3 calls in one (`/ers-api`).
//!
//! Enters: calls with an accredited system id, and a session's key. Leaves: sessions, and calls as today's API has them, in the
//! function that was chosen. Guarantees: a session does nothing before a function is chosen, nor after its end; what belongs to
//! today's API (bearer tokens, its headers and media type) is refused.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::access::essence;
use super::applications::{Smartcard, TestPerson};
use super::exchange::{Answer, Call};
use super::issue::Issue;
use super::refusal::Refusal;
use super::settings::SimulatorConfig;
use super::tokens::{Authority, Holder};
use crate::environment::Environment;

pub const LEGACY_PATH: &str = "/ers-api";
pub const SESSIONS_PATH: &str = "/v1/ProfessionalSession";
const TYPE_INFO: &str = "uk.nhs.ers.xapi.dto.v1.session.ProfessionalSession";
const ASID: &str = "XAPI_ASID";
const SESSION_KEY: &str = "HTTP_X_SESSION_KEY";
const COMM_RULE_ORG: &str = "X-ERS-XAPI-COMM-RULE-ORG";
const MEDIA_TYPE: &str = "application/json+fhir";
const FHIR: &str = "application/fhir+json";
/// Beyond, the session that was made first is forgotten.
const SESSIONS_MAX: usize = 10_000;

pub struct ProfessionalSessions {
    asids: Vec<String>,
    smartcards: Vec<Smartcard>,
    people: Vec<TestPerson>,
    environment: Environment,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    sessions: HashMap<String, ProfessionalSession>,
    made: u64,
    /// Tokens of smartcards that are out.
    out: Vec<String>,
}

#[derive(Clone)]
struct ProfessionalSession {
    number: u64,
    token: String,
    user: String,
    /// Business function and organisation, once chosen.
    permission: Option<(String, String)>,
}

fn refuse(status: u16, code: &'static str, text: &str) -> Refusal {
    Refusal::one(status, Issue::new(code, text))
}

/// As for a token that is over: what was said of a session is not published.
fn no_session(text: &str) -> Refusal {
    Refusal::one(401, Issue::new("NO_ACCESS", text).of_kind("login"))
}

impl ProfessionalSessions {
    pub fn new(settings: &SimulatorConfig, environment: Environment) -> Self {
        Self {
            asids: settings.asids.clone(),
            smartcards: settings.smartcards.clone(),
            people: settings.test_people.clone(),
            environment,
            live: Mutex::default(),
        }
    }

    pub fn reset(&self) {
        *self.live.lock() = Live::default();
    }

    /// Ends every session, as time does.
    pub fn end_all(&self) {
        self.live.lock().sessions.clear();
    }

    /// A smartcard is taken out, and its sessions end.
    pub fn take_out(&self, token: &str) {
        let mut live = self.live.lock();
        live.sessions.retain(|_, session| session.token != token);
        live.out.push(token.to_owned());
    }

    /// How many there are now.
    pub fn count(&self) -> usize {
        self.live.lock().sessions.len()
    }

    /// A-number of a call about sessions; `None`: it is about something else. `path` begins after the API base.
    pub fn operation(method: &str, path: &str) -> Option<&'static str> {
        let rest = path.strip_prefix(SESSIONS_PATH)?;
        Some(match (method, rest.strip_prefix('/')) {
            ("POST", None) if rest.is_empty() => "A001",
            ("PUT", Some(_)) => "A002",
            ("DELETE", Some(_)) => "A003",
            _ => "none",
        })
    }

    /// Answers such a call.
    pub fn answer(&self, call: &Call, path: &str) -> Result<Answer, Refusal> {
        self.asid(call)?;
        let key = path.strip_prefix(SESSIONS_PATH).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
        match Self::operation(&call.method, path) {
            Some("A001") => self.make(call),
            Some("A002") => self.choose(call, key),
            Some("A003") => self.end(call, key),
            _ => Err(Refusal::Status(404)),
        }
    }

    /// A call in a session, as today's API has it, and who makes it.
    pub fn translate(&self, call: Call, path: &str, api_path: &str) -> Result<(Call, Arc<Holder>), Refusal> {
        self.asid(&call)?;
        let no_session = || no_session("there is no such session");
        let key = call.header(SESSION_KEY).ok_or_else(no_session)?;
        let session = self.live.lock().sessions.get(key).cloned().ok_or_else(no_session)?;
        let chosen = session.permission.ok_or_else(|| refuse(403, "FORBIDDEN", "no permission was chosen (A002)"))?;
        let Some(path) = path.strip_prefix("/STU3/v1/") else { return Err(Refusal::Status(404)) };
        let is_of_today =
            |name: &str| name.eq_ignore_ascii_case("authorization") || name.to_ascii_uppercase().starts_with("NHSD-");
        if call.headers.iter().any(|(name, _)| is_of_today(name)) {
            return Err(refuse(400, "INVALID_VALUE", "headers of the API platform are not known here"));
        }
        let mut headers = Vec::new();
        for (name, value) in call.headers {
            match name.to_ascii_lowercase().as_str() {
                "content-type" if essence(&value) == MEDIA_TYPE => headers.push((name, FHIR.to_owned())),
                "content-type" => return Err(Refusal::Status(415)),
                "accept" if value == MEDIA_TYPE => headers.push((name, FHIR.to_owned())),
                "accept" if essence(&value) == FHIR => return Err(Refusal::Status(406)),
                other if other.eq_ignore_ascii_case(COMM_RULE_ORG) => {
                    headers.push(("NHSD-eRS-Comm-Rule-Org".to_owned(), value));
                }
                _ => headers.push((name, value)),
            }
        }
        let (function, organisation) = chosen;
        headers.push(("NHSD-eRS-Business-Function".to_owned(), function));
        headers.push(("NHSD-End-User-Organisation-ODS".to_owned(), organisation));
        let roles = self.person(&session.user).map(|person| person.roles.clone()).unwrap_or_default();
        let holder = Holder {
            client_id: call_asid(&headers),
            authority: Authority::User { user: session.user, roles, organisations: None },
            too_low: None,
        };
        let call = Call { path: format!("{api_path}/STU3/{path}"), headers, ..call };
        Ok((call, Arc::new(holder)))
    }

    fn asid(&self, call: &Call) -> Result<(), Refusal> {
        let asid = call.header(ASID).ok_or_else(|| refuse(400, "MISSING_HEADER", "header XAPI_ASID is mandatory"))?;
        let is_known = self.asids.iter().any(|known| known == asid);
        is_known.then_some(()).ok_or_else(|| refuse(403, "FORBIDDEN", "the system is not accredited"))
    }

    fn person(&self, user: &str) -> Option<&TestPerson> {
        self.people.iter().find(|person| person.user == user)
    }

    fn make(&self, call: &Call) -> Result<Answer, Refusal> {
        let body = read(call, &["typeInfo", "token"])?;
        if call.header(SESSION_KEY).is_some() {
            return Err(refuse(422, "INVALID_VALUE", "a session that is not made yet has no key"));
        }
        let token = token_in(&body)?;
        let mut live = self.live.lock();
        let card = self.smartcards.iter().find(|card| card.token == token && !live.out.contains(&card.token));
        let card = card.ok_or_else(|| refuse(422, "INVALID_VALUE", "the token is of no smartcard that is in"))?;
        if live.sessions.len() >= SESSIONS_MAX
            && let Some(first) =
                live.sessions.iter().min_by_key(|(_, session)| session.number).map(|(key, _)| key.clone())
        {
            live.sessions.remove(&first);
        }
        live.made += 1;
        let session = ProfessionalSession {
            number: live.made,
            token: token.to_owned(),
            user: card.user.clone(),
            permission: None,
        };
        let key = format!("pro-xapi-session_{}", self.environment.random_id());
        let answer = Answer::json(201, &self.shown(&key, &session));
        live.sessions.insert(key, session);
        Ok(answer)
    }

    fn choose(&self, call: &Call, key: &str) -> Result<Answer, Refusal> {
        let body = read(call, &["typeInfo", "token", "permission"])?;
        let mut live = self.live.lock();
        let session = own(&mut live, call, key)?;
        if token_in(&body)? != session.token {
            return Err(refuse(422, "INVALID_VALUE", "the session is of another token"));
        }
        let wanted = |name: &str| body["permission"][name].as_str().unwrap_or_default().to_owned();
        let (function, organisation) = (wanted("businessFunction"), wanted("orgIdentifier"));
        let held = self.person(&session.user).is_some_and(|person| {
            let of = person.roles.iter().filter(|role| role.organisation == organisation);
            of.flat_map(|role| &role.business_functions).any(|one| *one == function)
        });
        if !held {
            return Err(refuse(422, "INVALID_VALUE", "the permission is none of the user's"));
        }
        session.permission = Some((function, organisation));
        let session = session.clone();
        Ok(Answer::json(200, &self.shown(key, &session)))
    }

    fn end(&self, call: &Call, key: &str) -> Result<Answer, Refusal> {
        let mut live = self.live.lock();
        own(&mut live, call, key)?;
        live.sessions.remove(key);
        Ok(Answer::bare(204))
    }

    fn shown(&self, key: &str, session: &ProfessionalSession) -> Value {
        let person = self.person(&session.user);
        let roles = person.map(|person| &person.roles[..]).unwrap_or_default();
        let permissions = roles.iter().flat_map(|role| {
            role.business_functions.iter().map(|function| {
                json!({
                    "businessFunction": function,
                    "orgIdentifier": role.organisation,
                    "orgName": format!("Organisation {}", role.organisation),
                })
            })
        });
        let name = person.map(|person| person.name.as_str()).unwrap_or_default();
        let (first, last) = name.rsplit_once(' ').unwrap_or(("", name));
        let chosen = session.permission.as_ref();
        json!({
            "typeInfo": TYPE_INFO,
            "id": key,
            "token": session.token,
            "user": {
                "identifier": session.user,
                "firstName": first,
                "middleName": "",
                "lastName": last,
                "permissions": permissions.collect::<Vec<_>>(),
            },
            "permission": chosen.map(|(function, organisation)| {
                json!({ "businessFunction": function, "orgIdentifier": organisation })
            }),
        })
    }
}

/// The session that path and header name alike.
fn own<'l>(live: &'l mut Live, call: &Call, key: &str) -> Result<&'l mut ProfessionalSession, Refusal> {
    if call.header(SESSION_KEY) != Some(key) {
        return Err(no_session("HTTP_X_SESSION_KEY is not the session of the address"));
    }
    live.sessions.get_mut(key).ok_or_else(|| no_session("there is no such session"))
}

/// The quota is the system's.
fn call_asid(headers: &[(String, String)]) -> String {
    let asid = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(ASID));
    asid.map(|(_, value)| value.clone()).unwrap_or_default()
}

/// The body of a call about a session: these members, and no others.
fn read(call: &Call, members: &[&str]) -> Result<Value, Refusal> {
    if call.header("Content-Type").map(essence).as_deref() != Some("application/json") {
        return Err(Refusal::Status(415));
    }
    let body: Value = serde_json::from_slice(&call.body).map_err(|_| Refusal::Status(400))?;
    let given = body.as_object().ok_or(Refusal::Status(400))?;
    let is_whole = members.iter().all(|member| given.contains_key(*member)) && given.len() == members.len();
    if !is_whole || body["typeInfo"] != TYPE_INFO {
        return Err(refuse(422, "INVALID_VALUE", "the body is no professional session"));
    }
    Ok(body)
}

fn token_in(body: &Value) -> Result<&str, Refusal> {
    let token = body["token"].as_str().filter(|token| !token.is_empty());
    token.ok_or_else(|| refuse(422, "INVALID_VALUE", "token is mandatory"))
}

/// An answer in the shape of the retired interface.
pub fn as_legacy(answer: &mut Answer) {
    for (name, value) in &mut answer.headers {
        if name.eq_ignore_ascii_case("Content-Type") && value.as_str() == FHIR {
            *value = MEDIA_TYPE.to_owned();
        }
    }
}
