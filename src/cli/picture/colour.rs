//! Colour spaces: what PNG says in other ways than a profile, and the short form
//! of the usual ones.

use std::io::Cursor;

use anyhow::Result;
use moxcms::{
    Chromaticity, CicpColorPrimaries, CicpProfile, ColorPrimaries, ColorProfile, DataColorSpace, Layout,
    MatrixCoefficients, ToneReprCurve, TransferCharacteristics, TransformOptions, XyY,
};

use super::Picture;
use aecodec::{Cicp, Metadata};

/// sRGB, which needs no mention: it is what pixels without a colour space are.
const SRGB: Cicp = Cicp { primaries: 1, transfer: 13, matrix: 0, full_range: true };
/// sRGB's primaries in linear light.
const LINEAR: Cicp = Cicp { transfer: 8, ..SRGB };
/// Spaces that can be said in four bytes instead of a profile.
const USUAL: [Cicp; 5] = [
    SRGB,
    LINEAR,
    Cicp { primaries: 12, ..SRGB },              // Display P3
    Cicp { primaries: 9, ..SRGB },               // BT.2020 primaries, sRGB curve
    Cicp { primaries: 9, transfer: 14, ..SRGB }, // BT.2020
];
/// The gamma of sRGB as PNG's gAMA chunk has it, and what is as good as the same.
const SRGB_GAMMA: std::ops::RangeInclusive<u32> = 45000..=46000;
/// The chromaticities of sRGB in PNG's cHRM chunk: white, red, green, blue.
const SRGB_CHROMATICITIES: [u32; 8] = [31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000];

/// Takes the colour space from a PNG file's cICP chunk, or makes a profile of
/// its gAMA and cHRM chunks where there is none.
pub fn from_png(picture: &mut Picture, bytes: &[u8]) -> Result<()> {
    let reader = png::Decoder::new(Cursor::new(bytes)).read_info()?;
    let info = reader.info();
    if let Some(cicp) = info.coding_independent_code_points {
        let png::CodingIndependentCodePoints { color_primaries, transfer_function, .. } = cicp;
        picture.metadata.cicp = Some(Cicp {
            primaries: color_primaries,
            transfer: transfer_function,
            matrix: cicp.matrix_coefficients,
            full_range: cicp.is_video_full_range_image,
        });
        return Ok(());
    }
    if picture.metadata.icc.is_some() || info.srgb.is_some() {
        return Ok(());
    }
    if has_profile(bytes) {
        picture.notes.push("a damaged ICC profile is dropped: colours may be off".into());
        return Ok(());
    }
    let gamma = info.gama_chunk.map_or(45455, |gamma| gamma.into_scaled());
    let points = info.chrm_chunk.map_or(SRGB_CHROMATICITIES, |c| {
        let xy = |(x, y): (png::ScaledFloat, png::ScaledFloat)| [x.into_scaled(), y.into_scaled()];
        let all = [xy(c.white), xy(c.red), xy(c.green), xy(c.blue)];
        std::array::from_fn(|i| all[i / 2][i % 2])
    });
    let usual_points = points.iter().zip(SRGB_CHROMATICITIES).all(|(a, b)| a.abs_diff(b) <= 500);
    let grey = !picture.pixels.color().has_color();
    if gamma == 0 || (SRGB_GAMMA.contains(&gamma) && (usual_points || grey)) {
        return Ok(());
    }
    if gamma == 100_000 && (usual_points || grey) {
        picture.metadata.cicp = Some(LINEAR);
        return Ok(());
    }
    let profile = if grey { grey_profile(gamma) } else { rgb_profile(gamma, points) };
    match profile.encode() {
        Ok(icc) => {
            picture.metadata.icc = Some(icc);
            picture.notes.push("gAMA and cHRM became an ICC profile".into());
        }
        Err(error) => picture.notes.push(format!("gAMA and cHRM are dropped: {error}")),
    }
    Ok(())
}

/// Whether there is a profile, be it readable or not.
fn has_profile(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((&[a, b, c, d, ref kind @ ..], _)) = rest.split_first_chunk::<8>() {
        match kind {
            b"iCCP" => return true,
            b"IDAT" => return false,
            _ => {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                rest = rest.get(length.saturating_add(12)..).unwrap_or_default();
            }
        }
    }
    false
}

/// The curve of PNG's gAMA, which is the exponent of the encoder.
fn curve(gamma: u32) -> ToneReprCurve {
    ToneReprCurve::Parametric(vec![100_000.0 / gamma as f32])
}

fn grey_profile(gamma: u32) -> ColorProfile {
    let mut profile = ColorProfile::new_gray_with_gamma(1.0);
    profile.gray_trc = Some(curve(gamma));
    profile
}

fn rgb_profile(gamma: u32, points: [u32; 8]) -> ColorProfile {
    let mut profile = ColorProfile::new_srgb();
    let [wx, wy, rx, ry, gx, gy, bx, by] = points.map(|v| f64::from(v) / 100_000.0);
    let point = |x: f64, y: f64| Chromaticity { x: x as f32, y: y as f32 };
    profile.update_rgb_colorimetry(
        XyY { x: wx, y: wy, yb: 1.0 },
        ColorPrimaries { red: point(rx, ry), green: point(gx, gy), blue: point(bx, by) },
    );
    for slot in [&mut profile.red_trc, &mut profile.green_trc, &mut profile.blue_trc] {
        *slot = Some(curve(gamma));
    }
    profile.description = None;
    profile
}

/// Says a usual colour space in numbers instead of a profile, and sRGB not at all.
pub fn shorten(metadata: &mut Metadata) {
    if metadata.cicp.is_none() {
        let profile = metadata.icc.as_ref().and_then(|icc| ColorProfile::new_from_slice(icc).ok());
        let usual = profile.and_then(|profile| USUAL.into_iter().find(|&cicp| is_same(&profile, cicp)));
        if usual.is_none() {
            return;
        }
        metadata.cicp = usual;
    }
    metadata.icc = None;
    if metadata.cicp == Some(SRGB) {
        metadata.cicp = None;
    }
}

/// Whether colours mean the same under both, to half a step of 8 bits.
fn is_same(profile: &ColorProfile, cicp: Cicp) -> bool {
    let Some(other) = profile_of(cicp) else { return false };
    if profile.color_space != DataColorSpace::Rgb {
        return false;
    }
    let options = TransformOptions::default();
    let Ok(transform) = profile.create_transform_16bit(Layout::Rgb, &other, Layout::Rgb, options) else {
        return false;
    };
    let levels = [0, 8000, 20000, 33000, 50000, 65535u16];
    let colours: Vec<u16> =
        (0..216).flat_map(|i| [levels[i / 36], levels[i / 6 % 6], levels[i % 6]]).collect();
    let mut there = vec![0; colours.len()];
    transform.transform(&colours, &mut there).is_ok()
        && colours.iter().zip(&there).all(|(a, b)| a.abs_diff(*b) <= 128)
}

fn profile_of(cicp: Cicp) -> Option<ColorProfile> {
    let color_primaries = CicpColorPrimaries::try_from(cicp.primaries).ok()?;
    let transfer_characteristics = TransferCharacteristics::try_from(cicp.transfer).ok()?;
    let profile = ColorProfile::new_from_cicp(CicpProfile {
        color_primaries,
        transfer_characteristics,
        matrix_coefficients: MatrixCoefficients::Identity,
        full_range: cicp.full_range,
    });
    profile.red_trc.is_some().then_some(profile)
}

/// A profile that says the same as the numbers, for programs that know no
/// numbers.
pub fn icc_of(cicp: Cicp, grey: bool) -> Option<Vec<u8>> {
    let mut profile = profile_of(cicp)?;
    if grey {
        let curve = profile.red_trc;
        profile = ColorProfile::new_gray_with_gamma(1.0);
        profile.gray_trc = curve;
    }
    profile.encode().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_profiles_are_known_and_others_kept() {
        let shortened = |profile: ColorProfile| {
            let mut metadata = Metadata { icc: Some(profile.encode().unwrap()), ..Default::default() };
            shorten(&mut metadata);
            (metadata.icc.is_some(), metadata.cicp.map(|cicp| (cicp.primaries, cicp.transfer)))
        };
        assert_eq!(shortened(ColorProfile::new_srgb()), (false, None));
        assert_eq!(shortened(ColorProfile::new_display_p3()), (false, Some((12, 13))));
        assert_eq!(shortened(ColorProfile::new_adobe_rgb()), (true, None));
        assert_eq!(shortened(ColorProfile::new_pro_photo_rgb()), (true, None));
        assert_eq!(shortened(grey_profile(45455)), (true, None));
    }

    #[test]
    fn numbers_become_the_profile_they_mean() {
        for cicp in USUAL {
            let profile = ColorProfile::new_from_slice(&icc_of(cicp, false).unwrap()).unwrap();
            assert!(is_same(&profile, cicp), "{cicp:?}");
        }
        assert!(icc_of(Cicp { primaries: 2, ..SRGB }, false).is_none());
    }

    #[test]
    fn a_gamma_of_its_own_becomes_a_curve() {
        // 0.35 brightens: mid-grey of such a file is darker in linear light.
        let profile =
            ColorProfile::new_from_slice(&rgb_profile(35000, SRGB_CHROMATICITIES).encode().unwrap());
        let transform = profile
            .unwrap()
            .create_transform_8bit(Layout::Rgb, &ColorProfile::new_srgb(), Layout::Rgb, Default::default())
            .unwrap();
        let mut out = [0; 3];
        transform.transform(&[128, 128, 128], &mut out).unwrap();
        // 255 * srgb((128 / 255)^(1 / 0.35)) = 105.6
        assert!(out.iter().all(|&v| v.abs_diff(106) <= 1), "{out:?}");
    }
}
