//! Which services a command is for.

use serde_json::Value;

/// Ids of the services that a command names: those of its shortlist, or its one service.
pub fn services(body: &Value) -> Vec<&str> {
    let shortlist = body.get("shortlist").and_then(Value::as_array).into_iter().flatten();
    let listed = shortlist.filter_map(|entry| entry.get("service")?.as_str());
    listed.chain(body.get("service").and_then(Value::as_str)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_names_its_services_in_a_shortlist_or_as_one() {
        assert_eq!(services(&json!({"shortlist": [{"service": "1"}, {"service": "2"}]})), ["1", "2"]);
        assert_eq!(services(&json!({"service": "3"})), ["3"]);
        assert!(services(&json!({"letters": []})).is_empty());
    }
}
