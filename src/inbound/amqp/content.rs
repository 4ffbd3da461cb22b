//! What a delivery is, by its properties.

use bytes::Bytes;
use encoding_rs::Encoding;
use lapin::BasicProperties;
use lapin::types::AMQPValue;

use crate::inbound::content_type::ContentType;
use crate::intake::Content;
use crate::mapping::{Location, Problem};

/// HL7 table 0357.
const REQUIRED_FIELD_MISSING: u16 = 101;
const UNSUPPORTED_MESSAGE_TYPE: u16 = 200;

/// HL7 v2 by its content types, or if none is given (most senders of HL7 v2 set none); a command as
/// `application/json`, its name in the property `type` or the header `command`, its idempotency key in the
/// property `message_id`; FHIR as `application/fhir+json`. Anything else cannot be taken, and the problem says why.
pub fn content(properties: &BasicProperties, bytes: Bytes) -> Result<Content, Problem> {
    let encoding = encoding(properties)?;
    let stated = properties.content_type().as_ref().map(|text| text.as_str().trim()).filter(|text| !text.is_empty());
    let Some(stated) = stated else {
        return Ok(Content::Hl7v2 { bytes, charset: encoding });
    };
    let key = || properties.message_id().as_ref().map(|id| id.as_str().to_owned()).filter(|id| !id.is_empty());
    match ContentType::parse(stated) {
        Some(t) if t.is_fhir() => Ok(Content::Fhir { bytes, idempotency_key: key() }),
        Some(t) if t.is_hl7v2() => Ok(Content::Hl7v2 { bytes, charset: t.charset.or(encoding) }),
        Some(t) if t.is_json() => {
            let Some(name) = command_name(properties) else {
                let text = "a command needs its name in the property type or the header command";
                return Err(Problem::new(Location::Message, REQUIRED_FIELD_MISSING, text));
            };
            Ok(Content::Command { name, bytes, idempotency_key: key() })
        }
        _ => {
            let text =
                "the content type is none of application/hl7-v2, application/fhir+json (R4) and application/json";
            Err(Problem::new(Location::Message, UNSUPPORTED_MESSAGE_TYPE, text))
        }
    }
}

/// `content_encoding`, where it is a charset, as many AMQP clients use it. A compression is not undone.
fn encoding(properties: &BasicProperties) -> Result<Option<String>, Problem> {
    let stated = properties.content_encoding().as_ref().map(|text| text.as_str().trim().to_owned());
    match stated.filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("identity")) {
        None => Ok(None),
        Some(charset) if Encoding::for_label(charset.as_bytes()).is_some() => Ok(Some(charset)),
        Some(_) => Err(Problem::new(
            Location::Message,
            UNSUPPORTED_MESSAGE_TYPE,
            "the content encoding is not a charset; send the content uncompressed",
        )),
    }
}

fn command_name(properties: &BasicProperties) -> Option<String> {
    let of_type = properties.kind().as_ref().map(|kind| kind.as_str().to_owned());
    let of_header = || {
        let headers = properties.headers().as_ref()?;
        match headers.inner().get("command")? {
            AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok().map(str::to_owned),
            AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
            _ => None,
        }
    };
    of_type.filter(|name| !name.is_empty()).or_else(of_header).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldTable;

    use super::*;
    use crate::amqp::short;

    fn typed(content_type: &str) -> BasicProperties {
        BasicProperties::default().with_content_type(short(content_type))
    }

    #[test]
    fn hl7_v2_is_known_by_its_content_type_or_by_having_none() {
        for (properties, charset) in [
            (BasicProperties::default(), None),
            (typed(""), None),
            (typed("application/hl7-v2"), None),
            (typed("Application/HL7-v2+ER7; charset=iso-8859-1"), Some("iso-8859-1")),
            (typed("x-application/hl7-v2+er7").with_content_encoding(short("utf-8")), Some("utf-8")),
            // The parameter stands nearer to the content.
            (
                typed("application/hl7-v2; charset=windows-1252").with_content_encoding(short("utf-8")),
                Some("windows-1252"),
            ),
            (typed("application/hl7-v2").with_content_encoding(short("identity")), None),
        ] {
            match content(&properties, Bytes::from_static(b"MSH|")) {
                Ok(Content::Hl7v2 { charset: found, bytes }) => {
                    assert_eq!((found.as_deref(), &bytes[..]), (charset, &b"MSH|"[..]), "{properties:?}");
                }
                other => panic!("{properties:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_command_has_its_name_in_the_type_or_in_a_header() {
        let mut headers = FieldTable::default();
        headers.insert(short("command"), AMQPValue::LongString("AttachLetters".into()));
        for (properties, name, key) in [
            (typed("application/json").with_type(short("CreateReferral")), "CreateReferral", None),
            (
                typed("application/json; charset=utf-8").with_headers(headers).with_message_id(short("m-1")),
                "AttachLetters",
                Some("m-1"),
            ),
        ] {
            match content(&properties, Bytes::from_static(b"{}")) {
                Ok(Content::Command { name: found, idempotency_key, .. }) => {
                    assert_eq!((found.as_str(), idempotency_key.as_deref()), (name, key));
                }
                other => panic!("{properties:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn fhir_is_known_by_its_content_type_alone() {
        let properties = typed("application/fhir+json; fhirVersion=4.0").with_message_id(short("m-1"));
        match content(&properties, Bytes::from_static(b"{}")) {
            Ok(Content::Fhir { idempotency_key, .. }) => assert_eq!(idempotency_key.as_deref(), Some("m-1")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_taken_is_refused_with_a_reason() {
        for (properties, code) in [
            (typed("application/json"), 101),
            (typed("application/fhir+json; fhirVersion=3.0"), 200),
            (typed("application/fhir+xml"), 200),
            (typed("rubbish"), 200),
            (typed("application/hl7-v2").with_content_encoding(short("gzip")), 200),
        ] {
            let problem = content(&properties, Bytes::new()).expect_err("cannot be taken");
            assert_eq!(problem.code, code, "{properties:?}");
        }
    }
}
