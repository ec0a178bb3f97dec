//! What several test files need: hexadecimal text, and the golden tables of `conformance/`.

#![allow(dead_code, reason = "each test file uses its own part")]

/// The bytes that a hexadecimal text stands for; spaces are ignored.
pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    assert_eq!(digits.len(), text.chars().filter(|c| !c.is_whitespace()).count(), "not hexadecimal: {text}");
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

/// Lower-case hexadecimal text.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The entries of a golden table: a line of meaning, a line of bytes, a blank line; lines with `#` are remarks,
/// `-` stands for no bytes.
pub(crate) fn golden(table: &str) -> Vec<(&str, Vec<u8>)> {
    let lines: Vec<&str> = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    lines.chunks(2).map(|entry| (entry[0], from_hex(entry[1].trim_matches('-')))).collect()
}
