//! The demonstration's world: a simulator, a gateway in front of it, and eyes on both.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::command::{CommandId, EventId};
use crate::config::{Broker, Config, Listener, StoreUrl, TopologyMode};
use crate::environment::Environment;
use crate::gateway::{Gateway, RunningGateway};
use crate::inbound::mllp::MllpClient;
use crate::mapping::MappingSet;
use crate::simulator::{Action, Fault, Simulator, SimulatorConfig, SimulatorHandle};
use crate::store::{MessageFilter, Store};

use super::super::exit::CliError;
use super::super::send::acknowledgement;
use super::scenes::Way;
use super::teller::Teller;

const ANSWER_MAX: Duration = Duration::from_secs(10);
const STOP_MAX: Duration = Duration::from_secs(20);

pub struct Stage {
    simulator: SimulatorHandle,
    gateway: RunningGateway,
    environment: Environment,
    folder: Folder,
    mllp: SocketAddr,
    http: SocketAddr,
    has_broker: bool,
    pub ready_after: Duration,
}

/// What the sender heard.
pub struct Answered {
    pub code: String,
    pub accepted: bool,
    pub errors: Vec<String>,
}

/// What a scene brought about so far.
#[derive(Debug, Default)]
pub struct Seen {
    pub answer: String,
    pub calls: Vec<(String, u16)>,
    pub events: Vec<String>,
    pub ubrn: Option<String>,
}

/// How things stood before a scene.
pub struct Before {
    last_event: u64,
    last_message: Option<crate::command::MessageId>,
}

/// Removed when the demonstration ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed from a temporary folder is the system's to clean up.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
