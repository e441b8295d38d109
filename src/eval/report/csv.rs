//! One line for each measurement.

use std::fmt::Write as _;

use crate::eval::run::Run;

const COLUMNS: &str =
    "codec,setting,image,width,height,bytes,bpp,psnr_rgb,psnr_y,ms_ssim,ssimulacra2,butteraugli,error_bits";

/// The points of a run.
pub fn csv(run: &Run) -> String {
    let mut out = format!("{COLUMNS}\n");
    for point in &run.points {
        let (codec, picture, scores) =
            (&run.codecs[point.codec], &run.pictures[point.picture], &point.scores);
        let _ = write!(
            out,
            "{},{},{},{},{},{},{:.6}",
            field(&codec.name),
            point.setting,
            field(&picture.name),
            picture.width,
            picture.height,
            point.bytes,
            run.bpp(point)
        );
        // Equal pictures have an infinite PSNR; what is not defined stays empty.
        for psnr in [scores.psnr_rgb, scores.psnr_y] {
            let _ = write!(out, ",{}", psnr.unwrap_or(f64::INFINITY));
        }
        for value in [scores.ms_ssim, scores.ssimulacra2, scores.butteraugli] {
            let _ = write!(out, ",{}", value.map(|value| value.to_string()).unwrap_or_default());
        }
        let _ = writeln!(out, ",{}", scores.error_bits);
    }
    out
}

fn field(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_commas_are_quoted() {
        assert_eq!(field("a, \"b\""), "\"a, \"\"b\"\"\"");
        assert_eq!(field("kodim01"), "kodim01");
    }
}
