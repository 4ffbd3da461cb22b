//! Real sockets on the loopback address, with a door that answers by itself.

mod conversations;
mod door;
mod hostile;
mod tls;
