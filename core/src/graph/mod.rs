//! The network as data: operations, recorded graphs, plans.

mod builder;
#[cfg(test)]
pub(crate) mod cases;
pub(crate) mod dump;
mod op;
mod plan;
mod sinusoid;

pub use builder::{Builder, Graph, Node, Value, Weight, WeightId};
pub use op::{Activation, Border, ChannelNorm, Op, Padding, QkvLayout, Shape};
pub use plan::{Plan, Step, place_lives};
pub use sinusoid::frequencies;
