//! Which messages are a patient's, those of older versions included: they did not note whom they mention.

use crate::command::MessageId;
use crate::keys::Keys;
use crate::store::{PatientDigest, PlacedMessage, Store, StoreError};

const READ_PAGE: usize = 100;
const COUNT_PAGE: usize = 1_000;

/// Notes whom the messages of older versions mention, those that nobody read yet: once, for whoever asks later. `read` is told
/// how many, after each. One that is damaged is an error after all others were read.
pub async fn read_unread(store: &dyn Store, keys: &Keys, mut read: impl FnMut(u64)) -> Result<(), StoreError> {
    let (mut count, mut after, mut damaged) = (0, 0, None);
    loop {
        let page = store.unread_messages(after, READ_PAGE).await?;
        for PlacedMessage { number, id } in &page {
            after = *number;
            match read_one(store, keys, *id).await {
                // Purged since it was found.
                Ok(()) | Err(StoreError::NotFound) => {}
                Err(StoreError::Damaged(why)) => {
                    damaged.get_or_insert_with(|| format!("message {id}: {why}"));
                    continue;
                }
                Err(error) => return Err(error),
            }
            count += 1;
            read(count);
        }
        if page.len() < READ_PAGE {
            return damaged.map_or(Ok(()), |why| Err(StoreError::Damaged(why)));
        }
    }
}

async fn read_one(store: &dyn Store, keys: &Keys, id: MessageId) -> Result<(), StoreError> {
    let mut patients = keys.patients_in(&store.read_message(id, 0..u64::MAX).await?);
    for command in store.commands_of(id).await? {
        for attempt in store.attempts(command.id).await? {
            patients.extend(keys.patients_in(attempt.response.to_string().as_bytes()));
        }
    }
    store.note_mentions(id, patients).await
}

/// How many messages there are of a patient.
pub async fn messages_of(store: &dyn Store, patient: PatientDigest) -> Result<usize, StoreError> {
    let (mut count, mut after) = (0, 0);
    loop {
        let page = store.messages_of_patient(patient, after, COUNT_PAGE).await?;
        count += page.len();
        match page.last() {
            Some(last) if page.len() == COUNT_PAGE => after = last.number,
            _ => return Ok(count),
        }
    }
}
