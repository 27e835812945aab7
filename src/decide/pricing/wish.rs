//! The typed fields of a request, checked against what the product and model can do.

use rust_decimal::Decimal;

use crate::decide::products::{Lengths, PROMPT_MAX, Pack, PromptRule, Resolution, SoundRule};
use crate::model::request::{Duration, Purpose, TaskRequest};

use super::check;
use super::plan::Choice;
use super::refusal::{Refusal, shorten};

/// What the typed fields ask for, in one vocabulary for both generations.
pub(super) struct Wish<'a> {
    /// With what is not to be seen folded in, where Kling has no field for that.
    pub(super) prompt: Option<String>,
    /// Where Kling has a field for it.
    pub(super) negative_prompt: Option<&'a str>,
    /// Of a video.
    pub(super) resolution: Option<Resolution>,
    /// Where the product has a length of its own.
    pub(super) seconds: Option<Decimal>,
    /// Whether the caller named the length.
    pub(super) seconds_asked: bool,
    pub(super) audio: bool,
    pub(super) aspect_ratio: Option<&'a str>,
}

pub(super) fn read<'a>(
    request: &'a TaskRequest,
    choice: &Choice,
    default_purpose: Purpose,
) -> Result<Wish<'a>, Refusal> {
    let (prompt, negative_prompt) = prompts(request, choice)?;
    let purpose = request.purpose.unwrap_or(default_purpose);
    let resolution = resolution(request, purpose, choice)?;
    Ok(Wish {
        prompt,
        negative_prompt,
        resolution,
        seconds: seconds(request.duration.as_ref(), choice)?,
        seconds_asked: request.duration.is_some(),
        audio: audio(request.audio, resolution, choice)?,
        aspect_ratio: aspect_ratio(request.aspect_ratio.as_deref(), choice)?,
    })
}

/// Kling's legacy generation has a field for what is not to be seen, some of its endpoints and the
/// whole new generation have none: there it joins the prompt.
///
/// Source: platform reference 2.2 and 8.
fn prompts<'a>(
    request: &'a TaskRequest,
    choice: &Choice,
) -> Result<(Option<String>, Option<&'a str>), Refusal> {
    let product = choice.row.product;
    let is_new = choice.new_endpoint().is_some();
    let max = match choice.row.prompt {
        PromptRule::None => {
            let given = [
                ("prompt", request.prompt.is_some()),
                ("negative_prompt", request.negative_prompt.is_some()),
            ];
            return match given.iter().find(|(_, given)| *given) {
                None => Ok((None, None)),
                Some((field, _)) => {
                    let message = format!("{product} takes no {field}; leave it out");
                    Err(Refusal::invalid(*field, message))
                }
            };
        }
        PromptRule::Required(_) if request.prompt.is_none() => {
            let message = format!("{product} needs a prompt; say what to make");
            return Err(Refusal::invalid("prompt", message));
        }
        PromptRule::Required(_) | PromptRule::Optional if is_new => choice.rules().prompt_max,
        PromptRule::Required(max) => max,
        PromptRule::Optional => PROMPT_MAX,
    };
    if let Some(prompt) = &request.prompt {
        check::text("prompt", prompt, max)?;
    }
    let Some(negative) = request.negative_prompt.as_deref() else {
        return Ok((request.prompt.clone(), None));
    };
    check::text("negative_prompt", negative, PROMPT_MAX)?;
    if !is_new && choice.legacy().negative_prompt {
        return Ok((request.prompt.clone(), Some(negative)));
    }
    let folded = match &request.prompt {
        Some(prompt) => format!("{prompt}\nAvoid: {negative}"),
        None => format!("Avoid: {negative}"),
    };
    let count = folded.chars().count();
    if count > max {
        let message = format!(
            "{} has no field for negative_prompt, so it joins the prompt; together they have \
             {count} characters, at most {max} are taken",
            choice.spelling
        );
        return Err(Refusal::invalid("negative_prompt", message));
    }
    Ok((Some(folded), None))
}

fn resolution(
    request: &TaskRequest,
    purpose: Purpose,
    choice: &Choice,
) -> Result<Option<Resolution>, Refusal> {
    let (row, rules) = (choice.row, choice.rules());
    if row.pack != Pack::Video || rules.resolutions.is_empty() {
        return match &request.mode {
            None => Ok(None),
            Some(_) => {
                let hint = if rules.resolutions.is_empty() {
                    "leave it out"
                } else {
                    "set parameters.resolution"
                };
                let message = format!("{} has no mode; {hint}", row.product);
                Err(Refusal::invalid("mode", message))
            }
        };
    }
    let asked = match request.mode.as_deref() {
        None => Resolution::P720,
        Some(mode) => Resolution::from_mode(mode).ok_or_else(|| {
            let message = format!(
                "mode {:?} must be one of standard, std, 720p, professional, pro, 1080p, 4k",
                shorten(mode)
            );
            Refusal::invalid("mode", message)
        })?,
    };
    let taken = match purpose {
        Purpose::Draft => Resolution::P720,
        Purpose::Final => asked,
    };
    if !rules.resolutions.contains(&taken) {
        let offers: Vec<&str> = rules
            .resolutions
            .iter()
            .map(|offer| offer.as_str())
            .collect();
        let message = format!(
            "{} makes no {}; it makes {}",
            choice.spelling,
            taken.as_str(),
            offers.join(", ")
        );
        return Err(Refusal::invalid("mode", message));
    }
    Ok(Some(taken))
}

fn seconds(asked: Option<&Duration>, choice: &Choice) -> Result<Option<Decimal>, Refusal> {
    let name = &choice.spelling;
    let lengths = choice.rules().lengths;
    if let Lengths::None | Lengths::Input(_) = lengths {
        let why = match lengths {
            Lengths::Input(_) => "is as long as its input",
            _ => "has no length",
        };
        return match asked {
            None => Ok(None),
            Some(_) => {
                let message = format!("{} {why}; leave duration out", choice.row.product);
                Err(Refusal::invalid("duration", message))
            }
        };
    }
    let seconds = match asked {
        None => Some(Decimal::from(5)),
        Some(Duration::Text(text)) => plain_number(text),
        Some(Duration::Number(number)) => plain_number(&number.to_string()),
    };
    let between =
        |min: u32, max: u32, s: &Decimal| *s >= Decimal::from(min) && *s <= Decimal::from(max);
    let (fits, expected) = match lengths {
        Lengths::OneOf(choices) => {
            let fits = seconds.filter(|s| choices.iter().any(|one| Decimal::from(*one) == *s));
            let choices: Vec<String> = choices.iter().map(u32::to_string).collect();
            (fits, choices.join(" or "))
        }
        Lengths::Whole(min, max) => (
            seconds.filter(|s| s.is_integer() && between(min, max, s)),
            format!("a whole number from {min} to {max}"),
        ),
        Lengths::Tenths(min, max) => (
            seconds.filter(|s| s.normalize().scale() <= 1 && between(min, max, s)),
            format!("a number from {min} to {max} with at most one decimal"),
        ),
        Lengths::None | Lengths::Input(_) => (None, String::new()),
    };
    let Some(seconds) = fits else {
        let message = format!("duration for {name} must be {expected} (seconds)");
        return Err(Refusal::invalid("duration", message));
    };
    Ok(Some(seconds.normalize()))
}

/// Reads digits with at most one point: no sign, exponent or grouping.
pub(super) fn plain_number(text: &str) -> Option<Decimal> {
    let plain = !text.is_empty()
        && text.len() <= 12
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && text.starts_with(|c: char| c.is_ascii_digit());
    plain.then(|| Decimal::from_str_exact(text).ok()).flatten()
}

/// Leaving `audio` out takes what the model does by default: nothing is heard, but for a model that
/// cannot be silent. A wish that the model cannot fulfil is refused.
fn audio(
    asked: Option<bool>,
    resolution: Option<Resolution>,
    choice: &Choice,
) -> Result<bool, Refusal> {
    let name = &choice.spelling;
    let refuse = |message: String| Err(Refusal::invalid("audio", message));
    match (choice.rules().sound, asked) {
        (SoundRule::Always, Some(false)) => refuse(format!(
            "{name} always makes sound; leave audio out or take another model"
        )),
        (SoundRule::Always, Some(true) | None) => Ok(true),
        (SoundRule::None, Some(true)) => refuse(format!(
            "{name} makes no sound; leave audio out or take another model"
        )),
        (SoundRule::NativeAt1080, Some(true)) if resolution != Some(Resolution::P1080) => {
            refuse(format!("{name} makes sound at mode 1080p only"))
        }
        (
            SoundRule::None
            | SoundRule::Native
            | SoundRule::NativeAt1080
            | SoundRule::NativeOrOriginal
            | SoundRule::Original,
            asked,
        ) => Ok(asked.unwrap_or(false)),
    }
}

fn aspect_ratio<'a>(asked: Option<&'a str>, choice: &Choice) -> Result<Option<&'a str>, Refusal> {
    let Some(ratio) = asked else {
        return Ok(None);
    };
    let (product, offers) = (choice.row.product, choice.row.aspect_ratios);
    if offers.is_empty() {
        let message = format!("{product} takes no aspect_ratio; leave it out");
        return Err(Refusal::invalid("aspect_ratio", message));
    }
    if !offers.contains(&ratio) {
        let message = format!(
            "aspect_ratio {:?} for {product} must be one of {}",
            shorten(ratio),
            offers.join(", ")
        );
        return Err(Refusal::invalid("aspect_ratio", message));
    }
    Ok(Some(ratio))
}
