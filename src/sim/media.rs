//! Small real files: they play, and no two outputs have the same bytes.

use super::catalogue::Yield;

static CLIPS: [&[u8]; 3] = [
    include_bytes!("media/clip-a.mp4"),
    include_bytes!("media/clip-b.mp4"),
    include_bytes!("media/clip-c.mp4"),
];
static PICTURES: [&[u8]; 2] = [
    include_bytes!("media/picture-a.png"),
    include_bytes!("media/picture-b.png"),
];
static TONE_MP3: &[u8] = include_bytes!("media/tone.mp3");
static TONE_WAV: &[u8] = include_bytes!("media/tone.wav");

/// The kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum File {
    Mp4,
    Png,
    Mp3,
    Wav,
}

impl File {
    /// The file name's end.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Png => "png",
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
        }
    }

    /// The media type that the CDN announces.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::Png => "image/png",
            Self::Mp3 => "audio/mpeg",
            Self::Wav => "audio/wav",
        }
    }

    /// The word in the CDN's path.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Mp4 => "VIDEO",
            Self::Png => "IMAGE",
            Self::Mp3 | Self::Wav => "AUDIO",
        }
    }
}

/// The files of one output.
pub(super) fn files(yields: Yield) -> &'static [File] {
    match yields {
        Yield::Video => &[File::Mp4],
        Yield::Image | Yield::Element => &[File::Png],
        Yield::Views => &[File::Png, File::Png, File::Png],
        Yield::Audio => &[File::Mp3, File::Wav],
        Yield::Voice => &[File::Mp3],
    }
}

/// The bytes of one file: one of the embedded ones, marked with `label` where players do not
/// look, and for videos grown by `padding` bytes.
pub(super) fn bytes(file: File, variant: usize, label: &str, padding: u32) -> Vec<u8> {
    let label = label.as_bytes();
    match file {
        File::Mp4 => {
            let mut bytes = CLIPS[variant % CLIPS.len()].to_vec();
            let padding = usize::try_from(padding.min(64 << 20)).unwrap_or(0);
            let size = u32::try_from(8 + label.len() + padding).unwrap_or(u32::MAX);
            bytes.extend(size.to_be_bytes());
            bytes.extend(b"free");
            bytes.extend(label);
            bytes.resize(bytes.len() + padding, 0x4b);
            bytes
        }
        File::Png => png(PICTURES[variant % PICTURES.len()], label),
        File::Mp3 => {
            // An ID3v1 tag: always 128 bytes, the title in the 30 after the marker.
            let mut tag = [0_u8; 128];
            tag[..3].copy_from_slice(b"TAG");
            let end = label.len().min(120);
            tag[3..3 + end].copy_from_slice(&label[..end]);
            [TONE_MP3, &tag].concat()
        }
        File::Wav => {
            let mut bytes = TONE_WAV.to_vec();
            let text = [label, &b"\0"[..label.len() % 2]].concat();
            bytes.extend(b"note");
            bytes.extend(u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
            bytes.extend(text);
            let riff_size = u32::try_from(bytes.len() - 8).unwrap_or(u32::MAX);
            bytes[4..8].copy_from_slice(&riff_size.to_le_bytes());
            bytes
        }
    }
}

/// A `tEXt` chunk goes before the `IEND` chunk, which is always the last 12 bytes.
fn png(picture: &[u8], label: &[u8]) -> Vec<u8> {
    let (head, end) = picture.split_at(picture.len() - 12);
    let mut typed = b"tEXtComment\0".to_vec();
    typed.extend(label);
    let size = u32::try_from(typed.len() - 4).unwrap_or(0);
    let crc = crc32(&typed);
    [head, &size.to_be_bytes(), &typed, &crc.to_be_bytes(), end].concat()
}

/// The checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}
