use super::*;
use crate::model::{ModelId, QualityIndex};

const HEADER: Header = Header {
    width: 70_000,
    height: 3,
    colour: Colour::Grey8,
    alpha: false,
    filtered: false,
    in_lanes: true,
    quality: QualityIndex(200),
    model: ModelId([1, 2, 3, 4]),
};

/// A file of one stream.
fn file(stream: &[u8]) -> Vec<u8> {
    write(&HEADER, &[stream.to_vec()], &[crc32fast::Hasher::new()], None, &Metadata::default()).unwrap()
}

#[test]
fn fields_and_streams_survive() {
    for streams in [vec![vec![]], vec![vec![1, 2, 3]], vec![vec![1; 300], vec![], vec![2; 5]]] {
        let symbols = vec![crc32fast::Hasher::new(); streams.len()];
        let bytes = write(&HEADER, &streams, &symbols, None, &Metadata::default()).unwrap();
        let container = Container::read(&bytes).unwrap();
        assert_eq!(container.header, HEADER);
        assert_eq!(container.checksum, container.hasher().finalize());
        assert_eq!(split_streams(container.latents, streams.len()).unwrap(), streams);
    }
}

#[test]
fn unknown_chunks_are_skipped() {
    let bytes = file(&[7, 8, 9]);
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
        let mut bytes = file(&[]);
        bytes[position] = value;
        match Container::read(&bytes) {
            Err(Error::Unsupported(message)) => message,
            other => panic!("{other:?}"),
        }
    };
    assert!(message(4, 2).contains("version 2"));
    assert!(message(5, 0b1000000).contains("0b01000000"));
    assert!(message(5, 3).contains("colour type 3"));
}

#[test]
fn files_that_do_not_add_up_are_damaged() {
    let damaged =
        |bytes: &[u8]| assert!(matches!(Container::read(bytes), Err(Error::Format(_))), "{bytes:?}");
    let bytes = file(&[7, 8, 9]);
    for length in 0..bytes.len() {
        damaged(&bytes[..length]);
    }
    let latents = &bytes[HEADER.write().len() + 4..];
    damaged(&[&bytes, latents].concat());
    damaged(&write(&Header { width: 0, ..HEADER }, &[vec![]], &[], None, &Metadata::default()).unwrap());
    for payload in [&[][..], &[0], &[1, 1, 5], &[1, 1, 5, 5, 5], &[0xff, 0xff, 0xff, 0xff, 0x0f]] {
        assert!(matches!(split_streams(payload, 2), Err(Error::Format(_))), "{payload:?}");
    }
    assert!(matches!(split_streams(&[0; 100], usize::MAX), Err(Error::Format(_))));
}

#[test]
fn pixel_types_survive() {
    for colour in [Colour::Rgb8, Colour::Grey8, Colour::Rgb16, Colour::Grey16] {
        for alpha in [None, Some(&b"alpha"[..])] {
            let header = Header { colour, alpha: alpha.is_some(), filtered: alpha.is_some(), ..HEADER };
            let bytes = write(&header, &[vec![1]], &[], alpha, &Metadata::default()).unwrap();
            let container = Container::read(&bytes).unwrap();
            assert_eq!((container.header, container.alpha), (header, alpha));
            let mut hasher = container.hasher();
            hasher.update(alpha.unwrap_or_default());
            assert_eq!(container.checksum, hasher.finalize());
        }
    }
}

#[test]
fn alpha_and_its_flag_belong_together() {
    for (flag, alpha) in [(true, None), (false, Some(&b"alpha"[..]))] {
        let header = Header { alpha: flag, ..HEADER };
        let bytes = write(&header, &[vec![1]], &[], alpha, &Metadata::default()).unwrap();
        let error = Container::read(&bytes).unwrap_err().to_string();
        assert!(error.contains("alpha plane"), "{error}");
    }
}

/// Metadata of every kind.
fn everything() -> Metadata {
    Metadata {
        cicp: Some(Cicp { primaries: 12, transfer: 13, matrix: 0, full_range: true }),
        orientation: image::metadata::Orientation::Rotate90,
        icc: Some(b"profile".to_vec()),
        exif: Some(vec![]),
        xmp: Some(vec![b'x'; 200]),
    }
}

#[test]
fn metadata_survives() {
    for metadata in [
        Metadata::default(),
        everything(),
        Metadata { icc: None, xmp: None, cicp: None, ..everything() },
        Metadata { orientation: image::metadata::Orientation::NoTransforms, ..everything() },
    ] {
        let bytes = write(&HEADER, &[vec![1]], &[], None, &metadata).unwrap();
        assert_eq!(Container::read(&bytes).unwrap().metadata().unwrap(), metadata);
        assert_eq!(metadata.is_empty(), bytes.len() == file(&[1]).len());
    }
}

#[test]
fn damaged_metadata_is_an_error() {
    let bytes = write(&HEADER, &[vec![1, 2, 3]], &[], None, &everything()).unwrap();
    let start = HEADER.write().len() + 4;
    let end = bytes.len() - 5; // the chunk of latents
    for bit in 8 * start..8 * end {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let result = Container::read(&damaged);
        assert!(matches!(result, Err(Error::Format(_))), "bit {bit}: {result:?}");
    }
}

#[test]
fn metadata_that_means_nothing_is_an_error() {
    for (kind, payload) in [(3, &[1, 13, 0, 2][..]), (3, &[1]), (4, &[0]), (4, &[9]), (4, &[1, 1])] {
        let mut chunks = Vec::new();
        push_chunk(&mut chunks, kind, payload).unwrap();
        let check = crc32fast::hash(&chunks).to_le_bytes();
        push_chunk(&mut chunks, 8, &check).unwrap();
        let bytes = [file(&[1]), chunks].concat();
        let result = Container::read(&bytes).unwrap().metadata();
        assert!(matches!(result, Err(Error::Format(_))), "{kind} {payload:?}: {result:?}");
    }
}
