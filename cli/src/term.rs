//! The terminal: the only place that writes to standard output and error.

use std::io::{self, IsTerminal, Write};

/// Writes a line to standard output and flushes it: scripts wait for such lines.
///
/// # Errors
/// When nobody reads any more.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes lines where a closed pipe is no reason to fail.
pub(crate) fn say(text: &str) {
    // Whoever closed the pipe does not want to read on.
    let _ = line(text);
}

/// Writes a line to standard error.
pub(crate) fn error_line(text: &str) {
    // There is no third place to complain to.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Replaces the last line of a terminal by `text`.
pub(crate) fn status_line(text: &str) {
    let mut out = io::stdout().lock();
    // As in `say`.
    let _ = write!(out, "\r\x1b[2K{text}").and_then(|()| out.flush());
}

pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Colour only where a person looks at it, and never with NO_COLOR.
pub(crate) fn paint(code: &str, text: &str) -> String {
    if is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
