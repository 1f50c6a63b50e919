//! What went wrong, in two parts: what happened, and what to do. Knows no command.

use core::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// Why a command ended without success.
#[derive(Debug)]
pub(crate) struct Fault {
    kind: Kind,
    what: String,
    fix: String,
}

/// The exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failure,
    Usage,
    Nothing,
    Rejected,
    /// The reader of our output is gone: nobody is there to be told.
    Unheard,
}

impl Fault {
    /// A failure: exit code 1.
    pub(crate) fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { kind: Kind::Failure, what: what.into(), fix: fix.into() }
    }

    /// A failure that an error of the library tells. Its texts end in what to do, behind a colon or
    /// a semicolon; `fix` is for those that do not.
    pub(crate) fn told(error: &impl Display, fix: &str) -> Self {
        let text = error.to_string();
        let (colon, semicolon) = (text.rsplit_once(": "), text.rsplit_once("; "));
        match colon.into_iter().chain(semicolon).max_by_key(|(what, _)| what.len()) {
            Some((what, remedy)) => Self::new(what, remedy),
            None => Self::new(text, fix),
        }
    }

    /// With exit code 2: the command was not meant like this.
    pub(crate) fn usage(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, ..Self::new(what, fix) }
    }

    /// With exit code 3: nothing came in time.
    pub(crate) fn nothing(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { kind: Kind::Nothing, ..Self::new(what, fix) }
    }

    /// With exit code 4: messages were rejected.
    pub(crate) fn rejected(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { kind: Kind::Rejected, ..Self::new(what, fix) }
    }

    /// What happened, and what to do.
    pub(crate) fn parts(&self) -> (&str, &str) {
        (&self.what, &self.fix)
    }

    /// Prints it, and gives its exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let mut stderr = io::stderr().lock();
        if self.kind != Kind::Unheard {
            let colour = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let error = if colour { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
            // nobody is left to be told of another error
            let _ = writeln!(stderr, "{error} {}\n  fix: {}", self.what, self.fix);
        }
        self.exit_code()
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::Failure => 1,
            Kind::Usage => 2,
            Kind::Nothing => 3,
            Kind::Rejected => 4,
            Kind::Unheard => 0,
        })
    }
}

/// An error of standard output: a reader that has enough, as `head`, is none.
impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::BrokenPipe => Kind::Unheard,
            _ => Kind::Failure,
        };
        let what = format!("standard output cannot be written, {}", error.kind());
        Self { kind, ..Self::new(what, "check where it leads to") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_the_library_is_parted_before_what_to_do() {
        let parts = |text: &str| {
            let Fault { what, fix, .. } = Fault::told(&text, "ask");
            (what, fix)
        };
        let pair = |what: &str, fix: &str| (what.to_owned(), fix.to_owned());
        assert_eq!(
            parts("a.toml:1:2: bad; or worse: mend"),
            pair("a.toml:1:2: bad; or worse", "mend")
        );
        assert_eq!(parts("x: is bad; mend"), pair("x: is bad", "mend"));
        assert_eq!(parts("it is bad"), pair("it is bad", "ask"));
    }

    #[test]
    fn a_reader_that_has_enough_is_no_failure() {
        let gone = Fault::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(gone.kind, Kind::Unheard);
        let full = Fault::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.kind, Kind::Failure);
    }
}
