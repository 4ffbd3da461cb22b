//! Answers about slots and appointments are valid against the published specification, and so are the samples.

pub(super) use crate::ers::specification::{answer as schema, violations};

use super::*;

#[tokio::test]
async fn answers_about_slots_and_appointments_are_as_specified() {
    let bench = Bench::start().await;
    bench.simulator.clock().set(at("2022-07-01T00:00:00Z"));
    let token = bench.refresh_after_reset().await;
    let bench = bench.signed_in_by(&token);
    let slots = schema("/STU3/Slot", "get", 200);
    let path = "/STU3/Slot?schedule.actor%3AHealthcareService=11000&appointmentType=ROUTINE&_count=5&status=free&_include=Slot%3Aschedule&page=1";
    let request = bench.request(Method::GET, path).header("NHSD-eRS-Comm-Rule-Org", "R69");
    let found = seen(request.send().await.expect("an answer")).await.json();
    assert_eq!((&found["total"], violations(&slots, &found)), (&json!(1), Vec::new()));
    let refused = bench.request(Method::GET, &path.replace("ROUTINE", "SOON")).header("NHSD-eRS-Comm-Rule-Org", "R69");
    let refused = seen(refused.send().await.expect("an answer")).await.json();
    assert_eq!(violations(&schema("/STU3/Slot", "get", 400), &refused), Vec::<String>::new());

    let booking = example("a016-book-or-defer-appointment/request-minimal-booking.json");
    let booked = bench.post(APPOINTMENT, &booking).await.json();
    assert_eq!(violations(&schema("/STU3/Appointment", "post", 201), &booked), Vec::<String>::new(), "{booked}");
    let own = "/STU3/Appointment/{id}";
    let path = format!("{APPOINTMENT}/{}", booked["id"].as_str().expect("an id"));
    let shown = bench.get(&path).await.json();
    assert_eq!(violations(&schema(own, "get", 200), &shown), Vec::<String>::new(), "{shown}");

    let mut cancellation = booking;
    for member in ["start", "end", "slot"] {
        cancellation.as_object_mut().expect("an object").shift_remove(member);
    }
    let system = format!("{}/STU3/CodeSystem/APPOINTMENT-CANCELLATION-REASON", bench.simulator.base_url());
    cancellation["id"] = booked["id"].clone();
    cancellation["meta"]["versionId"] = "0".into();
    cancellation["status"] = "cancelled".into();
    let cancel = |reason: &str| {
        let mut body = cancellation.clone();
        body["reason"] = json!([{"coding": [{"system": system, "code": reason}]}]);
        let request = bench.request(Method::PUT, &path).header("Content-Type", FHIR).header("If-Match", r#"W/"0""#);
        request.body(body.to_string()).send()
    };
    let refused = seen(cancel("NO_SUCH_REASON").await.expect("an answer")).await;
    assert_eq!((refused.status, violations(&schema(own, "put", 422), &refused.json())), (422, Vec::new()));
    let cancelled = seen(cancel("PATIENT_ILL").await.expect("an answer")).await;
    assert_eq!((cancelled.status, violations(&schema(own, "put", 200), &cancelled.json())), (200, Vec::new()));
}

/// If this fails, the schemas are not read as they are meant.
#[test]
fn the_published_samples_are_as_specified() {
    for (path, method, status, sample) in [
        ("/STU3/Slot", "get", 200, "a015-retrieve-appointment-slots/response-page1-page-size5.json"),
        ("/STU3/Appointment", "post", 201, "a016-book-or-defer-appointment/response-triage-deferral.json"),
        ("/STU3/Appointment/{id}", "get", 200, "a038-retrieve-appointment/response-booked-dbs.json"),
        ("/STU3/Appointment/{id}", "put", 422, "a034-update-appointment/response-cancellation-invalid-reason.json"),
    ] {
        let mut broken = example(sample);
        assert_eq!(violations(&schema(path, method, status), &broken), Vec::<String>::new(), "{sample}");
        broken["resourceType"] = "Patient".into();
        assert_ne!(violations(&schema(path, method, status), &broken), Vec::<String>::new(), "{sample}");
    }
}
