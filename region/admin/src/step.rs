//! What a handler wants next: an answer, a metadata request, broker commands, or to wait until the directory shows
//! something.
//!
//! **What**  A request that cannot be answered at once goes on as a chain of steps; each step carries what is done with its
//! outcome.
//!
//! **Not here**  Who keeps the steps and matches outcomes to them (`api`).

use crate::HttpResponse;
use crate::answer::Refusal;
use base::Now;
use broker::Broker;
use broker::admin_command::{AdminCommand, AdminReply};
use meta_api::{MetaRequest, MetaResponse};
use tenancy::Directory;

/// What a handler may read.
pub(crate) struct Context<'a> {
    pub now: Now,
    pub broker: &'a Broker,
}

impl Context<'_> {
    pub(crate) fn directory(&self) -> &Directory {
        &self.broker.core().directory
    }
}

/// The next step, or the end with a refusal.
pub(crate) type Next = Result<Step, Refusal>;

/// What is done with an outcome.
pub(crate) type Then<T> = Box<dyn FnOnce(&Context<'_>, T) -> Next + Send>;

/// A condition on what the broker shows.
pub(crate) type Until = Box<dyn Fn(&Broker) -> bool + Send>;

/// How far the search for the nodes that serve the topics of commands has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Search {
    /// Owners were looked for.
    pub found: bool,
    /// Rounds before this one, whose topics had moved.
    pub rounds: u32,
}

pub(crate) enum Step {
    Reply(HttpResponse),
    Meta {
        request: MetaRequest,
        then: Then<MetaResponse>,
    },
    /// The replies come in the order of the commands.
    Broker {
        commands: Vec<AdminCommand>,
        then: Then<Vec<AdminReply>>,
        search: Search,
    },
    /// Goes on when the condition holds, or when it has not held for long: what is waited for is durable already.
    Wait {
        until: Until,
        then: Then<()>,
    },
}

impl Step {
    /// Asks the metadata.
    pub(crate) fn meta(
        request: MetaRequest,
        then: impl FnOnce(&Context<'_>, MetaResponse) -> Next + Send + 'static,
    ) -> Next {
        Ok(Self::Meta { request, then: Box::new(then) })
    }

    /// Gives the broker one command; a failure ends the request.
    pub(crate) fn command(
        command: AdminCommand,
        then: impl FnOnce(&Context<'_>, AdminReply) -> Next + Send + 'static,
    ) -> Next {
        Self::commands(vec![command], move |context, mut replies| match replies.pop() {
            Some(AdminReply::Failed(failure)) => Err(failure.into()),
            Some(reply) => then(context, reply),
            None => Err(Refusal::new(500, "the broker gave no answer")),
        })
    }

    /// Gives the broker commands; `then` sees failures too.
    pub(crate) fn commands(
        commands: Vec<AdminCommand>,
        then: impl FnOnce(&Context<'_>, Vec<AdminReply>) -> Next + Send + 'static,
    ) -> Next {
        Ok(Self::Broker { commands, then: Box::new(then), search: Search::default() })
    }

    /// Answers `response` once the condition holds.
    pub(crate) fn reply_when(until: impl Fn(&Broker) -> bool + Send + 'static, response: HttpResponse) -> Next {
        Self::wait(until, move |_| Ok(Self::Reply(response)))
    }

    pub(crate) fn wait(
        until: impl Fn(&Broker) -> bool + Send + 'static,
        then: impl FnOnce(&Context<'_>) -> Next + Send + 'static,
    ) -> Next {
        Ok(Self::Wait { until: Box::new(until), then: Box::new(move |context, ()| then(context)) })
    }
}
