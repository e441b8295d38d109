use proptest::prelude::*;

use super::*;
use crate::Error;
use crate::model::trellis::{DEPENDENT_32, DEPENDENT_256, SCALAR, State};

fn round_trip(tables: &ScaleTables, symbols: &[(u8, i16)]) -> Vec<u8> {
    let mut writer = LatentWriter::new(tables, 1);
    for &(bin, symbol) in symbols {
        writer.write(0, bin, symbol);
    }
    let (lanes, written) = writer.finish();
    let [bytes] = lanes.try_into().unwrap();
    let mut reader = LatentReader::new(tables, &[&bytes]).unwrap();
    for &(bin, symbol) in symbols {
        assert_eq!(reader.read(bin), symbol);
    }
    assert_eq!(reader.finish().unwrap().finalize(), written.finalize());
    bytes
}

#[test]
fn extremes_survive_in_every_bin() {
    let tables = ScaleTables::logistic();
    let extremes = [0, 1, -1, 300, -300, 4095, -4096, i16::MAX, -i16::MAX, i16::MIN];
    let symbols: Vec<_> = (1..BINS as u8).flat_map(|bin| extremes.map(|symbol| (bin, symbol))).collect();
    round_trip(&tables, &symbols);
}

#[test]
fn zeros_of_bin_0_cost_nothing() {
    assert!(round_trip(&ScaleTables::logistic(), &[(0, 0); 1000]).is_empty());
}

#[test]
fn streams_are_as_long_as_their_symbols_cost() {
    let tables = ScaleTables::logistic();
    let mut state = 1u32;
    let symbols: Vec<(u8, i16)> = (0..50_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let bin = 1 + (state >> 8) % (BINS as u32 - 1);
            // Symbols near the bin's scale, both signs.
            let scale = 1 << (bin / 8).saturating_sub(4);
            (bin as u8, ((state >> 16) as i32 % (2 * scale + 1) - scale) as i16)
        })
        .collect();
    let bytes = round_trip(&tables, &symbols).len() as f64;
    let expected = symbols.iter().map(|&(bin, symbol)| tables.cost(bin, symbol)).sum::<f64>() / 8.0;
    assert!((bytes / expected - 1.0).abs() < 0.004, "{bytes} bytes, {expected} expected");
}

/// Section 6 of docs/format.md, word by word.
struct Naive<'a> {
    words: Vec<u16>,
    state: u32,
    tables: &'a ScaleTables,
}

impl<'a> Naive<'a> {
    fn new(tables: &'a ScaleTables, bytes: &[u8]) -> Self {
        let mut bytes = bytes.to_vec();
        if bytes.len() % 2 == 1 {
            bytes.push(0);
        }
        let words = bytes.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let mut naive = Naive { words, state: 0, tables };
        naive.refill();
        naive.refill();
        naive
    }

    fn refill(&mut self) {
        if let Some(word) = self.words.pop() {
            self.state = self.state << 16 | u32::from(word);
        }
    }

    fn decode(&mut self, widths: &[u32]) -> usize {
        let q = self.state & 0xffff;
        let (mut index, mut start) = (0, 0);
        while start + widths[index] <= q {
            start += widths[index];
            index += 1;
        }
        self.state = (self.state >> 16) * widths[index] + (q - start);
        if self.state < 1 << 16 {
            self.refill();
        }
        index
    }

    fn raw(&mut self, bits: u32) -> i32 {
        if bits == 0 { 0 } else { self.decode(&vec![1 << (16 - bits); 1 << bits]) as i32 }
    }

    fn symbol(&mut self, bin: u8) -> i32 {
        let table = self.tables.bins()[usize::from(bin)].clone();
        let widths: Vec<u32> = table.frequencies.iter().map(|&f| f.into()).collect();
        let (first, n) = (i32::from(table.first), widths.len() as i32);
        let entry = self.decode(&widths) as i32;
        let cell = if entry < n - 1 {
            first + entry
        } else {
            let mut b = 0;
            while self.raw(1) == 1 {
                b += 1;
            }
            let u = (1 << b) + self.raw(b) - 1;
            if u % 2 == 0 { first + n - 1 + u / 2 } else { first - 1 - (u - 1) / 2 }
        };
        (cell << table.low_bits) + self.raw(table.low_bits.into())
    }
}

#[test]
fn streams_are_what_the_format_document_says() {
    let tables = ScaleTables::logistic();
    let symbols: Vec<(u8, i16)> = (1..BINS as u8)
        .flat_map(|bin| [0, 1, -1, 9, -200, i16::MAX, i16::MIN].map(|symbol| (bin, symbol)))
        .collect();
    for count in [0, 1, 2, 5, 50, symbols.len()] {
        let bytes = round_trip(&tables, &symbols[..count]);
        let mut naive = Naive::new(&tables, &bytes);
        for &(bin, symbol) in &symbols[..count] {
            assert_eq!(naive.symbol(bin), i32::from(symbol));
        }
        assert_eq!((naive.state, naive.words.len()), (0, 0));
    }
}

#[test]
fn surplus_bytes_are_an_error() {
    let tables = ScaleTables::logistic();
    let mut writer = LatentWriter::new(&tables, 1);
    writer.write(0, 40, 3);
    let mut bytes = writer.finish().0.remove(0);
    bytes.extend([1, 2, 3, 4]);
    let mut reader = LatentReader::new(&tables, &[&bytes]).unwrap();
    reader.read(40);
    assert!(matches!(reader.finish(), Err(Error::Format(_))));
    assert!(matches!(LatentReader::new(&tables, &[&[1, 2, 0, 0]]), Err(Error::Format(_))));
}

#[test]
fn unsound_tables_are_refused() {
    let spoil = |change: fn(&mut Vec<BinTable>)| {
        let mut bins = ScaleTables::logistic().bins().to_vec();
        change(&mut bins);
        assert!(matches!(ScaleTables::new(bins), Err(Error::Model(_))));
    };
    spoil(|bins| drop(bins.pop()));
    spoil(|bins| bins[0] = bins[1].clone());
    spoil(|bins| bins[5] = BinTable::default());
    spoil(|bins| bins[5].frequencies[0] = 0);
    spoil(|bins| bins[5].frequencies[0] += 1);
    spoil(|bins| bins[5].first = 1);
    spoil(|bins| bins[5].first = -1000);
    spoil(|bins| bins[5].low_bits = 17);
    spoil(|bins| bins[5].frequencies = vec![256; 256]);
}

#[test]
fn scales_fall_into_eighths_of_octaves() {
    assert_eq!(scale_bin(0, bin_start(0)), 32);
    assert_eq!(scale_bin(1024, bin_start(1024)), 32);
    assert_eq!(scale_bin(63, bin_start(0)), 32);
    assert_eq!(scale_bin(64, bin_start(0)), 33);
    assert_eq!(scale_bin(-4096, bin_start(0)), 0);
    assert_eq!(scale_bin(i16::MIN, bin_start(14 << 10)), 0);
    assert_eq!(scale_bin(i16::MAX, bin_start(-8 << 10)), 95);
}

proptest! {
    #[test]
    fn any_symbols_survive(symbols in prop::collection::vec((1..BINS as u8, any::<i16>()), 0..200)) {
        round_trip(&ScaleTables::logistic(), &symbols);
    }

    #[test]
    fn rows_survive_in_lanes(
        rows in prop::collection::vec(prop::collection::vec((1..BINS as u8, any::<i16>(), 0..16u32), 0..40), 0..8),
        lanes in prop::sample::select(vec![1, LANES]),
        trellis in prop::sample::select(vec![SCALAR, DEPENDENT_32, DEPENDENT_256]),
    ) {
        let tables = ScaleTables::dependent();
        let mut writer = LatentWriter::new(&tables, lanes);
        writer.write(0, 50, -7);
        let mut states = vec![State::start(trellis); lanes];
        let mut expected = Vec::new();
        for row in &rows {
            let coded = row.iter().enumerate().map(|(number, &(bin, symbol, shift))| {
                let (lane, symbol) = (number % lanes, symbol >> shift);
                writer.write(lane as u8, bin + states[lane].quantiser() * BINS as u8, symbol);
                states[lane].advance(symbol)
            });
            expected.push(coded.collect::<Vec<i32>>());
        }
        let (streams, written) = writer.finish();
        let streams: Vec<&[u8]> = streams.iter().map(Vec::as_slice).collect();
        let mut reader = LatentReader::new(&tables, &streams).unwrap();
        prop_assert_eq!(reader.read(50), -7);
        let mut states = vec![State::start(trellis); lanes];
        for (row, expected) in rows.iter().zip(&expected) {
            let bins: Vec<u8> = row.iter().map(|&(bin, ..)| bin).collect();
            let mut values = vec![0; bins.len()];
            reader.read_row(&mut states, &bins, &mut values);
            prop_assert_eq!(&values, expected);
        }
        prop_assert_eq!(reader.finish().unwrap().finalize(), written.finalize());
    }

    #[test]
    fn any_bytes_are_read_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        cut in 0..60usize,
        bins in prop::collection::vec(1..BINS as u8, 0..100),
    ) {
        let tables = ScaleTables::dependent();
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        for streams in [&[&bytes[..]][..], &[first, second]] {
            if let Ok(mut reader) = LatentReader::new(&tables, streams) {
                for &bin in &bins {
                    reader.read(bin);
                }
                let mut states = vec![State::start(DEPENDENT_256); streams.len()];
                reader.read_row(&mut states, &bins, &mut vec![0; bins.len()]);
                let _ = reader.finish();
            }
        }
    }
}
