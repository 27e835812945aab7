//! What a command prints: results on stdout, as text for a person or JSON for a program.

use std::io::{IsTerminal, Write};

use serde::Serialize;

/// Where and how a command prints.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// Makes the output from the global flags.
    #[must_use]
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Tells whether a program reads the output.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Tells whether bars and colours make sense.
    #[must_use]
    pub fn is_lively(&self) -> bool {
        !self.json && !self.quiet && std::io::stderr().is_terminal()
    }

    /// Prints a result: the document for a program, the text for a person.
    pub fn result(&self, document: &impl Serialize, text: &str) {
        if self.json {
            let line = serde_json::to_string(document).unwrap_or_default();
            write_line(&line);
        } else {
            write_line(text);
        }
    }

    /// Prints text, whoever reads it.
    pub fn print(&self, text: &str) {
        write_line(text);
    }

    /// Prints why a command failed, on stderr.
    pub fn error(&self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "kling-relay: {text}");
    }

    /// Prints a line beside the result, on stderr; somebody who asked for quiet does not see it.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.error(text);
        }
    }

    /// Prints a line for a person; a program, or somebody who asked for quiet, does not see it.
    pub fn say(&self, text: &str) {
        if !self.json && !self.quiet {
            write_line(text);
        }
    }
}

/// Writes to stdout; a reader that has gone away (`| head`) is no failure.
fn write_line(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}

/// Lays rows out in columns: the first row is the heading.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    figures_table(rows, usize::MAX)
}

/// Lays rows out in columns: the first row is the heading. The first `words` columns begin on the
/// left; the others are figures, and end on the right.
#[must_use]
pub fn figures_table(rows: &[Vec<String>], words: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| {
            let padding = " ".repeat(width - cell.chars().count());
            match column < words {
                true => format!("{cell}{padding}"),
                false => format!("{padding}{cell}"),
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
