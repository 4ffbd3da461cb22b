//! The program as its users run it: a process, its arguments, signals and exit codes.

mod audit;
mod deciding;
mod documented;
mod patients;
mod serve;
mod usage;

use std::path::Path;
use std::process::{Command, Output};

pub fn gateway(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ers-gateway"));
    for name in ["CONFIG", "API", "STORE", "KEY_FILE", "INSTANCE", "LOG", "LOG_FORMAT", "STORE_FILE", "TOKEN"] {
        command.env_remove(format!("ERS_GATEWAY_{name}"));
    }
    command.args(arguments);
    command
}

pub fn run(arguments: &[&str]) -> Output {
    gateway(arguments).output().expect("the program runs")
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}
