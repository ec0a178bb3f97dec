//! The machine: requests in, answers out, everything between kept in one bounded table.
//!
//! **States**  A request is answered at once or becomes a task; a task waits for the metadata, for broker commands, or for
//! the directory to show what was committed.
//!
//! **Invariants**
//! - I1  each request gets exactly one answer: a task that heard nothing for [`TASK_TIME_MAX`] is answered 503.
//! - I2  nothing is done for a request before `access` has allowed it.
//! - I3  at most [`TASKS_MAX`] tasks exist, each with at most [`COMMANDS_AT_ONCE`] broker commands under way.
//! - I4  a write is answered only after it is committed and an immediate read shows it.
//! - I5  the answers that others gave to one request have at most [`GATHERED_BYTES_MAX`] before they are put together.
//!
//! **Not here**  Sockets and HTTP syntax (`server`); which path does what (`routes`); what other nodes do of it (`elsewhere`).
//!
//! **Tests**  `tests/`: every endpoint through a broker and a metadata model.

use crate::answer::Refusal;
use crate::asks::{Asker, Asks};
use crate::elsewhere::{self, Plan, Way};
use crate::step::{Context, Next, Search, Step, Then, Until};
use crate::{HttpId, HttpRequest, HttpResponse, access};
use base::{Effects, Mono, NodeId, Now, OwnerId, RequestId, earliest};
use broker::Broker;
use broker::admin_command::{AdminCommand, AdminFailure, AdminReply, FailureKind};
use broker::io::AdminId;
use bytes::Bytes;
use meta_api::{MetaRequest, MetaResponse};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

/// Requests under way at once.
const TASKS_MAX: usize = 1024;
/// Broker commands under way for one request.
const COMMANDS_AT_ONCE: usize = 64;
/// A task that heard nothing for so long is given up.
const TASK_TIME_MAX: Duration = Duration::from_secs(30);
/// So long a committed change may stay invisible before its writer is answered all the same.
const VISIBLE_TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes that other nodes may answer to one request.
const GATHERED_BYTES_MAX: usize = 64 << 20;

/// What the API wants done.
#[derive(Debug)]
pub enum AdminEffect {
    Reply {
        id: HttpId,
        response: HttpResponse,
    },
    Meta {
        id: RequestId,
        request: MetaRequest,
    },
    Broker {
        id: AdminId,
        command: AdminCommand,
    },
    /// For another node of the region; the answer names the number.
    Ask {
        to: NodeId,
        id: u64,
        content: Bytes,
    },
    Answer {
        to: Asker,
        content: Bytes,
    },
}

/// Settings of the API.
#[derive(Clone, Debug)]
pub struct AdminOptions {
    /// Owner of the metadata requests.
    pub owner: OwnerId,
    /// Whether `/metrics` asks who is reading: any identity will do.
    pub authenticate_metrics: bool,
}

/// The admin REST API.
pub struct AdminApi {
    options: AdminOptions,
    tasks: BTreeMap<u64, Task>,
    /// Number of a metadata request or broker command → task, and place among the task's commands.
    asked: BTreeMap<u64, (u64, usize)>,
    last_number: u64,
    asks: Asks,
    /// Path and query of requests that may be redirected; empty in a region of one node.
    targets: BTreeMap<HttpId, String>,
}

struct Task {
    http: HttpId,
    deadline: Mono,
    state: State,
}

enum State {
    Meta {
        then: Then<MetaResponse>,
    },
    Broker {
        queue: VecDeque<(usize, AdminCommand)>,
        replies: Vec<Option<AdminReply>>,
        open: usize,
        /// Bytes that other nodes answered.
        gathered: usize,
        then: Then<Vec<AdminReply>>,
    },
    Wait {
        until: Until,
        then: Then<()>,
    },
}

impl fmt::Debug for AdminApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminApi").field("tasks", &self.tasks.len()).field("asked", &self.asked.len()).finish()
    }
}

impl AdminApi {
    pub fn new(options: AdminOptions) -> Self {
        Self {
            options,
            tasks: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_number: 0,
            asks: Asks::default(),
            targets: BTreeMap::new(),
        }
    }

    /// Takes one request.
    pub fn handle_http(
        &mut self,
        now: Now,
        id: HttpId,
        request: HttpRequest,
        broker: &Broker,
        fx: &mut Effects<AdminEffect>,
    ) {
        self.give_up_late(now, broker, fx);
        let context = Context { now, broker };
        if broker.core().cluster.view().is_some() {
            let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
            self.targets.insert(id, format!("{}{query}", request.path));
        }
        let next = if self.tasks.len() >= TASKS_MAX {
            let reason = format!("{TASKS_MAX} admin requests are under way: try again in a moment"); // I3
            Err(Refusal::new(503, reason))
        } else {
            access::enter(&context, request, self.options.authenticate_metrics) // I2
        };
        let number = self.next_number();
        self.go_on(&context, number, id, next, fx);
    }

    /// The metadata answered.
    pub fn handle_meta(
        &mut self,
        now: Now,
        id: RequestId,
        response: MetaResponse,
        broker: &Broker,
        fx: &mut Effects<AdminEffect>,
    ) {
        let Some((number, _)) = self.asked.remove(&id.seq) else { return };
        let Some(Task { http, state: State::Meta { then }, .. }) = self.tasks.remove(&number) else { return };
        let context = Context { now, broker };
        let next = then(&context, response);
        self.go_on(&context, number, http, next, fx);
    }

    /// The broker answered.
    pub fn handle_broker(
        &mut self,
        now: Now,
        id: AdminId,
        reply: AdminReply,
        broker: &Broker,
        fx: &mut Effects<AdminEffect>,
    ) {
        match self.asks.replied(id.0, &reply, broker) {
            Some(effect) => fx.push(effect),
            None => self.take_reply(now, id.0, reply, 0, broker, fx),
        }
    }

    /// A reply to a command of a request, from this broker or, with so many bytes, from another node.
    fn take_reply(
        &mut self,
        now: Now,
        asked: u64,
        reply: AdminReply,
        bytes: usize,
        broker: &Broker,
        fx: &mut Effects<AdminEffect>,
    ) {
        let Some((number, place)) = self.asked.remove(&asked) else { return };
        let Some(task) = self.tasks.get_mut(&number) else { return };
        let State::Broker { replies, open, gathered, .. } = &mut task.state else { return };
        *gathered += bytes;
        if let Some(slot) = replies.get_mut(place) {
            *slot = Some(if *gathered > GATHERED_BYTES_MAX { too_much() } else { reply }); // I5
        }
        *open -= 1;
        task.deadline = now.mono + TASK_TIME_MAX;
        self.pump(&Context { now, broker }, number, fx);
    }

    /// Another node asks for something that an operator wants of a topic here.
    pub fn handle_ask(
        &mut self,
        now: Now,
        asker: Asker,
        content: &Bytes,
        broker: &Broker,
        fx: &mut Effects<AdminEffect>,
    ) {
        let number = self.next_number();
        self.asks.take(now, number, asker, content, broker).into_iter().for_each(|effect| fx.push(effect));
    }

    /// Another node answers.
    pub fn handle_answer(
        &mut self,
        now: Now,
        from: NodeId,
        id: u64,
        content: &Bytes,
        broker: &Broker,
        fx: &mut Effects<AdminEffect>,
    ) {
        if let Some(reply) = self.asks.answered(from, id, content) {
            self.take_reply(now, id, reply, content.len(), broker, fx);
        }
    }

    /// What another node was to be asked could not be sent.
    pub fn handle_unsent(&mut self, now: Now, to: NodeId, id: u64, broker: &Broker, fx: &mut Effects<AdminEffect>) {
        if let Some(reply) = self.asks.unsent(to, id, broker) {
            self.take_reply(now, id, reply, 0, broker, fx);
        }
    }

    /// Another node is lost.
    pub fn handle_node_down(&mut self, now: Now, node: NodeId, broker: &Broker, fx: &mut Effects<AdminEffect>) {
        for (id, reply) in self.asks.lost(node, broker) {
            self.take_reply(now, id, reply, 0, broker, fx);
        }
    }

    /// When something has waited too long: a request, another node, or this one for another.
    pub fn next_deadline(&self) -> Option<Mono> {
        earliest(self.asks.next_deadline(), self.tasks.values().map(|task| task.deadline).min())
    }

    pub fn on_deadline(&mut self, now: Now, broker: &Broker, fx: &mut Effects<AdminEffect>) {
        self.asks.overdue(now).into_iter().for_each(|effect| fx.push(effect));
        for (id, reply) in self.asks.late(now, broker) {
            self.take_reply(now, id, reply, 0, broker, fx);
        }
        self.give_up_late(now, broker, fx);
    }

    /// The metadata view changed.
    pub fn poll(&mut self, now: Now, broker: &Broker, fx: &mut Effects<AdminEffect>) {
        self.asks.poll(broker).into_iter().for_each(|effect| fx.push(effect));
        let shown: Vec<u64> = self.tasks.iter().filter(|(_, task)| task.is_shown(broker)).map(|(n, _)| *n).collect();
        for number in shown {
            self.end_wait(&Context { now, broker }, number, fx);
        }
        self.give_up_late(now, broker, fx);
    }

    /// Requests that are not answered yet.
    pub fn pending(&self) -> usize {
        self.tasks.len()
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Does the next step of a request, as far as it goes without anybody's answer.
    fn go_on(&mut self, context: &Context<'_>, number: u64, http: HttpId, next: Next, fx: &mut Effects<AdminEffect>) {
        let step = match next {
            Ok(step) => step,
            Err(refusal) => Step::Reply(refusal.into()),
        };
        let now = context.now.mono;
        match step {
            Step::Reply(response) => {
                self.targets.remove(&http);
                fx.push(AdminEffect::Reply { id: http, response });
            }
            Step::Meta { request, then } => {
                let seq = self.next_number();
                self.asked.insert(seq, (number, 0));
                self.tasks.insert(number, Task { http, deadline: now + TASK_TIME_MAX, state: State::Meta { then } });
                fx.push(AdminEffect::Meta { id: RequestId::new(self.options.owner, seq), request });
            }
            Step::Broker { commands, then, search } if elsewhere::concerns_others(context.broker, &commands) => {
                self.go_out(context, number, http, (commands, then, search), fx);
            }
            Step::Broker { commands, then, .. } => self.begin(context, number, http, commands, then, fx),
            Step::Wait { until, then } => {
                let task = Task { http, deadline: now + VISIBLE_TIME_MAX, state: State::Wait { until, then } };
                let shown = task.is_shown(context.broker);
                self.tasks.insert(number, task);
                if shown {
                    self.end_wait(context, number, fx);
                }
            }
        }
    }

    /// Commands about topics that other nodes may serve: their owners are looked for, then each goes its way.
    fn go_out(
        &mut self,
        context: &Context<'_>,
        number: u64,
        http: HttpId,
        (commands, then, search): (Vec<AdminCommand>, Then<Vec<AdminReply>>, Search),
        fx: &mut Effects<AdminEffect>,
    ) {
        if !search.found {
            let next = elsewhere::look(context.broker, commands, then, search.rounds);
            return self.go_on(context, number, http, next, fx);
        }
        let ways = || commands.iter().map(|command| elsewhere::way(context.broker, command));
        if let (Plan::Redirect(node), Some(target)) = (elsewhere::plan(ways()), self.targets.get(&http))
            && let Some(response) = elsewhere::redirect(context.broker, node, target)
        {
            return self.go_on(context, number, http, Ok(Step::Reply(response)), fx);
        }
        if ways().any(|way| way != Way::Here) {
            self.targets.remove(&http); // elsewhere I3
        }
        let then = elsewhere::again(commands.clone(), then, search.rounds);
        self.begin(context, number, http, commands, then, fx);
    }

    fn begin(
        &mut self,
        context: &Context<'_>,
        number: u64,
        http: HttpId,
        commands: Vec<AdminCommand>,
        then: Then<Vec<AdminReply>>,
        fx: &mut Effects<AdminEffect>,
    ) {
        let replies = commands.iter().map(|_| None).collect();
        let queue = commands.into_iter().enumerate().collect();
        let state = State::Broker { queue, replies, open: 0, gathered: 0, then };
        self.tasks.insert(number, Task { http, deadline: context.now.mono + TASK_TIME_MAX, state });
        self.pump(context, number, fx);
    }

    /// Sends the next commands of a task, or goes on when the last one is answered.
    fn pump(&mut self, context: &Context<'_>, number: u64, fx: &mut Effects<AdminEffect>) {
        let Some(task) = self.tasks.get_mut(&number) else { return };
        let State::Broker { queue, replies, open, .. } = &mut task.state else { return };
        while *open < COMMANDS_AT_ONCE {
            let Some((place, command)) = queue.pop_front() else { break };
            let way = elsewhere::way(context.broker, &command);
            if let (Way::Nowhere, Some(slot)) = (way, replies.get_mut(place)) {
                *slot = Some(elsewhere::nowhere());
                continue;
            }
            *open += 1;
            self.last_number += 1;
            let asked = self.last_number;
            self.asked.insert(asked, (number, place));
            fx.push(match way {
                Way::Node(node) => self.asks.ask(context.now, asked, node, command, context.broker),
                Way::Here | Way::Nowhere => AdminEffect::Broker { id: AdminId(asked), command },
            });
        }
        if *open > 0 {
            return;
        }
        if let Some(Task { http, state: State::Broker { replies, then, .. }, .. }) = self.tasks.remove(&number) {
            let next = then(context, replies.into_iter().flatten().collect());
            self.go_on(context, number, http, next, fx);
        }
    }

    fn end_wait(&mut self, context: &Context<'_>, number: u64, fx: &mut Effects<AdminEffect>) {
        if let Some(Task { http, state: State::Wait { then, .. }, .. }) = self.tasks.remove(&number) {
            let next = then(context, ());
            self.go_on(context, number, http, next, fx);
        }
    }

    /// Ends what waits for too long (I1).
    fn give_up_late(&mut self, now: Now, broker: &Broker, fx: &mut Effects<AdminEffect>) {
        let late: Vec<u64> = self.tasks.iter().filter(|(_, task)| task.deadline <= now.mono).map(|(n, _)| *n).collect();
        for number in late {
            self.end_wait(&Context { now, broker }, number, fx);
            if self.tasks.get(&number).is_some_and(|task| task.deadline <= now.mono)
                && let Some(task) = self.tasks.remove(&number)
            {
                let reason = "no answer came in time and the outcome is not known: look before trying again";
                fx.push(AdminEffect::Reply { id: task.http, response: Refusal::new(503, reason).into() });
            }
        }
        if !self.asked.is_empty() {
            let tasks = &self.tasks;
            self.asked.retain(|_, (task, _)| tasks.contains_key(task));
        }
    }
}

impl Task {
    fn is_shown(&self, broker: &Broker) -> bool {
        matches!(&self.state, State::Wait { until, .. } if until(broker))
    }
}

/// The answer in place of one that does not fit any more.
fn too_much() -> AdminReply {
    let reason = format!(
        "the answers of all nodes together have more than {} MiB: ask for each topic by itself",
        GATHERED_BYTES_MAX >> 20
    );
    AdminReply::Failed(AdminFailure::new(FailureKind::TooMany, reason))
}
