//! Reads source files as far as the rules need it: code without comments, string literals, paths.

use std::path::Path;

/// One Rust file.
pub(super) struct Source {
    /// Relative to the repository, with `/`.
    pub(super) path: String,
    /// As it stands.
    pub(super) text: String,
    /// Comments and the insides of literals blanked, line by line as in `text`.
    pub(super) code: String,
    /// The insides of string literals, with their lines.
    pub(super) literals: Vec<(usize, String)>,
}

/// Reads every Rust file below a folder of the repository.
pub(super) fn read(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder can be listed") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("source is text");
                let below = path.strip_prefix(root).expect("it is below the root");
                sources.push(Source::new(&below.display().to_string(), text));
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

impl Source {
    /// Takes a file apart.
    pub(super) fn new(path: &str, text: String) -> Self {
        let (code, literals) = split(&text);
        Self {
            path: path.to_owned(),
            text,
            code,
            literals,
        }
    }

    /// The module's path below the crate: `edge::nats::log`, empty for `lib.rs` and `main.rs`.
    pub(super) fn module(&self) -> Vec<&str> {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let mut parts: Vec<&str> = below.trim_end_matches(".rs").split('/').collect();
        if matches!(parts.last(), Some(&("mod" | "lib" | "main"))) {
            parts.pop();
        }
        parts
    }

    /// The lines of code on which a piece of text stands.
    pub(super) fn lines_with(&self, piece: &str) -> Vec<usize> {
        let lines = (1..).zip(self.code.lines());
        lines
            .filter(|(_, line)| line.contains(piece))
            .map(|(n, _)| n)
            .collect()
    }

    /// Every path of this crate that the code names, resolved, with its line:
    /// `crate::a::b`, `super::c`, `use super::{d, e::f}`.
    pub(super) fn own_paths(&self) -> Vec<(usize, Vec<String>)> {
        let mut found = Vec::new();
        for start in ["crate::", "kling_relay::", "super::"] {
            for (at, _) in self.code.match_indices(start) {
                let before = self.code[..at].chars().next_back();
                // `super::super::x` is met once, at its beginning.
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                let line = self.code[..at].matches('\n').count() + 1;
                let mut base: Vec<String> = Vec::new();
                let mut rest = &self.code[at..];
                if start == "super::" {
                    base = self.module().into_iter().map(str::to_owned).collect();
                    while let Some(above) = rest.strip_prefix("super::") {
                        base.pop();
                        rest = above;
                    }
                } else {
                    rest = &rest[start.len()..];
                }
                for path in spread(rest) {
                    found.push((line, base.iter().cloned().chain(path).collect()));
                }
            }
        }
        found
    }
}

/// Spreads `a::{b, c::d}` into its paths; stops at the first thing that is no path.
fn spread(text: &str) -> Vec<Vec<String>> {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        return members(group).into_iter().flat_map(spread).collect();
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*'));
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    if name.is_empty() {
        return Vec::new();
    }
    let Some(below) = rest.strip_prefix("::") else {
        return vec![vec![name.to_owned()]];
    };
    let mut paths = spread(below);
    if paths.is_empty() {
        // A turbofish ends the path.
        paths.push(Vec::new());
    }
    for path in &mut paths {
        path.insert(0, name.to_owned());
    }
    paths
}

/// The members of a group whose opening brace has been taken.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut members) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(&group[from..at]);
                return members;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    members
}

/// Blanks comments and literals, and collects the string literals.
fn split(text: &str) -> (String, Vec<(usize, String)>) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut literals) = (String::with_capacity(text.len()), Vec::new());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => find(&chars, at, &['\n']),
            '/' if chars.get(at + 1) == Some(&'*') => find(&chars, at + 2, &['*', '/']) + 2,
            '"' => string_end(&chars, at),
            'r' if is_raw(&chars, at) => raw_end(&chars, at),
            '\'' => char_end(&chars, at),
            _ => at + 1,
        };
        let end = end.min(chars.len());
        if end == at + 1 {
            code.push(chars[at]);
        } else {
            let inside: String = chars[at..end].iter().collect();
            let blank = inside.chars().map(|c| if c == '\n' { '\n' } else { ' ' });
            let line = code.matches('\n').count() + 1;
            code.extend(blank);
            if inside.starts_with(['"', 'r']) {
                literals.push((line, inside));
            }
        }
        at = end;
    }
    (code, literals)
}

fn find(chars: &[char], from: usize, wanted: &[char]) -> usize {
    let windows = chars.get(from..).unwrap_or_default().windows(wanted.len());
    windows
        .enumerate()
        .find_map(|(n, window)| (window == wanted).then_some(from + n))
        .unwrap_or(chars.len())
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn is_raw(chars: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| chars[before]);
    let part_of_a_name = before.is_some_and(|c| (c.is_alphanumeric() || c == '_') && c != 'b');
    let rest = chars[at + 1..].iter().find(|c| **c != '#');
    !part_of_a_name && rest == Some(&'"')
}

fn raw_end(chars: &[char], from: usize) -> usize {
    let marks = chars[from + 1..].iter().take_while(|c| **c == '#').count();
    let mut close = vec!['"'];
    close.extend(std::iter::repeat_n('#', marks));
    find(chars, from + 2 + marks, &close) + 1 + marks
}

/// A character literal, or one more than a lifetime's mark.
fn char_end(chars: &[char], from: usize) -> usize {
    match (chars.get(from + 1), chars.get(from + 2)) {
        (Some('\\'), _) => find(chars, from + 3, &['\'']) + 1,
        (Some(_), Some('\'')) => from + 3,
        _ => from + 1,
    }
}
