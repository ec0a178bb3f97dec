//! What a grant allows, in Pulsar's words.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing that a role may be allowed to do in a namespace or on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Produce,
    Consume,
    Functions,
    Sources,
    Sinks,
    Packages,
}

/// A text that names no action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown action '{0}': use produce, consume, functions, sources, sinks or packages")]
pub struct UnknownAction(pub String);

impl Action {
    pub const ALL: [Self; 6] =
        [Self::Produce, Self::Consume, Self::Functions, Self::Sources, Self::Sinks, Self::Packages];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Consume => "consume",
            Self::Functions => "functions",
            Self::Sources => "sources",
            Self::Sinks => "sinks",
            Self::Packages => "packages",
        }
    }

    /// # Errors
    /// [`UnknownAction`] with at most 64 characters of the text.
    pub fn parse(text: &str) -> Result<Self, UnknownAction> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| UnknownAction(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_one_word_for_text_and_json() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Ok(action));
            assert_eq!(serde_json::to_string(&action).unwrap(), format!("\"{action}\""));
        }
        assert!(Action::parse("Produce").is_err());
    }
}
