//! What a file says about its pixels without changing them: colour space,
//! orientation, and the payloads that other programs understand.

use image::metadata::Orientation;

use super::bytes::push_chunk;
use crate::error::{Error, Result};

/// Chunks of metadata, in the order of their types.
const KINDS: [u8; 5] = [CICP, ORIENTATION, ICC, EXIF, XMP];
const CICP: u8 = 3;
const ORIENTATION: u8 = 4;
const ICC: u8 = 5;
const EXIF: u8 = 6;
const XMP: u8 = 7;
/// The chunk with the CRC-32 of all chunks but alpha and latents.
const CHECK: u8 = 8;

/// A colour space by its numbers in ITU-T H.273.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cicp {
    /// Colour primaries: 1 is BT.709 and sRGB, 9 BT.2020, 12 Display P3.
    pub primaries: u8,
    /// Transfer characteristics: 13 is sRGB, 16 PQ, 18 HLG.
    pub transfer: u8,
    /// Matrix coefficients: 0, since pixels are RGB or grey.
    pub matrix: u8,
    /// Whether samples use their whole range.
    pub full_range: bool,
}

/// Everything a file may carry beside its pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The colour space in numbers. It wins over an ICC profile, as in PNG.
    pub cicp: Option<Cicp>,
    /// What turns the pixels of the file upright. It holds whatever the Exif
    /// payload says: that one is carried, never read.
    pub orientation: Orientation,
    /// An ICC profile.
    pub icc: Option<Vec<u8>>,
    /// An Exif payload, beginning with its TIFF header.
    pub exif: Option<Vec<u8>>,
    /// An XMP packet.
    pub xmp: Option<Vec<u8>>,
}

impl Default for Metadata {
    fn default() -> Self {
        Metadata { cicp: None, orientation: Orientation::NoTransforms, icc: None, exif: None, xmp: None }
    }
}

impl Metadata {
    /// Whether there is nothing to carry.
    pub fn is_empty(&self) -> bool {
        *self == Metadata::default()
    }

    /// Its chunks and their check, nothing where there is nothing to carry.
    pub(super) fn write(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        if let Some(Cicp { primaries, transfer, matrix, full_range }) = self.cicp {
            push_chunk(&mut out, CICP, &[primaries, transfer, matrix, full_range.into()])?;
        }
        if self.orientation != Orientation::NoTransforms {
            push_chunk(&mut out, ORIENTATION, &[self.orientation.to_exif()])?;
        }
        for (kind, payload) in [(ICC, &self.icc), (EXIF, &self.exif), (XMP, &self.xmp)] {
            if let Some(payload) = payload {
                push_chunk(&mut out, kind, payload)?;
            }
        }
        if !out.is_empty() {
            let check = crc32fast::hash(&out);
            push_chunk(&mut out, CHECK, &check.to_le_bytes())?;
        }
        Ok(out)
    }
}

/// The metadata chunks of a file, collected while it is read.
#[derive(Debug, Clone, Default)]
pub(super) struct MetadataChunks<'a> {
    payloads: [Option<&'a [u8]>; KINDS.len()],
    check: Option<&'a [u8]>,
    hasher: crc32fast::Hasher,
}

impl<'a> MetadataChunks<'a> {
    /// Takes in a chunk: its type, its payload and all its bytes.
    pub fn add(&mut self, kind: u8, payload: &'a [u8], whole: &[u8]) -> Result<()> {
        let slot = match KINDS.iter().position(|&known| known == kind) {
            Some(index) => &mut self.payloads[index],
            None if kind == CHECK => &mut self.check,
            None => {
                self.hasher.update(whole); // unknown, but not to be damaged
                return Ok(());
            }
        };
        if slot.replace(payload).is_some() {
            return Err(Error::Format(format!("two chunks of type {kind}")));
        }
        if kind != CHECK {
            self.hasher.update(whole);
        }
        Ok(())
    }

    /// Compares the check with the chunks.
    pub fn verify(&self) -> Result<()> {
        let expected = match self.check {
            Some(check) => u32::from_le_bytes(check.try_into().map_err(|_| {
                Error::Format(format!("{} bytes instead of the 4 of a metadata check", check.len()))
            })?),
            None if self.payloads.iter().all(Option::is_none) => return Ok(()),
            None => return Err(Error::Format("metadata without its check".into())),
        };
        // Fuzzers reach the code behind with whatever they have made.
        if self.hasher.clone().finalize() != expected && !cfg!(fuzzing) {
            return Err(Error::Format("the checksum of the metadata does not match".into()));
        }
        Ok(())
    }

    /// Bytes in all payloads.
    pub fn size(&self) -> usize {
        self.payloads.iter().flatten().map(|payload| payload.len()).sum()
    }

    /// The metadata they stand for.
    pub fn to_metadata(&self) -> Result<Metadata> {
        let [cicp, orientation, icc, exif, xmp] = self.payloads;
        let cicp = match cicp {
            None => None,
            Some(&[primaries, transfer, matrix, full_range @ 0..=1]) => {
                Some(Cicp { primaries, transfer, matrix, full_range: full_range == 1 })
            }
            Some(other) => return Err(Error::Format(format!("CICP of {other:?}"))),
        };
        let orientation = match orientation {
            None => Orientation::NoTransforms,
            Some(&[value]) => Orientation::from_exif(value)
                .ok_or_else(|| Error::Format(format!("orientation {value} is not from 1 to 8")))?,
            Some(other) => return Err(Error::Format(format!("an orientation of {} bytes", other.len()))),
        };
        let owned = |payload: Option<&[u8]>| payload.map(<[u8]>::to_vec);
        Ok(Metadata { cicp, orientation, icc: owned(icc), exif: owned(exif), xmp: owned(xmp) })
    }
}
