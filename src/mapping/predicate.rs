//! Predicates of selectors, as far as HL7 v2 and FHIR have them in common: what stands between `[` and `]`, and how it compares.
//!
//! `=` one of `A|B`, where an empty value means an absent one; `!=` none of them; `^=` starts with one of them, `!^=` with
//! none; `$=` ends with one.

/// `=A|B`: the operator and the values to the right of a predicate's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equals,
    Differs,
    StartsWith,
    StartsOtherwise,
    EndsWith,
}

/// Longer ones first.
const OPERATORS: [(&str, Operator); 5] = [
    ("!^=", Operator::StartsOtherwise),
    ("!=", Operator::Differs),
    ("^=", Operator::StartsWith),
    ("$=", Operator::EndsWith),
    ("=", Operator::Equals),
];

impl Comparison {
    /// The path of a predicate, and what it is compared with; nothing without an operator.
    pub fn split(predicate: &str) -> Option<(&str, Self)> {
        let (path, rest) = predicate.split_at(predicate.find(['=', '!', '^', '$'])?);
        let (operator, values) =
            OPERATORS.iter().find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)))?;
        let values = values.split('|').map(|value| value.trim().to_owned()).collect();
        Some((path.trim(), Self { operator, values }))
    }

    /// `found`: what is there, nothing that is empty.
    pub fn holds<S: AsRef<str>>(&self, found: &[S]) -> bool {
        let found = found.iter().map(AsRef::as_ref);
        let matches = |wanted: &String| match self.operator {
            Operator::StartsWith | Operator::StartsOtherwise => {
                found.clone().any(|value| value.starts_with(wanted.as_str()))
            }
            Operator::EndsWith => found.clone().any(|value| value.ends_with(wanted.as_str())),
            Operator::Equals | Operator::Differs if wanted.is_empty() => found.len() == 0,
            Operator::Equals | Operator::Differs => found.clone().any(|value| value == wanted),
        };
        self.values.iter().any(matches) != matches!(self.operator, Operator::Differs | Operator::StartsOtherwise)
    }
}

/// What stands between `[` and `]` at the beginning, and what comes after it.
pub fn bracketed(text: &str) -> Result<Option<(&str, &str)>, &'static str> {
    let Some(rest) = text.strip_prefix('[') else { return Ok(None) };
    let (inside, rest) = rest.split_once(']').ok_or("`[` is not closed")?;
    Ok(Some((inside.trim(), rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_is_with_all_that_is_there() {
        for (predicate, found, holds) in [
            ("a=A|B", &["B"][..], true),
            ("a=A|B", &["C"], false),
            ("a=A", &["C", "A"], true),
            ("a=", &[], true),
            ("a=", &["A"], false),
            ("a!=", &["A"], true),
            ("a!=A|B", &["B"], false),
            ("a!=A", &[], true),
            ("a^=Ab", &["Abc"], true),
            ("a^=Ab", &["cAb"], false),
            ("a!^=Ab", &["Abc"], false),
            ("a!^=Ab", &[], true),
            ("a$=bc", &["Abc"], true),
            ("a$=bc", &[], false),
            ("a = A | B ", &["B"], true),
        ] {
            let (path, comparison) = Comparison::split(predicate).expect(predicate);
            assert_eq!((path, comparison.holds(found)), ("a", holds), "{predicate} of {found:?}");
        }
        assert_eq!((Comparison::split("a"), Comparison::split("a!A")), (None, None));
    }

    #[test]
    fn brackets_are_closed() {
        assert_eq!(bracketed("[ a=b ].c"), Ok(Some(("a=b", ".c"))));
        assert_eq!(bracketed(".c"), Ok(None));
        assert_eq!(bracketed("[a=b"), Err("`[` is not closed"));
    }
}
