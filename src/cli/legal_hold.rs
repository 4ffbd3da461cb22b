//! `store hold`: what retention leaves alone, however old, until somebody lifts it.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::exit::{CliError, Done};
use super::patient::{self, Number};
use super::store::{Actor, Place};
use super::table::{cell, table};
use crate::command::MessageId;
use crate::environment::Environment;
use crate::inbound::http::views;
use crate::patients;
use crate::store::{Held, LegalHold, StoreError};

/// Keep a referral, or all of a patient, from being removed by age or by hand: a legal hold
#[derive(Subcommand)]
pub enum Hold {
    Add(Add),
    Remove(Remove),
    List(List),
}

/// Put a legal hold on a message with all of its referral, or on everything of a patient
#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).args(["message", "patient"])), after_help = "\
Examples:
  ers-gateway store hold add --message 0199f2c4-… --why 'claim 4711' --config gateway.yaml
  ers-gateway store hold add --patient --why 'claim 4711' --store store.db     asks for the NHS number
  ers-gateway store hold add --patient --nhs-number-file number.txt --why 'claim 4711'

Of a patient: every message that mentions the NHS number or has an answer of e-RS that does, all others of their referrals,
their events, and whatever comes later. Messages of versions before this one are read for it first, once. The store has a
keyed digest of the number, never the number. Who and why goes to the audit log. A gateway on a file must not run
meanwhile, those on a database may.

Exit codes: 0 done, 2 no NHS number, 3 not there or in use, 4 no such message.")]
pub struct Add {
    #[command(flatten)]
    place: Place,
    /// With all of its referral
    #[arg(long, value_name = "MESSAGE")]
    message: Option<MessageId>,
    /// Everything of a patient, by the NHS number
    #[arg(long)]
    patient: bool,
    #[command(flatten)]
    number: Number,
    #[command(flatten)]
    actor: Actor,
}

/// Lift a legal hold: what it kept is removed by its age again
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway store hold remove 0199f2c4-… --why 'claim 4711 is settled' --config gateway.yaml

Exit codes: 0 done, 3 not there or in use, 4 no such hold.")]
pub struct Remove {
    #[command(flatten)]
    place: Place,
    /// From `store hold list`
    hold: uuid::Uuid,
    #[command(flatten)]
    actor: Actor,
}

/// List legal holds
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway store hold list --config gateway.yaml
  ers-gateway store hold list --store store.db --json

Why each was put there is in the audit log: `ers-gateway audit list --act 'put legal hold'`.")]
pub struct List {
    #[command(flatten)]
    place: Place,
    /// JSON, for a program
    #[arg(long)]
    json: bool,
}

impl Hold {
    pub async fn run(self) -> Done {
        match self {
            Self::Add(add) => add.run().await,
            Self::Remove(remove) => remove.run().await,
            Self::List(list) => list.run().await,
        }
    }
}

impl Add {
    async fn run(self) -> Done {
        let (_, store) = self.place.open().await?;
        let environment = Environment::system();
        let on = match self.message {
            Some(message) => Held::Message(message),
            None => {
                let number = self.number.read()?;
                let keys = patient::keys(&*store)?;
                match patient::read_unread(&*store, &keys).await {
                    Ok(_) => {}
                    // All others are held nonetheless.
                    Err(error @ StoreError::Damaged(_)) => eprintln!("whom it mentions is not known: {error}"),
                    Err(error) => return Err(error.into()),
                }
                Held::Patient(keys.patient_digest(&number))
            }
        };
        let hold = LegalHold { id: environment.new_id(), on, at: environment.now(), by: self.actor.name().to_owned() };
        store.put_legal_hold(hold.clone(), self.actor.act()).await.map_err(|error| match error {
            StoreError::NotFound => CliError::NotFound("there is no such message".into()),
            error => error.into(),
        })?;
        match on {
            Held::Message(message) => println!("legal hold {} on message {message} and all of its referral", hold.id),
            Held::Patient(digest) => {
                let messages = patients::messages_of(&*store, digest).await?;
                println!("legal hold {} on a patient: {messages} messages so far", hold.id);
                if messages == 0 {
                    println!("nothing of this patient is there: is it the right number, and the right key file?");
                }
            }
        }
        Ok(())
    }
}

impl Remove {
    async fn run(self) -> Done {
        let (_, store) = self.place.open().await?;
        store.lift_legal_hold(self.hold, self.actor.act()).await.map_err(|error| match error {
            StoreError::NotFound => CliError::NotFound("there is no such legal hold".into()),
            error => error.into(),
        })?;
        println!("lifted legal hold {}", self.hold);
        Ok(())
    }
}

impl List {
    async fn run(self) -> Done {
        let (_, store) = self.place.open().await?;
        let holds: Vec<Value> = store.legal_holds().await?.iter().map(views::legal_hold).collect();
        if self.json {
            println!("{:#}", json!({ "holds": holds }));
            return Ok(());
        }
        let rows: Vec<Vec<String>> = holds
            .iter()
            .map(|hold| ["at", "by", "on", "id"].iter().map(|member| cell(&hold[*member])).collect())
            .collect();
        print!("{}", table(&["since", "by", "on", "hold"], &rows));
        Ok(())
    }
}
