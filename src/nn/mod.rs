//! The integer inference engine: runs an [`IntegerNetwork`] on tensors of i16.
//!
//! It owns all arithmetic on activations and knows nothing of pictures, files
//! or entropy coding. A network is prepared once (`plan` checks it and fuses
//! its layers into steps, `weights` packs them) and then run any number of
//! times (`network`), window by window and within a window row by row
//! (`stream`). The inner loops live in `kernel`; its scalar
//! implementation is the specification, and every other one equals it bit for
//! bit, so a result depends neither on the processor nor on the thread count.
//!
//! [`IntegerNetwork`]: crate::model::IntegerNetwork

mod gradient;
mod kernel;
mod level;
mod network;
mod plan;
mod requant;
mod shuffle;
mod stream;
mod tensor;
mod weights;
mod whole;
mod window;

#[cfg(test)]
mod tests;

pub use gradient::{Gradient, Tape};
pub use kernel::{Differences, Pair, SUM_LANES};
pub use level::Level;
pub use network::{Network, for_each_piece};
pub use tensor::{Source, Tensor};
pub use weights::LANES;
pub use window::{Cuts, Window};
