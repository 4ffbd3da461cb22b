//! Who makes a call: of the connections of a source the first that may, and in whose session.
//!
//! Enters: a source's connections in their order, and whose the command is. Leaves: the call with who makes it, or who is
//! needed. Guarantees: a command that somebody asked for runs in no session but theirs; what came before they signed in
//! runs when they have confirmed it; from a person's first write on no other session goes on with a command. An unattended
//! connection may: its approval stands for the write by itself, whoever began.

use std::sync::Arc;

use super::engine::Member;
use super::ledger::Abandoned;
use super::run::{Flow, Ground, Run, Unresolved};
use crate::command::{Overtaken, WaitReason, author};
use crate::config::{Access, Source};
use crate::ers::TokenError;
use crate::mapping::{NextCall, PlanProblem, PreparedCall};
use crate::sign_in::{Person, Whose};

/// What may stand for a command at one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    /// Approvals; nobody's session.
    Unattended,
    /// The session that somebody seeded there.
    Seeded,
    /// This person's own session.
    Person(String),
    /// Nothing: what is needed.
    Nothing(String),
}

/// In whose session a command may run at a connection. `among_people`: the source has connections where people sign in.
pub(super) fn stands((name, access): (&str, &Access), source: &Source, among_people: bool, whose: &Whose) -> Stands {
    match access {
        Access::ApplicationRestricted(_) => Stands::Unattended,
        Access::UserRestricted(_) | Access::ProfessionalSession(_) => match (whose, access.owner()) {
            (Whose::Theirs(user) | Whose::Unknown(user), Some(owner)) if user != owner => {
                Stands::Nothing(format!("it is user {user}'s, and the session of connection {name} is user {owner}'s"))
            }
            (Whose::Theirs(_), Some(_)) => Stands::Seeded,
            _ if !among_people => Stands::Seeded,
            (Whose::Nobodys, _) if source.shared_session.as_deref() == Some(name) => Stands::Seeded,
            _ => Stands::Nothing(format!("the session of connection {name} is not for what people ask for themselves")),
        },
        Access::SignIn(_) => match whose {
            Whose::Theirs(user) => Stands::Person(user.clone()),
            Whose::Nobodys => Stands::Nothing(
                "its message does not say whose it is: make somebody responsible (ers-gateway waiting assign)".into(),
            ),
            Whose::Unknown(name) => Stands::Nothing(format!(
                "its message says that it is {name}'s, whom the settings of source {} do not know: add them to its users",
                source.name
            )),
        },
    }
}

/// Whether a person who is here wants what came before they were.
fn is_wanted(run: &Run, person: &Person) -> bool {
    let confirmed = run.plan.confirmed.as_ref().is_some_and(|confirmed| confirmed.user == person.user);
    confirmed || run.plan.begun || run.command.received_at >= person.since
}

/// Those who can act now, in the order of the settings; and why the others cannot.
struct Actors {
    able: Vec<Arc<Member>>,
    /// Connection, and what is needed there.
    missing: Vec<(String, String)>,
}

impl Run {
    /// As the message says it, or the one before it.
    pub(super) fn author(&self) -> Option<&str> {
        self.plan.author.as_deref().or_else(|| author(&self.command.name, &self.command.body))
    }

    pub(super) fn whose(&self) -> Whose {
        let sources = self.shared.sources.borrow().clone();
        Whose::of(
            sources.get(&self.command.source),
            (&self.command.name, &self.command.body),
            self.plan.author.as_deref(),
            self.plan.responsible.as_deref(),
        )
    }

    fn is_among_people(&self, source: &Source) -> bool {
        source.connections().any(|name| self.shared.people.sign_in_at(name))
    }

    /// Who acts as the run begins: what a plan is looked at with until a call says who makes it.
    pub(super) async fn first_to_act(&self, source: &Source) -> Result<Arc<Member>, Unresolved> {
        let Actors { able, missing } = self.actors(source).await?;
        match (able.first(), missing.first()) {
            (Some(member), _) => Ok(member.clone()),
            (None, Some((connection, why))) => self.nobody(connection, why).ok_or(Unresolved::Connection),
            (None, None) => Err(Unresolved::Connection),
        }
    }

    fn nobody(&self, connection: &str, why: &str) -> Option<Arc<Member>> {
        let settings = self.shared.connections.get(connection)?;
        let client = Arc::new(self.shared.people.nobody(settings, why.to_owned()));
        Some(Arc::new(self.shared.members.get(connection)?.in_the_name_of(client, None)))
    }

    async fn actors(&self, source: &Source) -> Result<Actors, Unresolved> {
        let (whose, among_people) = (self.whose(), self.is_among_people(source));
        let mut actors = Actors { able: Vec::new(), missing: Vec::new() };
        for name in source.connections() {
            let member = self.shared.members.get(name).ok_or(Unresolved::Connection)?;
            let connection = self.shared.connections.get(name).ok_or(Unresolved::Connection)?;
            match stands((name, &connection.access), source, among_people, &whose) {
                Stands::Unattended | Stands::Seeded => actors.able.push(member.clone()),
                Stands::Nothing(why) => actors.missing.push((name.to_owned(), why)),
                Stands::Person(user) => match self.person_at(name, &user, member).await? {
                    Ok(person) => actors.able.push(person),
                    Err(why) => actors.missing.push((name.to_owned(), why)),
                },
            }
        }
        if let Some(began) = &self.plan.acts_as {
            let (goes_on, others): (Vec<_>, Vec<_>) = actors
                .able
                .into_iter()
                .partition(|member| member.client.is_unattended() || member.client.key() == began);
            actors.able = goes_on;
            actors.missing.extend(others.into_iter().map(|member| {
                let why = "it was begun by another user, or by the same one in another role, who alone goes on with it";
                (member.client.name.clone(), why.to_owned())
            }));
        }
        Ok(actors)
    }

    /// The person's own session, or what they have to do first.
    async fn person_at(
        &self,
        connection: &str,
        user: &str,
        member: &Member,
    ) -> Result<Result<Arc<Member>, String>, Unresolved> {
        let found = self.shared.people.find(connection, user).await.map_err(|error| {
            tracing::error!(%error, "who is signed in cannot be read");
            Unresolved::Store
        })?;
        let Some(person) = found else {
            return Ok(Err(format!("user {user}, whose it is, must sign in at the gateway")));
        };
        if !is_wanted(self, &person) {
            return Ok(Err(format!("it came before user {user} signed in: they must confirm it")));
        }
        Ok(match self.shared.people.client_of(&person) {
            Some(client) => Ok(Arc::new(member.in_the_name_of(client, Some(person)))),
            None => Err(format!("user {user} has signed in and must choose an organisation and function")),
        })
    }

    /// The next call and who makes it; `None` where nobody can, which is recorded.
    pub(super) async fn next_call(
        &mut self,
        ground: &Arc<Ground>,
    ) -> Result<Option<(Arc<Ground>, Result<NextCall, PlanProblem>)>, Abandoned> {
        let actors = match self.actors(&ground.source).await {
            Ok(actors) => actors,
            Err(unresolved) => return self.end_unresolved(unresolved).await.map(|_| None),
        };
        let alone = actors.able.len() == 1 && actors.missing.is_empty();
        let mut needed = actors.missing;
        for member in actors.able {
            let acting = match Arc::ptr_eq(&member.client, &ground.member.client) {
                true => ground.clone(),
                false => Arc::new(Ground { connection: member.client.for_plan(), member, ..(**ground).clone() }),
            };
            let mut state = self.plan.state.clone();
            let now = self.now();
            let next = self.with_context(&acting, &now, |context| acting.set.mappings.next_call(context, &mut state));
            if !alone
                && let Ok(NextCall::Call(call)) = &next
                && let Some(why) = self.cannot_make(&acting, call).await?
            {
                needed.push((acting.member.client.name.clone(), why));
                continue;
            }
            self.plan.state = state;
            return Ok(Some((acting, next)));
        }
        // Whoever is preferred is asked for first; all are told.
        let (connection, _) = needed.first().cloned().unwrap_or_default();
        let why: Vec<String> = needed.into_iter().map(|(_, why)| why).collect();
        self.unauthorised(&connection, &why.join("; ")).await.map(|_| None)
    }

    /// Why another is to make this call. What is only away for now is waited for.
    async fn cannot_make(&mut self, acting: &Ground, call: &PreparedCall) -> Result<Option<String>, Abandoned> {
        let client = &acting.member.client;
        let Some(operation) = acting.set.mappings.operation(&call.call) else { return Ok(None) };
        if let Some(why) = client.forbids(call, operation) {
            return Ok(Some(why));
        }
        if client.tokens.current().is_some() {
            return Ok(None);
        }
        self.ledger.commit().await?;
        match client.tokens.token().await {
            Err(TokenError::SignInNeeded(why)) => {
                self.session_is_over(&acting.member).await;
                Ok(Some(why))
            }
            Ok(_) | Err(TokenError::Unavailable { .. } | TokenError::Refused { .. }) => Ok(None),
        }
    }

    /// e-RS no longer knows the session of a person: they are not here, whatever its time.
    pub(super) async fn session_is_over(&self, member: &Member) {
        let Some(person) = &member.person else { return };
        tracing::warn!(connection = person.connection, "the session of somebody who signed in is over");
        if let Err(error) = self.shared.people.end(person).await {
            tracing::warn!(%error, "a session that is over is still kept");
        }
    }

    /// What waited for a person, and was cancelled or said anew meanwhile, is looked at before it is sent.
    pub(super) async fn stop_if_overtaken(&mut self) -> Result<Flow, Abandoned> {
        if self.plan.confirmed.is_none() || self.plan.begun || self.plan.overtaken_told {
            return Ok(Flow::On);
        }
        let behind = match self.shared.store.behind(self.command.id).await {
            Ok(behind) => behind,
            Err(error) => {
                tracing::error!(%error, "what came after a command cannot be read");
                let text = "it is not known now what came after it";
                return self.wait(WaitReason::Unavailable, None, text).await;
            }
        };
        let mut overtaken =
            behind.iter().filter_map(|later| Some((later.id, Overtaken::by(&self.command.name, &later.name)?)));
        match overtaken.next() {
            None => Ok(Flow::On),
            Some((later, how)) => {
                self.plan.overtaken_told = true;
                self.fail(how.code(), &format!("{} (command {later}); replay sends it all the same", how.text())).await
            }
        }
    }
}
