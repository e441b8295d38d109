//! The symbol coder: any stream decodes to something, and what was decoded
//! comes back from what it is coded to.
#![no_main]

use std::sync::LazyLock;

use aecodec::entropy::{LatentReader, LatentWriter, ScaleTables};
use libfuzzer_sys::fuzz_target;

static TABLES: LazyLock<ScaleTables> = LazyLock::new(ScaleTables::logistic);

fuzz_target!(|data: &[u8]| {
    // The first bytes say how many symbols there are and under which bins.
    let Some((&[count, step, start], stream)) = data.split_first_chunk() else { return };
    let bins = (0..usize::from(count)).map(|i| ((usize::from(start) + i * usize::from(step)) % 96) as u8);
    let Ok(mut reader) = LatentReader::new(&TABLES, stream) else { return };
    let symbols: Vec<(u8, i16)> = bins.map(|bin| (bin, reader.read(bin))).collect();
    let decoded = reader.finish();

    let mut writer = LatentWriter::new(&TABLES);
    symbols.iter().filter(|(bin, _)| *bin > 0).for_each(|&(bin, symbol)| writer.write(bin, symbol));
    let (coded, checksum) = writer.finish();
    let mut reader = LatentReader::new(&TABLES, &coded).unwrap();
    for &(bin, symbol) in &symbols {
        assert_eq!(reader.read(bin), symbol, "bin {bin}");
    }
    assert_eq!(reader.finish().unwrap().finalize(), checksum.clone().finalize());
    // A stream that was taken is the one that its symbols are coded to.
    if let Ok(decoded) = decoded {
        assert_eq!(decoded.finalize(), checksum.finalize());
    }
});
