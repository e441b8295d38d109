//! The fixed fields at the beginning of a file.

use super::bytes::{Reader, push_varint};
use crate::error::{Error, Result};
use crate::model::{ModelId, QualityIndex};

/// The first bytes of every file.
pub const MAGIC: [u8; 4] = *b"\xAEAEC";
/// The version this build writes, and the only one it reads.
pub const VERSION: u8 = 1;
/// The flag bits that hold the colour type.
const COLOUR_FLAGS: u8 = 0b0000_0011;
/// The flag of 16 bits a sample.
const DEEP_FLAG: u8 = 0b0000_0100;
/// The flag of an alpha plane.
const ALPHA_FLAG: u8 = 0b0000_1000;
/// The flag of filters: each tile's stream begins with what is said of its own.
const FILTER_FLAG: u8 = 0b0001_0000;
/// The flag of tiles coded in lanes, each with a stream of its own.
const LANES_FLAG: u8 = 0b0010_0000;

/// What the pixels are, beside alpha.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Colour {
    /// Red, green and blue, 8 bits each.
    Rgb8,
    /// Grey, 8 bits.
    Grey8,
    /// Red, green and blue, 16 bits each.
    Rgb16,
    /// Grey, 16 bits.
    Grey16,
}

impl Colour {
    /// Samples of a pixel, without alpha.
    pub fn channels(self) -> usize {
        match self {
            Colour::Rgb8 | Colour::Rgb16 => 3,
            Colour::Grey8 | Colour::Grey16 => 1,
        }
    }

    /// Bits of a sample, alpha's too.
    pub fn bits(self) -> u8 {
        match self {
            Colour::Rgb8 | Colour::Grey8 => 8,
            Colour::Rgb16 | Colour::Grey16 => 16,
        }
    }

    /// Its flags.
    fn flags(self) -> u8 {
        match self {
            Colour::Rgb8 => 0,
            Colour::Grey8 => 1,
            Colour::Rgb16 => DEEP_FLAG,
            Colour::Grey16 => DEEP_FLAG | 1,
        }
    }
}

/// The fixed fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Pixels in a row, at least 1.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
    /// What the pixels are.
    pub colour: Colour,
    /// Whether there is an alpha plane.
    pub alpha: bool,
    /// Whether tiles have filters.
    pub filtered: bool,
    /// Whether tiles are coded in lanes.
    pub in_lanes: bool,
    /// The quality the latents were quantised at.
    pub quality: QualityIndex,
    /// The model that decodes the file.
    pub model: ModelId,
}

impl Header {
    /// The bytes of all fields.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        let flag = |set, flag| if set { flag } else { 0 };
        let flags =
            flag(self.alpha, ALPHA_FLAG) | flag(self.filtered, FILTER_FLAG) | flag(self.in_lanes, LANES_FLAG);
        out.push(self.colour.flags() | flags);
        push_varint(&mut out, self.width);
        push_varint(&mut out, self.height);
        out.push(self.quality.0);
        out.extend(self.model.0);
        out
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Header> {
        if reader.array()? != MAGIC {
            return Err(Error::Format("not an .aec file".into()));
        }
        let version = reader.u8()?;
        if version != VERSION {
            return Err(Error::Unsupported(format!(
                "version {version} of the format, this build reads {VERSION}"
            )));
        }
        let flags = reader.u8()?;
        if flags & !(COLOUR_FLAGS | DEEP_FLAG | ALPHA_FLAG | FILTER_FLAG | LANES_FLAG) != 0 {
            return Err(Error::Unsupported(format!("flags {flags:#010b}")));
        }
        let colour = match (flags & COLOUR_FLAGS, flags & DEEP_FLAG != 0) {
            (0, false) => Colour::Rgb8,
            (1, false) => Colour::Grey8,
            (0, true) => Colour::Rgb16,
            (1, true) => Colour::Grey16,
            (other, _) => return Err(Error::Unsupported(format!("colour type {other}"))),
        };
        let set = |flag| flags & flag != 0;
        let (alpha, filtered, in_lanes) = (set(ALPHA_FLAG), set(FILTER_FLAG), set(LANES_FLAG));
        let width = reader.varint()?;
        let height = reader.varint()?;
        if width == 0 || height == 0 {
            return Err(Error::Format(format!("a picture of {width}x{height} pixels")));
        }
        let quality = QualityIndex(reader.u8()?);
        let model = ModelId(reader.array()?);
        Ok(Header { width, height, colour, alpha, filtered, in_lanes, quality, model })
    }
}
