//! `GET /v1/holds`: commands that hold others of their referral, those first that hold a cancellation.

use actix_web::{HttpResponse, web};

use super::Shared;
use super::problem::ProblemDocument;
use super::views;

pub async fn list(shared: web::Data<Shared>) -> Result<HttpResponse, ProblemDocument> {
    Ok(HttpResponse::Ok().json(views::holds(&*shared.deps.search).await?))
}
