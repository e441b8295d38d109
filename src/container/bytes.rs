//! A cursor over bytes, and variable-length integers.

use crate::error::{Error, Result};

/// Reads from the front of a slice; running out of bytes is an error.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// All bytes that are left, without taking them.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| Error::Format(format!("{count} bytes expected, {} left", self.rest.len())))?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("as many as asked for"))
    }

    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// An integer of 7 bits a byte, the lowest first; the top bit says that more
    /// follow. Only the shortest form of a value is valid.
    pub fn varint(&mut self) -> Result<u32> {
        let mut value = 0u32;
        for shift in (0..u32::BITS).step_by(7) {
            let byte = self.u8()?;
            let bits = u32::from(byte & 0x7f);
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::Format("a number that is too large or not in its shortest form".into()))
    }
}

/// Appends a chunk: its type, its length, its payload.
pub(super) fn push_chunk(out: &mut Vec<u8>, kind: u8, payload: &[u8]) -> Result<()> {
    out.push(kind);
    push_varint(out, chunk_length(payload.len())?);
    out.extend(payload);
    Ok(())
}

/// A length as the format holds it.
pub(super) fn chunk_length(length: usize) -> Result<u32> {
    u32::try_from(length)
        .map_err(|_| Error::Limits(format!("a chunk of {length} bytes, the format's limit is 2^32")))
}

/// Appends what [`Reader::varint`] reads.
pub(super) fn push_varint(out: &mut Vec<u8>, mut value: u32) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_survive() {
        for value in [0, 1, 127, 128, 16383, 16384, 2_097_151, 2_097_152, u32::MAX - 1, u32::MAX] {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, value);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.varint().unwrap(), value);
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn long_and_large_varints_are_errors() {
        for bytes in
            [&[0x80, 0][..], &[0xff, 0xff, 0xff, 0xff, 0x1f], &[0x81, 0x80, 0x80, 0x80, 0x80, 1], &[0x80]]
        {
            assert!(matches!(Reader::new(bytes).varint(), Err(Error::Format(_))), "{bytes:?}");
        }
    }
}
