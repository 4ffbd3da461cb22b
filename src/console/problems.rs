//! `/console/problems`: what does not get on, grouped by its cause, with what it means, who can mend it and what to do.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use super::page::{self, Frame, Trouble};
use super::words::state_tag;
use crate::command::MessageId;
use crate::inbound::http::Shared;
use crate::problems::{PROBLEMS_MAX, advice, in_a_sentence};
use crate::store::{CauseId, ProblemFilter};
use crate::trials::{RowToAdd, row_to_add};

#[derive(Template)]
#[template(path = "problems.html")]
struct Problems {
    frame: Frame,
    rows: Vec<Row>,
}

struct Row {
    cause: CauseId,
    state: &'static str,
    colour: &'static str,
    sentence: String,
    patients: String,
    who: String,
    what_to_do: String,
    /// Where a code has no row.
    to_add: Option<RowToAdd>,
    last: String,
    example: Option<MessageId>,
    /// What a bulk replay of it is of; `None` where there is nothing to replay.
    replay_of: Option<&'static str>,
}

pub async fn show(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Trouble> {
    let filter = ProblemFilter { max: PROBLEMS_MAX, ..ProblemFilter::default() };
    let problems = shared.deps.search.problems(filter).await?;
    let now = shared.environment.now();
    let set = shared.deps.trials.as_deref().map(|trials| trials.mappings.current());
    let rows = problems.iter().map(|problem| {
        let tag = state_tag(&problem.cause.state);
        let advice = advice(&problem.cause);
        Row {
            cause: problem.cause.id,
            state: tag.text,
            colour: tag.colour,
            sentence: plain(&in_a_sentence(problem)),
            patients: plain(&advice.patients),
            who: plain(&advice.who),
            what_to_do: plain(&advice.what_to_do),
            to_add: set.as_ref().and_then(|set| row_to_add(set, &problem.cause.text)),
            last: page::ago(problem.last, now),
            example: problem.examples.first().map(|example| example.message),
            replay_of: match problem.cause.state.as_str() {
                "failed" => Some("failed"),
                "rejected" => Some("rejected"),
                _ => None,
            },
        }
    });
    let rows = rows.collect();
    Ok(page::ok(&Problems { frame: Frame::of(&request, &shared, "Problems"), rows }))
}

/// The guide is written for Markdown as well.
fn plain(text: &str) -> String {
    text.replace('`', "")
}
