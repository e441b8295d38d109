//! Mutation that knows the format: it takes a file apart into fields and chunks,
//! changes one of them, and puts it together again with lengths and checks that
//! fit. What does not parse is left to the fuzzer's own mutations.

use libfuzzer_sys::fuzzer_mutate;

/// Bytes before the width.
const PREFIX: usize = 6;
/// The chunk with the check of all metadata.
const CHECK: u8 = 8;

struct File {
    prefix: [u8; PREFIX],
    sides: [u32; 2],
    /// Quality, model and checksum.
    rest: [u8; 9],
    chunks: Vec<(u8, Vec<u8>)>,
}

/// Changes `data[..size]`, at most to `max_size` bytes; returns the new size.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random(u64::from(seed) * 2 + 1);
    let parsed = (random.below(8) > 0).then(|| File::read(&data[..size])).flatten();
    let Some(mut file) = parsed else { return fuzzer_mutate(data, size, max_size) };
    file.change(&mut random, max_size);
    let bytes = file.write();
    if bytes.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
}

impl File {
    fn read(mut bytes: &[u8]) -> Option<File> {
        let prefix = take(&mut bytes)?;
        let sides = [varint(&mut bytes)?, varint(&mut bytes)?];
        let rest = take(&mut bytes)?;
        let mut chunks = Vec::new();
        while !bytes.is_empty() {
            let [kind] = take(&mut bytes)?;
            let length = varint(&mut bytes)? as usize;
            let (payload, more) = bytes.split_at_checked(length)?;
            chunks.push((kind, payload.to_vec()));
            bytes = more;
        }
        Some(File { prefix, sides, rest, chunks })
    }

    fn write(&self) -> Vec<u8> {
        let mut out = self.prefix.to_vec();
        self.sides.iter().for_each(|&side| push_varint(&mut out, side));
        out.extend(self.rest);
        let mut check = crc32fast::Hasher::new();
        for (kind, payload) in self.chunks.iter().filter(|(kind, _)| *kind != CHECK) {
            let start = out.len();
            out.push(*kind);
            push_varint(&mut out, payload.len() as u32);
            out.extend(payload);
            if *kind > 2 {
                check.update(&out[start..]);
            }
        }
        if self.chunks.iter().any(|(kind, _)| *kind == CHECK) {
            out.extend([CHECK, 4]);
            out.extend(check.finalize().to_le_bytes());
        }
        out
    }

    fn change(&mut self, random: &mut Random, max_size: usize) {
        match random.below(10) {
            0 => self.prefix[PREFIX - 1] = random.below(64) as u8, // flags
            1 => {
                let side = &mut self.sides[random.below(2)];
                *side = match random.below(4) {
                    0 => random.below(70) as u32 + 1,
                    1 => random.below(3000) as u32 + 1,
                    2 => side.wrapping_add(random.below(33) as u32).wrapping_sub(16),
                    _ => 1 << random.below(32),
                };
            }
            2 => self.rest[0] = random.below(256) as u8, // quality
            3 if !self.chunks.is_empty() => {
                let from = random.below(self.chunks.len());
                let (kind, payload) = self.chunks[from].clone();
                let to = random.below(self.chunks.len());
                match random.below(3) {
                    0 => drop(self.chunks.remove(from)),
                    1 => self.chunks.insert(to, (kind, payload)),
                    _ => self.chunks.swap(from, to),
                }
            }
            4 => self.chunks.push((random.below(10) as u8, vec![random.below(256) as u8; random.below(9)])),
            _ if !self.chunks.is_empty() => {
                let index = random.below(self.chunks.len());
                let payload = &mut self.chunks[index].1;
                let size = payload.len();
                let room = (size + 64).min(max_size.max(size));
                payload.resize(room, 0);
                let new = fuzzer_mutate(payload, size, room);
                payload.truncate(new);
            }
            _ => {}
        }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let [byte] = take(bytes)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value.try_into().ok();
        }
    }
    None
}

fn push_varint(out: &mut Vec<u8>, mut value: u32) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A linear congruential generator.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}
