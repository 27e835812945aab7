//! The forms in which a text is matched: full-width and styled letters are letters, and what is
//! hidden is not there.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;

use super::clean::is_hidden;

/// A text in compatibility form (NFKC), with the place that each byte came from.
pub(super) struct Folded {
    pub(super) text: String,
    origins: Vec<usize>,
}

impl Folded {
    pub(super) fn of(original: &str) -> Self {
        let mut text = String::with_capacity(original.len());
        let mut origins = Vec::with_capacity(original.len());
        for (at, c) in original.char_indices() {
            push_compatible(c, &mut text);
            origins.resize(text.len(), at);
        }
        Self { text, origins }
    }

    /// Returns where a match stands in the original, whole characters on both sides.
    pub(super) fn origin(&self, found: &Range<usize>, original: &str) -> Range<usize> {
        let last = self.origins[found.end - 1];
        let width = original[last..].chars().next().map_or(0, char::len_utf8);
        self.origins[found.start]..last + width
    }
}

/// Returns the text in compatibility form without case.
pub(super) fn caseless(original: &str) -> String {
    let mut compatible = String::with_capacity(original.len());
    original
        .chars()
        .for_each(|c| push_compatible(c, &mut compatible));
    // By way of upper case, so that the sharp s and the final sigma meet their other forms.
    let folded = compatible
        .chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase);
    folded.nfkc().collect()
}

/// Adds what a character stands for; nothing for one that is hidden.
fn push_compatible(c: char, text: &mut String) {
    if c.is_ascii() {
        text.push(c);
    } else {
        text.extend(std::iter::once(c).nfkc().filter(|c| !is_hidden(*c)));
    }
}
