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

/// What the pixels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Colour {
    /// Red, green and blue, 8 bits each.
    Rgb8,
    /// Grey, 8 bits.
    Grey8,
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
        out.push(match self.colour {
            Colour::Rgb8 => 0,
            Colour::Grey8 => 1,
        });
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
        if flags & !COLOUR_FLAGS != 0 {
            return Err(Error::Unsupported(format!("flags {flags:#010b}")));
        }
        let colour = match flags & COLOUR_FLAGS {
            0 => Colour::Rgb8,
            1 => Colour::Grey8,
            other => return Err(Error::Unsupported(format!("colour type {other}"))),
        };
        let width = reader.varint()?;
        let height = reader.varint()?;
        if width == 0 || height == 0 {
            return Err(Error::Format(format!("a picture of {width}x{height} pixels")));
        }
        let quality = QualityIndex(reader.u8()?);
        let model = ModelId(reader.array()?);
        Ok(Header { width, height, colour, quality, model })
    }
}
