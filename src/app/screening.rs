//! The prompt policy from its section of the configuration, with the terms that its file holds.

use std::path::Path;

use anyhow::{Context, bail};

use crate::config;
use crate::decide::prompt::{Policy, SafetyTerms, Terms};
use crate::edge::moderation::Moderator;
use crate::stage::intake::Screening;

/// Bound of a terms file, bytes.
const TERMS_MAX_BYTES: u64 = 256 << 10;

/// Reads the policy.
///
/// # Errors
/// The key, and for the terms file each line that cannot be used.
pub(super) fn screening(config: &config::Prompt) -> anyhow::Result<Screening> {
    let terms = match &config.terms_file {
        Some(file) => {
            terms(file).with_context(|| format!("prompt.terms_file {:?}", file.display()))?
        }
        None => Terms::default(),
    };
    Ok(Screening {
        policy: Policy {
            sensitive: config.sensitive,
            detectors: config.detectors.clone(),
            terms,
            safety: SafetyTerms::new(&config.negative_prompt),
        },
        moderator: Moderator::new(&config.moderation)?,
    })
}

fn terms(file: &Path) -> anyhow::Result<Terms> {
    let size = std::fs::metadata(file).context("cannot be read")?.len();
    if size > TERMS_MAX_BYTES {
        bail!("the file has {size} bytes; at most {TERMS_MAX_BYTES} are read");
    }
    let text = std::fs::read_to_string(file).context("cannot be read")?;
    Terms::parse(&text).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(lines.join("\n  "))
    })
}
