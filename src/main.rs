//! The program; see [`rekindle::cli`].

fn main() -> std::process::ExitCode {
    rekindle::cli::main()
}
