//! The simulator without a socket: a [`Transport`] straight into the world, for tests on a simulated clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::exchange::{Call, Delivery};
use super::operations;
use super::server::OBJECT_STORE_PATH;
use super::world::World;
use crate::ers::{Body, Request, Response, Transport, TransportError};

pub struct InProcess {
    world: Arc<World>,
}

impl InProcess {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world }
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let timeout = request.timeout;
        let call = call_of(request).await?;
        let path = call.path.clone();
        if path.starts_with(OBJECT_STORE_PATH) {
            return Ok(response(operations::download(&self.world, &call)));
        }
        let reply = self.world.answer(call).await;
        if reply.delivery == Delivery::Hung || reply.held >= timeout {
            self.world.environment.sleep(timeout).await;
            return Err(TransportError::Unanswered(format!("no answer within {timeout:?}")));
        }
        if reply.held > Duration::ZERO {
            self.world.environment.sleep(reply.held).await;
        }
        match reply.delivery {
            Delivery::Sent => Ok(response(reply.answer)),
            _ => Err(TransportError::Unanswered("the connection was cut".into())),
        }
    }
}

async fn call_of(request: Request) -> Result<Call, TransportError> {
    // scheme://authority/path?query
    let path = request.url.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
    let (path, query) = path.split_once('?').unwrap_or((&path, ""));
    let body = match request.body {
        Body::Empty => Bytes::new(),
        Body::Bytes(bytes) => bytes,
        Body::Stream { mut stream, .. } => {
            let mut body = BytesMut::new();
            while let Some(chunk) = stream.next().await {
                let chunk = chunk.map_err(|error| TransportError::Unanswered(error.to_string()))?;
                body.extend_from_slice(&chunk);
            }
            body.freeze()
        }
    };
    Ok(Call {
        method: request.method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers: request.headers,
        body,
        body_cut: false,
    })
}

fn response(answer: super::exchange::Answer) -> Response {
    let headers = answer.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    Response { status: answer.status, headers, body: answer.body }
}
