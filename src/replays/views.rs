//! Bulk replays as the API and the command line show them.

use serde_json::{Map, Value, json};

use uuid::Uuid;

use crate::store::{BulkReplay, ReplayItem, ReplayOutcome};

/// With its progress; the texts are of who decided it.
pub fn replay(replay: &BulkReplay) -> Value {
    let counts: Map<String, Value> = ReplayOutcome::ALL
        .into_iter()
        .map(|outcome| (outcome.name().to_owned(), replay.count(outcome).into()))
        .collect();
    json!({
        "id": replay.id,
        "filter": replay.filter,
        "share": replay.share.part(),
        "overtaken": replay.overtaken,
        "state": replay.standing,
        "by": replay.by,
        "createdAt": replay.created_at,
        "changedAt": replay.changed_at,
        "items": replay.counts.values().sum::<u64>(),
        "counts": counts,
    })
}

pub fn item(item: &ReplayItem) -> Value {
    json!({
        "message": item.message,
        "command": item.command,
        "made": item.made,
        "outcome": item.outcome,
        "why": item.why,
    })
}

/// With some of its items as `list`, from behind one; `next` where there are more.
pub async fn with_items(
    store: &dyn crate::store::Store,
    replay: &BulkReplay,
    after: Option<Uuid>,
    max: usize,
) -> crate::store::Result<Value> {
    let items = store.replay_items(replay.id, after, max).await?;
    let mut shown = self::replay(replay);
    if items.len() == max
        && let Some(last) = items.last()
    {
        shown["next"] = json!(last.subject());
    }
    shown["list"] = items.iter().map(item).collect();
    Ok(shown)
}
