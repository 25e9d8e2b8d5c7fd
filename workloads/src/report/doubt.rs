//! Why a run proves less than it should.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A reason for which a run is `unknown`, whatever its checks concluded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Doubt {
    /// Of which kind.
    pub kind: DoubtKind,
    /// What happened, in one sentence.
    pub sentence: String,
}

impl Doubt {
    /// A doubt of this kind.
    pub fn new(kind: DoubtKind, sentence: impl Into<String>) -> Doubt {
        Doubt { kind, sentence: sentence.into() }
    }
}

/// The kinds of doubt. None of them says anything against the store, and they are never mixed up with an
/// anomaly, nor with a check that could not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DoubtKind {
    /// The store was not to be had: the cluster did not start, or no member answered.
    NoStore,
    /// A planned fault did not take effect, or that could not be shown.
    FaultWithoutEffect,
    /// A fault could not be undone, or that could not be shown.
    NotHealed,
    /// Once healed, the members did not come to agree within the time that they had.
    NotSettled,
    /// Answers broke the API's contract, so that nobody knows what they mean.
    MalformedAnswers,
    /// The run was told to stop before its end.
    Interrupted,
    /// The harness itself failed.
    HarnessError,
}

impl DoubtKind {
    /// Every kind.
    pub const ALL: [DoubtKind; 7] = [
        DoubtKind::NoStore,
        DoubtKind::FaultWithoutEffect,
        DoubtKind::NotHealed,
        DoubtKind::NotSettled,
        DoubtKind::MalformedAnswers,
        DoubtKind::Interrupted,
        DoubtKind::HarnessError,
    ];

    /// Its name, as in `results.json` and in `junit.xml`.
    pub fn name(self) -> &'static str {
        match self {
            DoubtKind::NoStore => "no-store",
            DoubtKind::FaultWithoutEffect => "fault-without-effect",
            DoubtKind::NotHealed => "not-healed",
            DoubtKind::NotSettled => "not-settled",
            DoubtKind::MalformedAnswers => "malformed-answers",
            DoubtKind::Interrupted => "interrupted",
            DoubtKind::HarnessError => "harness-error",
        }
    }
}

impl fmt::Display for DoubtKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_name_everywhere() {
        for kind in DoubtKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
