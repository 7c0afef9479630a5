//! The dialog: the values, what they will take, and a small piece of the picture before and after.

mod advice;
mod gtk;
mod panel;
pub(crate) mod three;
pub(crate) mod two;

/// Presets of quality: label, steps, fidelity; `None` keeps what is set under Advanced.
const QUALITY: [(&str, Option<(u32, f64)>); 4] = [
    ("Faithful, fastest (as the model was tuned)", Some((0, -1.0))),
    ("Balanced", Some((4, 0.5))),
    ("Most texture", Some((4, 0.0))),
    ("As set under Advanced", None),
];

/// Which preset these values are.
fn quality(steps: u32, fidelity: f64) -> usize {
    let same = |preset: &Option<(u32, f64)>| *preset == Some((steps, fidelity));
    QUALITY.iter().position(|(_, preset)| same(preset)).unwrap_or(QUALITY.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_known_again() {
        for (i, (_, preset)) in QUALITY.iter().enumerate() {
            let (steps, fidelity) = preset.unwrap_or((7, 0.3));
            assert_eq!(quality(steps, fidelity), i);
        }
    }
}
