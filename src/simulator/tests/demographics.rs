//! The Personal Demographics Service beside e-RS.

use super::access_rules::application;
use super::*;

#[tokio::test]
async fn the_request_id_that_pds_asks_for_comes_back() {
    let bench = Bench::start().await;
    let token = application(&bench, demonstration::PDS_CLIENT_ID).await;
    let base = bench.simulator.base_url().replace("/referrals/FHIR", "/personal-demographics/FHIR/R4");
    let id = "60e0b220-8136-4ca5-ae46-1d97ef59d068";
    for (number, status) in [("9994120034", 200), ("9994120099", 400)] {
        let request = bench.http.get(format!("{base}/Patient/{number}")).bearer_auth(&token);
        let reply = seen(request.header("X-Request-ID", id).send().await.expect("an answer")).await;
        assert_eq!((reply.status, reply.header("X-Request-ID")), (status, id), "{}", reply.text);
        assert_eq!(reply.headers.get_all("X-Request-ID").iter().count(), 1);
    }
    let bare = bench.http.get(format!("{base}/Patient/9994120034")).bearer_auth(&token);
    assert_eq!(seen(bare.send().await.expect("an answer")).await.status, 400, "it is mandatory");
}
