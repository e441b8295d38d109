//! Denoised and enlarged pictures: the same on every machine, and better than
//! what went in.
//!
//! `testdata/golden/restored.sha256` holds what each model of this build makes
//! of a small picture. A new model's line is added by
//! `AECODEC_ADD_GOLDEN=1 cargo test --test restored`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{env, fs};

use aecodec::model::registry::RESTORERS;
use aecodec::model::{ModelId, RestorationModel, Task};
use aecodec::nn::Level;
use aecodec::restore::{DenoiseOptions, Loss, Noise, Restorer, Sigma, UpscaleOptions, denoise, upscale};
use aecodec::{DecodeOptions, decode};
use image::imageops::{FilterType, resize};
use image::{DynamicImage, GenericImageView, RgbImage};
use sha2::{Digest, Sha256};

fn picture(name: &str) -> RgbImage {
    image::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/images").join(name)).unwrap().to_rgb8()
}

/// Uniform numbers of 32 bits.
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0
    }

    /// The sum of twelve uniform numbers is nearly normal, with deviation 1.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| (self.next() >> 8) as f32 / (1 << 24) as f32).sum::<f32>() - 6.0
    }
}

fn with_noise(clean: &RgbImage, sigma: f32) -> RgbImage {
    let mut random = Random(7);
    let mut noisy = clean.clone();
    for v in noisy.iter_mut() {
        *v = (f32::from(*v) + sigma * random.normal()).round().clamp(0.0, 255.0) as u8;
    }
    noisy
}

fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let square: f64 = a.iter().zip(b.iter()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    10.0 * (255.0f64.powi(2) * a.len() as f64 / square.max(1e-9)).log10()
}

/// A picture restored by one model.
fn restored(restorer: &Arc<Restorer>, small: &DynamicImage) -> DynamicImage {
    let model = Some(Arc::clone(restorer));
    match restorer.model().arch.task {
        Task::Denoise => {
            let options = DenoiseOptions { sigma: Sigma::Uniform(20.0), model, ..Default::default() };
            denoise(small, &options).unwrap().picture
        }
        Task::Upscale(factor) => {
            upscale(small, &UpscaleOptions { factor, model, ..Default::default() }).unwrap()
        }
    }
}

fn read(id: ModelId, level: Level) -> Arc<Restorer> {
    let bytes = RESTORERS.iter().find(|model| model.id == id).unwrap().bytes;
    Restorer::at_level(RestorationModel::read(bytes).unwrap(), id, level).unwrap()
}

#[test]
fn every_machine_restores_to_the_same_pixels() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden/restored.sha256");
    let text = fs::read_to_string(&path).unwrap();
    let mut list: BTreeMap<String, String> = text
        .lines()
        .map(|line| line.split_once("  ").expect("hash  model"))
        .map(|(hash, model)| (model.to_owned(), hash.to_owned()))
        .collect();
    // From a file that every build can read. Odd sides, so that edges are repeated.
    let coded = fs::read(path.with_file_name("bikes-q95.aec")).unwrap();
    let clean = decode(&coded, &DecodeOptions::default()).unwrap().to_rgb8();
    let small = DynamicImage::from(with_noise(&clean, 20.0)).crop_imm(20, 11, 75, 53);
    for embedded in RESTORERS {
        let name = format!("{}-{}", embedded.name, embedded.id);
        let mut found: Option<DynamicImage> = None;
        for level in Level::available() {
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let out = pool.install(|| restored(&read(embedded.id, level), &small));
                match &found {
                    None => found = Some(out),
                    Some(first) => assert!(*first == out, "{name} at {level:?} on {threads} threads"),
                }
            }
        }
        let hash: String =
            Sha256::digest(found.unwrap().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        if env::var_os("AECODEC_ADD_GOLDEN").is_some() {
            list.entry(name.clone()).or_insert_with(|| hash.clone());
        }
        assert_eq!(list.get(&name), Some(&hash), "{name}");
    }
    if env::var_os("AECODEC_ADD_GOLDEN").is_some() {
        let lines: String = list.iter().map(|(model, hash)| format!("{hash}  {model}\n")).collect();
        fs::write(&path, lines).unwrap();
    }
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "slow where it is emulated")]
fn large_pictures_have_no_seams() {
    // Several pieces on several threads, against one piece.
    let clean = picture("kodim23.png");
    let noisy = DynamicImage::from(with_noise(&clean, 25.0));
    let options = DenoiseOptions { sigma: Sigma::Uniform(25.0), ..Default::default() };
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| denoise(&noisy, &options).unwrap().picture)
    };
    let one = on(1);
    assert!(one == on(2) && one == on(7));
    let (before, after) = (psnr(&clean, &noisy.to_rgb8()), psnr(&clean, &one.to_rgb8()));
    assert!(after > before + 8.0, "{before:.2} dB became {after:.2} dB");
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "slow where it is emulated")]
fn the_noise_of_a_picture_is_found() {
    let clean = picture("parrot-256x256.png");
    for sigma in [8.0, 25.0, 45.0] {
        let noisy = with_noise(&clean, sigma);
        let found = denoise(&noisy.clone().into(), &DenoiseOptions::default()).unwrap();
        assert!((found.sigma / sigma - 1.0).abs() < 0.15, "{} for {sigma}", found.sigma);
        assert_eq!(found.loss, Loss::None);
        let gain = psnr(&clean, &found.picture.to_rgb8()) - psnr(&clean, &noisy);
        assert!(gain > 2.0, "{gain:.2} dB at {sigma}");
    }
    let untouched = denoise(&clean.clone().into(), &DenoiseOptions::default()).unwrap();
    let psnr_to_input = psnr(&clean, &untouched.picture.to_rgb8());
    assert!(psnr_to_input > 42.0, "a clean picture became {psnr_to_input:.2} dB");
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "slow where it is emulated")]
fn lost_samples_are_found_and_filled_in() {
    let clean = picture("parrot-256x256.png");
    let mut random = Random(3);
    let mut peppered = clean.clone();
    for v in peppered.iter_mut() {
        match random.next() >> 24 {
            0..38 => *v = 0,
            38..76 => *v = 255,
            _ => {}
        }
    }
    let mut masked = clean.clone();
    for pixel in masked.pixels_mut() {
        if random.next() >> 31 == 0 {
            pixel.0 = [0; 3];
        }
    }
    for (harmed, loss) in [(peppered, Loss::SaltAndPepper), (masked, Loss::Masking)] {
        let found = denoise(&harmed.clone().into(), &DenoiseOptions::default()).unwrap();
        assert_eq!(found.loss, loss);
        let (before, after) = (psnr(&clean, &harmed), psnr(&clean, &found.picture.to_rgb8()));
        assert!(after > before + 12.0, "{loss:?}: {before:.2} dB became {after:.2} dB");
    }
}

#[test]
fn strength_and_maps_say_where_to_smooth() {
    let clean = picture("bikes-192x128.png");
    let noisy = with_noise(&clean, 20.0);
    let change = |options: &DenoiseOptions, x: std::ops::Range<u32>| {
        let out = denoise(&noisy.clone().into(), options).unwrap().picture.to_rgb8();
        let part =
            |p: &RgbImage| DynamicImage::from(p.clone()).crop_imm(x.start, 0, x.len() as u32, 128).to_rgb8();
        psnr(&part(&noisy), &part(&out))
    };
    let told = |strength| DenoiseOptions { sigma: Sigma::Uniform(20.0), strength, ..Default::default() };
    let changes = [0.0, 0.5, 1.0, 2.0].map(|strength| change(&told(strength), 0..192));
    assert!(changes.is_sorted_by(|a, b| a > b), "{changes:?}");
    // Noise is removed where the map says that there is some.
    let map = image::GrayImage::from_fn(192, 128, |x, _| image::Luma([if x < 96 { 0 } else { 20 }]));
    let options = DenoiseOptions { sigma: Sigma::Map(map.into()), ..Default::default() };
    assert!(change(&options, 0..64) > change(&options, 128..192) + 6.0);
}

#[test]
fn enlarging_beats_bicubic() {
    let clean = picture("parrot-256x256.png");
    for factor in [2u32, 4] {
        let side = 256 / factor;
        let small = resize(&clean, side, side, FilterType::CatmullRom);
        let bicubic = resize(&small, 256, 256, FilterType::CatmullRom);
        let options = UpscaleOptions { factor: factor as usize, ..Default::default() };
        let large = upscale(&small.into(), &options).unwrap().to_rgb8();
        let (theirs, ours) = (psnr(&clean, &bicubic), psnr(&clean, &large));
        assert!(ours > theirs + 0.5, "x{factor}: bicubic {theirs:.2} dB, ours {ours:.2} dB");
    }
}

#[test]
fn types_alpha_and_tiny_sizes_survive() {
    let rgb = picture("bikes-192x128.png");
    let whole = DynamicImage::from(rgb.clone());
    let mut rgba = whole.to_rgba8();
    rgba.enumerate_pixels_mut().for_each(|(x, y, p)| p.0[3] = (x + y) as u8);
    let types = [
        whole.clone(),
        whole.to_luma8().into(),
        whole.to_luma_alpha8().into(),
        rgba.clone().into(),
        whole.to_rgb16().into(),
        DynamicImage::from(rgba).to_rgba16().into(),
        whole.to_luma16().into(),
    ];
    let options = DenoiseOptions { sigma: Sigma::Uniform(10.0), ..Default::default() };
    for picture in types {
        for (width, height) in [(1, 1), (2, 7), (17, 3), (40, 33)] {
            let picture = picture.crop_imm(5, 9, width, height);
            let out = denoise(&picture, &options).unwrap().picture;
            assert_eq!((out.dimensions(), out.color()), (picture.dimensions(), picture.color()));
            if picture.color().has_alpha() {
                let alpha = |p: &DynamicImage| p.to_rgba16().pixels().map(|p| p.0[3]).collect::<Vec<_>>();
                assert_eq!(alpha(&out), alpha(&picture));
            }
            let large = upscale(&picture, &UpscaleOptions { factor: 3, ..Default::default() }).unwrap();
            assert_eq!((large.dimensions(), large.color()), ((3 * width, 3 * height), picture.color()));
        }
    }
}

#[test]
fn nonsense_is_refused_by_name() {
    let picture = DynamicImage::from(RgbImage::new(8, 8));
    let refused = |options: &DenoiseOptions| denoise(&picture, options).unwrap_err().to_string();
    let sigma = |sigma| DenoiseOptions { sigma, ..Default::default() };
    assert!(refused(&sigma(Sigma::Uniform(75.5))).contains("sigma 75.5"));
    assert!(refused(&sigma(Sigma::Uniform(f32::NAN))).contains("sigma NaN"));
    let map = DynamicImage::from(image::GrayImage::new(8, 9));
    assert!(refused(&sigma(Sigma::Map(map))).contains("a map of 8x9 pixels for a picture of 8x8"));
    let strength = DenoiseOptions { strength: -1.0, ..Default::default() };
    assert!(refused(&strength).contains("strength -1"));
    let small = aecodec::Limits { max_pixels: 63, ..Default::default() };
    assert!(refused(&DenoiseOptions { limits: small, ..Default::default() }).contains("64 pixels"));
    let error = |options: &UpscaleOptions| upscale(&picture, options).unwrap_err().to_string();
    assert!(error(&UpscaleOptions { factor: 5, ..Default::default() }).contains("factor 5"));
    let limits = aecodec::Limits { max_pixels: 255, ..Default::default() };
    assert!(error(&UpscaleOptions { limits, ..Default::default() }).contains("256 pixels"));
    let denoiser = RESTORERS.iter().find(|model| model.name == "denoise").unwrap();
    let wrong = UpscaleOptions { model: Some(read(denoiser.id, Level::best())), ..Default::default() };
    assert!(error(&wrong).contains("is for denoise, not for upscale2"));
    let float = DynamicImage::from(image::Rgb32FImage::new(4, 4));
    assert!(denoise(&float, &DenoiseOptions { noise: Noise::Gaussian, ..Default::default() }).is_err());
}
