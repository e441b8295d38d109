//! Everything a picture library holds: each file comes back as it was, or is
//! refused with an error that names what is wrong.
//!
//! The files of `testdata/odd` are our own. Those of `../shared/data/odd` are
//! not ours to publish; their table is skipped where the folder is missing.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use assert_cmd::Command;
use image::codecs::tiff::TiffDecoder;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageBuffer, ImageDecoder, ImageReader, Rgba};

/// What becomes of a file.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// Pixels of this type, at least this close: PSNR in dB over what is visible.
    Kept(ColorType, f64),
    /// The same, but the pixels were converted: they are compared to nothing.
    Converted(&'static str),
    /// An error with these words.
    Refused(&'static str),
}
use ColorType::{L8, L16, La8, La16, Rgb8, Rgb16, Rgba8, Rgba16};
use Outcome::{Converted, Kept, Refused};

#[rustfmt::skip]
const SHARED: &[(&str, Outcome)] = &[
    ("bmp_Core_1_Bit.bmp", Kept(Rgb8, 48.0)),
    ("bmp_Info_A8_R8_G8_B8.bmp", Kept(Rgb8, 7.0)),
    ("bmp_V3_A4_R4_G4_B4.bmp", Kept(Rgba8, 97.0)),
    ("bmp_rgba32.bmp", Kept(Rgba8, 31.0)),
    ("empty_file.png", Refused("is empty")),
    ("exif_orientation_1.jpg", Kept(Rgb8, 41.0)),
    ("exif_orientation_2.jpg", Kept(Rgb8, 41.0)),
    ("exif_orientation_3.jpg", Kept(Rgb8, 41.0)),
    ("exif_orientation_4.jpg", Kept(Rgb8, 41.0)),
    ("exif_orientation_5.jpg", Kept(Rgb8, 41.0)),
    ("exif_orientation_6.jpg", Kept(Rgb8, 40.0)),
    ("exif_orientation_7.jpg", Kept(Rgb8, 40.0)),
    ("exif_orientation_8.jpg", Kept(Rgb8, 40.0)),
    ("fuzz_000bfd3f401b3eec39696859.png", Refused("unexpected end of file")),
    ("fuzz_002d9ad802dd93f3b420a67a.jpg", Refused("Exhausted data")),
    ("fuzz_3161dd0675a12dae61fd67af.jpg", Refused("Code length")),
    ("fuzz_430f14ebc96e58073ea1abca.png", Refused("Missing palette")),
    ("fuzz_6351fca56a4699b00790b037.jpg", Refused("Not enough bytes")),
    ("fuzz_85f9fe143a66e7a6934016bf.png", Refused("CRC error")),
    ("fuzz_995b3ee8a4bd311d4d81195a.jpg", Refused("Marker found")),
    ("fuzz_c21b4b5ca90725289443b180.png", Refused("CRC error")),
    ("fuzz_ccfd5afae52e68ad90c84167.jpg", Kept(Rgb8, 42.0)),
    ("gif_Crash_test.gif", Kept(Rgb8, 34.0)),
    ("gif_animated-loop-3.gif", Refused("an animation")),
    ("gif_animated_3.gif", Refused("an animation")),
    ("icc_adobergb1998.jpg", Kept(Rgb8, 54.0)),
    ("icc_cmyk_swop.jpg", Converted("converted to sRGB through its profile")),
    ("icc_displayp3.jpg", Kept(Rgb8, 45.0)),
    ("icc_grey_dotgain20.jpg", Kept(L8, 40.0)),
    ("icc_linear_rgb.jpg", Kept(Rgb8, 43.0)),
    ("icc_nikon_adobergb.jpg", Kept(Rgb8, 39.0)),
    ("icc_p3.png", Kept(Rgb8, 42.0)),
    ("icc_prophoto.jpg", Kept(Rgb8, 40.0)),
    ("jpeg_cmyk_icc.jpg", Converted("converted to sRGB through its profile")),
    ("jpeg_cmyk_noprofile.jpg", Converted("CMYK with no profile was converted to sRGB by rule of thumb")),
    ("jpeg_grey.jpg", Kept(L8, 43.0)),
    ("jpeg_multi_icc_segments.jpg", Converted("converted to sRGB through its profile")),
    ("jpeg_progressive_420.jpg", Kept(Rgb8, 42.0)),
    ("jpeg_truncated_60pct.jpg", Refused("Exhausted data")),
    ("not_an_image.jpg", Refused("not a picture")),
    ("png_16bit_flag.png", Kept(Rgb16, 52.0)),
    ("png_bad_iccp.png", Kept(Rgb8, 42.0)),
    ("png_basi2c08.png", Kept(Rgb8, 34.0)),
    ("png_basi3p04.png", Kept(Rgb8, 28.0)),
    ("png_basi6a16.png", Kept(Rgba16, 33.0)),
    ("png_basn0g01.png", Kept(L8, 28.0)),
    ("png_basn0g02.png", Kept(L8, 38.0)),
    ("png_basn0g04.png", Kept(L8, 45.0)),
    ("png_basn0g08.png", Kept(L8, 43.0)),
    ("png_basn0g16.png", Kept(L16, 45.0)),
    ("png_basn2c08.png", Kept(Rgb8, 34.0)),
    ("png_basn2c16.png", Kept(Rgb16, 39.0)),
    ("png_basn3p01.png", Kept(Rgb8, 13.0)),
    ("png_basn3p02.png", Kept(Rgb8, 10.0)),
    ("png_basn3p04.png", Kept(Rgb8, 28.0)),
    ("png_basn3p08.png", Kept(Rgb8, 30.0)),
    ("png_basn4a08.png", Kept(La8, 48.0)),
    ("png_basn4a16.png", Kept(La16, 35.0)),
    ("png_basn6a08.png", Kept(Rgba8, 36.0)),
    ("png_basn6a16.png", Kept(Rgba16, 33.0)),
    ("png_bomb_header_100000x100000.png", Refused("100000 pixels a side, 70000 allowed")),
    ("png_exif2c08.png", Kept(Rgb8, 33.0)),
    ("png_g03n2c08.png", Kept(Rgb8, 17.0)),
    ("png_s01i3p01.png", Kept(Rgb8, 40.0)),
    ("png_s01n3p01.png", Kept(Rgb8, 40.0)),
    ("png_tbbn0g04.png", Kept(La8, 36.0)),
    ("png_tbbn3p08.png", Kept(Rgba8, 23.0)),
    ("png_tbrn2c08.png", Kept(Rgba8, 24.0)),
    ("png_truncated_50pct.png", Refused("unexpected end of file")),
    ("png_xcrn0g04.png", Refused("not a picture")),
    ("png_xcsn0g01.png", Refused("CRC error")),
    ("png_xdtn0g01.png", Refused("IDAT or fdAT chunk is missing")),
    ("png_xhdn0g08.png", Refused("CRC error")),
    ("size_1x1_rgb.png", Kept(Rgb8, 38.0)),
    ("size_1x257.png", Kept(Rgb8, 14.0)),
    ("size_333x1.png", Kept(Rgb8, 15.0)),
    ("size_3x70000.png", Kept(Rgb8, 44.0)),
    ("size_70000x3.png", Kept(Rgb8, 42.0)),
    ("tiff_fax4.tiff", Kept(L8, 31.0)),
    ("tiff_float32.tif", Refused("colour type Gray(32)")),
    ("tiff_grey16_lzw.tif", Kept(L16, 36.0)),
    ("tiff_hpredict.tiff", Kept(Rgba8, 33.0)),
    ("tiff_hpredict_cmyk.tiff", Refused("colour type CMYKA(8)")),
    ("tiff_mandrill.tiff", Kept(Rgb8, 29.0)),
    ("tiff_rgb16.tif", Kept(Rgb16, 23.0)),
    ("webp_2-color.webp", Kept(Rgb8, 33.0)),
    ("webp_advertises_rgba_but_frames_are_rgb.webp", Refused("an animation")),
    ("webp_alpha_lossless.webp", Kept(Rgba8, 40.0)),
    ("webp_alpha_lossy.webp", Kept(Rgba8, 42.0)),
    ("webp_lossy_alpha.webp", Kept(Rgba8, 32.0)),
];

#[rustfmt::skip]
const OWN: &[(&str, Outcome)] = &[
    ("1x1.png", Kept(Rgb8, 46.0)),
    ("1x300.png", Kept(Rgb8, 44.0)),
    ("alpha.tga", Kept(Rgba8, 40.0)),
    ("alpha.webp", Kept(Rgba8, 41.0)),
    ("animated.gif", Refused("an animation")),
    ("binary-alpha.png", Kept(Rgba8, 41.0)),
    ("bomb-100000x100000.png", Refused("100000 pixels a side, 70000 allowed")),
    ("cicp-p3.png", Kept(Rgb8, 41.0)),
    ("cmyk-no-profile.jpg", Converted("CMYK with no profile was converted to sRGB by rule of thumb")),
    ("cmyk-no-profile.tif", Converted("CMYK with no profile was converted to sRGB by rule of thumb")),
    ("empty.png", Refused("is empty")),
    ("exif-orientation-3.jpg", Kept(Rgb8, 42.0)),
    ("exif-orientation-5.jpg", Kept(Rgb8, 42.0)),
    ("exif-orientation-6.jpg", Kept(Rgb8, 42.0)),
    ("float.tif", Refused("colour type Gray(32)")),
    ("gamma-0.6.png", Kept(Rgb8, 41.0)),
    ("gamma-linear.png", Kept(Rgb8, 41.0)),
    ("grey-alpha.png", Kept(La8, 42.0)),
    ("grey-alpha16.png", Kept(La16, 42.0)),
    ("grey.jpg", Kept(L8, 43.0)),
    ("grey16.png", Kept(L16, 42.0)),
    ("grey16.tif", Kept(L16, 42.0)),
    ("icc-exif-xmp.png", Kept(Rgb8, 41.0)),
    ("icc-larger-than-pixels.tif", Kept(Rgb8, 40.0)),
    ("palette-transparent.png", Kept(Rgba8, 41.0)),
    ("rgb16.png", Kept(Rgb16, 41.0)),
    ("rgba-hidden-noise.png", Kept(Rgba8, 41.0)),
    ("rgba-opaque.png", Kept(Rgb8, 41.0)),
    ("rgba16.png", Kept(Rgba16, 41.0)),
    ("still.gif", Kept(Rgb8, 41.0)),
    ("text.jpg", Refused("not a picture")),
    ("truncated.jpg", Refused("Exhausted data")),
    ("truncated.png", Refused("unexpected end of file")),
];

#[test]
fn our_own_odd_files() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/odd"), OWN);
}

#[test]
fn the_shared_odd_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/odd");
    if !folder.is_dir() {
        eprintln!("skipped: {} is missing", folder.display());
        return;
    }
    check(&folder, SHARED);
}

/// Compares every file of a folder with its row of the table, and both ways.
fn check(folder: &Path, table: &[(&str, Outcome)]) {
    let mut wrong = Vec::new();
    let mut files: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".md"))
        .collect();
    files.sort();
    for name in &files {
        match table.iter().find(|(row, _)| row == name) {
            None => wrong.push(format!("{name}: not in the table")),
            Some((_, outcome)) => {
                if let Err(why) = check_file(&folder.join(name), *outcome) {
                    wrong.push(format!("{name}: {why}"));
                }
            }
        }
    }
    wrong.extend(
        table
            .iter()
            .filter(|(row, _)| !files.iter().any(|f| f == row))
            .map(|(row, _)| format!("{row}: in the table, but not in the folder")),
    );
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

fn aecodec() -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("aecodec");
    command.timeout(std::time::Duration::from_secs(60));
    command
}

fn check_file(file: &Path, outcome: Outcome) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let (coded, back) = (folder.path().join("a.aec"), folder.path().join("a.png"));
    let output = aecodec().args(["compress", "-q", "90"]).args([file, &coded]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if let Refused(words) = outcome {
        return match (output.status.code(), coded.exists()) {
            (Some(1), false) if told.contains(words) => Ok(()),
            _ => Err(format!("not refused for '{words}': {told}")),
        };
    }
    if !output.status.success() {
        return Err(format!("refused: {told}"));
    }
    let decoded = aecodec().arg("decompress").args([&coded, &back]).output().unwrap();
    if !decoded.status.success() {
        return Err(format!("not decoded: {}", String::from_utf8_lossy(&decoded.stderr)));
    }
    let (back, original) = (Source::read(&back)?, Source::read(file)?);
    back.is_close_to(&original, outcome, &told)
}

/// A picture as the image crate sees it.
struct Source {
    pixels: DynamicImage,
    orientation: Orientation,
    icc: Option<Vec<u8>>,
    exif: Option<Vec<u8>>,
    xmp: Option<Vec<u8>>,
}

impl Source {
    fn read(file: &Path) -> Result<Source, String> {
        let reader = ImageReader::open(file).unwrap().with_guessed_format().unwrap();
        let mut decoder = reader.into_decoder().map_err(|error| format!("not readable: {error}"))?;
        Ok(Source {
            orientation: decoder.orientation().unwrap(),
            // Under limits the TIFF decoder loses profiles that are larger than the pixels.
            icc: match file.extension() {
                Some(name) if name == "tif" => TiffDecoder::new(BufReader::new(File::open(file).unwrap()))
                    .unwrap()
                    .icc_profile()
                    .unwrap(),
                _ => decoder.icc_profile().unwrap(),
            },
            exif: decoder.exif_metadata().unwrap(),
            xmp: decoder.xmp_metadata().unwrap(),
            pixels: DynamicImage::from_decoder(decoder).map_err(|error| format!("not readable: {error}"))?,
        })
    }

    fn upright(&self) -> DynamicImage {
        let mut pixels = self.pixels.clone();
        pixels.apply_orientation(self.orientation);
        pixels
    }

    fn is_close_to(&self, original: &Source, outcome: Outcome, told: &str) -> Result<(), String> {
        let ensure = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        let (ours, theirs) = (self.upright(), original.upright());
        let size = |picture: &DynamicImage| (picture.width(), picture.height());
        ensure(size(&ours) == size(&theirs), &format!("{:?} instead of {:?}", size(&ours), size(&theirs)))?;
        ensure(self.exif == original.exif || original.exif.is_none(), "another Exif payload")?;
        ensure(self.xmp == original.xmp, "another XMP payload")?;
        match outcome {
            Kept(color, least) => {
                ensure(ours.color() == color, &format!("became {:?}", ours.color()))?;
                ensure(self.icc == original.icc || original.icc.is_none(), "another ICC profile")?;
                let (ours, theirs) = (ours.to_rgba16(), theirs.to_rgba16());
                let alpha = ours.pixels().zip(theirs.pixels()).all(|(a, b)| a[3] == b[3]);
                ensure(alpha, "another alpha")?;
                let psnr = psnr(&ours, &theirs);
                ensure(psnr >= least, &format!("{psnr:.1} dB"))
            }
            Converted(note) => {
                ensure(self.icc.is_none(), "a profile that was used up")?;
                ensure(told.contains(note), &format!("no note of '{note}': {told}"))
            }
            Refused(_) => unreachable!("checked before"),
        }
    }
}

/// Over the pixels that are not wholly transparent.
fn psnr(a: &ImageBuffer<Rgba<u16>, Vec<u16>>, b: &ImageBuffer<Rgba<u16>, Vec<u16>>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for (a, b) in a.pixels().zip(b.pixels()).filter(|(_, b)| b[3] > 0) {
        for c in 0..3 {
            sum += (f64::from(a[c]) - f64::from(b[c])).powi(2);
            count += 1.0;
        }
    }
    if sum == 0.0 { 99.0 } else { 10.0 * (65535f64.powi(2) * count / sum).log10() }
}
