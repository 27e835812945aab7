//! What texts for Kling may say: sanitised, screened by rules, and joined by safety terms.
//!
//! A refusal names the rule and never what it found. Whether somebody else is asked about a text is
//! `edge::moderation`'s; how long a text may be is the product's, in `decide::pricing`.

mod clean;
mod fold;
mod texts;
mod shapes;
mod detect;
mod terms;
mod safety;

use crate::decide::pricing::Refusal;
use crate::model::policy::{Detector, Sensitive};
use crate::model::request::TaskRequest;

pub use safety::SafetyTerms;
pub use terms::{NAME_MAX, PATTERNS_MAX, RULES_MAX, TERM_MAX, Terms, TermsProblem};

/// Most characters in all texts of a request: more than any product takes, and little enough to
/// look at for each rule.
pub const TEXTS_MAX: usize = 10_000;

/// The local rules.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// What becomes of sensitive data.
    pub sensitive: Sensitive,
    /// Which kinds of it are looked for.
    pub detectors: Vec<Detector>,
    /// What the operator does not want.
    pub terms: Terms,
    /// What no result should show.
    pub safety: SafetyTerms,
}

/// A request that broke no rule.
#[derive(Clone)]
pub struct Screened {
    /// The request with its texts as they are to be sent.
    pub request: TaskRequest,
    /// The texts among its parameters, by field.
    pub texts: Vec<(String, String)>,
    /// A detector for each passage that was replaced.
    pub redacted: Vec<Detector>,
}

/// Leaves out the texts: they are user data and never reach a log.
impl std::fmt::Debug for Screened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screened")
            .field("request", &self.request)
            .field("redacted", &self.redacted)
            .finish_non_exhaustive()
    }
}

/// Why a request is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It breaks a rule of the policy.
    #[error("{message}")]
    ByRule {
        /// Which text breaks it.
        field: String,
        /// The rule's name.
        rule: String,
        /// What to do about it; never what was found.
        message: String,
    },
    /// It is larger than can be looked at.
    #[error(transparent)]
    Invalid(Refusal),
}

impl Policy {
    /// Sanitises each text that the caller wrote for Kling, holds it against the rules, and takes
    /// out what is to be redacted.
    ///
    /// # Errors
    /// [`Refused`], for the first text that cannot be sent.
    pub fn screen(&self, request: &TaskRequest) -> Result<Screened, Refused> {
        let mut screened = Screened {
            request: request.clone(),
            texts: Vec::new(),
            redacted: Vec::new(),
        };
        let (typed, mut room) = (["prompt", "negative_prompt"], TEXTS_MAX);
        texts::each(&mut screened.request, &mut |field, text| {
            let cleaned = clean::clean(text);
            room = room
                .checked_sub(cleaned.chars().count())
                .ok_or_else(|| too_long(field))?;
            self.check_terms(field, &cleaned)?;
            *text = self.without_sensitive(field, cleaned, &mut screened.redacted)?;
            if !typed.contains(&field) {
                screened.texts.push((field.to_owned(), text.clone()));
            }
            Ok(())
        })?;
        Ok(screened)
    }

    fn check_terms(&self, field: &str, text: &str) -> Result<(), Refused> {
        let Some(rule) = self.terms.broken_by(text) else {
            return Ok(());
        };
        Err(Refused::ByRule {
            field: field.to_owned(),
            rule: rule.to_owned(),
            message: format!("{field} breaks this service's rule {rule}; write it differently"),
        })
    }

    fn without_sensitive(
        &self,
        field: &str,
        text: String,
        redacted: &mut Vec<Detector>,
    ) -> Result<String, Refused> {
        let (text, taken) = match self.sensitive {
            Sensitive::Allow => return Ok(text),
            Sensitive::Refuse => (text, Vec::new()),
            Sensitive::Redact => detect::redact(&self.detectors, &text),
        };
        redacted.extend(taken);
        // Also after a redaction: what was taken out may have hidden something beside it.
        let Some(detector) = detect::first(&self.detectors, &text) else {
            return Ok(text);
        };
        let (rule, words) = (detector.as_str(), detector.in_words());
        Err(Refused::ByRule {
            field: field.to_owned(),
            rule: rule.to_owned(),
            message: format!("{field} holds what looks like {words} (rule {rule}); remove it"),
        })
    }
}

fn too_long(field: &str) -> Refused {
    let message = format!(
        "the texts of the request have more than {TEXTS_MAX} characters together; shorten {field}"
    );
    Refused::Invalid(Refusal::invalid(field, message))
}
