//! A wire between a gateway and its database that can be cut, kept cut, or held up without a word.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Open,
    /// Everybody seems to be there, and nothing arrives.
    Stalled,
    /// Connections are closed, and new ones as soon as they are made.
    Cut,
}

pub struct Proxy {
    pub port: u16,
    wire: watch::Sender<Wire>,
}

impl Proxy {
    /// To a port of this machine.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (wire, watched) = watch::channel(Wire::Open);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *watched.borrow() != Wire::Cut {
                    tokio::spawn(relay(client, server, watched.clone()));
                }
            }
        });
        Self { port, wire }
    }

    pub fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }
}

/// Ends, and closes both sides, when either side does or the wire is cut.
async fn relay(mut client: TcpStream, server: u16, mut wire: watch::Receiver<Wire>) {
    if !opened(&mut wire).await {
        return;
    }
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { return };
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        () = pump(from_client, to_server, wire.clone()) => {}
        () = pump(from_server, to_client, wire) => {}
    }
}

async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut wire: watch::Receiver<Wire>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            changed = wire.changed() => match changed {
                Ok(()) if opened(&mut wire).await => continue,
                Ok(()) | Err(_) => return,
            },
            read = from.read(&mut buffer) => read,
        };
        let Ok(count @ 1..) = read else { return };
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Waits while the wire is stalled. False if it is cut.
async fn opened(wire: &mut watch::Receiver<Wire>) -> bool {
    wire.wait_for(|wire| *wire != Wire::Stalled).await.is_ok_and(|wire| *wire == Wire::Open)
}
