//! Cuts a trained codec down to a smaller one that starts close to it.
//!
//! Old and new network walk side by side over crops, layer by layer. Every
//! space of channels has a [`Cut`], a matrix from the old channels to the new:
//! where a nonlinearity acts on single channels it picks the ones that matter
//! most to the next layer, elsewhere it turns the space so that few directions
//! hold what the next layer reads. The new weights are the least-squares
//! answer to "from what the new network has here, what the old one has there",
//! so that each layer also repairs what earlier ones lost.
//!
//! Sources: He, Zhang and Sun 2017 (pruning with reconstruction), Ashkboos et
//! al. 2024 (turning the residual stream).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::checkpoint::Checkpoint;
use super::cut::{Cut, Reader, best, least_squares};
use super::kernels::{self, Geometry};
use super::model::{Batch, CodecModel, PartInputs, Y_STEP, Z_SCALE, Z_STEP, numbers};
use super::net::{Anchored, Layout, Slot, lerp_rows, run_probed};
use crate::model::arch::{Arch, Part};
use crate::model::layer::Layer;
use crate::model::quality::ANCHORS;

/// Activations of both networks at one place.
#[derive(Clone)]
struct Pair {
    old: Vec<f32>,
    new: Vec<f32>,
}

/// One network on its way to a smaller one.
struct Cutter<'a> {
    qualities: &'a [Anchored],
    geometry: Geometry,
    old: &'a [f32],
    old_slots: &'a [Slot],
    new: Vec<f32>,
    new_slots: &'a [Slot],
}

impl<'a> Cutter<'a> {
    /// Runs layers of the old network, whose next layer with weights this one's must be the first.
    fn run_old(&self, layers: &[Layer], rows: &[f32]) -> Vec<f32> {
        let params = self.old_slots.first().map_or(&[][..], |slot| &self.old[slot.weight..]);
        run_probed(layers, self.geometry, self.qualities, params, rows.to_vec(), &mut |_, _| {})
    }

    /// Runs one layer without weights in both.
    fn run_both(&mut self, layer: &Layer, x: &Pair) -> Pair {
        let pair = Pair {
            old: self.run_old(std::slice::from_ref(layer), &x.old),
            new: self.run_old(std::slice::from_ref(layer), &x.new),
        };
        match layer {
            Layer::Unshuffle => {
                (self.geometry.height, self.geometry.width) =
                    (self.geometry.height / 2, self.geometry.width / 2)
            }
            Layer::Shuffle => {
                (self.geometry.height, self.geometry.width) =
                    (self.geometry.height * 2, self.geometry.width * 2)
            }
            _ => {}
        }
        pair
    }

    /// The next slot of the old network, and its weights.
    fn next_old(&mut self) -> Result<&'a Slot> {
        let (slot, rest) = self.old_slots.split_first().context("fewer weights than layers")?;
        self.old_slots = rest;
        Ok(slot)
    }

    fn next_new(&mut self) -> Result<&'a Slot> {
        let (slot, rest) = self.new_slots.split_first().context("fewer weights than layers")?;
        self.new_slots = rest;
        Ok(slot)
    }

    /// Cuts `layers` down to `smaller`; `last` is the cut of what they write.
    fn network(&mut self, layers: &[Layer], smaller: &[Layer], mut x: Pair, last: &Cut) -> Result<Pair> {
        let mut stream = None;
        let mut smaller_at = 0;
        for (index, layer) in layers.iter().enumerate() {
            match layer {
                Layer::Residual(body) => {
                    let cut = stream.as_ref().context("a residual in front of all weights")?;
                    if kept(layers, index, smaller, smaller_at) {
                        let Layer::Residual(smaller) = &smaller[smaller_at] else {
                            unreachable!("as kept says")
                        };
                        smaller_at += 1;
                        x = self.residual(layer, body, smaller, x, cut)?;
                    } else {
                        x.old = self.run_old(std::slice::from_ref(layer), &x.old);
                        for _ in Layout::new(body).slots {
                            self.next_old()?;
                        }
                    }
                }
                Layer::Pointwise { outputs, .. } => {
                    let Layer::Pointwise { outputs: wanted, .. } = smaller[smaller_at] else {
                        bail!("the smaller network has another order of layers");
                    };
                    let (cut, copies) = self.cut_behind(&layers[index..], &x.old, wanted, last)?;
                    debug_assert_eq!(cut.old * copies, *outputs);
                    x = self.pointwise(layer, x, &cut.repeat(copies), None)?;
                    stream = Some(cut);
                    smaller_at += 1;
                }
                Layer::LeakyRelu | Layer::Unshuffle | Layer::Shuffle => {
                    x = self.run_both(layer, &x);
                    smaller_at += 1;
                }
                Layer::Depthwise { .. } | Layer::Gate { .. } => bail!("a {layer:?} outside a residual"),
            }
        }
        Ok(x)
    }

    /// The cut of what the first of `layers`, a pointwise one, writes in front
    /// of the next pointwise one, and how many times over it writes that.
    fn cut_behind(&self, layers: &[Layer], rows: &[f32], wanted: usize, last: &Cut) -> Result<(Cut, usize)> {
        let Layer::Pointwise { outputs, .. } = layers[0] else { bail!("not a pointwise layer") };
        let next = layers[1..].iter().position(|l| matches!(l, Layer::Pointwise { .. })).map(|at| at + 1);
        let between = &layers[1..next.unwrap_or(layers.len())];
        let copies = if between.contains(&Layer::Shuffle) { 4 } else { 1 };
        let Some(next) = next else { return Ok((last.clone(), copies)) };
        let read = self.run_old(&layers[..next], rows);
        let slot = &self.old_slots[Layout::new(&layers[..next]).slots.len()];
        let reader = Reader { rows: &read, weights: slot.weights(self.old), inputs: slot.shape.0 };
        let (width, count) = (outputs / copies, wanted / copies);
        Ok(match between.contains(&Layer::LeakyRelu) {
            true => (Cut::keep(width, &reader.choose(width, count)), copies),
            false => (reader.turn(width, count), copies),
        })
    }

    /// A pointwise layer: the least squares from the new input to the old
    /// output cut down, or to `target`. Biases stay what they were, cut down,
    /// and move by one constant for all qualities.
    fn pointwise(&mut self, layer: &Layer, x: Pair, cut: &Cut, target: Option<Vec<f32>>) -> Result<Pair> {
        let old = self.run_old(std::slice::from_ref(layer), &x.old);
        let (from, to) = (self.next_old()?, self.next_new()?);
        let (inputs, outputs) = to.shape;
        let mut biases = cut.apply(from.biases(self.old));
        let weights = if x.new == x.old && target.is_none() {
            cut.apply(from.weights(self.old))
        } else {
            let mut target = target.unwrap_or_else(|| cut.apply(&old));
            let per_picture = target.len() / self.qualities.len();
            for (picture, quality) in target.chunks_exact_mut(per_picture).zip(self.qualities) {
                let bias = lerp_rows(&biases, outputs, *quality);
                for row in picture.chunks_exact_mut(outputs) {
                    row.iter_mut().zip(&bias).for_each(|(t, b)| *t -= b);
                }
            }
            let (weights, constant) = least_squares(&x.new, inputs, &target, outputs)?;
            for row in biases.chunks_exact_mut(outputs) {
                row.iter_mut().zip(&constant).for_each(|(b, c)| *b += c);
            }
            weights
        };
        self.new[to.weight..][..weights.len()].copy_from_slice(&weights);
        self.new[to.bias..][..biases.len()].copy_from_slice(&biases);
        let smaller = Layer::Pointwise { inputs, outputs };
        let new = run_probed(
            &[smaller],
            self.geometry,
            self.qualities,
            &self.new[to.weight..],
            x.new,
            &mut |_, _| {},
        );
        Ok(Pair { old, new })
    }

    /// A residual: its branch brings the new stream as close as it can to the old one cut down.
    fn residual(
        &mut self,
        layer: &Layer,
        body: &[Layer],
        smaller: &[Layer],
        x: Pair,
        stream: &Cut,
    ) -> Result<Pair> {
        let after = self.run_old(std::slice::from_ref(layer), &x.old);
        let last = body.len() - 1;
        let read = self.run_old(&body[..last], &x.old);
        let slot = &self.old_slots[Layout::new(&body[..last]).slots.len()];
        let reader = Reader { rows: &read, weights: slot.weights(self.old), inputs: slot.shape.0 };
        let Layer::Pointwise { inputs: count, .. } = smaller[last] else { bail!("a branch without an end") };
        let kept = reader.choose(slot.shape.0, count);
        let inner = Cut::keep(slot.shape.0, &kept);

        let mut branch = x.clone();
        for layer in &body[..last] {
            branch = match layer {
                Layer::Pointwise { outputs, .. } => {
                    self.pointwise(layer, branch, &inner.repeat(outputs / inner.old), None)?
                }
                Layer::Depthwise { .. } => {
                    let old = self.run_old(std::slice::from_ref(layer), &branch.old);
                    let (from, to) = (self.next_old()?, self.next_new()?);
                    let (weights, biases) =
                        (inner.apply(from.weights(self.old)), inner.apply(from.biases(self.old)));
                    let mut new = vec![0.0; branch.new.len()];
                    kernels::depthwise(&branch.new, &weights, &mut new, self.geometry, false);
                    kernels::bias_leaky(&mut new, &biases, false);
                    self.new[to.weight..][..weights.len()].copy_from_slice(&weights);
                    self.new[to.bias..][..biases.len()].copy_from_slice(&biases);
                    Pair { old, new }
                }
                Layer::Gate { channels } => {
                    let mut pair =
                        Pair { old: vec![0.0; branch.old.len() / 2], new: vec![0.0; branch.new.len() / 2] };
                    kernels::gate(&branch.old, &mut pair.old, *channels);
                    kernels::gate(&branch.new, &mut pair.new, inner.new);
                    pair
                }
                _ => self.run_both(layer, &branch),
            };
        }
        let missing = stream.apply(&after).iter().zip(&x.new).map(|(a, x)| a - x).collect();
        let branch = match x.new == x.old {
            true => self.pointwise(&body[last], branch, stream, None)?,
            false => self.pointwise(&body[last], branch, stream, Some(missing))?,
        };
        let new = branch.new.iter().zip(&x.new).map(|(b, x)| b + x).collect();
        Ok(Pair { old: after, new })
    }
}

/// Whether the residual `layers[index]` has a counterpart in `smaller`, whose
/// next layer is `smaller[at]`: of a row of blocks (two residuals each), those
/// that are kept lie evenly from the first to the last.
fn kept(layers: &[Layer], index: usize, smaller: &[Layer], at: usize) -> bool {
    let residual = |layer: &&Layer| matches!(layer, Layer::Residual(_));
    let before = layers[..index].iter().rev().take_while(residual).count();
    let blocks = (before + layers[index..].iter().take_while(residual).count()) / 2;
    let done = smaller[..at].iter().rev().take_while(residual).count();
    let wanted = (done + smaller[at..].iter().take_while(residual).count()) / 2;
    let place = |block: usize| if wanted > 1 { block * (blocks - 1) / (wanted - 1) } else { 0 };
    (0..wanted).any(|block| place(block) == before / 2)
}

/// What every part of `model` reads on all of `sample`, and the qualities.
fn inputs(model: &CodecModel, sample: &[Batch]) -> Result<(PartInputs, Vec<Anchored>)> {
    let mut all: Option<PartInputs> = None;
    for batch in sample {
        let inputs = model.part_inputs(batch)?;
        match &mut all {
            None => all = Some(inputs),
            Some(all) => {
                for ((geometry, rows), (more, new)) in all.iter_mut().zip(inputs) {
                    geometry.batch += more.batch;
                    rows.extend(new);
                }
            }
        }
    }
    let qualities = sample.iter().flat_map(|batch| batch.qualities.iter().copied()).collect();
    Ok((all.context("no crops to look at")?, qualities))
}

/// A run at step 0 whose networks have the numbers of `arch`, none of them
/// larger than `old`'s, and compute nearly what those of `old` compute.
/// `sample` are crops of all qualities.
pub fn shrink(old: &Checkpoint, arch: &Arch, sample: &[Batch]) -> Result<Checkpoint> {
    if old.arch.numbers().into_iter().zip(arch.numbers()).any(|(old, new)| new > old) {
        bail!("a model can only shrink to numbers below its own: it has {:?}, asked for {arch:?}", old.arch);
    }
    if !(arch.latents.is_multiple_of(2) && old.arch.latents.is_multiple_of(2)) {
        bail!("--latents {}: the two halves of the latents are to be cut down alike", arch.latents);
    }
    let model = CodecModel::averaged(old)?;
    let (inputs, qualities) = inputs(&model, sample)?;
    let weights = |part: Part| numbers(model.params(part));
    let outer = |part: Part| -> Result<(Vec<f32>, usize)> {
        let slot = Layout::new(&old.arch.layers(part)).slots[0].clone();
        Ok((slot.weights(&weights(part)?).to_vec(), slot.shape.0))
    };

    // Which latents and hyper-latents stay. Channels keep their half.
    let (first, m) = outer(Part::Synthesis)?;
    let reader = Reader { rows: &inputs[Part::Synthesis as usize].1, weights: &first, inputs: m };
    let importances = reader.importances(m);
    let halves = [0, 1].map(|half| best(&importances, half..m, 2, arch.latents / 2));
    let kept: Vec<usize> = halves[0].iter().zip(&halves[1]).flat_map(|(a, b)| [*a, *b]).collect();
    let latents = Cut::keep(m, &kept);
    let (first, n) = outer(Part::HyperSynthesis)?;
    let reader = Reader { rows: &inputs[Part::HyperSynthesis as usize].1, weights: &first, inputs: n };
    let hyper_latents = Cut::keep(n, &reader.choose(n, arch.hyper_latents));

    // Features are read by the prior and, beside the latents, by the context network.
    let (prior, h) = outer(Part::Prior)?;
    let (context, _) = outer(Part::Context)?;
    let (prior_width, context_width) = (2 * m, old.arch.hyper_synthesis_channels);
    let both: Vec<f32> = (0..h)
        .flat_map(|i| {
            [&prior[i * prior_width..][..prior_width], &context[i * context_width..][..context_width]]
        })
        .flatten()
        .copied()
        .collect();
    let reader = Reader { rows: &inputs[Part::Prior as usize].1, weights: &both, inputs: h };
    let features = reader.turn(h, arch.hyper_synthesis_channels);

    let mut new = BTreeMap::new();
    let mut new_features = Vec::new();
    for part in Part::ALL {
        let (geometry, rows) = &inputs[part as usize];
        let (x, last) = match part {
            Part::Analysis => (rows.clone(), latents.clone()),
            Part::HyperAnalysis => (latents.apply(rows), hyper_latents.clone()),
            Part::HyperSynthesis => (hyper_latents.apply(rows), features.clone()),
            Part::Prior => (new_features.clone(), latents.repeat(2)),
            Part::Context => {
                let old: Vec<f32> = rows.chunks_exact(h + m).flat_map(|row| &row[h..]).copied().collect();
                let known = latents.apply(&old);
                let pairs = new_features.chunks_exact(features.new).zip(known.chunks_exact(latents.new));
                (pairs.flat_map(|(f, y)| [f, y]).flatten().copied().collect(), latents.repeat(2))
            }
            Part::Synthesis => (latents.apply(rows), Cut::all(crate::model::arch::PIXEL_CHANNELS)),
        };
        let (layers, smaller) = (old.arch.layers(part), arch.layers(part));
        let (old_layout, new_layout) = (Layout::new(&layers), Layout::new(&smaller));
        let params = weights(part)?;
        let mut cutter = Cutter {
            qualities: &qualities,
            geometry: *geometry,
            old: &params,
            old_slots: &old_layout.slots,
            new: vec![0.0; new_layout.len],
            new_slots: &new_layout.slots,
        };
        let out = cutter
            .network(&layers, &smaller, Pair { old: rows.clone(), new: x }, &last)
            .with_context(|| format!("network {}", part.name()))?;
        new.insert(part.name().to_string(), cutter.new);
        if part == Part::HyperSynthesis {
            new_features = out.new;
        }
    }
    for (name, cut) in [(Y_STEP, &latents), (Z_STEP, &hyper_latents), (Z_SCALE, &hyper_latents)] {
        let table = numbers(&model.vars[name])?;
        debug_assert_eq!(table.len(), ANCHORS * cut.old);
        new.insert(name.to_string(), cut.apply(&table));
    }
    Ok(Checkpoint::start(arch.clone(), new))
}
