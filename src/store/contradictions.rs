//! What an audit of a store looks for: rows that no gateway can have left.
//!
//! Enters: nothing. Leaves: statements that find such rows, in the SQL that both stores understand; in them `{state}` stands
//! for the name of a command's state, `{text}` for an identifier as text, `{first}` for the number of a message's first
//! command. Guarantees: what was purged is passed over: messages go with their commands, events by age.

use crate::command::State;

/// What is wrong, and how it is found.
pub(super) const CONTRADICTIONS: [(&str, &str); 9] = [
    (
        "a message that was accepted has lost a command",
        "SELECT 1 FROM message m WHERE m.commands <> (
           SELECT count(*) FROM command c
           WHERE c.number >= {first} AND c.number < {first} + m.commands AND c.message = m.id
         )",
    ),
    ("a command has no message", "SELECT 1 FROM command c WHERE NOT EXISTS (SELECT 1 FROM message m WHERE m.id = c.message)"),
    (
        "a command has no thread, or one that was merged",
        "SELECT 1 FROM command c LEFT JOIN thread t ON t.number = c.thread
         WHERE t.number IS NULL OR t.merged_into IS NOT NULL",
    ),
    (
        "a command is ready behind another of its thread",
        "SELECT 1 FROM command c WHERE c.standing = 0 AND EXISTS (
           SELECT 1 FROM command o WHERE o.thread = c.thread AND o.standing < 7 AND o.number < c.number
         )",
    ),
    (
        "a command stands elsewhere than its state says",
        "SELECT 1 FROM command c WHERE {state} <> CASE c.standing
           WHEN 0 THEN 'queued' WHEN 1 THEN 'queued' WHEN 2 THEN 'running' WHEN 3 THEN 'waiting' WHEN 4 THEN 'unauthorised'
           WHEN 5 THEN 'in_doubt' WHEN 6 THEN 'failed' WHEN 7 THEN 'completed' WHEN 8 THEN 'discarded' ELSE 'shadowed' END",
    ),
    (
        "a change of state begins where the one before did not end",
        "SELECT 1 FROM transition t JOIN transition b ON b.command = t.command AND b.number = t.number - 1
         WHERE t.from_state IS NOT NULL AND t.from_state <> b.to_state",
    ),
    (
        "the last change of state is not the state",
        "SELECT 1 FROM command c JOIN transition t ON t.command = c.number AND t.number = c.changes WHERE t.to_state <> {state}",
    ),
    (
        "a command is failed or unauthorised, and nobody was told",
        "SELECT 1 FROM command c JOIN transition t ON t.command = c.number AND t.number = c.changes
         WHERE c.standing IN (4, 6) AND t.at >= (SELECT min(at) FROM outbox) AND NOT EXISTS (
           SELECT 1 FROM outbox e WHERE e.subject = {text} AND e.at >= c.received_at
             AND e.name = CASE c.standing WHEN 6 THEN 'CommandFailed' ELSE 'AuthorisationRequired' END
         )",
    ),
    (
        "two events of a thread have one number, or stand in another order than their numbers",
        "SELECT 1 FROM (
           SELECT sequence, lag(sequence) OVER (PARTITION BY thread ORDER BY position) AS before FROM outbox
         ) e WHERE e.sequence <= e.before",
    ),
];

/// Every pair of states that some command went through, in the order of its changes.
pub(super) const PAIRS: &str = "SELECT DISTINCT from_state, to_state FROM transition WHERE from_state IS NOT NULL";

/// The first pair that no command can go through.
pub(super) fn illegal(pairs: impl IntoIterator<Item = (String, String)>) -> Option<String> {
    // A held command is made ready, and one in hand goes on, without a change of state.
    let wrong = pairs.into_iter().find(|(from, to)| from != to && !State::can_follow(from, to));
    wrong.map(|(from, to)| format!("a command went from {from} to {to}, which cannot be"))
}
