//! The real wire: one pooled client for all connections, but for those that have a way of their own.
//!
//! Enters: a request. Leaves: its answer, read up to a limit, whole or to who takes it as it comes, or why there is none. Guarantees: a
//! request leaves at most once (no redirects, no retries); `NotSent` means that no byte of it left.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Method, Proxy};
use secrecy::{ExposeSecret as _, SecretString};

use super::transport::{Body, Request, Response, TakesDocument, Transport, TransportError};

/// Time to reach e-RS: name, TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Worklists are at most 10 MB (`errors-and-limits.md`); a little more for what surrounds them.
const ANSWER_BYTES_MAX: usize = 11 * 1024 * 1024;
/// Shorter than what load balancers commonly keep, so that we close first and seldom meet a reset.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

pub struct ReqwestTransport {
    client: Client,
}

impl ReqwestTransport {
    pub fn new() -> Result<Self, TransportError> {
        Self::by(None, None)
    }

    /// By an HTTP proxy, or trusting these CAs alone.
    pub fn by(proxy: Option<&SecretString>, ca: Option<&Path>) -> Result<Self, TransportError> {
        let unusable = |what: String| TransportError::NotSent(what);
        let mut builder = Client::builder();
        if let Some(proxy) = proxy {
            let proxy = Proxy::all(proxy.expose_secret());
            builder = builder.proxy(proxy.map_err(|_| unusable("its proxy is no address of an HTTP proxy".into()))?);
        }
        if let Some(ca) = ca {
            let pem = std::fs::read(ca).map_err(|error| unusable(format!("cannot read {}: {error}", ca.display())))?;
            let cas = Certificate::from_pem_bundle(&pem).ok().filter(|cas| !cas.is_empty());
            builder = builder
                .tls_certs_only(cas.ok_or_else(|| unusable(format!("{} has no certificate as PEM", ca.display())))?);
        }
        let client = builder
            .redirect(reqwest::redirect::Policy::none())
            // A pooled connection that closes before a request is begun is replaced beneath us; whatever
            // was begun is never repeated, not even where HTTP/2 says that it could be.
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .referer(false)
            .build()
            .map_err(|error| TransportError::NotSent(reason(&error)))?;
        Ok(Self { client })
    }
}

#[async_trait]
impl Transport for ReqwestTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        self.exchange(request, None).await
    }

    async fn send_and_keep(&self, request: Request, taker: &mut dyn TakesDocument) -> Result<Response, TransportError> {
        self.exchange(request, Some(taker)).await
    }
}

impl ReqwestTransport {
    async fn exchange(
        &self,
        request: Request,
        taker: Option<&mut dyn TakesDocument>,
    ) -> Result<Response, TransportError> {
        let request = assemble(&self.client, request)?;
        let mut answer = self.client.execute(request).await.map_err(|error| {
            if error.is_connect() || error.is_builder() {
                TransportError::NotSent(reason(&error))
            } else {
                TransportError::Unanswered(reason(&error))
            }
        })?;
        let status = answer.status().as_u16();
        let headers: Vec<(String, String)> = answer
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let mut response = Response { status, headers, body: Bytes::new() };
        let mut taker = taker.filter(|taker| taker.wants(status, response.header("content-type")));
        let (mut body, mut length) = (BytesMut::new(), 0);
        while let Some(chunk) = answer.chunk().await.map_err(|error| TransportError::Unanswered(reason(&error)))? {
            length += chunk.len();
            if length > ANSWER_BYTES_MAX {
                return Err(TransportError::Unanswered(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes")));
            }
            match &mut taker {
                Some(taker) => taker.take(chunk).await?,
                None => body.extend_from_slice(&chunk),
            }
        }
        response.body = body.freeze();
        Ok(response)
    }
}

fn assemble(client: &Client, request: Request) -> Result<reqwest::Request, TransportError> {
    let refuse = |what: &str| TransportError::NotSent(format!("the request cannot be made: {what}"));
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| refuse("method"))?;
    let wants_length = !matches!(method, Method::GET | Method::HEAD);
    let mut builder = client.request(method, &request.url).timeout(request.timeout);
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refuse("header name"))?;
        let mut value = HeaderValue::from_str(value).map_err(|_| refuse(name.as_str()))?;
        value.set_sensitive(name == reqwest::header::AUTHORIZATION);
        builder = builder.header(name, value);
    }
    builder = match request.body {
        // e-RS wants the length of an empty POST said (A007, A013, A019, A043).
        Body::Empty if wants_length => builder.header(CONTENT_LENGTH, 0),
        Body::Empty => builder,
        Body::Bytes(bytes) => builder.body(bytes),
        Body::Stream { length, stream } => {
            builder.header(CONTENT_LENGTH, length).body(reqwest::Body::wrap_stream(stream))
        }
    };
    builder.build().map_err(|error| TransportError::NotSent(reason(&error)))
}

/// The causes, innermost last, without the URL: it may carry a UBRN.
fn reason(error: &reqwest::Error) -> String {
    let mut text = match () {
        () if error.is_timeout() => "time limit passed".to_owned(),
        () if error.is_connect() => "connect".to_owned(),
        () if error.is_builder() => "request".to_owned(),
        () => "exchange".to_owned(),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn post(address: std::net::SocketAddr, body: Body) -> Request {
        Request {
            method: "POST".into(),
            url: format!("http://{address}/STU3/ReferralRequest/$ers.createReferral"),
            headers: vec![("X-Correlation-ID".into(), "c-1".into())],
            body,
            timeout: Duration::from_millis(500),
        }
    }

    async fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        (listener, address)
    }

    /// Reads up to the end of the headers and of a body of `body` bytes.
    async fn read_request(stream: &mut TcpStream, body: usize) -> Option<String> {
        let mut read = Vec::new();
        let mut buffer = [0u8; 4096];
        loop {
            let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
            read.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&read).into_owned();
            if let Some(end) = text.find("\r\n\r\n")
                && text.len() >= end + 4 + body
            {
                return Some(text);
            }
        }
    }

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

    #[tokio::test]
    async fn what_goes_by_a_proxy_asks_it_for_the_whole_address() {
        let (listener, address) = listener().await;
        let proxy = SecretString::from(format!("http://gateway:secret@{address}"));
        let transport = ReqwestTransport::by(Some(&proxy), None).expect("a client");
        let answered = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client comes");
            let request = read_request(&mut stream, 0).await.expect("a request");
            stream.write_all(ANSWER).await.expect("written");
            request
        });
        let mut request = post(([127, 0, 0, 1], 1).into(), Body::Empty);
        request.url = "http://ers.invalid/STU3/Appointment".into();
        assert_eq!(transport.send(request).await.expect("an answer").status, 200);
        let request = answered.await.expect("seen").to_ascii_lowercase();
        assert!(request.starts_with("post http://ers.invalid/stu3/appointment http/1.1"), "{request}");
        assert!(request.contains("proxy-authorization: basic "), "{request}");
    }

    #[tokio::test]
    async fn with_cas_of_its_own_no_other_is_trusted() {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
        let folder = tempfile::tempdir().expect("a folder");
        let ca = |name: &str| {
            let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
            let path = folder.path().join(name);
            std::fs::write(&path, ca.pem()).expect("written");
            (ca, path)
        };
        let ((own, own_path), (_, other_path)) = (ca("own.pem"), ca("other.pem"));
        let key = KeyPair::generate().expect("a key");
        let names = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = names.signed_by(&key, &own).expect("signed");
        let (certificate_path, key_path) = (folder.path().join("server.pem"), folder.path().join("server.key"));
        std::fs::write(&certificate_path, certificate.pem()).expect("written");
        std::fs::write(&key_path, key.serialize_pem()).expect("written");
        let tls = crate::config::Tls { certificate: certificate_path, private_key: key_path, client_ca: None };
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(crate::tls::server_config(&tls).expect("it is whole")));
        let (listener, address) = listener().await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut head = [0; 4096];
                    if stream.read(&mut head).await.is_ok() {
                        // Whoever asked may be gone.
                        let _ = stream.write_all(ANSWER).await;
                        let _ = stream.flush().await;
                    }
                });
            }
        });
        let ask = async |ca: Option<&Path>| {
            let transport = ReqwestTransport::by(None, ca).expect("a client");
            let mut request = post(address, Body::Empty);
            request.url = format!("https://localhost:{}/", address.port());
            request.timeout = Duration::from_secs(10);
            transport.send(request).await
        };
        assert_eq!(ask(Some(&own_path)).await.expect("trusted").status, 200);
        for untrusted in [None, Some(other_path.as_path())] {
            let answer = ask(untrusted).await;
            assert!(matches!(answer, Err(TransportError::NotSent(_))), "{untrusted:?}: {answer:?}");
        }
        assert!(ReqwestTransport::by(None, Some(&folder.path().join("missing.pem"))).is_err());
    }

    #[tokio::test]
    async fn a_refused_connection_is_not_sent() {
        let (listener, address) = listener().await;
        drop(listener);
        let transport = ReqwestTransport::new().expect("a client");
        let result = transport.send(post(address, Body::Empty)).await;
        assert!(matches!(result, Err(TransportError::NotSent(_))), "{result:?}");
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_not_sent() {
        let transport = ReqwestTransport::new().expect("a client");
        let mut request = post(([127, 0, 0, 1], 1).into(), Body::Empty);
        request.url = "http://no-such-host.invalid/".into();
        request.timeout = Duration::from_secs(20);
        let result = transport.send(request).await;
        assert!(matches!(result, Err(TransportError::NotSent(_))), "{result:?}");
    }

    #[tokio::test]
    async fn a_server_that_speaks_no_tls_is_not_sent() {
        let (listener, address) = listener().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("the client connects");
            let mut hello = [0u8; 512];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        });
        let transport = ReqwestTransport::new().expect("a client");
        let mut request = post(address, Body::Empty);
        request.url = request.url.replace("http://", "https://");
        let result = transport.send(request).await;
        assert!(matches!(result, Err(TransportError::NotSent(_))), "{result:?}");
        server.await.expect("the server ends");
    }

    #[tokio::test]
    async fn silence_after_the_request_is_unanswered() {
        let (listener, address) = listener().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("the client connects");
            read_request(&mut stream, 2).await.expect("a request");
            tokio::time::sleep(Duration::from_secs(2)).await;
        });
        let transport = ReqwestTransport::new().expect("a client");
        let result = transport.send(post(address, Body::Bytes(Bytes::from_static(b"{}")))).await;
        assert!(matches!(result, Err(TransportError::Unanswered(_))), "{result:?}");
        server.abort();
    }

    #[tokio::test]
    async fn a_reset_on_a_reused_connection_is_unanswered_and_nothing_is_sent_twice() {
        let (listener, address) = listener().await;
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        let server = tokio::spawn(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let counter = counter.clone();
                tokio::spawn(async move {
                    for turn in 0.. {
                        if read_request(&mut stream, 2).await.is_none() {
                            return;
                        }
                        counter.fetch_add(1, Ordering::SeqCst);
                        if turn > 0 {
                            return; // closes without an answer: the request may have been carried out
                        }
                        let _ = stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}").await;
                    }
                });
            }
        });
        let transport = ReqwestTransport::new().expect("a client");
        let body = || Body::Bytes(Bytes::from_static(b"{}"));
        let first = transport.send(post(address, body())).await.expect("the first is answered");
        assert_eq!(first.status, 201);
        let second = transport.send(post(address, body())).await;
        assert!(matches!(second, Err(TransportError::Unanswered(_))), "{second:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(requests.load(Ordering::SeqCst), 2, "each request left once");
        server.abort();
    }

    #[tokio::test]
    async fn redirects_are_answers_and_lengths_are_said() {
        for (body, expected_length, bytes) in [
            (Body::Empty, "content-length: 0\r\n", 0),
            (Body::Bytes(Bytes::from_static(b"abc")), "content-length: 3\r\n", 3),
            (
                Body::Stream {
                    length: 4,
                    stream: Box::pin(futures_util::stream::iter([
                        Ok(Bytes::from_static(b"ab")),
                        Ok(Bytes::from_static(b"cd")),
                    ])),
                },
                "content-length: 4\r\n",
                4,
            ),
        ] {
            let (listener, address) = listener().await;
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.expect("the client connects");
                let request = read_request(&mut stream, bytes).await.expect("a request");
                let answer = "HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.expect("the client reads");
                request
            });
            let transport = ReqwestTransport::new().expect("a client");
            let answer = transport.send(post(address, body)).await.expect("an answer");
            assert_eq!((answer.status, answer.header("location")), (307, Some("/elsewhere")));
            let request = server.await.expect("the server ends").to_lowercase();
            assert!(request.contains(expected_length), "{request}");
            assert!(!request.contains("transfer-encoding"), "{request}");
        }
    }

    /// Takes PDF.
    #[derive(Default)]
    struct Taker(Vec<Bytes>);

    #[async_trait]
    impl TakesDocument for Taker {
        fn wants(&self, status: u16, content_type: Option<&str>) -> bool {
            status == 200 && content_type == Some("application/pdf")
        }

        async fn take(&mut self, bytes: Bytes) -> Result<(), TransportError> {
            self.0.push(bytes);
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_document_goes_to_who_takes_it_as_it_comes_and_nothing_else_does() {
        const PARTS: usize = 40;
        for (content_type, taken) in [("application/pdf", PARTS << 16), ("application/fhir+json", 0)] {
            let (listener, address) = listener().await;
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.expect("the client connects");
                read_request(&mut stream, 0).await.expect("a request");
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n");
                stream.write_all(head.as_bytes()).await.expect("the client reads");
                for _ in 0..PARTS {
                    stream.write_all(&[7; 1 << 16]).await.expect("the client reads");
                }
            });
            let transport = ReqwestTransport::new().expect("a client");
            let mut request = post(address, Body::Empty);
            request.timeout = Duration::from_secs(20);
            let mut taker = Taker::default();
            let answer = transport.send_and_keep(request, &mut taker).await.expect("an answer");
            server.await.expect("the server ends");
            let lengths: Vec<usize> = taker.0.iter().map(Bytes::len).collect();
            assert_eq!(lengths.iter().sum::<usize>(), taken, "{content_type}");
            assert_eq!(answer.body.len(), (PARTS << 16) - taken, "{content_type}");
            assert!(lengths.iter().all(|length| *length < PARTS << 14), "in parts: {lengths:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_above_the_limit_is_not_read_to_its_end() {
        let (listener, address) = listener().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("the client connects");
            read_request(&mut stream, 0).await.expect("a request");
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            let chunk = vec![b'x'; 1 << 20];
            while stream.write_all(&chunk).await.is_ok() {}
        });
        let transport = ReqwestTransport::new().expect("a client");
        let mut request = post(address, Body::Empty);
        request.timeout = Duration::from_secs(20);
        let result = transport.send(request).await;
        assert!(matches!(&result, Err(TransportError::Unanswered(why)) if why.contains("larger")), "{result:?}");
        server.await.expect("the server sees the connection close");
    }
}
