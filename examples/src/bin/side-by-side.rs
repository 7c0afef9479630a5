//! Puts an enlarged picture beside its input: `side-by-side INPUT ENLARGED OUT [X Y W H]`.
//!
//! From left to right: the input with its pixels as squares, the input enlarged bicubically, the enlarged picture.
//! X Y W H cut a part of the input out first.

use anyhow::{Context, ensure};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use ssmoesr_examples::letters;

const GAP: u32 = 6;
const BAR: u32 = 26;

fn open(path: &str) -> anyhow::Result<RgbImage> {
    Ok(image::open(path).with_context(|| path.to_owned())?.to_rgb8())
}

fn label(picture: &mut RgbImage, text: &str, left: u32) {
    let strokes = letters::segments(text, 12.0);
    for (x, y) in (0..letters::width(text, 12.0) as u32 + 4).flat_map(|x| (0..BAR).map(move |y| (x, y))) {
        let ink = letters::coverage(&strokes, x as f32 - 1.5, y as f32 - 6.5, 1.5);
        if ink > 0.0 && left + x < picture.width() {
            picture.put_pixel(left + x, y, Rgb([(32.0 + ink * 208.0) as u8; 3]));
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    ensure!(args.len() == 3 || args.len() == 7, "INPUT ENLARGED OUT [X Y W H] are needed");
    let (input, enlarged) = (open(&args[0])?, open(&args[1])?);
    let scale = enlarged.width() / input.width();
    ensure!(
        scale > 0 && enlarged.dimensions() == (input.width() * scale, input.height() * scale),
        "{} is {}x{}, no multiple of {}x{}",
        args[1],
        enlarged.width(),
        enlarged.height(),
        input.width(),
        input.height()
    );
    let cut: Vec<u32> = args[3..].iter().map(|n| n.parse()).collect::<Result<_, _>>()?;
    let [x, y, w, h] = <[u32; 4]>::try_from(cut).unwrap_or([0, 0, input.width(), input.height()]);
    ensure!(x + w <= input.width() && y + h <= input.height() && w > 0 && h > 0, "the part lies outside");
    let part = |p: &RgbImage, s: u32| imageops::crop_imm(p, x * s, y * s, w * s, h * s).to_image();
    let (big_w, big_h) = (w * scale, h * scale);
    // CatmullRom is the bicubic of a = -0.5; the whole input is enlarged, so that the cut has no borders of its own.
    let bicubic = imageops::resize(&input, enlarged.width(), enlarged.height(), FilterType::CatmullRom);
    let panels = [
        ("INPUT", imageops::resize(&part(&input, 1), big_w, big_h, FilterType::Nearest)),
        ("BICUBIC", part(&bicubic, scale)),
        ("SSMOESR", part(&enlarged, scale)),
    ];
    let mut out = RgbImage::from_pixel(big_w * 3 + GAP * 2, big_h + BAR, Rgb([32; 3]));
    for (i, (name, panel)) in panels.iter().enumerate() {
        let left = i as u32 * (big_w + GAP);
        imageops::replace(&mut out, panel, i64::from(left), i64::from(BAR));
        label(&mut out, name, left + 4);
    }
    out.save(&args[2]).with_context(|| args[2].clone())
}
