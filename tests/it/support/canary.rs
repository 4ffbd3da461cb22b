//! Words that must not come out where nobody may read them, and the search for them in every disguise.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What is said of a patient in a message, each a word of its own.
#[derive(Clone)]
pub struct Patient {
    pub nhs_number: String,
    pub family: String,
    pub given: String,
    pub street: String,
    pub telephone: String,
    pub hospital_number: String,
    pub note: String,
    pub letter: String,
    pub file_name: String,
}

impl Patient {
    /// Words that occur nowhere else. `which` makes them differ from those of other patients.
    pub fn marked(which: &str, nhs_number: String) -> Self {
        let word = |what: &str| format!("Zqx{what}{which}");
        Self {
            nhs_number,
            // A letter that is not ASCII, to be found in its escapes too.
            family: format!("{}\u{cb}", word("Family")),
            given: word("Given"),
            street: word("Street"),
            telephone: format!("07700900{:03}", which.len()) + &word("Tel"),
            hospital_number: word("Hosp"),
            note: word("Note"),
            letter: word("Letter"),
            file_name: word("File"),
        }
    }

    /// What may be in no log line, metric, error body, acknowledgement or dead letter's header.
    pub fn secrets(&self) -> Vec<String> {
        let Self { nhs_number, family, given, street, telephone, hospital_number, note, letter, file_name } = self;
        [nhs_number, family, given, street, telephone, hospital_number, note, letter, file_name]
            .map(String::clone)
            .to_vec()
    }
}

/// Every way in which a word may be written.
fn disguises(word: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![word.to_lowercase().into_bytes()];
    let latin1: Option<Vec<u8>> = word.to_lowercase().chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    forms.extend(latin1);
    let escaped = |escape: &dyn Fn(char) -> String| {
        let text: String =
            word.chars().map(|c| if c.is_ascii() { c.to_lowercase().to_string() } else { escape(c) }).collect();
        text.to_lowercase().into_bytes()
    };
    forms.push(escaped(&|c| format!("\\u{:04x}", u32::from(c))));
    forms.push(escaped(&|c| format!("\\u{{{:x}}}", u32::from(c))));
    forms.push(escaped(&|c| c.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect()));
    // Bytes in a debug form, and in hexadecimal.
    forms.push(word.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ").into_bytes());
    forms.push(word.bytes().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes());
    // Base64 of a text that has the word at any of the three places; what its neighbours decide is left out.
    for before in 0..3 {
        let text = [&b"\0\0"[..before], word.as_bytes()].concat();
        let encoded = STANDARD.encode(&text);
        let whole = text.len() / 3 * 4;
        forms.push(encoded[[0, 2, 3][before]..whole].to_lowercase().into_bytes());
    }
    forms.sort();
    forms.dedup();
    forms
}

/// Where a word was found in a text, with what stands around it.
pub fn leaks(of: &[Patient], name: &str, text: &[u8]) -> Vec<String> {
    let text = text.to_ascii_lowercase();
    let lower = String::from_utf8_lossy(&text).to_lowercase().into_bytes();
    let mut found = Vec::new();
    for secret in of.iter().flat_map(Patient::secrets) {
        for form in disguises(&secret) {
            for place in [&text, &lower] {
                if let Some(at) = memchr::memmem::find(place, &form) {
                    let around = &place[at.saturating_sub(200)..(at + form.len() + 60).min(place.len())];
                    found.push(format!("{secret} in {name}: …{}…", String::from_utf8_lossy(around)));
                    break;
                }
            }
        }
    }
    found
}

#[test]
fn a_word_is_found_in_every_disguise() {
    let patient = Patient::marked("A", "9991000010".into());
    let base64 = |text: &str| STANDARD.encode(text);
    for text in [
        "ZQXFAMILYA\u{cb}".to_owned(),
        "zqxFamilyA\\u00cb".to_owned(),
        "ZqxFamilyA%C3%8B".to_owned(),
        base64("PID|1||ZqxFamilyA\u{cb}^x"),
        base64("PID|1|||ZqxFamilyA\u{cb}^x"),
        base64("PID|1||||ZqxFamilyA\u{cb}^x"),
        "no number but 9991000010".to_owned(),
        format!("{:?}", "9991000010".as_bytes()),
    ] {
        assert!(!leaks(std::slice::from_ref(&patient), "a text", text.as_bytes()).is_empty(), "{text}");
    }
    assert!(leaks(&[patient], "a text", b"999 100 0011, Zqx Family").is_empty());
}
