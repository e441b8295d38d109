//! The `aecodec` command.
#![deny(missing_docs)]

fn main() -> std::process::ExitCode {
    aecodec::cli::aecodec()
}
