//! Taking files apart: fields, chunks, streams, metadata.
#![no_main]

#[path = "../support/mutator.rs"]
mod mutator;

use aecodec::container::{Container, split_streams, write};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutator::mutate(data, size, max_size, seed)
});

fuzz_target!(|data: &[u8]| {
    let _ = aecodec::probe(data);
    let Ok(container) = Container::read(data) else { return };
    for count in [1, 2, 7] {
        if let Ok(streams) = split_streams(container.latents, count) {
            assert_eq!(streams.len(), count);
        }
    }
    // What was understood can be written, and means the same again.
    let Ok(metadata) = container.metadata() else { return };
    let streams = [container.latents.to_vec()];
    let bytes = write(&container.header, &streams, &[], container.alpha, &metadata).unwrap();
    let again = Container::read(&bytes).unwrap();
    assert_eq!(again.header, container.header);
    assert_eq!((again.latents, again.alpha), (container.latents, container.alpha));
    assert_eq!(again.metadata().unwrap(), metadata);
});
