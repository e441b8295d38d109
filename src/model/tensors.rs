//! The tensors of a model file, and how the parameters of a network lie in it.
//!
//! A model file is a safetensors file of integers, little-endian, with one
//! metadata entry, `aecodec`, that holds `key=value` pairs between semicolons.
//! There is one entry only because a second one would make the order of the
//! metadata, and with it the file's hash, depend on chance. A network's
//! parameters are called after the part they belong to and the path of their
//! [`layer::Site`]:
//!
//! ```text
//! {part}.{site}.weight   I16 [outputs, inputs] or [9, channels]
//! {part}.{site}.shift    U8  [outputs]
//! {part}.{site}.bias     I32 [ANCHORS, outputs] or [channels]
//! {part}.{site}.gate     I16 [2]: limit, shift
//! ```

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use safetensors::tensor::{Dtype, Metadata, SafeTensors, View};

use super::layer::{self, Layer, output_channels};
use super::quality::ANCHORS;
use super::registry::MODELS;
use super::{IntegerNetwork, ModelId, SiteParams};
use crate::error::{Error, Result};

/// The key of the one metadata entry.
const METADATA_KEY: &str = "aecodec";
/// Largest right shift of an accumulator.
const MAX_SHIFT: u8 = 30;

/// The pairs in a file's metadata entry.
pub struct Description<'a>(&'a str);

impl<'a> Description<'a> {
    /// The text behind `key=`.
    pub fn text(&self, key: &str) -> Result<&'a str> {
        self.0
            .split(';')
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
            .ok_or_else(|| Error::Model(format!("the metadata lack \"{key}\"")))
    }

    /// Whether there is a pair of this key.
    pub fn has(&self, key: &str) -> bool {
        self.text(key).is_ok()
    }

    /// The number behind `key=`, which is not below 1 and not above `most`.
    pub fn number(&self, key: &str, most: usize) -> Result<usize> {
        let text = self.text(key)?;
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| Error::Model(format!("{key} is {text:?}, not a number from 1 to {most}")))
    }

    /// The model's name, after a check that the layout's version is `format`.
    pub fn name(&self, format: &str) -> Result<String> {
        let found = self.text("format")?;
        if found != format {
            return Err(Error::Model(format!("format {found:?}, not {format:?}")));
        }
        let name = self.text("name")?;
        let well_formed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
        if name.is_empty() || name.len() > 32 || !name.chars().all(well_formed) {
            return Err(Error::Model(format!("{name:?} is no name of a model")));
        }
        Ok(name.to_string())
    }
}

/// Reads the parameters of `layers`, whose input has `inputs` channels.
pub fn read_network(
    tensors: &mut Tensors<'_>,
    part: &str,
    layers: Vec<Layer>,
    inputs: usize,
) -> Result<IntegerNetwork> {
    if output_channels(&layers, inputs).is_none() {
        return Err(Error::Model(format!("the layers of {part} do not fit together")));
    }
    let params = layer::sites(&layers)
        .iter()
        .map(|site| read_site(tensors, &format!("{part}.{}", site.path), site.layer))
        .collect::<Result<_>>()?;
    Ok(IntegerNetwork { layers, params })
}

/// Writes the parameters of a network.
pub fn write_network(file: &mut FileTensors, part: &str, network: &IntegerNetwork) {
    for (site, params) in layer::sites(&network.layers).iter().zip(&network.params) {
        write_site(file, &format!("{part}.{}", site.path), site.layer, params);
    }
}

fn read_site(tensors: &mut Tensors<'_>, prefix: &str, layer: &Layer) -> Result<SiteParams> {
    let weight = format!("{prefix}.weight");
    let bias = format!("{prefix}.bias");
    Ok(match *layer {
        Layer::Pointwise { inputs, outputs } => SiteParams::Pointwise {
            weights: tensors.i16s(&weight, &[outputs, inputs])?,
            shifts: read_shifts(tensors, prefix, outputs)?,
            biases: tensors.i32s(&bias, &[ANCHORS, outputs])?,
        },
        Layer::Depthwise { channels } => SiteParams::Depthwise {
            weights: tensors.i16s(&weight, &[9, channels])?,
            shifts: read_shifts(tensors, prefix, channels)?,
            biases: tensors.i32s(&bias, &[channels])?,
        },
        Layer::Gate { .. } => {
            let gate = tensors.i16s(&format!("{prefix}.gate"), &[2])?;
            let (limit, shift) = (gate[0], gate[1]);
            if limit < 1 || !(1..=i16::from(MAX_SHIFT)).contains(&shift) {
                return Err(Error::Model(format!("{prefix}.gate holds limit {limit} and shift {shift}")));
            }
            SiteParams::Gate { limit, shift: shift as u8 }
        }
        Layer::LeakyRelu | Layer::Unshuffle | Layer::Shuffle | Layer::Residual(_) => {
            unreachable!("not a site")
        }
    })
}

fn write_site(file: &mut FileTensors, prefix: &str, layer: &Layer, params: &SiteParams) {
    let weight = format!("{prefix}.weight");
    let bias = format!("{prefix}.bias");
    let shift = format!("{prefix}.shift");
    match (layer, params) {
        (&Layer::Pointwise { inputs, outputs }, SiteParams::Pointwise { weights, shifts, biases }) => {
            file.i16s(&weight, &[outputs, inputs], weights);
            file.u8s(&shift, shifts.clone());
            file.i32s(&bias, &[ANCHORS, outputs], biases);
        }
        (&Layer::Depthwise { channels }, SiteParams::Depthwise { weights, shifts, biases }) => {
            file.i16s(&weight, &[9, channels], weights);
            file.u8s(&shift, shifts.clone());
            file.i32s(&bias, &[channels], biases);
        }
        (Layer::Gate { .. }, SiteParams::Gate { limit, shift }) => {
            file.i16s(&format!("{prefix}.gate"), &[2], &[*limit, i16::from(*shift)]);
        }
        _ => panic!("{prefix}: the parameters are those of another layer"),
    }
}

fn read_shifts(tensors: &mut Tensors<'_>, prefix: &str, outputs: usize) -> Result<Vec<u8>> {
    let shifts = tensors.bytes(&format!("{prefix}.shift"), Dtype::U8, &[outputs])?;
    match shifts.iter().find(|&&shift| shift > MAX_SHIFT) {
        Some(shift) => Err(Error::Model(format!("{prefix}.shift holds {shift}, more than {MAX_SHIFT}"))),
        None => Ok(shifts.to_vec()),
    }
}

/// The tensors of a file that is being read, and of the model that it is based on.
#[derive(Debug, Clone)]
pub struct Tensors<'a> {
    metadata: Arc<Metadata>,
    data: &'a [u8],
    /// Of the file's own tensors, how many were read.
    taken: usize,
    base: Option<(ModelId, Arc<Tensors<'static>>)>,
}

impl<'a> Tensors<'a> {
    /// Opens a file, and the one of this build that it is based on, which may have a base as well:
    /// ids are hashes of files, so that none leads back to itself.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let (header, metadata) = SafeTensors::read_metadata(bytes)
            .map_err(|error| Error::Model(format!("not a safetensors file: {error}")))?;
        let data = &bytes[size_of::<u64>() + header..];
        let mut file = Tensors { metadata: Arc::new(metadata), data, taken: 0, base: None };
        if let Some(text) = file.description().ok().and_then(|description| description.text("base").ok()) {
            let model = MODELS
                .iter()
                .find(|model| model.id.to_string() == text)
                .ok_or_else(|| Error::Model(format!("based on {text:?}, which is no model of this build")))?;
            file.base = Some((model.id, Arc::new(Tensors::open(model.bytes)?)));
        }
        Ok(file)
    }

    /// The model that the file is based on, if it is.
    pub fn base(&self) -> Option<ModelId> {
        self.base.as_ref().map(|(id, _)| *id)
    }

    /// The metadata entry.
    pub fn description(&self) -> Result<Description<'_>> {
        let entry = self.metadata.metadata().as_ref().and_then(|entries| entries.get(METADATA_KEY));
        entry
            .map(|text| Description(text))
            .ok_or_else(|| Error::Model(format!("no \"{METADATA_KEY}\" in the metadata")))
    }

    /// The shape of a tensor, if there is one.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        let own = self.metadata.info(name).map(|info| &info.shape[..]);
        own.or_else(|| self.base.as_ref().and_then(|(_, base)| base.shape(name)))
    }

    /// The bytes of a tensor of this type and shape.
    pub fn bytes(&mut self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&'a [u8]> {
        self.taken += usize::from(self.metadata.info(name).is_some());
        self.look_up(name, dtype, shape)
    }

    fn look_up(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&'a [u8]> {
        let Some(info) = self.metadata.info(name) else {
            let (_, base) = self.base.as_ref().ok_or_else(|| Error::Model(format!("no tensor {name}")))?;
            return base.look_up(name, dtype, shape);
        };
        if info.dtype != dtype || info.shape != shape {
            let (found, shape_found) = (info.dtype, &info.shape);
            return Err(Error::Model(format!("{name} is {found} {shape_found:?}, not {dtype} {shape:?}")));
        }
        Ok(&self.data[info.data_offsets.0..info.data_offsets.1])
    }

    /// The numbers of a tensor.
    pub fn numbers<T, const N: usize>(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
        from_le: fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let (numbers, _) = self.bytes(name, dtype, shape)?.as_chunks();
        Ok(numbers.iter().map(|&bytes| from_le(bytes)).collect())
    }

    /// The numbers of a tensor of 16 bits.
    pub fn i16s(&mut self, name: &str, shape: &[usize]) -> Result<Vec<i16>> {
        self.numbers(name, Dtype::I16, shape, i16::from_le_bytes)
    }

    fn i32s(&mut self, name: &str, shape: &[usize]) -> Result<Vec<i32>> {
        self.numbers(name, Dtype::I32, shape, i32::from_le_bytes)
    }

    /// An error where the file holds more than was read.
    pub fn finish(self) -> Result<()> {
        match self.metadata.tensors().len() - self.taken {
            0 => Ok(()),
            surplus => Err(Error::Model(format!("{surplus} tensors that belong to nothing"))),
        }
    }
}

/// The tensors of a file that is being written.
pub struct FileTensors(Vec<FileTensor>);

struct FileTensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl FileTensors {
    /// A file without tensors.
    pub fn new() -> FileTensors {
        FileTensors(Vec::new())
    }

    /// Adds a tensor.
    pub fn push(&mut self, name: &str, dtype: Dtype, shape: &[usize], data: Vec<u8>) {
        self.0.push(FileTensor { name: name.to_string(), dtype, shape: shape.to_vec(), data });
    }

    /// Adds a list of bytes.
    pub fn u8s(&mut self, name: &str, data: Vec<u8>) {
        self.push(name, Dtype::U8, &[data.len()], data);
    }

    /// Adds a tensor of 16 bits.
    pub fn i16s(&mut self, name: &str, shape: &[usize], values: &[i16]) {
        self.push(name, Dtype::I16, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect());
    }

    fn i32s(&mut self, name: &str, shape: &[usize], values: &[i32]) {
        self.push(name, Dtype::I32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect());
    }

    /// Drops the tensors that a file has as well.
    pub fn leave_out(&mut self, file: &[u8]) {
        let base = Tensors::open(file).expect("a file of this build");
        let has = |tensor: &FileTensor| base.look_up(&tensor.name, tensor.dtype, &tensor.shape);
        self.0.retain(|tensor| has(tensor).map_or(true, |data| data != &tensor.data[..]));
    }

    /// The bytes of the file with this metadata entry.
    pub fn serialize(&self, description: String) -> Vec<u8> {
        let metadata = HashMap::from([(METADATA_KEY.to_string(), description)]);
        let tensors = self.0.iter().map(|tensor| (&tensor.name, tensor));
        safetensors::serialize(tensors, Some(metadata)).expect("shapes agree with data")
    }
}

impl View for &FileTensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}
