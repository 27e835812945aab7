//! Finds sensitive data in a text, and takes it out.

use std::ops::Range;

use super::fold::Folded;
use super::shapes;
use crate::model::policy::Detector;

/// Returns the first of these detectors that finds something.
pub(super) fn first(detectors: &[Detector], text: &str) -> Option<Detector> {
    let folded = Folded::of(text);
    let mut detectors = detectors.iter().copied();
    detectors.find(|detector| !found(*detector, &folded.text, true).is_empty())
}

/// Replaces all that these detectors find, and returns the text with one detector for each
/// passage taken out.
pub(super) fn redact(detectors: &[Detector], text: &str) -> (String, Vec<Detector>) {
    let (mut text, mut taken) = (text.to_owned(), Vec::new());
    for detector in detectors {
        let folded = Folded::of(&text);
        let mut found = found(*detector, &folded.text, false);
        found.sort_unstable_by_key(|range| (range.start, range.end));
        let mut kept = String::with_capacity(text.len());
        let mut at = 0;
        for range in found {
            let range = folded.origin(&range, &text);
            // Two forms may find one passage.
            if range.start >= at {
                kept.push_str(&text[at..range.start]);
                kept.push_str(&format!("[{}]", detector.as_str()));
                taken.push(*detector);
            }
            at = at.max(range.end);
        }
        kept.push_str(&text[at..]);
        text = kept;
    }
    (text, taken)
}

/// Returns what a detector finds, or the first of it.
fn found(detector: Detector, text: &str, only_first: bool) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for shape in shapes::of(detector) {
        let mut at = 0;
        while let Some(candidate) = shape.pattern.find_at(text, at) {
            let range = candidate.range();
            let is_one = (shape.is_one)(text, &range);
            at = match text[range.start..].chars().next() {
                Some(first) if !is_one && shape.look_inside => range.start + first.len_utf8(),
                Some(_) | None => range.end,
            };
            if is_one {
                found.push(range);
                if only_first {
                    return found;
                }
            }
        }
    }
    found
}
