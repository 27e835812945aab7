//! Terms files: what matches, what does not, and which lines are refused.

use kling_relay::decide::prompt::{PATTERNS_MAX, RULES_MAX, Terms};

use super::{of_prompt, refused, screened, with_terms};

const FILE: &str = "
# What we do not make.
violence: chainsaw
violence: knife fight
brand: Mickey Mouse
people: M\u{fc}ller
greek: \u{39f}\u{394}\u{39f}\u{3a3}
zh: \u{66b4}\u{529b}
emoji: \u{1f52a}
hyphen: sci-fi
  spaced  :   two   words
code: /\\bproject[ _-]?x\\d{2}\\b/
colon: /a:b/
";

#[track_caller]
fn broken_by(text: &str) -> Option<String> {
    let terms = Terms::parse(FILE).expect("the file can be read");
    terms.broken_by(text).map(str::to_owned)
}

#[test]
fn terms_match_whole_words_in_any_dress() {
    for (text, rule) in [
        ("a chainsaw", "violence"),
        ("CHAINSAW", "violence"),
        ("Ｃｈａｉｎｓａｗ!", "violence"),
        ("𝒄𝒉𝒂𝒊𝒏𝒔𝒂𝒘", "violence"),
        ("chain\u{200B}saw", "violence"),
        ("看chainsaw片", "violence"),
        ("a knife\n  fight", "violence"),
        ("knife-fight", "violence"),
        ("knife, fight", "violence"),
        ("mickey mouse's house", "brand"),
        ("MÜLLER", "people"),
        ("mu\u{308}ller", "people"),
        ("οδος", "greek"),
        ("οδοσ", "greek"),
        ("这是暴力内容", "zh"),
        ("a 🔪 here", "emoji"),
        ("x🔪y", "emoji"),
        ("sci fi", "hyphen"),
        ("two words", "spaced"),
        ("Project-X42", "code"),
        ("the projectx42", "code"),
        ("A:B", "colon"),
    ] {
        assert_eq!(broken_by(text).as_deref(), Some(rule), "{text}");
    }
}

#[test]
fn other_words_pass() {
    for text in [
        "",
        "chainsaws",
        "a chain saw",
        "unchainsawed",
        "a knife and a fight",
        "Mickey, a mouse",
        "muller",
        "暴风力量",
        "two  other words",
        "project x4, project x422",
        "spaced",
    ] {
        assert_eq!(broken_by(text), None, "{text}");
    }
}

#[test]
fn a_refusal_names_the_rule_and_not_the_term() {
    let policy = with_terms("no-brands: Mickey Mouse");
    let body = of_prompt("Mickey Mouse at sea");
    assert_eq!(
        refused(&policy, &body),
        ("prompt".to_owned(), "no-brands".to_owned())
    );
    let said = policy.screen(&crate::requests::request(&body)).unwrap_err();
    let said = format!("{said} {said:?}").to_lowercase();
    assert!(
        !said.contains("mickey") && !said.contains("mouse"),
        "{said}"
    );
    screened(&policy, &of_prompt("a mouse at sea"));
}

#[track_caller]
fn unusable(rule: &str, words: &str) {
    let file = format!("# a comment\n\nfine: term\n{rule}\n");
    let problems = Terms::parse(&file).expect_err("the line cannot be used");
    assert_eq!(problems.len(), 1, "{problems:?}");
    let said = problems[0].to_string();
    assert!(
        said.starts_with("line 4: ") && said.contains(words),
        "{said}"
    );
}

#[test]
fn lines_that_cannot_be_used_are_named() {
    unusable("chainsaw", "name: term");
    unusable("Name: term", "a-z");
    unusable(": term", "1 to 40");
    unusable("a b: term", "a-z");
    unusable("name:", "1 to 200");
    unusable("name: /unfinished", "end with '/'");
    unusable("name: c++", "write a /pattern/");
    unusable("name: — …", "no words");
    unusable("name: ---", "no words");
    unusable("name: /(/", "cannot be read");
    unusable("name: /(?=ahead)/", "cannot be read");
    unusable("name: /a*/", "empty text");
    unusable("name: //", "empty text");
    unusable("name: /(?:[a-z]{1,100}){100}{100}/", "too large");
    unusable(&format!("name: {}", "a".repeat(201)), "1 to 200");
    unusable(&format!("name: {}", "a ".repeat(21)), "more than 20 words");
    let two = Terms::parse("one\ntwo").expect_err("neither can be used");
    assert_eq!(two.len(), 2);
}

#[test]
fn a_file_has_bounds() {
    let lines = |count: usize, rule: fn(usize) -> String| -> String {
        (0..count).map(|n| rule(n) + "\n").collect()
    };
    let terms = |count| lines(count, |n| format!("many: word{n}"));
    let full = Terms::parse(&terms(RULES_MAX)).expect("as many as may be");
    assert_eq!(full.broken_by("at the word9999"), Some("many"));
    let problems = Terms::parse(&terms(RULES_MAX + 1)).expect_err("one too many");
    assert_eq!(problems[0].line, RULES_MAX + 1);
    let patterns = |count| lines(count, |n| format!("many: /word{n}x/"));
    assert!(Terms::parse(&patterns(PATTERNS_MAX)).is_ok());
    let problems = Terms::parse(&patterns(PATTERNS_MAX + 1)).expect_err("one too many");
    assert_eq!(problems[0].line, PATTERNS_MAX + 1);
}
