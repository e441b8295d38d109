//! The codec's model file.
//!
//! The metadata entry holds `format` (the version of this layout), `name` and
//! the numbers of [`Arch`]; `channels` and `hyper_channels` are the decoder's,
//! and the encoder's too unless `analysis_channels` or `hyper_analysis_channels`
//! say otherwise; `synthesis_inner` and `analysis_inner` stand there where a
//! block's branches are not as wide as the stream, `states` where two quantisers
//! have not 32. Where a part has several networks, each for a range of quality
//! indices, `{part}` holds the first indices of all but the first one, with commas
//! between them. Tensors beside those of the networks, for which see
//! `model/tensors.rs`:
//!
//! ```text
//! y_step_log2            I16 [ANCHORS, latents]
//! z_step_log2            I16 [ANCHORS, hyper_latents]
//! z_scale_log2           I16 [ANCHORS, hyper_latents]
//! z_prediction           I16 [hyper_latents, 2], or none
//! class_filters          I16 [ANCHORS, CLASSES, CLASS_TAPS], or none: `model/class_filters.rs`
//! class_units            I16 [ANCHORS], where there are those
//! tables.low_bits        U8  [BINS, or twice that with two quantisers]
//! tables.first           I16 [as many]
//! tables.entries         U8  [as many]: how many frequencies a bin has
//! tables.frequencies     U16 [all entries]
//! quality_map            U8  [101]
//! ```
//!
//! A file may say `base=ID`: tensors that it lacks are those of that model of this build, which
//! may have a base in its turn.
//!
//! The parts are called [`Part::name`]; the networks of further ranges `{part}@{first index}`.

use std::iter;

use safetensors::tensor::Dtype;

use super::class_filters::{CLASS_TAPS, CLASSES, ClassFilters, MAX_CLASS_WEIGHT, MAX_UNIT};
use super::quality::{ANCHORS, LOG2_BITS};
use super::registry::{self, MODELS};
use super::tensors::{Description, FileTensors, Tensors, read_network, write_network};
use super::trellis::{DEPENDENT_32, DEPENDENT_256, SCALAR, Trellis};
use super::{Arch, ByQuality, IntegerNetwork, MAX_QUALITY, Model, PREDICTION_BITS, Part, QualityIndex};
use crate::entropy::{BINS, BinTable, ScaleTables};
use crate::error::{Error, Result};

/// The version of the layout.
const FORMAT: &str = "1";
/// Most channels of any kind.
const MAX_CHANNELS: usize = 1024;
/// Most blocks of a transform.
const MAX_BLOCKS: usize = 64;
/// The tensor of predictions of hyper-latents.
const PREDICTION: &str = "z_prediction";
/// The largest weight in it: two of them stay within 32 bits.
const MAX_PREDICTION: u16 = 4 << PREDICTION_BITS;
/// The tensors of filters for classes of blocks.
const CLASS_FILTERS: &str = "class_filters";
const CLASS_UNITS: &str = "class_units";
/// Quantisation steps lie within these octaves.
const STEP_OCTAVES: std::ops::RangeInclusive<i16> = -8 << LOG2_BITS..=14 << LOG2_BITS;

impl Model {
    /// Reads a model file and checks all of it.
    pub fn read(bytes: &[u8]) -> Result<Model> {
        let mut tensors = Tensors::open(bytes)?;
        let mut model = read_numbers(&mut tensors)?;
        for part in Part::ALL {
            for (first, network) in model.networks[part as usize].iter_mut() {
                *network = Some(read_part(&mut tensors, &model.arch, part, first)?);
            }
        }
        tensors.finish()?;
        Ok(model)
    }

    /// Reads all of a model file but its networks.
    pub(crate) fn read_without_networks(mut file: Tensors<'_>) -> Result<Model> {
        read_numbers(&mut file)
    }

    /// Reads the network of a model file whose range begins at the index `first`.
    pub(crate) fn read_network(
        mut file: Tensors<'_>,
        arch: &Arch,
        part: Part,
        first: QualityIndex,
    ) -> Result<IntegerNetwork> {
        read_part(&mut file, arch, part, first)
    }

    /// The bytes of the file of a model that has all its networks; equal models make equal
    /// files.
    pub fn write(&self) -> Vec<u8> {
        let mut file = FileTensors::new();
        for (part, networks) in Part::ALL.iter().zip(&self.networks) {
            for (first, network) in networks.iter() {
                let network = network.as_ref().expect("a model that has all its networks");
                write_network(&mut file, &prefix(*part, first), network);
            }
        }
        file.i16s("y_step_log2", &[ANCHORS, self.arch.latents], &self.y_step_log2);
        file.i16s("z_step_log2", &[ANCHORS, self.arch.hyper_latents], &self.z_step_log2);
        file.i16s("z_scale_log2", &[ANCHORS, self.arch.hyper_latents], &self.z_scale_log2);
        if !self.z_prediction.is_empty() {
            file.i16s(PREDICTION, &[self.arch.hyper_latents, 2], &self.z_prediction);
        }
        if let Some(ClassFilters { units, weights }) = &self.class_filters {
            file.i16s(CLASS_UNITS, &[ANCHORS], units);
            file.i16s(CLASS_FILTERS, &[ANCHORS, CLASSES, CLASS_TAPS], weights);
        }
        write_tables(&mut file, &self.tables);
        file.u8s("quality_map", self.quality_map.clone());
        if let Some(base) = self.base.and_then(registry::find) {
            file.leave_out(MODELS[base].bytes);
        }
        file.serialize(self.description())
    }

    fn description(&self) -> String {
        let numbers = arch_numbers(&self.arch).into_iter().map(|(key, value)| format!(";{key}={value}"));
        let states = match self.trellis {
            SCALAR | DEPENDENT_32 => String::new(),
            Trellis { states, .. } => format!(";states={states}"),
        };
        let ranges = Part::ALL.iter().zip(&self.networks).map(|(part, networks)| {
            let further: Vec<String> =
                networks.iter().skip(1).map(|(first, _)| first.0.to_string()).collect();
            if further.is_empty() { String::new() } else { format!(";{}={}", part.name(), further.join(",")) }
        });
        let (numbers, ranges): (String, String) = (numbers.collect(), ranges.collect());
        let base = self.base.map_or(String::new(), |base| format!(";base={base}"));
        format!("format={FORMAT};name={}{numbers}{states}{ranges}{base}", self.name)
    }
}

/// What the names of a network's tensors begin with.
fn prefix(part: Part, first: QualityIndex) -> String {
    match first {
        QualityIndex(0) => part.name().to_string(),
        QualityIndex(first) => format!("{}@{first}", part.name()),
    }
}

fn read_part(
    tensors: &mut Tensors<'_>,
    arch: &Arch,
    part: Part,
    first: QualityIndex,
) -> Result<IntegerNetwork> {
    read_network(tensors, &prefix(part, first), arch.layers(part), arch.input_channels(part))
}

/// The ranges of a part's networks, of which none is read.
fn parse_ranges(description: &Description<'_>, part: Part) -> Result<ByQuality<Option<IntegerNetwork>>> {
    let Ok(text) = description.text(part.name()) else { return Ok(ByQuality::one(None)) };
    let further = text.split(',').map(|first| first.parse().ok().map(QualityIndex));
    let firsts: Option<Vec<QualityIndex>> = iter::once(Some(QualityIndex(0))).chain(further).collect();
    firsts
        .and_then(|firsts| ByQuality::new(firsts.into_iter().map(|first| (first, None)).collect()))
        .ok_or_else(|| Error::Model(format!("{} has networks from the indices {text:?} on", part.name())))
}

/// A model without its networks.
fn read_numbers(tensors: &mut Tensors<'_>) -> Result<Model> {
    let description = tensors.description()?;
    let (name, arch) = (description.name(FORMAT)?, parse_arch(&description)?);
    let states = description.text("states").ok().map(str::to_string);
    let networks = Part::ALL.iter().map(|part| parse_ranges(&description, *part));
    let networks: Vec<_> = networks.collect::<Result<_>>()?;
    let (m, n) = (arch.latents, arch.hyper_latents);
    let base = tensors.base();
    let tables = read_tables(tensors)?;
    let model = Model {
        networks: networks.try_into().expect("one entry per part"),
        y_step_log2: read_steps(tensors, "y_step_log2", m)?,
        z_step_log2: read_steps(tensors, "z_step_log2", n)?,
        z_scale_log2: tensors.i16s("z_scale_log2", &[ANCHORS, n])?,
        z_prediction: read_prediction(tensors, n)?,
        trellis: trellis(states.as_deref(), tables.quantisers())?,
        tables,
        class_filters: read_class_filters(tensors)?,
        base,
        quality_map: tensors.bytes("quality_map", Dtype::U8, &[usize::from(MAX_QUALITY) + 1])?.to_vec(),
        name,
        arch,
    };
    if !model.quality_map.is_sorted() {
        return Err(Error::Model("the quality map descends".into()));
    }
    Ok(model)
}

/// The encoder's widths stand there only where they are not the decoder's, and
/// those within blocks only where they are not the stream's.
fn arch_numbers(arch: &Arch) -> Vec<(&'static str, usize)> {
    let mut numbers = vec![
        ("channels", arch.synthesis_channels),
        ("analysis_blocks", arch.analysis_blocks),
        ("synthesis_blocks", arch.synthesis_blocks),
        ("latents", arch.latents),
        ("hyper_channels", arch.hyper_synthesis_channels),
        ("hyper_latents", arch.hyper_latents),
    ];
    if arch.analysis_channels != arch.synthesis_channels {
        numbers.push(("analysis_channels", arch.analysis_channels));
    }
    if arch.hyper_analysis_channels != arch.hyper_synthesis_channels {
        numbers.push(("hyper_analysis_channels", arch.hyper_analysis_channels));
    }
    if arch.analysis_inner != arch.analysis_channels {
        numbers.push(("analysis_inner", arch.analysis_inner));
    }
    if arch.synthesis_inner != arch.synthesis_channels {
        numbers.push(("synthesis_inner", arch.synthesis_inner));
    }
    numbers
}

fn parse_arch(description: &Description<'_>) -> Result<Arch> {
    let number = |key, most| description.number(key, most);
    let unless = |key, usual| if description.has(key) { number(key, MAX_CHANNELS) } else { Ok(usual) };
    let (channels, hyper) = (number("channels", MAX_CHANNELS)?, number("hyper_channels", MAX_CHANNELS)?);
    let analysis_channels = unless("analysis_channels", channels)?;
    Ok(Arch {
        analysis_channels,
        synthesis_channels: channels,
        analysis_blocks: number("analysis_blocks", MAX_BLOCKS)?,
        synthesis_blocks: number("synthesis_blocks", MAX_BLOCKS)?,
        latents: number("latents", MAX_CHANNELS)?,
        hyper_analysis_channels: unless("hyper_analysis_channels", hyper)?,
        hyper_synthesis_channels: hyper,
        hyper_latents: number("hyper_latents", MAX_CHANNELS)?,
        analysis_inner: unless("analysis_inner", analysis_channels)?,
        synthesis_inner: unless("synthesis_inner", channels)?,
    })
}

fn read_steps(tensors: &mut Tensors<'_>, name: &str, channels: usize) -> Result<Vec<i16>> {
    let steps = tensors.i16s(name, &[ANCHORS, channels])?;
    match steps.iter().find(|step| !STEP_OCTAVES.contains(step)) {
        Some(step) => Err(Error::Model(format!("{name} holds {step}, out of range"))),
        None => Ok(steps),
    }
}

fn read_prediction(tensors: &mut Tensors<'_>, channels: usize) -> Result<Vec<i16>> {
    if tensors.shape(PREDICTION).is_none() {
        return Ok(Vec::new());
    }
    let weights = tensors.i16s(PREDICTION, &[channels, 2])?;
    match weights.iter().find(|weight| weight.unsigned_abs() > MAX_PREDICTION) {
        Some(weight) => Err(Error::Model(format!("{PREDICTION} holds {weight}, out of range"))),
        None => Ok(weights),
    }
}

fn read_class_filters(tensors: &mut Tensors<'_>) -> Result<Option<ClassFilters>> {
    if tensors.shape(CLASS_FILTERS).is_none() {
        return Ok(None);
    }
    let units = tensors.i16s(CLASS_UNITS, &[ANCHORS])?;
    let weights = tensors.i16s(CLASS_FILTERS, &[ANCHORS, CLASSES, CLASS_TAPS])?;
    let out_of_range = |name: &str, value: &i16| Error::Model(format!("{name} holds {value}, out of range"));
    if let Some(unit) = units.iter().find(|unit| !(1..=MAX_UNIT).contains(*unit)) {
        return Err(out_of_range(CLASS_UNITS, unit));
    }
    if let Some(weight) = weights.iter().find(|weight| weight.unsigned_abs() > MAX_CLASS_WEIGHT as u16) {
        return Err(out_of_range(CLASS_FILTERS, weight));
    }
    Ok(Some(ClassFilters { units, weights }))
}

/// The states of a model whose metadata say that there are so many, or say nothing.
fn trellis(states: Option<&str>, quantisers: usize) -> Result<Trellis> {
    match (states, quantisers) {
        (None, 1) => Ok(SCALAR),
        (None, _) => Ok(DEPENDENT_32),
        (Some("256"), 2) => Ok(DEPENDENT_256),
        (Some(states), _) => Err(Error::Model(format!("{states:?} states of {quantisers} quantisers"))),
    }
}

fn read_tables(tensors: &mut Tensors<'_>) -> Result<ScaleTables> {
    let two = tensors.shape("tables.low_bits") == Some(&[2 * BINS]);
    let count = if two { 2 * BINS } else { BINS };
    let low_bits = tensors.bytes("tables.low_bits", Dtype::U8, &[count])?;
    let first = tensors.i16s("tables.first", &[count])?;
    let entries = tensors.bytes("tables.entries", Dtype::U8, &[count])?;
    let total = entries.iter().map(|&n| usize::from(n)).sum();
    let all = tensors.numbers("tables.frequencies", Dtype::U16, &[total], u16::from_le_bytes)?;
    let (mut bins, mut rest) = (Vec::with_capacity(count), &all[..]);
    for bin in 0..count {
        let (frequencies, behind) = rest.split_at(entries[bin].into());
        bins.push(BinTable { low_bits: low_bits[bin], first: first[bin], frequencies: frequencies.to_vec() });
        rest = behind;
    }
    ScaleTables::new(bins)
}

fn write_tables(file: &mut FileTensors, tables: &ScaleTables) {
    let bins = tables.bins();
    file.u8s("tables.low_bits", bins.iter().map(|bin| bin.low_bits).collect());
    file.i16s("tables.first", &[bins.len()], &bins.iter().map(|bin| bin.first).collect::<Vec<_>>());
    file.u8s("tables.entries", bins.iter().map(|bin| bin.frequencies.len() as u8).collect());
    let frequencies: Vec<u16> = bins.iter().flat_map(|bin| bin.frequencies.iter().copied()).collect();
    let data = frequencies.iter().flat_map(|f| f.to_le_bytes()).collect();
    file.push("tables.frequencies", Dtype::U16, &[frequencies.len()], data);
}
