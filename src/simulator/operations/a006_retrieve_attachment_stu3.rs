//! A006 Retrieve attachment (STU3): the file itself, up to 5 MB; A042 has taken its place.

use super::Act;
use super::a020_upload_file::FILE_BYTES_MAX;
use super::a042_retrieve_attachment::{check_available, content, find, is_related_to_file};
use crate::simulator::exchange::Answer;
use crate::simulator::issue::Issue;
use crate::simulator::refusal::Refusal;

pub fn answer(act: &Act<'_>, id: &str) -> Result<Answer, Refusal> {
    let (_, file) = find(act, id)?;
    // This operation documents no NO_RELATIONSHIP.
    if !is_related_to_file(act, &file) {
        return Err(Refusal::one(403, Issue::new("FORBIDDEN", "no legitimate relationship with the request")));
    }
    check_available(&file, act.now)?;
    if file.size > FILE_BYTES_MAX {
        let text = format!("The file is larger than {FILE_BYTES_MAX} bytes.");
        return Err(Refusal::unprocessable("FILE_SIZE_ERROR", text));
    }
    let ubrn = file.linked_to;
    let mut answer = content(file).ok_or(Refusal::Status(404))?;
    answer.ubrn = ubrn;
    Ok(answer)
}
