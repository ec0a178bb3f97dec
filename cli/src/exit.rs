//! How a command ends: the exit codes of interface.md §3 and the one line that explains them.

use std::fmt::Display;
use std::process::ExitCode;

/// A reason with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    reason: String,
}

impl Failure {
    /// The server said no; its words.
    pub(crate) fn refused(reason: impl Display) -> Self {
        Self { code: 1, reason: reason.to_string() }
    }

    /// The command line is understood, but makes no sense.
    pub(crate) fn usage(reason: impl Display) -> Self {
        Self { code: 2, reason: reason.to_string() }
    }

    /// The interface has it, this version has not.
    pub(crate) fn unbuilt(what: &str) -> Self {
        Self { code: 64, reason: format!("{what}: not built yet") }
    }

    /// The server cannot be reached.
    pub(crate) fn unreachable(reason: impl Display) -> Self {
        Self { code: 69, reason: reason.to_string() }
    }

    /// Files or sockets of this machine failed.
    pub(crate) fn io(what: impl Display, error: impl Display) -> Self {
        Self { code: 70, reason: format!("{what}: {error}") }
    }

    /// A setting cannot be used.
    pub(crate) fn config(reason: impl Display) -> Self {
        Self { code: 78, reason: reason.to_string() }
    }

    /// Any code of the table, from a library that chose it.
    pub(crate) fn with_code(code: i32, reason: impl Display) -> Self {
        Self { code: u8::try_from(code).unwrap_or(70), reason: reason.to_string() }
    }

    /// Adds where to look.
    pub(crate) fn hint(mut self, hint: &str) -> Self {
        self.reason = format!("{}\n{hint}", self.reason);
        self
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Says why on standard error and gives the code.
pub(crate) fn end(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            crate::term::error_line(&format!("meridian: {}", failure.reason()));
            ExitCode::from(failure.code)
        }
    }
}
