//! What the benchmarks have in common: when they run, how a line of the answer looks, and the median.

use std::process::ExitCode;

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
