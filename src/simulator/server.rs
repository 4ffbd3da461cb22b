//! The socket side: HTTP/1.1 in, [`Call`]s to the world, replies out, connections cut where a fault says so.
//! The only file that knows actix-web.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::dev::{Extensions, ServerHandle};
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};

use super::control;
use super::exchange::{Answer, Call, Delivery, Reply};
use super::operations;
use super::world::World;
use crate::environment::Environment;

/// A little more than the largest file that A020 takes, so that one too large is seen to be so.
const BODY_BYTES_KEPT: usize = 5 * 1024 * 1024 + 1;
/// The rest of a body is read and dropped up to here; beyond it the connection is given up.
const BODY_BYTES_READ: usize = 64 * 1024 * 1024;
pub const OBJECT_STORE_PATH: &str = "/_object-store";

/// Bound, not yet serving.
pub struct Listeners {
    api: TcpListener,
    object_store: TcpListener,
}

impl Listeners {
    pub fn bind(listen: SocketAddr) -> std::io::Result<Self> {
        let listener = |address: SocketAddr| {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(listener)
        };
        Ok(Self { api: listener(listen)?, object_store: listener(SocketAddr::new(listen.ip(), 0))? })
    }

    pub fn api(&self) -> std::io::Result<SocketAddr> {
        self.api.local_addr()
    }

    pub fn object_store(&self) -> std::io::Result<SocketAddr> {
        self.object_store.local_addr()
    }
}

/// Serving until stopped.
pub struct Serving {
    handle: ServerHandle,
}

impl Serving {
    /// Starts to serve; stops by itself when the environment shuts down.
    pub fn start(listeners: Listeners, world: Arc<World>) -> std::io::Result<Self> {
        let environment = world.environment.clone();
        let workers = world.settings.workers.max(1);
        let shared = web::Data::from(world);
        let mut server = HttpServer::new(move || App::new().app_data(shared.clone()).default_service(web::to(serve)))
            .workers(workers)
            .disable_signals()
            .on_connect(keep_socket)
            .listen(listeners.api)?
            .listen(listeners.object_store)?
            .run();
        let handle = server.handle();
        let stopper = handle.clone();
        let shutdown = environment.shutdown().clone();
        environment.spawn(async move {
            tokio::select! {
                _ = &mut server => return,
                () = shutdown.cancelled() => {}
            }
            tokio::join!(stopper.stop(false), async { server.await.ok() });
        });
        Ok(Self { handle })
    }

    /// Open connections are cut.
    pub async fn stop(&self) {
        self.handle.stop(false).await;
    }
}

/// A second descriptor of the connection's socket, to cut it under the server.
struct Connection(TcpStream);

fn keep_socket(io: &dyn std::any::Any, data: &mut Extensions) {
    let stream = io.downcast_ref::<actix_web::rt::net::TcpStream>();
    if let Some(Ok(descriptor)) = stream.map(|stream| stream.as_fd().try_clone_to_owned()) {
        data.insert(Connection(TcpStream::from(descriptor)));
    }
}

async fn serve(request: HttpRequest, payload: web::Payload, world: web::Data<World>) -> HttpResponse {
    let Some(call) = read(&request, payload).await else { return cut(&request) };
    if call.path.starts_with(control::PATH) {
        return send(control::answer(&world, &call));
    }
    if call.path.starts_with(OBJECT_STORE_PATH) {
        return send(operations::download(&world, &call));
    }
    let environment = world.environment.clone();
    let Reply { answer, delivery, held } = world.answer(call).await;
    if !held.is_zero() {
        environment.sleep(held).await;
    }
    match delivery {
        Delivery::Sent => send(answer),
        Delivery::Reset => cut(&request),
        Delivery::Truncated => truncated(answer, environment),
        Delivery::Hung => {
            environment.shutdown().cancelled().await;
            cut(&request)
        }
    }
}

/// None when the body goes on and on, or breaks off.
async fn read(request: &HttpRequest, mut payload: web::Payload) -> Option<Call> {
    let mut body = BytesMut::new();
    let mut seen = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.ok()?;
        seen += chunk.len();
        if seen > BODY_BYTES_READ {
            return None;
        }
        let room = BODY_BYTES_KEPT - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    let headers = request.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Some(Call {
        method: request.method().to_string(),
        path: request.path().to_owned(),
        query: request.query_string().to_owned(),
        headers: headers.collect(),
        body_cut: seen > body.len(),
        body: body.freeze(),
    })
}

fn head(answer: &Answer) -> actix_web::HttpResponseBuilder {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for (name, value) in &answer.headers {
        response.insert_header((*name, value.as_str()));
    }
    response
}

fn send(answer: Answer) -> HttpResponse {
    head(&answer).body(answer.body)
}

/// Half of the body, then the end of the connection.
fn truncated(answer: Answer, environment: Environment) -> HttpResponse {
    /// An error right behind the first half would keep even the head from being written.
    const WRITTEN_BY_THEN: Duration = Duration::from_millis(50);
    let whole = answer.body.len() as u64;
    let half = answer.body.slice(..answer.body.len() / 2);
    let broken = async move {
        environment.sleep(WRITTEN_BY_THEN).await;
        Err(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "truncated on purpose"))
    };
    let chunks = stream::once(async { Ok::<Bytes, std::io::Error>(half) }).chain(stream::once(broken));
    head(&answer).body(SizedStream::new(whole, chunks))
}

/// Whatever is returned never reaches the client: the socket is shut first.
fn cut(request: &HttpRequest) -> HttpResponse {
    if let Some(Connection(socket)) = request.conn_data::<Connection>() {
        // A client that has gone already is as cut as can be.
        let _ = socket.shutdown(Shutdown::Both);
    }
    HttpResponse::InternalServerError().finish()
}
