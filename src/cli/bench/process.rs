//! What the operating system says of a process: memory and processor time (Linux, `/proc`).

use std::time::Duration;

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
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        // After the name, which may hold anything: state is field 3, utime and stime are 14 and 15.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 1_000 / TICKS)
    }

    fn status(&self, name: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let kib = line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0);
        kib * 1_024.0 / 1e6
    }
}

/// Who used how much of the machine, from one moment to another.
pub(super) struct Shares {
    began: std::time::Instant,
    gateway: (Process, Duration),
    simulator: (Process, Duration),
    generator: (Process, Duration),
}

impl Shares {
    pub fn from_now(gateway: u32, simulator: u32) -> Self {
        let since = |pid| {
            let process = Process(pid);
            let time = process.processor_time();
            (process, time)
        };
        Self {
            began: std::time::Instant::now(),
            gateway: since(gateway),
            simulator: since(simulator),
            generator: since(std::process::id()),
        }
    }

    /// As in "processors of 2: gateway 1.52, simulator 0.20, generator 0.21".
    pub fn told(&self) -> String {
        let took = self.began.elapsed().as_secs_f64();
        let share = |(process, before): &(Process, Duration)| {
            process.processor_time().saturating_sub(*before).as_secs_f64() / took
        };
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        format!(
            "processors of {processors}: gateway {:.2}, simulator {:.2}, generator {:.2}",
            share(&self.gateway),
            share(&self.simulator),
            share(&self.generator)
        )
    }
}
