//! The messages that are sent: made once, and changed in place for each sending, so that making them costs the
//! machine nothing that the gateway is measured by.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const START_BLOCK: u8 = 0x0b;
const END_BLOCK: [u8; 2] = [0x1c, 0x0d];

/// Stands where the number of a message goes: in its control id and in the local id of its referral.
const PLACE: &str = "##########";

/// A referral of 1.6 kB without clinical text: one A011 and no letter.
const REFERRAL: &str = "\
MSH|^~\\&|EASTVALE|RYY00|ERSGW|RXX00|20260316093015||REF^I12^REF_I12|EV##########|P|2.4|||||GBR\r\
RF1|P^Pending^HL70283|R^Routine^HL70280|CARD^Cardiology^LOCAL|AM^Assume Management^HL70282|O^Outpatient^HL70284|EV##########^EASTVALE^RYY00|20260316093000|||CHESTPAIN^Exertional chest pain^LOCAL\r\
PRD|RP^Referring Provider^HL70286|FABRIKATOR^OLIVIA^^^DR|1 MADE UP STREET^^TESTFORD^^ZZ99 9ZZ^GBR|^^^Z99001|^WPN^PH^^44^1632^960900||555012345678^SDS^SDSID~G9912345^GMP^GMP|20260316\r\
PID|1||9994121405^^^NHS^NH~H100201^^^RXX00^MR||FAUXLEY^BERTRAM^AUGUSTUS^^MR||19811102|M|||2 IMAGINARY CLOSE^UPPER TESTFORD^TESTFORD^NOWHERESHIRE^ZZ99 2ZZ^GBR^H||01632 960001^PRN^PH~07700 900001^PRN^CP|||||||||||||||||||NSTS01\r\
PD1|||TESTFORD SURGERY^^Z99001|G9912345^FABRIKATOR^OLIVIA^^^DR\r\
PV1|1|O||||||||320\r\
ZRX|REFER|ROUTINE|CARDIOLOGY|CHEST_PAIN|NEED_TO_ADD_LATER|0|X99|RYY0000000000EV55210|RYY00|20260316\r\
ZRS|1|20011|Rapid access chest pain clinic, Eastvale General|RYY01|DBS|Y\r\
ZRS|2|20012|General cardiology outpatients, Northmoor Infirmary|RXX01|DBS|N\r\
ZRS|3|20013|Cardiology (phone booking), Westport Community|RWW01|IBS|N\r\
ZRS|4|20014|Cardiac diagnostics one-stop clinic, Eastvale|RYY01|DBS|N\r\
ZRS|5|20015|Consultant-led cardiology, Southbeck Hospital|RXX01|DBS|N\r\
ZRS|6|20016|Community cardiology service, Lower Testford|RWW01|DBS|N\r\
ZRS|7|20017|Heart rhythm and palpitations clinic, Northmoor|RXX01|DBS|N\r\
ZRS|8|20018|General cardiology, weekends, Eastvale General|RYY01|IBS|N\r\
ZRS|9|20019|Heart failure multidisciplinary clinic, Westport|RWW01|DBS|N\r\
ZRS|10|20020|Lipid and cardiovascular prevention clinic, Southbeck|RXX01|DBS|N\r";

/// A referral whose letter is `#PDF#`.
const WITH_LETTER: &str = "\
MSH|^~\\&|SBEPR|RXX00|ERSGW|RXX00|20260316093100+0000||REF^I12^REF_I12|SB##########|P|2.5.1|||||GBR|UNICODE UTF-8|EN\r\
RF1|P^Pending^HL70283|R^Routine^HL70280|DERM^Dermatology^SBSPEC|AM^Assume Management^HL70282|O^Outpatient^HL70284|SB##########^SBEPR|20260316\r\
PRD|RP^Referring Provider^HL70286|FABRIKATOR^OLIVIA^^^DR|1 MADE UP STREET^^TESTFORD^^ZZ99 9ZZ^GBR|^^^Z99001|^WPN^PH^^44^1632^960900||555012345678^SDS^SDSID~G9912345^GMP^GMP|20260316\r\
PRD|RT^Referred to Provider^HL70286||||||20021^ERS^ERSSVC\r\
PID|1||H100202^^^RXX00&2.16.840.1.113883.2.1.3.9.99&ISO^MR~9994122770^^^NHS&2.16.840.1.113883.2.1.4.1&ISO^NH||SAMPLEWORTH^CICELY^ROSE^^MS^^L||19930627|F|||3 IMAGINARY CLOSE^^TESTFORD^NOWHERESHIRE^ZZ99 3ZZ^GBR^H||^PRN^PH^^44^1632^960002|||||||||||||||||N||NSTS01\r\
OBR|1|||18842-5^Referral letter^LN|||20260316092900\r\
OBX|1|ED|18842-5^Referral letter^LN||SBEPR^application^pdf^Base64^#PDF#||||||F\r\
ZRX|REFER|ROUTINE|DERMATOLOGY|NOT_OTHERWISE_SPECIFIED|NEED_TO_ADD_LATER|0\r";

/// One MLLP frame whose number can be changed.
#[derive(Clone)]
pub(super) struct Frame {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Frame {
    /// 1.6 kB, source `eastvale`.
    pub fn referral() -> Self {
        Self::of(REFERRAL)
    }

    /// A letter of `pdf_bytes` in Base64, source `southbeck`.
    pub fn with_letter(pdf_bytes: usize) -> Self {
        Self::of(&WITH_LETTER.replace("#PDF#", &STANDARD.encode(pdf(pdf_bytes))))
    }

    fn of(message: &str) -> Self {
        let mut bytes = vec![START_BLOCK];
        bytes.extend_from_slice(message.as_bytes());
        bytes.extend_from_slice(&END_BLOCK);
        let places = message.match_indices(PLACE).map(|(at, _)| at + 1).collect();
        let mut frame = Self { bytes, places };
        frame.number(0);
        frame
    }

    /// The frame as the message of this number: no other has its control id, nor its referral's local id.
    pub fn number(&mut self, number: u64) -> &[u8] {
        let width = PLACE.len();
        let digits = format!("{:0width$}", number % 10_u64.pow(10));
        for place in &self.places {
            self.bytes[*place..*place + width].copy_from_slice(digits.as_bytes());
        }
        &self.bytes
    }

    /// The message without its frame.
    pub fn message(&self) -> &[u8] {
        &self.bytes[1..self.bytes.len() - END_BLOCK.len()]
    }
}

/// Looks like a PDF and does not compress.
fn pdf(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut pdf = b"%PDF-1.4\n".to_vec();
    while pdf.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        pdf.extend_from_slice(&state.to_be_bytes()[..4]);
    }
    pdf.extend_from_slice(b"\n%%EOF\n");
    pdf
}

/// Whether an answer has come whole; the generator sends one message at a time on a connection.
pub(super) fn is_whole(answer: &[u8]) -> bool {
    answer.ends_with(&END_BLOCK)
}

pub(super) fn is_accepted(answer: &[u8]) -> bool {
    memchr::memmem::find(answer, b"\rMSA|AA|").is_some()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::config::Config;
    use crate::intake::{Sources, try_message};
    use crate::mapping::MappingSet;

    fn plan_of(frame: &Frame, source: &str) -> Vec<String> {
        let set = MappingSet::built_in().expect("the built-in set is whole");
        let sources = Sources::new(&Config::demonstration().sources);
        let source = sources.named(source).expect("a source of the demonstration");
        let connection = serde_json::json!({ "organisation": "RYY00", "codeSystemBase": "http://127.0.0.1" });
        let trial = try_message(&set, source, &connection, &Bytes::copy_from_slice(frame.message())).expect("a plan");
        assert_eq!(trial.ack.code, "AA", "{:?}", trial.ack.errors);
        assert!(trial.unused.is_empty(), "{:?}", trial.unused);
        trial.plan.iter().map(|call| call["call"].as_str().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn the_referral_is_what_it_says_it_is() {
        let frame = Frame::referral();
        assert!((1_550..1_650).contains(&frame.message().len()), "{}", frame.message().len());
        assert_eq!(plan_of(&frame, "eastvale"), ["A011"]);
    }

    #[test]
    fn the_letter_is_uploaded_and_linked() {
        let frame = Frame::with_letter(150_000);
        assert!((195_000..205_000).contains(&frame.message().len()), "{}", frame.message().len());
        assert_eq!(plan_of(&frame, "southbeck"), ["A011", "A020", "A012"]);
    }

    #[test]
    fn every_number_makes_another_message() {
        let mut frame = Frame::referral();
        let first = frame.number(41).to_vec();
        let second = frame.number(42).to_vec();
        assert_eq!(first.len(), second.len());
        assert_eq!(first.iter().zip(&second).filter(|(one, other)| one != other).count(), 2);
    }
}
