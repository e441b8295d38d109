//! AVIF by libavif and libaom: speed 6, 4:4:4 at 10 bits, tuned for PSNR; the
//! setting is AV1's constant-quality level.

use super::{Peer, Program};
use crate::eval::contender::Pixels;

pub const PEER: Peer = Peer {
    name: "avif",
    about: "AVIF, libaom speed 6, 4:4:4 10-bit",
    package: "libavif-bin",
    encoder: Program {
        names: &["avifenc"],
        arguments: &[
            "-s",
            "6",
            "{threads}",
            "-y",
            "444",
            "-d",
            "10",
            "-c",
            "aom",
            "--min",
            "0",
            "--max",
            "63",
            "-a",
            "end-usage=q",
            "-a",
            "cq-level={q}",
            "-a",
            "tune=psnr",
            "-a",
            "deltaq-mode=0",
            "{in}",
            "{out}",
        ],
        one_thread: &["-j", "1"],
        all_threads: &["-j", "all"],
    },
    decoder: Program {
        names: &["avifdec"],
        arguments: &["{threads}", "-d", "8", "--png-compress", "0", "{in}", "{out}"],
        one_thread: &["-j", "1"],
        all_threads: &["-j", "all"],
    },
    version: (&["--version"], "Version: "),
    extension: "avif",
    pixels: [Pixels::Png, Pixels::Png],
    settings: &[62.0, 57.0, 49.0, 40.0, 31.0, 22.0, 10.0],
    bounds: (63.0, 0.0),
    whole: true,
};
