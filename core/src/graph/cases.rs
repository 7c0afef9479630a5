//! Cases of every operation for every executor: sizes with 1, odd, no multiples of 16, batches of 2. Benches use the
//! same names.

use crate::error::Result;
use crate::graph::{Activation, Border, Builder, Graph, Op, Padding, QkvLayout, Shape, Value};

/// What an input holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Data {
    /// Values in both signs.
    Real,
    /// Each number below the length once.
    Permutation,
    /// Whole numbers below this.
    Below(usize),
    /// Timesteps.
    Timestep,
}

/// One operation at one size.
pub(crate) struct Case {
    /// Operation, what is special, size of the result.
    pub(crate) name: String,
    /// Largest mean squared error over the mean square, against the f64 twin.
    pub(crate) limit: f64,
    /// What the inputs hold.
    pub(crate) inputs: Vec<Data>,
    /// Inputs and the operation.
    pub(crate) graph: Graph,
}

/// Limits: moves are exact, sums are f32.
const EXACT: f64 = 0.0;
const POINT: f64 = 1e-13;
const SUMS: f64 = 1e-11;

/// Number of operations that differ in code; [`place`] gives each its own.
pub(crate) const PLACES: usize = 26;

/// A number per operation. A new one does not compile until it is here, and fails the test until it has cases.
pub(crate) fn place(op: &Op) -> usize {
    match op {
        Op::Input => 0,
        Op::Conv2d { groups: 1, .. } => 1,
        Op::Conv2d { .. } => 2,
        Op::GroupNorm { .. } => 3,
        Op::ChannelNorm { kind: crate::graph::ChannelNorm::Rms, .. } => 4,
        Op::ChannelNorm { kind: crate::graph::ChannelNorm::Layer, .. } => 5,
        Op::BatchNorm { .. } => 6,
        Op::Activation(Activation::Silu) => 7,
        Op::Activation(Activation::GeluErf) => 8,
        Op::Activation(Activation::LeakyRelu(_)) => 9,
        Op::Add { .. } => 10,
        Op::ScaleChannels { .. } => 11,
        Op::Affine { .. } => 12,
        Op::Concat { .. } => 13,
        Op::PixelShuffle { .. } => 14,
        Op::UpsampleNearest2 => 15,
        Op::MaxPool2 => 16,
        Op::Attention { window: None, .. } => 17,
        Op::Attention { window: Some(_), .. } => 18,
        Op::FrequencyFilter { window: None, .. } => 19,
        Op::FrequencyFilter { window: Some(_), .. } => 20,
        Op::TimestepEmbedding { .. } => 21,
        Op::CodebookIndex { .. } | Op::CodebookLookup { .. } => 22,
        Op::Narrow { .. } => 23,
        Op::GatherTokens => 24,
        Op::ScatterTokens { .. } => 25,
    }
}

struct Cases(Vec<Case>);

impl Cases {
    fn add(
        &mut self,
        what: &str,
        limit: f64,
        inputs: &[(Shape, Data)],
        build: impl FnOnce(&mut Builder, &[Value]) -> Result<Value>,
    ) {
        let mut g = Builder::new();
        let values: Vec<Value> =
            inputs.iter().enumerate().map(|(i, (s, _))| g.input(&format!("in{i}"), *s).unwrap()).collect();
        let out = build(&mut g, &values).unwrap();
        let size = g.shape(out).map(|d| d.to_string()).join("x");
        let graph = g.finish(&[out]);
        let parts = [graph.nodes[out.index()].op.name(), what, &size];
        let name = parts.iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join(" ");
        self.0.push(Case { name, limit, inputs: inputs.iter().map(|i| i.1).collect(), graph });
    }

    /// One case per shape, one real input each.
    fn each(
        &mut self,
        what: &str,
        limit: f64,
        shapes: &[Shape],
        build: impl Fn(&mut Builder, Value) -> Result<Value>,
    ) {
        for &s in shapes {
            self.add(what, limit, &[(s, Data::Real)], |g, v| build(g, v[0]));
        }
    }
}

const SHAPES: [Shape; 4] = [[1, 1, 1, 1], [2, 3, 5, 7], [1, 17, 9, 33], [2, 32, 16, 16]];

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut c = Cases(Vec::new());
    convolutions(&mut c);
    pointwise(&mut c);
    moves(&mut c);
    mixing(&mut c);
    c.0
}

fn convolutions(c: &mut Cases) {
    for (s, out) in [([1, 1, 1, 1], 1), ([2, 3, 5, 7], 4), ([1, 17, 9, 33], 5), ([2, 32, 16, 16], 48)] {
        for (border, name) in [(Border::Zero, "3x3"), (Border::Replicate, "3x3 replicated")] {
            c.each(name, SUMS, &[s], |g, x| g.conv3("w", x, out, border));
            let padding = Padding::same(1, border);
            c.each(&format!("{name} stride 2"), SUMS, &[s], |g, x| g.conv("w", x, out, 3, 2, padding));
        }
        c.each("1x1", SUMS, &[s], |g, x| g.conv1("w", x, out));
        c.each("1x1 linear", SUMS, &[s], |g, x| g.pointwise("w", x, out, &[out, s[1]]));
        c.each("1x1 no bias", SUMS, &[s], |g, x| g.project("w", x, out));
        let stored = [s[1], 1, 3, 3];
        for border in [Border::Zero, Border::Replicate] {
            let p = Padding::same(1, border);
            c.each(&format!("depthwise {border:?}"), SUMS, &[s], |g, x| {
                g.conv_stored("w", x, s[1], 3, 1, p, s[1], &stored, true)
            });
        }
        c.each("depthwise no bias", SUMS, &[s], |g, x| {
            g.conv_stored("w", x, s[1], 3, 1, Padding::same(1, Border::Zero), s[1], &stored, false)
        });
    }
    let corner = Padding { top: 0, left: 0, bottom: 1, right: 1, border: Border::Zero };
    c.each("3x3 stride 2 right bottom", SUMS, &[[1, 3, 4, 6], [2, 5, 7, 9], [1, 16, 2, 18]], |g, x| {
        g.conv("w", x, 6, 3, 2, corner)
    });
    c.each("3x3 without padding", SUMS, &[[1, 3, 3, 3], [2, 5, 7, 20]], |g, x| {
        g.conv("w", x, 6, 3, 1, Padding::NONE)
    });
    c.each("5x5", SUMS, &[[1, 3, 7, 6]], |g, x| g.conv("w", x, 2, 5, 1, Padding::same(2, Border::Zero)));
}

fn pointwise(c: &mut Cases) {
    for (s, groups) in [
        ([1, 1, 1, 2], 1),
        ([2, 6, 5, 7], 3),
        ([1, 32, 9, 11], 32),
        ([2, 64, 16, 16], 32),
        ([1, 64, 1, 1], 32),
    ] {
        c.each(&format!("{groups} groups"), SUMS, &[s], |g, x| g.group_norm("w", x, groups, 1e-5));
    }
    c.each("", SUMS, &SHAPES, |g, x| g.rms_norm("w", x));
    c.each("", SUMS, &[[1, 2, 1, 1], [2, 5, 3, 7], [1, 33, 9, 17], [2, 32, 1, 24]], |g, x| {
        g.layer_norm("w", x, 1e-5)
    });
    c.each("", SUMS, &SHAPES, |g, x| g.batch_norm("w", x, 1e-5));
    for f in [Activation::Silu, Activation::GeluErf, Activation::LeakyRelu(0.1), Activation::LeakyRelu(0.2)] {
        let what =
            if let Activation::LeakyRelu(slope) = f { format!("slope {slope}") } else { String::new() };
        c.each(&what, POINT, &SHAPES, |g, x| g.activation("f", x, f));
    }
    for s in SHAPES {
        let vector = [s[0], s[1], 1, 1];
        for (what, b, scale) in [("", s, 1.0), ("scaled", s, 0.2), ("per channel", vector, 1.0)] {
            c.add(what, POINT, &[(s, Data::Real), (b, Data::Real)], |g, v| {
                g.add_scaled("add", v[0], v[1], scale)
            });
        }
    }
    c.each("", POINT, &SHAPES, |g, x| g.scale_channels("gain", x));
    c.each("", POINT, &SHAPES, |g, x| g.affine("affine", x, 2.0, -1.0));
    for (n, dim) in [(1, 2), (2, 33), (5, 160), (1, 17)] {
        let t = [([n, 1, 1, 1], Data::Timestep)];
        c.add("", POINT, &t, |g, v| g.timestep_embedding("e", v[0], dim));
    }
}

fn moves(c: &mut Cases) {
    for s in SHAPES {
        c.add("", EXACT, &[(s, Data::Real)], |_, v| Ok(v[0]));
        let more = [s[0], 2 * s[1] + 1, s[2], s[3]];
        c.add("channels", EXACT, &[(s, Data::Real), (more, Data::Real)], |g, v| g.concat("join", v));
        let wide = [s[0], s[1], s[2], s[3] + 3];
        c.add("width", EXACT, &[(s, Data::Real), (wide, Data::Real), (s, Data::Real)], |g, v| {
            g.concat_axis("join", v, 3)
        });
        for r in [2, 4] {
            let deep = [s[0], s[1] * r * r, s[2], s[3]];
            c.each(&format!("by {r}"), EXACT, &[deep], |g, x| g.pixel_shuffle("shuffle", x, r));
        }
        c.each("", EXACT, &[s], |g, x| g.upsample_nearest2("up", x));
        let even = [s[0], s[1], 2 * s[2], 2 * s[3]];
        c.each("", EXACT, &[even], |g, x| g.max_pool2("pool", x));
        let len = s[3].div_ceil(2);
        c.each("", EXACT, &[s], |g, x| g.narrow("narrow", x, s[3] - len, len));
        let tokens = [1, 1, 1, s[2] * s[3]];
        c.add("", EXACT, &[(s, Data::Real), (tokens, Data::Permutation)], |g, v| {
            g.gather_tokens("gather", v[0], v[1])
        });
        let flat = [s[0], s[1], 1, s[2] * s[3]];
        c.add("", EXACT, &[(flat, Data::Real), (tokens, Data::Permutation)], |g, v| {
            g.scatter_tokens("scatter", v[0], v[1], s[2], s[3])
        });
        // Nearest of few entries; a map of whole numbers back to entries.
        c.each("", EXACT, &[s], |g, x| g.codebook_index("embedding.weight", x, 21));
        let index = [s[0], 1, s[2], s[3]];
        c.add("", EXACT, &[(index, Data::Below(21))], |g, v| {
            g.codebook_lookup("embedding.weight", v[0], 21, s[1])
        });
    }
    c.each("odd", EXACT, &[[1, 2, 5, 3], [2, 3, 7, 17]], |g, x| g.max_pool2("pool", x));
}

fn mixing(c: &mut Cases) {
    for (s, heads) in
        [([1, 3, 1, 1], 1), ([2, 12, 3, 5], 2), ([1, 90, 7, 9], 3), ([2, 192, 8, 5], 2), ([1, 6, 17, 19], 1)]
    {
        for layout in [QkvLayout::PartFirst, QkvLayout::HeadFirst] {
            c.each(&format!("{layout:?} {heads} heads"), SUMS, &[s], |g, x| {
                g.attention("a", x, heads, None, layout, None)
            });
        }
    }
    for (s, heads, side) in
        [([1, 3, 2, 2], 1, 1), ([2, 12, 4, 8], 2, 4), ([1, 96, 16, 8], 2, 8), ([1, 48, 6, 9], 1, 3)]
    {
        for bias in [None, Some("bias")] {
            let what = format!("{heads} heads window {side}{}", bias.map_or("", |_| " biased"));
            c.each(&what, SUMS, &[s], |g, x| {
                g.attention("a", x, heads, Some(side), QkvLayout::PartFirst, bias)
            });
        }
    }
    for (s, blocks, hidden, bounded) in [
        ([1, 1, 1, 1], 1, 1, false),
        ([2, 8, 5, 6], 2, 1, false),
        ([1, 16, 7, 9], 8, 1, true),
        ([1, 8, 1, 4], 4, 2, false),
        ([2, 32, 6, 5], 8, 1, false),
        ([1, 8, 16, 12], 2, 3, true),
    ] {
        c.each(&format!("{blocks} blocks x{hidden}"), SUMS, &[s], |g, x| {
            g.frequency_filter("f", x, None, blocks, hidden, 0.1, 0.01, bounded)
        });
    }
    for (s, blocks, side) in
        [([1, 4, 2, 2], 2, 1), ([2, 8, 8, 16], 4, 8), ([1, 16, 6, 9], 2, 3), ([1, 8, 4, 8], 1, 4)]
    {
        c.each(&format!("{blocks} blocks window {side}"), SUMS, &[s], |g, x| {
            g.frequency_filter("f", x, Some(side), blocks, 1, 0.1, 0.01, true)
        });
    }
}
