//! What no result should show: joined to what the caller does not want to see.

use serde_json::{Value, json};

use crate::decide::pricing::Refusal;
use crate::decide::products::{PROMPT_MAX, Place, ProductRow, PromptRule};
use crate::model::request::{KlingCall, Product};

/// Terms of the safety negative prompt; none switches it off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SafetyTerms(Vec<String>);

impl SafetyTerms {
    /// Reads terms with commas between them.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut terms: Vec<String> = Vec::new();
        for term in split(text) {
            if !terms.iter().any(|known| same(known, term)) {
                terms.push(term.to_owned());
            }
        }
        Self(terms)
    }

    /// Adds the terms to a planned call: to `negative_prompt` where Kling has and heeds one, else
    /// as a last line to the prompt, which then counts towards the prompt's limit.
    ///
    /// A call without any prompt stays without one where there is no such field; so do products
    /// that show nothing.
    ///
    /// Source: platform reference 2.2 and 8.
    ///
    /// # Errors
    /// [`Refusal`] when there is no room: a long prompt would otherwise switch the terms off.
    pub fn add_to(&self, call: &mut KlingCall) -> Result<(), Refusal> {
        let Some(place) = Place::of(&call.path).filter(|_| !self.0.is_empty()) else {
            return Ok(());
        };
        let (row, prompt_max) = match place {
            Place::New(row, _, spelling) => {
                let model = row.resolve(spelling);
                (row, model.map_or(PROMPT_MAX, |m| m.rules.prompt_max))
            }
            Place::Legacy(row) => match row.prompt {
                PromptRule::Required(max) => (row, max),
                PromptRule::Optional | PromptRule::None => (row, PROMPT_MAX),
            },
        };
        if row.prompt == PromptRule::None || row.product == Product::TextToAudio {
            return Ok(());
        }
        if matches!(place, Place::Legacy(_)) && has_field(row, call) {
            return self.add_to_field(call);
        }
        let Some(prompt) = prompt_of(call) else {
            return Ok(());
        };
        // Always whole and on a line of its own: joined to the caller's last words, the terms
        // could be turned into a wish.
        let joined = format!("{prompt}\nAvoid: {}", self.0.join(", "));
        check_room("prompt", &joined, prompt_max)?;
        *prompt = joined;
        Ok(())
    }

    fn add_to_field(&self, call: &mut KlingCall) -> Result<(), Refusal> {
        let own = call.body.get("negative_prompt").and_then(Value::as_str);
        let own = own.unwrap_or_default();
        let known = |term: &&String| split(own).any(|own| same(own, term));
        let missing = self.0.iter().filter(|term| !known(term));
        let parts = std::iter::once(own).filter(|own| !own.is_empty());
        let parts: Vec<&str> = parts.chain(missing.map(String::as_str)).collect();
        let joined = parts.join(", ");
        check_room("negative_prompt", &joined, PROMPT_MAX)?;
        call.body
            .insert("negative_prompt".to_owned(), json!(joined));
        Ok(())
    }
}

/// Kling ignores a negative prompt beside an image when it makes images.
fn has_field(row: &ProductRow, call: &KlingCall) -> bool {
    let ignored = row.product == Product::ImageGeneration && call.body.contains_key("image");
    row.legacy.negative_prompt && !ignored
}

fn prompt_of(call: &mut KlingCall) -> Option<&mut String> {
    let body = &mut call.body;
    let value = if body.contains_key("prompt") {
        body.get_mut("prompt")
    } else {
        let entries = body.get_mut("contents").and_then(Value::as_array_mut);
        let mut entries = entries.into_iter().flatten();
        let prompt = entries.find(|entry| entry["type"] == "prompt");
        prompt.and_then(|entry| entry.get_mut("text"))
    };
    match value {
        Some(Value::String(text)) => Some(text),
        Some(_) | None => None,
    }
}

fn check_room(field: &str, joined: &str, max: usize) -> Result<(), Refusal> {
    let count = joined.chars().count();
    if count <= max {
        return Ok(());
    }
    let message = format!(
        "{field} and this service's safety terms, which join it, have {count} characters; at most \
         {max} are taken, so shorten it by {}",
        count - max
    );
    Err(Refusal::invalid(field, message))
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ';', '\n', '，', '、', '；'])
        .map(str::trim)
        .filter(|term| !term.is_empty())
}

fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}
