//! The command line; see `ers-gateway --help`.

fn main() -> std::process::ExitCode {
    ers_gateway::cli::run()
}
