//! From a graph to fused steps: what follows a convolution goes into its store, what precedes it into its staging.
//!
//! The steps follow from operations, channels and readers alone, never from heights and widths: weights packed for
//! one size serve all.

use crate::exec::cpu::conv::Act;
use crate::exec::cpu::map::LANES;
use crate::graph::{Activation, ChannelNorm, Graph, Op, Value};

/// How the samples that a convolution reads follow from a stored map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Chain {
    /// The stored map.
    pub(super) base: Value,
    /// Each pixel twice in both directions.
    pub(super) upsample: bool,
    /// The norm in between, whose statistics a step of its own finds.
    pub(super) norm: Option<Value>,
    pub(super) act: Act,
}

/// What follows an operation in the same pass over memory.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tail {
    /// The node whose result is stored.
    pub(super) last: Value,
    /// Factors per channel that go into the weights, in order.
    pub(super) folds: Vec<Value>,
    /// A vector per picture that is added before the activation.
    pub(super) channel: Option<Value>,
    pub(super) act: Act,
    /// Factor after the activation.
    pub(super) scale: f32,
    /// Map added at the end.
    pub(super) add: Option<Value>,
    /// Pixel shuffle folded into the store.
    pub(super) shuffle: usize,
}

/// One pass over memory.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// The node whose operation and weights this is.
    pub(super) node: Value,
    pub(super) work: Work,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Work {
    /// Convolution of `node`.
    Conv(Chain, Tail),
    /// Depthwise convolution of `node`.
    Depthwise(Tail),
    /// Statistics of the norm `node`, for the convolutions that read it.
    Statistics,
    /// Norm, factor, activation or sum.
    Pointwise(Tail),
    /// The operation as it stands.
    Plain,
    /// Input number `.0` of a concatenation along the channels to channel `.1` of the result.
    Join(usize, usize),
}

impl Step {
    /// What follows the node in the same pass.
    pub(super) fn tail(&self) -> Option<&Tail> {
        match &self.work {
            Work::Conv(_, tail) | Work::Depthwise(tail) | Work::Pointwise(tail) => Some(tail),
            _ => None,
        }
    }

    /// The norm whose statistics are read.
    pub(super) fn norm(&self) -> Option<Value> {
        match &self.work {
            Work::Conv(chain, _) => chain.norm,
            Work::Pointwise(_) => Some(self.node),
            _ => None,
        }
    }

    /// The node whose result is stored, if one is.
    pub(super) fn result(&self) -> Option<Value> {
        match &self.work {
            Work::Plain | Work::Join(..) => Some(self.node),
            _ => self.tail().map(|tail| tail.last),
        }
    }

    /// Stored maps that are read.
    pub(super) fn reads(&self, graph: &Graph) -> Vec<Value> {
        let inputs = &graph.nodes[self.node.index()].inputs;
        let mut all = match &self.work {
            Work::Conv(chain, _) => vec![chain.base],
            Work::Join(i, _) => vec![inputs[*i]],
            _ => inputs.clone(),
        };
        if let Some(tail) = self.tail() {
            all.extend(tail.channel);
            all.extend(tail.add);
        }
        all
    }
}

/// Where a stored map lies: a range of channels of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: usize,
    pub(super) channel: usize,
}

/// A graph as steps.
#[derive(Clone, Debug)]
pub(super) struct Lowered {
    pub(super) steps: Vec<Step>,
    /// Per node: where its result is stored.
    pub(super) places: Vec<Option<Place>>,
    /// Per slot: channels from one pixel to the next, and a value of its size.
    pub(super) slots: Vec<(usize, Value)>,
}

/// A joined map is written in place by producers at most this many nodes earlier; older ones are copied, so that
/// the whole of it need not live as long as they do.
const RECENT: usize = 48;

/// Lowers `graph`.
pub(super) fn lower(graph: &Graph) -> Lowered {
    let mut l = Lowering::new(graph);
    l.find_tails();
    l.find_lazy();
    l.place_joins();
    l.emit()
}

struct Lowering<'a> {
    graph: &'a Graph,
    live: Vec<bool>,
    readers: Vec<Vec<usize>>,
    /// Nodes that are part of another node's step.
    taken: Vec<bool>,
    tails: Vec<Option<Tail>>,
    /// Nodes computed only while a convolution reads them.
    lazy: Vec<bool>,
    places: Vec<Option<Place>>,
    slots: Vec<(usize, Value)>,
}

fn act(a: Activation) -> Act {
    match a {
        Activation::Silu => Act::Silu,
        Activation::GeluErf => Act::Gelu,
        Activation::LeakyRelu(slope) => Act::Leaky(slope),
    }
}

impl<'a> Lowering<'a> {
    fn new(graph: &'a Graph) -> Self {
        let n = graph.nodes.len();
        let mut live = vec![false; n];
        for v in graph.outputs.iter().chain(&graph.inputs) {
            live[v.index()] = true;
        }
        for i in (0..n).rev() {
            if live[i] {
                graph.nodes[i].inputs.iter().for_each(|v| live[v.index()] = true);
            }
        }
        let mut readers = vec![Vec::new(); n];
        for i in (0..n).filter(|&i| live[i]) {
            graph.nodes[i].inputs.iter().for_each(|v| readers[v.index()].push(i));
        }
        Self {
            graph,
            live,
            readers,
            taken: vec![false; n],
            tails: vec![None; n],
            lazy: vec![false; n],
            places: vec![None; n],
            slots: Vec::new(),
        }
    }

    fn op(&self, i: usize) -> &'a Op {
        &self.graph.nodes[i].op
    }

    fn value(i: usize) -> Value {
        Value(i as u32)
    }

    fn is_output(&self, i: usize) -> bool {
        self.graph.outputs.iter().any(|v| v.index() == i)
    }

    fn is_conv(&self, i: usize) -> bool {
        matches!(self.op(i), Op::Conv2d { groups: 1, .. })
    }

    fn is_depthwise(&self, i: usize) -> bool {
        matches!(self.op(i), Op::Conv2d { .. }) && !self.is_conv(i)
    }

    /// Operations that [`Work::Pointwise`] does.
    fn is_pointwise(&self, i: usize) -> bool {
        matches!(
            self.op(i),
            Op::GroupNorm { .. }
                | Op::ChannelNorm { .. }
                | Op::BatchNorm { .. }
                | Op::ScaleChannels { .. }
                | Op::Affine { .. }
                | Op::Activation(_)
                | Op::Add { .. }
        )
    }

    fn find_tails(&mut self) {
        for i in 0..self.graph.nodes.len() {
            if self.live[i] && (self.is_conv(i) || self.is_depthwise(i)) {
                self.tails[i] = Some(self.tail(i));
            }
        }
    }

    /// Follows the only reader for as long as one pass can do its work too, and takes those nodes.
    fn tail(&mut self, start: usize) -> Tail {
        let mut tail = Tail {
            last: Self::value(start),
            folds: Vec::new(),
            channel: None,
            act: Act::None,
            scale: 1.0,
            add: None,
            shuffle: 1,
        };
        let (conv, depthwise) = (self.is_conv(start), self.is_depthwise(start));
        // A pointwise node is itself the first element of its pass.
        match self.op(start) {
            Op::Activation(a) => tail.act = act(*a),
            Op::Add { scale } => {
                tail.scale = *scale;
                tail.add = self.graph.nodes[start].inputs.first().copied();
            }
            _ => {}
        }
        // The per-pixel norm has a kernel of its own, which ends with the activation.
        let sums = !matches!(self.op(start), Op::ChannelNorm { .. }) && !depthwise;
        loop {
            let at = tail.last.index();
            if self.is_output(at) || tail.add.is_some() {
                return tail;
            }
            let &[next] = self.readers[at].as_slice() else { return tail };
            if self.taken[next] || self.lazy[next] {
                return tail;
            }
            let fresh = tail.channel.is_none() && tail.act == Act::None && tail.shuffle == 1;
            let node = &self.graph.nodes[next];
            let fits = match &node.op {
                Op::BatchNorm { .. } | Op::ScaleChannels { .. } if (conv || depthwise) && fresh => {
                    tail.folds.push(Self::value(next));
                    true
                }
                Op::Activation(a) if tail.act == Act::None => {
                    tail.act = act(*a);
                    true
                }
                Op::PixelShuffle { factor } if conv && tail.channel.is_none() && tail.shuffle == 1 => {
                    tail.shuffle = *factor;
                    true
                }
                Op::Add { scale } if sums => self.absorb_sum(&mut tail, &node.inputs, *scale, conv && fresh),
                _ => false,
            };
            if !fits {
                return tail;
            }
            self.taken[next] = true;
            tail.last = Self::value(next);
        }
    }

    fn absorb_sum(&self, tail: &mut Tail, inputs: &[Value], scale: f32, vector: bool) -> bool {
        let &[a, b] = inputs else { return false };
        if a == b {
            return false;
        }
        let (own, other) = (self.graph.shape(tail.last), if a == tail.last { b } else { a });
        let spread = self.graph.shape(other) != own;
        if a == tail.last && scale == 1.0 {
            if !spread {
                tail.add = Some(other);
            } else if vector {
                tail.channel = Some(other);
            }
            return !spread || vector;
        }
        if b == tail.last && !spread {
            (tail.add, tail.scale) = (Some(a), scale);
            return true;
        }
        false
    }

    /// Norms, activations and enlargements that only convolutions read are never stored.
    fn find_lazy(&mut self) {
        for i in (0..self.graph.nodes.len()).rev() {
            if !self.live[i] || self.taken[i] || self.is_output(i) || self.readers[i].is_empty() {
                continue;
            }
            let convs = self.readers[i].iter().all(|&r| self.is_conv(r));
            self.lazy[i] = match self.op(i) {
                Op::Activation(_) | Op::UpsampleNearest2 => convs,
                Op::GroupNorm { .. } | Op::ChannelNorm { kind: ChannelNorm::Rms, .. } => self.readers[i]
                    .iter()
                    .all(|&r| self.is_conv(r) || (self.lazy[r] && matches!(self.op(r), Op::Activation(_)))),
                _ => false,
            };
        }
        for i in 0..self.graph.nodes.len() {
            if self.live[i] && !self.taken[i] && !self.lazy[i] && self.is_pointwise(i) {
                self.tails[i] = Some(self.tail(i));
            }
        }
    }

    /// The stored map behind what convolution `i` reads.
    fn chain(&self, i: usize) -> Chain {
        let mut at = self.graph.nodes[i].inputs[0];
        let mut chain = Chain { base: at, upsample: false, norm: None, act: Act::None };
        while self.lazy[at.index()] {
            match self.op(at.index()) {
                Op::UpsampleNearest2 => chain.upsample = true,
                Op::Activation(a) => chain.act = act(*a),
                _ => chain.norm = Some(at),
            }
            at = self.graph.nodes[at.index()].inputs[0];
            chain.base = at;
            // A norm or an enlargement reads a stored map.
            if chain.upsample || chain.norm.is_some() {
                break;
            }
        }
        chain
    }

    /// Whether node `i`'s result is stored by a step or from outside.
    fn stored(&self, i: usize) -> bool {
        if self.tails.iter().flatten().any(|t| t.last.index() == i) {
            return true;
        }
        self.live[i] && !self.taken[i] && !self.lazy[i] && self.tails[i].is_none()
    }

    fn new_slot(&mut self, v: Value) -> usize {
        let channels = self.graph.shape(v)[1].next_multiple_of(LANES);
        self.slots.push((channels, v));
        self.slots.len() - 1
    }

    /// Lets producers write straight into the joined map where the channels fall on whole vectors.
    fn place_joins(&mut self) {
        let n = self.graph.nodes.len();
        let mut joins: Vec<usize> = (0..n)
            .filter(|&i| self.live[i] && matches!(self.op(i), Op::Concat { axis: 1 }))
            .filter(|&i| {
                let inputs = &self.graph.nodes[i].inputs;
                inputs.iter().rev().skip(1).all(|&v| self.graph.shape(v)[1].is_multiple_of(LANES))
            })
            .collect();
        // The widest first: narrower ones are then ranges of it.
        joins.sort_by_key(|&i| (std::cmp::Reverse(self.graph.nodes[i].shape[1]), i));
        for i in joins {
            let inputs = self.graph.nodes[i].inputs.clone();
            let place = match self.places[i].or_else(|| self.common_place(i)) {
                Some(place) => place,
                None => Place { slot: self.new_slot(Self::value(i)), channel: 0 },
            };
            self.places[i] = Some(place);
            let mut channel = place.channel;
            for v in inputs {
                let recent = i - v.index() <= RECENT;
                if self.places[v.index()].is_none() && recent && self.stored(v.index()) {
                    self.places[v.index()] = Some(Place { slot: place.slot, channel });
                }
                channel += self.graph.shape(v)[1];
            }
        }
    }

    /// Where the inputs of join `i` already lie side by side, if they do.
    fn common_place(&self, i: usize) -> Option<Place> {
        let node = &self.graph.nodes[i];
        let first = self.places[node.inputs.first()?.index()]?;
        let mut channel = first.channel;
        for v in &node.inputs {
            if self.places[v.index()] != Some(Place { slot: first.slot, channel }) {
                return None;
            }
            channel += self.graph.shape(*v)[1];
        }
        // The padding of a range that ends inside a wider map would be its neighbour.
        node.shape[1].is_multiple_of(LANES).then_some(first)
    }

    fn emit(mut self) -> Lowered {
        let n = self.graph.nodes.len();
        // A step runs where its last node stands: all that it reads is there.
        let mut at: Vec<Vec<Step>> = vec![Vec::new(); n];
        for i in (0..n).filter(|&i| self.live[i]) {
            let node = Self::value(i);
            if let Some(tail) = self.tails[i].take() {
                let last = tail.last.index();
                let work = if self.is_conv(i) {
                    Work::Conv(self.chain(i), tail)
                } else if self.is_depthwise(i) {
                    Work::Depthwise(tail)
                } else {
                    if matches!(self.op(i), Op::GroupNorm { .. }) {
                        at[i].push(Step { node, work: Work::Statistics });
                    }
                    Work::Pointwise(tail)
                };
                at[last].push(Step { node, work });
            } else if self.taken[i] {
                continue;
            } else if self.lazy[i] {
                if matches!(self.op(i), Op::GroupNorm { .. } | Op::ChannelNorm { .. }) {
                    at[i].push(Step { node, work: Work::Statistics });
                }
                continue;
            } else if let (Op::Concat { axis: 1 }, inputs) = (self.op(i), &self.graph.nodes[i].inputs) {
                let mut channel = 0;
                for (k, v) in inputs.iter().enumerate() {
                    let there = self.places[i].map(|p| Place { slot: p.slot, channel: p.channel + channel });
                    if there.is_none() || self.places[v.index()] != there {
                        at[i].push(Step { node, work: Work::Join(k, channel) });
                    }
                    channel += self.graph.shape(*v)[1];
                }
            } else if *self.op(i) != Op::Input {
                at[i].push(Step { node, work: Work::Plain });
            }
        }
        let steps: Vec<Step> = at.into_iter().flatten().collect();
        let results = steps.iter().filter_map(Step::result).chain(self.graph.inputs.iter().copied());
        for v in results.collect::<Vec<_>>() {
            if self.places[v.index()].is_none() {
                let slot = self.new_slot(v);
                self.places[v.index()] = Some(Place { slot, channel: 0 });
            }
        }
        Lowered { steps, places: self.places, slots: self.slots }
    }
}
