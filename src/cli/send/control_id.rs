//! A new MSH-10, so that a message that is sent again is another message.

use memchr::{memchr, memchr_iter};
use uuid::Uuid;

/// Replaces MSH-10 of the first message; what has no MSH is left as it is.
pub fn renew(message: &[u8]) -> Vec<u8> {
    let Some(range) = field_10(message) else { return message.to_vec() };
    // MSH-10 holds 20 characters until v2.6: 80 random bits in 20 hexadecimal digits.
    let id = Uuid::new_v4().simple().to_string();
    let mut renewed = message[..range.start].to_vec();
    renewed.extend_from_slice(&id.as_bytes()[..20]);
    renewed.extend_from_slice(&message[range.end..]);
    renewed
}

fn field_10(message: &[u8]) -> Option<std::ops::Range<usize>> {
    let start = memchr::memmem::find(message, b"MSH")?;
    let delimiter = *message.get(start + 3)?;
    let end = memchr(b'\r', &message[start..]).map_or(message.len(), |at| start + at);
    let mut delimiters = memchr_iter(delimiter, &message[start..end]).map(|at| start + at);
    // MSH-1 is the first delimiter itself, so MSH-10 is behind the ninth.
    let before = delimiters.nth(8)?;
    Some(before + 1..delimiters.next().unwrap_or(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_control_id_changes() {
        let message = b"MSH|^~\\&|A|B|C|D|20260316||REF^I12|OLD|P|2.4\rPID|1\r";
        let renewed = renew(message);
        let text = String::from_utf8(renewed).expect("ASCII");
        let fields: Vec<&str> = text.split('|').collect();
        assert_eq!(fields[9].len(), 20);
        assert_eq!(text.replacen(fields[9], "OLD", 1).as_bytes(), message);
    }

    #[test]
    fn what_has_no_header_stays_as_it_is() {
        for bytes in [&b""[..], b"MSH", b"MSH|^~\\&|A\rPID|||||||||||", b"{}"] {
            assert_eq!(renew(bytes), bytes);
        }
    }
}
