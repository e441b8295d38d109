//! The `.aec` file: bytes in, fields and payloads out. What the payloads mean is
//! not known here. `docs/format.md` is the specification.
//!
//! ```text
//! header  magic, version, flags, width, height, quality, model id
//! check   CRC-32 of the header and of all symbols, 4 bytes, little-endian
//! chunks  type: 1 byte, length: varint, payload; to the end of the file
//! ```

mod bytes;
mod header;

use bytes::{Reader, push_varint};
pub use header::{Colour, Header, MAGIC, VERSION};

use crate::error::{Error, Result};

/// The chunk that holds the streams of all tiles.
const LATENTS: u8 = 1;

/// A file taken apart.
#[derive(Debug, Clone)]
pub struct Container<'a> {
    /// The fixed fields.
    pub header: Header,
    /// The checksum of the header and all symbols that the file promises.
    pub checksum: u32,
    /// The payload of the latents' chunk, see [`split_streams`].
    pub latents: &'a [u8],
    header_bytes: &'a [u8],
}

impl<'a> Container<'a> {
    /// Takes a file apart. Allocates nothing.
    pub fn read(bytes: &'a [u8]) -> Result<Container<'a>> {
        let mut reader = Reader::new(bytes);
        let header = Header::read(&mut reader)?;
        let header_bytes = &bytes[..bytes.len() - reader.remaining()];
        let checksum = u32::from_le_bytes(reader.array()?);
        let mut latents = None;
        while !reader.is_empty() {
            let kind = reader.u8()?;
            let length = reader.varint()?;
            let payload = reader.take(length as usize)?;
            if kind == LATENTS && latents.replace(payload).is_some() {
                return Err(Error::Format("two chunks of latents".into()));
            }
        }
        let latents = latents.ok_or_else(|| Error::Format("no chunk of latents".into()))?;
        Ok(Container { header, checksum, latents, header_bytes })
    }

    /// The checksum of the header, to be continued with the symbols.
    pub fn hasher(&self) -> crc32fast::Hasher {
        hasher(self.header_bytes)
    }
}

/// Puts a file together. `streams` are those of the tiles, `symbols` the
/// checksums of their symbols.
pub fn write(header: &Header, streams: &[Vec<u8>], symbols: &[crc32fast::Hasher]) -> Result<Vec<u8>> {
    let mut out = header.write();
    let mut checksum = hasher(&out);
    symbols.iter().for_each(|tile| checksum.combine(tile));
    out.extend(checksum.finalize().to_le_bytes());

    let mut lengths = Vec::new();
    if streams.len() > 1 {
        for stream in streams {
            push_varint(&mut lengths, chunk_length(stream.len())?);
        }
    }
    let length = lengths.len() + streams.iter().map(Vec::len).sum::<usize>();
    out.push(LATENTS);
    push_varint(&mut out, chunk_length(length)?);
    out.extend(lengths);
    streams.iter().for_each(|stream| out.extend(stream));
    Ok(out)
}

/// The streams of `count` tiles in the payload of a latents' chunk: one takes
/// all of it, more than one are preceded by the list of their lengths.
pub fn split_streams(payload: &[u8], count: usize) -> Result<Vec<&[u8]>> {
    if count == 1 {
        return Ok(vec![payload]);
    }
    if count > payload.len() {
        return Err(Error::Format(format!("{count} tiles in {} bytes", payload.len())));
    }
    let mut reader = Reader::new(payload);
    let lengths = (0..count).map(|_| reader.varint()).collect::<Result<Vec<u32>>>()?;
    let streams = lengths.iter().map(|&length| reader.take(length as usize)).collect::<Result<_>>()?;
    if !reader.is_empty() {
        return Err(Error::Format(format!("{} bytes after the last tile", reader.remaining())));
    }
    Ok(streams)
}

fn hasher(header: &[u8]) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher
}

fn chunk_length(length: usize) -> Result<u32> {
    u32::try_from(length)
        .map_err(|_| Error::Limits(format!("a chunk of {length} bytes, the format's limit is 2^32")))
}

#[cfg(test)]
mod tests;
