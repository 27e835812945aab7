//! What a file is, by its own first bytes; what its server says of it is not asked.

/// How many first bytes are enough to tell, bytes.
pub(super) const HEAD_BYTES: usize = 4_096;

/// Returns the media type of a file that begins with `head`; `application/octet-stream` if unknown.
#[must_use]
pub fn sniff(head: &[u8]) -> &'static str {
    let found = infer::get(head).map(|found| found.mime_type());
    match found {
        // Some encoders write MP4 with Apple's brand for it.
        Some("video/x-m4v") => "video/mp4",
        Some(found) => found,
        None if is_other_mp4(head) => "video/mp4",
        None if is_other_mp3(head) => "audio/mpeg",
        None => "application/octet-stream",
    }
}

/// Tells whether it is an ISO base media file of a brand that `infer` does not list, such as `iso8`
/// or `hvc1`; pictures and sound in that container are listed.
fn is_other_mp4(head: &[u8]) -> bool {
    let brand = head.get(8..12);
    head.get(4..8) == Some(b"ftyp") && brand.is_some_and(|brand| brand.is_ascii())
}

/// Tells whether it begins with a frame of MPEG audio, layer III, of a version or with a checksum
/// that `infer` does not list: speech at low rates often is.
fn is_other_mp3(head: &[u8]) -> bool {
    let [0xFF, kind, rate, ..] = *head else {
        return false;
    };
    let in_sync = kind & 0xE0 == 0xE0;
    let (version, layer) = (kind >> 3 & 0b11, kind >> 1 & 0b11);
    let known = version != 0b01 && layer == 0b01;
    in_sync && known && rate >> 4 != 0b1111 && rate >> 2 & 0b11 != 0b11
}
