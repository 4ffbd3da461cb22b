//! Who calls, and may they? The platform's checks, then those of e-RS.

use std::sync::Arc;

use super::applications::TooLow;
use super::exchange::Call;
use super::issue::Issue;
use super::operations::{BodyKind, FILE_CONTENT_TYPES, Operation};
use super::people::is_sds_user_id;
use super::refusal::Refusal;
use super::tokens::{Authority, Holder, NotAccepted};
use super::world::World;

const ORGANISATION: &str = "NHSD-End-User-Organisation-ODS";
const FUNCTION: &str = "NHSD-eRS-Business-Function";
const ON_BEHALF_OF: &str = "NHSD-eRS-On-Behalf-Of-User-ID";
/// Set by the platform; a caller that sends one is turned away.
const PLATFORM_HEADERS: [&str; 3] = ["x-ers-ods-code", "x-ers-business-function", "x-ers-user-id"];
const ACTS_FOR_OTHERS: &str = "SERVICE_PROVIDER_CLINICIAN_ADMIN";

/// The one who calls, in the role that this call is made in.
#[derive(Clone, Debug)]
pub struct Caller {
    pub holder: Arc<Holder>,
    /// ODS code; empty on A030, which needs none.
    pub organisation: String,
    pub function: String,
    /// SDS user id of the clinician for whom an administrator acts.
    pub on_behalf_of: Option<String>,
}

impl Caller {
    /// A referrer sees the referrals of their own organisation only.
    pub fn refers(&self) -> bool {
        self.function.starts_with("REFERR")
    }
}

/// Who holds the bearer token. STU3 paths refuse a missing one as e-RS does, a wrong one as the platform does.
pub fn identify(world: &World, call: &Call) -> Result<Arc<Holder>, Refusal> {
    let token = call.header("Authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
    });
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Err(no_access(401, "login", "a bearer token is required"));
    };
    world.tokens.holder(token, world.now()).map_err(|why| {
        if call.path.contains("/R4/") {
            return no_access(401, "login", "the access token is invalid or has expired");
        }
        let (text, code) = match why {
            NotAccepted::Unknown => ("Invalid Access Token", "keymanagement.service.invalid_access_token"),
            NotAccepted::Expired => ("Access Token expired", "keymanagement.service.access_token_expired"),
        };
        Refusal::PlatformFault { status: 401, text, code }
    })
}

/// e-RS has only who signed in surely enough; refreshing does not help those others.
pub fn assure(holder: &Holder) -> Result<(), Refusal> {
    match holder.too_low {
        None => Ok(()),
        Some(TooLow::Identity) => Err(no_access(401, "forbidden", "the user's identity verification level is too low")),
        Some(TooLow::Authenticator) => {
            Err(no_access(401, "login", "the authenticator assurance level of the user's login is not accepted"))
        }
    }
}

/// Checks access mode, organisation and business function.
pub fn admit(world: &World, call: &Call, operation: &Operation, holder: Arc<Holder>) -> Result<Caller, Refusal> {
    if PLATFORM_HEADERS.iter().any(|name| call.header(name).is_some()) {
        return Err(Refusal::Platform(403));
    }
    let (organisation, function) = match &holder.authority {
        Authority::Application { organisation, context, .. } => {
            application(call, operation, *context)?;
            (organisation.clone(), context.business_function().to_owned())
        }
        Authority::User { .. } => match operation.functions {
            None => (String::new(), String::new()),
            Some(functions) => user(call, operation, functions, &holder)?,
        },
    };
    let on_behalf_of = call.header(ON_BEHALF_OF).map(str::to_owned);
    if let Some(clinician) = &on_behalf_of
        && (!is_sds_user_id(clinician) || world.clinicians.refusal(clinician).is_some())
    {
        return Err(forbidden("nobody can act on behalf of this user"));
    }
    Ok(Caller { holder, organisation, function, on_behalf_of })
}

fn application(call: &Call, operation: &Operation, context: super::applications::Context) -> Result<(), Refusal> {
    use super::applications::Context::{Demographics, Provider, Referrer};
    for name in [ORGANISATION, FUNCTION, ON_BEHALF_OF] {
        if call.header(name).is_some() {
            return Err(no_access(403, "forbidden", format!("{name} is not for application-restricted access")));
        }
    }
    let open = match context {
        Provider => operation.provider_application,
        Referrer => operation.referrer_application,
        Demographics => false,
    };
    if open { Ok(()) } else { Err(forbidden("not open to this application")) }
}

fn user(call: &Call, operation: &Operation, functions: &[&str], holder: &Holder) -> Result<(String, String), Refusal> {
    let Authority::User { roles, organisations, .. } = &holder.authority else {
        return Err(forbidden("not open to applications"));
    };
    let organisation = mandatory(call, ORGANISATION)?;
    if organisations.as_ref().is_some_and(|allowed| !allowed.iter().any(|one| one == organisation)) {
        return Err(no_access(403, "forbidden", "the organisation is not allowed for this application"));
    }
    let function = mandatory(call, FUNCTION)?;
    let held = roles
        .iter()
        .filter(|role| role.organisation == organisation)
        .any(|role| role.business_functions.iter().any(|one| one == function));
    if !held {
        return Err(no_access(403, "forbidden", "the business function is not held at the organisation"));
    }
    if !functions.contains(&function) {
        return Err(forbidden("not open to this business function"));
    }
    match (function == ACTS_FOR_OTHERS, call.header(ON_BEHALF_OF)) {
        (true, None) if operation.on_behalf => return Err(missing_header(ON_BEHALF_OF)),
        (true, Some(_)) if !operation.on_behalf => return Err(forbidden("this call tells for whom to act")),
        (false, Some(_)) => return Err(forbidden("acting on behalf of others is not open to this business function")),
        _ => {}
    }
    Ok((organisation.to_owned(), function.to_owned()))
}

fn mandatory<'a>(call: &'a Call, name: &str) -> Result<&'a str, Refusal> {
    call.header(name).filter(|value| !value.trim().is_empty()).ok_or_else(|| missing_header(name))
}

fn missing_header(name: &str) -> Refusal {
    Refusal::one(400, Issue::new("MISSING_HEADER", format!("header {name} is mandatory")))
}

fn no_access(status: u16, kind: &'static str, text: impl Into<String>) -> Refusal {
    Refusal::one(status, Issue::new("NO_ACCESS", text).of_kind(kind))
}

fn forbidden(text: &str) -> Refusal {
    Refusal::one(403, Issue::new("FORBIDDEN", text))
}

/// 406 when the caller would not take FHIR JSON, 415 when the body is of the wrong type.
pub fn check_media_types(call: &Call, operation: &Operation) -> Result<(), Refusal> {
    const FHIR: &str = "application/fhir+json";
    if let Some(accept) = call.header("Accept") {
        let takes = |range: &str| matches!(essence(range).as_str(), FHIR | "*/*" | "application/*");
        if !accept.split(',').any(takes) {
            return Err(Refusal::Status(406));
        }
    }
    let content_type = call.header("Content-Type").map(essence).unwrap_or_default();
    let right = match operation.body {
        BodyKind::None => true,
        BodyKind::Fhir => content_type == FHIR,
        BodyKind::File => FILE_CONTENT_TYPES.iter().any(|(known, _)| *known == content_type),
    };
    if right { Ok(()) } else { Err(Refusal::Status(415)) }
}

/// A media type without its parameters, in lower case.
pub fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
