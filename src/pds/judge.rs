//! What a record says about the patient that a message names (`docs/reference/pds/reference.md` section 8). When in doubt: hold.

use super::names::{self, Likeness};
use super::record::Record;

/// What the sender says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claimed<'c> {
    pub number: &'c str,
    pub family: Option<&'c str>,
    pub given: Option<&'c str>,
    /// A date, or its year and month, or its year.
    pub birth_date: Option<&'c str>,
    pub gender: Option<&'c str>,
    /// ODS code of the referring or registered practice.
    pub practice: Option<&'c str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Proceed,
    /// A person has to look.
    Hold,
    /// It must not go out as it is: the sender has to correct it.
    Refuse,
}

/// A reason to have a person look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    pub code: &'static str,
    /// For people.
    pub text: &'static str,
}

/// Without anything of the record but a number that replaces the sender's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    pub code: &'static str,
    /// For people.
    pub text: &'static str,
    /// Of a hold: all that a person has to be told, beginning with this finding's own.
    pub holds: Vec<Hold>,
    pub notes: Vec<&'static str>,
    /// The patient's number now, if it is another.
    pub number: Option<String>,
    /// Of the record that was judged.
    pub version: Option<String>,
}

impl Finding {
    pub(super) fn new(verdict: Verdict, code: &'static str, text: &'static str) -> Self {
        let holds = if verdict == Verdict::Hold { vec![Hold { code, text }] } else { Vec::new() };
        Self { verdict, code, text, holds, notes: Vec::new(), number: None, version: None }
    }

    fn hold(code: &'static str, text: &'static str) -> Self {
        Self::new(Verdict::Hold, code, text)
    }

    /// The same, for a person to look at because of this too.
    pub fn held_for(mut self, hold: Hold) -> Self {
        self.verdict = Verdict::Hold;
        self.holds.push(hold);
        self
    }

    /// The same, with these reasons to look before its own.
    fn after(mut self, mut holds: Vec<Hold>) -> Self {
        if let (Some(first), Verdict::Proceed | Verdict::Hold) = (holds.first().copied(), self.verdict) {
            (self.verdict, self.code, self.text) = (Verdict::Hold, first.code, first.text);
            holds.append(&mut self.holds);
            self.holds = holds;
        }
        self
    }

    fn refuse(code: &'static str, text: &'static str) -> Self {
        Self::new(Verdict::Refuse, code, text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BirthDate {
    Agrees,
    /// As far as one of them goes.
    Partly,
    Differs,
}

pub(super) fn judge(claimed: &Claimed<'_>, record: &Record) -> Finding {
    let mut finding = decide(claimed, record);
    finding.version.clone_from(&record.version);
    finding
}

/// A refusal hides behind no hold: a person who releases one must not release the other.
fn decide(claimed: &Claimed<'_>, record: &Record) -> Finding {
    if record.death_status.as_deref() == Some("2") || record.removal.as_deref() == Some("DEA") {
        return Finding::refuse("PATIENT_DIED", "the patient is recorded as dead");
    }
    let mut finding = compare(claimed, record).after(standing(record));
    if finding.verdict == Verdict::Hold {
        // Whoever releases it vouches for the number that was sent.
        finding.number = None;
        if record.number != claimed.number {
            let text = "PDS knows the patient by another NHS number now, and not all agrees: send the right one again";
            finding.holds.push(Hold { code: "NUMBER_SUPERSEDED", text });
        }
    }
    finding
}

/// Whether the patient is who the sender says.
fn compare(claimed: &Claimed<'_>, record: &Record) -> Finding {
    let (Some(family), Some(birth_date)) = (claimed.family, claimed.birth_date) else {
        return Finding::refuse(
            "PATIENT_INCOMPLETE",
            "the patient cannot be compared with PDS: send family name and date of birth",
        );
    };
    let Some(own_birth_date) = record.birth_date.as_deref().filter(|_| !record.names.is_empty()) else {
        return Finding::hold("PATIENT_NOT_CONFIRMED", "PDS shows no name or date of birth: confirm who it is");
    };
    let birth = compare_dates(birth_date, own_birth_date);
    let (likeness, is_past) = best_family(family, record);
    let given = claimed
        .given
        .is_some_and(|given| record.names.iter().any(|name| name.given.iter().any(|own| names::given(given, own))));
    match (birth, likeness) {
        (BirthDate::Differs, Likeness::Different) => {
            return Finding::refuse(
                "PATIENT_DIFFERS",
                "PDS knows somebody else by this NHS number: name and date of birth differ",
            );
        }
        (BirthDate::Differs, _) => {
            return Finding::hold("BIRTH_DATE_DIFFERS", "PDS has another date of birth: perhaps a slip of the pen");
        }
        (_, Likeness::Different) => {
            return Finding::hold("FAMILY_NAME_DIFFERS", "PDS knows neither this family name nor that it was one");
        }
        (BirthDate::Partly, Likeness::Same) if given => {}
        (BirthDate::Partly, _) => {
            return Finding::hold(
                "BIRTH_DATE_UNCLEAR",
                "the date of birth agrees only in part, and the name not wholly",
            );
        }
        (BirthDate::Agrees, _) => {}
    }
    agreeing(claimed, record, Agreement { likeness, is_past, given, partly: birth == BirthDate::Partly })
}

/// What a person has to look at, whoever the patient is said to be.
fn standing(record: &Record) -> Vec<Hold> {
    let death = match (record.death_status.as_deref(), record.is_deceased) {
        (Some("1"), _) | (None, true) => Some("a death was notified, and is not confirmed yet"),
        (Some("U"), true) => Some("a death was withdrawn, but a date of it is left"),
        _ => None,
    };
    let restriction = match record.confidentiality.as_deref() {
        Some("V") => Some("the record is very restricted: confirm who it is"),
        Some("R") => {
            Some("the record is restricted: e-RS may refuse it, and nobody may be told where the patient lives")
        }
        _ => None,
    };
    let is_unverified = record.verification.as_deref().is_some_and(|status| status != "01");
    let is_elsewhere = matches!(record.removal.as_deref(), Some("SCT" | "NIT" | "EMB"));
    let holds = [
        ("PATIENT_MAY_HAVE_DIED", death),
        ("PATIENT_RESTRICTED", restriction),
        ("NUMBER_NOT_VERIFIED", is_unverified.then_some("PDS has not verified this NHS number: trace the patient")),
        (
            "PATIENT_ELSEWHERE",
            is_elsewhere
                .then_some("the patient is registered outside England: may not be entitled to an e-RS referral"),
        ),
    ];
    holds.into_iter().filter_map(|(code, text)| Some(Hold { code, text: text? })).collect()
}

struct Agreement {
    likeness: Likeness,
    is_past: bool,
    given: bool,
    partly: bool,
}

/// Name and date of birth agree: what is left to say.
fn agreeing(claimed: &Claimed<'_>, record: &Record, agreement: Agreement) -> Finding {
    let gender = match (claimed.gender, record.gender.as_deref()) {
        (Some(one), Some(other)) => one == other || [one, other].contains(&"unknown"),
        _ => true,
    };
    let other_given = claimed.given.is_some() && !agreement.given;
    if other_given && record.is_of_multiple_birth {
        return Finding::hold("PERHAPS_A_TWIN", "another given name, and the patient is one of several at a birth");
    }
    let weak = [other_given, !gender, agreement.is_past, agreement.likeness == Likeness::Part];
    if weak.into_iter().filter(|differs| *differs).count() > 1 {
        let text = "several of given name, gender and family name agree only in part with PDS";
        return Finding::hold("PATIENT_UNCLEAR", text);
    }
    let mut finding = Finding::new(Verdict::Proceed, "PATIENT_CONFIRMED", "name and date of birth agree with PDS");
    let mut note = |applies: bool, text: &'static str| {
        if applies {
            finding.notes.push(text);
        }
    };
    note(agreement.is_past, "agrees with a former family name");
    note(agreement.likeness == Likeness::Part, "agrees with a part of a double name");
    note(agreement.partly, "the date of birth is known in part only");
    note(other_given, "another given name");
    note(!gender, "another gender");
    let practice = claimed.practice.is_some_and(|practice| record.practice.as_deref() != Some(practice));
    note(practice, "registered with another practice, or none");
    if record.number != claimed.number {
        finding.notes.push("known by another NHS number now");
        finding.number = Some(record.number.clone());
    }
    finding
}

/// The closest of all names, a present one before a past one.
fn best_family(family: &str, record: &Record) -> (Likeness, bool) {
    let compared = record.names.iter().map(|name| (names::family(family, &name.family), name.is_past));
    let rank = |likeness: &(Likeness, bool)| match likeness {
        (Likeness::Same, false) => 0,
        (Likeness::Part, false) => 1,
        (Likeness::Same, true) => 2,
        (Likeness::Part, true) => 3,
        (Likeness::Different, _) => 4,
    };
    compared.min_by_key(rank).unwrap_or((Likeness::Different, false))
}

/// As far as both go. A first of January on one side may stand for an unknown day.
fn compare_dates(one: &str, other: &str) -> BirthDate {
    let parts =
        |date: &str| date.split('T').next().unwrap_or_default().split('-').map(str::to_owned).collect::<Vec<_>>();
    let (one, other) = (parts(one), parts(other));
    let common = one.len().min(other.len());
    if common == 0 || one[0] != other[0] {
        return BirthDate::Differs;
    }
    if one[..common] == other[..common] {
        return if one.len() == 3 && other.len() == 3 { BirthDate::Agrees } else { BirthDate::Partly };
    }
    let is_first = |date: &[String]| date.len() == 3 && date[1] == "01" && date[2] == "01";
    if is_first(&one) != is_first(&other) { BirthDate::Partly } else { BirthDate::Differs }
}

#[cfg(test)]
mod tests {
    use super::super::record::Name;
    use super::*;

    const CLAIMED: Claimed<'static> = Claimed {
        number: "9990000018",
        family: Some("Smith"),
        given: Some("Jane"),
        birth_date: Some("1980-05-17"),
        gender: Some("female"),
        practice: None,
    };

    fn name(family: &str, given: &str) -> Name {
        Name { family: family.into(), given: vec![given.into()], is_past: false }
    }

    fn record(change: impl FnOnce(&mut Record)) -> Record {
        let mut record = Record {
            number: CLAIMED.number.into(),
            version: Some("2".into()),
            names: vec![name("SMITH", "JANE")],
            birth_date: Some("1980-05-17".into()),
            gender: Some("female".into()),
            is_of_multiple_birth: false,
            is_deceased: false,
            death_status: None,
            removal: None,
            confidentiality: Some("U".into()),
            verification: Some("01".into()),
            practice: Some("A20047".into()),
        };
        change(&mut record);
        record
    }

    type Change = fn(&mut Record);

    #[test]
    fn each_situation_has_its_verdict() {
        use Verdict::{Hold, Proceed, Refuse};
        let cases: &[(&str, Change, Verdict, &str)] = &[
            ("all agrees", |_| {}, Proceed, "PATIENT_CONFIRMED"),
            ("no verification status", |r| r.verification = None, Proceed, "PATIENT_CONFIRMED"),
            ("formal death", |r| r.death_status = Some("2".into()), Refuse, "PATIENT_DIED"),
            ("removed by death", |r| r.removal = Some("DEA".into()), Refuse, "PATIENT_DIED"),
            ("informal death", |r| r.death_status = Some("1".into()), Hold, "PATIENT_MAY_HAVE_DIED"),
            ("a date of death alone", |r| r.is_deceased = true, Hold, "PATIENT_MAY_HAVE_DIED"),
            ("death withdrawn", |r| r.death_status = Some("U".into()), Proceed, "PATIENT_CONFIRMED"),
            (
                "withdrawn, but dated",
                |r| {
                    r.death_status = Some("U".into());
                    r.is_deceased = true;
                },
                Hold,
                "PATIENT_MAY_HAVE_DIED",
            ),
            ("restricted", |r| r.confidentiality = Some("R".into()), Hold, "PATIENT_RESTRICTED"),
            ("very restricted", |r| r.confidentiality = Some("V".into()), Hold, "PATIENT_RESTRICTED"),
            ("no name", |r| r.names.clear(), Hold, "PATIENT_NOT_CONFIRMED"),
            ("no date of birth", |r| r.birth_date = None, Hold, "PATIENT_NOT_CONFIRMED"),
            ("not traced", |r| r.verification = Some("02".into()), Hold, "NUMBER_NOT_VERIFIED"),
            ("another date", |r| r.birth_date = Some("1980-05-18".into()), Hold, "BIRTH_DATE_DIFFERS"),
            (
                "another person",
                |r| {
                    r.birth_date = Some("1955-05-18".into());
                    r.names = vec![name("JONES", "JANE")];
                },
                Refuse,
                "PATIENT_DIFFERS",
            ),
            ("another family name", |r| r.names = vec![name("JONES", "JANE")], Hold, "FAMILY_NAME_DIFFERS"),
            ("in Scotland", |r| r.removal = Some("SCT".into()), Hold, "PATIENT_ELSEWHERE"),
            (
                "another person, in Scotland",
                |r| {
                    r.removal = Some("SCT".into());
                    r.birth_date = Some("1955-05-18".into());
                    r.names = vec![name("JONES", "JANE")];
                },
                Refuse,
                "PATIENT_DIFFERS",
            ),
            (
                "a former family name and another given name",
                |r| r.names = vec![name("JONES", "MARY"), Name { is_past: true, ..name("SMITH", "MARY") }],
                Hold,
                "PATIENT_UNCLEAR",
            ),
            (
                "a part of a double name and another given name",
                |r| r.names = vec![name("SMITH-JONES", "MARY")],
                Hold,
                "PATIENT_UNCLEAR",
            ),
            ("a temporary resident gone", |r| r.removal = Some("TRA".into()), Proceed, "PATIENT_CONFIRMED"),
            ("year alone", |r| r.birth_date = Some("1980".into()), Proceed, "PATIENT_CONFIRMED"),
            ("the first of January", |r| r.birth_date = Some("1980-01-01".into()), Proceed, "PATIENT_CONFIRMED"),
            (
                "year alone and another given name",
                |r| {
                    r.birth_date = Some("1980".into());
                    r.names = vec![name("SMITH", "MARY")];
                },
                Hold,
                "BIRTH_DATE_UNCLEAR",
            ),
            (
                "a twin",
                |r| {
                    r.names = vec![name("SMITH", "MARY")];
                    r.is_of_multiple_birth = true;
                },
                Hold,
                "PERHAPS_A_TWIN",
            ),
            (
                "given name and gender",
                |r| {
                    r.names = vec![name("SMITH", "JOHN")];
                    r.gender = Some("male".into());
                },
                Hold,
                "PATIENT_UNCLEAR",
            ),
        ];
        for (situation, change, verdict, code) in cases {
            let finding = judge(&CLAIMED, &record(change));
            assert_eq!((finding.verdict, finding.code), (*verdict, *code), "{situation}: {finding:?}");
            assert_eq!(finding.version.as_deref(), Some("2"), "{situation}");
        }
    }

    #[test]
    fn what_agrees_but_for_something_is_noted() {
        let cases: &[(&str, Change)] = &[
            ("agrees with a former family name", |r| {
                r.names = vec![name("JONES", "JANE"), Name { is_past: true, ..name("SMITH", "JANE") }];
            }),
            ("agrees with a part of a double name", |r| r.names = vec![name("SMITH-JONES", "JANE")]),
            ("the date of birth is known in part only", |r| r.birth_date = Some("1980-05".into())),
            ("another given name", |r| r.names = vec![name("SMITH", "MARY")]),
            ("another gender", |r| r.gender = Some("male".into())),
        ];
        for (note, change) in cases {
            let finding = judge(&CLAIMED, &record(change));
            assert_eq!((finding.verdict, finding.notes.as_slice()), (Verdict::Proceed, &[*note][..]));
        }
        let elsewhere = judge(&Claimed { practice: Some("Z99001"), ..CLAIMED }, &record(|_| {}));
        assert_eq!(elsewhere.notes, ["registered with another practice, or none"]);
    }

    #[test]
    fn a_merged_number_is_followed_only_if_all_agrees() {
        let finding = judge(&CLAIMED, &record(|r| r.number = "9990000026".into()));
        assert_eq!((finding.verdict, finding.number.as_deref()), (Verdict::Proceed, Some("9990000026")));
        let unclear = judge(
            &CLAIMED,
            &record(|r| {
                r.number = "9990000026".into();
                r.birth_date = Some("1980-06-17".into());
            }),
        );
        assert_eq!((unclear.verdict, unclear.number), (Verdict::Hold, None));
        assert_eq!(
            unclear.holds.iter().map(|hold| hold.code).collect::<Vec<_>>(),
            ["BIRTH_DATE_DIFFERS", "NUMBER_SUPERSEDED"]
        );
    }

    #[test]
    fn every_reason_to_look_is_told_and_the_first_is_the_findings_own() {
        let finding = judge(
            &CLAIMED,
            &record(|r| {
                r.confidentiality = Some("R".into());
                r.removal = Some("SCT".into());
                r.birth_date = Some("1980-06-17".into());
                r.number = "9990000026".into();
            }),
        );
        assert_eq!((finding.verdict, finding.code, finding.number), (Verdict::Hold, "PATIENT_RESTRICTED", None));
        let codes: Vec<&str> = finding.holds.iter().map(|hold| hold.code).collect();
        assert_eq!(codes, ["PATIENT_RESTRICTED", "PATIENT_ELSEWHERE", "BIRTH_DATE_DIFFERS", "NUMBER_SUPERSEDED"]);
    }

    #[test]
    fn who_says_too_little_is_told() {
        for claimed in [Claimed { family: None, ..CLAIMED }, Claimed { birth_date: None, ..CLAIMED }] {
            let finding = judge(&claimed, &record(|_| {}));
            assert_eq!((finding.verdict, finding.code), (Verdict::Refuse, "PATIENT_INCOMPLETE"));
        }
    }
}
