//! The small world that the simulator starts with: registered applications, services, slots, people and
//! the referrals that the published samples speak of. Everything here is invented.

use jiff::Timestamp;

use super::applications::{Access, Application, Context, PublicKey, Role, Session, Smartcard, TestPerson};
use super::people::{Person, Standing};
use super::services::{Flow, Service, Slot};

/// The key pair of the demonstration's applications. Made for this purpose, worth nothing, never to be
/// registered anywhere else.
pub const PRIVATE_KEY_PEM: &str = include_str!("demonstration-key.pem");
pub const PUBLIC_KEY_PEM: &str = include_str!("demonstration-key.pub.pem");
pub const KEY_ID: &str = "demonstration-1";

/// User-restricted: may call everything that its user may.
pub const USER_CLIENT_ID: &str = "demonstration-user-application";
pub const USER_CLIENT_SECRET: &str = "demonstration-secret";
/// Of [`USER`], who is a referring clinician and more at every demonstration organisation.
pub const REFRESH_TOKEN: &str = "demonstration-refresh-token";
pub const USER: &str = "555000000001";
/// Of a clinician at the providing end only.
pub const PROVIDER_REFRESH_TOKEN: &str = "demonstration-provider-refresh-token";
pub const PROVIDER_USER: &str = "555000000002";
/// Referring clinicians at every demonstration organisation, who can sign in.
pub const FIRST_CLINICIAN: &str = "555000000011";
pub const SECOND_CLINICIAN: &str = "555000000012";
/// Acts for clinicians of a provider.
pub const PROVIDER_ADMIN: &str = "555000000013";
/// Whom e-RS will not have: not verified in person; signed in with a password alone.
pub const UNVERIFIED: &str = "555000000014";
pub const WEAKLY_SIGNED_IN: &str = "555000000015";
/// Has signed in, and is nothing in e-RS.
pub const WITHOUT_ROLE: &str = "555000000016";

/// Application-restricted, at R69.
pub const PROVIDER_CLIENT_ID: &str = "demonstration-provider-application";
pub const REFERRER_CLIENT_ID: &str = "demonstration-referrer-application";
/// Application-restricted, for the Personal Demographics Service alone.
pub const PDS_CLIENT_ID: &str = "demonstration-pds-application";

/// Of the retired interface: an accredited system, and tokens of the smartcards of [`USER`] (two, one after the other), of
/// [`FIRST_CLINICIAN`], and of [`WITHOUT_ROLE`].
pub const ASID: &str = "200000000115";
pub const SMARTCARD_TOKEN: &str = "demonstration-smartcard";
pub const NEXT_SMARTCARD_TOKEN: &str = "demonstration-smartcard-once-more";
pub const CLINICIANS_SMARTCARD_TOKEN: &str = "demonstration-smartcard-of-a-clinician";
pub const SMARTCARD_TOKEN_WITHOUT_ROLE: &str = "demonstration-smartcard-without-role";

/// Where the demonstration's users work: the trust of the published samples, and the senders of the HL7 samples.
pub const ORGANISATIONS: [&str; 6] = ["R69", "RXX00", "RYY00", "7XX00", "RWW00", "R68"];

/// Of the gateway's built-in settings; each has the refresh token `demonstration-NAME`.
pub const SENDERS: [&str; 5] = ["northmoor", "eastvale", "southbeck", "westmere", "westport"];

const REFERRING: [&str; 3] = ["REFERRING_CLINICIAN", "REFERRING_CLINICIAN_ADMIN", "REFERRING_ADMIN"];
const PROVIDING: [&str; 3] =
    ["SERVICE_PROVIDER_CLINICIAN", "SERVICE_PROVIDER_CLINICIAN_ADMIN", "SERVICE_PROVIDER_ADMIN"];

pub fn applications() -> Vec<Application> {
    let keys = vec![PublicKey { kid: KEY_ID.into(), pem: PUBLIC_KEY_PEM.into() }];
    let restricted = |client_id: &str, context| Application {
        client_id: client_id.into(),
        access: Access::ApplicationRestricted {
            organisation: "R69".into(),
            context,
            user: "555000000009".into(),
            keys: keys.clone(),
        },
    };
    vec![
        Application {
            client_id: USER_CLIENT_ID.into(),
            access: Access::UserRestricted {
                client_secret: USER_CLIENT_SECRET.into(),
                keys: keys.clone(),
                sessions: sessions(),
                organisations: None,
            },
        },
        restricted(PROVIDER_CLIENT_ID, Context::Provider),
        restricted(REFERRER_CLIENT_ID, Context::Referrer),
        restricted(PDS_CLIENT_ID, Context::Demographics),
    ]
}

/// One for whoever asks first, and one for each sender of the gateway's demonstration: a token works once.
fn sessions() -> Vec<Session> {
    let everything = [&REFERRING[..], &PROVIDING[..]].concat();
    let mut sessions =
        vec![session(USER, REFRESH_TOKEN, &everything), session(PROVIDER_USER, PROVIDER_REFRESH_TOKEN, &PROVIDING)];
    sessions.extend(SENDERS.map(|sender| session(USER, &format!("demonstration-{sender}"), &everything)));
    sessions
}

/// Those who can sign in at the simulated identity provider.
pub fn test_people() -> Vec<TestPerson> {
    let person = |user: &str, name: &str, (identity, authenticator): (u8, u8), roles: Vec<Role>| TestPerson {
        user: user.into(),
        name: name.into(),
        identity_assurance: identity,
        authenticator_assurance: authenticator,
        roles,
    };
    let referrer = || session("", "", &["REFERRING_CLINICIAN"]).roles;
    vec![
        person(USER, "Dr Ada Example", (3, 3), session("", "", &[&REFERRING[..], &PROVIDING[..]].concat()).roles),
        person(PROVIDER_USER, "Dr Bo Example", (3, 3), session("", "", &PROVIDING).roles),
        person(FIRST_CLINICIAN, "Dr Cy Example", (3, 3), referrer()),
        person(SECOND_CLINICIAN, "Dr Di Example", (3, 2), referrer()),
        person(PROVIDER_ADMIN, "Ed Example", (3, 3), session("", "", &["SERVICE_PROVIDER_CLINICIAN_ADMIN"]).roles),
        person(UNVERIFIED, "Dr Fi Example", (2, 3), referrer()),
        person(WEAKLY_SIGNED_IN, "Dr Gus Example", (3, 1), referrer()),
        person(WITHOUT_ROLE, "Hal Example", (3, 3), Vec::new()),
    ]
}

pub fn smartcards() -> Vec<Smartcard> {
    let cards = [
        (SMARTCARD_TOKEN, USER),
        (NEXT_SMARTCARD_TOKEN, USER),
        (CLINICIANS_SMARTCARD_TOKEN, FIRST_CLINICIAN),
        (SMARTCARD_TOKEN_WITHOUT_ROLE, WITHOUT_ROLE),
    ];
    cards.map(|(token, user)| Smartcard { token: token.into(), user: user.into() }).into()
}

fn session(user: &str, refresh_token: &str, functions: &[&str]) -> Session {
    let roles = ORGANISATIONS
        .iter()
        .map(|organisation| Role {
            organisation: (*organisation).into(),
            business_functions: functions.iter().map(|function| (*function).into()).collect(),
        })
        .collect();
    Session { user: user.into(), refresh_token: refresh_token.into(), roles }
}

/// Those of the published samples (11… and 5…, cardiology) and of the HL7 samples (200…, any specialty).
pub fn services() -> Vec<Service> {
    use Flow::{Advice, Appointment, Triage};
    let cardiology = Some("CARDIOLOGY");
    let mut services = vec![
        service("11000", "Forthright Cardiology Business Service", &[Appointment], cardiology),
        service("11002", "Good Cardiology Business Service", &[Appointment], cardiology),
        service("11004", "Cardiology Triage Business Service", &[Triage], cardiology),
        service("11010", "Excellent Cardiology Business Service", &[Appointment, Advice], cardiology),
        service("11014", "Cardiology Advice Service", &[Advice], cardiology),
        service("11021", "Cardiology Business Service", &[Appointment], cardiology),
        service("11030", "A LOCALLY_COMMISSIONABLE Service", &[Appointment], cardiology),
        service("50001", "Cardiology Triage Service", &[Triage], cardiology),
        service("51002", "Cardiology Assessment Service", &[Triage], cardiology),
        Service { offered: false, ..service("11099", "Closed Cardiology Service", &[Appointment], cardiology) },
        Service {
            directly_bookable: false,
            ..service("20061", "Invented Telephone Booking Service", &[Appointment], None)
        },
        service("20041", "Invented Referral Assessment Service", &[Triage], None),
        service("20081", "Invented Advice Service", &[Advice], None),
        Service {
            priorities: vec!["TWO_WEEK_WAIT".into()],
            ..service("20031", "Invented Urgent Suspected Cancer Service", &[Appointment], None)
        },
    ];
    for id in ["20001", "20002", "20003", "20011", "20012", "20013", "20014", "20021", "20051", "20091"] {
        services.push(service(id, &format!("Invented Service {id}"), &[Appointment], None));
    }
    // Westport decides about these in the HL7 samples.
    for service in services.iter_mut().filter(|service| ["20012", "20031", "20041"].contains(&service.id.as_str())) {
        (service.organisation, service.organisation_name) = ("RWW00".into(), "Westport".into());
    }
    services
}

fn service(id: &str, name: &str, flows: &[Flow], specialty: Option<&str>) -> Service {
    Service {
        id: id.into(),
        name: name.into(),
        flows: flows.to_vec(),
        directly_bookable: true,
        specialty: specialty.map(String::from),
        organisation: "R69".into(),
        organisation_name: "Cicero-Clinic".into(),
        referral_letter_required: id == "11021",
        priorities: ["ROUTINE", "URGENT", "TWO_WEEK_WAIT"].map(String::from).to_vec(),
        offered: true,
    }
}

/// The slots that the samples book, and some that stay ahead for long; 11021 has none, on purpose.
pub fn slots() -> Vec<Slot> {
    [
        ("11000021", "11000", "2022-07-11T12:00:00Z", "2022-07-11T13:00:00Z", None),
        ("11008006", "20021", "2026-04-11T12:15:00Z", "2026-04-11T12:45:00Z", Some("555012340001")),
        ("11008007", "20021", "2026-04-18T12:15:00Z", "2026-04-18T12:45:00Z", None),
        ("20013001", "20013", "2040-05-01T09:00:00Z", "2040-05-01T09:30:00Z", None),
        ("20013002", "20013", "2040-05-01T09:30:00Z", "2040-05-01T10:00:00Z", None),
        ("20013003", "20013", "2040-05-02T09:00:00Z", "2040-05-02T09:30:00Z", Some("555012340001")),
    ]
    .map(|(id, service, start, end, clinician)| Slot {
        id: id.into(),
        service: service.into(),
        start: instant(start),
        end: instant(end),
        clinician: clinician.map(String::from),
    })
    .to_vec()
}

fn instant(text: &str) -> Timestamp {
    text.parse().expect("the instants of the demonstration are literals")
}

/// The patients of the samples, and some whom e-RS would refuse.
pub fn patients() -> Vec<Person> {
    let known = [
        "9912003888",
        "9994120034",
        "9994121405",
        "9994122770",
        "9994124145",
        "9994125516",
        "9994126881",
        "9994128256",
        "9994129627",
        "9994130994",
        "9994132369",
        "9994135104",
        "9994137840",
        "9994139215",
        "9994140582",
    ];
    let refused = [
        ("9999000010", Standing::Restricted),
        ("9999000029", Standing::NoPractice),
        ("9999000045", Standing::NoAccessCode),
    ];
    people(&known, &refused)
}

/// Patients of the HL7 samples as PDS knows them: number, family and given name, date of birth, gender.
pub const DEMOGRAPHICS: [(&str, &str, &str, &str, &str); 12] = [
    ("9994120034", "TESTERTON", "ADELINE", "1957-03-14", "female"),
    ("9994121405", "FAUXLEY", "BERTRAM", "1981-11-02", "male"),
    ("9994122770", "SAMPLEWORTH", "CICELY", "1993-06-27", "female"),
    ("9994124145", "MOCKRIDGE", "DESMOND", "1949-01-19", "male"),
    ("9994125516", "DUMMERSBY", "EIRLYS", "2004-09-08", "female"),
    ("9994126881", "PRETENDLE", "FFÎON", "1972-05-30", "male"),
    ("9994130994", "PLACEHOLD", "IMOGEN", "1988-12-31", "female"),
    ("9994132369", "FICTON", "JASPER", "2017-04-05", "male"),
    ("9994135104", "O'SAMPLE", "KEELIN", "1979-09-03", "female"),
    ("9994137840", "MADEUPPE", "LIONEL", "1955-06-16", "male"),
    ("9994139215", "EXEMPLAR", "MIRIAM", "1961-01-01", "female"),
    ("9994140582", "CONTRIVE", "NATHAN", "1999-10-10", "male"),
];

/// The clinicians of the samples, and some who lack what a request needs of them.
pub fn clinicians() -> Vec<Person> {
    let refused = [
        ("555000000901", Standing::NotActive),
        ("555000000902", Standing::NotReferringClinician),
        ("555000000903", Standing::NotReferringClinicianAtOrganisation),
        ("555000000904", Standing::NotInOrganisation),
        ("555000000905", Standing::NotProviderClinician),
    ];
    people(&["021600556514", USER, PROVIDER_USER], &refused)
}

fn people(known: &[&str], refused: &[(&str, Standing)]) -> Vec<Person> {
    let known = known.iter().map(|id| (*id, None));
    let refused = refused.iter().map(|(id, standing)| (*id, Some(*standing)));
    known.chain(refused).map(|(id, standing)| Person { id: id.into(), standing }).collect()
}

/// A referral that exists from the start.
pub struct SeededReferral {
    pub ubrn: u64,
    pub version: u32,
    pub patient: &'static str,
    pub priority: &'static str,
    pub shortlist: &'static [&'static str],
    pub letters: &'static [&'static str],
}

pub const REFERRALS: [SeededReferral; 6] = [
    seeded(70_000, 6, "9912003888", "URGENT", &["11002", "11000", "11021", "50001"], &[]),
    seeded(70_001, 3, "9994121405", "ROUTINE", &["20011", "20012", "20013"], &["19eb7224-dff3-4730-a5cb-67eac811f1a5"]),
    seeded(70_003, 3, "9994122770", "URGENT", &["20021"], &[]),
    seeded(70_004, 3, "9994124145", "TWO_WEEK_WAIT", &["20031"], &[]),
    seeded(70_005, 3, "9994125516", "ROUTINE", &["20041"], &[]),
    seeded(70_007, 3, "9994128256", "ROUTINE", &["20061"], &[]),
];

const fn seeded(
    ubrn: u64,
    version: u32,
    patient: &'static str,
    priority: &'static str,
    shortlist: &'static [&'static str],
    letters: &'static [&'static str],
) -> SeededReferral {
    SeededReferral { ubrn, version, patient, priority, shortlist, letters }
}

/// UBRNs that are advice requests, so that referral operations refuse them.
pub const ADVICE_REQUESTS: [u64; 1] = [49_146_177];

/// Files of the published samples: id, name, content type, meant for, content.
pub const FILES: [(&str, &str, &str, u64, &[u8]); 4] = [
    ("19eb7224-dff3-4730-a5cb-67eac811f1a5", "referralletter.pdf", "application/pdf", 70_001, b"letter"),
    ("50f0c0d5-7ed1-4587-8fce-889c8685eb54", "testResult1.png", "image/png", 70_000, b"result"),
    ("e1015896-92f4-4073-ad3c-5f30fca76448", "testResults.pdf", "application/pdf", 70_000, b"result 1, a test."),
    ("a7c98bb4-c0d0-4094-b26d-8dbd1677edc8", "testResult2.pdf", "application/pdf", 70_000, b"result 2, a test."),
];
