//! Expressions (minijinja) for what selectors and filters cannot say. Sandboxed: no files, no loops without
//! end (fuel), strict about names.

use std::sync::OnceLock;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};

/// Steps one expression may take; the largest shipped one needs under a thousand.
const FUEL: u64 = 50_000;

fn engine() -> &'static Environment<'static> {
    static ENGINE: OnceLock<Environment<'static>> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut engine = Environment::new();
        engine.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        engine.set_fuel(Some(FUEL));
        engine.add_filter("utc", |text: &str| at(text).map(|instant| instant.to_string()));
        engine.add_filter("hl7_time", |text: &str| shown_to_hl7(text));
        engine.add_filter("local_date", |text: &str| local(text).map(|time| time.date().to_string()));
        engine
            .add_filter("weekday", |text: &str| local(text).map(|time| time.strftime("%a").to_string().to_uppercase()));
        engine
    })
}

/// `2026-04-11T13:15:00+01:00`
fn at(text: &str) -> Result<Timestamp, Error> {
    text.parse().map_err(|_| Error::new(ErrorKind::InvalidOperation, "not a time with an offset"))
}

/// `20260411131500+0100`: the same time in HL7 v2, with the offset that it was given.
fn shown_to_hl7(text: &str) -> Result<String, Error> {
    let invalid = || Error::new(ErrorKind::InvalidOperation, "not a time with an offset");
    let instant = at(text)?;
    let pieces = jiff::fmt::temporal::Pieces::parse(text).map_err(|_| invalid())?;
    let offset = pieces.to_numeric_offset().unwrap_or(jiff::tz::Offset::UTC);
    Ok(instant.to_zoned(offset.to_time_zone()).strftime("%Y%m%d%H%M%S%z").to_string())
}

/// As clocks show it where appointments are kept.
fn local(text: &str) -> Result<Zoned, Error> {
    let zone = TimeZone::get("Europe/London").map_err(|_| Error::from(ErrorKind::InvalidOperation))?;
    Ok(at(text)?.to_zoned(zone))
}

/// A compiled expression, without its `{{` and `}}`.
pub struct Expression {
    source: String,
    names: Vec<String>,
    compiled: minijinja::Expression<'static, 'static>,
}

impl Expression {
    /// Compiles; an unknown filter or test is an error here, not at the first message.
    pub fn compile(source: &str) -> Result<Self, String> {
        let source = source.trim();
        let compiled = engine().compile_expression_owned(source.to_owned()).map_err(|error| describe(&error))?;
        for filter in filters_in(source) {
            let probe = format!("''|{filter}");
            if let Err(error) = engine().compile_expression(&probe).and_then(|probe| probe.eval(()))
                && error.kind() == ErrorKind::UnknownFilter
            {
                return Err(format!("unknown filter `{filter}`"));
            }
        }
        let mut names: Vec<String> = compiled.undeclared_variables(false).into_iter().collect();
        names.sort();
        Ok(Self { source: source.to_owned(), names, compiled })
    }

    /// The top-level names it uses, as far as the engine tells: it passes over those in a slice (`now[:10]`).
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the name stands in it as a word: then it may be needed.
    pub fn mentions(&self, name: &str) -> bool {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        self.source.split(|c: char| !is_word(c)).any(|word| word == name)
    }

    /// `None` when the result is undefined.
    pub fn evaluate(&self, context: Value) -> Result<Option<serde_json::Value>, String> {
        let value = self.compiled.eval(context).map_err(|error| describe(&error))?;
        if value.is_undefined() {
            return Ok(None);
        }
        serde_json::to_value(&value).map(Some).map_err(|_| "the result is not JSON".to_owned())
    }

    pub fn source(&self) -> &str {
        &self.source
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Expression({})", self.source)
    }
}

/// Kind and detail; the detail names variables and filters, never values.
fn describe(error: &Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::SyntaxError | ErrorKind::UnknownFilter | ErrorKind::UnknownTest, Some(detail)) => {
            format!("{}: {detail}", error.kind())
        }
        (kind, _) => kind.to_string(),
    }
}

/// Names after a `|`, outside of quotes.
fn filters_in(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut quote = None;
    for (at, c) in source.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == '|' => {
                let name: String = source[at + 1..]
                    .trim_start()
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                if !name.is_empty() {
                    names.push(name);
                }
            }
            None => {}
        }
    }
    names
}

/// An error's text at the start of a sentence.
pub fn upper_first(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_found_when_compiling() {
        for (source, expected) in
            [("a |", "syntax error"), ("a | flibber", "unknown filter `flibber`"), ("'x | y' ~ a | upper", "")]
        {
            match Expression::compile(source) {
                Ok(_) => assert_eq!(expected, "", "{source}"),
                Err(error) => assert!(!expected.is_empty() && error.contains(expected), "{source}: {error}"),
            }
        }
    }

    #[test]
    fn nothing_can_be_made_without_bound() {
        for source in ["range(100000000)", "'x' * 10000000000"] {
            let bounded = Expression::compile(source).map(|expression| expression.evaluate(minijinja::context! {}));
            assert!(!matches!(bounded, Ok(Ok(_))), "{source} was evaluated");
        }
    }

    #[test]
    fn times_are_compared_by_instant_and_asked_for_their_day_where_appointments_are_kept() {
        for (source, expected) in [
            ("'2026-07-11T00:15:00+01:00' | utc", "2026-07-10T23:15:00Z"),
            ("'2026-07-10T23:15:00Z' | local_date", "2026-07-11"),
            ("'2026-04-11T13:15:00+01:00' | hl7_time", "20260411131500+0100"),
            ("'2026-07-10T23:15:00Z' | hl7_time", "20260710231500+0000"),
            ("'2026-07-10T23:15:00.000Z' | weekday", "SAT"),
        ] {
            let found = Expression::compile(source).expect("compiles").evaluate(minijinja::context! {});
            assert_eq!(found, Ok(Some(expected.into())), "{source}");
        }
        let refused = Expression::compile("'soon' | utc").expect("compiles").evaluate(minijinja::context! {});
        assert!(refused.is_err_and(|why| !why.contains("soon")));
    }

    #[test]
    fn undefined_is_told_apart_from_empty() {
        let expression = Expression::compile("a.b").expect("compiles");
        assert_eq!(expression.evaluate(minijinja::context! { a => minijinja::context! {} }), Ok(None));
        assert_eq!(expression.names(), ["a"]);
    }

    #[test]
    fn a_name_in_a_slice_is_mentioned_too() {
        let expression = Expression::compile("saved.from[:19] <= now[:19]").expect("compiles");
        assert!(expression.mentions("saved") && expression.mentions("now"));
        assert!(!expression.mentions("save") && !expression.mentions("reply"));
    }
}
