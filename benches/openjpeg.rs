//! Time and memory beside OpenJPEG's, in one process and in turns: the table of
//! `docs/performance.md`.
//!
//! ```text
//! cargo bench --features openjpeg --bench openjpeg -- [--sizes 0.4,3,12,50,100] [--repeat N] [--model NAME|FILE]
//!     [--effort N] [--pictures FOLDER]
//! ```
//!
//! The picture is testdata/images/kodim23.png, mirrored side by side up to each
//! size, or with --pictures all of a folder as they are. Ours is coded at
//! quality 75 and effort 0, or what --effort says; OpenJPEG (2.5, its 9/7 transform, one layer) at the rate that gives the same PSNR. Times are processor time of the
//! whole process for one thread, wall time for two, medians over the repeats.
#![allow(unsafe_code)] // OpenJPEG is a C library.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs, ptr};

use aecodec::model::registry::{self, MODELS};
use aecodec::model::{Model, ModelId};
use aecodec::{DecodeOptions, EncodeOptions, PreparedModel, decode, encode};
use image::{DynamicImage, RgbImage};
use openjpeg_sys as opj;

fn mirrored(tile: &RgbImage, megapixels: f64) -> RgbImage {
    let (w, h) = tile.dimensions();
    let scale = (megapixels * 1e6 / f64::from(w * h)).sqrt().max(1.0);
    let size = |n: u32| (f64::from(n) * scale).round() as u32;
    let fold = |x: u32, n: u32| if (x / n).is_multiple_of(2) { x % n } else { n - 1 - x % n };
    RgbImage::from_fn(size(w), size(h), |x, y| *tile.get_pixel(fold(x, w), fold(y, h)))
}

fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    let squares = a.as_raw().iter().zip(b.as_raw()).map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2));
    10.0 * (255f64.powi(2) * a.as_raw().len() as f64 / squares.sum::<u64>() as f64).log10()
}

/// Encodes to a file at a number of bits a pixel.
fn j2k_encode(picture: &RgbImage, bpp: f64, threads: i32, path: &Path) {
    let (w, h) = picture.dimensions();
    let path = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the calls are in the order OpenJPEG's manual asks for, planes have
    // `w * h` samples each, and what is created is destroyed.
    unsafe {
        let mut parameters: opj::opj_cparameters_t = std::mem::zeroed();
        opj::opj_set_default_encoder_parameters(&mut parameters);
        parameters.irreversible = 1;
        parameters.tcp_mct = 1;
        parameters.tcp_numlayers = 1;
        parameters.cp_disto_alloc = 1;
        parameters.tcp_rates[0] = (24.0 / bpp) as f32;
        let component =
            opj::opj_image_cmptparm_t { dx: 1, dy: 1, w, h, x0: 0, y0: 0, prec: 8, bpp: 8, sgnd: 0 };
        let mut components = [component; 3];
        let image = opj::opj_image_create(3, components.as_mut_ptr(), opj::OPJ_COLOR_SPACE::OPJ_CLRSPC_SRGB);
        ((*image).x1, (*image).y1) = (w, h);
        for c in 0..3 {
            let plane = (*(*image).comps.add(c)).data;
            for (i, pixel) in picture.as_raw().chunks_exact(3).enumerate() {
                *plane.add(i) = i32::from(pixel[c]);
            }
        }
        let codec = opj::opj_create_compress(opj::OPJ_CODEC_FORMAT::OPJ_CODEC_J2K);
        assert_eq!(opj::opj_setup_encoder(codec, &mut parameters, image), 1);
        opj::opj_codec_set_threads(codec, if threads > 1 { threads } else { 0 });
        let stream = opj::opj_stream_create_default_file_stream(path.as_ptr(), 0);
        assert_eq!(opj::opj_start_compress(codec, image, stream), 1);
        assert_eq!(opj::opj_encode(codec, stream), 1);
        assert_eq!(opj::opj_end_compress(codec, stream), 1);
        opj::opj_stream_destroy(stream);
        opj::opj_destroy_codec(codec);
        opj::opj_image_destroy(image);
    }
}

fn j2k_decode(path: &Path, threads: i32) -> RgbImage {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: as above; planes of a decoded picture have `w * h` samples.
    unsafe {
        let mut parameters: opj::opj_dparameters_t = std::mem::zeroed();
        opj::opj_set_default_decoder_parameters(&mut parameters);
        let codec = opj::opj_create_decompress(opj::OPJ_CODEC_FORMAT::OPJ_CODEC_J2K);
        assert_eq!(opj::opj_setup_decoder(codec, &mut parameters), 1);
        opj::opj_codec_set_threads(codec, if threads > 1 { threads } else { 0 });
        let stream = opj::opj_stream_create_default_file_stream(path.as_ptr(), 1);
        let mut image = ptr::null_mut();
        assert_eq!(opj::opj_read_header(stream, codec, &mut image), 1);
        assert_eq!(opj::opj_decode(codec, stream, image), 1);
        assert_eq!(opj::opj_end_decompress(codec, stream), 1);
        let first = &*(*image).comps;
        let (w, h) = (first.w, first.h);
        let mut rgb = vec![0u8; (w * h * 3) as usize];
        for c in 0..3 {
            let plane = std::slice::from_raw_parts((*(*image).comps.add(c)).data, (w * h) as usize);
            rgb.iter_mut().skip(c).step_by(3).zip(plane).for_each(|(t, &s)| *t = s.clamp(0, 255) as u8);
        }
        opj::opj_stream_destroy(stream);
        opj::opj_destroy_codec(codec);
        opj::opj_image_destroy(image);
        RgbImage::from_raw(w, h, rgb).unwrap()
    }
}

/// Processor time of this process so far, in ms.
fn processor() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local variable.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// Processor and wall time of a call, in ms.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, f64) {
    let (cpu, wall) = (processor(), Instant::now());
    std::hint::black_box(work());
    (processor() - cpu, wall.elapsed().as_secs_f64() * 1e3)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Peak memory of this process, in bytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
}

/// The default model, an embedded one by its name, or that of a file.
fn model(name: Option<&str>) -> Option<Arc<PreparedModel>> {
    let name = name?;
    let bytes = match registry::by_name(name) {
        Some(index) => MODELS[index].bytes.to_vec(),
        None => fs::read(name).unwrap(),
    };
    Some(PreparedModel::new(Model::read(&bytes).unwrap(), ModelId::of(&bytes)))
}

/// Decodes a file once and prints the memory it took: a process of its own.
fn decode_once(path: &str, name: Option<&str>) {
    let bytes = fs::read(path).unwrap();
    let models = model(name).into_iter().collect();
    let picture = decode(&bytes, &DecodeOptions { models, ..Default::default() }).unwrap();
    assert!(picture.width() > 0);
    println!("{}", peak_memory());
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let option = |name: &str| {
        arguments.iter().position(|argument| argument == name).map(|at| arguments[at + 1].as_str())
    };
    let name = option("--model");
    if let Some(path) = option("--decode-once") {
        return decode_once(path, name);
    }
    let sizes: Vec<f64> =
        option("--sizes").unwrap_or("0.4,3,12").split(',').map(|size| size.parse().unwrap()).collect();
    let kodim23 = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/images/kodim23.png");
    let (mut paths, sizes) = match option("--pictures") {
        Some(folder) => {
            (fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect(), vec![0.0])
        }
        None => (vec![PathBuf::from(kodim23)], sizes),
    };
    paths.sort();
    let effort = option("--effort").map_or(0, |effort| effort.parse().unwrap());
    println!("model {}, effort {effort}; ms, ours / OpenJPEG (ratio)", name.unwrap_or("default"));
    println!(
        "| picture | Mpx | bpp, dB | OpenJPEG | decode, 1 thread | ns/pixel | encode, 1 thread | decode, 2 threads | speed-up | peak, bytes/pixel |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let ratios: Vec<[f64; 3]> = paths
        .iter()
        .filter_map(|path| Some((path, image::open(path).ok()?.into_rgb8())))
        .flat_map(|(path, tile)| measure(path, &tile, &sizes, (name, effort), option("--repeat")))
        .collect();
    let middle = [0, 1, 2].map(|i| median(ratios.iter().map(|ratios| ratios[i]).collect()));
    println!(
        "median ratios: decode {:.2}, encode {:.2}, decode with 2 threads {:.2}",
        middle[0], middle[1], middle[2]
    );
}

/// Prints a row for each size of a picture, and returns the ratios of decoding,
/// encoding and decoding with two threads.
fn measure(
    path: &Path,
    tile: &RgbImage,
    sizes: &[f64],
    (name, effort): (Option<&str>, u8),
    repeats: Option<&str>,
) -> Vec<[f64; 3]> {
    let folder = tempfile::tempdir().unwrap();
    let (ours_path, theirs_path) = (folder.path().join("a.aec"), folder.path().join("a.j2k"));
    let prepared = model(name);
    let encoding = EncodeOptions { quality: 75.0, effort, model: prepared.clone(), ..Default::default() };
    let decoding = DecodeOptions { models: prepared.into_iter().collect(), ..Default::default() };

    // OpenJPEG's rate at our PSNR on the small picture.
    let bytes = encode(&DynamicImage::from(tile.clone()), &encoding).unwrap();
    let wanted = psnr(tile, &decode(&bytes, &decoding).unwrap().into_rgb8());
    let (mut low, mut high) = (0.05, 8.0);
    for _ in 0..12 {
        let middle = f64::sqrt(low * high);
        j2k_encode(tile, middle, 1, &theirs_path);
        let found = psnr(tile, &j2k_decode(&theirs_path, 1));
        if found < wanted { low = middle } else { high = middle }
    }
    let bpp = high;
    let pools = [1, 2].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    let mut ratios = Vec::new();
    for &megapixels in sizes {
        let rgb = mirrored(tile, megapixels);
        let pixels = f64::from(rgb.width()) * f64::from(rgb.height());
        let picture = DynamicImage::from(rgb.clone());
        let bytes = pools[1].install(|| encode(&picture, &encoding).unwrap());
        fs::write(&ours_path, &bytes).unwrap();
        j2k_encode(&rgb, bpp, 2, &theirs_path);
        let repeat =
            repeats.map_or_else(|| (60.0 / pixels * 1e6).clamp(2.0, 25.0) as usize, |n| n.parse().unwrap());
        let scratch = folder.path().join("b.j2k");
        let mut times: [Vec<(f64, f64)>; 6] = Default::default();
        for _ in 0..repeat {
            let turns = [
                timed(|| pools[0].install(|| decode(&bytes, &decoding).unwrap())),
                timed(|| j2k_decode(&theirs_path, 1)),
                timed(|| pools[1].install(|| decode(&bytes, &decoding).unwrap())),
                timed(|| j2k_decode(&theirs_path, 2)),
                timed(|| pools[0].install(|| encode(&picture, &encoding).unwrap())),
                timed(|| j2k_encode(&rgb, bpp, 1, &scratch)),
            ];
            times.iter_mut().zip(turns).for_each(|(all, turn)| all.push(turn));
        }
        let cpu = |turn: usize| median(times[turn].iter().map(|time| time.0).collect());
        let wall = |turn: usize| median(times[turn].iter().map(|time| time.1).collect());
        // Pair by pair, since what else the machine does changes with time.
        let ratio = |a: &[(f64, f64)], b: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
            median(a.iter().zip(b).map(|(a, b)| of(a) / of(b)).collect())
        };
        let three = [
            ratio(&times[0], &times[1], |time| time.0),
            ratio(&times[4], &times[5], |time| time.0),
            ratio(&times[2], &times[3], |time| time.1),
        ];
        let child = std::process::Command::new(env::current_exe().unwrap())
            .arg("--decode-once")
            .arg(&ours_path)
            .args(name.map(|name| ["--model", name]).into_iter().flatten())
            .env("RAYON_NUM_THREADS", "2")
            .output()
            .unwrap();
        let peak: f64 = String::from_utf8_lossy(&child.stdout).trim().parse().unwrap();
        println!(
            "| {} | {:.1} | {:.2}, {wanted:.2} | {bpp:.2} | {:.0} / {:.0} ({:.2}) | {:.1} | {:.0} / {:.0} ({:.2}) | {:.0} / {:.0} ({:.2}) | {:.2} | {:.1} MB, {:.2} over 40 MB |",
            path.file_stem().unwrap_or_default().to_string_lossy(),
            pixels / 1e6,
            bytes.len() as f64 * 8.0 / pixels,
            cpu(0),
            cpu(1),
            three[0],
            cpu(0) * 1e6 / pixels,
            cpu(4),
            cpu(5),
            three[1],
            wall(2),
            wall(3),
            three[2],
            ratio(&times[0], &times[2], |time| time.1),
            peak / 1e6,
            (peak - 40e6).max(0.0) / pixels,
        );
        ratios.push(three);
    }
    ratios
}
