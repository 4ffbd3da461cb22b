//! What is sent in the demonstration, and what must come of it.

/// The sending system's way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Mllp,
    Http,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Self::Mllp => "MLLP",
            Self::Http => "HTTP",
        }
    }
}

/// An e-RS call with the status of its answer.
pub type Call = (&'static str, u16);

#[derive(Clone, Copy, Debug)]
pub struct Scene {
    pub title: &'static str,
    /// What it shows, in a sentence.
    pub shows: &'static str,
    pub sender: &'static str,
    pub way: Way,
    /// `{UBRN}` stands for the referral of the scene before.
    pub message: &'static [u8],
    /// e-RS refuses the next so many creations with 429.
    pub throttled: u64,
    pub answer: &'static str,
    /// In order, every attempt.
    pub calls: &'static [Call],
    pub events: &'static [&'static str],
}

pub const SCENES: [Scene; 8] = [
    Scene {
        title: "A plain referral",
        shows: "HL7 v2.3 from an old PAS becomes a referral in e-RS.",
        sender: "Northmoor",
        way: Way::Mllp,
        message: include_bytes!("messages/plain.hl7"),
        throttled: 0,
        answer: "AA",
        calls: &[("A011", 201)],
        events: &["ReferralCreated"],
    },
    Scene {
        title: "A referral with its letter",
        shows: "The PDF inside the message is uploaded and linked; the referral never goes without it.",
        sender: "Southbeck",
        way: Way::Mllp,
        message: include_bytes!("messages/pdf-letter.hl7"),
        throttled: 0,
        answer: "CA",
        calls: &[("A011", 201), ("A020", 201), ("A012", 200)],
        events: &["ReferralCreated", "ReferralLetterAttached"],
    },
    Scene {
        title: "Urgent suspected cancer",
        shows: "A two-week-wait overtakes whatever else waits.",
        sender: "Eastvale",
        way: Way::Mllp,
        message: include_bytes!("messages/two-week-wait.hl7"),
        throttled: 0,
        answer: "AA",
        calls: &[("A011", 201)],
        events: &["ReferralCreated"],
    },
    Scene {
        title: "The first message again",
        shows: "Northmoor missed its answer and sends again: the stored answer, and no second referral.",
        sender: "Northmoor",
        way: Way::Mllp,
        message: include_bytes!("messages/plain.hl7"),
        throttled: 0,
        answer: "AA",
        calls: &[],
        events: &[],
    },
    Scene {
        title: "A mistyped NHS number",
        shows: "The check digit is wrong: refused with the place of the mistake, and kept for a look.",
        sender: "Eastvale",
        way: Way::Mllp,
        message: include_bytes!("messages/bad-nhs-number.hl7"),
        throttled: 0,
        answer: "AE",
        calls: &[],
        events: &["MessageRejected"],
    },
    Scene {
        title: "e-RS is busy",
        shows: "Twice \"too many requests\"; the gateway waits as asked and tries again.",
        sender: "Westmere",
        way: Way::Http,
        message: include_bytes!("messages/throttled.hl7"),
        throttled: 2,
        answer: "CA",
        calls: &[("A011", 429), ("A011", 429), ("A011", 201)],
        events: &["ReferralCreated"],
    },
    Scene {
        title: "A referral whose letter will follow",
        shows: "Eastvale sends the referral now …",
        sender: "Eastvale",
        way: Way::Mllp,
        message: include_bytes!("messages/letter-follows.hl7"),
        throttled: 0,
        answer: "CA",
        calls: &[("A011", 201)],
        events: &["ReferralCreated"],
    },
    Scene {
        title: "The letter",
        shows: "… and its letter later, in a message of its own: linked beside whatever is there already.",
        sender: "Eastvale",
        way: Way::Mllp,
        message: include_bytes!("messages/letter.hl7"),
        throttled: 0,
        answer: "AA",
        calls: &[("A005", 200), ("A020", 201), ("A012", 200)],
        events: &["ReferralLetterAttached"],
    },
];

/// Referrals that exist at the end: one for every scene that creates one.
pub fn referrals_made() -> usize {
    SCENES.iter().filter(|scene| scene.events.contains(&"ReferralCreated")).count()
}
