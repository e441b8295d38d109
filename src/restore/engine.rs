//! A restoring network made ready, and its runs over whole pictures.

use std::sync::{Arc, OnceLock};

use super::samples::Samples;
use crate::error::Result;
use crate::model::registry::RESTORERS;
use crate::model::{ModelId, QualityIndex, RestorationModel, Task};
use crate::nn::{Level, Network, Source, Window, for_each_piece};

/// A model with its network ready to run.
#[derive(Debug)]
pub struct Restorer {
    id: ModelId,
    model: RestorationModel,
    network: Network,
}

impl Restorer {
    /// Prepares a model for the best instructions of this processor. `id` is
    /// what reports call it.
    pub fn new(model: RestorationModel, id: ModelId) -> Result<Arc<Restorer>> {
        Self::at_level(model, id, Level::best())
    }

    /// The same at a given instruction level. No result depends on it.
    pub fn at_level(model: RestorationModel, id: ModelId, level: Level) -> Result<Arc<Restorer>> {
        let network = Network::new(&model.network, level)?;
        Ok(Arc::new(Restorer { id, model, network }))
    }

    /// What reports call the model.
    pub fn id(&self) -> ModelId {
        self.id
    }

    /// The model itself.
    pub fn model(&self) -> &RestorationModel {
        &self.model
    }

    /// Adds what the network makes of `source` to `picture`, on rayon's current
    /// pool. The result depends on neither the threads nor the instructions.
    pub(super) fn add_to(&self, picture: &mut Samples, source: &(impl Source + Sync)) {
        let block = self.model.arch.task.output_block();
        let (width, height) = (picture.width, picture.height);
        let window = Window::whole(height.div_ceil(block), width.div_ceil(block));
        let cuts = self.network.cuts(&window);
        let pieces = cuts.split(&mut picture.rgb, width * 3, block, block * 3);
        for_each_piece(&cuts, pieces, |window, mut lines| {
            let first = window.rows.start;
            // Biases do not depend on a quality here.
            self.network.stream(source, QualityIndex(0), &window, |y, row| {
                let start = (y - first) * block;
                let end = (start + block).min(lines.len());
                add_row(row, block, &mut lines[start..end]);
            });
        });
    }
}

/// Adds one row of positions to the lines of samples it stands for.
fn add_row(row: &[i16], block: usize, lines: &mut [&mut [i16]]) {
    for (dy, line) in lines.iter_mut().enumerate() {
        for (target, position) in line.chunks_mut(block * 3).zip(row.chunks_exact(block * block * 3)) {
            for (t, &v) in target.iter_mut().zip(&position[dy * block * 3..]) {
                *t = t.saturating_add(v);
            }
        }
    }
}

/// The embedded model of a task, read once in the life of the program.
pub(super) fn embedded(task: Task) -> Result<Option<Arc<Restorer>>> {
    static PREPARED: [OnceLock<Arc<Restorer>>; RESTORERS.len()] =
        [const { OnceLock::new() }; RESTORERS.len()];
    let Some(index) = RESTORERS.iter().position(|model| model.name == task.name()) else {
        return Ok(None);
    };
    if let Some(restorer) = PREPARED[index].get() {
        return Ok(Some(Arc::clone(restorer)));
    }
    let restorer = Restorer::new(RestorationModel::read(RESTORERS[index].bytes)?, RESTORERS[index].id)?;
    Ok(Some(Arc::clone(PREPARED[index].get_or_init(|| restorer))))
}
