//! Statements that are sent together, in order, without waiting for each other's answers.
//!
//! PostgreSQL executes them one after the other, each with what those before it did and what was committed when it
//! begins. One that fails makes all that follow fail, the commit among them.

use std::task::Poll;

use deadpool_postgres::ClientWrapper;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, poll_fn};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement};

/// Begins a transaction that need not be on the disk when it is committed, and whose statements find their rows by keys,
/// however many there are: planned once, and always by an index, whatever the statistics say of a table that grows.
pub(super) const BEGIN_BY_KEYS: &str = "BEGIN; SET LOCAL synchronous_commit = off; \
     SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; \
     SET LOCAL enable_mergejoin = off";

type Answer<'a> = BoxFuture<'a, Result<Vec<Row>, Error>>;
type Parameter<'a> = &'a (dyn ToSql + Sync);

pub(super) struct Flight<'a> {
    client: &'a ClientWrapper,
    statements: Vec<Answer<'a>>,
}

impl<'a> Flight<'a> {
    pub(super) fn of(client: &'a ClientWrapper) -> Self {
        Self { client, statements: Vec::new() }
    }

    /// Plain SQL without parameters: `BEGIN`, `COMMIT`.
    pub(super) fn run(&mut self, sql: &'static str) {
        let client = self.client;
        self.statements.push(async move { client.batch_execute(sql).await.map(|()| Vec::new()) }.boxed());
    }

    /// A prepared statement; its answer is that of its place in the flight.
    pub(super) fn send<const N: usize>(&mut self, statement: &'a Statement, parameters: [Parameter<'a>; N]) {
        self.send_list(statement, parameters.into());
    }

    /// As `send`, with parameters that come from several places.
    pub(super) fn send_list(&mut self, statement: &'a Statement, parameters: Vec<Parameter<'a>>) {
        let client = self.client;
        self.statements.push(async move { client.query(statement, &parameters).await }.boxed());
    }

    /// As `send`, or nothing (and an empty answer) where there is nothing to say.
    pub(super) fn send_if<const N: usize>(
        &mut self,
        wanted: bool,
        statement: &'a Statement,
        parameters: [Parameter<'a>; N],
    ) {
        if wanted {
            self.send(statement, parameters);
        } else {
            self.statements.push(async { Ok(Vec::new()) }.boxed());
        }
    }

    /// Sends all and waits for the answers, or for the first failure.
    pub(super) async fn land(self) -> Result<Vec<Vec<Row>>, Error> {
        let mut pending: Vec<Option<Answer<'a>>> = self.statements.into_iter().map(Some).collect();
        let mut answers: Vec<Vec<Row>> = pending.iter().map(|_| Vec::new()).collect();
        poll_fn(|context| {
            let mut landed = true;
            // The first time in their order: a statement is sent when it is first polled.
            for (place, answer) in pending.iter_mut().zip(&mut answers) {
                let Some(statement) = place else { continue };
                match statement.poll_unpin(context) {
                    Poll::Ready(Ok(rows)) => {
                        *answer = rows;
                        *place = None;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => landed = false,
                }
            }
            if landed { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await?;
        Ok(answers)
    }

    /// As `land`, for a flight of exactly `N`.
    pub(super) async fn land_all<const N: usize>(self) -> Result<[Vec<Row>; N], Error> {
        debug_assert_eq!(self.statements.len(), N);
        let mut answers = self.land().await?;
        answers.resize_with(N, Vec::new);
        Ok(answers.try_into().unwrap_or_else(|_| std::array::from_fn(|_| Vec::new())))
    }
}
