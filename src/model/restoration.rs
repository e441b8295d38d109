//! The networks that restore pictures: a denoiser, and one for each factor of
//! enlargement.
//!
//! ```text
//! positions of pixels and what is known about their noise --1x1--> C
//!   --blocks--> [ --unshuffle 2, 1x1--> 2C --blocks or the next level-- 1x1, shuffle 2 ] + --blocks-->
//!   --1x1--> what to add to the pixels
//! ```
//!
//! A U-Net (Ronneberger et al. 2015) whose skips add, made of the codec's
//! blocks. The denoiser works on 2x2 pixels a position and is told the noise
//! level of each (Zhang et al. 2018, FFDNet) and which samples are lost. The
//! enlargers work on one pixel a position and correct a bicubic enlargement.
//!
//! The file: metadata `format`, `name` and the numbers of [`RestorationArch`],
//! and the network as part `restoration`, see `model/tensors.rs`.

use super::IntegerNetwork;
use super::arch::block;
use super::layer::{Layer, macs_per_input_position};
use super::tensors::{Description, FileTensors, Tensors, read_network, write_network};
use crate::error::{Error, Result};
use Layer::{Pointwise, Residual, Shuffle, Unshuffle};

/// The version of the file's layout.
const FORMAT: &str = "restoration-1";
/// The name that weight names start with.
pub const PART: &str = "restoration";
/// Most channels at the finest resolution, levels, and blocks of a level.
const MOST: (usize, usize, usize) = (512, 4, 64);
/// Factors that pictures can be enlarged by.
pub const FACTORS: [usize; 3] = [2, 3, 4];

/// What a network is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Pixels without their noise.
    Denoise,
    /// So many times the width and height.
    Upscale(usize),
}

impl Task {
    /// The name in files: `denoise`, `upscale2`, ...
    pub fn name(self) -> String {
        match self {
            Task::Denoise => "denoise".into(),
            Task::Upscale(factor) => format!("upscale{factor}"),
        }
    }

    /// The task of this name.
    pub fn from_name(name: &str) -> Option<Task> {
        FACTORS.map(Task::Upscale).into_iter().chain([Task::Denoise]).find(|task| task.name() == name)
    }

    /// Pixels along each side of the square that one position of the input stands for.
    pub fn block(self) -> usize {
        match self {
            Task::Denoise => 2,
            Task::Upscale(_) => 1,
        }
    }

    /// Channels read. Denoise: 2x2 pixels, channel `(dy * 2 + dx) * 3 + colour`;
    /// in the same order whether each sample is lost; the noise level. Upscale: RGB.
    pub fn inputs(self) -> usize {
        match self {
            Task::Denoise => 12 + 12 + 1,
            Task::Upscale(_) => 3,
        }
    }

    /// Channels written: what to add to the pixels of a square of
    /// [`Task::output_block`], channel `(dy * block + dx) * 3 + colour`.
    pub fn outputs(self) -> usize {
        3 * self.output_block().pow(2)
    }

    /// Pixels along each side of the square that one position of the output stands for.
    pub fn output_block(self) -> usize {
        match self {
            Task::Denoise => 2,
            Task::Upscale(factor) => factor,
        }
    }
}

/// The numbers that fix a restoring network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorationArch {
    /// What it is for.
    pub task: Task,
    /// C: channels at the finest resolution; each level doubles them.
    pub channels: usize,
    /// Resolutions, the finest among them.
    pub levels: usize,
    /// Blocks before and blocks behind the coarser levels, at each but the coarsest.
    pub blocks: usize,
    /// Blocks at the coarsest level.
    pub inner_blocks: usize,
}

impl RestorationArch {
    /// The layers.
    pub fn layers(&self) -> Vec<Layer> {
        let mut layers = vec![Pointwise { inputs: self.task.inputs(), outputs: self.channels }];
        layers.extend(self.level(self.channels, self.levels));
        layers.push(Pointwise { inputs: self.channels, outputs: self.task.outputs() });
        layers
    }

    /// The layers from one level inwards.
    fn level(&self, c: usize, levels: usize) -> Vec<Layer> {
        let blocks = |count: usize| (0..count).flat_map(|_| block(c, c));
        if levels <= 1 {
            return blocks(self.inner_blocks).collect();
        }
        let mut inner = vec![Unshuffle, Pointwise { inputs: 4 * c, outputs: 2 * c }];
        inner.extend(self.level(2 * c, levels - 1));
        inner.extend([Pointwise { inputs: 2 * c, outputs: 4 * c }, Shuffle]);
        blocks(self.blocks).chain([Residual(inner)]).chain(blocks(self.blocks)).collect()
    }

    /// The sides of an input, in positions, are multiples of this.
    pub fn multiple(&self) -> usize {
        1 << (self.levels - 1)
    }

    /// Multiply-accumulates for each pixel of the output.
    pub fn macs_per_pixel(&self) -> f64 {
        macs_per_input_position(&self.layers()) / self.task.output_block().pow(2) as f64
    }

    /// The same numbers in a fixed order, after the task.
    pub fn numbers(&self) -> [(&'static str, usize); 4] {
        [
            ("channels", self.channels),
            ("levels", self.levels),
            ("blocks", self.blocks),
            ("inner_blocks", self.inner_blocks),
        ]
    }
}

/// A model that restores pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorationModel {
    /// What people call it.
    pub name: String,
    /// The numbers its network follows from.
    pub arch: RestorationArch,
    /// The network. Its input has 7 fraction bits on the 0..255 scale, pixels
    /// less 128, lost samples marked by 64 and the noise level as a standard
    /// deviation. Its output has the same bits.
    pub network: IntegerNetwork,
}

impl RestorationModel {
    /// Reads a model file and checks all of it.
    pub fn read(bytes: &[u8]) -> Result<RestorationModel> {
        let mut tensors = Tensors::open(bytes)?;
        let description = tensors.description()?;
        let (name, arch) = (description.name(FORMAT)?, parse_arch(&description)?);
        let network = read_network(&mut tensors, PART, arch.layers(), arch.task.inputs())?;
        tensors.finish()?;
        Ok(RestorationModel { name, arch, network })
    }

    /// The bytes of the model's file; equal models make equal files.
    pub fn write(&self) -> Vec<u8> {
        let mut file = FileTensors::new();
        write_network(&mut file, PART, &self.network);
        let numbers = self.arch.numbers().map(|(key, value)| format!(";{key}={value}"));
        let task = self.arch.task.name();
        file.serialize(format!("format={FORMAT};name={};task={task}{}", self.name, numbers.concat()))
    }
}

fn parse_arch(description: &Description<'_>) -> Result<RestorationArch> {
    let task = description.text("task")?;
    Ok(RestorationArch {
        task: Task::from_name(task).ok_or_else(|| Error::Model(format!("task {task:?} is not known")))?,
        channels: description.number("channels", MOST.0)?,
        levels: description.number("levels", MOST.1)?,
        blocks: description.number("blocks", MOST.2)?,
        inner_blocks: description.number("inner_blocks", MOST.2)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layer::output_channels;

    #[test]
    fn layers_fit_together_for_every_task() {
        for task in FACTORS.map(Task::Upscale).into_iter().chain([Task::Denoise]) {
            assert_eq!(Task::from_name(&task.name()), Some(task));
            for levels in 1..=3 {
                let arch = RestorationArch { task, channels: 16, levels, blocks: 1, inner_blocks: 2 };
                assert_eq!(output_channels(&arch.layers(), task.inputs()), Some(task.outputs()));
                assert_eq!(arch.multiple(), 1 << (levels - 1));
            }
        }
        assert_eq!(Task::from_name("upscale5"), None);
    }
}
