//! What the operating system says of a process: memory and processor time (Linux, `/proc`).

use std::time::Duration;

use super::super::exit::CliError;
use super::Scale;
use super::house::House;
use super::postgres::Server;

/// Clock ticks a second in `/proc/PID/stat`: fixed at 100 for user space on Linux.
const TICKS: u64 = 100;

pub(super) struct Process(pub u32);

impl Process {
    /// Resident memory now, in MB (10^6 bytes).
    pub fn resident_mb(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// The most that was resident since the start, or since [`Process::forget_peak`].
    pub fn peak_mb(&self) -> f64 {
        self.status("VmHWM:")
    }

    /// From now on the peak is counted anew. Without the right to, the old peak stays and the figure is higher.
    pub fn forget_peak(&self) {
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.0), "5");
    }

    /// Time on processors so far.
    pub fn processor_time(&self) -> Duration {
        stat(self.0).map_or(Duration::ZERO, |stat| ticks(stat.ticks))
    }

    fn status(&self, name: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let kib = line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0);
        kib * 1_024.0 / 1e6
    }
}

/// Time on processors so far of a process's parent and of all its children, those that ended included.
pub(super) fn family_time(child: u32) -> Duration {
    let Some(parent) = stat(child).and_then(|stat| stat.parent) else { return Duration::ZERO };
    let Ok(processes) = std::fs::read_dir("/proc") else { return Duration::ZERO };
    let siblings = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let siblings = siblings.filter_map(stat).filter(|stat| stat.parent == Some(parent));
    let ended = stat(parent).map_or(0, |stat| stat.ticks + stat.ticks_of_ended);
    ticks(siblings.map(|stat| stat.ticks).sum::<u64>() + ended)
}

/// Of `/proc/PID/stat`.
struct Stat {
    parent: Option<u32>,
    ticks: u64,
    /// Of children that ended.
    ticks_of_ended: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything: state is field 3, the parent 4, utime and stime are 14 and 15, those
    // of ended children 16 and 17.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3).and_then(|field| field.parse::<u64>().ok());
    Some(Stat {
        parent: number(4).and_then(|parent| u32::try_from(parent).ok()),
        ticks: number(14)? + number(15)?,
        ticks_of_ended: number(16)? + number(17)?,
    })
}

fn ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1_000 / TICKS)
}

/// Who used how much of the machine, from one moment to another.
pub(super) struct Shares<'s> {
    began: std::time::Instant,
    gateways: Vec<(Process, Duration)>,
    simulator: (Process, Duration),
    generator: (Process, Duration),
    database: Option<(&'s Server, Duration)>,
}

/// Processors used on average.
pub(super) struct Used {
    gateways: f64,
    simulator: f64,
    generator: f64,
    database: Option<f64>,
}

impl<'s> Shares<'s> {
    pub async fn from_now(house: &House<'_>, scale: &'s Scale) -> Result<Self, CliError> {
        let since = |process: Process| {
            let time = process.processor_time();
            (process, time)
        };
        let database = match &scale.server {
            Some(server) => Some((server, server.processor_time().await?)),
            None => None,
        };
        Ok(Self {
            began: std::time::Instant::now(),
            gateways: house.gateways().into_iter().map(since).collect(),
            simulator: since(house.simulator()),
            generator: since(Process(std::process::id())),
            database,
        })
    }

    pub async fn used(&self) -> Result<Used, CliError> {
        let took = self.began.elapsed().as_secs_f64();
        let share = |(process, before): &(Process, Duration)| {
            process.processor_time().saturating_sub(*before).as_secs_f64() / took
        };
        let database = match self.database {
            Some((server, before)) => Some(server.processor_time().await?.saturating_sub(before).as_secs_f64() / took),
            None => None,
        };
        Ok(Used {
            gateways: self.gateways.iter().map(share).sum(),
            simulator: share(&self.simulator),
            generator: share(&self.generator),
            database,
        })
    }
}

/// As in "processors of 2: gateway 1.52, simulator 0.20, generator 0.21; 0.12 ms of the gateway's a message".
impl Used {
    pub fn told(&self, per_second: f64) -> String {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let each = |share: f64| 1e3 * share / per_second;
        let database = self.database.map_or(String::new(), |share| format!(", database {share:.2}"));
        let each_database =
            self.database.map_or(String::new(), |share| format!(" and {:.3} ms of its database's", each(share)));
        format!(
            "processors of {processors}: gateway {:.2}{database}, simulator {:.2}, generator {:.2}; {:.3} ms of the \
             gateway's{each_database} each",
            self.gateways,
            self.simulator,
            self.generator,
            each(self.gateways),
        )
    }
}
