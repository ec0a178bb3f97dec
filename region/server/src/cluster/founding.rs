//! What a node without a number does: found the region, join it, or wait.
//!
//! **What**  Pure decisions on what the other addresses answered (ADR 0009 §2).
//!
//! **Invariants**
//! - I1  a region is founded only by the first of the founders, and only when every other founder has answered that it is
//!   empty: a founder whose disk was wiped meets the members and joins them as a new node.

use base::RegionName;
use serde::{Deserialize, Serialize};

/// What a node says when it is asked how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    /// It has no number yet.
    Empty,
    /// It belongs to the region.
    Member,
}

/// Why an address did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoAnswer {
    pub(crate) reason: String,
    /// Its certificates and this node's are not of one region: waiting changes nothing.
    pub(crate) foreign: bool,
}

impl From<String> for NoAnswer {
    fn from(reason: String) -> Self {
        Self { reason, foreign: false }
    }
}

/// What one address answered, or why it did not.
pub(crate) type Asked = (String, Result<(RegionName, Standing), NoAnswer>);

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Found,
    /// Ask this member for a number.
    Join(String),
    /// Ask again; the text says whom the region waits for.
    Wait(String),
    /// This can never work; the text says what to change.
    Refuse(String),
}

/// Decides. `first` says whether this node is the first of the configured founders; `others` are all other configured
/// addresses.
pub(crate) fn decide(region: &RegionName, first: bool, others: &[Asked]) -> Decision {
    for (address, answer) in others {
        match answer {
            Ok((found, _)) if found != region => {
                return Decision::Refuse(format!(
                    "{address} is a node of region {found}, and this one is of region {region}: correct [node] founders"
                ));
            }
            Ok((_, Standing::Member)) => return Decision::Join(address.clone()),
            Ok((_, Standing::Empty)) | Err(_) => (),
        }
    }
    let silent = || others.iter().filter_map(|(address, answer)| Some((address, answer.as_ref().err()?)));
    if let Some((address, silent)) = silent().find(|(_, silent)| silent.foreign) {
        return Decision::Refuse(format!("{address} and this node cannot be of one region: {}", silent.reason));
    }
    let missing: Vec<String> = silent().map(|(address, silent)| format!("{address} ({})", silent.reason)).collect();
    if first && missing.is_empty() {
        return Decision::Found; // I1
    }
    if missing.is_empty() {
        return Decision::Wait("the first of the founders has not founded the region yet".to_owned());
    }
    Decision::Wait(format!("these nodes do not answer: {}", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn east() -> RegionName {
        RegionName::parse("east").unwrap()
    }

    fn asked(answers: &[(&str, Option<Standing>)]) -> Vec<Asked> {
        let answer = |standing: &Option<Standing>| match standing {
            Some(standing) => Ok((east(), standing.clone())),
            None => Err("connection refused".to_owned().into()),
        };
        answers.iter().map(|(address, standing)| ((*address).to_owned(), answer(standing))).collect()
    }

    #[test]
    fn i1_only_the_first_founder_founds_and_only_when_all_others_are_empty() {
        let all_empty = asked(&[("b:1", Some(Standing::Empty)), ("c:1", Some(Standing::Empty))]);
        assert_eq!(decide(&east(), true, &all_empty), Decision::Found);
        assert!(matches!(decide(&east(), false, &all_empty), Decision::Wait(_)));
        let one_silent = asked(&[("b:1", Some(Standing::Empty)), ("c:1", None)]);
        assert_eq!(
            decide(&east(), true, &one_silent),
            Decision::Wait("these nodes do not answer: c:1 (connection refused)".to_owned())
        );
    }

    #[test]
    fn i1_a_wiped_first_founder_joins_what_it_founded() {
        let others = asked(&[("b:1", None), ("c:1", Some(Standing::Member))]);
        assert_eq!(decide(&east(), true, &others), Decision::Join("c:1".to_owned()));
    }

    #[test]
    fn wrong_certificates_are_refused_unless_another_address_is_a_member() {
        let foreign = NoAnswer { reason: "another authority".to_owned(), foreign: true };
        let mut others = vec![("b:1".to_owned(), Err(foreign))];
        let Decision::Refuse(text) = decide(&east(), true, &others) else { panic!("it waits") };
        assert_eq!(text, "b:1 and this node cannot be of one region: another authority");
        others.extend(asked(&[("c:1", Some(Standing::Member))]));
        assert_eq!(decide(&east(), true, &others), Decision::Join("c:1".to_owned()));
    }

    #[test]
    fn a_node_of_another_region_is_refused_by_name() {
        let west = RegionName::parse("west").unwrap();
        let others = vec![("b:1".to_owned(), Ok((west, Standing::Member)))];
        let Decision::Refuse(text) = decide(&east(), true, &others) else { panic!("it was taken") };
        assert!(text.contains("b:1 is a node of region west"), "{text}");
    }
}
