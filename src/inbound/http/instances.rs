//! `GET /v1/instances`: the gateways that share this one's store, and what each of them does.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::Shared;
use super::problem::ProblemDocument;
use crate::store::InstanceView;

pub async fn list(shared: web::Data<Shared>) -> Result<HttpResponse, ProblemDocument> {
    let instances = shared.deps.instances.instances().await?;
    Ok(HttpResponse::Ok().json(json!({ "instances": instances.iter().map(view).collect::<Vec<_>>() })))
}

fn view(instance: &InstanceView) -> Value {
    json!({
        "instance": instance.instance,
        "alive": instance.alive,
        "standing": instance.standing.name(),
        "version": instance.version,
        "mappingSet": instance.mapping_set,
        "startedAt": instance.started_at,
        "seenAt": instance.seen_at,
        "holds": instance.holds,
        "duties": instance.duties,
    })
}
