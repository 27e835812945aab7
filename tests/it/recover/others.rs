//! Tasks of the account that are not asked for, or not ours: counted, named, and left alone.

use rust_decimal::Decimal;
use serde_json::json;

use super::{REBUILD, recover};
use crate::world::{Options, World};

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_others_are_counted_and_never_adopted() {
    let world = World::start(Options::default()).await;
    world.control().add_foreign(Some("their-own"), Decimal::ONE);
    let done = recover(&world, &REBUILD).await.json();
    assert_eq!(done["counts"], json!({ "foreign": 1 }), "{done}");
    assert_eq!((&done["told"], &done["rebuilt"]), (&json!(0), &json!(0)));
    assert_eq!(world.count("kling.v1.*.task.>").await, 0);
    world.app.stop().await;
    world.sim.stop().await;
}
