//! Percent-encoding as it occurs in paths, query strings and forms (RFC 3986, HTML forms).

/// The name-value pairs of a query string or a form; at most 64 of them.
pub fn pairs(text: &str) -> Vec<(String, String)> {
    const PAIRS_MAX: usize = 64;
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .take(PAIRS_MAX)
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " ")))
        })
        .collect()
}

/// Escapes that are not two hexadecimal digits stay as they are; bytes that are not UTF-8 are replaced.
pub fn decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| Some(nibble(hex[0])? << 4 | nibble(hex[1])?)) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Everything but letters, digits and `-._~`.
pub fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes everything");
        }
    }
    out
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_decoded_and_oddities_kept() {
        for (raw, text) in [
            ("%24ers.createReferral", "$ers.createReferral"),
            ("$ers.createReferral", "$ers.createReferral"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("Zo%C3%AB", "Zoë"),
        ] {
            assert_eq!(decoded(raw), text, "{raw}");
        }
        assert_eq!(pairs("a=b+c&d=%2B&&e"), [("a", "b c"), ("d", "+"), ("e", "")].map(|(n, v)| (n.into(), v.into())));
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "\\PC{0,200}") {
            pairs(&text);
            assert_eq!(decoded(&encoded(&text)), text);
            decoded(&text);
        }
    }
}
