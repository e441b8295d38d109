//! WebP by libwebp: slowest method, no spatial noise shaping. The format is
//! always 4:2:0.

use super::{Peer, Program};
use crate::eval::contender::Pixels;

pub const PEER: Peer = Peer {
    name: "webp",
    about: "WebP, method 6",
    package: "webp",
    encoder: Program {
        names: &["cwebp"],
        arguments: &["-quiet", "-m", "6", "-sns", "0", "{threads}", "-q", "{q}", "{in}", "-o", "{out}"],
        one_thread: &[],
        all_threads: &["-mt"],
    },
    decoder: Program {
        names: &["dwebp"],
        arguments: &["-quiet", "{threads}", "-ppm", "{in}", "-o", "{out}"],
        one_thread: &[],
        all_threads: &["-mt"],
    },
    version: (&["-version"], ""),
    extension: "webp",
    pixels: [Pixels::Pnm, Pixels::Pnm],
    settings: &[1.0, 10.0, 30.0, 55.0, 75.0, 88.0, 95.0],
    bounds: (0.0, 100.0),
    whole: false,
};
