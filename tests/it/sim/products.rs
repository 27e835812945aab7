//! Every product can be made, costs what the official table says, and shows up in the ledger.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{World, accepted, quick, refused, table, until};

/// Creates `body` at `path` and compares the units deducted in every place that shows them.
async fn check_price(world: &World, path: &str, body: Value, units: &str) {
    let legacy = path.starts_with("/v1/");
    let name = format!("p{}", world.control.tasks().len());
    let mut body = body;
    match legacy {
        true => body["external_task_id"] = json!(name),
        false => body["options"] = json!({ "external_task_id": name }),
    }
    accepted(world.post(path, &body).await);
    let task = world.ended(&name).await;
    let what = format!("{path} {body}");
    assert_eq!(task.status, "succeeded", "{what}");
    assert_eq!(task.deducted, Some(units.parse().unwrap()), "{what}");
    let seen = world.look_up(&name).await;
    assert_eq!(seen["billing"][0]["amount"], units, "{what}");
    assert_eq!(seen["outputs"].as_array().map(Vec::len), Some(1), "{what}");
    if legacy {
        let seen = accepted(world.get(&format!("{path}/{}", task.id)).await);
        assert_eq!(seen["final_unit_deduction"], units, "{what}");
    }
}

/// Path, body and units. The first three were seen live.
const NEW: &str = r#"
/text-to-video/kling-3.0-turbo | {"duration":3,"resolution":"720p"} | 2.4
/omni-video/kling-3.0-omni | {"duration":3,"contents":["prompt"]} | 1.8
/omni-video/kling-3.0-omni | {"contents":["prompt"]} | 3
/text-to-video/kling-3.0-turbo | {"duration":5,"resolution":"1080p"} | 5
/text-to-video/kling-3.0 | {"duration":5,"audio":"off"} | 3
/text-to-video/kling-3.0 | {"duration":10,"resolution":"1080p","audio":"native"} | 12
/text-to-video/kling-3.0 | {"duration":15,"resolution":"4k","audio":"native"} | 45
/text-to-video/kling-2.6 | {"duration":5} | 1.5
/text-to-video/kling-2.6 | {"duration":"10","resolution":"1080p","audio":"native"} | 10
/text-to-video/kling-2.5-turbo | {"duration":5,"resolution":"1080p"} | 2.5
/image-to-video/kling-2.6 \
    | {"resolution":"1080p","audio":"native","contents":["prompt","first_frame","voice"]} | 6
/omni-video/kling-3.0-omni \
    | {"resolution":"1080p","audio":"native","contents":["prompt"]} | 5
/omni-video/kling-3.0-omni | {"duration":3,"contents":["prompt","feature_video"]} | 2.7
/omni-video/kling-o1 | {"duration":3,"contents":["prompt","base_video"]} | 2.7
/omni-video/kling-o1 | {"duration":3,"contents":["prompt"]} | 1.8
/motion-control/kling-3.0 \
    | {"resolution":"1080p","character_orientation":"image","contents":["image","video"]} | 6
/motion-control/kling-2.6 \
    | {"resolution":"1080p","character_orientation":"image","contents":["image","video"]} | 4
"#;

#[tokio::test]
async fn new_standard_prices_are_the_official_ones() {
    let world = World::start().await;
    for row in table(NEW) {
        let [path, settings, units] = row[..] else {
            panic!("{row:?}")
        };
        let mut settings: Value = serde_json::from_str(settings).unwrap();
        let kinds = settings["contents"].take();
        let entry = |kind: &Value| json!({ "type": kind, "url": "u", "text": "p" });
        let contents: Vec<Value> = kinds.as_array().into_iter().flatten().map(entry).collect();
        let body = json!({ "prompt": "p", "contents": contents, "settings": settings });
        check_price(&world, path, body, units).await;
    }
    assert_eq!(world.control.stats().creates.by_generation["new"], 17);
}

/// Path, body and units; a prompt is added to all.
const LEGACY: &str = r#"
/v1/videos/text2video | {"model_name":"kling-v2-6","mode":"std","duration":"5"} | 1.5
/v1/videos/text2video \
    | {"model_name":"kling-v3","mode":"pro","duration":"10","sound":"on"} | 12
/v1/videos/image2video \
    | {"model_name":"kling-v2-5-turbo","mode":"pro","duration":"10","image":"u"} | 5
/v1/videos/omni-video | {"model_name":"kling-v3-omni"} | 3
/v1/videos/omni-video | {} | 3
/v1/videos/motion-control \
    | {"image_url":"u","video_url":"u","character_orientation":"image","mode":"std"} | 2.5
/v1/videos/multi-elements | {"session_id":"s","edit_mode":"swap"} | 2
/v1/videos/advanced-lip-sync | {"session_id":"s","face_choose":[{}]} | 0.5
/v1/videos/lip-sync | {"input":{"text":"hello"}} | 0.5
/v1/videos/avatar/image2video | {"image":"u","audio_id":"1"} | 2
/v1/videos/effects | {"effect_scene":"hug","input":{}} | 2
/v1/audio/text-to-audio | {"duration":3.0} | 0.25
/v1/audio/video-to-audio | {"video_url":"u"} | 0.25
/v1/images/generations | {"model_name":"kling-v3"} | 8
/v1/images/generations | {"model_name":"kling-v2-1"} | 4
/v1/images/generations | {"model_name":"kling-v2-1","image":"u"} | 8
/v1/images/omni-image | {"resolution":"4k"} | 16
/v1/images/multi-image2image | {"subject_image_list":[{}]} | 16
/v1/images/editing/expand | {"image":"u"} | 8
/v1/images/kolors-virtual-try-on | {"human_image":"u","cloth_image":"u"} | 1
/v1/general/ai-multi-shot | {"element_frontal_image":"u"} | 20
/v1/general/advanced-custom-elements | {"element_name":"e"} | 0
/v1/general/custom-voices | {"voice_name":"v","voice_url":"u"} | 0.05
"#;

#[tokio::test]
async fn legacy_prices_are_the_official_ones() {
    let world = World::start().await;
    for row in table(LEGACY) {
        let [path, body, units] = row[..] else {
            panic!("{row:?}")
        };
        let mut body: Value = serde_json::from_str(body).unwrap();
        body["prompt"] = json!("p");
        check_price(&world, path, body, units).await;
    }
    let stats = world.control.stats();
    assert_eq!(stats.creates.by_product.len(), 19, "every product was made");
    assert_eq!(stats.creates.by_generation["legacy"], 23);
}

#[tokio::test]
async fn results_carry_what_each_product_makes() {
    let mut config = quick();
    config.outputs.padding_bytes = 100_000;
    let world = World::with(config).await;
    let make = async |path: &str, body: Value| {
        let id = accepted(world.post(path, &body).await)["task_id"]
            .as_str()
            .unwrap()
            .to_owned();
        until("it has ended", || world.control.is_idle().then_some(())).await;
        accepted(world.get(&format!("{path}/{id}")).await)["task_result"].clone()
    };
    let audio = make(
        "/v1/audio/text-to-audio",
        json!({ "prompt": "p", "duration": 3 }),
    )
    .await;
    let audio = &audio["audios"][0];
    for (key, media_type) in [("url_mp3", "audio/mpeg"), ("url_wav", "audio/wav")] {
        let file = world
            .client
            .get(audio[key].as_str().unwrap())
            .send()
            .await
            .unwrap();
        assert_eq!(file.headers()["content-type"], media_type);
    }
    let views = make(
        "/v1/general/ai-multi-shot",
        json!({ "element_frontal_image": "u" }),
    )
    .await;
    assert!(views["images"][0]["url_3"].is_string());
    let images = json!({ "model_name": "kling-v3", "prompt": "p", "n": 3 });
    let images = make("/v1/images/generations", images).await;
    assert_eq!(images["images"][2]["index"], 2);
    let effects = make(
        "/v1/videos/effects",
        json!({ "effect_scene": "hug", "input": {} }),
    )
    .await;
    assert!(effects["videos"][0].get("duration").is_none());
    let file = world
        .client
        .get(effects["videos"][0]["url"].as_str().unwrap())
        .send()
        .await;
    assert!(
        file.unwrap().bytes().await.unwrap().len() > 100_000,
        "padded"
    );
}

#[tokio::test]
async fn the_account_shows_packs_and_every_deduction() {
    let mut config = quick();
    config.packs.video = Decimal::from(100);
    let world = World::with(config).await;
    world.create("new", "").await;
    world.legacy_create("old", "").await;
    world.create("bad", "[sim:fail]").await;
    until("all have ended", || world.control.is_idle().then_some(())).await;

    refused(
        world.get("/account/costs?startTime=1&endTime=2").await,
        400,
        1200,
        "",
    );
    let costs = accepted(world.get("/account/costs?start_time=1&end_time=2").await);
    assert_eq!(costs["code"], 0);
    let packs = costs["resource_pack_subscribe_infos"].as_array().unwrap();
    assert_eq!(packs.len(), 3);
    assert_eq!(packs[0]["remaining_quantity"].to_string(), "96.1");
    let none = "/account/costs?start_time=1&end_time=2&resource_pack_name=other";
    assert!(
        accepted(world.get(none).await)
            .get("resource_pack_subscribe_infos")
            .is_none()
    );

    let path = "/account/billing/package";
    refused(world.post(path, &json!({})).await, 400, 1200, "start_time");
    let range = json!({ "start_time": 0, "end_time": i64::MAX / 2, "limit": 2 });
    let first = accepted(world.post(path, &range).await);
    assert_eq!(first["result"]["count"], 2);
    assert_eq!(first["has_more"], true);
    let rest = json!({ "limit": 2, "cursor": first["next_cursor"] });
    let second = accepted(world.post(path, &rest).await);
    assert_eq!(
        (&second["result"]["count"], &second["has_more"]),
        (&json!(1), &json!(false))
    );
    let line = &second["result"]["detail"][0];
    assert_eq!(line["task_id"], world.control.task("new").unwrap().id);
    assert_eq!(line["deduction_amount"].to_string(), "2.4");
    assert_eq!(line["duration"], "3.041");
    assert_eq!(line["product_type"], "video");
    assert!(line["deduction_time"].is_string());
    assert_eq!(
        first["result"]["detail"][0]["deduction_amount"].to_string(),
        "0"
    );

    let filters = json!([{ "key": "product_type", "values": ["image"] }]);
    let images = json!({ "start_time": 0, "end_time": i64::MAX / 2, "filters": filters });
    assert_eq!(
        accepted(world.post(path, &images).await)["result"]["count"],
        0
    );
    let cash = accepted(world.post("/account/billing/balance", &range).await);
    assert_eq!(cash["result"]["detail"], json!([]));
    assert_eq!(world.control.stats().queries.account, 8);
}
