//! Outputs: which downloads, under which keys, with which checks.
//!
//! Leaves the download itself to `edge::fetch` and the writing to `edge::storage`.

use std::cmp::Ordering;

use jiff::{SignedDuration, Timestamp};

use crate::model::event::{EventKind, NewEvent};
use crate::model::ids::TaskId;
use crate::model::observation::{Output, SignedUrl};
use crate::model::task::{Asset, Task};

/// How long Kling keeps what it made, in days after the task's end.
///
/// Source: platform reference 6.
const RESULT_LIFE_DAYS: i64 = 30;

/// What a download must turn out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputKind {
    /// A clip.
    Video,
    /// A picture.
    Image,
    /// Speech, music or sound effects.
    Audio,
}

impl OutputKind {
    /// Every kind.
    pub const ALL: [OutputKind; 3] = [OutputKind::Video, OutputKind::Image, OutputKind::Audio];

    /// Returns the kind of an output type as Kling names it; `None` for what is no file (an
    /// element) and for types that Kling adds. Of a voice, its sample is the file.
    ///
    /// Source: platform reference 2.4.
    #[must_use]
    pub fn from_type(kind: &str) -> Option<OutputKind> {
        match kind {
            "video" => Some(OutputKind::Video),
            "image" => Some(OutputKind::Image),
            "audio" | "voice" => Some(OutputKind::Audio),
            _ => None,
        }
    }

    /// Returns the kind's name, the one that Kling uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            OutputKind::Video => "video",
            OutputKind::Image => "image",
            OutputKind::Audio => "audio",
        }
    }

    /// Returns the media types that the content may have, judged by its own first bytes.
    #[must_use]
    pub fn media_types(self) -> &'static [&'static str] {
        match self {
            OutputKind::Video => &["video/mp4", "video/quicktime", "video/webm"],
            OutputKind::Image => &["image/png", "image/jpeg", "image/webp"],
            OutputKind::Audio => &[
                "audio/mpeg",
                "audio/x-wav",
                "audio/m4a",
                "audio/aac",
                "audio/ogg",
                "audio/opus",
                "audio/x-flac",
            ],
        }
    }
}

/// A download to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its place among the outputs that Kling named, from 1.
    pub n: u32,
    /// What it must turn out to be.
    pub kind: OutputKind,
    /// Where it is.
    pub url: SignedUrl,
    /// When the address stops working.
    pub expires_at: Timestamp,
}

/// Lists the downloads among a task's outputs, in Kling's order.
///
/// A clip, picture or sound without an address is wanted all the same: it was paid for, and Kling
/// may name one when asked again.
///
/// `completed_at` stands in for the expiry of an address that does not tell its own.
#[must_use]
pub fn wanted(outputs: &[Output], completed_at: Timestamp) -> Vec<Wanted> {
    (1u32..)
        .zip(outputs)
        .filter_map(|(n, output)| {
            let kind = OutputKind::from_type(&output.kind)?;
            if output.url.0.is_empty() && output.kind == "voice" {
                return None;
            }
            Some(Wanted {
                n,
                kind,
                expires_at: expires_at(&output.url, completed_at),
                url: output.url.clone(),
            })
        })
        .collect()
}

/// Finds the same output in a fresh list: images have no id, so its place and kind must do.
#[must_use]
pub fn same_again(stale: &Wanted, fresh: &[Output], completed_at: Timestamp) -> Option<Wanted> {
    wanted(fresh, completed_at)
        .into_iter()
        .find(|again| again.n == stale.n && again.kind == stale.kind)
}

/// Returns when a signed address stops working: its `Expires` parameter, in Unix seconds, else the
/// end of Kling's own retention.
///
/// Source: platform reference 6.
#[must_use]
pub fn expires_at(url: &SignedUrl, completed_at: Timestamp) -> Timestamp {
    let query = url.0.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or("");
    let told = query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let seconds = value.parse::<i64>().ok()?;
        (name == "Expires").then(|| Timestamp::from_second(seconds).ok())?
    });
    told.unwrap_or_else(|| {
        let life = SignedDuration::from_hours(24 * RESULT_LIFE_DAYS);
        completed_at.checked_add(life).unwrap_or(Timestamp::MAX)
    })
}

/// Orders downloads: what expires first comes first, then Kling's own order.
#[must_use]
pub fn by_expiry(a: &Wanted, b: &Wanted) -> Ordering {
    (a.expires_at, a.n).cmp(&(b.expires_at, b.n))
}

/// Returns the object key of an output, `<tenant>/<task>/<n>-<sha256>.<ext>`.
///
/// The digest stands in the key, so writing the same content twice changes nothing, and no content
/// can take the place of another.
#[must_use]
pub fn key(task: &TaskId, n: u32, sha256: &str, media_type: &str) -> String {
    let tenant = task.tenant();
    let extension = extension(media_type);
    format!("{tenant}/{task}/{n}-{sha256}.{extension}")
}

/// Returns the file extension of a media type.
#[must_use]
pub fn extension(media_type: &str) -> &'static str {
    match media_type {
        "video/mp4" => "mp4",
        "video/quicktime" => "mov",
        "video/webm" => "webm",
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/webp" => "webp",
        "audio/mpeg" => "mp3",
        "audio/x-wav" => "wav",
        "audio/m4a" => "m4a",
        "audio/aac" => "aac",
        "audio/ogg" => "ogg",
        "audio/opus" => "opus",
        "audio/x-flac" => "flac",
        _ => "bin",
    }
}

/// Why an output could not be downloaded or stored, as far as it matters for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The address must never be called: scheme, host, port or network.
    Refused,
    /// The server no longer serves the address.
    Gone,
    /// What arrived is not what the output should be.
    BadContent,
    /// It may pass: network, server or our own disk and storage.
    Passing,
    /// Kling itself no longer offers the output.
    Withdrawn,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// Ask Kling for fresh addresses, then download again at once.
    AskKling,
    /// Try the whole message again later.
    TryLater,
    /// A person must look.
    SetAside,
}

/// How often content that is not what it should be is downloaded, before it is set aside: a cache
/// or a proxy on the way may have been at fault.
pub const BAD_CONTENT_ATTEMPTS_MAX: u64 = 3;

/// Decides what follows a failed output. Kling is asked once per delivery.
#[must_use]
pub fn after_trouble(trouble: Trouble, asked_kling: bool, attempt: u64) -> Next {
    match trouble {
        Trouble::Refused | Trouble::Withdrawn => Next::SetAside,
        Trouble::Gone if asked_kling => Next::TryLater,
        Trouble::Gone => Next::AskKling,
        Trouble::BadContent if attempt >= BAD_CONTENT_ATTEMPTS_MAX => Next::SetAside,
        Trouble::BadContent | Trouble::Passing => Next::TryLater,
    }
}

/// Makes the event that all outputs are stored; `None` if the log says so already.
#[must_use]
pub fn stored(task: &Task, assets: Vec<Asset>, now: Timestamp) -> Option<NewEvent> {
    if task.relay.stored_at.is_some() {
        return None;
    }
    let mut task = task.clone();
    task.occurred_at = now;
    task.assets = assets;
    task.relay.stored_at = Some(now);
    Some(NewEvent::plain(EventKind::Stored, 1, task))
}
