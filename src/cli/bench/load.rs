//! The generator: connections that send a message, wait for its AA, and send the next.
//!
//! It runs on the one thread of the benchmark. What it measures is from the first byte written to the last byte
//! of the answer read.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::super::exit::CliError;
use super::frames::{Frame, is_accepted, is_whole};

const ANSWER_MAX: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What all connections share. Numbers go on from one load to the next, so that no message is a resend.
pub(super) struct Load {
    next: Rc<Cell<u64>>,
    /// Messages that may have been sent at most, in all.
    pub allowed: Rc<Cell<u64>>,
}

/// Where a load goes.
pub(super) struct Doors {
    pub mllp: Vec<SocketAddr>,
    /// By which a sender shows who it is.
    pub tls: Option<TlsConnector>,
}

impl Doors {
    /// A connection before its first message.
    async fn enter(to: SocketAddr, tls: Option<TlsConnector>) -> std::io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(match tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.connect(ServerName::try_from("localhost").expect("a name"), stream).await?),
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// How long each answer took, and over what time they were measured.
pub(super) struct Answers {
    times: Vec<Duration>,
    took: Duration,
}

impl Answers {
    pub fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64()
    }

    pub fn milliseconds_at(&self, share: f64) -> f64 {
        let at = (self.times.len().saturating_sub(1) as f64 * share) as usize;
        self.times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

/// When connections stop sending.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// Measured is what is answered between the two times after the beginning.
    Time { from: Duration, to: Duration },
    /// So many messages in all have been sent.
    Sent(u64),
}

impl Load {
    pub fn new() -> Self {
        Self { next: Rc::new(Cell::new(0)), allowed: Rc::new(Cell::new(u64::MAX)) }
    }

    /// Messages numbered so far.
    pub fn sent(&self) -> u64 {
        self.next.get()
    }

    /// Spread evenly over the addresses.
    pub async fn run(&self, to: &Doors, connections: usize, frame: &Frame, until: Until) -> Result<Answers, CliError> {
        let began = Instant::now();
        let local = LocalSet::new();
        let tasks: Vec<_> = (0..connections)
            .zip(to.mllp.iter().cycle())
            .map(|(_, address)| {
                let (next, allowed) = (self.next.clone(), self.allowed.clone());
                local.spawn_local(converse(
                    Doors::enter(*address, to.tls.clone()),
                    frame.clone(),
                    next,
                    allowed,
                    began,
                    until,
                ))
            })
            .collect();
        local.await;
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.map_err(|error| CliError::unavailable("the generator", error))??);
        }
        times.sort_unstable();
        let took = match until {
            Until::Time { from, to } => to - from,
            Until::Sent(_) => began.elapsed(),
        };
        Ok(Answers { times, took })
    }
}

async fn converse(
    enters: impl Future<Output = std::io::Result<Box<dyn Stream>>>,
    mut frame: Frame,
    next: Rc<Cell<u64>>,
    allowed: Rc<Cell<u64>>,
    began: Instant,
    until: Until,
) -> Result<Vec<Duration>, CliError> {
    let broken = |error: std::io::Error| CliError::unavailable("a connection of the generator", error);
    let mut stream = enters.await.map_err(broken)?;
    let mut times = Vec::new();
    let mut answer = Vec::with_capacity(4_096);
    loop {
        let number = next.get();
        let is_over = match until {
            Until::Time { to, .. } => began.elapsed() >= to,
            Until::Sent(count) => number >= count,
        };
        if is_over {
            return Ok(times);
        }
        if number >= allowed.get() {
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        }
        next.set(number + 1);
        let bytes = frame.number(number);
        let asked = Instant::now();
        stream.write_all(bytes).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        answer.clear();
        while !is_whole(&answer) {
            let read = tokio::time::timeout(ANSWER_MAX, stream.read_buf(&mut answer)).await;
            let read = read.map_err(|_| CliError::Unavailable(format!("no answer within {ANSWER_MAX:?}")))?;
            if read.map_err(broken)? == 0 {
                return Err(CliError::Unavailable("the gateway closed a connection".to_owned()));
            }
        }
        if !is_accepted(&answer) {
            return Err(CliError::No(format!("a message was refused: {}", String::from_utf8_lossy(&answer))));
        }
        let is_measured = match until {
            Until::Time { from, to } => (from..to).contains(&began.elapsed()),
            Until::Sent(_) => true,
        };
        if is_measured {
            times.push(asked.elapsed());
        }
    }
}
