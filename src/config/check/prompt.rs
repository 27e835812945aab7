//! Rules for the prompt policy. What stands in its terms file is checked where that is read.

use super::secrets::fits_header;
use super::{Findings, has_no_credentials, is_bare, is_loopback, positive};
use crate::config::Config;
use crate::config::duration::text;

/// Longest safety negative prompt, characters: it shares the prompt's room.
const NEGATIVE_PROMPT_MAX: usize = 500;

pub(super) fn prompt(config: &Config, found: &mut Findings) {
    let (prompt, hook) = (&config.prompt, &config.prompt.moderation);
    let negative = &prompt.negative_prompt;
    let fits =
        negative.chars().count() <= NEGATIVE_PROMPT_MAX && !negative.chars().any(char::is_control);
    let fix = "expected terms with commas: at most 500 characters, no control characters";
    found.require_hidden(fits, "prompt.negative_prompt", fix);

    if let Some(url) = &hook.url {
        let plain = url.scheme() == "http" && is_loopback(url) && config.storage.allow_private;
        let fits = (url.scheme() == "https" || plain) && has_no_credentials(url) && is_bare(url);
        let fix = "expected https://host[:port][/path]; http is for loopback hosts with \
                   storage.allow_private = true, and a credential belongs into \
                   prompt.moderation.key";
        found.require_hidden(fits, "prompt.moderation.url", fix);
    }
    let fits = hook.key.as_ref().is_none_or(fits_header);
    let fix = "expected printable characters without spaces";
    found.require_hidden(fits, "prompt.moderation.key", fix);
    positive(found, "prompt.moderation.timeout", hook.timeout);
    let accept = hook.timeout + config.api.accept_timeout;
    let fix = "with api.accept_timeout it must be below api.limits.request_timeout, which would \
               cut an answer off";
    found.require(
        hook.url.is_none() || accept < config.api.limits.request_timeout,
        "prompt.moderation.timeout",
        text(hook.timeout),
        fix,
    );
    let bytes = hook.response_max_bytes;
    found.require(
        (1 << 10..=1 << 20).contains(&bytes),
        "prompt.moderation.response_max_bytes",
        bytes,
        "expected 1024 to 1048576 bytes",
    );
    let calls = hook.concurrency;
    found.require(
        (1..=1_000).contains(&calls),
        "prompt.moderation.concurrency",
        calls,
        "expected 1 to 1000",
    );
}
