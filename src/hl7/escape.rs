//! Escape sequences (`reference.md` 7.1): always undone after splitting, never before.

use std::borrow::Cow;

use encoding_rs::Encoding;
use memchr::memchr;

use super::Delimiters;

/// Spaces or lines that one formatting command may make, so that `\.sp99999999\` stays small.
const FORMATTING_MAX: usize = 64;

/// The two quote characters: the sender asks to delete the stored value.
pub fn is_null(raw: &str) -> bool {
    raw == "\"\""
}

/// The text that `raw` stands for. `hex` is the charset of the message, in which `\Xhh..\` is read.
///
/// `\H\` and `\N\` are dropped; line commands become line ends, indents and skips become spaces. What is
/// unknown, local, malformed or unterminated is kept as sent: nothing is lost.
pub fn unescape<'a>(raw: &'a str, delimiters: &Delimiters, hex: &'static Encoding) -> Cow<'a, str> {
    let Some(first) = memchr(delimiters.escape, raw.as_bytes()) else { return Cow::Borrowed(raw) };
    let mut text = String::with_capacity(raw.len());
    text.push_str(&raw[..first]);
    let mut rest = &raw[first..];
    // `rest` starts at an escape character, or is empty.
    while let Some(sequence) = Sequence::at(rest, delimiters) {
        let taken = match sequence {
            Sequence::Lone => {
                text.push(char::from(delimiters.escape));
                1
            }
            Sequence::Known { content, length } => {
                if content.starts_with('X') {
                    push_hex(&mut text, rest, delimiters, hex)
                } else {
                    push_content(&mut text, content, delimiters, &rest[..length]);
                    length
                }
            }
        };
        rest = &rest[taken..];
        let plain = memchr(delimiters.escape, rest.as_bytes()).unwrap_or(rest.len());
        text.push_str(&rest[..plain]);
        rest = &rest[plain..];
    }
    Cow::Owned(text)
}

/// What an escape character begins.
enum Sequence<'a> {
    /// `\content\`, `length` bytes in all.
    Known { content: &'a str, length: usize },
    /// A character that a sender forgot to escape: no end, or what lies before the next one is no command
    /// (`C:\ and \T\`). Reading goes on right behind it.
    Lone,
}

impl<'a> Sequence<'a> {
    fn at(rest: &'a str, delimiters: &Delimiters) -> Option<Self> {
        let (&escape, inside) = rest.as_bytes().split_first()?;
        debug_assert_eq!(escape, delimiters.escape);
        let Some(end) = memchr(delimiters.escape, inside) else { return Some(Self::Lone) };
        let content = &rest[1..=end];
        Some(if is_command(content) { Self::Known { content, length: end + 2 } } else { Self::Lone })
    }
}

/// A letter followed by letters, digits and signs, or a formatting command, which may hold a space.
fn is_command(content: &str) -> bool {
    match content.as_bytes() {
        [b'.', command @ ..] => {
            !command.is_empty() && command.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'+' | b'-'))
        }
        [letter, rest @ ..] => letter.is_ascii_alphabetic() && rest.iter().all(u8::is_ascii_graphic),
        [] => false,
    }
}

fn push_content(text: &mut String, content: &str, delimiters: &Delimiters, as_sent: &str) {
    let character = match content {
        "F" => delimiters.field,
        "S" => delimiters.component,
        "T" => delimiters.subcomponent,
        "R" => delimiters.repetition,
        "E" => delimiters.escape,
        "P" => b'#', // the truncation character as table 0397 recommends it
        "H" | "N" => return,
        _ => {
            let formatted = content.strip_prefix('.').is_some_and(|command| push_formatting(text, command));
            if !formatted {
                text.push_str(as_sent);
            }
            return;
        }
    };
    text.push(char::from(character));
}

/// Carries out a formatting command of FT data; false if it is none.
fn push_formatting(text: &mut String, command: &str) -> bool {
    let Some((name, argument)) = command.split_at_checked(2) else { return false };
    let argument = argument.trim_start_matches([' ', '+']);
    let count = if argument.is_empty() { Some(1) } else { argument.parse::<i32>().ok() };
    let Some(count) = count else { return false };
    let count = usize::try_from(count).unwrap_or(0).min(FORMATTING_MAX);
    let (what, count) = match name {
        "br" | "ce" => ('\n', 1),
        "sp" => ('\n', count.max(1)),
        "sk" | "in" | "ti" => (' ', count),
        "fi" | "nf" => (' ', 0),
        _ => return false,
    };
    text.extend(std::iter::repeat_n(what, count));
    true
}

/// Hexadecimal data, together with what directly follows it, since a character may be spread over several
/// sequences. Kept as sent if it is not text in the charset. Returns the bytes of `rest` used.
fn push_hex(text: &mut String, rest: &str, delimiters: &Delimiters, hex: &'static Encoding) -> usize {
    let mut bytes = Vec::new();
    let mut used = 0;
    while let Some(Sequence::Known { content, length }) = rest[used..]
        .starts_with(char::from(delimiters.escape))
        .then(|| Sequence::at(&rest[used..], delimiters))
        .flatten()
    {
        let Some(digits) = content.strip_prefix('X') else { break };
        let before = bytes.len();
        if !push_bytes(&mut bytes, digits) {
            bytes.truncate(before);
            if used == 0 {
                used = length;
            }
            break;
        }
        used += length;
    }
    match hex.decode_without_bom_handling_and_without_replacement(&bytes) {
        Some(decoded) if !bytes.is_empty() => text.push_str(&decoded),
        _ => text.push_str(&rest[..used]),
    }
    used
}

fn push_bytes(bytes: &mut Vec<u8>, digits: &str) -> bool {
    let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
    if pairs.is_empty() || !odd.is_empty() {
        return false;
    }
    for [high, low] in pairs {
        let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16)) else {
            return false;
        };
        bytes.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits"));
    }
    true
}

/// `text` as it may stand in a field: delimiters as escape sequences, line ends as `\.br\`, and the block
/// characters of MLLP as hexadecimal. Everything else stays as it is.
pub fn escape<'a>(text: &'a str, delimiters: &Delimiters) -> Cow<'a, str> {
    let Some(first) = text.bytes().position(|byte| must_be_escaped(byte, delimiters)) else {
        return Cow::Borrowed(text);
    };
    let mut raw = String::with_capacity(text.len() + 16);
    raw.push_str(&text[..first]);
    let mut characters = text[first..].chars().peekable();
    let mark = char::from(delimiters.escape);
    while let Some(character) = characters.next() {
        let content = match character {
            '\r' => {
                if characters.peek() == Some(&'\n') {
                    characters.next();
                }
                ".br"
            }
            '\n' => ".br",
            '\u{b}' => "X0B",
            '\u{1c}' => "X1C",
            c if c == char::from(delimiters.field) => "F",
            c if c == char::from(delimiters.component) => "S",
            c if c == char::from(delimiters.subcomponent) => "T",
            c if c == char::from(delimiters.repetition) => "R",
            c if c == mark => "E",
            c => {
                raw.push(c);
                continue;
            }
        };
        raw.push(mark);
        raw.push_str(content);
        raw.push(mark);
    }
    Cow::Owned(raw)
}

fn must_be_escaped(byte: u8, delimiters: &Delimiters) -> bool {
    let Delimiters { field, component, repetition, escape, subcomponent } = *delimiters;
    [b'\r', b'\n', 0x0b, 0x1c, field, component, repetition, escape, subcomponent].contains(&byte)
}

#[cfg(test)]
mod tests;
