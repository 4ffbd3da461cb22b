//! Too large, too many, too slow, and no room left: refused in the sender's terms, and nothing breaks.

use std::time::{Duration, Instant};

use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Simulator, SimulatorConfig, SimulatorHandle};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::referrals::{Patients, create, northmoor, sample};
use crate::support::sender::{HttpSender, MllpSender, contains, field, framed};
use crate::support::serve::Serve;
use crate::support::waiting::{client, get};
use crate::support::world::World;

const MEGABYTE: usize = 1024 * 1024;
const SOON: Duration = Duration::from_secs(60);
const FLOODED_WITHIN: Duration = Duration::from_secs(120);

fn shown(answer: &[u8]) -> String {
    String::from_utf8_lossy(&answer[..answer.len().min(2_000)]).replace('\r', "\n")
}

fn ers() -> SimulatorHandle {
    Simulator::start(SimulatorConfig::default(), Environment::system()).expect("port 0 is free")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_ers_would_not_take_is_refused_where_it_stands() {
    let world = World::start().await;
    let message = String::from_utf8(sample("03-")).expect("ASCII");
    let start = message.find("^Base64^").expect("a letter in the sample") + "^Base64^".len();
    let end = start + message[start..].find(['|', '\r']).expect("its end");
    let pdf = [b"%PDF-1.4\n".as_slice(), &vec![b'x'; 7 * MEGABYTE]].concat();
    let pdf = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pdf);
    let large = [&message[..start], &pdf, &message[end..]].concat();
    let answer = MllpSender::new(world.mllp).deliver(large.as_bytes()).await;
    let code = field(&answer, b"MSA", 1);
    assert!(code == b"CE" || code == b"AE", "{}", shown(&answer));
    assert!(contains(&answer, b"OBX^1^5^1^5"), "{}", shown(&answer));
    assert!(world.calls().is_empty());
    world.stop().await;
}

/// Writes until the peer closes, at most `bytes_max`. How much it took.
async fn flood(mut stream: TcpStream, start: &[u8], bytes_max: usize) -> usize {
    let chunk = vec![b'x'; 64 * 1024];
    let mut written = 0;
    let flood = async {
        if stream.write_all(start).await.is_err() {
            return;
        }
        while written < bytes_max && stream.write_all(&chunk).await.is_ok() {
            written += chunk.len();
        }
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    tokio::time::timeout(SOON, flood).await.expect("the connection is closed");
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_and_bodies_without_an_end_cost_a_bounded_memory() {
    let ers = ers();
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    let before = gateway.memory_bytes();
    let mut floods = Vec::new();
    for _ in 0..4 {
        let stream = TcpStream::connect(gateway.mllp).await.expect("it listens");
        floods.push(tokio::spawn(flood(stream, b"\x0bMSH|^~\\&|", 100 * MEGABYTE)));
    }
    // Outside of a frame nothing is kept.
    let stream = TcpStream::connect(gateway.mllp).await.expect("it listens");
    let outside = tokio::spawn(flood_and_leave(stream));
    let mut most = before;
    let began = Instant::now();
    while !(floods.iter().all(|flood| flood.is_finished()) && outside.is_finished()) {
        assert!(began.elapsed() < FLOODED_WITHIN, "connections stay open, and nothing is read\n{}", gateway.log_end());
        most = gateway.memory_bytes().max(most);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for flood in floods {
        let taken = flood.await.expect("it ends");
        assert!(taken < 40 * MEGABYTE, "closed past 16 MiB, and the buffers between: {taken}");
    }
    let grown = most.saturating_sub(before) / MEGABYTE;
    assert!(grown < 200, "four frames of 16 MiB cost {grown} MiB");

    let body = vec![b' '; 100 * MEGABYTE];
    let url = gateway.url("/v1/commands/CreateReferral?source=northmoor");
    let sent = client().post(url).header("content-type", "application/json").body(body).send().await;
    // The answer may be lost behind the bytes that nobody reads any more.
    assert!(sent.is_err() || sent.is_ok_and(|answer| answer.status() == 413));
    let answer = MllpSender::new(gateway.mllp).deliver(&sample("01-")).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", shown(&answer));
    ers.stop().await;
}

async fn flood_and_leave(mut stream: TcpStream) {
    let chunk = vec![b'x'; MEGABYTE];
    for _ in 0..50 {
        if stream.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_byte_in_a_packet_is_answered_as_the_whole_at_once() {
    let world = World::start().await;
    for number in ["01-", "56-"] {
        let message = sample(number);
        let at_once = MllpSender::new(world.mllp).deliver(&message).await;
        let mut stream = TcpStream::connect(world.mllp).await.expect("it listens");
        stream.set_nodelay(true).expect("an option of TCP");
        for byte in framed(&message) {
            stream.write_all(&[byte]).await.expect("it reads");
        }
        let mut answer = Vec::new();
        while !answer.ends_with(b"\x1c\r") {
            assert!(stream.read_buf(&mut answer).await.expect("an answer") > 0, "{}", shown(&answer));
        }
        assert_eq!(answer, framed(&at_once), "{number}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_are_served_and_one_more_is_not() {
    let ers = ers();
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    let patients = Patients::new();
    let mut streams = Vec::new();
    for number in 0..1_000 {
        let mut stream = TcpStream::connect(gateway.mllp).await.expect("it listens");
        let message = northmoor(&format!("T-{number}"), &format!("NM-{number}"), &patients.next(), None);
        stream.write_all(&framed(&message)).await.expect("sent");
        streams.push(stream);
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\x1c\r") {
            let read = tokio::time::timeout(SOON, stream.read_buf(&mut answer)).await.expect("in time");
            assert!(read.expect("an answer") > 0, "connection {number} was closed");
        }
        assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", shown(&answer));
    }
    let mut one_more = TcpStream::connect(gateway.mllp).await.expect("the machine takes it");
    let _ = one_more.write_all(&framed(&sample("01-"))).await;
    let read = tokio::time::timeout(SOON, one_more.read(&mut [0; 16])).await.expect("it is closed");
    assert!(!matches!(read, Ok(1..)), "refused");
    drop(streams);
    gateway.settle(SOON).await;
    assert_eq!(ers.created(), 1_000);
    ers.stop().await;
}

/// The store's file cannot grow, as on a full disk; then it can again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_write_is_told_and_nothing_else_until_there_is_room_again() {
    let ers = ers();
    let mut gateway = Serve::new(&ers);
    gateway.start_and_wait().await;
    let patients = Patients::new();
    let url = gateway.url("/v1/commands/CreateReferral?source=eastvale");
    let mut mllp = MllpSender::new(gateway.mllp);
    let answer = mllp.deliver(&northmoor("F-0", "NM-F0", &patients.next(), None)).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", shown(&answer));
    gateway.settle(SOON).await;

    gateway.limit_files(Some(4096));
    let refused = mllp.deliver_once(&northmoor("F-1", "NM-F1", &patients.next(), None)).await;
    let code = field(&refused, b"MSA", 1);
    assert!(code == b"AE" || code == b"AR", "{}", shown(&refused));
    assert!(contains(&refused, b"207"), "{}", shown(&refused));
    let body = create("EV-F2", &patients.next());
    let answer = client()
        .post(&url)
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 503);
    let live = get(gateway.url("/health/live")).await;
    assert_eq!(live.status(), 200);
    assert_eq!(ers.created(), 1, "what is not stored is not sent");

    gateway.limit_files(None);
    let answer = mllp.deliver(&northmoor("F-3", "NM-F3", &patients.next(), None)).await;
    assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", shown(&answer));
    let (status, answer) = HttpSender::new().deliver(&url, "k-4", &body).await;
    assert_eq!(status, 202, "{answer}");
    gateway.settle(SOON).await;
    assert_eq!(ers.created(), 3);
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}

/// A real file system that fills up with senders at work; then with somebody's files, to the last byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_file_system_that_fills_up_loses_nothing_and_needs_no_restart() {
    let ers = ers();
    let mut gateway = Serve::new(&ers).on_small_disk("32m");
    gateway.settings["store_reserve_bytes"] = (12 * MEGABYTE).into();
    gateway.start_and_wait().await;
    let patients = Patients::new();
    // Its text becomes a letter, so that a message takes its size in the store and more.
    let long = "clinical words ".repeat(6_000);
    let mut mllp = MllpSender::new(gateway.mllp);
    let (mut acknowledged, mut in_a_row) = (0, 0);
    // Until it stays full, whatever is copied and finished meanwhile.
    let refused = loop {
        let name = format!("S-{acknowledged}");
        let message = northmoor(&name, &format!("NM-{name}"), &patients.next(), Some(&long));
        let answer = mllp.deliver_once(&message).await;
        if field(&answer, b"MSA", 1) == b"AA" {
            (acknowledged, in_a_row) = (acknowledged + 1, 0);
            assert!(acknowledged < 200, "the disk is never full");
            continue;
        }
        in_a_row += 1;
        if in_a_row == 30 {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let code = field(&refused, b"MSA", 1);
    assert!((code == b"AE" || code == b"AR") && contains(&refused, b"207"), "{}", shown(&refused));
    assert!(acknowledged > 3, "{}", shown(&refused));
    // What is left is enough for all that was acknowledged.
    let created = async |wanted: u64| {
        let began = Instant::now();
        while ers.created() < wanted && began.elapsed() < SOON {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(ers.created(), wanted, "each that was acknowledged, once\n{}", gateway.log_end());
    };
    created(acknowledged).await;
    let status = async |path: &str| get(gateway.url(path)).await.status().as_u16();
    let full = Instant::now();
    while status("/health/ready").await == 200 {
        assert!(full.elapsed() < SOON, "it is not told");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(status("/health/live").await, 200, "a restart would not help");

    // Somebody takes the rest as well.
    let filler = gateway.small_disk().join("filler");
    let mut file = std::fs::File::create(&filler).expect("an entry needs no room");
    while std::io::Write::write_all(&mut file, &[b'x'; 4096]).is_ok() {}
    for number in 0..3 {
        let name = format!("R-{number}");
        let answer = mllp.deliver_once(&northmoor(&name, &format!("NM-{name}"), &patients.next(), None)).await;
        assert_ne!(field(&answer, b"MSA", 1), b"AA", "{}", shown(&answer));
    }
    drop(file);
    std::fs::remove_file(&filler).expect("it is there");
    let grown = std::process::Command::new("nsenter")
        .args(["--user", "--mount", "--preserve-credentials", "--target", &gateway.pid().to_string()])
        .args(["mount", "-o", "remount,size=64m"])
        .arg(gateway.folder.path().join("disk"))
        .status();
    assert!(grown.is_ok_and(|status| status.success()), "nsenter (util-linux) makes room");
    let (last, grown) = (northmoor("L-1", "NM-L1", &patients.next(), None), Instant::now());
    loop {
        let answer = mllp.deliver_once(&last).await;
        if field(&answer, b"MSA", 1) == b"AA" {
            break;
        }
        assert!(grown.elapsed() < SOON, "{}\n{}", shown(&answer), gateway.log_end());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    created(acknowledged + 1).await;
    assert!(gateway.stop().await.success(), "{}", gateway.log_end());
    ers.stop().await;
}
