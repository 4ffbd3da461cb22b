//! One measured number beside what is asked of it.

use serde_json::{Value, json};

use crate::cli::table::table;

pub(super) struct Figure {
    pub what: String,
    pub value: f64,
    pub unit: &'static str,
    pub target: Option<Target>,
    /// What would have to be faster for this to be better, as far as the measurement shows it.
    pub limited_by: String,
}

#[derive(Clone, Copy)]
pub(super) enum Target {
    AtLeast(f64),
    LessThan(f64),
}

impl Figure {
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, target: None, limited_by: String::new() }
    }

    pub fn at_least(self, target: f64) -> Self {
        Self { target: Some(Target::AtLeast(target)), ..self }
    }

    pub fn less_than(self, target: f64) -> Self {
        Self { target: Some(Target::LessThan(target)), ..self }
    }

    pub fn limited_by(self, limited_by: impl Into<String>) -> Self {
        Self { limited_by: limited_by.into(), ..self }
    }

    /// `None` where nothing is asked.
    fn is_reached(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtLeast(target) => self.value >= target,
            Target::LessThan(target) => self.value < target,
        })
    }

    fn verdict(&self) -> &'static str {
        match self.is_reached() {
            None => "",
            Some(true) => "reached",
            Some(false) => "not reached",
        }
    }
}

impl Target {
    fn shown(self, unit: &str) -> String {
        match self {
            Self::AtLeast(target) => format!("at least {}", shown(target, unit)),
            Self::LessThan(target) => format!("under {}", shown(target, unit)),
        }
    }
}

fn shown(value: f64, unit: &str) -> String {
    let number = if value >= 100.0 {
        grouped(value.round())
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    };
    if unit.starts_with('/') { format!("{number}{unit}") } else { format!("{number} {unit}") }
}

/// 12345 as 12,345.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn to_table(figures: &[Figure]) -> String {
    let rows: Vec<Vec<String>> = figures
        .iter()
        .map(|figure| {
            vec![
                figure.what.clone(),
                figure.target.map(|target| target.shown(figure.unit)).unwrap_or_default(),
                shown(figure.value, figure.unit),
                figure.verdict().to_owned(),
                figure.limited_by.clone(),
            ]
        })
        .collect();
    table(&["what", "target", "figure", "verdict", "limited by"], &rows)
}

pub(super) fn to_json(figures: &[Figure]) -> String {
    let figures: Vec<Value> = figures
        .iter()
        .map(|figure| {
            let (at_least, less_than) = match figure.target {
                Some(Target::AtLeast(target)) => (Some(target), None),
                Some(Target::LessThan(target)) => (None, Some(target)),
                None => (None, None),
            };
            json!({
                "what": figure.what,
                "value": figure.value,
                "unit": figure.unit,
                "atLeast": at_least,
                "lessThan": less_than,
                "reached": figure.is_reached(),
                "limitedBy": figure.limited_by,
            })
        })
        .collect();
    format!("{:#}", json!({ "version": env!("CARGO_PKG_VERSION"), "figures": figures }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_judged_by_its_target() {
        assert_eq!(Figure::new("rate", 5_000.0, "/s").at_least(5_000.0).verdict(), "reached");
        assert_eq!(Figure::new("rate", 4_999.0, "/s").at_least(5_000.0).verdict(), "not reached");
        assert_eq!(Figure::new("memory", 60.0, "MB").less_than(60.0).verdict(), "not reached");
        assert_eq!(Figure::new("rate", 1.0, "/s").verdict(), "");
    }

    #[test]
    fn numbers_are_as_exact_as_they_are_worth() {
        for (value, unit, text) in [
            (1_234_567.8, "/s", "1,234,568/s"),
            (999.6, "/s", "1,000/s"),
            (29.96, "ms", "30.0 ms"),
            (0.5, "s", "0.50 s"),
        ] {
            assert_eq!(shown(value, unit), text);
        }
    }
}
