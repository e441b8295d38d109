use super::*;
use crate::model::{ModelId, QualityIndex};

const HEADER: Header = Header {
    width: 70_000,
    height: 3,
    colour: Colour::Grey8,
    quality: QualityIndex(200),
    model: ModelId([1, 2, 3, 4]),
};

#[test]
fn fields_and_streams_survive() {
    for streams in [vec![vec![]], vec![vec![1, 2, 3]], vec![vec![1; 300], vec![], vec![2; 5]]] {
        let symbols = vec![crc32fast::Hasher::new(); streams.len()];
        let bytes = write(&HEADER, &streams, &symbols).unwrap();
        let container = Container::read(&bytes).unwrap();
        assert_eq!(container.header, HEADER);
        assert_eq!(container.checksum, container.hasher().finalize());
        assert_eq!(split_streams(container.latents, streams.len()).unwrap(), streams);
    }
}

#[test]
fn unknown_chunks_are_skipped() {
    let bytes = write(&HEADER, &[vec![7, 8, 9]], &[crc32fast::Hasher::new()]).unwrap();
    let fields = HEADER.write().len() + 4;
    let mut longer = bytes[..fields].to_vec();
    longer.extend([77, 2, 0xff, 0xff]);
    longer.extend(&bytes[fields..]);
    longer.extend([200, 0]);
    assert_eq!(Container::read(&longer).unwrap().latents, [7, 8, 9]);
}

#[test]
fn the_future_is_unsupported_and_named() {
    let message = |position: usize, value: u8| {
        let mut bytes = write(&HEADER, &[vec![]], &[]).unwrap();
        bytes[position] = value;
        match Container::read(&bytes) {
            Err(Error::Unsupported(message)) => message,
            other => panic!("{other:?}"),
        }
    };
    assert!(message(4, 2).contains("version 2"));
    assert!(message(5, 0b1000).contains("0b00001000"));
    assert!(message(5, 3).contains("colour type 3"));
}

#[test]
fn files_that_do_not_add_up_are_damaged() {
    let damaged =
        |bytes: &[u8]| assert!(matches!(Container::read(bytes), Err(Error::Format(_))), "{bytes:?}");
    let bytes = write(&HEADER, &[vec![7, 8, 9]], &[crc32fast::Hasher::new()]).unwrap();
    for length in 0..bytes.len() {
        damaged(&bytes[..length]);
    }
    let latents = &bytes[HEADER.write().len() + 4..];
    damaged(&[&bytes, latents].concat());
    damaged(&write(&Header { width: 0, ..HEADER }, &[vec![]], &[]).unwrap());
    for payload in [&[][..], &[0], &[1, 1, 5], &[1, 1, 5, 5, 5], &[0xff, 0xff, 0xff, 0xff, 0x0f]] {
        assert!(matches!(split_streams(payload, 2), Err(Error::Format(_))), "{payload:?}");
    }
    assert!(matches!(split_streams(&[0; 100], usize::MAX), Err(Error::Format(_))));
}
