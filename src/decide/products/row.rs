//! The form of a row of the product table.

use crate::model::request::Product;

use super::{Pack, Resolution};

/// Which lengths a model makes, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lengths {
    /// It has no length, or its length changes nothing.
    None,
    /// One of these.
    OneOf(&'static [u32]),
    /// Whole seconds between the two, both included.
    Whole(u32, u32),
    /// Seconds with at most one decimal between the two, both included.
    Tenths(u32, u32),
    /// As long as the input, known only at the end; at most so many seconds.
    Input(u32),
}

/// What a model can do about sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoundRule {
    /// It makes none.
    None,
    /// It always makes sound and has no switch.
    Always,
    /// Native sound, at every resolution.
    Native,
    /// Native sound, at 1080p only.
    NativeAt1080,
    /// Native sound, or with a base video that video's own.
    NativeOrOriginal,
    /// The sound of an input video, kept or dropped; nothing native.
    Original,
}

/// Whether a last frame may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastFrame {
    /// No.
    Never,
    /// At every resolution.
    Always,
    /// At 1080p only.
    At1080,
}

/// One model version of one product.
#[derive(Debug)]
pub struct ModelRow {
    /// Names the version, whatever the spelling: `2.6`. Both spellings share its slots.
    pub version: &'static str,
    /// The spelling that stands in a new path.
    pub new: Option<&'static str>,
    /// The spellings that the legacy `model_name` takes; empty for a product without models.
    pub legacy: &'static [&'static str],
    /// Longest prompt on the new generation, in characters; [`PROMPT_MAX`] on legacy.
    pub prompt_max: usize,
    /// Which resolutions it makes; empty where there is no choice.
    pub resolutions: &'static [Resolution],
    /// Which lengths it makes.
    pub lengths: Lengths,
    /// What it can do about sound.
    pub sound: SoundRule,
    /// Whether named voices may speak, at their own price.
    pub voices: bool,
    /// Whether a last frame may be given.
    pub last_frame: LastFrame,
    /// Whether the new generation has a `multi_shot` setting for it.
    pub multi_shot: bool,
    /// How long an edited base video can be, in billed seconds: the result is as long.
    pub edit_max_s: u32,
    /// New generation: which entries `contents` takes beside the prompt, and how many of each.
    pub contents: &'static [(&'static str, usize)],
}

impl ModelRow {
    /// Tells whether Kling sells it as the faster one: its name says so.
    ///
    /// Source: platform reference 5, typical latency.
    #[must_use]
    pub fn is_turbo(&self) -> bool {
        self.version.ends_with("-turbo")
    }
}

/// Longest prompt where no row says otherwise, in characters.
///
/// Source: platform reference 2.3 and 2.5.
pub const PROMPT_MAX: usize = 2_500;

/// Whether a product takes a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptRule {
    /// There is no prompt.
    None,
    /// It may be left out.
    Optional,
    /// It must be there; at most so many characters on the legacy generation.
    Required(usize),
}

/// What a parameter's value must be. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text of at most so many characters.
    Text(usize),
    /// An image or sound: a URL, or bare Base64 without a `data:` prefix.
    Media,
    /// A URL.
    Url,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number between the two.
    Whole(i64, i64),
    /// A whole number between the two, or the word `auto`.
    WholeOrAuto(i64, i64),
    /// A number between the two.
    Number(i64, i64),
    /// True or false.
    Flag,
    /// An array with so many entries.
    List(usize, usize),
    /// An object.
    Object,
}

/// A documented field without a typed form. Every field that a row lists is known to leave the
/// price alone, or is read when the price is worked out.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// In Kling's spelling.
    pub name: &'static str,
    /// What it must be.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
}

/// A rule over several parameters.
#[derive(Clone, Copy, Debug)]
pub enum Together {
    /// One of them and no more.
    ExactlyOne(&'static [&'static str]),
    /// One of them or more.
    AtLeastOne(&'static [&'static str]),
    /// One of them or none.
    AtMostOne(&'static [&'static str]),
}

/// A product's endpoint on the new generation: the model stands in the path.
#[derive(Debug)]
pub struct NewEndpoint {
    /// The path before the model, with both slashes.
    pub prefix: &'static str,
    /// Whether prompt and inputs are entries of `contents`; else `prompt` stands alone.
    pub contents: bool,
    /// Entries of `contents` that must be there.
    pub required: &'static [&'static str],
    /// Fields of `settings` without a typed form.
    pub settings: &'static [Parameter],
}

/// A product's endpoint on the legacy generation.
#[derive(Debug)]
pub struct LegacyEndpoint {
    /// The path.
    pub path: &'static str,
    /// Whether it has `negative_prompt`; else that is folded into the prompt.
    pub negative_prompt: bool,
    /// Whether it has `multi_shot`.
    pub multi_shot: bool,
    /// The field that switches sound, with its words for on and off.
    pub sound: Option<(&'static str, &'static str, &'static str)>,
    /// Fields without a typed form.
    pub parameters: &'static [Parameter],
    /// Rules over several of them.
    pub together: &'static [Together],
}

/// One product.
#[derive(Debug)]
pub struct ProductRow {
    /// Which.
    pub product: Product,
    /// What pays for it.
    pub pack: Pack,
    /// Whether it takes a prompt.
    pub prompt: PromptRule,
    /// Which aspect ratios it takes; empty where there is no choice.
    pub aspect_ratios: &'static [&'static str],
    /// Where it stands on the new generation.
    pub new: Option<NewEndpoint>,
    /// Where it stands on the legacy generation.
    pub legacy: LegacyEndpoint,
    /// The model taken when the caller names none, where new paths can be called.
    pub default_new: Option<&'static str>,
    /// The same, where only legacy paths can be called; none for a product without models.
    pub default_legacy: Option<&'static str>,
    /// Its models; a product without models has one row that is named like it.
    pub models: &'static [ModelRow],
    /// Models that Kling has withdrawn.
    pub discontinued: &'static [&'static str],
}
