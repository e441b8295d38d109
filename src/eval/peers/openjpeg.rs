//! JPEG 2000 by OpenJPEG: one quality layer, the rate set by `-r`.

use super::{Peer, Program};
use crate::eval::contender::Pixels;

/// The irreversible 9/7 wavelet with the colour transform (`-I`), the stronger
/// of the two.
pub const IRREVERSIBLE: Peer = Peer {
    name: "openjpeg",
    about: "JPEG 2000, irreversible 9/7 wavelet",
    encoder: encoder(&["-i", "{in}", "-o", "{out}", "-I", "-r", "{q}", "{threads}"]),
    ..REVERSIBLE
};

/// The reversible 5/3 wavelet, which the program uses unless told otherwise.
pub const REVERSIBLE: Peer = Peer {
    name: "openjpeg-53",
    about: "JPEG 2000, reversible 5/3 wavelet",
    package: "libopenjp2-tools",
    encoder: encoder(&["-i", "{in}", "-o", "{out}", "-r", "{q}", "{threads}"]),
    decoder: Program {
        names: &["opj_decompress"],
        arguments: &["-i", "{in}", "-o", "{out}", "{threads}"],
        one_thread: &[],
        all_threads: &["-threads", "ALL_CPUS"],
    },
    version: (&["-h"], "openjp2 library v"),
    extension: "j2k",
    pixels: [Pixels::Pnm, Pixels::Pnm],
    // Compression ratios: from 0.05 to 2.5 bits per pixel of an RGB picture.
    settings: &[480.0, 240.0, 120.0, 60.0, 34.3, 24.0, 15.0, 9.6],
    bounds: (2000.0, 3.0),
    whole: false,
};

const fn encoder(arguments: &'static [&'static str]) -> Program {
    Program { names: &["opj_compress"], arguments, one_thread: &[], all_threads: &["-threads", "ALL_CPUS"] }
}
