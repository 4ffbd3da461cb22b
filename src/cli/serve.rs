//! `serve`: the gateway itself, until it is asked to stop.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{CliError, Done};
use super::settings::Settings;
use super::{busy_runtime, stop};
use crate::environment::Environment;
use crate::gateway::{Gateway, RunningGateway};
use crate::telemetry;

/// Run the gateway
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway serve --config /etc/ers-gateway/gateway.yaml
  ers-gateway serve                                the demonstration's settings; e-RS is `ers-gateway simulate`
  kill -HUP PID                                    reads the mapping files and the tokens and people of the settings again; what is
                                                   broken changes nothing

SIGTERM and SIGINT stop it in order: listeners answer what they hold, e-RS calls in flight end, events in
flight are confirmed. A kill at any instant is safe too.")]
pub struct Serve {
    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    pub fn run(self) -> Done {
        let config = self.settings.load()?;
        telemetry::start_logs(&config.log).map_err(|error| CliError::Usage(error.to_string()))?;
        busy_runtime()?.block_on(async {
            let mut asked = stop::Asked::listen()?;
            let mut hang_up = signal(SignalKind::hangup()).map_err(|error| CliError::unavailable("signals", error))?;
            let settings = self.settings.name();
            let gateway = Gateway::start(config, Environment::system())
                .await
                .map_err(|error| CliError::unavailable("the gateway cannot start", error))?;
            announce(&gateway, &settings);
            loop {
                tokio::select! {
                    () = asked.stop() => break,
                    _ = hang_up.recv() => self.read_again(&gateway).await,
                }
            }
            tracing::info!("stopping");
            if gateway.stop().await {
                tracing::info!("stopped");
                Ok(())
            } else {
                Err(CliError::No("not everything stopped in time; nothing is lost".to_owned()))
            }
        })
    }
}

impl Serve {
    /// Mapping files, and of the settings the tokens and people. Whatever comes of it is in the log, and of mappings in the metrics.
    async fn read_again(&self, gateway: &RunningGateway) {
        drop(gateway.reload_mappings().await);
        match self.settings.load() {
            Ok(config) => gateway.replace_callers(&config),
            Err(error) => {
                tracing::error!(%error, "the settings cannot be read again: tokens and people stay as they were (ers-gateway check)");
            }
        }
    }
}

fn announce(gateway: &RunningGateway, settings: &str) {
    for bound in &gateway.addresses {
        tracing::info!(listener.kind = bound.kind.name(), listener.address = %bound.address, "listening");
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        settings,
        mapping.set = %gateway.mapping_set(),
        "the gateway is ready"
    );
}
