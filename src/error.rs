//! The library's one error type, sorted by who is to blame.

use std::io;

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a picture could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing failed; the file itself may be fine.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file is damaged, or is not an `.aec` file.
    #[error("damaged file: {0}")]
    Format(String),
    /// The file is sound, but asks for something this build lacks.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The picture is larger than the caller allows.
    #[error("over the limit: {0}")]
    Limits(String),
    /// The caller passed a value outside its documented range.
    #[error("invalid parameter: {0}")]
    Parameter(String),
    /// A model file is damaged or inconsistent.
    #[error("model: {0}")]
    Model(String),
}
