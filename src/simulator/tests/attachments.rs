//! Attachments: scanned after the upload, and read by A006 and A042 by those who are related to them.

use super::access_rules::application;
use super::shapes::same_keys;
use super::specification::{schema, violations};
use super::*;
use crate::simulator::Availability;
use crate::simulator::files::{File, Scan};

const UBRN: &str = "000000070000";
const STU3: &str = "/STU3/Binary/{attachmentLogicalID}";
const R4: &str = "/R4/Binary/{id}";

/// The codes of a refusal that is as the specification has it.
fn refused(path: &str, reply: &Seen) -> (u16, Vec<String>) {
    let schema = schema(path, "get", reply.status);
    assert_eq!(violations(&schema, &reply.json()), Vec::<String>::new(), "{path}: {}", reply.text);
    (reply.status, reply.codes())
}

impl Bench {
    /// Past the scans of everything that has been uploaded.
    fn scanned(&self) {
        self.simulator.clock().advance(SimulatorConfig::default().scan_delay);
    }

    async fn attached(&self, name: &str, content_type: &str, content: &[u8]) -> String {
        let upload = self.upload(name, content_type, Some(UBRN), content.to_vec()).await;
        assert_eq!(upload.status, 201, "{}", upload.text);
        upload.header("Location").to_owned()
    }

    async fn download(&self, path: &str) -> reqwest::Response {
        self.request(Method::GET, path).send().await.expect("an answer")
    }
}

#[tokio::test]
async fn the_published_attachments_come_back_byte_for_byte() {
    for (kind, sample) in [("STU3", "a006-retrieve-attachment-stu3"), ("R4", "a042-retrieve-attachment-r4")] {
        let file =
            format!("{}/tests/data/ers/examples/{sample}/response-example-attachment.pdf", env!("CARGO_MANIFEST_DIR"));
        let content = std::fs::read(file).expect("the sample is there");
        let bench = Bench::start().await;
        let file = bench.attached("example-attachment.pdf", "application/pdf", &content).await;
        assert_eq!(bench.link(UBRN, Some(r#"W/"6""#), &letters(&[&file])).await.status, 200);
        bench.scanned();
        let mut reply = bench.download(&format!("/{kind}/{file}")).await;
        if kind == "R4" {
            let location = reply.headers()["Location"].to_str().expect("text").to_owned();
            reply = bench.http.get(location).send().await.expect("an answer");
        }
        assert_eq!(reply.status(), 200, "{kind}");
        for (name, expected) in [
            ("Content-Type", "application/pdf".to_owned()),
            ("Content-Disposition", "attachment; filename=\"example-attachment.pdf\"".to_owned()),
            ("Content-Length", content.len().to_string()),
        ] {
            assert_eq!(reply.headers()[name], expected, "{kind} {name}");
        }
        assert_eq!(reply.bytes().await.expect("a whole body"), content, "{kind}");
    }
}

#[tokio::test]
async fn a_name_beyond_plain_text_is_encoded() {
    let bench = Bench::start().await;
    let file = File {
        name: "Zo\u{eb}, x-ray.png".into(),
        content_type: "image/png".into(),
        size: 1,
        content: Some(bytes::Bytes::from_static(b"x")),
        meant_for: None,
        linked_to: None,
        scan: Scan::of(Availability::Available),
    };
    bench.simulator.world.files.insert(uuid::Uuid::from_u128(7), file);
    let reply = bench.get(&format!("/STU3/Binary/{}", uuid::Uuid::from_u128(7))).await;
    assert_eq!(reply.header("Content-Disposition"), "attachment; filename*=UTF-8''Zo%C3%AB%2C%20x-ray.png");
}

#[tokio::test]
async fn a_scan_ends_in_what_a_test_says() {
    let bench = Bench::start().await;
    bench.simulator.clock().freeze(bench.simulator.clock().now());
    bench.simulator.scan_finds("bad.pdf", Availability::ThreatsFound);
    bench.simulator.scan_finds("broken.pdf", Availability::ValidationFailed);
    bench.simulator.scan_finds("endless.pdf", Availability::Pending);
    let mut files = Vec::new();
    for (name, code) in [
        ("good.pdf", ""),
        ("bad.pdf", "THREATS_FOUND"),
        ("broken.pdf", "VALIDATION_FAILED"),
        ("endless.pdf", "PENDING"),
    ] {
        files.push((bench.attached(name, "application/pdf", b"%PDF-1.4 invented").await, code));
    }
    let names: Vec<&str> = files.iter().map(|(file, _)| file.as_str()).collect();
    assert_eq!(bench.link(UBRN, Some(r#"W/"6""#), &letters(&names)).await.status, 200);
    let pending = (422, vec!["PENDING".to_owned()]);
    for (file, _) in &files {
        assert_eq!(refused(STU3, &bench.get(&format!("/STU3/{file}")).await), pending);
        assert_eq!(refused(R4, &bench.get(&format!("/R4/{file}")).await), pending);
    }
    bench.scanned();
    for (file, code) in &files {
        let (stu3, r4) = (bench.get(&format!("/STU3/{file}")).await, bench.get(&format!("/R4/{file}")).await);
        if code.is_empty() {
            assert_eq!((stu3.status, r4.status), (200, 307), "{}", stu3.text);
        } else {
            let expected = (422, vec![(*code).to_owned()]);
            assert_eq!((refused(STU3, &stu3), refused(R4, &r4)), (expected.clone(), expected));
        }
    }
    let referral = bench.get(&format!("/STU3/ReferralRequest/{UBRN}")).await.json();
    let said: Vec<&str> = referral["contained"]
        .as_array()
        .expect("contained")
        .iter()
        .filter_map(|one| one["content"][0]["attachment"]["extension"][1]["valueCoding"]["code"].as_str())
        .collect();
    assert_eq!(said, ["AVAILABLE", "THREATS_FOUND", "VALIDATION_FAILED", "PENDING"]);
    // The criteria and the last update of the referral in the sample are others.
    let others = ["/contained/parameter", "valueDateTime", "valueInstant"];
    same_keys(&referral, "a005-retrieve-referral-request/response-with-unavailable-attachments.json", &others);
}

#[tokio::test]
async fn an_attachment_is_for_those_who_are_related_to_its_request() {
    let bench = Bench::start().await;
    let ubrn = bench.created().await;
    let file = bench.uploaded("letter.pdf", &ubrn).await;
    assert_eq!(bench.link(&ubrn, Some(r#"W/"3""#), &letters(&[&file])).await.status, 200);
    let bench = bench.acting_as("R69", "REFERRING_CLINICIAN_ADMIN");
    let advice = bench.post(super::advice::CREATE_ADVICE, &super::advice::request(&bench).await).await.json();
    let contained = advice["parameter"][1]["resource"]["contained"].as_array().expect("contained").clone();
    let of_advice = contained.iter().find_map(|one| one["content"][0]["attachment"]["url"].as_str());
    let of_advice = of_advice.expect("a file").to_owned();
    bench.scanned();
    let token = application(&bench, demonstration::PROVIDER_CLIENT_ID).await;
    let bench = bench.acting_as("RXX00", "REFERRING_CLINICIAN");
    for file in [&file, &of_advice] {
        let stu3 = bench.get(&format!("/STU3/{file}")).await;
        assert_eq!(refused(STU3, &stu3), (403, vec!["FORBIDDEN".to_owned()]));
        let r4 = bench.get(&format!("/R4/{file}")).await;
        assert_eq!(refused(R4, &r4), (403, vec!["NO_RELATIONSHIP".to_owned()]));
        for (kind, status) in [("STU3", 200), ("R4", 307)] {
            let url = format!("{}/{kind}/{file}", bench.simulator.base_url());
            let reply = bench.http.get(url).bearer_auth(&token).send().await.expect("an answer");
            assert_eq!(reply.status(), status, "a provider's application, {kind}");
        }
    }
}

#[tokio::test]
async fn the_older_way_ends_at_five_megabytes() {
    let bench = Bench::start().await;
    for (size, status) in [(5 * 1024 * 1024, 200), (5 * 1024 * 1024 + 1, 422)] {
        let file = File {
            name: "scan.tif".into(),
            content_type: "image/tiff".into(),
            size,
            content: Some(vec![0; size].into()),
            meant_for: None,
            linked_to: None,
            scan: Scan::of(Availability::Available),
        };
        bench.simulator.world.files.insert(uuid::Uuid::from_u128(7), file);
        let path = format!("Binary/{}", uuid::Uuid::from_u128(7));
        assert_eq!(bench.download(&format!("/STU3/{path}")).await.status(), status, "{size}");
        assert_eq!(bench.get(&format!("/R4/{path}")).await.status, 307, "{size}");
    }
    let large = bench.get(&format!("/STU3/Binary/{}", uuid::Uuid::from_u128(7))).await;
    assert_eq!(refused(STU3, &large), (422, vec!["FILE_SIZE_ERROR".to_owned()]));
    for id in ["att-70000-70001", "c5d2d200-7613-4a69-9c5f-1bb68e04b8d8"] {
        let unknown = bench.get(&format!("/STU3/Binary/{id}")).await;
        assert_eq!((unknown.status, unknown.text.as_str()), (404, ""), "{id}");
    }
}
