//! Sanitises a text: one Unicode form, and nothing in it that a reader cannot see.

use unicode_normalization::UnicodeNormalization;

/// Returns the text composed (NFC), without invisible characters, and trimmed.
///
/// Joiners stay between two characters outside ASCII, where scripts and emoji need them; anywhere
/// else they only hide a word from a reader's rules. Control characters are left for the caller to
/// refuse: to drop them would change what was asked for.
pub(super) fn clean(text: &str) -> String {
    let mut seen = String::with_capacity(text.len());
    let mut joiner = None;
    for c in text.nfc() {
        if is_joiner(c) {
            let useful = seen.chars().next_back().is_some_and(|c| !c.is_ascii());
            joiner = useful.then_some(c);
        } else if !is_hidden(c) {
            seen.extend(joiner.take().filter(|_| !c.is_ascii()));
            seen.push(c);
        }
    }
    // What stood on both sides of a dropped character may compose now.
    let composed: String = seen.nfc().collect();
    composed.trim().to_owned()
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200C}' | '\u{200D}')
}

/// Tells whether a character shows nothing by itself.
///
/// Source: Unicode, the property Default_Ignorable_Code_Point; with the annotation marks, whose
/// content is not shown either.
pub(super) fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\u{00AD}'
            | '\u{034F}'
            | '\u{061C}'
            | '\u{115F}'..='\u{1160}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFB}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}'
    )
}

#[cfg(test)]
mod tests {
    use super::is_hidden;

    #[test]
    fn hidden_is_what_unicode_says() {
        let ignorable = regex::Regex::new(r"\A[\p{Default_Ignorable_Code_Point}\u{FFF9}-\u{FFFB}]")
            .expect("a pattern");
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let mut text = [0; 4];
            let by_unicode = ignorable.is_match(c.encode_utf8(&mut text));
            assert_eq!(is_hidden(c), by_unicode, "U+{:04X}", u32::from(c));
        }
    }
}
