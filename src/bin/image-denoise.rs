//! The `image-denoise` command: `aecodec denoise` as a program of its own.
#![deny(missing_docs)]

fn main() -> std::process::ExitCode {
    aecodec::cli::image_denoise()
}
