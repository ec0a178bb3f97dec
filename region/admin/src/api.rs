//! The machine.

use crate::{HttpId, HttpRequest, HttpResponse};
use base::{Effects, Now, OwnerId, RequestId};
use broker::Broker;
use broker::admin_command::{AdminCommand, AdminReply};
use broker::io::AdminId;
use meta_api::{MetaRequest, MetaResponse};

/// What the API wants done.
#[derive(Debug)]
pub enum AdminEffect {
    Reply { id: HttpId, response: HttpResponse },
    Meta { id: RequestId, request: MetaRequest },
    Broker { id: AdminId, command: AdminCommand },
}

/// Settings of the API.
#[derive(Clone, Debug)]
pub struct AdminOptions {
    /// Owner of the metadata requests.
    pub owner: OwnerId,
}

/// The admin REST API.
#[derive(Debug)]
pub struct AdminApi {
    options: AdminOptions,
}

impl AdminApi {
    pub fn new(options: AdminOptions) -> Self {
        Self { options }
    }

    /// Takes one request.
    pub fn handle_http(
        &mut self,
        _now: Now,
        id: HttpId,
        request: HttpRequest,
        _broker: &Broker,
        fx: &mut Effects<AdminEffect>,
    ) {
        let _ = &self.options;
        let body = format!("{{\"reason\":\"{} is not built yet\"}}", request.path);
        let response =
            HttpResponse { status: 501, headers: Vec::new(), content_type: "application/json", body: body.into() };
        fx.push(AdminEffect::Reply { id, response });
    }

    /// The metadata answered.
    pub fn handle_meta(
        &mut self,
        _now: Now,
        _id: RequestId,
        _response: MetaResponse,
        _broker: &Broker,
        _fx: &mut Effects<AdminEffect>,
    ) {
    }

    /// The broker answered.
    pub fn handle_broker(
        &mut self,
        _now: Now,
        _id: AdminId,
        _reply: AdminReply,
        _broker: &Broker,
        _fx: &mut Effects<AdminEffect>,
    ) {
    }

    /// The metadata view changed.
    pub fn poll(&mut self, _now: Now, _broker: &Broker, _fx: &mut Effects<AdminEffect>) {}
}
