//! JPEG by libjpeg-turbo: progressive, optimised Huffman tables, 4:2:0, which
//! for its quantisation tables beats 4:4:4 over most rates.

use super::{Peer, Program};
use crate::eval::contender::Pixels;

pub const PEER: Peer = Peer {
    name: "libjpeg-turbo",
    about: "JPEG, progressive, 4:2:0",
    package: "libjpeg-turbo-progs",
    encoder: Program {
        names: &["cjpeg"],
        arguments: &[
            "-quality",
            "{q}",
            "-progressive",
            "-optimize",
            "-sample",
            "2x2",
            "-outfile",
            "{out}",
            "{in}",
        ],
        one_thread: &[],
        all_threads: &[],
    },
    decoder: Program {
        names: &["djpeg"],
        arguments: &["-pnm", "-outfile", "{out}", "{in}"],
        one_thread: &[],
        all_threads: &[],
    },
    version: (&["-version"], "libjpeg-turbo version "),
    extension: "jpg",
    pixels: [Pixels::Pnm, Pixels::Pnm],
    settings: &[5.0, 10.0, 20.0, 35.0, 55.0, 75.0, 88.0, 95.0],
    bounds: (1.0, 100.0),
    whole: true,
};
