//! aecodec for WebAssembly. Plain exports and one linear memory: the page (or
//! node) copies bytes in, calls, and copies the result out; `aecodec.js` is the
//! other side of it.
//!
//! Pixels cross as RGBA, which is what a canvas holds. Each call leaves its
//! result in one place until the next one: bytes, or pixels and their size, or
//! the words of an error.
#![allow(unsafe_code)] // Exports need names that are not mangled.

use std::cell::RefCell;

use aecodec::{DecodeOptions, EncodeOptions, Result, Scale};
use image::{DynamicImage, RgbImage};

/// What calls leave behind.
#[derive(Default)]
struct Room {
    input: Vec<u8>,
    output: Vec<u8>,
    width: u32,
    height: u32,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

/// Room for `length` bytes of input; the address to copy them to.
#[unsafe(no_mangle)]
pub extern "C" fn input(length: usize) -> *mut u8 {
    ROOM.with_borrow_mut(|room| {
        room.input = vec![0; length];
        room.input.as_mut_ptr()
    })
}

/// The address of the result.
#[unsafe(no_mangle)]
pub extern "C" fn output() -> *const u8 {
    ROOM.with_borrow(|room| room.output.as_ptr())
}

/// Bytes of the result.
#[unsafe(no_mangle)]
pub extern "C" fn output_length() -> usize {
    ROOM.with_borrow(|room| room.output.len())
}

/// Pixels in a row of the last picture.
#[unsafe(no_mangle)]
pub extern "C" fn width() -> u32 {
    ROOM.with_borrow(|room| room.width)
}

/// Rows of the last picture.
#[unsafe(no_mangle)]
pub extern "C" fn height() -> u32 {
    ROOM.with_borrow(|room| room.height)
}

/// Decodes the input, an `.aec` file, to RGBA, `2^halvings` times smaller for
/// `halvings` from 0 to 3. False: the result is an error.
#[unsafe(no_mangle)]
pub extern "C" fn decode(halvings: u32) -> bool {
    call(|input, room| {
        let scale = match halvings {
            0 => Scale::Full,
            1 => Scale::Half,
            2 => Scale::Quarter,
            _ => Scale::Eighth,
        };
        let picture = aecodec::decode(input, &DecodeOptions { scale, ..Default::default() })?;
        (room.width, room.height) = (picture.width(), picture.height());
        room.output = picture.into_rgba8().into_raw();
        Ok(())
    })
}

/// Encodes the input, RGBA pixels whose alpha is ignored, at a quality from 0 to
/// 100. Pixels that are all grey make a grey file. False: the result is an error.
#[unsafe(no_mangle)]
pub extern "C" fn encode(width: u32, height: u32, quality: f32) -> bool {
    call(|input, room| {
        let pixels = input.as_chunks::<4>().0;
        let rgb: Vec<u8> = pixels.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
        let rgb = RgbImage::from_raw(width, height, rgb).ok_or_else(|| {
            aecodec::Error::Parameter(format!("{} pixels for {width}x{height}", pixels.len()))
        })?;
        let grey = pixels.iter().all(|[r, g, b, _]| r == g && g == b);
        let picture = DynamicImage::ImageRgb8(rgb);
        let picture = if grey { DynamicImage::ImageLuma8(picture.into_luma8()) } else { picture };
        room.output = aecodec::encode(&picture, &EncodeOptions { quality, effort: 0, ..Default::default() })?;
        (room.width, room.height) = (width, height);
        Ok(())
    })
}

/// The name of the instructions in use.
#[unsafe(no_mangle)]
pub extern "C" fn level() -> bool {
    call(|_, room| {
        room.output = aecodec::nn::Level::best().name().into();
        Ok(())
    })
}

/// Runs `work` on the input, which is used up.
fn call(work: impl FnOnce(&[u8], &mut Room) -> Result<()>) -> bool {
    ROOM.with_borrow_mut(|room| {
        let input = std::mem::take(&mut room.input);
        room.output.clear();
        let result = work(&input, room);
        if let Err(error) = &result {
            room.output = error.to_string().into_bytes();
        }
        result.is_ok()
    })
}
