//! A ZIP archive of a few small texts, uncompressed (APPNOTE.TXT 4.3): every system opens one, and nothing more is needed.

/// Files by name, in their order. Names are ASCII; a file is smaller than 4 GiB.
pub fn zip<'f>(files: impl IntoIterator<Item = (&'f String, &'f String)>) -> Vec<u8> {
    let (mut archive, mut directory, mut count) = (Vec::new(), Vec::new(), 0_u16);
    for (name, text) in files {
        let offset = archive.len() as u32;
        let head = head(name, text);
        archive.extend_from_slice(b"PK\x03\x04");
        archive.extend_from_slice(&head);
        archive.extend_from_slice(name.as_bytes());
        archive.extend_from_slice(text.as_bytes());
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&head);
        // Comment, disk, attributes inside and outside.
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
        count += 1;
    }
    let (start, size) = (archive.len() as u32, directory.len() as u32);
    archive.append(&mut directory);
    archive.extend_from_slice(b"PK\x05\x06\x00\x00\x00\x00");
    archive.extend_from_slice(&count.to_le_bytes());
    archive.extend_from_slice(&count.to_le_bytes());
    archive.extend_from_slice(&size.to_le_bytes());
    archive.extend_from_slice(&start.to_le_bytes());
    archive.extend_from_slice(&[0; 2]);
    archive
}

/// What both places say of a file: version 2.0, UTF-8, stored, 1980-01-01, CRC, sizes, length of the name.
fn head(name: &str, text: &str) -> Vec<u8> {
    let mut head = vec![0x14, 0, 0, 0x08, 0, 0, 0, 0, 0x21, 0];
    head.extend_from_slice(&crc32(text.as_bytes()).to_le_bytes());
    let size = (text.len() as u32).to_le_bytes();
    head.extend_from_slice(&size);
    head.extend_from_slice(&size);
    head.extend_from_slice(&(name.len() as u16).to_le_bytes());
    head.extend_from_slice(&[0; 2]);
    head
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
