//! `.aec` files for the image crate: `image::open` and `ImageReader` read them
//! after one call of [`register_image_hooks`].

use std::ffi::OsString;
use std::io::{BufRead, Seek};

use image::error::{
    DecodingError, ImageFormatHint, LimitError, LimitErrorKind, ParameterError, ParameterErrorKind,
    UnsupportedError, UnsupportedErrorKind,
};
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageError, ImageResult, hooks};

use crate::codec::{self, DecodeOptions};
use crate::container::{Colour, Container, MAGIC, Metadata};
use crate::error::Error;

/// The extension of our files.
const EXTENSION: &str = "aec";

/// Teaches the image crate to know and to read `.aec` files, in the whole
/// program. A second call does nothing and returns false.
///
/// ```
/// aecodec::register_image_hooks();
/// let picture = image::open("testdata/golden/bikes-q30.aec")?;
/// assert_eq!((picture.width(), picture.height()), (192, 128));
/// # Ok::<(), image::ImageError>(())
/// ```
pub fn register_image_hooks() -> bool {
    let extension = OsString::from(EXTENSION);
    let is_new = hooks::register_decoding_hook(
        extension.clone(),
        Box::new(|reader| Ok(Box::new(AecDecoder::new(reader)?))),
    );
    if is_new {
        hooks::register_format_detection_hook(extension, &MAGIC, None);
    }
    is_new
}

/// A decoder of `.aec` files for the image crate.
///
/// Its limits are those of [`crate::Limits`], narrowed by
/// [`set_limits`](ImageDecoder::set_limits). Pixels are as they were stored;
/// [`orientation`](ImageDecoder::orientation) says how to turn them.
#[derive(Debug)]
pub struct AecDecoder {
    bytes: Vec<u8>,
    dimensions: (u32, u32),
    color: ColorType,
    metadata: Metadata,
    options: DecodeOptions,
}

impl AecDecoder {
    /// Reads a whole file, but decodes nothing yet.
    pub fn new(mut reader: impl BufRead + Seek) -> ImageResult<AecDecoder> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        let options = DecodeOptions::default();
        let header = Container::read(&bytes).map_err(to_image)?.header;
        let metadata = codec::metadata(&bytes, &options.limits).map_err(to_image)?;
        let color = match (header.colour, header.alpha) {
            (Colour::Grey8, false) => ColorType::L8,
            (Colour::Grey8, true) => ColorType::La8,
            (Colour::Rgb8, false) => ColorType::Rgb8,
            (Colour::Rgb8, true) => ColorType::Rgba8,
            (Colour::Grey16, false) => ColorType::L16,
            (Colour::Grey16, true) => ColorType::La16,
            (Colour::Rgb16, false) => ColorType::Rgb16,
            (Colour::Rgb16, true) => ColorType::Rgba16,
        };
        Ok(AecDecoder { bytes, dimensions: (header.width, header.height), color, metadata, options })
    }
}

impl ImageDecoder for AecDecoder {
    fn dimensions(&self) -> (u32, u32) {
        self.dimensions
    }

    fn color_type(&self) -> ColorType {
        self.color
    }

    /// The ICC profile of the file; a colour space that is told in numbers has
    /// none.
    fn icc_profile(&mut self) -> ImageResult<Option<Vec<u8>>> {
        Ok(self.metadata.icc.clone())
    }

    fn exif_metadata(&mut self) -> ImageResult<Option<Vec<u8>>> {
        Ok(self.metadata.exif.clone())
    }

    fn xmp_metadata(&mut self) -> ImageResult<Option<Vec<u8>>> {
        Ok(self.metadata.xmp.clone())
    }

    fn orientation(&mut self) -> ImageResult<Orientation> {
        Ok(self.metadata.orientation)
    }

    fn read_image(self, buf: &mut [u8]) -> ImageResult<()> {
        let picture = codec::decode(&self.bytes, &self.options).map_err(to_image)?;
        let pixels = picture.as_bytes();
        if pixels.len() != buf.len() {
            return Err(ImageError::Parameter(ParameterError::from_kind(
                ParameterErrorKind::DimensionMismatch,
            )));
        }
        buf.copy_from_slice(pixels);
        Ok(())
    }

    fn set_limits(&mut self, limits: image::Limits) -> ImageResult<()> {
        let (width, height) = self.dimensions;
        limits.check_dimensions(width, height)?;
        if let Some(most) = limits.max_alloc {
            let ours = &mut self.options.limits.max_memory;
            *ours = most.min(*ours);
        }
        Ok(())
    }

    fn read_image_boxed(self: Box<Self>, buf: &mut [u8]) -> ImageResult<()> {
        (*self).read_image(buf)
    }
}

fn to_image(error: Error) -> ImageError {
    let hint = || ImageFormatHint::Name("AEC".into());
    match error {
        Error::Io(error) => ImageError::IoError(error),
        Error::Unsupported(what) => ImageError::Unsupported(UnsupportedError::from_format_and_kind(
            hint(),
            UnsupportedErrorKind::GenericFeature(what),
        )),
        Error::Limits(_) => ImageError::Limits(LimitError::from_kind(LimitErrorKind::InsufficientMemory)),
        other => ImageError::Decoding(DecodingError::new(hint(), other)),
    }
}
