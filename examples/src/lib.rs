//! What the demo's programs share: a small drawing kit, letters made of strokes, and the scene.

pub mod letters;
pub mod scene;
