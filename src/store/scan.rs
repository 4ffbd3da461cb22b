//! Messages by what they say: newest first, opened and looked through one by one, for so long and no longer.
//!
//! What is encrypted has no index. So an answer says how many it looked at and where to go on, and whoever asks again goes on
//! there.

use std::time::Duration;

use crate::command::MessageId;
use crate::environment::Environment;

use super::{MessageFilter, MessageView, Result, Store};

/// Messages that one answer looks through.
pub const LOOKED_THROUGH_MAX: usize = 2_000;
/// And for how long: others want the store too.
const LOOKS_FOR: Duration = Duration::from_secs(5);
const PAGE: usize = 50;

pub struct Scanned {
    pub found: Vec<MessageView>,
    /// Messages that were looked through.
    pub looked: usize,
    /// Behind this one it goes on; `None` at the end.
    pub next: Option<MessageId>,
}

/// Those that match, are seen by who asks, and contain the text as their sender wrote it. `filter.max`: as many, at most.
pub async fn scan(
    store: &dyn Store,
    mut filter: MessageFilter,
    text: &str,
    sees: impl Fn(&MessageView) -> bool,
    environment: &Environment,
) -> Result<Scanned> {
    let (began, wanted) = (environment.instant(), filter.max);
    let mut scanned = Scanned { found: Vec::new(), looked: 0, next: None };
    loop {
        filter.max = PAGE;
        let page = store.messages(filter.clone()).await?;
        for view in &page {
            if scanned.found.len() == wanted
                || scanned.looked == LOOKED_THROUGH_MAX
                || scanned.looked > 0 && began.elapsed() > LOOKS_FOR
            {
                scanned.next = filter.before;
                return Ok(scanned);
            }
            filter.before = Some(view.id);
            scanned.looked += 1;
            if sees(view) && contains(&store.read_message(view.id, 0..u64::MAX).await?, text, &view.charset) {
                scanned.found.push(view.clone());
            }
        }
        if page.len() < PAGE {
            return Ok(scanned);
        }
    }
}

/// In the characters that the message is written in.
fn contains(raw: &[u8], text: &str, charset: &str) -> bool {
    let encoding = encoding_rs::Encoding::for_label(charset.as_bytes()).unwrap_or(encoding_rs::UTF_8);
    memchr::memmem::find(raw, &encoding.encode(text).0).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_the_characters_of_its_sender() {
        for (raw, charset, found) in [
            ("PID|1||ZÖLLNER".as_bytes(), "UTF-8", true),
            (&b"PID|1||Z\xd6LLNER"[..], "windows-1252", true),
            (&b"PID|1||Z\xd6LLNER"[..], "UTF-8", false),
            ("PID|1||ZÖLLNER".as_bytes(), "unheard of", true),
            (b"", "UTF-8", false),
        ] {
            assert_eq!(contains(raw, "ZÖLL", charset), found, "{charset}");
        }
    }
}
