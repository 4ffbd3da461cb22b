//! How the story looks: plain words, one line a fact, colour only where a person sees it.

use std::io::Write;
use std::time::Instant;

use super::super::send::acknowledgement::Verdict;
use super::scenes::Scene;
use super::stage::Stage;

pub struct Teller {
    out: Box<dyn Write + Send>,
    in_colour: bool,
    /// Of the scene; times are shown since then.
    started: Instant,
}

#[derive(Clone, Copy)]
enum Colour {
    Bold,
    Dim,
    Green,
    Yellow,
    Red,
    Cyan,
    Plain,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "1;31",
            Self::Cyan => "36",
            Self::Plain => "0",
        }
    }
}

impl Teller {
    pub fn new(out: Box<dyn Write + Send>, in_colour: bool) -> Self {
        Self { out, in_colour, started: Instant::now() }
    }

    /// A reader that closes the pipe does not stop the story: its outcome still counts.
    fn line(&mut self, colour: Colour, text: &str) {
        let _ = if self.in_colour {
            writeln!(self.out, "\x1b[{}m{text}\x1b[0m", colour.code())
        } else {
            writeln!(self.out, "{text}")
        };
        let _ = self.out.flush();
    }

    fn fact(&mut self, colour: Colour, sign: &str, text: &str) {
        let time = format!("{:>7} ms", self.started.elapsed().as_millis());
        self.line(colour, &format!("  {time}  {sign} {text}"));
    }

    pub fn opening(&mut self, stage: &Stage) {
        self.line(Colour::Bold, "ers-gateway: five hospitals, one gateway, and e-RS in a box");
        self.line(
            Colour::Dim,
            &format!("Everything here is invented. The gateway was ready after {} ms.", stage.ready_after.as_millis()),
        );
    }

    pub fn scene(&mut self, number: usize, scene: &Scene) {
        self.line(Colour::Plain, "");
        self.line(Colour::Bold, &format!("{number}. {}", scene.title));
        self.line(Colour::Dim, &format!("   {}", scene.shows));
        self.started = Instant::now();
    }

    pub fn sent(&mut self, scene: &Scene, message: &[u8]) {
        let header = String::from_utf8_lossy(message.split(|b| *b == b'\r').next().unwrap_or_default()).into_owned();
        let field = |number: usize| header.split('|').nth(number - 1).unwrap_or_default().to_owned();
        let kind = field(9).split('^').take(2).collect::<Vec<_>>().join("^");
        let text = format!(
            "{} sends {kind} (HL7 v{}, {} bytes) over {}",
            scene.sender,
            field(12),
            message.len(),
            scene.way.name()
        );
        self.fact(Colour::Plain, "→", &text);
    }

    pub fn answered(&mut self, answer: &Verdict) {
        let colour = if answer.accepted { Colour::Green } else { Colour::Yellow };
        let meaning = match answer.code.as_str() {
            "AA" | "CA" => "it is on disk and will not be lost",
            _ => "refused, and kept",
        };
        self.fact(colour, "←", &format!("{}: {meaning}", answer.code));
        for error in &answer.errors {
            self.line(Colour::Yellow, &format!("                 {error}"));
        }
    }

    pub fn call(&mut self, call: &str, name: &str, status: u16, milliseconds: u64) {
        let colour = if (200..300).contains(&status) { Colour::Cyan } else { Colour::Yellow };
        self.fact(colour, "⇢", &format!("e-RS {call} {name}: {status} in {milliseconds} ms"));
    }

    pub fn event(&mut self, name: &str, ubrn: Option<&str>) {
        let about = ubrn.map(|ubrn| format!(", UBRN {}", in_fours(ubrn))).unwrap_or_default();
        self.fact(Colour::Green, "✦", &format!("event {name}{about}"));
    }

    pub fn complaint(&mut self, text: &str) {
        self.fact(Colour::Red, "✗", text);
    }

    pub fn closing(&mut self, stage: &Stage, went_wrong: &[String]) {
        self.line(Colour::Plain, "");
        if went_wrong.is_empty() {
            self.line(Colour::Bold, "Every scene went as it should: nothing lost, nothing twice.");
        } else {
            self.line(Colour::Red, "Some of it went wrong:");
            for text in went_wrong {
                self.line(Colour::Red, &format!("  {text}"));
            }
        }
        self.line(Colour::Plain, "");
        self.line(Colour::Bold, "Where things are");
        for (what, place) in stage.places() {
            self.line(Colour::Plain, &format!("  {what:<22} {place}"));
        }
    }

    pub fn stays_up(&mut self) {
        self.line(Colour::Plain, "");
        self.line(Colour::Dim, "All of it stays up until Ctrl-C. Send something yourself from another terminal.");
    }
}

/// As UBRNs are printed for patients: 0000 0007 0123.
fn in_fours(ubrn: &str) -> String {
    let digits: Vec<char> = ubrn.chars().collect();
    digits.chunks(4).map(|four| four.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ubrn_is_told_as_it_is_printed() {
        assert_eq!(in_fours("000000070123"), "0000 0007 0123");
    }
}
