//! Sampling as plain numbers: which timesteps, which expert, which coefficients, which noise.

mod ddim;
mod experts;
mod noise;
mod schedule;
mod shift;

pub use ddim::DdimSchedule;
pub use experts::expert_of;
pub use noise::{fill, gaussian, philox4x32};
pub use schedule::{Coefs, ShiftSchedule, Step};
pub use shift::{shift_steps, start_scale};
