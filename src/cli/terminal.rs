//! Standard output and standard error: whether they are terminals, how wide, in colour or not, and closed early or not.

use std::io::{IsTerminal as _, Write as _};

use super::failure::Failure;
use crate::exit_code;
use crate::report::text::Paint;

/// When colours are used.
///
/// The values have no texts of their own here: with one, clap would spread every help over twice the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ColorWhen {
    #[default]
    Auto,
    Always,
    Never,
}

/// What is known about the two streams.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    pub out: Paint,
    pub err: Paint,
    /// The width of the terminal on standard output; absent where it is none.
    pub columns: Option<usize>,
    /// A terminal that cannot move its cursor.
    pub dumb: bool,
}

impl Terminal {
    pub fn detect(when: ColorWhen) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let paint = |terminal: bool| {
            Paint(match when {
                ColorWhen::Auto => terminal && !dumb && !unwanted,
                ColorWhen::Always => true,
                ColorWhen::Never => false,
            })
        };
        let columns = rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| match size.ws_col {
            0 => 80,
            columns => usize::from(columns),
        });
        Self {
            out: paint(std::io::stdout().is_terminal()),
            err: paint(std::io::stderr().is_terminal()),
            columns,
            dumb,
        }
    }

    /// The width for texts of several lines, in a file too.
    pub fn page(&self) -> usize {
        self.columns.unwrap_or(100)
    }
}

/// Writes to standard output. Nobody reading any more, as with `| head`, is no error.
///
/// # Errors
/// Any other failure to write.
pub fn put(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(
            exit_code::OUTPUT,
            format!("standard output could not be written: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Writes a line to standard error, if anybody reads it.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
