//! Activations' memory, kept by each thread from step to step: what the system
//! would have to clear is written over instead.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};

/// Floats that a thread keeps at most.
const MOST_KEPT: usize = 1 << 28;

/// Vectors waiting to be used again, by length.
#[derive(Default)]
struct Kept {
    by_len: HashMap<usize, Vec<Vec<f32>>>,
    floats: usize,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// Floats that return to their thread when dropped.
pub struct Buffer(Vec<f32>);

impl Buffer {
    /// `len` floats of no particular value.
    pub fn of_any(len: usize) -> Buffer {
        let found = KEPT.with_borrow_mut(|kept| {
            let found = kept.by_len.get_mut(&len).and_then(Vec::pop);
            kept.floats -= found.as_ref().map_or(0, Vec::len);
            found
        });
        Buffer(found.unwrap_or_else(|| vec![0.0; len]))
    }

    /// A copy of `values`.
    pub fn copy_of(values: &[f32]) -> Buffer {
        let mut copy = Buffer::of_any(values.len());
        copy.copy_from_slice(values);
        copy
    }

    /// The floats, for good.
    pub fn into_vec(mut self) -> Vec<f32> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let floats = std::mem::take(&mut self.0);
        // A thread that is ending keeps nothing.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if !floats.is_empty() && kept.floats + floats.len() <= MOST_KEPT {
                kept.floats += floats.len();
                kept.by_len.entry(floats.len()).or_default().push(floats);
            }
        });
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        Buffer::copy_of(self)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}
