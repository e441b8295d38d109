//! JPEG by mozjpeg, which optimises scans and coefficients: 4:4:4, tuned for PSNR.

use super::{Peer, Program};
use crate::eval::contender::Pixels;

pub const PEER: Peer = Peer {
    name: "mozjpeg",
    about: "JPEG, trellis quantisation, 4:4:4",
    package: "none; build mozjpeg and put its cjpeg first on PATH",
    encoder: Program {
        names: &["mozjpeg-cjpeg", "cjpeg"],
        arguments: &["-quality", "{q}", "-sample", "1x1", "-tune-psnr", "-outfile", "{out}", "{in}"],
        one_thread: &[],
        all_threads: &[],
    },
    decoder: Program {
        names: &["djpeg"],
        arguments: &["-pnm", "-outfile", "{out}", "{in}"],
        one_thread: &[],
        all_threads: &[],
    },
    version: (&["-version"], "mozjpeg version "),
    extension: "jpg",
    pixels: [Pixels::Pnm, Pixels::Pnm],
    settings: &[5.0, 10.0, 20.0, 35.0, 55.0, 75.0, 88.0, 94.0],
    bounds: (1.0, 100.0),
    whole: true,
};
