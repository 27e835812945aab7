//! What the deduction records say, and how they can be made to disagree with a task's own bill.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{World, accepted, table};

/// Every record of a kind, as `external id: amount pack-or-currency`, newest first.
async fn records(world: &World, kind: &str, limit: u64) -> Vec<String> {
    let names = world.control.tasks().into_iter();
    let names: Vec<_> = names.map(|task| (task.id, task.external_id)).collect();
    let path = format!("/account/billing/{kind}");
    let mut body = json!({ "start_time": 0, "end_time": 9_999_999_999_999_i64, "limit": limit });
    let mut lines = Vec::new();
    loop {
        let data = accepted(world.post(&path, &body).await);
        for entry in data["result"]["detail"].as_array().unwrap() {
            let named = names.iter().find(|(id, _)| entry["task_id"] == **id);
            let name = named.and_then(|(_, name)| name.clone()).unwrap_or_default();
            let of = [&entry["package_id"], &entry["currency"]];
            let of = of.into_iter().find_map(Value::as_str).unwrap();
            lines.push(format!("{name}: {} {of}", entry["deduction_amount"]));
        }
        if data["has_more"] == false {
            return lines;
        }
        body = json!({ "cursor": data["next_cursor"], "limit": limit });
    }
}

#[tokio::test]
async fn records_can_be_made_to_say_anything() {
    let world = World::start().await;
    let mut expected = [Vec::new(), Vec::new()];
    // Every task costs 2.4 units by its own bill, where the tag does not say otherwise.
    let rows = table(
        "plain | | 2.4 unit | 2.4 simulator-video-1 |
         missing | record=missing | 2.4 unit | |
         amount | record=amount:7 | 2.4 unit | 7 simulator-video-1 |
         split | record=split | 2.4 unit | 1.2 simulator-video-1, 1.2 simulator-video-2 |
         twice | record=twice | 2.4 unit | 2.4 simulator-video-1, 2.4 simulator-video-1 |
         image | record=pack:image | 2.4 unit | 2.4 simulator-image-1 |
         turned | record=cash | 2.4 unit | | 0.336 USD
         cash | billing=cash | 0.336 cash | | 0.336 USD
         mixed | billing=mixed:0.4 | 0.4 unit, 0.28 cash | 0.4 simulator-video-1 | 0.28 USD
         failed | fail | 0 unit | 0 simulator-video-1 |",
    );
    for row in rows {
        let [name, tag, billing, packs, cash] = row[..] else {
            panic!("{row:?}")
        };
        let tag = format!("[sim:{tag}]");
        world
            .create(name, if tag == "[sim:]" { "" } else { &tag })
            .await;
        world.ended(name).await;
        let shown = world.look_up(name).await["billing"].clone();
        let shown: Vec<String> = shown
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| format!("{} {}", entry["amount"], entry["charge_type"]).replace('"', ""))
            .collect();
        assert_eq!(shown.join(", "), billing, "{name}");
        for (expected, said) in expected.iter_mut().zip([packs, cash]) {
            let said = said.split(", ").filter(|said| !said.is_empty());
            let lines: Vec<String> = said.map(|said| format!("{name}: {said}")).collect();
            // Newest first.
            expected.splice(0..0, lines.into_iter().rev());
        }
    }
    for (kind, expected) in ["package", "balance"].into_iter().zip(expected) {
        assert_eq!(records(&world, kind, 500).await, expected);
        assert_eq!(records(&world, kind, 1).await, expected, "a page each");
    }
    // Packs and stats follow the records, not the bills.
    let taken = world.control.stats().deductions;
    assert_eq!(taken["cash"].to_string(), "0.952");
    assert_eq!(taken["image"].to_string(), "2.4");
    let units = world.control.units();
    let ample = Decimal::from(100_000_000);
    let left: Decimal = units.iter().find(|(pack, _)| pack == "video").unwrap().1;
    assert_eq!(ample - left, taken["video"]);
}

#[tokio::test]
async fn legacy_bills_name_units_and_cash() {
    let world = World::start().await;
    world
        .legacy_create("mixed", "[sim:billing=mixed:0.5]")
        .await;
    let task = world.ended("mixed").await;
    let (_, body) = world.get("/v1/videos/text2video/mixed").await;
    let data = &body["data"];
    assert_eq!(data["final_unit_deduction"], "0.5");
    assert_eq!(data["final_balance_deduction"]["quota"], "0.14");
    assert_eq!(task.paid_cash.to_string(), "0.14");
}

#[tokio::test]
async fn others_use_the_account_as_well() {
    let world = World::start().await;
    let id = world.control.add_foreign(None, Decimal::new(35, 1));
    let named = world.control.add_foreign(Some("theirs"), Decimal::ONE);
    let (_, body) = world.get(&format!("/tasks?task_ids={id},{named}")).await;
    assert_eq!(body["data"][0]["status"], "succeeded");
    assert_eq!(body["data"][1]["external_id"], "theirs");
    let expected = ["theirs: 1 simulator-video-1", ": 3.5 simulator-video-1"];
    assert_eq!(records(&world, "package", 500).await, expected);
    assert_eq!(world.control.stats().callbacks.due, 0);
}
