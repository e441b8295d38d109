//! Shows a picture in a terminal: any format of the image crate, and `.aec`.
//!
//! ```text
//! cargo run --release --example view -- picture.aec [COLUMNS]
//! ```

use std::error::Error;
use std::fmt::Write as _;

use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageReader};

fn main() -> Result<(), Box<dyn Error>> {
    aecodec::register_image_hooks();
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: view PICTURE [COLUMNS]")?;
    let columns = args.next().map_or(Ok(80), |text| text.parse())?;

    let mut decoder = ImageReader::open(&path)?.with_guessed_format()?.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);

    // A character is about twice as high as wide, and shows two pixels: the
    // upper as its colour, the lower as its background.
    let small = picture.resize(columns, u32::MAX, FilterType::Triangle).to_rgba8();
    let mut screen = String::new();
    for y in (0..small.height()).step_by(2) {
        for x in 0..small.width() {
            let pixel = |y: u32| {
                let [r, g, b, a] = small.get_pixel_checked(x, y).map_or([0; 4], |pixel| pixel.0);
                [r, g, b].map(|v| u16::from(v) * u16::from(a) / 255)
            };
            let ([r, g, b], [s, h, c]) = (pixel(y), pixel(y + 1));
            write!(screen, "\x1b[38;2;{r};{g};{b}m\x1b[48;2;{s};{h};{c}m\u{2580}")?;
        }
        screen += "\x1b[0m\n";
    }
    print!("{screen}");
    println!("{path}: {}x{} {:?}", picture.width(), picture.height(), picture.color());
    Ok(())
}
