//! A text that may be found nowhere, and the shapes in which it could be: as it is, in base64 wherever it begins, in hexadecimal, in UTF-16.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Everything that a search has to look for.
pub fn forms(canary: &str) -> Vec<String> {
    let hex: String = canary.bytes().map(|byte| format!("{byte:02x}")).collect();
    let wide = |unit: &dyn Fn(char) -> [char; 2]| canary.chars().flat_map(unit).collect::<String>();
    let mut forms = vec![
        canary.to_owned(),
        hex.to_ascii_uppercase(),
        hex,
        wide(&|letter| [letter, '\0']).trim_end_matches('\0').to_owned(),
    ];
    for shift in ["", "x", "xx"] {
        let encoded = STANDARD.encode(format!("{shift}{canary}"));
        // The first and the last letters depend on the neighbours.
        forms.push(encoded[4..encoded.len() - 4].to_owned());
    }
    forms
}

/// Whether a content holds it in any form. What is no text is put aside, since the search is made for text.
pub fn holds(content: &[u8], canary: &str) -> bool {
    let text = String::from_utf8_lossy(content);
    forms(canary).iter().any(|form| text.contains(form.as_str()))
}

/// Files under a directory; sockets are none.
///
/// # Panics
/// It cannot be read.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let found = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    found.filter(|path| path.is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_in_every_shape() {
        let canary = "canary0-found";
        let check = |content: &[u8], expected: bool| assert_eq!(holds(content, canary), expected, "{content:?}");
        check(b"\xff\xfea canary0-found!", true);
        for before in ["", "{", "{\"", "{\"a\":"] {
            check(STANDARD.encode(format!("{before}{canary}\"}}")).as_bytes(), true);
        }
        check(b"63616e617279302d666f756e64", true);
        check(b"63616E617279302D666F756E64", true);
        let units: Vec<u16> = format!("a{canary}z").encode_utf16().collect();
        check(&units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<_>>(), true);
        check(&units.iter().flat_map(|unit| unit.to_be_bytes()).collect::<Vec<_>>(), true);
        check(b"canary0-foun d", false);
    }
}
