//! With the command line alone. The clinician signs in where clinicians do.

use ers_gateway::simulator::demonstration::FIRST_CLINICIAN;
use serde_json::Value;

use super::{IN_DOUBT, NO_REFERRAL, NO_RIGHT, NO_ROW, Night, SOON, WAITING};
use crate::cli;
use crate::http::people::Browser;

/// The command line of the person on call.
struct Terminal {
    api: String,
}

impl Terminal {
    fn says(&self, arguments: &[&str]) -> String {
        let output = cli::run(&[arguments, &["--api", &self.api]].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn tells(&self, arguments: &[&str]) -> Value {
        let text = self.says(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    fn acts(&self, arguments: &[&str], why: &str) -> String {
        self.says(&[arguments, &["--why", why, "--by", "j.smith"]].concat())
    }

    /// The cause of the one problem in whose sentence or code this stands, and how many it has.
    fn cause(&self, wanted: &str) -> (String, usize) {
        let problems = self.tells(&["problems"]);
        let problems = problems["problems"].as_array().expect("a list");
        let found = problems.iter().filter(|problem| problem.to_string().contains(wanted)).collect::<Vec<_>>();
        let [problem] = found[..] else { panic!("{wanted:?} is not one problem: {problems:#?}") };
        let count = problem["count"].as_u64().expect("a count");
        (problem["cause"].as_str().expect("an id").to_owned(), usize::try_from(count).expect("few"))
    }

    /// Replays what one cause held up, at half of the quota, until it is done.
    async fn replays(&self, which: &[&str], cause: &str, why: &str) -> Value {
        let which = [which, &["--cause", cause]].concat();
        assert!(self.says(&[&["replay", "preview"], &which[..]].concat()).contains("would be"));
        let begun = self.acts(&[&["replay", "start", "--share", "0.5"], &which[..]].concat(), why);
        let id = begun.split(' ').nth(1).expect("an id").to_owned();
        let began = std::time::Instant::now();
        loop {
            let shown = self.tells(&["replay", "show", &id]);
            if shown["state"] == "done" {
                return shown;
            }
            assert_eq!(shown["state"], "running", "{shown:#}");
            assert!(began.elapsed() < SOON * 2, "{shown:#}");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_hundred_failures_are_solved_with_the_command_line_alone() {
    let mut night = Night::at_three(|_| {}).await;
    night.live_traffic();
    let terminal = Terminal { api: night.gateway.url("") };
    let shown = terminal.says(&["problems"]);
    for part in [
        format!("{NO_ROW} messages from northmoor are refused since"),
        "priority.csv".to_owned(),
        format!("{NO_REFERRAL} messages from northmoor are refused since"),
        format!("{NO_RIGHT} commands CreateReferral from eastvale fail since"),
    ] {
        assert!(shown.contains(&part), "{part} is not in\n{shown}");
    }

    let (row, count) = terminal.cause("priority.csv");
    assert_eq!(count, NO_ROW);
    night.mends_the_table().await;
    let done = terminal.replays(&["--rejected"], &row, "the table has its row").await;
    assert_eq!(done["items"].as_u64(), Some(NO_ROW as u64), "{done:#}");

    let (unknown, count) = terminal.cause("Unknown key identifier");
    assert_eq!(count, NO_REFERRAL);
    terminal.replays(&["--rejected"], &unknown, "their referrals are here now").await;

    let (right, count) = terminal.cause("eastvale");
    assert_eq!(count, NO_RIGHT);
    terminal.replays(&[], &right, "e-RS gave the right back").await;

    let doubts = terminal.tells(&["indoubt", "list"]);
    let doubts = doubts["commands"].as_array().expect("a list").clone();
    assert_eq!(doubts.len(), IN_DOUBT);
    for doubt in &doubts {
        let command = doubt["id"].as_str().expect("an id");
        // A person looks in e-RS, by patient.
        let shown = terminal.tells(&["messages", "show", doubt["message"].as_str().expect("an id")]);
        let made = night.request_of(&shown);
        terminal.acts(&["indoubt", "decide", command, "--done", "--ubrn", &made], "found in e-RS");
    }

    let waiting = terminal.says(&["waiting", "list"]);
    assert!(waiting.contains(FIRST_CLINICIAN) && waiting.contains(&WAITING.to_string()), "{waiting}");
    let mut clinician = Browser::new();
    clinician.signs_in(&night.gateway, FIRST_CLINICIAN).await;
    let confirmed = clinician.confirms(&night.gateway, &serde_json::json!({ "all": true })).await;
    assert_eq!(confirmed["confirmed"].as_u64(), Some(WAITING as u64), "{confirmed:#}");

    night.gateway.settle(SOON).await;
    let day = ers_gateway::environment::Environment::system().now().strftime("%Y-%m-%d").to_string();
    assert!(terminal.says(&["report", "--day", &day]).contains("even"));
    night.ends_well().await;
}
