//! `Content-Type` values (RFC 9110 section 8.3), as HTTP headers and AMQP properties carry them.

/// A media type in lower case and its `charset`, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType {
    pub media_type: String,
    pub charset: Option<String>,
    /// `fhirVersion` of a FHIR media type: `4.0`.
    pub fhir_version: Option<String>,
}

impl ContentType {
    /// `None` if there is no `type/subtype`, or a character that no token may have.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let media_type = parts.next()?.trim().to_ascii_lowercase();
        let (kind, subtype) = media_type.split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let parameters: Vec<(&str, &str)> = parts.filter_map(|parameter| parameter.split_once('=')).collect();
        let parameter = |wanted: &str| {
            let found = parameters.iter().find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.trim().trim_matches('"').to_owned()).filter(|value| is_token(value))
        };
        Some(Self { media_type, charset: parameter("charset"), fhir_version: parameter("fhirversion") })
    }

    /// One HL7 v2 message in the vertical bar encoding: the three names that HL7 over HTTP knows it by
    /// (`application/hl7-v2` is what HAPI sends, the other two are in the text of the specification).
    pub fn is_hl7v2(&self) -> bool {
        matches!(self.media_type.as_str(), "application/hl7-v2" | "application/hl7-v2+er7" | "x-application/hl7-v2+er7")
    }

    pub fn is_json(&self) -> bool {
        self.media_type == "application/json"
    }

    /// FHIR R4 as JSON in UTF-8. Without a version it is taken as R4.
    pub fn is_fhir(&self) -> bool {
        let version = self.fhir_version.as_deref().unwrap_or("4.0");
        let charset = self.charset.as_deref().unwrap_or("utf-8");
        self.media_type == "application/fhir+json"
            && (version == "4.0" || version.starts_with("4.0."))
            && charset.eq_ignore_ascii_case("utf-8")
    }

    pub fn is_text_plain(&self) -> bool {
        self.media_type == "text/plain"
    }
}

/// The value of the header for an answer of this type.
impl std::fmt::Display for ContentType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.media_type)?;
        if let Some(charset) = &self.charset {
            write!(f, "; charset={charset}")?;
        }
        if let Some(version) = &self.fhir_version {
            write!(f, "; fhirVersion={version}")?;
        }
        Ok(())
    }
}

/// `token` of RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn content_types_are_read_as_senders_write_them() {
        for (text, media_type, charset) in [
            ("application/hl7-v2", "application/hl7-v2", None),
            ("Application/HL7-V2; charset=ISO-8859-1", "application/hl7-v2", Some("ISO-8859-1")),
            ("x-application/hl7-v2+er7;charset=\"utf-8\"", "x-application/hl7-v2+er7", Some("utf-8")),
            ("text/plain ; format=flowed ; CharSet=us-ascii", "text/plain", Some("us-ascii")),
            ("application/json; charset=", "application/json", None),
            ("application/json; charset=a\nb", "application/json", None), // no header splitting
        ] {
            let read = ContentType::parse(text).unwrap_or_else(|| panic!("{text} is a content type"));
            assert_eq!((read.media_type.as_str(), read.charset.as_deref()), (media_type, charset), "{text}");
        }
        for text in ["", "hl7", "/", "a/", "/b", "a b/c", "a/b/c"] {
            assert_eq!(ContentType::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_the_vertical_bar_encoding_is_hl7_v2() {
        for (text, expected) in [
            ("application/hl7-v2", true),
            ("APPLICATION/HL7-V2+ER7", true),
            ("x-application/hl7-v2+er7", true),
            ("application/hl7-v2+xml", false),
            ("text/plain", false),
        ] {
            assert_eq!(ContentType::parse(text).is_some_and(|t| t.is_hl7v2()), expected, "{text}");
        }
    }

    #[test]
    fn fhir_is_taken_as_r4_in_utf_8() {
        for (text, expected) in [
            ("application/fhir+json", true),
            ("application/fhir+json; fhirVersion=4.0", true),
            ("application/fhir+json;fhirversion=\"4.0.1\"; charset=UTF-8", true),
            ("application/fhir+json; fhirVersion=3.0", false),
            ("application/fhir+json; fhirVersion=4.3", false),
            ("application/fhir+json; charset=iso-8859-1", false),
            ("application/fhir+xml", false),
            ("application/json", false),
        ] {
            assert_eq!(ContentType::parse(text).is_some_and(|t| t.is_fhir()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic_and_shown_as_it_is_understood(text in any::<String>()) {
            if let Some(read) = ContentType::parse(&text) {
                prop_assert_eq!(ContentType::parse(&read.to_string()), Some(read));
            }
        }
    }
}
