//! What kind of file a recording is, by its first bytes.

/// Bytes that [`FileKind::of`] wants to see: the first page of an Ogg stream with its longest header.
pub(super) const HEAD: usize = 512;

/// Kinds that can be decoded, as they are called in messages.
pub const SUPPORTED: &str = "WAV, AIFF, FLAC, Ogg Vorbis, Ogg Opus or MP3";

/// Who can read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// [`opus`](super::opus).
    Opus,
    /// Nobody here; with the kind's name.
    Refused(&'static str),
    /// symphonia, which looks for itself which of its kinds it is, if any.
    Other,
}

impl FileKind {
    /// The kind of the file that begins with `head`.
    pub(super) fn of(head: &[u8]) -> Self {
        const BY_SIGNATURE: &[(usize, &[u8], &str)] = &[
            (4, b"ftyp", "an MP4 or M4A file (AAC or Apple Lossless)"),
            (0, b"caff", "a Core Audio (CAF) file"),
            (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM file"),
            (0, b"wvpk", "a WavPack file"),
            (0, b"MAC ", "a Monkey's Audio file"),
            (0, b"\x30\x26\xb2\x75", "a Windows Media (WMA) file"),
            (0, b"RF64", "an RF64 file (a WAV for more than 4 GB)"),
            (0, b"BW64", "a BW64 file (a WAV for more than 4 GB)"),
            (8, b"REX2", "a REX loop"),
            (0, b".snd", "a Sun audio (AU) file"),
            (0, b"DSD ", "a DSD file"),
            (0, b"#!AMR", "an AMR voice recording"),
            (0, b"MThd", "a MIDI file, notes without sound"),
            (
                0,
                b"version https://git-lfs",
                "only a Git LFS pointer; fetch the file itself with `git lfs pull`",
            ),
            (0, b"<", "a web page or XML, as a failed download leaves it"),
        ];
        let starts = |at: usize, with: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(with));
        if let Some((_, _, name)) = BY_SIGNATURE.iter().find(|(at, signature, _)| starts(*at, signature)) {
            return Self::Refused(name);
        }
        match head {
            // MPEG's sync word with layer 0, which is AAC's ADTS; MP3 is layer 1.
            [0xff, second, ..] if second & 0xf6 == 0xf0 => Self::Refused("a raw AAC stream"),
            _ => match ogg_payload(head) {
                Some(payload) if payload.starts_with(b"OpusHead") => Self::Opus,
                Some(payload) if payload.starts_with(b"Speex   ") => Self::Refused("an Ogg Speex file"),
                Some(payload) if payload.starts_with(b"\x80theora") => Self::Refused("an Ogg video"),
                _ => Self::Other,
            },
        }
    }
}

/// What follows the header of an Ogg page (RFC 3533): 27 bytes and as many segment lengths as the last of them says.
fn ogg_payload(head: &[u8]) -> Option<&[u8]> {
    let segments = usize::from(*head.strip_prefix(b"OggS")?.get(22)?);
    head.get(27 + segments..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ogg_is_told_apart_by_what_is_inside() {
        let page = |payload: &[u8]| {
            let mut page = b"OggS".to_vec();
            page.extend([0; 22]);
            page.extend([1, 19]);
            page.extend(payload);
            page
        };
        assert_eq!(FileKind::of(&page(b"OpusHead\x01")), FileKind::Opus);
        assert_eq!(FileKind::of(&page(b"\x01vorbis")), FileKind::Other);
        assert!(matches!(FileKind::of(&page(b"Speex   1.2")), FileKind::Refused(_)));
        assert_eq!(FileKind::of(b"OggS"), FileKind::Other);
        assert_eq!(FileKind::of(&[b"OggS".as_slice(), &[255; 23]].concat()), FileKind::Other);
    }

    #[test]
    fn refused_kinds_have_names() {
        let name = |head: &[u8]| match FileKind::of(head) {
            FileKind::Refused(name) => name,
            _ => "",
        };
        assert!(name(b"\0\0\0\x20ftypM4A \0").contains("M4A"));
        assert!(name(b"\xff\xf1\x50\x80").contains("AAC"));
        assert!(name(b"<!DOCTYPE html>").contains("download"));
        // MP3, with and without CRC; WAV; nothing at all.
        for head in [b"\xff\xfb\x90".as_slice(), b"\xff\xfa\x90", b"RIFF\0\0\0\0WAVE", b""] {
            assert_eq!(FileKind::of(head), FileKind::Other);
        }
    }
}
