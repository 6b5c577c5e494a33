//! File paths as `text/uri-list` (RFC 2483): what drops of files are made of on X11.

use std::{fmt::Write as _, path::Path};

/// The list: a `file://` address a line, each line ended by CR and LF.
#[must_use]
pub fn uri_list<'a>(paths: impl IntoIterator<Item = &'a Path>) -> String {
    let mut list = String::new();
    for path in paths {
        list += "file://";
        #[cfg(windows)]
        list.push('/');
        for byte in bytes(path) {
            match byte {
                // RFC 3986: unreserved characters, and the separator. All else, by bytes, as two hexadecimal digits.
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                    list.push(char::from(byte));
                }
                byte => {
                    // Writing to a string cannot fail.
                    let _ = write!(list, "%{byte:02X}");
                }
            }
        }
        list += "\r\n";
    }
    list
}

/// The path's bytes: on Unix any but zero.
#[cfg(unix)]
fn bytes(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(not(unix))]
fn bytes(path: &Path) -> Vec<u8> {
    path.to_string_lossy().replace('\\', "/").into_bytes()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn everything_but_plain_letters_is_written_in_hexadecimal() {
        let paths = ["/a/b-c_1.wav", "/with space/\u{fc} \u{1F514}.wav", "/100%/#?&+;\n.wav"].map(Path::new);
        assert_eq!(
            uri_list(paths),
            "file:///a/b-c_1.wav\r\n\
             file:///with%20space/%C3%BC%20%F0%9F%94%94.wav\r\n\
             file:///100%25/%23%3F%26%2B%3B%0A.wav\r\n"
        );
        assert_eq!(uri_list([]), "");
    }

    #[test]
    fn names_need_not_be_unicode() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
        let path = Path::new(OsStr::from_bytes(b"/\xFF.wav"));
        assert_eq!(uri_list([path]), "file:///%FF.wav\r\n");
    }
}
