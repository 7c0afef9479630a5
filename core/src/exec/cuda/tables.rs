//! Numbers that follow from sizes alone and that kernels read: computed once per plan, in f64.

use crate::graph::frequencies;
use std::collections::HashMap;
use std::f64::consts::TAU;

/// The tables of one plan, one after the other.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) values: Vec<f32>,
    places: HashMap<(Kind, usize), usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Frequencies,
    Turns,
}

impl Tables {
    /// Place of the `count` frequencies of a timestep embedding.
    pub(super) fn frequencies(&mut self, count: usize) -> usize {
        self.place(Kind::Frequencies, count, frequencies)
    }

    /// Place of cosine and sine of the `count` parts of a turn, `[count, 2]`.
    pub(super) fn turns(&mut self, count: usize) -> usize {
        self.place(Kind::Turns, count, |count| {
            let angle = |k: usize| TAU * k as f64 / count as f64;
            (0..count).flat_map(|k| [libm::cos(angle(k)) as f32, libm::sin(angle(k)) as f32]).collect()
        })
    }

    fn place(&mut self, kind: Kind, count: usize, make: impl FnOnce(usize) -> Vec<f32>) -> usize {
        let values = &mut self.values;
        *self.places.entry((kind, count)).or_insert_with(|| {
            let at = values.len();
            values.extend(make(count));
            at
        })
    }
}
