//! The README tells the truth: its commands exist, its configuration is valid, its files are there.

use clap::Parser;
use kling_relay::cli::Cli;
use kling_relay::config::Config;

const README: &str = include_str!("../../README.md");

/// Returns the code blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README
        .split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

#[test]
fn every_command_is_one() {
    let lines = blocks("sh").into_iter().flat_map(str::lines);
    let mut seen = 0;
    for line in lines.filter(|line| line.starts_with("kling-relay ")) {
        let words = words(line);
        let parsed = Cli::try_parse_from(&words);
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        seen += 1;
    }
    assert!(seen > 8, "only {seen} commands were found");
}

#[test]
fn the_smallest_configuration_has_known_keys() {
    for block in blocks("toml") {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        // The secrets' files belong to the reader; their keys are known without the suffix.
        let text = block.replace("_file = \"/run/secrets/", " = \"");
        let lists = ["webhook_secrets", "capability_keys", "keys"];
        let text =
            text.lines().map(
                |line| match lists.iter().find(|key| line.starts_with(**key)) {
                    Some(key) => format!("{key} = []\n"),
                    None => format!("{line}\n"),
                },
            );
        std::fs::write(&file, text.collect::<String>()).unwrap();
        let loaded = Config::load(Some(&file), std::iter::empty());
        assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
    }
}

#[test]
fn every_linked_file_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let links = README
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let mut seen = 0;
    for link in links.filter(|link| !link.starts_with("http")) {
        assert!(root.join(link).exists(), "{link} is not there");
        seen += 1;
    }
    assert!(seen > 3, "only {seen} links were found");
}

/// Splits a command line at blanks outside of quotes; what follows `#` is a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted => break,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
