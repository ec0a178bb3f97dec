//! What the nodes of a region ask each other for admin requests about topics of several owners.
//!
//! **What**  A *question* is one topic, what to do with it, and how new the metadata is that the asker knows; the answer is the
//! broker's reply. Both are JSON.
//!
//! **States**  A question of another node here: catching up with the asker's metadata → finding the owner → running → answered.
//!
//! **Invariants**
//! - I1  a question is carried out only by a node that serves its topic, and not before that node knows what the asker knew;
//!   any other answers that the topic has moved, and does nothing.
//! - I2  an answer reaches the process that asked, once: the numbers that come back are those of its start.
//! - I3  at most [`QUESTIONS_MAX`] questions of others are under way here, each for at most [`QUESTION_TIME_MAX`]; an answer
//!   has at most [`ANSWER_BYTES_MAX`].
//! - I4  what this node asks is answered within [`ASK_TIME_MAX`], by the other node or here.
//!
//! **Not here**  Whether the client may: the node that took the request has checked, and connections between nodes are theirs
//! alone (`peer`). Who is asked (`elsewhere`).

use crate::AdminEffect;
use base::{Mono, NodeId, Now, TopicName, earliest};
use broker::Broker;
use broker::admin_command::{AdminCommand, AdminFailure, AdminReply, FailureKind, TopicOp};
use broker::io::AdminId;
use bytes::Bytes;
use cluster::Owner;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest wait for another node's answer.
pub(crate) const ASK_TIME_MAX: Duration = Duration::from_secs(15);
/// Longest that this node works on a question of another.
pub(crate) const QUESTION_TIME_MAX: Duration = Duration::from_secs(10);
/// Questions of other nodes under way here.
pub(crate) const QUESTIONS_MAX: usize = 4096;
/// Largest answer, in bytes: the stats of a topic with some thousand consumers.
pub(crate) const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Who asks, and under which number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    pub node: NodeId,
    /// Of the asking process.
    pub incarnation: u64,
    pub id: u64,
}

/// What one node wants of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    /// The revision of the metadata that the asker knows.
    pub revision: u64,
    pub topic: TopicName,
    pub op: TopicOp,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    node: NodeId,
    deadline: Mono,
}

#[derive(Debug)]
struct Answering {
    asker: Asker,
    deadline: Mono,
    question: Question,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    CatchingUp,
    Finding,
    Running,
}

/// Questions in both directions, by numbers of this node that grow with time.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    asked: BTreeMap<u64, Asked>,
    answering: BTreeMap<u64, Answering>,
}

impl Asks {
    // ── Asking

    /// Asks a node what a command wants; only commands about topics go to other nodes.
    pub(crate) fn ask(
        &mut self,
        now: Now,
        number: u64,
        to: NodeId,
        command: AdminCommand,
        broker: &Broker,
    ) -> AdminEffect {
        let AdminCommand::Topic { topic, op } = command else { unreachable!("elsewhere: only topics have owners") };
        let question = Question { revision: broker.known_revision(), topic, op };
        self.asked.insert(number, Asked { node: to, deadline: now.mono + ASK_TIME_MAX });
        // Names, numbers and texts always have a JSON form.
        let content = serde_json::to_vec(&question).unwrap_or_default().into();
        AdminEffect::Ask { to, id: number, content }
    }

    /// A node answers; `None` when it was not asked that, or its answer was given here already (I2).
    pub(crate) fn answered(&mut self, from: NodeId, number: u64, content: &Bytes) -> Option<AdminReply> {
        self.asked.get(&number).filter(|asked| asked.node == from)?;
        self.asked.remove(&number);
        Some(serde_json::from_slice(content).unwrap_or_else(|error| {
            let reason =
                format!("the answer of node {from} cannot be read ({error}): do all nodes run the same version?");
            failed(FailureKind::Internal, reason)
        }))
    }

    /// A question did not leave: its number, and the answer to it.
    pub(crate) fn unsent(&mut self, to: NodeId, number: u64, broker: &Broker) -> Option<AdminReply> {
        self.asked.get(&number).filter(|asked| asked.node == to)?;
        self.asked.remove(&number);
        Some(unavailable(to, broker, "cannot be reached, nothing was done there"))
    }

    /// The node is lost: the answers to all that it was asked.
    pub(crate) fn lost(&mut self, node: NodeId, broker: &Broker) -> Vec<(u64, AdminReply)> {
        let of_it = self.asked.extract_if(.., |_, asked| asked.node == node);
        let said = "was lost before it answered, whether it was done there is not known";
        of_it.map(|(number, _)| (number, unavailable(node, broker, said))).collect()
    }

    /// What has waited too long, with the answers to it (I4).
    pub(crate) fn late(&mut self, now: Now, broker: &Broker) -> Vec<(u64, AdminReply)> {
        let late = self.asked.extract_if(.., |_, asked| asked.deadline <= now.mono);
        let said =
            format!("gave no answer within {} s, whether it was done there is not known", ASK_TIME_MAX.as_secs());
        late.map(|(number, asked)| (number, unavailable(asked.node, broker, &said))).collect()
    }

    // ── Answering

    /// Another node asks; effects say what is done for it.
    pub(crate) fn take(
        &mut self,
        now: Now,
        number: u64,
        asker: Asker,
        content: &Bytes,
        broker: &Broker,
    ) -> Option<AdminEffect> {
        let question = match serde_json::from_slice(content) {
            Ok(question) => question,
            Err(error) => {
                let reason =
                    format!("it does not understand the question ({error}): do all nodes run the same version?");
                return Some(answer(asker, &failed(FailureKind::Internal, reason)));
            }
        };
        if self.answering.len() >= QUESTIONS_MAX {
            let reason = format!("its node is busy with {QUESTIONS_MAX} questions of others: try again in a moment");
            return Some(answer(asker, &failed(FailureKind::Unavailable, reason))); // I3
        }
        let deadline = now.mono + QUESTION_TIME_MAX;
        self.answering.insert(number, Answering { asker, deadline, question, phase: Phase::CatchingUp });
        self.go_on(number, broker)
    }

    /// Begins with a question once the metadata is new enough (I1): its owner is looked for, which waits for a hand-over.
    fn go_on(&mut self, number: u64, broker: &Broker) -> Option<AdminEffect> {
        let one = self.answering.get_mut(&number)?;
        if one.phase != Phase::CatchingUp || broker.known_revision() < one.question.revision {
            return None;
        }
        one.phase = Phase::Finding;
        let command = AdminCommand::FindOwner { topic: one.question.topic.clone() };
        Some(AdminEffect::Broker { id: AdminId(number), command })
    }

    /// The metadata view changed.
    pub(crate) fn poll(&mut self, broker: &Broker) -> Vec<AdminEffect> {
        let waiting = self.answering.iter().filter(|(_, one)| one.phase == Phase::CatchingUp);
        let numbers: Vec<u64> = waiting.map(|(number, _)| *number).collect();
        numbers.into_iter().filter_map(|number| self.go_on(number, broker)).collect()
    }

    /// The broker replied to what a question wanted; `None` when the number is no question's.
    pub(crate) fn replied(&mut self, number: u64, reply: &AdminReply, broker: &Broker) -> Option<AdminEffect> {
        let one = self.answering.get_mut(&number)?;
        if one.phase == Phase::Finding && !matches!(reply, AdminReply::Failed(_)) {
            let Question { topic, op, .. } = &one.question;
            if matches!(broker.core().owner_of(topic), Owner::Us { .. }) {
                one.phase = Phase::Running;
                let command = AdminCommand::Topic { topic: topic.clone(), op: op.clone() };
                return Some(AdminEffect::Broker { id: AdminId(number), command });
            }
            let kind = FailureKind::Moved { revision: broker.known_revision() };
            let gone = failed(kind, format!("{topic} is moving between nodes: try again"));
            return self.answering.remove(&number).map(|one| answer(one.asker, &gone)); // I1
        }
        self.answering.remove(&number).map(|one| answer(one.asker, reply))
    }

    /// Answers the questions that took too long (I3).
    pub(crate) fn overdue(&mut self, now: Now) -> Vec<AdminEffect> {
        let late = self.answering.extract_if(.., |_, one| one.deadline <= now.mono);
        let reason = format!(
            "its node did not finish this within {} s, the outcome is not known: look before trying again",
            QUESTION_TIME_MAX.as_secs()
        );
        late.map(|(_, one)| answer(one.asker, &failed(FailureKind::Unavailable, reason.clone()))).collect()
    }

    /// When something has waited too long: numbers grow with time, and so do deadlines.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        let asked = self.asked.first_key_value().map(|(_, asked)| asked.deadline);
        earliest(asked, self.answering.first_key_value().map(|(_, one)| one.deadline))
    }
}

fn failed(kind: FailureKind, reason: impl Into<String>) -> AdminReply {
    AdminReply::Failed(AdminFailure::new(kind, reason))
}

/// Names the node, says what is with it, and what helps.
fn unavailable(node: NodeId, broker: &Broker, what: &str) -> AdminReply {
    let url = broker.core().cluster.view().and_then(|view| view.node(node)).map(|record| record.http_url.as_str());
    let at = url.filter(|url| !url.is_empty()).map(|url| format!(" at {url}")).unwrap_or_default();
    let reason = format!(
        "node {node}{at} serves it and {what}: if the node is down, another takes its topics over within seconds; try again, \
         or look at `meridian admin cluster status`"
    );
    failed(FailureKind::Unavailable, reason)
}

fn answer(asker: Asker, reply: &AdminReply) -> AdminEffect {
    let content = match serde_json::to_vec(reply) {
        Ok(content) if content.len() <= ANSWER_BYTES_MAX => content,
        Ok(content) => {
            let reason = format!(
                "its answer has {} bytes, more than the {ANSWER_BYTES_MAX} that nodes pass on: ask for this one by itself",
                content.len()
            );
            encode_failure(FailureKind::TooMany, reason) // I3
        }
        Err(error) => encode_failure(
            FailureKind::Internal,
            format!("its answer cannot be passed on ({error}): ask for it by itself"),
        ),
    };
    AdminEffect::Answer { to: asker, content: content.into() }
}

fn encode_failure(kind: FailureKind, reason: String) -> Vec<u8> {
    // A text always has a JSON form.
    serde_json::to_vec(&failed(kind, reason)).unwrap_or_default()
}
