//! Where tiles lie and how much each counts where they overlap: integers and window weights, no pixels.

mod budget;
mod feather;
mod grid;
mod order;
mod rect;

pub use budget::choose_tile;
pub use grid::{Tile, TileGrid};
pub use order::Order;
pub use rect::Rect;
