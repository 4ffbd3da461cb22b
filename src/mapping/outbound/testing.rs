//! Tests as files: `outbound/<dialect>/tests/<name>.yaml`, an event and the messages that must come of it.
//!
//! ```yaml
//! about: A new referral is told with its UBRN
//! event: ReferralReceived
//! data: { ubrn: "000000070000", … }
//! settings: { documents: inline }
//! documents: { /v1/commands/…/documents/file: JVBERi0= }
//! expect:
//!   - |
//!     MSH|^~\&|ERS-GATEWAY||PAS|RXX|20260316093015+0000||REF^I12^REF_I12|MESSAGE-1|T|2.4||||||UNICODE UTF-8
//!     RF1|…
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// One test file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboundTest {
    #[serde(default)]
    pub about: String,
    pub event: String,
    /// When it was published: RFC 3339. Its messages are made at that time too.
    #[serde(default = "at")]
    pub at: String,
    pub data: Value,
    /// Settings of the destination.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// Files in base64, by the `href` that the event has for them.
    #[serde(default)]
    pub documents: BTreeMap<String, String>,
    /// Every message, whole; segments end in LF here. Empty: none is wanted.
    pub expect: Vec<String>,
}

fn at() -> String {
    "2026-03-16T09:30:15Z".to_owned()
}

impl OutboundTest {
    /// Every difference, in words; empty when the test passes. A message that could not be made has its reason in its place.
    pub fn differences(&self, made: &[Result<String, String>]) -> Vec<String> {
        let mut differences = Vec::new();
        if made.len() != self.expect.len() {
            differences.push(format!("messages: expected {}, found {}", self.expect.len(), made.len()));
        }
        for number in 0..made.len().max(self.expect.len()) {
            let expected: Vec<&str> = self.expect.get(number).map(|text| text.lines().collect()).unwrap_or_default();
            let found: Vec<&str> = match made.get(number) {
                None => Vec::new(),
                Some(Ok(message)) => message.split_terminator('\r').collect(),
                Some(Err(why)) => {
                    differences.push(format!("message {} could not be made: {why}", number + 1));
                    continue;
                }
            };
            for line in 0..expected.len().max(found.len()) {
                let (expected, found) = (expected.get(line), found.get(line));
                if expected != found {
                    let shown = |line: Option<&&str>| line.map_or("nothing".to_owned(), |line| format!("{line:?}"));
                    differences.push(format!(
                        "message {} segment {}: expected {}, found {}",
                        number + 1,
                        line + 1,
                        shown(expected),
                        shown(found)
                    ));
                }
            }
        }
        differences
    }
}
