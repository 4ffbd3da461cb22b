//! One trace a message, from MLLP to the broker, as a collector gets it: read by the protocol's own definitions.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Simulator, SimulatorConfig};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::{Value, json};

use crate::support::rabbitmq::RabbitMq;
use crate::support::referrals::{Patients, northmoor};
use crate::support::sender::{MllpSender, field};
use crate::support::serve::Serve;
use crate::support::waiting::get;

const SOON: Duration = Duration::from_secs(30);

/// Takes what is sent to `/v1/traces`.
struct Collector {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
        let address = listener.local_addr().expect("it listens");
        let (bodies, heads) = (Arc::<Mutex<Vec<Vec<u8>>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (kept, read) = (bodies.clone(), heads.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (kept, read) = (kept.clone(), read.clone());
                std::thread::spawn(move || {
                    while let Some((head, body)) = one_request(&mut stream) {
                        read.lock().push(head);
                        kept.lock().push(body);
                        let answer =
                            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                        if stream.write_all(answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, bodies, heads }
    }

    fn spans(&self) -> Vec<Span> {
        let bodies = self.bodies.lock();
        let requests = bodies.iter().map(|body| ExportTraceServiceRequest::decode(&body[..]).expect("the protocol"));
        requests
            .flat_map(|request| request.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }
}

fn one_request(stream: &mut std::net::TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 16_384]);
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())?;
            while bytes.len() < end + 4 + length {
                let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
                bytes.extend_from_slice(&chunk[..read]);
            }
            return Some((head, bytes[end + 4..].to_vec()));
        }
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
    }
}

async fn told(gateway: &Serve, path: &str) -> Value {
    get(gateway.url(path)).await.json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_has_one_trace_from_mllp_to_the_broker_without_a_word_of_it() {
    let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
    let (node, collector) = (RabbitMq::start_new(), Collector::start());
    let mut gateway = Serve::new(&ers);
    gateway.settings["broker"] = json!({ "urls": [node.url()], "exchange": "ers.events" });
    gateway.settings["traces"] = json!({
        "endpoint": format!("http://{}/v1/traces", collector.address),
        "headers": {"authorization": "Bearer of-the-tests"},
    });
    gateway.start_and_wait().await;
    let (patients, mut sender) = (Patients::new(), MllpSender::new(gateway.mllp));
    let nhs_number = patients.next();
    let answer = sender.deliver(&northmoor("T1", "NM-T1", &nhs_number, Some("A MARKED DIAGNOSIS"))).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA");
    let refused = format!("MSH|^~\\&|NMPAS|RXX00|ERSGW|RXX00|20260316093015||REF^I12|T2|P|2.3\rPID|1|{nhs_number}\r");
    sender.deliver(refused.as_bytes()).await;
    gateway.settle(SOON).await;

    let began = Instant::now();
    let wanted = ["receive", "CreateReferral", "A011", "A020", "A012", "publish ReferralCreated"];
    let spans = loop {
        let spans = collector.spans();
        if wanted.iter().all(|name| spans.iter().any(|span| span.name == *name)) {
            break spans;
        }
        let names: Vec<_> = spans.iter().map(|span| span.name.clone()).collect();
        assert!(began.elapsed() < SOON, "{names:?}\n{}", gateway.log_end());
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let page = told(&gateway, "/v1/messages?controlId=T1").await;
    let message: uuid::Uuid = page["messages"][0]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let ours: Vec<&Span> = spans.iter().filter(|span| span.trace_id == message.as_bytes()).collect();
    let named = |name: &str| *ours.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {ours:#?}"));
    let (root, command) = (named("receive"), named("CreateReferral"));
    assert!(root.parent_span_id.is_empty() && command.parent_span_id == root.span_id);
    for name in ["A011", "A020", "A012", "publish ReferralCreated"] {
        assert_eq!(named(name).parent_span_id, command.span_id, "{name}");
        assert!(named(name).start_time_unix_nano >= root.start_time_unix_nano, "{name}");
        assert!(named(name).end_time_unix_nano >= named(name).start_time_unix_nano, "{name}");
    }
    let by_trace = spans.iter().filter(|span| span.name == "receive").fold(BTreeMap::new(), |mut all, span| {
        *all.entry(span.trace_id.clone()).or_insert(0) += 1;
        all
    });
    assert_eq!(by_trace.into_values().collect::<Vec<_>>(), [1, 1], "a trace for each message, the refused one as well");
    let head = collector.heads.lock().first().cloned().expect("a request");
    assert!(head.contains("post /v1/traces") && head.contains("authorization: bearer of-the-tests"), "{head}");
    for body in collector.bodies.lock().iter() {
        let text = String::from_utf8_lossy(body);
        for word in ["TESTERTON", "MARKED", "IMAGINARY", "NM-T1", &nhs_number] {
            assert!(!text.contains(word), "{word} is in a trace");
        }
    }
    assert!(!gateway.log().contains("of-the-tests"), "no secret is logged");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_holds_nothing_up() {
    let ers = Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free");
    let mut gateway = Serve::new(&ers);
    gateway.settings["traces"] = json!({ "endpoint": "http://127.0.0.1:9/v1/traces" });
    gateway.start_and_wait().await;
    let (patients, mut sender) = (Patients::new(), MllpSender::new(gateway.mllp));
    for number in 0..5 {
        let message = northmoor(&format!("T{number}"), &format!("NM-T{number}"), &patients.next(), None);
        assert_eq!(field(&sender.deliver(&message).await, b"MSA", 1), b"AA");
    }
    gateway.settle(SOON).await;
    assert_eq!(ers.created(), 5);
    let began = Instant::now();
    let counted = |metrics: &str| {
        let line =
            metrics.lines().find_map(|line| line.strip_prefix(r#"gateway_trace_spans_total{outcome="refused"} "#));
        line.and_then(|count| count.parse::<f64>().ok()).is_some_and(|count| count >= 10.0)
    };
    loop {
        let metrics = get(gateway.url("/metrics")).await.text().await.expect("text");
        if counted(&metrics) {
            break;
        }
        assert!(began.elapsed() < SOON, "{metrics}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(gateway.log().matches("traces are not taken").count(), 1, "it is told once");
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
