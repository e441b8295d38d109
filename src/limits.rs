//! What a decoder may be made to allocate.

use crate::error::{Error, Result};

/// The largest picture a caller is willing to decode. Checked before anything
/// is allocated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels along each side.
    pub max_side: u32,
    /// Most pixels in all. Decoding takes up to about 20 bytes for each.
    pub max_pixels: u64,
}

impl Default for Limits {
    /// 70,000 pixels a side and 2^28 in all, 2^26 where addresses have 32 bits.
    fn default() -> Self {
        Limits { max_side: 70_000, max_pixels: if usize::BITS > 32 { 1 << 28 } else { 1 << 26 } }
    }
}

impl Limits {
    /// An error where a picture of this size is too large.
    pub fn check(&self, width: u32, height: u32) -> Result<()> {
        let side = width.max(height);
        if side > self.max_side {
            return Err(Error::Limits(format!("{side} pixels a side, {} allowed", self.max_side)));
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > self.max_pixels {
            return Err(Error::Limits(format!("{pixels} pixels, {} allowed", self.max_pixels)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold() {
        let limits = Limits { max_side: 100, max_pixels: 5000 };
        assert!(limits.check(100, 50).is_ok());
        assert!(matches!(limits.check(101, 1), Err(Error::Limits(_))));
        assert!(matches!(limits.check(1, 101), Err(Error::Limits(_))));
        assert!(matches!(limits.check(100, 51), Err(Error::Limits(_))));
        assert!(matches!(Limits::default().check(u32::MAX, u32::MAX), Err(Error::Limits(_))));
    }
}
