//! Who may call which operation, and what it takes.

const REFERRERS: [&str; 2] = ["REFERRING_CLINICIAN", "REFERRING_CLINICIAN_ADMIN"];
const PROVIDERS: [&str; 2] = ["SERVICE_PROVIDER_CLINICIAN", "SERVICE_PROVIDER_CLINICIAN_ADMIN"];
/// Those who may see the list of advice requests.
const ADVISERS: [&str; 3] =
    ["SERVICE_PROVIDER_CLINICIAN", "SERVICE_PROVIDER_CLINICIAN_ADMIN", "SERVICE_PROVIDER_ADMIN"];
/// Those who may see worklists.
const WORKLISTS: [&str; 6] = [
    "REFERRING_CLINICIAN",
    "REFERRING_CLINICIAN_ADMIN",
    "REFERRING_ADMIN",
    "SERVICE_PROVIDER_CLINICIAN",
    "SERVICE_PROVIDER_CLINICIAN_ADMIN",
    "SERVICE_PROVIDER_ADMIN",
];
const CLINICAL: [&str; 4] = [
    "REFERRING_CLINICIAN",
    "REFERRING_CLINICIAN_ADMIN",
    "SERVICE_PROVIDER_CLINICIAN",
    "SERVICE_PROVIDER_CLINICIAN_ADMIN",
];

/// Who may call an operation, and what it takes.
#[derive(Debug)]
pub struct Operation {
    pub number: &'static str,
    /// None: any signed-in user, without organisation and function headers (A030).
    pub functions: Option<&'static [&'static str]>,
    pub provider_application: bool,
    pub referrer_application: bool,
    pub body: BodyKind,
    /// Takes the user whom an administrator of a provider acts for (all but A040, which lists them).
    pub on_behalf: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    None,
    /// `application/fhir+json`
    Fhir,
    /// One of the types of [`super::FILE_CONTENT_TYPES`].
    File,
}

const fn users_only(number: &'static str, functions: &'static [&'static str], body: BodyKind) -> Operation {
    Operation {
        number,
        functions: Some(functions),
        provider_application: false,
        referrer_application: false,
        body,
        on_behalf: true,
    }
}

/// Open to every clinical function and to applications.
const READ: Operation = Operation {
    number: "",
    functions: Some(&CLINICAL),
    provider_application: true,
    referrer_application: true,
    body: BodyKind::None,
    on_behalf: true,
};

/// Of services, for those who refer.
const DIRECTORY: Operation = Operation { functions: Some(&REFERRERS), provider_application: false, ..READ };

pub static A004: Operation = Operation { number: "A004", ..READ };
pub static A005: Operation = Operation { number: "A005", referrer_application: false, ..READ };
pub static A006: Operation = Operation { number: "A006", referrer_application: false, ..READ };
pub static A007: Operation = Operation { number: "A007", referrer_application: false, ..READ };
pub static A008: Operation = Operation {
    number: "A008",
    functions: Some(&WORKLISTS),
    referrer_application: false,
    body: BodyKind::Fhir,
    ..READ
};
pub static A010: Operation = users_only("A010", &REFERRERS, BodyKind::Fhir);
pub static A011: Operation = users_only("A011", &REFERRERS, BodyKind::Fhir);
pub static A012: Operation = users_only("A012", &REFERRERS, BodyKind::Fhir);
pub static A013: Operation =
    Operation { number: "A013", functions: Some(&PROVIDERS), referrer_application: false, ..READ };
pub static A014: Operation = users_only("A014", &PROVIDERS, BodyKind::Fhir);
pub static A015: Operation = users_only("A015", &REFERRERS, BodyKind::None);
pub static A016: Operation = users_only("A016", &REFERRERS, BodyKind::Fhir);
pub static A019: Operation = users_only("A019", &REFERRERS, BodyKind::None);
pub static A020: Operation = users_only("A020", &CLINICAL, BodyKind::File);
pub static A021: Operation = users_only("A021", &REFERRERS, BodyKind::Fhir);
pub static A022: Operation = users_only("A022", &PROVIDERS, BodyKind::Fhir);
pub static A023: Operation = users_only("A023", &ADVISERS, BodyKind::Fhir);
pub static A024: Operation = Operation { number: "A024", referrer_application: false, ..READ };
pub static A025: Operation = Operation { number: "A025", referrer_application: false, ..READ };
pub static A026: Operation = users_only("A026", &PROVIDERS, BodyKind::Fhir);
pub static A027: Operation = users_only("A027", &PROVIDERS, BodyKind::Fhir);
pub static A028: Operation = Operation {
    number: "A028",
    functions: Some(&PROVIDERS),
    referrer_application: false,
    body: BodyKind::Fhir,
    ..READ
};
pub static A029: Operation = Operation { number: "A029", referrer_application: false, ..READ };
pub static A030: Operation = Operation { functions: None, ..users_only("A030", &[], BodyKind::None) };
pub static A033: Operation = Operation { number: "A033", ..DIRECTORY };
pub static A035: Operation = Operation { number: "A035", ..DIRECTORY };
pub static A037: Operation = Operation { number: "A037", ..DIRECTORY };
pub static A034: Operation = users_only("A034", &REFERRERS, BodyKind::Fhir);
pub static A038: Operation = users_only("A038", &CLINICAL, BodyKind::None);
pub static A031: Operation = users_only("A031", &REFERRERS, BodyKind::Fhir);
pub static A032: Operation = users_only("A032", &REFERRERS, BodyKind::Fhir);
pub static A036: Operation = Operation { number: "A036", referrer_application: false, body: BodyKind::Fhir, ..READ };
pub static A040: Operation =
    Operation { on_behalf: false, ..users_only("A040", &["SERVICE_PROVIDER_CLINICIAN_ADMIN"], BodyKind::None) };
pub static A041: Operation = users_only("A041", &CLINICAL, BodyKind::None);
pub static A042: Operation = Operation { number: "A042", referrer_application: false, ..READ };
pub static A043: Operation = Operation { number: "A043", referrer_application: false, ..READ };
pub static A044: Operation = users_only("A044", &REFERRERS, BodyKind::Fhir);
