//! How big things may be.

use super::source::Source;
use super::{clean, everything};

const FILE_MAX_LINES: usize = 400;
const FUNCTION_MAX_LINES: usize = 70;
const LINE_MAX_CHARS: usize = 100;

#[test]
fn files_functions_and_lines_are_short() {
    let mut breaches = Vec::new();
    for source in everything() {
        let lines = source.text.lines().count();
        if lines > FILE_MAX_LINES {
            breaches.push(format!("{}: {lines} lines", source.path));
        }
        for (n, line) in (1..).zip(source.text.lines()) {
            let length = line.chars().count();
            if length > LINE_MAX_CHARS {
                breaches.push(format!("{}:{n}: {length} characters", source.path));
            }
        }
        breaches.extend(long_functions(&source));
    }
    clean("files, functions and lines have a size", breaches);
}

/// Relies on the formatter: a function ends at the brace that stands under its first line.
pub(super) fn long_functions(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.code.lines().collect();
    let mut breaches = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let head = line.trim_start();
        let indent = &line[..line.len() - head.len()];
        let words: Vec<&str> = head.split([' ', '(']).take(5).collect();
        if !words.contains(&"fn") || head.ends_with(';') {
            continue;
        }
        let close = format!("{indent}}}");
        let length = lines[start..].iter().position(|line| **line == close);
        if let Some(length) = length.map(|n| n + 1).filter(|n| *n > FUNCTION_MAX_LINES) {
            breaches.push(format!("{}:{}: {length} lines", source.path, start + 1));
        }
    }
    breaches
}
