//! What the benchmarks have in common: when they run, how a line of the answer looks, and the median.

#![allow(dead_code, reason = "each of the benchmarks that share it uses a part")]

use std::ffi::OsStr;
use std::process::{Command, ExitCode};
use std::time::Instant;

use rekindle::report;

pub type Error = Box<dyn std::error::Error>;

/// Runs a benchmark, unless `cargo test --benches` only asks whether it runs. It fails where a bound does not hold.
pub fn run(measure: impl FnOnce() -> Result<bool, Error>) -> ExitCode {
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the most memory is told with, in bytes.
const PEAK: &str = "the most memory: ";

/// Is `rekindle` where it is called as that, so that its memory can be told at its end; see [`look`].
pub fn is_rekindle() -> Option<ExitCode> {
    (std::env::args().nth(1)? == "diagnose").then(|| {
        let ended = rekindle::cli::main();
        eprintln!("{PEAK}{}", report::peak_memory());
        ended
    })
}

/// One run of `rekindle diagnose`.
pub struct Looked {
    pub seconds: f64,
    pub peak: f64,
    pub answer: String,
}

/// Runs `rekindle diagnose`, in a process of its own.
pub fn look(arguments: &[&OsStr]) -> Result<Looked, Error> {
    let (seconds, output) = timed(std::env::current_exe()?.as_os_str(), &[&["diagnose".as_ref()], arguments].concat())?;
    let told = String::from_utf8_lossy(&output.stderr);
    let peak = told.lines().find_map(|line| line.strip_prefix(PEAK)?.parse().ok());
    Ok(Looked {
        seconds,
        peak: peak.ok_or_else(|| told.clone().into_owned())?,
        answer: String::from_utf8_lossy(&output.stdout).into_owned(),
    })
}

/// Runs a program to its end, in seconds.
#[allow(
    clippy::disallowed_methods,
    reason = "what is measured in milliseconds here is looked at every 25 by the spawner of the harness"
)]
pub fn timed(program: &OsStr, arguments: &[&OsStr]) -> Result<(f64, std::process::Output), Error> {
    let started = Instant::now();
    let output = Command::new(program).args(arguments).output()?;
    let seconds = started.elapsed().as_secs_f64();
    if !output.status.success() {
        return Err(format!("{} failed: {}", program.display(), String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok((seconds, output))
}

/// One line of the answer, and whether it holds.
pub fn line(what: &str, n: usize, measured: String, bound: &str, holds: bool) -> bool {
    println!(
        "{:<52} {measured:>22}   {bound:<18} n={n:<3} {}",
        what,
        if holds { "ok" } else { "MISSED" }
    );
    holds
}

/// The median; the values are sorted afterwards.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
