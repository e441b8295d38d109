//! A run's state on disk: everything a killed run needs to go on as if nothing
//! had happened.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::optimizer::{Side, State};
use crate::model::{Arch, RestorationArch, Task};

/// File name within the run's folder.
pub const FILE: &str = "checkpoint.safetensors";

/// The numbers that networks follow from, as text in a checkpoint.
pub trait Numbers: Clone + PartialEq + std::fmt::Debug {
    /// One line of text.
    fn to_text(&self) -> String;
    /// What the text says, or `None` where it is that of something else.
    fn from_text(text: &str) -> Option<Self>;
}

/// What a run is made of between two steps.
pub struct Checkpoint<A = Arch> {
    /// Shape of the networks.
    pub arch: A,
    /// Steps done.
    pub step: u64,
    /// Seconds of training done.
    pub seconds: f64,
    /// Variables by name.
    pub weights: BTreeMap<String, Vec<f32>>,
    /// The optimiser's memory, by the same names.
    pub states: BTreeMap<String, State>,
}

impl Numbers for Arch {
    fn to_text(&self) -> String {
        self.numbers().map(|n| n.to_string()).join(" ")
    }

    fn from_text(text: &str) -> Option<Arch> {
        let mut numbers = text.split(' ').map(|n| n.parse().ok());
        let mut next = || numbers.next().flatten();
        let arch = Arch {
            analysis_channels: next()?,
            analysis_blocks: next()?,
            synthesis_channels: next()?,
            synthesis_blocks: next()?,
            latents: next()?,
            hyper_analysis_channels: next()?,
            hyper_synthesis_channels: next()?,
            hyper_latents: next()?,
            analysis_inner: next()?,
            synthesis_inner: next()?,
        };
        numbers.next().is_none().then_some(arch)
    }
}

impl Numbers for RestorationArch {
    fn to_text(&self) -> String {
        let numbers = self.numbers().map(|(_, number)| format!(" {number}"));
        self.task.name() + &numbers.concat()
    }

    fn from_text(text: &str) -> Option<RestorationArch> {
        let (task, numbers) = text.split_once(' ')?;
        let n: Vec<usize> = numbers.split(' ').map(|n| n.parse().ok()).collect::<Option<_>>()?;
        let [channels, levels, blocks, inner_blocks] = n[..] else { return None };
        Some(RestorationArch { task: Task::from_name(task)?, channels, levels, blocks, inner_blocks })
    }
}

impl<A: Numbers> Checkpoint<A> {
    /// A run that starts from `weights`, with a fresh optimiser.
    pub fn start(arch: A, weights: BTreeMap<String, Vec<f32>>) -> Checkpoint<A> {
        let states = weights.iter().map(|(name, w)| (name.clone(), State::new(w, 0))).collect();
        Checkpoint { arch, step: 0, seconds: 0.0, weights, states }
    }

    /// Writes the checkpoint beside its final name, then renames it, so that a
    /// kill or a full disk leaves the old one.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let mut arrays: Vec<(String, &[f32])> = Vec::new();
        for (name, weights) in &self.weights {
            arrays.push((format!("weights/{name}"), weights));
        }
        for (name, state) in &self.states {
            arrays.push((format!("m/{name}"), &state.m));
            arrays.push((format!("v/{name}"), &state.v));
            arrays.push((format!("ema/{name}"), &state.ema));
            for (index, sides) in state.sides.iter().enumerate() {
                for (side, s) in sides.iter().enumerate().filter(|(_, s)| !s.basis.is_empty()) {
                    arrays.push((format!("covariance/{name}/{index}/{side}"), &s.covariance));
                    arrays.push((format!("basis/{name}/{index}/{side}"), &s.basis));
                }
            }
        }
        let bytes: Vec<(String, Vec<u8>)> = arrays
            .into_iter()
            .map(|(name, values)| (name, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let views = bytes
            .iter()
            .map(|(name, bytes)| Ok((name, TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes)?)))
            .collect::<Result<Vec<_>>>()?;
        let metadata = HashMap::from([
            ("arch".to_string(), self.arch.to_text()),
            ("step".to_string(), self.step.to_string()),
            ("seconds".to_string(), self.seconds.to_string()),
        ]);
        let data = safetensors::serialize(views, Some(metadata))?;
        let path = folder.join(FILE);
        let mut file = tempfile::NamedTempFile::new_in(folder)
            .with_context(|| format!("cannot write a checkpoint into {}", folder.display()))?;
        file.write_all(&data).with_context(|| format!("cannot write {}", path.display()))?;
        file.as_file().sync_all()?;
        file.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }

    /// Whether a run's folder holds a checkpoint of this kind, or none at all.
    pub fn is_in(folder: &Path) -> Result<bool> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(true);
        }
        let data = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (_, header) = SafeTensors::read_metadata(&data)
            .with_context(|| format!("{} is not a checkpoint", path.display()))?;
        let arch = header.metadata().as_ref().and_then(|entries| entries.get("arch"));
        Ok(arch.and_then(|text| A::from_text(text)).is_some())
    }

    /// Reads the checkpoint of a run's folder, or `None` where there is none.
    pub fn load(folder: &Path) -> Result<Option<Checkpoint<A>>> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let data = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let context = || format!("{} is not a checkpoint", path.display());
        let (_, header) = SafeTensors::read_metadata(&data).with_context(context)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let entry = |key: &str| metadata.get(key).with_context(context);
        let arch = A::from_text(entry("arch")?)
            .with_context(|| format!("{} is a run of another kind", path.display()))?;
        let step = entry("step")?.parse().with_context(context)?;
        let seconds = entry("seconds")?.parse().with_context(context)?;
        let tensors = SafeTensors::deserialize(&data).with_context(context)?;
        let floats = |name: &str| -> Option<Vec<f32>> {
            let view = tensors.tensor(name).ok()?;
            let (quads, _) = view.data().as_chunks::<4>();
            Some(quads.iter().map(|b| f32::from_le_bytes(*b)).collect())
        };
        let mut weights = BTreeMap::new();
        let mut states = BTreeMap::new();
        for name in tensors.names() {
            if let Some(var) = name.strip_prefix("weights/") {
                weights.insert(var.to_string(), floats(name).with_context(context)?);
                let get = |kind: &str| floats(&format!("{kind}/{var}"));
                let (Some(m), Some(v), Some(ema)) = (get("m"), get("v"), get("ema")) else {
                    bail!("{}: no optimiser state for {var}", path.display());
                };
                states.insert(var.to_string(), State { m, v, ema, sides: Vec::new() });
            }
        }
        let mut bases: Vec<&str> = tensors.names().into_iter().filter(|n| n.starts_with("basis/")).collect();
        bases.sort();
        for name in bases {
            let parts: Vec<&str> = name.split('/').collect();
            let [_, var, index, side] = parts[..] else { bail!("{}: tensor {name}", path.display()) };
            let (index, side): (usize, usize) = (index.parse()?, side.parse()?);
            let state = states.get_mut(var).with_context(context)?;
            if state.sides.len() <= index {
                state.sides.resize(index + 1, Default::default());
            }
            let covariance = floats(&name.replacen("basis", "covariance", 1)).with_context(context)?;
            *state.sides[index].get_mut(side).with_context(context)? =
                Side { covariance, basis: floats(name).with_context(context)? };
        }
        Ok(Some(Checkpoint { arch, step, seconds, weights, states }))
    }
}
