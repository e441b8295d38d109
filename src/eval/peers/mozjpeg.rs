//! JPEG by mozjpeg, which optimises scans and coefficients: 4:4:4, tuned for PSNR.
//! Its programs take what libjpeg-turbo's do.

use super::{Peer, Program, libjpeg_turbo};

pub const PEER: Peer = Peer {
    name: "mozjpeg",
    about: "JPEG, trellis quantisation, 4:4:4",
    package: "none; build mozjpeg and put its cjpeg first on PATH",
    encoder: Program {
        names: &["mozjpeg-cjpeg", "cjpeg"],
        arguments: &["-quality", "{q}", "-sample", "1x1", "-tune-psnr", "-outfile", "{out}", "{in}"],
        ..libjpeg_turbo::PEER.encoder
    },
    version: (&["-version"], "mozjpeg version "),
    settings: &[5.0, 10.0, 20.0, 35.0, 55.0, 75.0, 88.0, 94.0],
    ..libjpeg_turbo::PEER
};
