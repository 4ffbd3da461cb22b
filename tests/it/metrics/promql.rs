//! What an expression of Prometheus names: its series with the labels asked of them, and the labels that it groups by.

/// Words before which or after which no series stands.
const WORDS: [&str; 24] = [
    "sum",
    "max",
    "min",
    "avg",
    "count",
    "topk",
    "bottomk",
    "quantile",
    "group",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "and",
    "or",
    "unless",
    "bool",
    "offset",
    "inf",
    "nan",
    "start",
    "end",
];
/// Words whose parentheses hold labels.
const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Names of series, each with the labels of its braces.
    pub series: Vec<(String, Vec<String>)>,
    /// Labels in `by (…)`, `on (…)` and their like.
    pub grouped: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Sign(char),
}

/// Strings, numbers, durations, variables of Grafana and comments are left out.
fn tokens(expression: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = expression.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' | '\'' => {
                while let Some(inside) = rest.next() {
                    match inside {
                        '\\' => drop(rest.next()),
                        end if end == c => break,
                        _ => {}
                    }
                }
            }
            '#' => while rest.next_if(|c| *c != '\n').is_some() {},
            c if c.is_ascii_alphabetic() || c == '_' || c == ':' => {
                let mut word = String::from(c);
                while let Some(next) = rest.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':')) {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
            c if c.is_ascii_digit() || c == '$' => {
                while rest.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')).is_some() {}
            }
            c if c.is_whitespace() => {}
            c => tokens.push(Token::Sign(c)),
        }
    }
    tokens
}

pub fn named(expression: &str) -> Named {
    let tokens = tokens(expression);
    let sign = |at: usize| match tokens.get(at) {
        Some(Token::Sign(sign)) => Some(*sign),
        _ => None,
    };
    let mut found = Named::default();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        let Token::Word(word) = token else {
            assert!(*token != Token::Sign('{'), "braces without a name before them: {expression}");
            continue;
        };
        if GROUPING.contains(&word.as_str()) {
            at += 1;
            while let Some(Token::Word(label)) = tokens.get(at) {
                found.grouped.push(label.clone());
                at += if sign(at + 1) == Some(',') { 2 } else { 1 };
            }
        } else if sign(at) == Some('{') {
            let mut labels = Vec::new();
            while sign(at) != Some('}') {
                at += 1;
                if let Some(Token::Word(label)) = tokens.get(at) {
                    labels.push(label.clone());
                }
                assert!(at < tokens.len(), "braces without an end: {expression}");
            }
            found.series.push((word.clone(), labels));
        } else if sign(at) != Some('(') && !WORDS.contains(&word.to_ascii_lowercase().as_str()) {
            found.series.push((word.clone(), Vec::new()));
        }
    }
    found
}

#[test]
fn series_labels_and_groups_are_found_in_an_expression() {
    for (expression, series, grouped) in [
        ("up == 0", vec![("up", vec![])], vec![]),
        (
            r#"sum by (job, state) (gateway_commands{state=~"queued|{x}", class!="bulk"}) > 0.5"#,
            vec![("gateway_commands", vec!["state", "class"])],
            vec!["job", "state"],
        ),
        (
            "histogram_quantile(0.95, sum by (le) (rate(gateway_call_duration_seconds_bucket[$__rate_interval])))",
            vec![("gateway_call_duration_seconds_bucket", vec![])],
            vec!["le"],
        ),
        (
            "job:a:max offset 1h unless on () up{job=\"ers-gateway\"} # and gone",
            vec![("job:a:max", vec![]), ("up", vec!["job"])],
            vec![],
        ),
    ] {
        let named = named(expression);
        let expected = series.into_iter().map(|(name, labels): (&str, Vec<&str>)| {
            (name.to_owned(), labels.into_iter().map(str::to_owned).collect::<Vec<_>>())
        });
        assert_eq!(named.series, expected.collect::<Vec<_>>(), "{expression}");
        assert_eq!(named.grouped, grouped, "{expression}");
    }
}
