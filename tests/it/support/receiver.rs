//! A hospital system that takes HL7 v2 over MLLP. Its frames and acknowledgements are written here, apart from the
//! gateway's.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ers_gateway::config::Tls;
use ers_gateway::tls::server_config;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::sender::{field, framed};

/// What it does with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Habit {
    /// MSA-1, and what stands below MSA.
    Answers(&'static str, &'static str),
    /// First answers something that was never asked, then this.
    AnswersLate(&'static str),
    /// Takes it, and closes the connection.
    TakesAndCloses,
    Silent,
    HangsUp,
}

pub const TAKES: Habit = Habit::Answers("AA", "");

type Habits = dyn Fn(&[u8]) -> Habit + Send + Sync;

pub struct Receiver {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
    habit: Arc<Mutex<Arc<Habits>>>,
    listening: JoinHandle<()>,
    conversations: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Receiver {
    pub async fn start() -> Self {
        Self::listening("127.0.0.1:0", None, Arc::new(|_: &[u8]| TAKES)).await
    }

    /// At an address that is known, as one that comes back.
    pub async fn at(address: SocketAddr) -> Self {
        Self::at_with(address, |_| TAKES).await
    }

    /// The same with a habit from the first message on.
    pub async fn at_with(address: SocketAddr, habit: impl Fn(&[u8]) -> Habit + Send + Sync + 'static) -> Self {
        Self::listening(&address.to_string(), None, Arc::new(habit)).await
    }

    /// Only for clients with a certificate of `client_ca`.
    pub async fn with_tls(certificate: PathBuf, private_key: PathBuf, client_ca: PathBuf) -> Self {
        let tls = Tls { certificate, private_key, client_ca: Some(client_ca) };
        Self::listening("127.0.0.1:0", Some(tls), Arc::new(|_: &[u8]| TAKES)).await
    }

    async fn listening(address: &str, tls: Option<Tls>, habit: Arc<Habits>) -> Self {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let address = listener.local_addr().expect("it is bound");
        let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(server_config(&tls).expect("PEM files"))));
        let received: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let habit = Arc::new(Mutex::new(habit));
        let conversations: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
        let (heard, habits, talks) = (received.clone(), habit.clone(), conversations.clone());
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (heard, habits, acceptor) = (heard.clone(), habits.clone(), acceptor.clone());
                talks.lock().push(tokio::spawn(async move {
                    match acceptor {
                        None => converse(stream, &heard, &habits).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                converse(stream, &heard, &habits).await;
                            }
                        }
                    }
                }));
            }
        });
        Self { address, received, habit, listening, conversations }
    }

    /// From now on.
    pub fn does(&self, habit: impl Fn(&[u8]) -> Habit + Send + Sync + 'static) {
        *self.habit.lock() = Arc::new(habit);
    }

    /// Every message that came, repetitions too.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.received.lock().clone()
    }

    pub fn count(&self) -> usize {
        self.received.lock().len()
    }

    /// A field of each of them.
    pub fn fields(&self, segment: &str, number: usize) -> Vec<String> {
        let value =
            |message: &Vec<u8>| String::from_utf8_lossy(field(message, segment.as_bytes(), number)).into_owned();
        self.received.lock().iter().map(value).collect()
    }

    /// Gone, with its connections.
    pub async fn stop(self) {
        self.listening.abort();
        let _ = self.listening.await;
        let conversations = std::mem::take(&mut *self.conversations.lock());
        for conversation in conversations {
            conversation.abort();
            let _ = conversation.await;
        }
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    received: &Mutex<Vec<Vec<u8>>>,
    habit: &Mutex<Arc<Habits>>,
) {
    let mut buffer = Vec::new();
    loop {
        while let Some(end) = buffer.windows(2).position(|pair| pair == b"\x1c\r") {
            let frame: Vec<u8> = buffer.drain(..end + 2).collect();
            assert_eq!(frame[0], 0x0b, "a frame begins with a start block");
            let message = frame[1..end].to_vec();
            received.lock().push(message.clone());
            let does = habit.lock().clone();
            let does = does(&message);
            let (code, rest) = match does {
                Habit::TakesAndCloses => ("AA", ""),
                Habit::Silent => continue,
                Habit::HangsUp => return,
                Habit::Answers(code, rest) => (code, rest),
                Habit::AnswersLate(code) => {
                    if stream.write_all(&framed(&acknowledgement(b"LONG-AGO", "AA", ""))).await.is_err() {
                        return;
                    }
                    (code, "")
                }
            };
            let answer = acknowledgement(field(&message, b"MSH", 9), code, rest);
            if stream.write_all(&framed(&answer)).await.is_err() || does == Habit::TakesAndCloses {
                return;
            }
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn acknowledgement(control_id: &[u8], code: &str, rest: &str) -> Vec<u8> {
    let mut answer = format!("MSH|^~\\&|PAS|RXX|ERS|X|20260316093000||ACK|R1|P|2.4\rMSA|{code}|").into_bytes();
    answer.extend_from_slice(control_id);
    answer.push(b'\r');
    answer.extend_from_slice(rest.as_bytes());
    answer
}
