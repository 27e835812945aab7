//! The trace that a caller is in, as W3C spells it: taken over into every event of a task.
//!
//! Source: W3C Trace Context, section 3.2 (`traceparent`). `tracestate` is not carried.

/// A caller's `traceparent`, checked: the trace's id and its flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    id: String,
    flags: u8,
}

/// Sampled, and made by chance; whoever does not know a flag hands it on as zero.
const FLAGS_KNOWN: u8 = 0b11;
/// Characters of version 00; later versions may add more after another hyphen.
const KNOWN_CHARS: usize = 55;
/// No version that could come needs more.
const CHARS_MAX: usize = 128;

impl Trace {
    /// Parses the header; `None` for anything that W3C does not allow, which starts a trace of its
    /// own.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        if header.len() > CHARS_MAX || !header.is_ascii() {
            return None;
        }
        let (known, rest) = header.split_at_checked(KNOWN_CHARS)?;
        let parts: Vec<&str> = known.split('-').collect();
        let &[version, id, parent, flags] = parts.as_slice() else {
            return None;
        };
        let hex = |part: &str, chars: usize| {
            let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            part.len() == chars && part.bytes().all(digit)
        };
        let zero = |part: &str| part.bytes().all(|b| b == b'0');
        let formed = hex(version, 2) && hex(id, 32) && hex(parent, 16) && hex(flags, 2);
        let ends = rest.is_empty() || (version != "00" && rest.starts_with('-'));
        let valid = formed && ends && version != "ff" && !zero(id) && !zero(parent);
        let flags = u8::from_str_radix(flags, 16).ok()?;
        valid.then(|| Self {
            id: id.to_owned(),
            flags: flags & FLAGS_KNOWN,
        })
    }

    /// Returns the header of what we do within the trace, under a span of ours; span 0 is none and
    /// becomes 1.
    #[must_use]
    pub fn traceparent(&self, span: u64) -> String {
        format!("00-{}-{:016x}-{:02x}", self.id, span.max(1), self.flags)
    }
}
