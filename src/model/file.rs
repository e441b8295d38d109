//! The model file: a safetensors file of integers.
//!
//! One metadata entry, `aecodec`, holds `key=value` pairs between semicolons:
//! `format` (the version of this layout), `name` and the numbers of [`Arch`].
//! Tensors, all little-endian:
//!
//! ```text
//! {part}.{site}.weight   I16 [outputs, inputs] or [9, channels]
//! {part}.{site}.shift    U8  [outputs]
//! {part}.{site}.bias     I32 [ANCHORS, outputs] or [channels]
//! {part}.{site}.gate     I16 [2]: limit, shift
//! y_step_log2            I16 [ANCHORS, latents]
//! z_step_log2            I16 [ANCHORS, hyper_latents]
//! z_scale_log2           I16 [ANCHORS, hyper_latents]
//! tables.low_bits        U8  [BINS]
//! tables.first           I16 [BINS]
//! tables.entries         U8  [BINS]: how many frequencies a bin has
//! tables.frequencies     U16 [all entries]
//! quality_map            U8  [101]
//! ```
//!
//! `{part}` is [`Part::name`], `{site}` the path of a [`layer::Site`]. There is
//! one entry only because a second one would make the order of the metadata,
//! and with it the file's hash, depend on chance.

use std::borrow::Cow;
use std::collections::HashMap;

use safetensors::tensor::{Dtype, Metadata, SafeTensors, View};

use super::layer::{self, Layer, output_channels};
use super::quality::{ANCHORS, LOG2_BITS};
use super::{Arch, IntegerNetwork, MAX_QUALITY, Model, Part, SiteParams};
use crate::entropy::{BINS, BinTable, ScaleTables};
use crate::error::{Error, Result};

/// The version of the layout.
const FORMAT: usize = 1;
/// The key of the one metadata entry.
const METADATA_KEY: &str = "aecodec";
/// Most channels of any kind.
const MAX_CHANNELS: usize = 1024;
/// Most blocks of a transform.
const MAX_BLOCKS: usize = 64;
/// Largest right shift of an accumulator.
const MAX_SHIFT: u8 = 30;
/// Quantisation steps lie within these octaves.
const STEP_OCTAVES: std::ops::RangeInclusive<i16> = -8 << LOG2_BITS..=14 << LOG2_BITS;

impl Model {
    /// Reads a model file and checks all of it.
    pub fn read(bytes: &[u8]) -> Result<Model> {
        let mut tensors = Tensors::open(bytes)?;
        let (name, arch) = parse_description(tensors.description()?)?;
        let networks = Part::ALL.map(|part| read_network(&mut tensors, &arch, part));
        let [a, b, c, d, e, f] = networks;
        let (m, n) = (arch.latents, arch.hyper_latents);
        let model = Model {
            networks: [a?, b?, c?, d?, e?, f?],
            y_step_log2: read_steps(&mut tensors, "y_step_log2", m)?,
            z_step_log2: read_steps(&mut tensors, "z_step_log2", n)?,
            z_scale_log2: tensors.i16s("z_scale_log2", &[ANCHORS, n])?,
            tables: read_tables(&mut tensors)?,
            quality_map: tensors.bytes("quality_map", Dtype::U8, &[usize::from(MAX_QUALITY) + 1])?.to_vec(),
            name,
            arch,
        };
        if !model.quality_map.is_sorted() {
            return Err(Error::Model("the quality map descends".into()));
        }
        tensors.finish()?;
        Ok(model)
    }

    /// The bytes of the model's file; equal models make equal files.
    pub fn write(&self) -> Vec<u8> {
        let mut file = FileTensors(Vec::new());
        for (part, network) in Part::ALL.iter().zip(&self.networks) {
            for (site, params) in layer::sites(&network.layers).iter().zip(&network.params) {
                write_site(&mut file, &site_prefix(*part, &site.path), site.layer, params);
            }
        }
        file.i16s("y_step_log2", &[ANCHORS, self.arch.latents], &self.y_step_log2);
        file.i16s("z_step_log2", &[ANCHORS, self.arch.hyper_latents], &self.z_step_log2);
        file.i16s("z_scale_log2", &[ANCHORS, self.arch.hyper_latents], &self.z_scale_log2);
        write_tables(&mut file, &self.tables);
        file.u8s("quality_map", self.quality_map.clone());
        let metadata = HashMap::from([(METADATA_KEY.to_string(), self.description())]);
        let tensors = file.0.iter().map(|tensor| (&tensor.name, tensor));
        safetensors::serialize(tensors, Some(metadata)).expect("shapes agree with data")
    }

    fn description(&self) -> String {
        let numbers = arch_numbers(&self.arch).map(|(key, value)| format!(";{key}={value}"));
        format!("format={FORMAT};name={}{}", self.name, numbers.concat())
    }
}

fn arch_numbers(arch: &Arch) -> [(&'static str, usize); 6] {
    [
        ("channels", arch.channels),
        ("analysis_blocks", arch.analysis_blocks),
        ("synthesis_blocks", arch.synthesis_blocks),
        ("latents", arch.latents),
        ("hyper_channels", arch.hyper_channels),
        ("hyper_latents", arch.hyper_latents),
    ]
}

fn parse_description(text: &str) -> Result<(String, Arch)> {
    let value = |key: &str| {
        text.split(';')
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
            .ok_or_else(|| Error::Model(format!("the metadata lack \"{key}\"")))
    };
    let number = |key: &str, most: usize| {
        let text = value(key)?;
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| Error::Model(format!("{key} is {text:?}, not a number from 1 to {most}")))
    };
    if value("format")?.parse() != Ok(FORMAT) {
        return Err(Error::Model(format!("format {:?}, this build reads {FORMAT}", value("format")?)));
    }
    let name = value("name")?;
    let well_formed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    if name.is_empty() || name.len() > 32 || !name.chars().all(well_formed) {
        return Err(Error::Model(format!("{name:?} is no name of a model")));
    }
    let arch = Arch {
        channels: number("channels", MAX_CHANNELS)?,
        analysis_blocks: number("analysis_blocks", MAX_BLOCKS)?,
        synthesis_blocks: number("synthesis_blocks", MAX_BLOCKS)?,
        latents: number("latents", MAX_CHANNELS)?,
        hyper_channels: number("hyper_channels", MAX_CHANNELS)?,
        hyper_latents: number("hyper_latents", MAX_CHANNELS)?,
    };
    Ok((name.to_string(), arch))
}

fn site_prefix(part: Part, path: &str) -> String {
    format!("{}.{path}", part.name())
}

fn read_network(tensors: &mut Tensors<'_>, arch: &Arch, part: Part) -> Result<IntegerNetwork> {
    let layers = arch.layers(part);
    if output_channels(&layers, arch.input_channels(part)).is_none() {
        return Err(Error::Model(format!("the layers of {} do not fit together", part.name())));
    }
    let params = layer::sites(&layers)
        .iter()
        .map(|site| read_site(tensors, &site_prefix(part, &site.path), site.layer))
        .collect::<Result<_>>()?;
    Ok(IntegerNetwork { layers, params })
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

fn read_steps(tensors: &mut Tensors<'_>, name: &str, channels: usize) -> Result<Vec<i16>> {
    let steps = tensors.i16s(name, &[ANCHORS, channels])?;
    match steps.iter().find(|step| !STEP_OCTAVES.contains(step)) {
        Some(step) => Err(Error::Model(format!("{name} holds {step}, out of range"))),
        None => Ok(steps),
    }
}

fn read_tables(tensors: &mut Tensors<'_>) -> Result<ScaleTables> {
    let low_bits = tensors.bytes("tables.low_bits", Dtype::U8, &[BINS])?;
    let first = tensors.i16s("tables.first", &[BINS])?;
    let entries = tensors.bytes("tables.entries", Dtype::U8, &[BINS])?;
    let total = entries.iter().map(|&n| usize::from(n)).sum();
    let mut frequencies = tensors.numbers("tables.frequencies", Dtype::U16, &[total], u16::from_le_bytes)?;
    let mut bins = Vec::with_capacity(BINS);
    for bin in 0..BINS {
        let rest = frequencies.split_off(entries[bin].into());
        bins.push(BinTable { low_bits: low_bits[bin], first: first[bin], frequencies });
        frequencies = rest;
    }
    ScaleTables::new(bins)
}

fn write_tables(file: &mut FileTensors, tables: &ScaleTables) {
    let bins = tables.bins();
    file.u8s("tables.low_bits", bins.iter().map(|bin| bin.low_bits).collect());
    file.i16s("tables.first", &[BINS], &bins.iter().map(|bin| bin.first).collect::<Vec<_>>());
    file.u8s("tables.entries", bins.iter().map(|bin| bin.frequencies.len() as u8).collect());
    let frequencies: Vec<u16> = bins.iter().flat_map(|bin| bin.frequencies.iter().copied()).collect();
    let data = frequencies.iter().flat_map(|f| f.to_le_bytes()).collect();
    file.push("tables.frequencies", Dtype::U16, &[frequencies.len()], data);
}

/// The tensors of a file that is being read.
struct Tensors<'a> {
    metadata: Metadata,
    data: &'a [u8],
    taken: usize,
}

impl<'a> Tensors<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self> {
        let (header, metadata) = SafeTensors::read_metadata(bytes)
            .map_err(|error| Error::Model(format!("not a safetensors file: {error}")))?;
        Ok(Tensors { metadata, data: &bytes[size_of::<u64>() + header..], taken: 0 })
    }

    fn description(&self) -> Result<&str> {
        let entry = self.metadata.metadata().as_ref().and_then(|entries| entries.get(METADATA_KEY));
        entry
            .map(String::as_str)
            .ok_or_else(|| Error::Model(format!("no \"{METADATA_KEY}\" in the metadata")))
    }

    fn bytes(&mut self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&'a [u8]> {
        let info = self.metadata.info(name).ok_or_else(|| Error::Model(format!("no tensor {name}")))?;
        if info.dtype != dtype || info.shape != shape {
            let (found, shape_found) = (info.dtype, &info.shape);
            return Err(Error::Model(format!("{name} is {found} {shape_found:?}, not {dtype} {shape:?}")));
        }
        self.taken += 1;
        Ok(&self.data[info.data_offsets.0..info.data_offsets.1])
    }

    fn numbers<T, const N: usize>(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
        from_le: fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let (numbers, _) = self.bytes(name, dtype, shape)?.as_chunks();
        Ok(numbers.iter().map(|&bytes| from_le(bytes)).collect())
    }

    fn i16s(&mut self, name: &str, shape: &[usize]) -> Result<Vec<i16>> {
        self.numbers(name, Dtype::I16, shape, i16::from_le_bytes)
    }

    fn i32s(&mut self, name: &str, shape: &[usize]) -> Result<Vec<i32>> {
        self.numbers(name, Dtype::I32, shape, i32::from_le_bytes)
    }

    fn finish(self) -> Result<()> {
        match self.metadata.tensors().len() - self.taken {
            0 => Ok(()),
            surplus => Err(Error::Model(format!("{surplus} tensors that belong to nothing"))),
        }
    }
}

/// The tensors of a file that is being written.
struct FileTensors(Vec<FileTensor>);

struct FileTensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl FileTensors {
    fn push(&mut self, name: &str, dtype: Dtype, shape: &[usize], data: Vec<u8>) {
        self.0.push(FileTensor { name: name.to_string(), dtype, shape: shape.to_vec(), data });
    }

    fn u8s(&mut self, name: &str, data: Vec<u8>) {
        self.push(name, Dtype::U8, &[data.len()], data);
    }

    fn i16s(&mut self, name: &str, shape: &[usize], values: &[i16]) {
        self.push(name, Dtype::I16, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect());
    }

    fn i32s(&mut self, name: &str, shape: &[usize], values: &[i32]) {
        self.push(name, Dtype::I32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect());
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
