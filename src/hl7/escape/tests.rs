use encoding_rs::{UTF_8, WINDOWS_1252};
use proptest::prelude::*;

use super::*;

#[test]
fn escape_sequences_become_what_they_stand_for() {
    for (raw, text) in [
        (r"Marks \T\ Spencer", "Marks & Spencer"),
        (r"\F\\S\\T\\R\\E\\P\", r"|^&~\#"),
        (r"Zoë \F\ Siân", "Zoë | Siân"), // letters wider than one byte before an escape
        (r"ëë\T\", "ëë&"),
        (r"café\.br\x", "café\nx"),
        (r"C:\", r"C:\"),                         // unterminated: kept as sent
        (r"C:\ and \T\ more", r"C:\ and & more"), // a lone mark does not swallow the next sequence
        (r"a\\b", r"a\\b"),
        (r"\H\bold\N\ plain", "bold plain"),
        (r"\X48656C6c6F\", "Hello"),
        (r"\X41420D0A\", "AB\r\n"),
        (r"\XC3\\XA9\", "é"), // a letter spread over two sequences
        (r"\XC3A9\", "é"),
        (r"\X41\\XFF\", r"\X41\\XFF\"), // no UTF-8: all of it kept
        (r"\XZZ\ \X4\ \X\ \X41\\XZZ\", r"\XZZ\ \X4\ \X\ A\XZZ\"),
        (r"one\.br\two\.sp\three\.sp2\four\.sp+2\five\.sp 2\six", "one\ntwo\nthree\n\nfour\n\nfive\n\nsix"),
        (r"\.sk3\a\.in+2\b\.ti-2\c\.ce\d\.fi\e\.nf\f", "   a  bc\ndef"),
        (r"\.zz\ \.\ \.b\", r"\.zz\ \.\ \.b\"),
        (r"\Zabc\F\C2842\F\M2442\", r"\Zabc\F\C2842\F\M2442\"), // local and unknown sets keep both marks
        (r"\Q\", r"\Q\"),
        (r"\é\T\", r"\é&"),
        ("", ""),
    ] {
        assert_eq!(unescape(raw, &Delimiters::STANDARD, UTF_8), text, "{raw}");
    }
}

#[test]
fn every_escape_of_the_sample_is_read_or_kept() {
    let bytes = crate::hl7::samples::sample("52");
    let text = String::from_utf8(bytes).expect("the sample is ASCII");
    let message = crate::hl7::Message::parse(&text).expect("the sample is well formed");
    let note = message.segment("NTE").and_then(|nte| nte.field(3)).expect("NTE-3");
    assert_eq!(
        unescape(note.raw(), message.delimiters(), UTF_8),
        "F=| S=^ T=& R=~ E=\\ hex=AB\r\n br=\n sp=\n\n hi=bold skip=    indent=   loc=\\Zabc\\ C=\\C2842\\ M=\\M2442\\ \
         lone=\\ end bad=\\Q\\ hexbad=\\XZZ\\"
    );
}

#[test]
fn hexadecimal_data_is_in_the_charset_of_the_message() {
    assert_eq!(unescape(r"M\XDC\ller", &Delimiters::STANDARD, WINDOWS_1252), "MÜller");
    assert_eq!(unescape(r"M\XDC\ller", &Delimiters::STANDARD, UTF_8), r"M\XDC\ller");
}

#[test]
fn the_senders_own_delimiters_are_used() {
    let delimiters = Delimiters::new(b'$', b"%*?#").expect("distinct punctuation");
    assert_eq!(unescape(r"?F??S??T??R??E? \T\", &delimiters, UTF_8), r"$%#*? \T\");
    assert_eq!(escape("a$b|c?", &delimiters), "a?F?b|c?E?");
}

#[test]
fn only_what_must_be_is_escaped() {
    for (text, raw) in [
        ("plain é \t #", "plain é \t #"),
        ("a|b^c&d~e\\f", r"a\F\b\S\c\T\d\R\e\E\f"),
        ("one\r\ntwo\rthree\nfour", r"one\.br\two\.br\three\.br\four"),
        ("\u{b}\u{1c}", r"\X0B\\X1C\"),
    ] {
        assert_eq!(escape(text, &Delimiters::STANDARD), raw);
    }
}

#[test]
fn text_without_escapes_is_not_copied() {
    assert!(matches!(unescape("plain", &Delimiters::STANDARD, UTF_8), Cow::Borrowed(_)));
    assert!(matches!(escape("plain", &Delimiters::STANDARD), Cow::Borrowed(_)));
}

#[test]
fn formatting_commands_cannot_blow_text_up() {
    let text = unescape(r"\.sp999999999\\.sk2147483648\\.in-5\", &Delimiters::STANDARD, UTF_8).into_owned();
    assert_eq!(text, format!("{}{}", "\n".repeat(64), r"\.sk2147483648\"));
}

#[test]
fn hostile_escapes_take_linear_time() {
    for unit in [r"\", r"\X", r"\X41\", r"\XC3\", r"\T", r"\.sp", "\\ "] {
        let raw = unit.repeat(4_000_000 / unit.len());
        let began = std::time::Instant::now();
        let text = unescape(&raw, &Delimiters::STANDARD, UTF_8);
        assert!(text.len() <= raw.len() * 64);
        assert!(began.elapsed().as_secs() < 10, "{unit} took {:?}", began.elapsed());
    }
}

proptest! {
    #[test]
    fn what_is_escaped_is_read_back(text in any::<String>()) {
        let escaped = escape(&text, &Delimiters::STANDARD);
        prop_assert!(!escaped.bytes().any(|b| b"|^~&\r\n\x0b\x1c".contains(&b)));
        let lines = text.replace("\r\n", "\n").replace('\r', "\n");
        prop_assert_eq!(unescape(&escaped, &Delimiters::STANDARD, UTF_8), lines);
    }

    #[test]
    fn no_text_makes_unescaping_panic(raw in r"([\\a-zA-Z0-9. +&|é]|\\X[0-9A-F]{0,6}\\|\\\.[a-z]{2}[+-]?[0-9]{0,12}\\){0,40}") {
        let text = unescape(&raw, &Delimiters::STANDARD, UTF_8);
        prop_assert!(raw.contains('\\') || text == raw);
    }
}
