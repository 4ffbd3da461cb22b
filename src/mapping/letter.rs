//! Letters: what a message carries as a document becomes a handle, checked before the first e-RS call.
//!
//! Enters: base64 pieces or text from a message. Leaves: a [`Letter`] that says where the bytes are, how
//! many, their digest and type. Guarantees: nothing is copied but a small window; what e-RS would refuse
//! (A020: size, type, name; `endpoints.yaml`) is refused here.

use sha2::{Digest, Sha256};

use super::plan::{Letter, LetterContent};

/// e-RS takes at most 5 MB a file (`errors-and-limits.md`, Limits).
pub const LETTER_BYTES_MAX: u64 = 5_242_880;

/// More letters than this in one message are refused.
pub const LETTERS_MAX: usize = 50;

/// File names longer than this are cut before their extension.
const FILE_NAME_CHARS_MAX: usize = 100;

/// What A020 takes: extension and content type, the first extension of a type being the usual one.
const TYPES: &[(&str, &str)] = &[
    ("txt", "text/plain"),
    ("pdf", "application/pdf"),
    ("xml", "text/xml"),
    ("rtf", "text/rtf"),
    ("rtx", "text/rtf"),
    ("au", "audio/basic"),
    ("mp3", "audio/mpeg"),
    ("png", "image/png"),
    ("gif", "image/gif"),
    ("jpg", "image/jpeg"),
    ("jpe", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("mpg", "video/mpeg"),
    ("mpeg", "video/mpeg"),
    ("mpe", "video/mpeg"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("dcm", "application/dicom"),
];

/// First bytes that tell a type (`hl7/reference.md` section 3: sniffed type goes before the declared one).
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"%PDF-", "pdf"),
    (b"{\\rtf", "rtf"),
    (b"\x89PNG\r\n", "png"),
    (b"GIF8", "gif"),
    (b"\xFF\xD8\xFF", "jpg"),
    (b"II*\0", "tif"),
    (b"MM\0*", "tif"),
    (b"\xD0\xCF\x11\xE0", "doc"),
    (b"<?xml", "xml"),
    (b"ID3", "mp3"),
    (b".snd", "au"),
];

/// Bytes looked at to tell a type: DICOM has its mark at 128.
const HEAD_BYTES: usize = 132;

/// Why a letter cannot be taken; `code` is of HL7 table 0357.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterProblem {
    pub code: u16,
    pub text: String,
}

fn problem(code: u16, text: impl Into<String>) -> LetterProblem {
    LetterProblem { code, text: text.into() }
}

/// A letter's decoded size, digest and first bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Inspected {
    pub bytes: u64,
    pub sha256: String,
    head: Vec<u8>,
}

/// Decodes base64 pieces in passing. White space and line-break escapes inside are skipped; missing
/// padding is fine; any other byte is an error.
pub fn inspect_base64<'a>(pieces: impl IntoIterator<Item = &'a str>, escape: u8) -> Result<Inspected, LetterProblem> {
    let mut sink = Sink::default();
    let mut quantum = Quantum::default();
    for piece in pieces {
        let mut rest = piece.as_bytes();
        while !rest.is_empty() {
            let clean = clean_prefix(rest, escape);
            quantum.push(&rest[..clean], &mut sink)?;
            rest = &rest[clean..];
            if !rest.is_empty() {
                let skipped = skippable(rest, escape).ok_or_else(not_base64)?;
                rest = &rest[skipped..];
            }
        }
    }
    quantum.finish(&mut sink)?;
    sink.finish()
}

pub fn inspect_bytes(bytes: &[u8]) -> Result<Inspected, LetterProblem> {
    let mut sink = Sink::default();
    sink.take(bytes);
    sink.finish()
}

/// The bytes themselves, of a text that [`inspect_base64`] took.
pub fn decode_base64(text: &str) -> Result<Vec<u8>, LetterProblem> {
    use base64::Engine;
    let clean: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    ENGINE.decode(clean).map_err(|_| not_base64())
}

fn not_base64() -> LetterProblem {
    problem(102, "Data type error: not base64")
}

/// How many bytes from the start need no second look.
fn clean_prefix(bytes: &[u8], escape: u8) -> usize {
    bytes.iter().position(|b| b.is_ascii_whitespace() || *b == escape).unwrap_or(bytes.len())
}

/// Length of white space or of a line-break escape (`\.br\`, `\X0D\`, `\X0A\`, `\X0D0A\`) at the start.
pub fn skippable(bytes: &[u8], escape: u8) -> Option<usize> {
    let first = *bytes.first()?;
    if first.is_ascii_whitespace() {
        return Some(1);
    }
    if first != escape {
        return None;
    }
    let end = 1 + bytes[1..].iter().take(8).position(|b| *b == escape)?;
    let inside = &bytes[1..end];
    [b".br".as_slice(), b"X0D", b"X0A", b"X0D0A"]
        .iter()
        .any(|known| inside.eq_ignore_ascii_case(known))
        .then_some(end + 1)
}

/// Base64 in steps of whole quanta, with what is left over kept for the next piece.
#[derive(Default)]
struct Quantum {
    carry: Vec<u8>,
    padded: bool,
}

const ENGINE: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Characters decoded at a time; a multiple of 4.
const WINDOW_CHARS: usize = 32_768;

impl Quantum {
    fn push(&mut self, mut clean: &[u8], sink: &mut Sink) -> Result<(), LetterProblem> {
        if clean.is_empty() {
            return Ok(());
        }
        if self.padded {
            return Err(not_base64());
        }
        if !self.carry.is_empty() {
            let missing = (4 - self.carry.len()).min(clean.len());
            self.carry.extend_from_slice(&clean[..missing]);
            clean = &clean[missing..];
            if self.carry.len() < 4 {
                return Ok(());
            }
            let carry = std::mem::take(&mut self.carry);
            self.decode(&carry, sink)?;
        }
        let whole = clean.len() / 4 * 4;
        for window in clean[..whole].chunks(WINDOW_CHARS) {
            if self.padded {
                return Err(not_base64());
            }
            self.decode(window, sink)?;
        }
        if self.padded && whole < clean.len() {
            return Err(not_base64());
        }
        self.carry.extend_from_slice(&clean[whole..]);
        Ok(())
    }

    fn decode(&mut self, characters: &[u8], sink: &mut Sink) -> Result<(), LetterProblem> {
        use base64::Engine;
        self.padded = characters.ends_with(b"=");
        let mut window = [0u8; WINDOW_CHARS / 4 * 3];
        let length = ENGINE.decode_slice(characters, &mut window).map_err(|_| not_base64())?;
        sink.take(&window[..length]);
        Ok(())
    }

    fn finish(mut self, sink: &mut Sink) -> Result<(), LetterProblem> {
        let carry = std::mem::take(&mut self.carry);
        if carry.is_empty() { Ok(()) } else { self.decode(&carry, sink) }
    }
}

#[derive(Default)]
struct Sink {
    bytes: u64,
    digest: Sha256,
    head: Vec<u8>,
}

impl Sink {
    fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.digest.update(bytes);
        let wanted = HEAD_BYTES.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..wanted]);
    }

    fn finish(self) -> Result<Inspected, LetterProblem> {
        match self.bytes {
            0 => Err(problem(101, "the document is empty")),
            1..=LETTER_BYTES_MAX => {
                Ok(Inspected { bytes: self.bytes, sha256: hex(&self.digest.finalize()), head: self.head })
            }
            _ => Err(problem(104, "Value too long: e-RS takes at most 5 242 880 bytes a file")),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The extension that the content shows, else the one that was declared (a subtype, MIME type or extension).
fn extension(inspected: &Inspected, declared: &[&str], name: &str) -> Result<&'static str, LetterProblem> {
    let named = name.rsplit_once('.').map(|(_, extension)| extension).into_iter();
    let declared: Vec<&'static str> = declared.iter().copied().chain(named).filter_map(known_extension).collect();
    if inspected.head.len() >= HEAD_BYTES && &inspected.head[128..132] == b"DICM" {
        return Ok("dcm");
    }
    if inspected.head.starts_with(b"PK\x03\x04") {
        return match declared.contains(&"docx") {
            true => Ok("docx"),
            false => Err(problem(103, "e-RS does not take this type of file: an archive that is not declared as docx")),
        };
    }
    if let Some((_, sniffed)) = SIGNATURES.iter().find(|(mark, _)| inspected.head.starts_with(mark)) {
        return Ok(sniffed);
    }
    let all: Vec<&str> = TYPES.iter().map(|(extension, _)| *extension).collect();
    declared
        .first()
        .copied()
        .ok_or_else(|| problem(103, format!("e-RS does not take this type of file; it takes {}", all.join(", "))))
}

fn known_extension(declared: &str) -> Option<&'static str> {
    let declared = declared.trim().to_ascii_lowercase();
    TYPES
        .iter()
        .find(|(extension, mime)| *extension == declared || *mime == declared)
        .map(|(extension, _)| *extension)
        .or(match declared.as_str() {
            "plain" | "text" => Some("txt"),
            "msword" => Some("doc"),
            "svg+xml" | "application/xml" => Some("xml"),
            "text/richtext" | "richtext" => Some("rtf"),
            _ => None,
        })
}

/// What a message says about a letter besides its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Declared<'a> {
    /// A file name, or a title to make one from.
    pub name: &'a str,
    pub description: Option<&'a str>,
    /// Subtype, MIME type, extension: whatever there is, most specific first.
    pub types: &'a [&'a str],
}

pub fn letter(inspected: Inspected, declared: Declared<'_>, content: LetterContent) -> Result<Letter, LetterProblem> {
    let extension = extension(&inspected, declared.types, declared.name)?;
    let content_type = TYPES.iter().find(|(known, _)| *known == extension).map_or("", |(_, mime)| mime);
    Ok(Letter {
        file_name: file_name(declared.name, extension, content_type),
        content_type: content_type.to_owned(),
        description: declared.description.filter(|text| !text.is_empty()).map(str::to_owned),
        indexed: None,
        bytes: inspected.bytes,
        sha256: inspected.sha256,
        content,
    })
}

/// A name that survives a plain-text header and any file system: no path, ASCII letters, digits, `._- `.
fn file_name(name: &str, extension: &str, content_type: &str) -> String {
    let (stem, given) = match name.rsplit_once('.') {
        Some((stem, given)) if known_extension(given).is_some() => (stem, Some(given.to_ascii_lowercase())),
        _ => (name, None),
    };
    let agrees = |given: &String| TYPES.iter().any(|(known, mime)| known == given && *mime == content_type);
    let extension = given.filter(agrees).unwrap_or_else(|| extension.to_owned());
    let stem: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ' ') { c } else { '-' })
        .take(FILE_NAME_CHARS_MAX)
        .collect();
    let stem = stem.trim_matches(['-', ' ', '.']);
    format!("{}.{extension}", if stem.is_empty() { "letter" } else { stem })
}

/// Makes names differ within one message: e-RS refuses a second file of the same name (`DUPLICATE_FILENAME`).
pub fn make_names_differ(letters: &mut [Letter]) {
    let mut taken = std::collections::HashSet::new();
    for letter in letters {
        let original = letter.file_name.clone();
        let (stem, extension) = original.rsplit_once('.').unwrap_or((&original, "txt"));
        let mut number = 1;
        while !taken.insert(letter.file_name.to_ascii_lowercase()) {
            number += 1;
            letter.file_name = format!("{stem}-{number}.{extension}");
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use proptest::prelude::*;

    use super::*;

    const PDF: &[u8] = b"%PDF-1.4 synthetic";

    #[test]
    fn base64_is_read_as_senders_write_it() {
        let encoded = base64::engine::general_purpose::STANDARD.encode(PDF);
        let unpadded = encoded.trim_end_matches('=').to_owned();
        let wrapped = format!("{}\\.br\\{}\\X0D0A\\{}\r\n ", &encoded[..5], &encoded[5..8], &encoded[8..]);
        let whole = inspect_bytes(PDF).expect("a small PDF");
        for text in [encoded.as_str(), &unpadded, &wrapped] {
            assert_eq!(inspect_base64([text], b'\\').as_ref(), Ok(&whole), "{text}");
        }
        assert_eq!(inspect_base64([&encoded[..3], &encoded[3..]], b'\\'), Ok(whole));
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in ["JVBERi0xLjQK%%%not-base64%%%", "JVBE=Ri0x", "JVBE====", "J", "J\\.sp\\VBE"] {
            assert_eq!(inspect_base64([text], b'\\').map_err(|p| p.code), Err(102), "{text}");
        }
        assert_eq!(inspect_base64([""], b'\\').map_err(|p| p.code), Err(101));
    }

    #[test]
    fn five_megabytes_are_the_limit() {
        let most = vec![b'x'; usize::try_from(LETTER_BYTES_MAX).expect("fits")];
        assert!(inspect_bytes(&most).is_ok());
        let encoded = base64::engine::general_purpose::STANDARD.encode([most, vec![b'x']].concat());
        assert_eq!(inspect_base64([encoded.as_str()], b'\\').map_err(|p| p.code), Err(104));
    }

    #[test]
    fn the_content_tells_the_type_and_the_name_agrees() {
        for (bytes, name, types, expected) in [
            (PDF, "referral-letter.pdf", &["PDF"][..], Some(("referral-letter.pdf", "application/pdf"))),
            (PDF, "Referral letter", &["octet-stream"], Some(("Referral letter.pdf", "application/pdf"))),
            (PDF, "scan.docx", &["docx"], Some(("scan.pdf", "application/pdf"))),
            (b"hello", "../../etc/passwd", &["plain"], Some(("etc-passwd.txt", "text/plain"))),
            (b"\xFF\xD8\xFF\xE0", "photo.JPEG", &[], Some(("photo.jpeg", "image/jpeg"))),
            (b"PK\x03\x04", "x.zip", &["zip"], None),
            (b"MZ", "run.exe", &["x-msdownload"], None),
        ] {
            let inspected = inspect_bytes(bytes).expect("small");
            let declared = Declared { name, description: None, types };
            let made = letter(inspected, declared, LetterContent::Document { number: 1 });
            let made = made.as_ref().ok().map(|letter| (letter.file_name.as_str(), letter.content_type.as_str()));
            assert_eq!(made, expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive_any_split(bytes in prop::collection::vec(any::<u8>(), 1..400), cut in 0usize..600) {
            let encoded = base64::engine::general_purpose::STANDARD.encode(&bytes);
            let cut = cut.min(encoded.len());
            let inspected = inspect_base64([&encoded[..cut], &encoded[cut..]], b'\\').expect("valid base64");
            prop_assert_eq!(inspected, inspect_bytes(&bytes).expect("not empty"));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = inspect_base64([text.as_str()], b'\\');
        }
    }
}
