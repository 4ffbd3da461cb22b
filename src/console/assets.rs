//! `/console/assets/…`: style and script, built in.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};

use super::page::Trouble;

/// Name, media type and content.
const ASSETS: [(&str, &str, &[u8]); 3] = [
    ("nhsuk-frontend.min.css", "text/css; charset=utf-8", include_bytes!("assets/nhsuk-frontend.min.css")),
    ("console.css", "text/css; charset=utf-8", include_bytes!("assets/console.css")),
    ("htmx.min.js", "text/javascript; charset=utf-8", include_bytes!("assets/htmx.min.js")),
];

pub async fn get(name: web::Path<String>) -> Result<HttpResponse, Trouble> {
    let asset = ASSETS.iter().find(|(asset, ..)| *asset == name.as_str());
    let (_, media_type, content) = asset.ok_or_else(|| Trouble::not_found("There is no such file"))?;
    // Pages name them with the version behind, so that another version is another address.
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, *media_type))
        .insert_header((CACHE_CONTROL, "public, max-age=86400"))
        .body(*content))
}
