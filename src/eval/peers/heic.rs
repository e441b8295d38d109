//! HEIC by libheif and x265: slow preset, 4:4:4, tuned for PSNR, chroma
//! quantised more finely by three steps, which PSNR over RGB asks for.

use super::{Peer, Program};
use crate::eval::contender::Pixels;

pub const PEER: Peer = Peer {
    name: "heic",
    about: "HEIC, x265 slow, 4:4:4",
    package: "libheif-examples",
    encoder: Program {
        names: &["heif-enc"],
        arguments: &[
            "-p",
            "chroma=444",
            "-p",
            "preset=slow",
            "-p",
            "tune=psnr",
            "-p",
            "x265:cbqpoffs=-3",
            "-p",
            "x265:crqpoffs=-3",
            "-q",
            "{q}",
            "-o",
            "{out}",
            "{in}",
        ],
        one_thread: &[],
        all_threads: &[],
    },
    decoder: Program {
        names: &["heif-dec", "heif-convert"],
        arguments: &["{in}", "{out}"],
        one_thread: &[],
        all_threads: &[],
    },
    version: (&["-h"], "libheif version: "),
    extension: "heic",
    pixels: [Pixels::Png, Pixels::Png],
    settings: &[2.0, 12.0, 24.0, 36.0, 48.0, 60.0],
    bounds: (0.0, 100.0),
    whole: true,
};
