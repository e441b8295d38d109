//! The `.aec` file: bytes in, fields and payloads out. What the payloads mean is
//! not known here. `docs/format.md` is the specification.
//!
//! ```text
//! header  magic, version, flags, width, height, quality, model id
//! check   CRC-32 of the header, all symbols and alpha, 4 bytes, little-endian
//! chunks  type: 1 byte, length: varint, payload; to the end of the file
//! ```

mod bytes;
mod header;
mod metadata;

use bytes::{Reader, chunk_length, push_chunk, push_varint};
pub use header::{Colour, Header, MAGIC, VERSION};
use metadata::MetadataChunks;
pub use metadata::{Cicp, Metadata};

use crate::error::{Error, Result};

/// The chunk that holds the streams of all tiles.
const LATENTS: u8 = 1;
/// The chunk of the alpha plane.
const ALPHA: u8 = 2;

/// A file taken apart.
#[derive(Debug, Clone)]
pub struct Container<'a> {
    /// The fixed fields.
    pub header: Header,
    /// The checksum of the header, all symbols and alpha that the file promises.
    pub checksum: u32,
    /// The payload of the latents' chunk, see [`split_streams`].
    pub latents: &'a [u8],
    /// The payload of the alpha chunk, where the header says that there is one.
    pub alpha: Option<&'a [u8]>,
    metadata: MetadataChunks<'a>,
    header_bytes: &'a [u8],
}

impl<'a> Container<'a> {
    /// Takes a file apart. Allocates nothing.
    pub fn read(bytes: &'a [u8]) -> Result<Container<'a>> {
        let mut reader = Reader::new(bytes);
        let header = Header::read(&mut reader)?;
        let header_bytes = &bytes[..bytes.len() - reader.remaining()];
        let checksum = u32::from_le_bytes(reader.array()?);
        let (mut latents, mut alpha) = (None, None);
        let mut metadata = MetadataChunks::default();
        while !reader.is_empty() {
            let whole = reader.rest();
            let kind = reader.u8()?;
            let length = reader.varint()?;
            let payload = reader.take(length as usize)?;
            let slot = match kind {
                LATENTS => &mut latents,
                ALPHA => &mut alpha,
                _ => {
                    metadata.add(kind, payload, &whole[..whole.len() - reader.remaining()])?;
                    continue;
                }
            };
            if slot.replace(payload).is_some() {
                return Err(Error::Format(format!("two chunks of type {kind}")));
            }
        }
        let latents = latents.ok_or_else(|| Error::Format("no chunk of latents".into()))?;
        if alpha.is_some() != header.alpha {
            let what = if header.alpha { "no alpha plane, though" } else { "an alpha plane, but no" };
            return Err(Error::Format(format!("{what} its flag is set")));
        }
        metadata.verify()?;
        Ok(Container { header, checksum, latents, alpha, metadata, header_bytes })
    }

    /// The checksum of the header, to be continued with the symbols, then with
    /// alpha.
    pub fn hasher(&self) -> crc32fast::Hasher {
        hasher(self.header_bytes)
    }

    /// Bytes of all metadata.
    pub fn metadata_size(&self) -> usize {
        self.metadata.size()
    }

    /// The metadata, copied.
    pub fn metadata(&self) -> Result<Metadata> {
        self.metadata.to_metadata()
    }
}

/// Puts a file together. `streams` are those of the tiles, `symbols` the
/// checksums of their symbols, `alpha` the payload of its chunk.
pub fn write(
    header: &Header,
    streams: &[Vec<u8>],
    symbols: &[crc32fast::Hasher],
    alpha: Option<&[u8]>,
    metadata: &Metadata,
) -> Result<Vec<u8>> {
    let mut out = header.write();
    let mut checksum = hasher(&out);
    symbols.iter().for_each(|tile| checksum.combine(tile));
    checksum.update(alpha.unwrap_or_default());
    out.extend(checksum.finalize().to_le_bytes());
    out.extend(metadata.write()?);
    if let Some(alpha) = alpha {
        push_chunk(&mut out, ALPHA, alpha)?;
    }
    push_chunk(&mut out, LATENTS, &join_streams(streams)?)?;
    Ok(out)
}

/// What [`split_streams`] takes apart.
pub fn join_streams(streams: &[Vec<u8>]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    if streams.len() > 1 {
        for stream in streams {
            push_varint(&mut out, chunk_length(stream.len())?);
        }
    }
    streams.iter().for_each(|stream| out.extend(stream));
    Ok(out)
}

/// The `count` streams of all tiles and lanes in the payload of a latents' chunk: one takes
/// all of it, more than one are preceded by the list of their lengths.
pub fn split_streams(payload: &[u8], count: usize) -> Result<Vec<&[u8]>> {
    if count == 1 {
        return Ok(vec![payload]);
    }
    if count > payload.len() {
        return Err(Error::Format(format!("{count} streams in {} bytes", payload.len())));
    }
    let mut reader = Reader::new(payload);
    let lengths = (0..count).map(|_| reader.varint()).collect::<Result<Vec<u32>>>()?;
    let streams = lengths.iter().map(|&length| reader.take(length as usize)).collect::<Result<_>>()?;
    if !reader.is_empty() {
        return Err(Error::Format(format!("{} bytes after the last stream", reader.remaining())));
    }
    Ok(streams)
}

fn hasher(header: &[u8]) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher
}

#[cfg(test)]
mod tests;
