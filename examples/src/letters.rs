//! Letters as strokes on a grid of 4 x 6, so that text needs no font file. Own shapes.

/// Height of a capital, in grid units; the next letter begins [`ADVANCE`] to the right.
pub const HEIGHT: f32 = 6.0;
/// From letter to letter, in grid units.
pub const ADVANCE: f32 = 5.5;

/// Polylines of one character: digits are x (0..4) and y (0..6, downwards), a blank ends a line.
fn strokes(letter: char) -> &'static str {
    match letter.to_ascii_uppercase() {
        'A' => "0620 2046 1434",
        'B' => "0600304132330333 334445360606",
        'C' => "4130100105163645",
        'D' => "06003042443606",
        'E' => "40000646 0333",
        'F' => "400006 0333",
        'G' => "41301001051636454323",
        'H' => "0006 4046 0343",
        'I' => "2026",
        'K' => "0006 4003 0346",
        'L' => "000646",
        'M' => "0600234046",
        'N' => "06004640",
        'O' => "100105163645413010",
        'P' => "060030414233 3303",
        'R' => "060030414233 3303 2346",
        'S' => "413010010213334445361605",
        'T' => "0040 2026",
        'U' => "000516364540",
        'V' => "002640",
        'W' => "0016243640",
        'X' => "0046 4006",
        'Y' => "002340 2326",
        'Z' => "00400646",
        '0' => "100105163645413010 0541",
        '1' => "112026",
        '2' => "0110304142 420646",
        '3' => "00402333444536 160536",
        '4' => "36300444",
        '5' => "400002324345361605",
        '6' => "3010020516364544330304",
        '7' => "004016",
        '8' => "1001021333444536160504133342413010",
        '9' => "4232120110304145 453616",
        '.' => "2526",
        '-' => "0343",
        ':' => "2122 2425",
        _ => "",
    }
}

/// Width of `text` in pixels where a capital is `size` pixels high.
pub fn width(text: &str, size: f32) -> f32 {
    (text.chars().count() as f32 * ADVANCE - (ADVANCE - 4.0)).max(0.0) * size / HEIGHT
}

/// Every stroke of `text` as `[x0, y0, x1, y1]` in pixels, from its upper left corner at the origin.
pub fn segments(text: &str, size: f32) -> Vec<[f32; 4]> {
    let unit = size / HEIGHT;
    let mut out = Vec::new();
    for (i, letter) in text.chars().enumerate() {
        let left = i as f32 * ADVANCE;
        for line in strokes(letter).split(' ') {
            let digits: Vec<f32> = line.bytes().map(|b| f32::from(b.saturating_sub(b'0'))).collect();
            let points: Vec<_> =
                digits.chunks_exact(2).map(|p| [(p[0] + left) * unit, p[1] * unit]).collect();
            out.extend(points.windows(2).map(|p| [p[0][0], p[0][1], p[1][0], p[1][1]]));
        }
    }
    out
}

/// How much of the pixel at `(x, y)` the strokes cover, with pens of width `pen`; both in pixels.
pub fn coverage(segments: &[[f32; 4]], x: f32, y: f32, pen: f32) -> f32 {
    let nearest = segments.iter().map(|s| distance(*s, x, y)).fold(f32::INFINITY, f32::min);
    (pen / 2.0 + 0.5 - nearest).clamp(0.0, 1.0)
}

fn distance([x0, y0, x1, y1]: [f32; 4], x: f32, y: f32) -> f32 {
    let (dx, dy) = (x1 - x0, y1 - y0);
    let along = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy).max(1e-6)).clamp(0.0, 1.0);
    (x0 + along * dx - x).hypot(y0 + along * dy - y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_stays_on_its_grid() {
        let known: String = ('A'..='Z').chain('0'..='9').filter(|c| !strokes(*c).is_empty()).collect();
        assert_eq!(known.len(), 34, "{known}");
        for letter in known.chars() {
            for [x0, y0, x1, y1] in segments(&letter.to_string(), HEIGHT) {
                assert!([x0, x1].iter().all(|x| (0.0..=4.0).contains(x)), "{letter}");
                assert!([y0, y1].iter().all(|y| (0.0..=6.0).contains(y)), "{letter}");
            }
        }
    }

    #[test]
    fn a_stroke_covers_its_middle_and_nothing_far_away() {
        let bar = segments("I", 12.0);
        assert_eq!(coverage(&bar, 4.0, 6.0, 1.0), 1.0);
        assert_eq!(coverage(&bar, 8.0, 6.0, 1.0), 0.0);
    }
}
