//! What is copied, table by table: rows as PostgreSQL has them, and how SQLite has the same.
//!
//! A message's number is a multiple of 4096 in PostgreSQL, and those of its commands follow it. SQLite numbers both
//! on their own. So SQLite's message 7 is 28672, and a command is as far behind its message as it is behind
//! `first_command`. For a command that was purged, the last message before it that is still there serves as well: as
//! no message has 4096 commands, it comes before whatever is behind it. Back, a message's number is divided again, and
//! a command keeps its own, for SQLite does not mind gaps.

/// Between the numbers of two messages.
pub(super) const STEP: i64 = 4096;

pub(super) struct Table {
    pub(super) name: &'static str,
    /// PostgreSQL's.
    pub(super) columns: &'static [&'static str],
    /// In whose order it is read, from both.
    pub(super) key: &'static [&'static str],
    /// Rows of a batch. Where each may be a chunk of content, few.
    pub(super) rows_max: usize,
    /// Columns that SQLite has otherwise. A number of a command stands between two `#`.
    pub(super) read: &'static [(&'static str, &'static str)],
    /// What is joined for that.
    pub(super) join: &'static str,
    /// Columns of SQLite that get something else than the value of that name (`""`: there is no such column).
    pub(super) written: &'static [(&'static str, &'static str)],
}

const MANY: usize = 2_000;
const FEW: usize = 32;

const fn table(name: &'static str, key: &'static [&'static str], columns: &'static [&'static str]) -> Table {
    Table { name, columns, key, rows_max: MANY, read: &[], join: "", written: &[] }
}

const OF_MESSAGE: &[(&str, &str)] = &[("message", "t.message * 4096")];
const TO_MESSAGE: &[(&str, &str)] = &[("message", "?1 / 4096")];
const OF_COMMAND: &[(&str, &str)] = &[("command", "#t.command#")];

/// The command that made a referral is one that was purged.
const PURGED_MADE_IT: &str = "t.purged_creator IS NOT NULL AND c.number IS NULL";
const CREATOR: &str = "LEFT JOIN command c ON c.number = t.created_by";

/// In this order: what SQLite's threads need is there before them.
pub(super) const TABLES: [Table; 32] = [
    table("source", &["number"], &["number", "name"]),
    Table {
        read: &[("number", "t.number * 4096")],
        written: &[("number", "?1 / 4096"), ("first_command", "?1 + 1")],
        ..table(
            "message",
            &["number"],
            &[
                "number",
                "id",
                "source",
                "transport",
                "control_id",
                "kind",
                "charset",
                "received_at",
                "verdict",
                "size",
                "sha256",
                "problems",
                "commands",
                "acknowledgement",
                "raw",
            ],
        )
    },
    Table {
        rows_max: FEW,
        read: OF_MESSAGE,
        written: TO_MESSAGE,
        ..table("message_chunk", &["message", "position"], &["message", "position", "bytes"])
    },
    Table {
        rows_max: FEW,
        read: OF_MESSAGE,
        written: TO_MESSAGE,
        ..table("document", &["message", "number", "position"], &["message", "number", "position", "bytes"])
    },
    Table { read: OF_MESSAGE, written: TO_MESSAGE, ..table("acknowledged", &["message"], &["message", "at"]) },
    Table {
        read: OF_MESSAGE,
        written: TO_MESSAGE,
        ..table("mention", &["message", "patient"], &["message", "patient"])
    },
    Table {
        // It goes through all once more: what it has come to is left out in any case.
        read: &[("at", "0")],
        ..table(
            "bulk_replay",
            &["id"],
            &["id", "filter", "share", "overtaken", "standing", "by", "place", "why", "created_at", "changed_at", "at"],
        )
    },
    table(
        "replay_item",
        &["replay", "subject"],
        &["replay", "subject", "message", "command", "made", "outcome", "why", "at"],
    ),
    table("day_report", &["day"], &["day", "at"]),
    table("switched", &["kind", "name"], &["kind", "name", "version", "switches", "at"]),
    table("cause", &["id"], &["id", "source", "kind", "state", "code", "place", "text", "seen_at"]),
    Table { read: OF_MESSAGE, written: TO_MESSAGE, ..table("blame", &["message", "cause"], &["message", "cause"]) },
    table("legal_hold", &["id"], &["id", "message", "patient", "at", "by"]),
    table("dedup", &["source", "control_id"], &["source", "control_id", "sha256", "message"]),
    Table {
        // What runs is taken back by the first claim: nobody has it.
        read: &[
            ("number", "#t.number#"),
            ("lease_until", "iif(t.standing = 2, 0, NULL)"),
            // Apart from the body only where that is sealed.
            (
                "local_id",
                "iif(t.body LIKE 'sealed:%', t.local_id,
                     iif(json_type(t.body, '$.localId') = 'text', json_extract(t.body, '$.localId'), NULL))",
            ),
        ],
        ..table(
            "command",
            &["number"],
            &[
                "number",
                "id",
                "message",
                "source",
                "thread",
                "name",
                "class",
                "standing",
                "state",
                "received_at",
                "changed_at",
                "not_after",
                "due",
                "deferrals",
                "changes",
                "fence",
                "owner",
                "lease_until",
                "lease",
                "creates",
                "mapping_set",
                "body",
                "plan",
                "local_id",
                "cause",
            ],
        )
    },
    Table {
        read: OF_COMMAND,
        ..table(
            "transition",
            &["command", "number"],
            &["command", "number", "at", "from_state", "to_state", "why", "by"],
        )
    },
    Table {
        read: OF_COMMAND,
        ..table(
            "attempt",
            &["command", "number"],
            &[
                "number",
                "id",
                "command",
                "fence",
                "step",
                "call",
                "is_write",
                "correlation_id",
                "started_at",
                "finished_at",
                "status",
                "outcome",
                "duration_ms",
                "request",
                "response",
            ],
        )
    },
    Table {
        rows_max: FEW,
        read: OF_COMMAND,
        ..table("fetched", &["command", "attempt", "position"], &["command", "attempt", "position", "bytes"])
    },
    Table {
        join: CREATOR,
        read: &[
            ("created_by", "#iif(PURGED, t.purged_creator, c.number)#"),
            ("created_by_id", "iif(PURGED, t.purged_creator_id, c.id)"),
            ("created_by_digest", "iif(PURGED, t.purged_creates, c.creates)"),
            ("purged_creator", "#t.purged_creator#"),
        ],
        written: &[("created_by_id", ""), ("created_by_digest", "")],
        ..table(
            "thread",
            &["number"],
            &[
                "number",
                "id",
                "sequence",
                "created_by",
                "created_by_id",
                "created_by_digest",
                "known",
                "merged_into",
                "purged_creator",
                "purged_creator_id",
                "purged_creates",
            ],
        )
    },
    table("alias", &["digest", "kind"], &["digest", "kind", "thread"]),
    table(
        "outbox",
        &["position"],
        &["position", "id", "name", "at", "source", "subject", "thread", "sequence", "confirmed_at", "data"],
    ),
    table(
        "data_key",
        &["number", "master"],
        &["number", "master", "wrapped", "made_at", "used_from", "retired", "seals"],
    ),
    table("secret", &["connection", "kind"], &["connection", "kind", "version", "sealed", "at"]),
    table("held_piece", &["source", "pointer"], &["source", "pointer", "message", "at"]),
    table("link_number", &["source"], &["source", "next", "at"]),
    table("owed_answer", &["message"], &["message", "outcome_of", "destination", "at", "settled_at"]),
    table("told", &["destination"], &["destination", "position", "left_at"]),
    Table {
        rows_max: FEW,
        ..table(
            "dispatch",
            &["number"],
            &[
                "number",
                "id",
                "destination",
                "state",
                "kind",
                "control_id",
                "subject",
                "event",
                "created_at",
                "changed_at",
                "tries",
                "why",
                "content",
                "put_off",
            ],
        )
    },
    Table {
        rows_max: FEW,
        ..table("snapshot", &["watch", "service"], &["watch", "service", "version", "by", "at", "content"])
    },
    table(
        "spent",
        &["application", "call", "counts_for", "day"],
        &["application", "call", "counts_for", "day", "calls"],
    ),
    table("mapping_set", &["digest"], &["digest", "registered_at", "archive"]),
    table(
        "audit",
        &["number"],
        &["number", "at", "by", "kind", "place", "act", "subject", "why", "why_salt", "why_digest", "hash"],
    ),
];

impl Table {
    /// `after`: from behind a key, which is bound.
    pub(super) fn select_sqlite(&self, after: bool) -> String {
        let keys: Vec<String> = self.key.iter().map(|column| format!("t.{column}")).collect();
        let values: Vec<String> = self.columns.iter().map(|column| self.value(column)).collect();
        let keys = keys.join(", ");
        let marks = vec!["?"; self.key.len()].join(", ");
        let beyond = if after { format!("WHERE ({keys}) > ({marks})") } else { String::new() };
        format!("SELECT {keys}, {} FROM {} t {} {beyond} ORDER BY {keys}", values.join(", "), self.name, self.join)
    }

    fn value(&self, column: &str) -> String {
        let Some((_, text)) = self.read.iter().find(|(name, _)| *name == column) else { return format!("t.{column}") };
        let text = text.replace("PURGED", PURGED_MADE_IT);
        let mut parts = text.split('#');
        match (parts.next(), parts.next()) {
            (Some(""), Some(number)) => format!(
                "iif(({number}) IS NULL, NULL, ({number}) + coalesce((
                   SELECT n.number * {STEP} + 1 - n.first_command FROM numbered n
                   WHERE n.first_command <= ({number}) ORDER BY n.first_command DESC, n.number DESC LIMIT 1
                 ), 0))"
            ),
            _ => text,
        }
    }

    pub(super) fn insert_sqlite(&self) -> String {
        let written = |column: &str| self.written.iter().find(|(name, _)| *name == column).map(|(_, value)| *value);
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        for (index, column) in self.columns.iter().enumerate() {
            match written(column) {
                Some("") => continue,
                Some(value) => values.push(value.to_owned()),
                None => values.push(format!("?{}", index + 1)),
            }
            columns.push(*column);
        }
        for (column, value) in self.written.iter().filter(|(name, _)| !self.columns.contains(name)) {
            columns.push(column);
            values.push((*value).to_owned());
        }
        format!("INSERT INTO {} ({}) VALUES ({})", self.name, columns.join(", "), values.join(", "))
    }

    /// `$1 …`: the key behind which it is read, if any; the last one is how many rows.
    pub(super) fn select_postgres(&self, after: bool) -> String {
        let keys = self.key.join(", ");
        let marks: Vec<String> = (1..=self.key.len()).map(|number| format!("${number}")).collect();
        let beyond = if after { format!("WHERE ({keys}) > ({})", marks.join(", ")) } else { String::new() };
        let values: Vec<&str> = self
            .columns
            .iter()
            .map(|column| match (self.name, *column) {
                ("command", "lease_until") => "CASE standing WHEN 2 THEN 0::bigint END",
                ("bulk_replay", "at") => "0::bigint",
                (_, column) => column,
            })
            .collect();
        let limit = self.rows_max;
        format!("SELECT {keys}, {} FROM {} {beyond} ORDER BY {keys} LIMIT {limit}", values.join(", "), self.name)
    }
}
