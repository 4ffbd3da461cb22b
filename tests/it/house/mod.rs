//! The whole house: in by HTTP and AMQP, through e-RS (the simulator), out as events.

mod by_amqp;
mod by_http;

/// A message of `tests/data/hl7`, by the beginning of its name.
fn sample(number: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hl7");
    let mut names = std::fs::read_dir(folder).expect("the samples are there").flatten().map(|entry| entry.path());
    let path = names
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(number)))
        .unwrap_or_else(|| panic!("no sample {number}"));
    std::fs::read(path).expect("the sample can be read")
}
