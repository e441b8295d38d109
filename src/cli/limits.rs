//! What a picture may cost, as options of several commands.

use clap::Args;

use aecodec::Limits;

/// What a picture may cost.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Refuse pictures of more pixels a side
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_side, hide_short_help = true)]
    max_side: u32,
    /// Refuse pictures of more megapixels
    #[arg(long, value_name = "MP", default_value_t = Limits::default().max_pixels >> 20, hide_short_help = true)]
    max_megapixels: u64,
    /// Refuse pictures that take more memory, in MiB
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().max_memory >> 20, hide_short_help = true)]
    max_memory: u64,
}

impl LimitArgs {
    /// The limits that were asked for. A megapixel has 2^20 pixels.
    pub fn limits(&self) -> Limits {
        Limits {
            max_side: self.max_side,
            max_pixels: self.max_megapixels.saturating_mul(1 << 20),
            max_memory: self.max_memory.saturating_mul(1 << 20),
            ..Limits::default()
        }
    }
}
