//! The pages for people: is it well, what is wrong, what became of a message, and what to do about it.
//!
//! Enters: requests of a browser to `/console/…`, on the same listeners as the API. Leaves: HTML that reads without scripts.
//! Guarantees: every page is in one table with what it needs of who opens it, as every address of the API is; whatever is
//! shown is escaped by the templates; no act without a form of this console, a name and a reason; what a message says is on
//! pages of its own, which only those see who may, and which the audit log tells of.

mod acts;
mod assets;
mod audit;
mod door;
mod edits;
mod explain;
mod form;
mod guard;
mod hl7_view;
mod message;
mod messages;
mod mine;
mod open_work;
mod overview;
mod page;
mod problems;
mod provider;
mod replays;
mod report;
mod sign_in;
mod sign_in_elsewhere;
mod sources;
mod trials;
mod words;

use actix_web::middleware::from_fn;
use actix_web::{HttpResponse, Route, web};

pub use door::Door;
pub use provider::Provider;
pub use sign_in::password_digest;

use crate::inbound::http::callers::Needs;
use guard::guard;

/// Method, path, what it needs of who opens it, and who answers.
type Entry = (&'static str, &'static str, Needs, fn() -> Route);

pub const PAGES: [Entry; 44] = [
    ("get", "/console", Needs::See, || web::get().to(overview::show)),
    ("get", "/console/sign-in", Needs::Nothing, || web::get().to(sign_in::form)),
    ("post", "/console/sign-in", Needs::Nothing, || web::post().to(sign_in::sign_in)),
    ("get", "/console/sign-in/elsewhere", Needs::Nothing, || web::get().to(sign_in_elsewhere::leave)),
    ("get", "/console/sign-in/back", Needs::Nothing, || web::get().to(sign_in_elsewhere::come_back)),
    ("post", "/console/sign-out", Needs::See, || web::post().to(sign_in::sign_out)),
    ("get", "/console/messages", Needs::See, || web::get().to(messages::list)),
    ("post", "/console/messages/search", Needs::Content, || web::post().to(messages::search)),
    ("get", "/console/messages/{id}", Needs::See, || web::get().to(message::show)),
    ("get", "/console/messages/{id}/content", Needs::Content, || web::get().to(message::content)),
    ("get", "/console/messages/{id}/explain", Needs::Content, || web::get().to(explain::show)),
    ("get", "/console/messages/{id}/difference", Needs::Content, || web::get().to(edits::show_difference)),
    ("get", "/console/messages/{id}/bundle", Needs::Content, || web::get().to(message::bundle)),
    ("get", "/console/messages/{id}/edit", Needs::ActOnContent, || web::get().to(edits::ask)),
    ("post", "/console/messages/{id}/edit", Needs::ActOnContent, || web::post().to(edits::edit)),
    ("get", "/console/messages/{id}/replay", Needs::Act, || web::get().to(acts::ask_about_message)),
    ("post", "/console/messages/{id}/replay", Needs::Act, || web::post().to(acts::replay_message)),
    ("get", "/console/commands/{id}", Needs::See, || web::get().to(message::of_command)),
    ("get", "/console/commands/{id}/{act}", Needs::Act, || web::get().to(acts::ask_about_command)),
    ("post", "/console/commands/{id}/{act}", Needs::Act, || web::post().to(acts::act_on_command)),
    ("get", "/console/problems", Needs::See, || web::get().to(problems::show)),
    ("get", "/console/replays", Needs::See, || web::get().to(replays::list)),
    ("post", "/console/replays", Needs::Act, || web::post().to(replays::begin)),
    ("get", "/console/replays/new", Needs::Act, || web::get().to(replays::new)),
    ("get", "/console/replays/{id}", Needs::See, || web::get().to(replays::show)),
    ("get", "/console/replays/{id}/progress", Needs::See, || web::get().to(replays::live)),
    ("post", "/console/replays/{id}/{act}", Needs::Act, || web::post().to(replays::change)),
    ("get", "/console/trials", Needs::Content, || web::get().to(trials::show)),
    ("get", "/console/sources", Needs::See, || web::get().to(sources::list)),
    ("get", "/console/sources/{kind}/{name}/{act}", Needs::Act, || web::get().to(sources::ask)),
    ("post", "/console/sources/{kind}/{name}/{act}", Needs::Act, || web::post().to(sources::switch)),
    ("get", "/console/comparison/{name}", Needs::Content, || web::get().to(sources::comparison)),
    ("post", "/console/comparison/{name}", Needs::Content, || web::post().to(sources::compare)),
    ("get", "/console/reports", Needs::See, || web::get().to(report::today)),
    ("get", "/console/reports/{day}", Needs::See, || web::get().to(report::show)),
    // For users of e-RS, who sign in there: their session is asked for by the page itself.
    ("get", "/console/mine", Needs::Nothing, || web::get().to(mine::show)),
    ("post", "/console/mine", Needs::Nothing, || web::post().to(mine::confirm)),
    ("post", "/console/mine/role", Needs::Nothing, || web::post().to(mine::choose)),
    ("post", "/console/mine/sign-out", Needs::Nothing, || web::post().to(mine::sign_out)),
    ("get", "/console/open", Needs::See, || web::get().to(open_work::show)),
    ("get", "/console/audit", Needs::Audit, || web::get().to(audit::show)),
    ("get", "/console/assets/{name}", Needs::Nothing, || web::get().to(assets::get)),
    ("get", "/console/health", Needs::See, || web::get().to(overview::live)),
    ("get", "/", Needs::Nothing, || web::get().to(home)),
];

pub fn configure(app: &mut web::ServiceConfig) {
    let mut served: Vec<&str> = Vec::new();
    for (_, path, ..) in &PAGES {
        if served.contains(path) {
            continue;
        }
        let mut resource = web::resource(*path);
        let mut needs = Vec::new();
        for (method, _, need, route) in PAGES.iter().filter(|(_, other, ..)| other == path) {
            resource = resource.route(route());
            needs.push((*method, *need));
        }
        let guarded = from_fn(move |request, next| guard(needs.clone(), request, next));
        app.service(resource.wrap(guarded));
        served.push(path);
    }
}

async fn home() -> HttpResponse {
    page::see_other("/console")
}
