//! JPEG XL by libjxl at its default effort; the setting is its distance.

use super::{Peer, Program};
use crate::eval::contender::Pixels;

pub const PEER: Peer = Peer {
    name: "jpeg-xl",
    about: "JPEG XL, effort 7",
    package: "libjxl-tools",
    encoder: Program {
        names: &["cjxl"],
        arguments: &["{in}", "{out}", "-e", "7", "-d", "{q}", "{threads}"],
        one_thread: &["--num_threads=0"],
        all_threads: &[],
    },
    decoder: Program {
        names: &["djxl"],
        arguments: &["{in}", "{out}", "{threads}"],
        one_thread: &["--num_threads=0"],
        all_threads: &[],
    },
    version: (&["--version"], "cjxl v"),
    extension: "jxl",
    pixels: [Pixels::Pnm, Pixels::Pnm],
    settings: &[15.0, 9.0, 5.0, 3.0, 1.8, 1.0, 0.6],
    bounds: (15.0, 0.1),
    whole: false,
};
