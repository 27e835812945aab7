//! Creates, in both generations: read the body, decide, answer as well or as badly as asked.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;

use super::catalogue::{self, Pack, Product, Standard, Yield};
use super::price::{self, Ask};
use super::reply::{self, Refusal};
use super::server::Sim;
use super::state::{Admission, Wanted};
use super::stats::count;
use super::tags::{CallbackFault, CreateFault, Moment};
use super::{callbacks, clock, lifecycle};

/// Answers a create. `path_model` is the model of the new standard.
pub(super) async fn create(
    sim: Arc<Sim>,
    product: &'static Product,
    path_model: Option<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    sim.state().stats.creates.requests += 1;
    clock::sleep(sim.config.timing.create_latency).await;
    let read = match path_model {
        Some(model) => read_new(&sim, product, model, &headers, &body),
        None => read_legacy(&sim, product, &headers, &body),
    };
    let admission = match read {
        Ok(wanted) => sim.state().admit(&sim.config, wanted, clock::now_ms()),
        Err(refusal) => Admission::Refused(refusal),
    };
    match admission {
        Admission::Refused(refusal) => {
            let mut state = sim.state();
            count(
                &mut state.stats.creates.refused_by_code,
                refusal.code.to_string(),
            );
            refusal.into_response()
        }
        Admission::NotCreated(fault) => fail(&sim, fault).await,
        Admission::Created { id, fault } => {
            let answer = sim.state().tasks[&id].created();
            lifecycle::start(&sim, id);
            call_back_early(&sim, id).await;
            match fault {
                Some(fault) => fail(&sim, fault).await,
                None => reply::ok(answer),
            }
        }
    }
}

/// Sends callbacks before the create is answered, where a tag wants that.
async fn call_back_early(sim: &Arc<Sim>, id: u64) {
    let faults = sim.state().tasks[&id].faults.clone();
    let ended = faults.has(&CallbackFault::EarlyTerminal, Moment::Terminal);
    if !ended && !faults.has(&CallbackFault::Early, Moment::Processing) {
        return;
    }
    let sim = sim.clone();
    let early = tokio::spawn(async move {
        let mut outgoing = lifecycle::begin(&sim, id);
        if ended {
            outgoing.extend(lifecycle::end(&sim, id));
        }
        for one in outgoing {
            callbacks::deliver(&sim, one).await;
        }
    });
    // A panic in there has been reported already; the create is answered all the same.
    let _ = early.await;
}

async fn fail(sim: &Sim, fault: CreateFault) -> Response {
    let (name, response) = match fault {
        CreateFault::Refuse(code) => ("code", Refusal::of(code).into_response()),
        CreateFault::Status { http: 502, .. } => {
            ("502", reply::gateway_page(StatusCode::BAD_GATEWAY))
        }
        CreateFault::Status { http: 503, .. } => ("503", Refusal::of(5001).into_response()),
        CreateFault::Status { http: 504, .. } => ("504", Refusal::of(5002).into_response()),
        CreateFault::Status { .. } => ("500", Refusal::of(5000).into_response()),
        CreateFault::Garbage { .. } => ("garbage", reply::garbage()),
        CreateFault::BadGateway { .. } => {
            ("badgateway", reply::gateway_page(StatusCode::BAD_GATEWAY))
        }
        CreateFault::Reset { .. } => ("reset", reply::cut()),
        CreateFault::Timeout { .. } => ("timeout", reply::cut()),
    };
    count(&mut sim.state().stats.creates.faulted, name);
    if matches!(fault, CreateFault::Timeout { .. }) {
        clock::sleep(sim.config.timing.silence).await;
    }
    response
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(1201, message)
}

fn json_object(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| Refusal::new(1200, "Request body is not a JSON object"))
}

fn text(value: &Value) -> Option<String> {
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// Source: platform reference 2.2, 2.3; a top-level `callback_url` is ignored (0, point 6).
fn read_new(
    sim: &Sim,
    product: &'static Product,
    model: String,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Wanted, Refusal> {
    let key_name = sim.gate(headers, Standard::New)?;
    let known = product
        .new
        .is_some_and(|(_, models)| models.contains(&model.as_str()));
    if !known {
        return Err(Refusal::new(1203, "model is not supported"));
    }
    let body = json_object(body)?;
    if product.name == "text-to-video" {
        if text(&body["prompt"]).is_none() {
            return Err(invalid("prompt cannot be empty"));
        }
    } else if body["contents"].as_array().is_none_or(Vec::is_empty) {
        return Err(invalid("contents cannot be empty"));
    }
    let settings = &body["settings"];
    check_choice(settings, "resolution", &["480p", "720p", "1080p", "4k"])?;
    check_choice(settings, "aspect_ratio", &["16:9", "9:16", "1:1"])?;
    check_choice(settings, "audio", &["native", "off", "original"])?;
    check_choice(settings, "character_orientation", &["image", "video"])?;
    if product.name == "motion-control" && settings["character_orientation"].is_null() {
        return Err(invalid("settings.character_orientation cannot be empty"));
    }
    let options = &body["options"];
    let wanted = Wanted {
        standard: Standard::New,
        product,
        version: catalogue::version(&model),
        model,
        external_id: text(&options["external_task_id"]),
        callback_url: text(&options["callback_url"]),
        watermark: options["watermark_info"]["enabled"] == true,
        key_name,
        ask: ask(product, Standard::New, &body)?,
        body,
        price: rust_decimal::Decimal::ZERO,
    };
    priced(wanted)
}

fn check_choice(settings: &Value, key: &str, choices: &[&str]) -> Result<(), Refusal> {
    match &settings[key] {
        Value::Null => Ok(()),
        Value::String(value) if choices.contains(&value.as_str()) => Ok(()),
        Value::String(value) => Err(invalid(format!(
            "settings.{key} value '{value}' is invalid"
        ))),
        other => Err(invalid(format!(
            "settings.{key} value '{other}' is invalid"
        ))),
    }
}

/// Source: platform reference 2.5, 2.6.
fn read_legacy(
    sim: &Sim,
    product: &'static Product,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Wanted, Refusal> {
    let key_name = sim.gate(headers, Standard::Legacy)?;
    let body = json_object(body)?;
    let default = product.legacy_models.first().copied();
    let model = match default {
        Some(default) => text(&body["model_name"]).unwrap_or_else(|| default.to_owned()),
        None => String::new(),
    };
    if default.is_some() {
        if catalogue::is_discontinued(product.pack, &model) {
            let message =
                format!("model '{model}' has been discontinued and is no longer available");
            return Err(invalid(message));
        }
        if !product.legacy_models.contains(&model.as_str()) {
            return Err(Refusal::new(
                1203,
                format!("model_name value '{model}' is invalid"),
            ));
        }
    }
    for field in required(product) {
        if field.split('|').all(|name| is_missing(&body[name])) {
            return Err(invalid(format!(
                "{} cannot be empty",
                field.replace('|', " or ")
            )));
        }
    }
    let video = product.pack == Pack::Video && product.yields == Yield::Video;
    if video && body["duration"].is_number() {
        return Err(invalid("duration must be a string"));
    }
    let version = if model.is_empty() {
        product.name.to_owned()
    } else {
        catalogue::version(&model)
    };
    let wanted = Wanted {
        standard: Standard::Legacy,
        product,
        version,
        model,
        external_id: text(&body["external_task_id"]),
        callback_url: text(&body["callback_url"]),
        watermark: body["watermark_info"]["enabled"] == true,
        key_name,
        ask: ask(product, Standard::Legacy, &body)?,
        body,
        price: rust_decimal::Decimal::ZERO,
    };
    priced(wanted)
}

fn is_missing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(entries) => entries.is_empty(),
        _ => false,
    }
}

/// Fields that a legacy create can not do without; `a|b` is either.
///
/// Source: platform reference 2.5, 2.6.
fn required(product: &Product) -> &'static [&'static str] {
    match product.name {
        "text-to-video" | "omni-video" => &["prompt|multi_prompt"],
        "image-to-video" => &["image|image_tail"],
        "motion-control" => &["image_url", "video_url", "character_orientation", "mode"],
        "multi-elements" => &["session_id", "edit_mode", "prompt"],
        "advanced-lip-sync" => &["session_id", "face_choose"],
        "lip-sync" => &["input"],
        "avatar" => &["image", "audio_id|sound_file"],
        "effects" => &["effect_scene", "input"],
        "text-to-audio" => &["prompt", "duration"],
        "video-to-audio" => &["video_id|video_url"],
        "image-generation" | "omni-image" => &["prompt"],
        "multi-image-to-image" => &["subject_image_list"],
        "image-expansion" => &["image"],
        "virtual-try-on" => &["human_image", "cloth_image"],
        "ai-multi-shot" => &["element_frontal_image"],
        "element" => &["element_name"],
        "custom-voice" => &["voice_name", "voice_url|video_id"],
        _ => &[],
    }
}

fn ask(product: &Product, standard: Standard, body: &Value) -> Result<Ask, Refusal> {
    let ask = Ask::read(product, standard, body)
        .map_err(|(field, value)| invalid(format!("{field} value '{value}' is invalid")))?;
    let longest = if standard == Standard::New {
        3072
    } else {
        2500
    };
    if ask.prompt.chars().count() > longest {
        return Err(invalid(format!("prompt length cannot exceed {longest}")));
    }
    Ok(ask)
}

fn priced(mut wanted: Wanted) -> Result<Wanted, Refusal> {
    let ask = &wanted.ask;
    let price = price::price(wanted.product, &wanted.version, ask).ok_or_else(|| {
        invalid(format!(
            "resolution '{}' with audio '{}' is not supported by the current model",
            ask.resolution, ask.sound
        ))
    })?;
    wanted.price = price;
    Ok(wanted)
}
