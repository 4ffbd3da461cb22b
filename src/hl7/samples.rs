//! The sample messages, for tests.

use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/hl7")
}

/// One sample by the start of its name: `"52"`.
pub fn sample(number: &str) -> Vec<u8> {
    let (_, bytes) = all().into_iter().find(|(name, _)| name.starts_with(&format!("{number}-"))).expect("a sample");
    bytes
}

/// Every sample with its file name, in order.
pub fn all() -> Vec<(String, Vec<u8>)> {
    let mut samples: Vec<_> = std::fs::read_dir(folder())
        .expect("tests/data/hl7 is part of the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "hl7" || e == "bin"))
        .map(|path| {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("a readable sample"))
        })
        .collect();
    samples.sort();
    assert_eq!(samples.len(), 64);
    samples
}
