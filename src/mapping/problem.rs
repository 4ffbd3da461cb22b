//! A problem with a message, in the sender's own terms: where, which HL7 table 0357 code, what to do.

use std::fmt;

use serde::{Serialize, Serializer};

/// Where a problem is. HL7: segment, its ordinal, field, repetition, component, subcomponent (ERL, ERR-2).
/// JSON: a pointer. FHIR: a FHIRPath.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    Hl7 {
        segment: String,
        /// 1 for the first segment of that name.
        ordinal: u16,
        field: Option<u16>,
        repetition: Option<u16>,
        component: Option<u16>,
        subcomponent: Option<u16>,
    },
    /// RFC 6901.
    Json(String),
    /// `Bundle.entry[1].resource.identifier[0].value`; see [`Location::fhir`].
    Fhir(String),
    /// The whole message.
    Message,
}

/// A FHIRPath longer than this is cut; a sender decides how deep its elements are.
const PATH_CHARS_MAX: usize = 250;

impl Location {
    pub fn fhir(path: &str) -> Self {
        match path.char_indices().nth(PATH_CHARS_MAX) {
            _ if path.is_empty() => Self::Message,
            None => Self::Fhir(path.to_owned()),
            Some((end, _)) => Self::Fhir(format!("{}…", &path[..end])),
        }
    }

    pub fn segment(name: &str) -> Self {
        Self::Hl7 {
            segment: name.to_owned(),
            ordinal: 1,
            field: None,
            repetition: None,
            component: None,
            subcomponent: None,
        }
    }

    pub fn field(name: &str, field: u16) -> Self {
        Self::component(name, field, None)
    }

    pub fn component(name: &str, field: u16, component: Option<u16>) -> Self {
        Self::Hl7 {
            segment: name.to_owned(),
            ordinal: 1,
            field: Some(field),
            repetition: None,
            component,
            subcomponent: None,
        }
    }
}

/// `PID-3.1`, `OBX(2)-5.5`, `PID-3(2).1`, `/patient/nhsNumber`: ordinals and repetitions only where they are not 1.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hl7 { segment, ordinal, field, repetition, component, subcomponent } => {
                f.write_str(segment)?;
                if *ordinal > 1 {
                    write!(f, "({ordinal})")?;
                }
                let Some(field) = field else { return Ok(()) };
                write!(f, "-{field}")?;
                if let Some(repetition) = repetition.filter(|n| *n > 1) {
                    write!(f, "({repetition})")?;
                }
                if let Some(component) = component {
                    write!(f, ".{component}")?;
                }
                if let Some(subcomponent) = subcomponent {
                    write!(f, ".{subcomponent}")?;
                }
                Ok(())
            }
            Self::Json(pointer) => f.write_str(if pointer.is_empty() { "/" } else { pointer }),
            Self::Fhir(path) => f.write_str(path),
            Self::Message => f.write_str("message"),
        }
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One problem. `text` says what is wrong and what to do; it never carries a value of the message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Problem {
    pub location: Location,
    /// HL7 table 0357: 100 to 104 answer AE, 200 to 207 answer AR (`hl7/reference.md` section 3).
    pub code: u16,
    pub text: String,
}

impl Problem {
    pub fn new(location: Location, code: u16, text: impl Into<String>) -> Self {
        Self { location, code, text: text.into() }
    }
}
