//! The forms of sensitive data: a pattern for each, and a check of what a pattern cannot say.
//!
//! Word boundaries are ASCII's: a key may touch a character of a script without spaces.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::model::policy::Detector;

/// Looks at a match and what stands around it.
type Check = fn(&str, &Range<usize>) -> bool;

/// One form.
pub(super) struct Shape {
    pub(super) pattern: Regex,
    pub(super) is_one: Check,
    /// Whether the real one may begin inside a match that is none. Such patterns match few
    /// characters, so that looking again stays linear.
    pub(super) look_inside: bool,
}

/// Returns the forms that a detector knows.
pub(super) fn of(detector: Detector) -> &'static [Shape] {
    static SHAPES: LazyLock<Vec<(Detector, Vec<Shape>)>> = LazyLock::new(|| {
        let shapes = Detector::ALL.map(|detector| (detector, shapes(detector)));
        shapes.into()
    });
    let of = SHAPES.iter().find(|(known, _)| *known == detector);
    of.map_or(&[], |(_, shapes)| shapes)
}

fn shapes(detector: Detector) -> Vec<Shape> {
    let forms: &[(&str, Check)] = match detector {
        Detector::PrivateKey => &[(PEM, always)],
        Detector::ApiKey => &[(KEYS, always), (CALLED_A_KEY, holds_random)],
        Detector::Token => &[
            (TOKENS, always),
            (BEARER, holds_random),
            (IN_ADDRESS, always),
        ],
        Detector::Card => &[(CARD, is_card)],
        Detector::Email => &[(EMAIL, is_email)],
        Detector::Phone => &[
            (INTERNATIONAL, is_phone),
            (NATIONAL, is_phone),
            (CALL, is_called),
        ],
    };
    let shape = |(pattern, is_one): &(&str, Check)| Shape {
        pattern: Regex::new(pattern).expect("the patterns are tested"),
        is_one: *is_one,
        look_inside: matches!(detector, Detector::Card | Detector::Phone),
    };
    forms.iter().map(shape).collect()
}

/// To its end, or to that of the text: a key that was cut off is one too.
const PEM: &str = concat!(
    r"(?s)-{2,5} ?BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)? ?-{2,5}",
    r".*?(?:-{2,5} ?END [A-Z0-9 ]{1,60}-{2,5}|\z)",
);

/// Keys of model, cloud, payment and mail services, and webhook secrets.
const KEYS: &str = concat!(
    r"(?-u:\b)(?:",
    r"sk-(?:[A-Za-z0-9_]{0,64}-){0,8}[A-Za-z0-9_]{16,200}[A-Za-z0-9_-]*",
    r"|[srp]k_(?:live|test)_[A-Za-z0-9]{10,}",
    r"|whsec_[A-Za-z0-9+/=_-]{16,}",
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}",
    r"|AIza[0-9A-Za-z_-]{30,}",
    r"|SG\.[0-9A-Za-z_-]{16,}\.[0-9A-Za-z_-]{16,}",
    r"|SK[0-9a-f]{32}",
    r")",
);

/// A long text that is introduced as a key, secret or password.
const CALLED_A_KEY: &str = concat!(
    r"(?i:key|secret|token|passw(?:or)?d|passphrase|credentials?|密钥|密码|口令|令牌)",
    r#"["']?\s{0,3}(?i:is|was|=>|:=|=|:|是|为)?\s{0,3}["']?[A-Za-z0-9+/=_.-]{20,}"#,
);

const TOKENS: &str = concat!(
    r"(?-u:\b)(?:",
    r"gh[pousr]_[A-Za-z0-9]{20,}",
    r"|github_pat_[A-Za-z0-9_]{20,}",
    r"|glpat-[A-Za-z0-9_-]{16,}",
    r"|xox[a-z]-[A-Za-z0-9-]{10,}",
    r"|xapp-[A-Za-z0-9-]{10,}",
    r"|hf_[A-Za-z0-9]{20,}",
    r"|npm_[A-Za-z0-9]{20,}",
    r"|pypi-[A-Za-z0-9_-]{20,}",
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r")",
);

const BEARER: &str = r"(?i:bearer)\s{1,3}[A-Za-z0-9._~+/=-]{16,}";

/// `https://user:password@host`.
const IN_ADDRESS: &str = r"[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s/:@]{1,100}:[^\s/@]{1,100}@";

/// In one piece, or in the groups in which cards print it.
const CARD: &str = concat!(
    r"[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{1,4}(?:[ -][0-9]{1,3})?",
    r"|[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5}",
    r"|[0-9]{13,19}",
);

const EMAIL: &str = concat!(
    r"[A-Za-z0-9_][A-Za-z0-9._%+-]{0,63}",
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,6}[A-Za-z]{2,24}",
);

const INTERNATIONAL: &str = r"(?:\+|\(\+\)|00)[1-9][0-9 ().-]{6,22}[0-9]";

/// North America; a leading 0 with an area or in pairs; mobiles in China.
const NATIONAL: &str = concat!(
    r"(?:1[-. ])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[-.])[2-9][0-9]{2}[-.][0-9]{4}",
    r"|0[1-9](?:(?: [0-9]{2}){4}|(?:\.[0-9]{2}){4}|(?:-[0-9]{2}){4})",
    r"|\(?0[1-9][0-9]{1,4}\)?[ /-][0-9]{3,8}(?:[ -][0-9]{2,5}){0,3}",
    r"|0[1-9][0-9]{8,9}",
    r"|1[3-9][0-9](?:[0-9]{8}|[ -][0-9]{4}[ -][0-9]{4})",
);

/// Anything with enough digits that is introduced as a number to call.
const CALL: &str = concat!(
    r"(?:(?-u:\b)(?i:phone|telephone|tel|mobile|cell|whatsapp|fax|sms|call|text)(?-u:\b)",
    r"|电话|手机|热线)",
    r"(?:\s(?i:number|no|nr|me|us|him|her|at|on|is|now)(?-u:\b)){0,3}",
    r"[\s.:=#(]{0,3}(?:是|为)?[0-9][0-9 ().-]{5,20}[0-9]",
);

fn always(_: &str, _: &Range<usize>) -> bool {
    true
}

/// Tells whether a match holds what no person would write: a long run of letters and digits mixed,
/// or an id in the form of a UUID.
fn holds_random(text: &str, found: &Range<usize>) -> bool {
    let found = &text[found.clone()];
    let run = |c: char| !(c.is_ascii_alphanumeric() || c == '+' || c == '/');
    if found.split(run).any(is_random) {
        return true;
    }
    let uuid = |c: char| !(c.is_ascii_hexdigit() || c == '-');
    found.split(uuid).any(|run| {
        run.len() == 36 && run.matches('-').count() == 4 && is_random(&run.replace('-', ""))
    })
}

fn is_random(run: &str) -> bool {
    let count = |is: fn(&u8) -> bool| run.bytes().filter(is).count();
    let digits = count(u8::is_ascii_digit);
    let mixed = count(u8::is_ascii_uppercase) > 0 && count(u8::is_ascii_lowercase) > 0;
    let letters = count(u8::is_ascii_alphabetic);
    let kinds: BTreeSet<u8> = run.bytes().collect();
    let varied = run.len() >= 16 && kinds.len() >= 8;
    varied && letters > 0 && (digits >= 4 || (mixed && digits >= 1))
}

fn is_email(text: &str, found: &Range<usize>) -> bool {
    // `logo@2x.png` is a picture.
    let pictures = ["png", "jpg", "jpeg", "gif", "webp", "svg", "mp4", "mov"];
    let last = text[found.clone()].rsplit('.').next().unwrap_or_default();
    !pictures.iter().any(|name| last.eq_ignore_ascii_case(name))
}

/// Checks issuer and length as one, and the check digit.
fn is_card(text: &str, found: &Range<usize>) -> bool {
    if touches(text, found, |c| c.is_ascii_digit()) || is_fraction(text, found) {
        return false;
    }
    let digits = digits(&text[found.clone()]);
    let begins = |places: usize| {
        let begin = digits.iter().take(places);
        begin.fold(0_u32, |number, digit| number * 10 + digit)
    };
    let issued = match digits.len() {
        13 | 19 if begins(1) == 4 => true,
        14 => begins(2) == 36 || (38..=39).contains(&begins(2)) || (300..=305).contains(&begins(3)),
        15 => matches!(begins(2), 34 | 37),
        16 => {
            begins(1) == 4
                || (51..=55).contains(&begins(2))
                || (2221..=2720).contains(&begins(4))
                || begins(2) == 35
                || begins(1) == 6
        }
        17..=19 => begins(1) == 6,
        _ => false,
    };
    issued && is_luhn(&digits)
}

fn is_luhn(digits: &[u32]) -> bool {
    let places = digits.iter().rev().enumerate();
    let sum: u32 = places
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => *digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    sum.is_multiple_of(10)
}

fn is_phone(text: &str, found: &Range<usize>) -> bool {
    let stands_alone = !touches(text, found, |c| {
        c.is_alphanumeric() && !c.is_ascii_punctuation()
    }) && !follows(text, found, &['#', '.', ',', '-', '/', ':', '+', '_', '='])
        && !precedes_a_digit(text, found);
    stands_alone && is_dialled(&text[found.clone()], 9)
}

fn is_called(text: &str, found: &Range<usize>) -> bool {
    !text[found.end..].starts_with(|c: char| c.is_ascii_alphanumeric())
        && is_dialled(&text[found.clone()], 7)
}

/// Tells whether these can be the digits of a number to call: neither too many nor all alike, and
/// neither a decimal fraction nor years.
fn is_dialled(found: &str, least: usize) -> bool {
    let number = found.trim_start_matches(|c: char| !(c.is_ascii_digit() || c == '+'));
    let all = digits(number);
    let kinds: BTreeSet<u32> = all.iter().copied().collect();
    let mut groups = number.split(|c: char| !c.is_ascii_digit());
    let is_year =
        |group: &str| group.len() == 4 && (group.starts_with("19") || group.starts_with("20"));
    let years = groups
        .clone()
        .filter(|group| !group.is_empty())
        .all(is_year);
    let fraction = number
        .split('.')
        .skip(1)
        .any(|part| part.chars().take_while(char::is_ascii_digit).count() >= 5);
    let grouped = !number.contains([' ', '-', '(', '.']) || groups.any(|group| group.len() >= 2);
    (least..=16).contains(&all.len()) && kinds.len() >= 3 && !years && !fraction && grouped
}

fn digits(found: &str) -> Vec<u32> {
    found.chars().filter_map(|c| c.to_digit(10)).collect()
}

/// Tells whether such a character stands directly before or after a match.
fn touches(text: &str, found: &Range<usize>, is: impl Fn(char) -> bool) -> bool {
    let before = text[..found.start].chars().next_back();
    let after = text[found.end..].chars().next();
    before.into_iter().chain(after).any(is)
}

fn follows(text: &str, found: &Range<usize>, signs: &[char]) -> bool {
    text[..found.start].ends_with(signs)
}

/// Tells whether a number goes on after a match, as in `…x1080`, `…:30` or `….5`.
fn precedes_a_digit(text: &str, found: &Range<usize>) -> bool {
    let mut rest = text[found.end..].chars();
    let sign = rest
        .next()
        .is_some_and(|c| matches!(c, '.' | ',' | ':' | '/' | '-' | '×'));
    sign && rest.next().is_some_and(|c| c.is_ascii_digit())
}

/// Tells whether a match is what stands behind a decimal point.
fn is_fraction(text: &str, found: &Range<usize>) -> bool {
    let before = &text[..found.start];
    let whole = before
        .strip_suffix('.')
        .or_else(|| before.strip_suffix(','));
    whole.is_some_and(|whole| whole.ends_with(|c: char| c.is_ascii_digit()))
}
