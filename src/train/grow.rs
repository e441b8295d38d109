//! Goes on with a run at more latent channels: the old weights keep their
//! places, and the new channels start as the KLT has them, with nobody yet
//! reading them but the synthesis.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::checkpoint::Checkpoint;
use super::model::{CodecModel, Y_STEP, numbers};
use super::net::Layout;
use super::optimizer::State;
use crate::model::arch::{Arch, Part};
use crate::model::quality::ANCHORS;

/// Where an entry of an axis of `old` lies when the axis has grown to `new`
/// entries. Heads write means, then scales: each half grows on its own.
fn place(index: usize, old: usize, new: usize, halves: bool) -> usize {
    let (old, new) = (old / 2, new / 2);
    if halves && index >= old { index - old + new } else { index }
}

/// One matrix of a variable: where it starts and how its old entries move.
struct Move {
    old: usize,
    new: usize,
    shape: (usize, usize),
    grown: (usize, usize),
    halves: bool,
}

impl Move {
    fn apply(&self, from: &[f32], to: &mut [f32]) {
        for row in 0..self.shape.0 {
            for col in 0..self.shape.1 {
                let col_to = place(col, self.shape.1, self.grown.1, self.halves);
                to[self.new + row * self.grown.1 + col_to] = from[self.old + row * self.shape.1 + col];
            }
        }
    }
}

/// The matrices of one network in the old and the grown layout.
fn moves(old: &Arch, new: &Arch, part: Part) -> Vec<Move> {
    let (a, b) = (Layout::new(&old.layers(part)), Layout::new(&new.layers(part)));
    let last = a.slots.len() - 1;
    let mut list = Vec::new();
    for (index, (a, b)) in a.slots.iter().zip(&b.slots).enumerate() {
        let halves = matches!(part, Part::Prior | Part::Context) && index == last;
        list.push(Move { old: a.weight, new: b.weight, shape: a.shape, grown: b.shape, halves });
        let (rows, old_width, new_width) = (a.bias_rows, a.shape.1, b.shape.1);
        list.push(Move {
            old: a.bias,
            new: b.bias,
            shape: (rows, old_width),
            grown: (rows, new_width),
            halves,
        });
    }
    list
}

/// Moves a run to `start`'s architecture, which may only have more latents.
/// `start` holds the KLT start of the new architecture.
pub fn grow(old: Checkpoint, start: &CodecModel) -> Result<Checkpoint> {
    let new = &start.arch;
    if (Arch { latents: new.latents, ..old.arch.clone() }) != *new || new.latents < old.arch.latents {
        bail!("a run can only grow in latents: it has {:?}, asked for {new:?}", old.arch);
    }
    let (mut weights, mut states) = (BTreeMap::new(), BTreeMap::new());
    for (name, from) in &old.weights {
        let mut grown = numbers(&start.vars[name])?;
        let list = match Part::ALL.into_iter().find(|part| part.name() == name) {
            Some(part) => {
                // What reads latents starts deaf to the new ones.
                if matches!(part, Part::HyperAnalysis | Part::Context) {
                    let layout = Layout::new(&new.layers(part));
                    let first = &layout.slots[0];
                    grown[first.weight..][..first.shape.0 * first.shape.1].fill(0.0);
                }
                moves(&old.arch, new, part)
            }
            None => {
                let widths = if name == Y_STEP {
                    (old.arch.latents, new.latents)
                } else {
                    (old.arch.hyper_latents, old.arch.hyper_latents)
                };
                vec![Move {
                    old: 0,
                    new: 0,
                    shape: (ANCHORS, widths.0),
                    grown: (ANCHORS, widths.1),
                    halves: false,
                }]
            }
        };
        let state = &old.states[name];
        let mut into = State::new(&grown, 0);
        for m in &list {
            m.apply(from, &mut grown);
            m.apply(&state.m, &mut into.m);
            m.apply(&state.v, &mut into.v);
            m.apply(&state.ema, &mut into.ema);
        }
        weights.insert(name.clone(), grown);
        states.insert(name.clone(), into);
    }
    Ok(Checkpoint { arch: new.clone(), step: old.step, seconds: old.seconds, weights, states })
}
