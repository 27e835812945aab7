//! A task for tests to start from.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::ids::{Day, KlingTaskId, TaskId};
use kling_relay::model::observation::{Observation, ObservedStatus, Output, SignedUrl};
use kling_relay::model::request::Product;
use kling_relay::model::task::{Claim, Generation, Newer, RelayState, Reuse, Slots, Status, Task};

/// The task that the sample payloads speak of.
pub(crate) const TASK_ID: &str = "team-a_01j5zx8q4kfw2m6r7t9v0bcdeg";
/// Its id at Kling.
pub(crate) const KLING_ID: &str = "828338674605228111";

/// When it was requested.
pub(crate) fn requested_at() -> Timestamp {
    "2026-11-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn task_id() -> TaskId {
    TaskId::parse(TASK_ID).unwrap()
}

pub(crate) fn kling_id() -> KlingTaskId {
    KlingTaskId::parse(KLING_ID).unwrap()
}

/// A text-to-video task in that status; from `submitted` on with its id at Kling.
pub(crate) fn task(status: Status) -> Task {
    let at = requested_at();
    let claim = (status == Status::Dispatching).then(|| Claim {
        id: "claim".to_owned(),
        until: at + jiff::SignedDuration::from_secs(60),
    });
    Task {
        task_id: task_id(),
        tenant: task_id().tenant(),
        kling_task_id: (status.rank() >= Status::Submitted.rank()).then(kling_id),
        product: Product::TextToVideo,
        model: "kling-v2-6".to_owned(),
        status,
        labels: BTreeMap::new(),
        occurred_at: at,
        retry_of: None,
        reused_from: None,
        mode: Some("std".to_owned()),
        duration: Some("5".to_owned()),
        audio: false,
        purpose: None,
        estimate: Amount::new("1.5".parse().unwrap(), Unit::Video),
        error: None,
        billing: None,
        assets: Vec::new(),
        held: None,
        deduction: Vec::new(),
        overrun: Vec::new(),
        saved: None,
        relay: RelayState {
            requested_at: at,
            requested_seq: 1,
            expires_at: at + jiff::SignedDuration::from_hours(35 * 24),
            day: Day("2026-11-01".parse().unwrap()),
            account_held: false,
            price_book: "official-2026-09".to_owned(),
            request_digest: "0".repeat(64),
            submitted_with: 1,
            reuse: Reuse::default(),
            generation: Generation::Legacy,
            path: "/v1/videos/text2video".to_owned(),
            slots: Slots {
                pool: "2.6/video".to_owned(),
                count: 1,
            },
            not_before: Some(at),
            off_peak: false,
            attempts: 1,
            claim,
            may_exist: status == Status::Dispatching,
            dispatching: 1,
            lookups: 0,
            changed_at: at,
            stalled: 0,
            stalled_at: None,
            rebuilt: false,
            retries: 0,
            submitted_at: None,
            outputs: 0,
            stored_at: None,
            settled_at: None,
            newer: Newer::new(),
        },
        newer: Newer::new(),
    }
}

/// What Kling says of that task: complete, so that nothing has to be asked again.
pub(crate) fn observation(status: ObservedStatus) -> Observation {
    let ended = matches!(status, ObservedStatus::Succeeded | ObservedStatus::Failed);
    let output = Output {
        kind: "video".to_owned(),
        id: Some("1".to_owned()),
        url: SignedUrl("https://v15-kling-fdl.klingai.com/sample/a.mp4?Signature=s".to_owned()),
        duration: Some("5.1".to_owned()),
    };
    let succeeded = status == ObservedStatus::Succeeded;
    let bill = Amount::new(if succeeded { 2.into() } else { 0.into() }, Unit::Video);
    Observation {
        kling_task_id: kling_id(),
        external_id: Some(TASK_ID.to_owned()),
        status,
        message: if status == ObservedStatus::Failed {
            "it broke"
        } else {
            ""
        }
        .to_owned(),
        outputs: if succeeded { vec![output] } else { Vec::new() },
        billing: ended.then(|| vec![bill]),
        created_at: Some(requested_at()),
        updated_at: Some(requested_at()),
    }
}
