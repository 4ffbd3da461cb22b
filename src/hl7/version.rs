//! The versions of the standard that are understood (MSH-12, table 0104).

/// Ordered as published, so that shapes can be chosen with `>=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    V2_3,
    V2_3_1,
    V2_4,
    V2_5,
    V2_5_1,
    V2_6,
    V2_7,
    V2_7_1,
    V2_8,
}

impl Version {
    const ALL: [Self; 9] = [
        Self::V2_3,
        Self::V2_3_1,
        Self::V2_4,
        Self::V2_5,
        Self::V2_5_1,
        Self::V2_6,
        Self::V2_7,
        Self::V2_7_1,
        Self::V2_8,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2_3 => "2.3",
            Self::V2_3_1 => "2.3.1",
            Self::V2_4 => "2.4",
            Self::V2_5 => "2.5",
            Self::V2_5_1 => "2.5.1",
            Self::V2_6 => "2.6",
            Self::V2_7 => "2.7",
            Self::V2_7_1 => "2.7.1",
            Self::V2_8 => "2.8",
        }
    }

    /// Exactly one of the supported versions.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// In whose shape to answer a version that is not supported: the last one not after it, the first one if
    /// it is older than all. What is no version at all gets 2.4, on which UK practice is based.
    pub fn nearest(text: &str) -> Self {
        let Some(wanted) = numbers(text) else { return Self::V2_4 };
        let known = |version: &Self| numbers(version.as_str()).is_some_and(|numbers| numbers <= wanted);
        Self::ALL.into_iter().rev().find(known).unwrap_or(Self::V2_3)
    }
}

fn numbers(text: &str) -> Option<[u32; 3]> {
    let mut numbers = [0; 3];
    for (at, part) in text.split('.').enumerate() {
        *numbers.get_mut(at)? = part.parse().ok()?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsupported_version_is_answered_in_the_nearest_one() {
        for (raw, supported, answered) in [
            ("2.3", true, "2.3"),
            ("2.5.1", true, "2.5.1"),
            ("2.8", true, "2.8"),
            ("2.1", false, "2.3"),
            ("2.5.2", false, "2.5.1"),
            ("2.9", false, "2.8"),
            ("3.0", false, "2.8"),
            ("", false, "2.4"),
            ("2.x", false, "2.4"),
            ("2.3.1.1", false, "2.4"),
        ] {
            assert_eq!(Version::parse(raw).is_some(), supported, "{raw}");
            assert_eq!(Version::nearest(raw).as_str(), answered, "{raw}");
        }
    }
}
