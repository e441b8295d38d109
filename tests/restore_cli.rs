//! `aecodec denoise`, `aecodec upscale` and `image-denoise` as a user drives them.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use image::{DynamicImage, ImageDecoder, RgbImage};
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

fn aecodec() -> Command {
    assert_cmd::cargo::cargo_bin_cmd!("aecodec")
}

fn image_denoise() -> Command {
    assert_cmd::cargo::cargo_bin_cmd!("image-denoise")
}

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(path)
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The parrot with noise of deviation 20, and the way to it.
fn noisy(folder: &Path) -> (RgbImage, PathBuf) {
    let clean = image::open(testdata("images/parrot-256x256.png")).unwrap().to_rgb8();
    let mut state = 1u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    let mut picture = clean.clone();
    for v in picture.iter_mut() {
        let normal = (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
        *v = (f32::from(*v) + 20.0 * normal).round().clamp(0.0, 255.0) as u8;
    }
    let path = folder.join("noisy.png");
    picture.save(&path).unwrap();
    (clean, path)
}

fn psnr(a: &RgbImage, path: &Path) -> f64 {
    let b = image::open(path).unwrap().to_rgb8();
    let square: f64 = a.iter().zip(b.iter()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    10.0 * (255.0f64.powi(2) * a.len() as f64 / square.max(1e-9)).log10()
}

#[test]
fn both_programs_tell_the_noise_and_remove_it() {
    let folder = folder();
    let (clean, noisy) = noisy(folder.path());
    let (a, b) = (folder.path().join("a.png"), folder.path().join("b.png"));
    image_denoise().args([&noisy, &a]).assert().success().stderr(contains("(estimated)"));
    aecodec().arg("denoise").args([&noisy, &b]).assert().success().stderr(contains("256x256"));
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    assert!(psnr(&clean, &a) > psnr(&clean, &noisy) + 4.0);
    // An output that exists stays.
    image_denoise().args([&noisy, &a]).assert().code(1).stderr(contains("a.png exists"));
    let told = folder.path().join("told.png");
    let args = ["--sigma", "20", "--strength", "0.5", "--noise", "gaussian", "--threads", "1"];
    image_denoise().args(args).args([&noisy, &told]).assert().success().stderr(contains("sigma 20.0\n"));
    assert_ne!(fs::read(&a).unwrap(), fs::read(&told).unwrap());
    let help = image_denoise().arg("--help").assert().success();
    help.stdout(contains("image-denoise").and(contains("--sigma-map")));
}

#[test]
fn folders_streams_and_what_pictures_carry_go_through() {
    let folder = folder();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&input).unwrap();
    for name in ["grey16.png", "rgba-opaque.png", "icc-exif-xmp.png", "grey-alpha.png", "text.jpg"] {
        fs::copy(testdata("odd").join(name), input.join(name)).unwrap();
    }
    // One bad file does not stop the others.
    let ran = aecodec().arg("denoise").args([&input, &output]).assert().code(1);
    ran.stderr(contains("text.jpg").and(contains("1 of 5 files failed")));
    for name in ["grey16.png", "rgba-opaque.png", "icc-exif-xmp.png", "grey-alpha.png"] {
        let [before, after] = [&input, &output].map(|folder| image::open(folder.join(name)).unwrap());
        assert_eq!((before.color(), before.width()), (after.color(), after.width()), "{name}");
    }
    let profile = |path: &Path| {
        let mut reader = image::ImageReader::open(path).unwrap().into_decoder().unwrap();
        (reader.icc_profile().unwrap(), reader.exif_metadata().unwrap())
    };
    let name = "icc-exif-xmp.png";
    assert!(profile(&input.join(name)).0.is_some());
    assert_eq!(profile(&input.join(name)), profile(&output.join(name)));
    let bytes = fs::read(input.join("grey-alpha.png")).unwrap();
    let ran = aecodec().args(["upscale", "-x", "2", "-", "-"]).write_stdin(bytes).assert().success();
    let large = image::load_from_memory(&ran.get_output().stdout).unwrap();
    let small = image::open(input.join("grey-alpha.png")).unwrap();
    assert_eq!((large.width(), large.color()), (2 * small.width(), small.color()));
}

#[test]
fn maps_have_to_fit() {
    let folder = folder();
    let (_, noisy) = noisy(folder.path());
    let (map, out) = (folder.path().join("map.png"), folder.path().join("out.png"));
    DynamicImage::from(image::GrayImage::from_pixel(256, 256, image::Luma([20]))).save(&map).unwrap();
    aecodec().arg("denoise").arg("--sigma-map").args([&map, &noisy, &out]).assert().success();
    DynamicImage::from(image::GrayImage::new(256, 255)).save(&map).unwrap();
    let other = folder.path().join("other.png");
    let ran = aecodec().arg("denoise").arg("--sigma-map").args([&map, &noisy, &other]).assert().code(1);
    ran.stderr(contains("a map of 256x255 pixels for a picture of 256x256"));
    assert!(!other.exists());
}

#[test]
fn wrong_values_are_wrong_usage() {
    let folder = folder();
    let (_, noisy) = noisy(folder.path());
    let out = folder.path().join("out.png");
    for (command, bad, words) in [
        ("denoise", "--sigma=76", "not within 0..75"),
        ("denoise", "--sigma=much", "invalid"),
        ("denoise", "--strength=-1", "not within 0..4"),
        ("denoise", "--noise=loud", "possible values"),
        ("upscale", "-x=5", "2, 3 or 4 times"),
        ("compress", "--denoise=100", "not within 0..75"),
    ] {
        let ran = aecodec().args([command, bad]).args([&noisy, &out]).assert().code(2);
        ran.stderr(contains(words));
    }
    let ran = aecodec().args(["upscale", "--max-megapixels", "0"]).args([&noisy, &out]).assert().code(1);
    ran.stderr(contains("65536 pixels, 0 allowed"));
    let model = testdata("images/grey-97x65.png");
    let ran = aecodec().arg("denoise").arg("--model").args([&model, &noisy, &out]).assert().code(1);
    ran.stderr(contains("grey-97x65.png"));
    assert!(!out.exists());
}

#[test]
fn denoising_before_coding_makes_smaller_files_nearer_to_the_clean_picture() {
    let folder = folder();
    let (clean, noisy) = noisy(folder.path());
    let code = |args: &[&str], name: &str| {
        let (file, back) = (folder.path().join(name), folder.path().join(name).with_extension("png"));
        let ran = aecodec().args(["compress", "-q", "70"]).args(args).args([&noisy, &file]).assert();
        let told = String::from_utf8(ran.success().get_output().stderr.clone()).unwrap();
        aecodec().arg("decompress").args([&file, &back]).assert().success();
        (fs::metadata(&file).unwrap().len(), psnr(&clean, &back), told)
    };
    let (bytes, quality, _) = code(&[], "plain.aec");
    let (fewer, better, told) = code(&["--denoise"], "denoised.aec");
    assert!(told.contains("denoised: sigma"), "{told}");
    assert!(fewer < bytes / 2 && better > quality + 2.0, "{bytes} {quality} {fewer} {better}");
}

#[test]
fn benches_print_tables() {
    let folder = folder();
    fs::copy(testdata("images/bikes-192x128.png"), folder.path().join("a.png")).unwrap();
    let bench = |task: &str| {
        let mut command = aecodec();
        command.args(["bench", "--task", task, "--python", "no-such-python"]).arg(folder.path());
        command.assert().success().stderr(contains("without BM3D"))
    };
    bench("denoise")
        .stdout(contains("| sigma 25 |").and(contains("adaptive median")).and(contains("within 10 %")));
    bench("upscale").stdout(contains("| x4 |").and(contains("bicubic")));
}
