//! Terms and patterns that the operator does not want: one rule a line, bounded in size and cost.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};
use unicode_normalization::char::is_combining_mark;

use super::fold::caseless;

/// Most rules of a file.
pub const RULES_MAX: usize = 10_000;
/// Most patterns among them: each costs a pass over the text.
pub const PATTERNS_MAX: usize = 200;
/// Longest name of a rule, bytes.
pub const NAME_MAX: usize = 40;
/// Longest term or pattern, characters.
pub const TERM_MAX: usize = 200;
/// Most words of a term; a character of a script without spaces is one.
const WORDS_MAX: usize = 20;
/// Bound of a compiled pattern, bytes.
const PATTERN_SIZE_MAX: usize = 512 << 10;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct TermsProblem {
    /// From 1.
    pub line: usize,
    /// And what would be right.
    pub what: String,
}

/// The rules of a terms file.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// By words with one space between two, the name of the rule.
    terms: HashMap<String, String>,
    /// How many words the terms have, each number once.
    lengths: Vec<usize>,
    patterns: Vec<(String, Regex)>,
}

impl Terms {
    /// Reads `name: term` and `name: /pattern/` lines; empty lines and those that begin with `#`
    /// say nothing. Several lines may share a name.
    ///
    /// # Errors
    /// Every line that cannot be used.
    pub fn parse(text: &str) -> Result<Self, Vec<TermsProblem>> {
        let (mut terms, mut problems) = (Self::default(), Vec::new());
        for (line, rule) in (1..).zip(text.lines().map(str::trim)) {
            if rule.is_empty() || rule.starts_with('#') {
                continue;
            }
            if let Err(what) = terms.add(rule) {
                problems.push(TermsProblem { line, what });
            }
        }
        terms.lengths.sort_unstable();
        terms.lengths.dedup();
        if problems.is_empty() {
            Ok(terms)
        } else {
            Err(problems)
        }
    }

    fn add(&mut self, rule: &str) -> Result<(), String> {
        if self.terms.len() + self.patterns.len() >= RULES_MAX {
            return Err(format!("there are more than {RULES_MAX} rules"));
        }
        let Some((name, term)) = rule.split_once(':') else {
            return Err("expected name: term, or name: /pattern/".to_owned());
        };
        let (name, term) = (name.trim(), term.trim());
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=NAME_MAX).contains(&name.len()) || !name.bytes().all(plain) {
            return Err(format!(
                "the name must have 1 to {NAME_MAX} characters of a-z, 0-9 and '-'"
            ));
        }
        if !(1..=TERM_MAX).contains(&term.chars().count()) {
            return Err(format!("the term must have 1 to {TERM_MAX} characters"));
        }
        let inside = term.strip_prefix('/');
        match inside.map(|inside| inside.strip_suffix('/')) {
            Some(Some(pattern)) => self.add_pattern(name, pattern),
            Some(None) => Err("a pattern must end with '/'".to_owned()),
            None => self.add_term(name, term),
        }
    }

    fn add_term(&mut self, name: &str, term: &str) -> Result<(), String> {
        let is_sign = |c: char| c.is_ascii_punctuation() && !matches!(c, '-' | '\'');
        if let Some(sign) = term.chars().find(|c| is_sign(*c)) {
            return Err(format!(
                "a term is words, and {sign:?} is not part of one; write a /pattern/"
            ));
        }
        let folded = caseless(term);
        let words = words(&folded);
        match words.len() {
            0 => return Err("the term has no words".to_owned()),
            1..=WORDS_MAX => {}
            _ => return Err(format!("the term has more than {WORDS_MAX} words")),
        }
        self.lengths.push(words.len());
        self.terms
            .entry(words.join(" "))
            .or_insert_with(|| name.to_owned());
        Ok(())
    }

    fn add_pattern(&mut self, name: &str, pattern: &str) -> Result<(), String> {
        if self.patterns.len() >= PATTERNS_MAX {
            return Err(format!("there are more than {PATTERNS_MAX} patterns"));
        }
        let built = RegexBuilder::new(pattern)
            .case_insensitive(true)
            .size_limit(PATTERN_SIZE_MAX)
            .dfa_size_limit(PATTERN_SIZE_MAX)
            .nest_limit(50)
            .build();
        let built = built.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "the pattern is too large; simplify it".to_owned(),
            error => {
                let words = error.to_string();
                let last = words.lines().next_back().unwrap_or_default();
                format!("the pattern cannot be read: {}", last.trim())
            }
        })?;
        if built.is_match("") {
            return Err("the pattern matches an empty text, so it would refuse all".to_owned());
        }
        self.patterns.push((name.to_owned(), built));
        Ok(())
    }

    /// Returns the name of the first rule that a text breaks.
    ///
    /// Terms match whole words, whatever stands between two; patterns match anywhere. Both look at
    /// the compatibility form without case and without hidden characters.
    #[must_use]
    pub fn broken_by(&self, text: &str) -> Option<&str> {
        if self.terms.is_empty() && self.patterns.is_empty() {
            return None;
        }
        let folded = caseless(text);
        self.term_in(&folded).or_else(|| {
            let mut patterns = self.patterns.iter();
            let broken = patterns.find(|(_, pattern)| pattern.is_match(&folded));
            broken.map(|(name, _)| name.as_str())
        })
    }

    fn term_in(&self, folded: &str) -> Option<&str> {
        let words = words(folded);
        let joined = words.join(" ");
        let mut starts = Vec::with_capacity(words.len() + 1);
        let mut at = 0;
        for word in &words {
            starts.push(at);
            at += word.len() + 1;
        }
        starts.push(at);
        let windows = |length: &usize| {
            let length = *length;
            (length..starts.len()).map(move |end| (end - length, end))
        };
        let mut windows = self.lengths.iter().flat_map(windows);
        windows.find_map(|(first, end)| {
            let window = &joined[starts[first]..starts[end] - 1];
            self.terms.get(window).map(String::as_str)
        })
    }
}

/// Splits a text into words. In scripts without spaces every character is one, and so is a symbol
/// beyond punctuation, such as an emoji.
fn words(folded: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in folded.char_indices() {
        let alone = is_unspaced(c) || (!is_letter(c) && is_symbol(c));
        if is_letter(c) && !alone {
            start.get_or_insert(at);
            continue;
        }
        if let Some(start) = start.take() {
            words.push(&folded[start..at]);
        }
        if alone {
            words.push(&folded[at..at + c.len_utf8()]);
        }
    }
    words.extend(start.map(|start| &folded[start..]));
    words
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || is_combining_mark(c)
}

fn is_symbol(c: char) -> bool {
    c >= '\u{2190}' && !c.is_whitespace()
}

/// Han, kana and Hangul; Thai, Lao, Myanmar and Khmer.
fn is_unspaced(c: char) -> bool {
    matches!(
        c,
        '\u{0E00}'..='\u{0EFF}'
            | '\u{1000}'..='\u{109F}'
            | '\u{1100}'..='\u{11FF}'
            | '\u{1780}'..='\u{17FF}'
            | '\u{3040}'..='\u{31FF}'
            | '\u{3400}'..='\u{9FFF}'
            | '\u{A960}'..='\u{A97F}'
            | '\u{AC00}'..='\u{D7FF}'
            | '\u{F900}'..='\u{FAFF}'
            | '\u{20000}'..='\u{3FFFF}'
    )
}
