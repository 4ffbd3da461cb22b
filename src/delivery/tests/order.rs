//! Promise 4: one thread, one command at a time, in arrival order; other threads never wait for it.

use std::time::Duration;

use serde_json::json;

use super::fake_ers::Does;
use super::world::World;
use crate::store::NewDocument;

fn letter() -> serde_json::Value {
    json!({ "letters": [{
        "fileName": "notes.txt",
        "contentType": "text/plain",
        "bytes": 5,
        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "content": { "in": "document", "number": 1 },
    }] })
}

fn document() -> Vec<NewDocument> {
    vec![NewDocument { number: 1, content: "hello".into() }]
}

#[tokio::test(start_paused = true)]
async fn two_commands_of_one_thread_stay_in_order_through_waiting() {
    let world = World::started().await;
    world.ers.will([Does::Says(429, ("Retry-After", "60"))]);
    let create = world.admit("R1").await;
    let attach = world.admit_as("AttachLetters", "R1", letter(), b"{}", document()).await;
    let other = world.admit("R2").await;
    world.until(other, "completed").await;
    assert_eq!(world.command(create).await.state.name(), "waiting");
    assert_eq!(world.command(attach).await.state.name(), "queued");
    world.until(attach, "completed").await;
    assert_eq!(world.ers.calls(), ["A011", "A011", "A011", "A005", "A020", "A012"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_doubt_holds_its_thread_and_no_other() {
    let world = World::started().await;
    world.ers.will([Does::LosesTheAnswer]);
    let create = world.admit("R1").await;
    let attach = world.admit_as("AttachLetters", "R1", letter(), b"{}", document()).await;
    world.until(create, "in_doubt").await;
    let other = world.admit("R2").await;
    world.until(other, "completed").await;
    world.rest(Duration::from_secs(600)).await;
    let held = world.command(attach).await;
    assert_eq!((held.state.name(), held.held_by), ("queued", Some(create)));
}

#[tokio::test(start_paused = true)]
async fn many_threads_are_carried_out_side_by_side() {
    let world = World::started().await;
    let mut commands = Vec::new();
    for nth in 0..200 {
        commands.push(world.admit(&format!("R{nth}")).await);
    }
    for command in commands {
        world.until(command, "completed").await;
    }
    assert_eq!(world.ers.calls().len(), 200);
    assert_eq!(world.ers.token_forms().len(), 1, "one token for all");
    let text = prometheus::TextEncoder::new().encode_to_string(&world.registry.gather()).expect("text");
    assert!(text.contains(r#"gateway_calls_total{call="A011",outcome="ok"} 200"#), "{text}");
    assert!(text.contains(r#"gateway_commands_settled_total{command="CreateReferral",outcome="completed"} 200"#));
}
