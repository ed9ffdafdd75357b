//! Files that say what is declared, read whole. `-` is standard input.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::usage::UsageError;
use crate::{finding::printable, nsg::Source};

/// Larger than what Azure prints of a thousand groups, and small enough for any machine.
const LARGEST: u64 = 256 << 20;

/// The text of a file.
pub(super) fn text(path: &Path) -> Result<Source, UsageError> {
    let failed = |source| UsageError::File { path: path.to_owned(), source };
    let (name, text) = if path == Path::new("-") {
        ("standard input".to_owned(), read(io::stdin().lock()))
    } else {
        (printable(&path.display().to_string()), File::open(path).and_then(read))
    };
    Ok(Source::file(name, text.map_err(failed)?))
}

fn read(file: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other("the file is too large"));
    }
    // PowerShell writes UTF-16 when output goes to a file.
    let text = match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes).ok(),
    };
    // UTF-16 without its mark is full of zeros, and so is what is no text at all.
    let text = text.filter(|text| !text.contains('\0'));
    text.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the file is no text"))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let units: Vec<_> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_powershell_writes_is_read_too() {
        for (head, bytes) in [([0xff, 0xfe], [b'[', 0, b']', 0]), ([0xfe, 0xff], [0, b'[', 0, b']'])] {
            assert_eq!(read([&head[..], &bytes[..]].concat().as_slice()).unwrap(), "[]");
        }
        assert_eq!(read(&b"\xef\xbb\xbf[]"[..]).unwrap(), "[]");
        assert!(read(&[0xff, 0x00][..]).is_err());
    }

    #[test]
    fn what_is_no_text_is_said_to_be_none() {
        for bytes in [&b"\x89PNG\r\n\x1a\n"[..], b"\x00\x01binary", b"[\0]\0"] {
            assert!(read(bytes).unwrap_err().to_string().contains("no text"), "{bytes:?}");
        }
    }
}
