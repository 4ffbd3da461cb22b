//! Three in the morning: four hundred messages have failed for three causes, two writes are in doubt, five commands wait for a
//! signed-in user, and patients' referrals keep coming. It is solved by the console alone, and again by the command line alone.

mod by_cli;
mod by_console;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Action, Fault, Simulator, SimulatorConfig, SimulatorHandle};
use serde_json::{Value, json};

use crate::http::people::settle_of;
use crate::support::referrals::{Patients, attach, create, northmoor};
use crate::support::sender::{HttpSender, MllpSender, field};
use crate::support::serve::Serve;
use crate::support::waiting::get;

/// Refused: their priority code has no row in the table of their source.
const NO_ROW: usize = 200;
/// Failed: e-RS refused the referral, until somebody mended a right there.
const NO_RIGHT: usize = 150;
/// Refused: letters for referrals that nobody knows, for they are among the first.
const NO_REFERRAL: usize = 50;
const IN_DOUBT: usize = 2;
const WAITING: usize = 5;
const SOON: Duration = Duration::from_secs(60);
/// What e-RS takes in a second at its real pace: a command that lets no more calls pass than these waits no second.
const A_SECOND_OF_QUOTA: usize = 10;

struct Night {
    ers: Arc<SimulatorHandle>,
    gateway: Serve,
    patients: Arc<Patients>,
    /// Referrals that e-RS had before anything came.
    seeded: usize,
    requests_seeded: usize,
    live: Option<LiveTraffic>,
}

/// A referral of the live traffic: whose, and how many calls e-RS had seen when it was acknowledged.
struct Live {
    nhs_number: String,
    calls_before: usize,
}

struct LiveTraffic {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<Live>>,
}

impl Night {
    /// As it is when the telephone rings.
    async fn at_three(console: impl FnOnce(&mut Serve)) -> Self {
        let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
        let mut gateway = Serve::new(&ers);
        let mappings = gateway.folder.path().join("mappings");
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings"), &mappings);
        gateway.settings["mappings"] = mappings.to_str().expect("a plain name").into();
        // Ten times as fast as e-RS allows, so that the test takes a tenth of the night.
        gateway.settings["delivery"]["pacing"] = json!({ "enabled": true, "per_second": 96.0, "gap_min": "8ms" });
        settle_of(&mut gateway, &ers, "southbeck");
        console(&mut gateway);
        gateway.start_and_wait().await;
        let (seeded, requests_seeded) = (ers.referrals().len(), ers.advice_requests().len());
        let (ers, patients) = (Arc::new(ers), Arc::new(Patients::new()));
        let night = Self { ers, gateway, patients, seeded, requests_seeded, live: None };
        night.goes_wrong().await;
        night
    }

    async fn goes_wrong(&self) {
        let mut mllp = MllpSender::new(self.gateway.mllp);
        for number in 0..NO_ROW {
            let message = northmoor(&format!("A{number}"), &format!("NM-A{number}"), &self.patients.next(), None);
            let message = String::from_utf8(message).expect("ASCII").replace("RF1|P|3|", "RF1|P|4|");
            let answer = mllp.deliver(message.as_bytes()).await;
            assert_eq!(field(&answer, b"MSA", 1), b"AE", "{}", String::from_utf8_lossy(&answer));
        }
        let mut http = HttpSender::new();
        for number in 0..NO_REFERRAL {
            let body = attach(&format!("NM-A{number}"), &format!("letter-{number}.txt"), "aGVsbG8=");
            let url = self.gateway.url("/v1/commands/AttachLetters?source=northmoor");
            assert_eq!(http.deliver(&url, &format!("L{number}"), &body).await.0, 422);
        }
        self.ers.inject(Fault::on("A011", Action::answer(403)).times(NO_RIGHT as u64));
        let url = self.gateway.url("/v1/commands/CreateReferral?source=eastvale");
        for number in 0..NO_RIGHT {
            let body = create(&format!("EV-B{number}"), &self.patients.next());
            assert_eq!(http.deliver(&url, &format!("B{number}"), &body).await.0, 202);
        }
        self.gateway.settle(SOON * 3).await;
        self.ers.inject(Fault::on("A044", Action::lost_answer()).times(IN_DOUBT as u64));
        for number in 0..IN_DOUBT {
            let body = json!({
                "localId": format!("NM-D{number}"), "patient": {"nhsNumber": self.patients.next()}, "priority": "ROUTINE",
                "specialty": "CARDIOLOGY", "service": "11014", "conversion": "NOT_AUTHORISED_TO_CONVERT",
                "request": "What would you do?", "referrer": {"sdsUserId": "555012345678"},
            });
            let url = self.gateway.url("/v1/commands/CreateAdviceRequest?source=northmoor");
            assert_eq!(http.deliver(&url, &format!("D{number}"), &body).await.0, 202);
            // One after the other, so that they are known apart in e-RS.
            self.until("state=in_doubt", number + 1).await;
        }
        let url = self.gateway.url("/v1/commands/CreateReferral?source=southbeck");
        for number in 0..WAITING {
            let mut body = create(&format!("SB-{number}"), &self.patients.next());
            body["author"] = "CY".into();
            assert_eq!(http.deliver(&url, &format!("W{number}"), &body).await.0, 202);
        }
        self.until("state=unauthorised", WAITING).await;
    }

    async fn until(&self, filter: &str, count: usize) {
        let began = Instant::now();
        while self.count(filter).await < count {
            assert!(began.elapsed() < SOON, "{filter}: {}", self.gateway.log_end());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Referrals keep coming, ten a second.
    fn live_traffic(&mut self) {
        let (ers, patients, mllp) = (self.ers.clone(), self.patients.clone(), self.gateway.mllp);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let (mut sender, mut sent) = (MllpSender::new(mllp), Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                let (number, nhs_number) = (sent.len(), patients.next());
                let message = northmoor(&format!("LIVE{number}"), &format!("NM-L{number}"), &nhs_number, None);
                let answer = sender.deliver(&message).await;
                assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", String::from_utf8_lossy(&answer));
                sent.push(Live { nhs_number, calls_before: ers.ledger().len() });
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            sent
        });
        self.live = Some(LiveTraffic { stop, task });
    }

    /// The table gets its row, and the gateway reads it.
    async fn mends_the_table(&self) {
        let table = self.gateway.folder.path().join("mappings/codes/northmoor/priority.csv");
        let rows = std::fs::read_to_string(&table).expect("a table");
        std::fs::write(&table, format!("{rows}4,ROUTINE,as telephoned\n")).expect("mended");
        let began = Instant::now();
        self.gateway.signal("HUP");
        while !self.gateway.log().contains("the mapping files were read again") {
            assert!(began.elapsed() < SOON, "{}", self.gateway.log_end());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn count(&self, filter: &str) -> usize {
        let page = told(&self.gateway, &format!("/v1/messages?{filter}")).await;
        page["messages"].as_array().map(Vec::len).expect("a list")
    }

    /// What e-RS has for the command of a message, as a person finds it there by its patient and time: the n-th that was lost is
    /// the n-th that was made.
    fn request_of(&self, message: &Value) -> String {
        let control_id = message["controlId"].as_str().unwrap_or_default();
        let number = (0..IN_DOUBT).find(|number| control_id == format!("D{number}")).expect("one of them");
        self.requests_of_tonight()[number].clone()
    }

    fn requests_of_tonight(&self) -> Vec<String> {
        self.ers.advice_requests().split_off(self.requests_seeded)
    }

    /// Everything was done once, and nothing that lives waited for it.
    async fn ends_well(mut self) {
        let live = self.live.take().expect("it came all the time");
        live.stop.store(true, Ordering::Relaxed);
        let live = live.task.await.expect("all were acknowledged");
        self.gateway.settle(SOON).await;
        let wanted = NO_ROW + NO_RIGHT + WAITING + live.len();
        let referrals = self.ers.referrals().len() - self.seeded;
        assert_eq!(referrals, wanted, "each patient once: {} live\n{}", live.len(), self.gateway.log_end());
        assert!(self.ers.duplicates().is_empty(), "{:?}", self.ers.duplicates());
        assert_eq!(self.requests_of_tonight().len(), IN_DOUBT, "what was in doubt was not sent again");
        let ledger = self.ers.ledger();
        let linked = ledger.iter().filter(|entry| entry.operation == "A012" && entry.status == 200).count();
        assert_eq!(linked, NO_REFERRAL, "each letter once");
        let creations = self.ers.creations();
        let waits: Vec<usize> = live
            .iter()
            .map(|one| {
                let made = creations.iter().find(|made| *made.nhs_number == *one.nhs_number).expect("it was made");
                let is_its = |entry: &ers_gateway::simulator::Entry| {
                    entry.operation == "A011" && entry.ubrn.as_ref() == Some(&made.ubrn)
                };
                ledger.iter().position(is_its).expect("it was sent").saturating_sub(one.calls_before)
            })
            .collect();
        let longest = waits.iter().max().copied().unwrap_or_default();
        eprintln!("{} live referrals beside it; at most {longest} calls went first", live.len());
        assert!(
            live.len() > 20 && longest <= A_SECOND_OF_QUOTA,
            "a live referral waited for {longest} calls: {waits:?}"
        );
        let problems = told(&self.gateway, "/v1/problems").await;
        assert_eq!(problems["problems"], json!([]), "nothing is left");
        let day = Environment::system().now().strftime("%Y-%m-%d").to_string();
        let report = told(&self.gateway, &format!("/v1/reports/{day}")).await;
        assert_eq!(report["balanced"], true, "{report:#}");
        assert!(self.gateway.stop().await.success(), "{}", self.gateway.log_end());
        self.ers.stop().await;
    }
}

async fn told(gateway: &Serve, path: &str) -> Value {
    let answer = get(gateway.url(path)).await;
    let (status, text) = (answer.status(), answer.text().await.expect("a body"));
    assert!(status.is_success(), "{path}: {status}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

fn copy(from: &Path, to: &PathBuf) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy(&from, &to),
            false => drop(std::fs::copy(&from, &to).expect("copied")),
        }
    }
}
