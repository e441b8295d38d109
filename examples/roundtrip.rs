//! Encodes a picture, decodes it again, and says what that cost.
//!
//! ```text
//! cargo run --release --example roundtrip -- testdata/images/kodim23.png 60
//! ```

use std::error::Error;

use aecodec::{DecodeOptions, EncodeOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: roundtrip PICTURE [QUALITY]")?;
    let quality = args.next().map_or(Ok(50.0), |text| text.parse())?;

    let picture = image::open(&path)?;
    let file = aecodec::encode(&picture, &EncodeOptions { quality, ..EncodeOptions::default() })?;
    let decoded = aecodec::decode(&file, &DecodeOptions::default())?;

    let psnr = aecodec::eval::psnr(&picture, &decoded)?;
    println!("{path}: {} bytes at quality {quality}, PSNR-RGB {:.2} dB", file.len(), psnr.rgb);
    Ok(())
}
