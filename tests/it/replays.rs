//! The night shift: what fails is found by its cause, and replayed at once, however often the gateway is killed meanwhile.

use std::time::{Duration, Instant};

use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Action, Fault, Simulator, SimulatorConfig, SimulatorHandle};
use futures_util::stream::{self, StreamExt as _};
use reqwest::Response;
use serde_json::{Value, json};

use crate::cli;
use crate::support::referrals::{Patients, attach, create};
use crate::support::serve::Serve;
use crate::support::waiting::client;

const SOON: Duration = Duration::from_secs(60);

fn ers() -> SimulatorHandle {
    Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free")
}

async fn told(response: Response) -> Value {
    let (status, text) = (response.status(), response.text().await.expect("a body"));
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

async fn get(gateway: &Serve, path: &str) -> Value {
    told(client().get(gateway.url(path)).send().await.expect("an answer")).await
}

async fn post(gateway: &Serve, path: &str, body: &Value) -> Response {
    client().post(gateway.url(path)).json(body).send().await.expect("an answer")
}

/// Referrals that e-RS refuses, as many, all of different patients.
async fn refused_by_ers(gateway: &Serve, ers: &SimulatorHandle, count: usize) {
    let patients = Patients::new();
    ers.inject(Fault::on("A011", Action::answer(403)));
    let bodies: Vec<Value> = (0..count).map(|number| create(&format!("R{number}"), &patients.next())).collect();
    let sent = stream::iter(&bodies).map(|body| post(gateway, "/v1/commands/CreateReferral?source=northmoor", body));
    let statuses: Vec<u16> = sent.buffer_unordered(32).map(|answer| answer.status().as_u16()).collect().await;
    assert!(statuses.iter().all(|status| *status == 202), "all were stored");
    gateway.settle(SOON * 10).await;
    assert_eq!(gateway.standings().0.get(&6), Some(&i64::try_from(count).expect("few")), "all failed");
    ers.clear_faults();
}

fn decides(more: &Value) -> Value {
    let mut body = json!({ "by": "j.smith", "why": "the right was given" });
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

/// Of a replay that is done; asks until it is.
async fn until_done(gateway: &Serve, path: &str, limit: Duration) -> Value {
    let began = Instant::now();
    loop {
        let shown = get(gateway, path).await;
        if shown["state"] != "running" {
            return shown;
        }
        assert!(began.elapsed() < limit, "{shown:#}\n{}", gateway.log_end());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// `./test --full` asks for 50,000.
fn how_many() -> usize {
    std::env::var("ERS_GATEWAY_TEST_REPLAYS").ok().and_then(|text| text.parse().ok()).unwrap_or(400)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_replay_that_is_killed_goes_on_where_it_was_and_replays_each_once() {
    let (ers, count) = (ers(), how_many());
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    refused_by_ers(&gateway, &ers, count).await;

    let problems = get(&gateway, "/v1/problems").await;
    let problem = &problems["problems"][0];
    assert_eq!(
        (problem["count"].as_u64(), problem["call"].as_str()),
        (Some(count as u64), Some("A011")),
        "{problems:#}"
    );
    assert_eq!(problems["problems"].as_array().map(Vec::len), Some(1), "they have one cause");
    assert!(problem["who"].as_str().is_some_and(|who| !who.is_empty()) && problem["patients"].is_string());

    let seeded = ers.referrals().len();
    let filter = json!({ "cause": problem["cause"] });
    let preview = told(post(&gateway, "/v1/replays?preview=true", &json!({ "filter": filter })).await).await;
    assert_eq!((preview["wouldBeSent"].as_u64(), preview["overtaken"].as_u64()), (Some(count as u64), Some(0)));
    assert_eq!(ers.referrals().len(), seeded, "a preview sends nothing");

    let began = Instant::now();
    let replay = told(post(&gateway, "/v1/replays", &decides(&json!({ "filter": filter, "share": 0.25 }))).await).await;
    let path = format!("/v1/replays/{}", replay["id"].as_str().expect("an id"));
    let mut killed_at = Vec::new();
    for part in [4, 2] {
        loop {
            let shown = get(&gateway, &path).await;
            let items = shown["items"].as_u64().expect("a count");
            if items >= (count / part) as u64 {
                killed_at.push(items);
                break;
            }
            assert!(began.elapsed() < SOON * 30, "{shown:#}\n{}", gateway.log_end());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        gateway.kill();
        gateway.start_and_wait().await;
    }
    let done = until_done(&gateway, &path, SOON * 30).await;
    eprintln!("{count} replayed in {:?}, killed at {killed_at:?}", began.elapsed());
    assert!(killed_at.iter().all(|items| *items < count as u64), "it was killed in the middle: {killed_at:?}");
    assert_eq!((done["state"].as_str(), done["items"].as_u64()), (Some("done"), Some(count as u64)), "{done:#}");
    // A write that may have been under way when it was killed is never sent again blindly: reading proves that some were done.
    let (completed, in_doubt) = (done["counts"]["completed"].as_u64(), done["counts"]["in_doubt"].as_u64());
    let (completed, in_doubt) = (completed.expect("a count"), in_doubt.expect("a count"));
    assert_eq!(completed + in_doubt, count as u64, "{done:#}");
    let log = gateway.log();
    let left: Vec<&str> = log.lines().filter(|line| line.contains("under way when the gateway last ended")).collect();
    assert!(in_doubt <= 2 * 16, "no more than was on its way: {done:#}\n{}", left.join("\n"));
    let made = ers.referrals();
    let own = made.iter().filter(|referral| referral.nhs_number.starts_with("9991"));
    let patients: std::collections::BTreeSet<_> = own.map(|referral| referral.nhs_number.clone()).collect();
    assert_eq!(made.len() - seeded, patients.len(), "none was referred twice");
    assert!(patients.len() as u64 >= completed, "what is said to be done is done");
    let left = get(&gateway, "/v1/problems").await;
    let left = left["problems"].as_array().expect("a list").iter().map(|one| one["count"].as_u64().unwrap_or(0));
    assert_eq!(left.sum::<u64>(), in_doubt, "nothing else is left");
    let acts = get(&gateway, "/v1/audit?limit=1000").await;
    let acts: Vec<&str> =
        acts["entries"].as_array().expect("a list").iter().filter_map(|one| one["act"].as_str()).collect();
    assert_eq!(acts.iter().filter(|act| **act == "begin bulk replay").count(), 1);
    if count < 900 {
        assert_eq!(acts.iter().filter(|act| **act == "replay").count(), count, "each is an act of whoever decided");
    }
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_replay_is_paused_resumed_and_cancelled_and_pauses_itself_in_vain() {
    let ers = ers();
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    refused_by_ers(&gateway, &ers, 60).await;
    ers.inject(Fault::on("A011", Action::answer(403)));
    let at = gateway.url("");
    let run = |arguments: &[&str]| {
        let output = cli::gateway(&[arguments, &["--api", &at]].concat()).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let problems = run(&["problems"]);
    for part in ["60 commands CreateReferral from northmoor fail since", "who  ", "A011", "messages list --cause"] {
        assert!(problems.contains(part), "{part} is not in\n{problems}");
    }
    assert!(run(&["replay", "preview"]).contains("60 would be sent\n  60 CreateReferral"));
    let begun = run(&["replay", "start", "--source", "northmoor", "--why", "again", "--by", "j.smith"]);
    let id = begun.split(' ').nth(1).expect("an id").to_owned();
    let path = format!("/v1/replays/{id}");
    let paused = until_done(&gateway, &path, SOON).await;
    assert_eq!(paused["state"], "paused", "nothing got through: a person looks first");
    let failed = paused["counts"]["failed"].as_u64().expect("a count");
    assert!((20..60).contains(&failed), "{paused:#}");
    ers.clear_faults();
    let act = |id: &str, what| run(&["replay", what, id, "--why", "mended", "--by", "j.smith"]);
    assert!(act(&id, "resume").contains("is running"));
    let done = until_done(&gateway, &path, SOON).await;
    assert_eq!((done["state"].as_str(), done["items"].as_u64()), (Some("done"), Some(60)), "{done:#}");
    assert!(done["counts"]["completed"].as_u64().is_some_and(|count| count > 0));
    let shown = run(&["replay", "show", &id]);
    assert!(shown.contains("is done") && shown.contains("completed"), "{shown}");
    let ended = post(&gateway, &format!("{path}/resume"), &decides(&json!({}))).await;
    assert_eq!(ended.status(), 409, "what is done stays so");

    let second = run(&["replay", "start", "--why", "the rest", "--by", "j.smith"]);
    let second = second.split(' ').nth(1).expect("an id");
    let cancelled =
        cli::gateway(&["replay", "cancel", second, "--why", "no", "--by", "j.smith", "--api", &at]).output();
    let cancelled = cancelled.expect("the program runs").status.code();
    let stands = until_done(&gateway, &format!("/v1/replays/{second}"), SOON).await;
    match cancelled {
        Some(0) => assert_eq!(stands["state"], "cancelled"),
        _ => assert_eq!(stands["state"], "done", "it was quicker"),
    }
    assert!(run(&["replay", "list"]).contains(&id));
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    let store = gateway.folder.path().join("gateway.db");
    let stopped = cli::run(&["replay", "list", "--json", "--store", cli::text(&store)]);
    let stopped: Value = serde_json::from_slice(&stopped.stdout).expect("JSON");
    assert_eq!(stopped["replays"].as_array().map(Vec::len), Some(2), "a stopped gateway's store tells the same");
    let stopped = cli::run(&["problems", "--json", "--store", cli::text(&store)]);
    assert!(String::from_utf8_lossy(&stopped.stdout).contains("\"problems\""));
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_messages_are_taken_in_once_more_when_their_cause_is_mended() {
    let ers = ers();
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    let letter = |number: usize| attach(&format!("R{number}"), &format!("letter-{number}.txt"), "aGVsbG8=");
    for number in 0..3 {
        let answer = post(&gateway, "/v1/commands/AttachLetters?source=northmoor", &letter(number)).await;
        assert_eq!(answer.status(), 422, "nobody knows the referral");
    }
    let problems = get(&gateway, "/v1/problems").await;
    let problem = &problems["problems"][0];
    assert_eq!((problem["state"].as_str(), problem["count"].as_u64()), (Some("rejected"), Some(3)), "{problems:#}");
    let patients = Patients::new();
    for number in 0..2 {
        let body = create(&format!("R{number}"), &patients.next());
        assert_eq!(post(&gateway, "/v1/commands/CreateReferral?source=northmoor", &body).await.status(), 202);
    }
    gateway.settle(SOON).await;
    let filter = json!({ "of": "rejected", "cause": problem["cause"] });
    let preview = told(post(&gateway, "/v1/replays?preview=true", &json!({ "filter": filter })).await).await;
    let read = &preview["readOnceMore"];
    assert_eq!((read["taken"].as_u64(), read["stillRefused"].as_u64()), (Some(2), Some(1)), "{preview:#}");
    let replay = told(post(&gateway, "/v1/replays", &decides(&json!({ "filter": filter }))).await).await;
    let path = format!("/v1/replays/{}", replay["id"].as_str().expect("an id"));
    let done = until_done(&gateway, &path, SOON).await;
    let counts = &done["counts"];
    assert_eq!((counts["completed"].as_u64(), counts["refused"].as_u64()), (Some(2), Some(1)), "{done:#}");
    let left = get(&gateway, "/v1/problems").await;
    assert_eq!(left["problems"][0]["count"].as_u64(), Some(1), "{left:#}");
    for (body, status) in [
        (json!({ "filter": {"of": "everything"} }), 400),
        (decides(&json!({ "share": 0 })), 400),
        (json!({ "filter": {} }), 400),
        (decides(&json!({ "filtr": {} })), 400),
    ] {
        assert_eq!(post(&gateway, "/v1/replays", &body).await.status(), status, "{body}");
    }
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_message_is_linked_to_its_untouched_original() {
    let ers = ers();
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    let number = Patients::new().next();
    let mut wrong = create("R1", &number);
    wrong["priority"] = "SOON".into();
    let refused = post(&gateway, "/v1/commands/CreateReferral?source=northmoor", &wrong).await;
    assert_eq!(refused.status(), 422);
    let list = get(&gateway, "/v1/messages?verdict=rejected").await;
    let first = list["messages"][0]["id"].as_str().expect("an id").to_owned();
    let at = gateway.url("");
    let file = gateway.folder.path().join("mended.json");
    let edit = || {
        let edit =
            ["messages", "edit", &first, "--file", cli::text(&file), "--why", "as telephoned", "--by", "j.smith"];
        cli::gateway(&[&edit[..], &["--api", &at]].concat()).output().expect("the program runs")
    };
    std::fs::write(&file, wrong.to_string()).expect("written");
    assert_eq!(edit().status.code(), Some(1), "nothing was changed, or it is refused still");
    let mut mended = wrong.clone();
    mended["priority"] = "URGENT".into();
    std::fs::write(&file, mended.to_string()).expect("written");
    let taken = edit();
    assert_eq!(taken.status.code(), Some(0), "{}", String::from_utf8_lossy(&taken.stderr));
    let taken = String::from_utf8_lossy(&taken.stdout).trim().rsplit(' ').next().expect("an id").to_owned();
    let shown = get(&gateway, &format!("/v1/messages/{taken}")).await;
    assert_eq!(
        (shown["editedFrom"].as_str(), shown["verdict"].as_str()),
        (Some(&*first), Some("accepted")),
        "{shown:#}"
    );
    assert_eq!(get(&gateway, &format!("/v1/messages/{first}")).await["verdict"], "rejected", "it stays as it came");
    let difference = get(&gateway, &format!("/v1/messages/{taken}/difference")).await;
    let expected = json!([{ "place": "/priority", "was": "SOON", "is": "URGENT" }]);
    assert_eq!((&difference["changes"], difference["editedFrom"].as_str()), (&expected, Some(&*first)));
    gateway.settle(SOON).await;
    let made = || -> Vec<&str> {
        let referrals = ers.referrals().into_iter().filter(|referral| referral.nhs_number == number);
        referrals.map(|referral| referral.priority).collect()
    };
    assert_eq!(made(), ["URGENT"]);
    edit();
    gateway.settle(SOON).await;
    assert_eq!(made().len(), 1, "the same edit twice is one");
    assert_eq!(get(&gateway, "/v1/problems").await["problems"], json!([]));
    let audit = get(&gateway, "/v1/audit?limit=1000").await.to_string();
    assert!(audit.contains("\"act\":\"edit\"") && audit.contains("as telephoned"), "{audit}");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_comes_out_even_and_its_causes_are_told() {
    let ers = ers();
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    let patients = Patients::new();
    for number in 0..2 {
        let body = create(&format!("R{number}"), &patients.next());
        assert_eq!(post(&gateway, "/v1/commands/CreateReferral?source=northmoor", &body).await.status(), 202);
    }
    let unknown = attach("R9", "letter.txt", "aGVsbG8=");
    assert_eq!(post(&gateway, "/v1/commands/AttachLetters?source=eastvale", &unknown).await.status(), 422);
    gateway.settle(SOON).await;
    let day = Environment::system().now().strftime("%Y-%m-%d").to_string();
    let report = get(&gateway, &format!("/v1/reports/{day}")).await;
    assert_eq!((report["balanced"].as_bool(), report["differences"].as_array().map(Vec::len)), (Some(true), Some(0)));
    let of = |name: &str| {
        let sources = report["sources"].as_array().expect("a list");
        sources.iter().find(|source| source["source"] == name).expect("it sent something").clone()
    };
    let northmoor = of("northmoor");
    assert_eq!((&northmoor["messages"]["received"], &northmoor["messages"]["accepted"]), (&json!(2), &json!(2)));
    assert_eq!((&northmoor["commands"]["made"], &northmoor["commands"]["completed"]), (&json!(2), &json!(2)));
    assert_eq!(northmoor["ers"], json!({ "written": 2, "writtenAndNotCompleted": 0 }));
    let eastvale = of("eastvale");
    assert_eq!((&eastvale["messages"]["rejected"], &eastvale["causes"][0]["count"]), (&json!(1), &json!(1)));
    let csv = client().get(gateway.url(&format!("/v1/reports/{day}"))).header("accept", "text/csv").send().await;
    let csv = csv.expect("an answer").text().await.expect("a body");
    assert!(csv.contains(&format!("{day},northmoor,messages received,2\n")), "{csv}");
    let wrong = client().get(gateway.url("/v1/reports/yesterday")).send().await.expect("an answer");
    assert_eq!(wrong.status(), 400);
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    let store = gateway.folder.path().join("gateway.db");
    // What no gateway does: a command is gone.
    let connection = rusqlite::Connection::open(&store).expect("a store");
    connection
        .execute_batch(
            "PRAGMA foreign_keys = OFF; DELETE FROM command WHERE number = (SELECT max(number) FROM command);
             DELETE FROM transition WHERE command NOT IN (SELECT number FROM command);
             DELETE FROM attempt WHERE command NOT IN (SELECT number FROM command)",
        )
        .expect("tampered with");
    drop(connection);
    let told = cli::run(&["report", "--day", &day, "--store", cli::text(&store)]);
    let text = String::from_utf8_lossy(&told.stdout);
    assert_eq!(told.status.code(), Some(1), "{text}");
    assert!(
        text.contains("1 of northmoor: commands made, less those completed") && text.contains("store verify"),
        "{text}"
    );
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_found_by_their_identifiers_and_no_log_has_these() {
    let ers = ers();
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    let (patients, mut numbers) = (Patients::new(), Vec::new());
    for number in 0..2 {
        numbers.push(patients.next());
        let body = create(&format!("LOCAL-{number}"), &numbers[number]);
        assert_eq!(post(&gateway, "/v1/commands/CreateReferral?source=northmoor", &body).await.status(), 202);
    }
    gateway.settle(SOON).await;
    let ubrn = ers.referrals().into_iter().find(|one| one.nhs_number == numbers[1]).expect("made").ubrn;
    let found = |page: &Value| page["messages"].as_array().map(Vec::len);
    let mut ids = Vec::new();
    for body in [
        json!({ "nhsNumber": numbers[1] }),
        json!({ "ubrn": ubrn }),
        json!({ "localId": "LOCAL-1", "source": "northmoor" }),
        json!({ "nhsNumber": numbers[1], "state": "completed" }),
    ] {
        let page = told(post(&gateway, "/v1/messages/search", &body).await).await;
        assert_eq!(found(&page), Some(1), "{body}");
        ids.push(page["messages"][0]["id"].clone());
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "it is one message");
    let page = get(&gateway, &format!("/v1/messages?ubrn={ubrn}")).await;
    assert_eq!(page["messages"][0]["id"], ids[0]);
    let none = told(post(&gateway, "/v1/messages/search", &json!({ "nhsNumber": "9990000018" })).await).await;
    assert_eq!(found(&none), Some(0));
    let in_address = client().get(gateway.url(&format!("/v1/messages?nhsNumber={}", numbers[1]))).send().await;
    let refused = in_address.expect("an answer");
    assert_eq!(refused.status(), 400);
    assert!(!refused.text().await.expect("a body").contains(&numbers[1]));
    for body in [json!({ "nhsNumber": "1" }), json!({ "ubrn": "1" }), json!({ "localId": "x" }), json!({ "nhs": "1" })]
    {
        assert_eq!(post(&gateway, "/v1/messages/search", &body).await.status(), 400, "{body}");
    }
    let at = gateway.url("");
    let number_file = gateway.folder.path().join("number.txt");
    std::fs::write(&number_file, &numbers[1]).expect("written");
    let list = ["messages", "list", "--json", "--nhs-number-file", cli::text(&number_file), "--by", "j.smith"];
    let listed = cli::run(&[&list[..], &["--api", &at]].concat());
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(found(&listed), Some(1));
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    let store = gateway.folder.path().join("gateway.db");
    let stopped = cli::run(&[&list[..], &["--store", cli::text(&store)]].concat());
    let stopped: Value = serde_json::from_slice(&stopped.stdout).unwrap_or_else(|_| panic!("{stopped:?}"));
    assert_eq!(stopped["messages"][0]["id"], ids[0], "a stopped gateway's store tells the same");
    let log = gateway.log();
    for searched in [&numbers[0], &numbers[1], &ubrn] {
        assert!(!log.contains(searched.as_str()), "no log has what was searched for");
    }
    let audit = cli::run(&["audit", "list", "--act", "search", "--json", "--store", cli::text(&store)]);
    let audit = String::from_utf8_lossy(&audit.stdout).into_owned();
    assert!(audit.contains("messages by NHS number") && audit.contains("messages by UBRN"), "{audit}");
    assert!(!audit.contains(&numbers[1]), "not of which NHS number");
    ers.stop().await;
}
