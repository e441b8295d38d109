//! What a decoder may be made to allocate and to work on.

use crate::error::{Error, Result};

/// What a caller is willing to spend on one picture. Checked before anything is
/// allocated for it.
///
/// The number of tiles needs no limit of its own: each covers up to 2^20 pixels
/// and takes at least a byte of the file, as long as there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels along each side.
    pub max_side: u32,
    /// Most pixels in all.
    pub max_pixels: u64,
    /// Most bytes of memory, by an estimate that is on the safe side.
    pub max_memory: u64,
    /// Most pixels for each byte of latents, where there are more than
    /// [`FREE_PIXELS`]: a file of few bytes cannot ask for much work.
    pub max_pixels_per_byte: u64,
    /// Most bytes of ICC, Exif and XMP together.
    pub max_metadata: u64,
}

/// Pixels that the smallest file may have.
pub const FREE_PIXELS: u64 = 1 << 20;

impl Default for Limits {
    /// 70,000 pixels a side, 2^28 in all and 8 GiB of memory; where addresses
    /// have 32 bits 2^26 pixels and 1 GiB. 2^14 pixels a byte, twelve times what
    /// flat white comes to. 2^28 bytes of metadata.
    fn default() -> Self {
        let large = usize::BITS > 32;
        Limits {
            max_side: 70_000,
            max_pixels: if large { 1 << 28 } else { 1 << 26 },
            max_memory: if large { 8 << 30 } else { 1 << 30 },
            max_pixels_per_byte: 1 << 14,
            max_metadata: 1 << 28,
        }
    }
}

impl Limits {
    /// An error where a picture of this size is too large.
    pub fn check(&self, width: u32, height: u32) -> Result<()> {
        within("pixels a side", width.max(height).into(), self.max_side.into())?;
        within("pixels", u64::from(width) * u64::from(height), self.max_pixels)
    }

    /// An error where decoding would take more than this many bytes.
    pub fn check_memory(&self, bytes: u64) -> Result<()> {
        within("bytes of memory", bytes, self.max_memory)
    }

    /// An error where this many bytes of latents stand for too many pixels.
    pub fn check_density(&self, pixels: u64, bytes: usize) -> Result<()> {
        let allowed = (bytes as u64).saturating_mul(self.max_pixels_per_byte).max(FREE_PIXELS);
        within(&format!("pixels in {bytes} bytes of latents"), pixels, allowed)
    }

    /// An error where this many bytes of metadata are too many.
    pub fn check_metadata(&self, bytes: usize) -> Result<()> {
        within("bytes of metadata", bytes as u64, self.max_metadata)
    }
}

fn within(what: &str, value: u64, most: u64) -> Result<()> {
    if value > most {
        return Err(Error::Limits(format!("{value} {what}, {most} allowed")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(result: Result<()>, words: &str) {
        assert!(matches!(&result, Err(Error::Limits(message)) if message.contains(words)), "{result:?}");
    }

    #[test]
    fn sides_and_pixels_are_limited() {
        let limits = Limits { max_side: 100, max_pixels: 5000, ..Default::default() };
        assert!(limits.check(100, 50).is_ok());
        refused(limits.check(101, 1), "101 pixels a side, 100 allowed");
        refused(limits.check(1, 101), "101 pixels a side, 100 allowed");
        refused(limits.check(100, 51), "5100 pixels, 5000 allowed");
        refused(Limits::default().check(u32::MAX, u32::MAX), "pixels a side");
    }

    #[test]
    fn memory_work_and_metadata_are_limited() {
        let limits =
            Limits { max_memory: 10, max_pixels_per_byte: 1000, max_metadata: 7, ..Default::default() };
        assert!(limits.check_memory(10).is_ok());
        refused(limits.check_memory(11), "11 bytes of memory, 10 allowed");
        assert!(limits.check_density(FREE_PIXELS, 0).is_ok());
        assert!(limits.check_density(2000 * 1000, 2000).is_ok());
        refused(limits.check_density(2000 * 1000 + 1, 2000), "2000001 pixels in 2000 bytes");
        assert!(limits.check_metadata(7).is_ok());
        refused(limits.check_metadata(8), "8 bytes of metadata");
    }
}
