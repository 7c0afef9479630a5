//! Caps of one pad from those of the other for a fixed factor: functions without an element.
//! Rules after `videoscale` (gst-plugins-base), with two defects avoided: values it cannot divide, and colours
//! that follow the height.

use glib::value::ToSendValue;

/// Longest side that may leave the element, in pixels.
pub(super) const MAX_SIDE: i32 = 32_768;

/// Smallest factor there is, and the one that every other is a multiple of.
const UNIT: i32 = 4;

/// Height up to which video without a word about its colours counts as standard definition
/// (gst-plugins-base, `set_default_colorimetry` in video-info.c).
const SD_LINES: u32 = 576;

/// Which way sizes are carried over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carry {
    /// Input to output: multiply.
    Forth,
    /// Output to input: divide.
    Back,
}

/// What decides about sizes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Factor of width and height.
    pub(super) scale: i32,
    /// Largest product of the output's sides.
    pub(super) max_output_pixels: u64,
}

impl Limits {
    /// Longest side of the input.
    fn input_side(&self) -> i32 {
        MAX_SIDE / self.scale
    }

    fn too_many(&self, output: (i32, i32)) -> bool {
        let (w, h) = output;
        u64::from(w.unsigned_abs()) * u64::from(h.unsigned_abs()) > self.max_output_pixels
    }
}

/// Formats of both pads, most wanted first: decoders deliver YUV.
pub(super) const FORMATS: [gst_video::VideoFormat; 27] = {
    use gst_video::VideoFormat as F;
    // Samples of two bytes are taken in the machine's own order only.
    let [i420p10, p010, i444p10, i422p10, gray16, argb16, rgba16] = if cfg!(target_endian = "little") {
        [F::I42010le, F::P01010le, F::Y44410le, F::I42210le, F::Gray16Le, F::Argb64Le, F::Rgba64Le]
    } else {
        [F::I42010be, F::P01010be, F::Y44410be, F::I42210be, F::Gray16Be, F::Argb64Be, F::Rgba64Be]
    };
    [
        F::I420,
        F::Nv12,
        F::Yv12,
        F::Y42b,
        F::Y444,
        F::Nv21,
        i420p10,
        p010,
        i444p10,
        i422p10,
        F::Gray8,
        F::Rgb,
        F::Bgr,
        F::Rgbx,
        F::Bgrx,
        F::Xrgb,
        F::Xbgr,
        F::Rgba,
        F::Bgra,
        F::Argb,
        F::Abgr,
        F::Gbr,
        F::Gbra,
        gray16,
        F::Argb64,
        argb16,
        rgba16,
    ]
};

/// Caps of the templates: what the input and the output may be at any factor.
///
/// No `interlace-mode` here: a pad takes only subsets of its template, and caps without the field are none.
pub(super) fn template(carry: Carry) -> gst::Caps {
    let mut caps = gst_video::VideoCapsBuilder::new().format_list(FORMATS).build();
    let side = match carry {
        Carry::Forth => gst::IntRange::with_step(UNIT, MAX_SIDE, UNIT),
        Carry::Back => gst::IntRange::new(1, MAX_SIDE / UNIT),
    };
    for structure in caps.make_mut().iter_mut() {
        structure.set("width", side);
        structure.set("height", side);
    }
    caps
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn carry_value(v: i32, limits: &Limits, carry: Carry) -> Option<i32> {
    match carry {
        Carry::Forth => (1..=limits.input_side()).contains(&v).then(|| v * limits.scale),
        Carry::Back => ((1..=MAX_SIDE).contains(&v) && v % limits.scale == 0).then(|| v / limits.scale),
    }
}

/// Image of the values `min`, `min + step`, ..., `max`, all of them multiples of `step` (a rule of GstIntRange).
fn carry_range(min: i32, max: i32, step: i32, limits: &Limits, carry: Carry) -> Option<glib::SendValue> {
    let (scale, step) = (i64::from(limits.scale), i64::from(step.max(1)));
    // Values that have an image are the multiples of `every` up to `most`.
    let (every, most) = match carry {
        Carry::Forth => (step, limits.input_side()),
        Carry::Back => (step / gcd(step, scale) * scale, MAX_SIDE),
    };
    let low = (i64::from(min.max(1)) + every - 1) / every * every;
    let high = i64::from(max.min(most)) / every * every;
    if low > high {
        return None;
    }
    let image = |v: i64| {
        let v = match carry {
            Carry::Forth => v * scale,
            Carry::Back => v / scale,
        };
        i32::try_from(v).ok()
    };
    let (low, high, every) = (image(low)?, image(high)?, image(every)?);
    Some(if low == high {
        low.to_send_value()
    } else {
        gst::IntRange::with_step(low, high, every).to_send_value()
    })
}

fn carry_side(value: &glib::SendValue, limits: &Limits, carry: Carry) -> Option<glib::SendValue> {
    if let Ok(v) = value.get::<i32>() {
        carry_value(v, limits, carry).map(|v| v.to_send_value())
    } else if let Ok(r) = value.get::<gst::IntRange<i32>>() {
        carry_range(r.min(), r.max(), r.step(), limits, carry)
    } else if let Ok(list) = value.get::<gst::List>() {
        let mut images: Vec<_> = list.iter().filter_map(|v| carry_side(v, limits, carry)).collect();
        match images.len() {
            0 => None,
            // Caps with a list of one would not count as fixed.
            1 => images.pop(),
            _ => Some(gst::List::new(images).to_send_value()),
        }
    } else {
        None
    }
}

/// Narrows `field` to the text `wanted`; false where it cannot be that. An absent field is left absent.
fn narrow(structure: &mut gst::StructureRef, field: &str, wanted: impl Fn(&str) -> bool) -> bool {
    let Ok(value) = structure.value(field) else { return true };
    if let Ok(text) = value.get::<&str>() {
        return wanted(text);
    }
    let Ok(list) = value.get::<gst::List>() else { return false };
    let mut left: Vec<_> = list.iter().filter(|v| v.get::<&str>().is_ok_and(&wanted)).cloned().collect();
    match (left.len(), left.pop()) {
        (0, _) | (_, None) => return false,
        (1, Some(only)) => structure.set_value(field, only),
        (_, Some(last)) => {
            left.push(last);
            structure.set(field, gst::List::new(left));
        }
    }
    true
}

fn one_picture_per_buffer(mode: &str) -> bool {
    !matches!(mode, "separated" | "multiview-frame-by-frame")
}

/// Caps of the other pad. Only width and height change; what has no counterpart is left out.
pub(super) fn carried(caps: &gst::CapsRef, limits: &Limits, carry: Carry) -> gst::Caps {
    let mut result = gst::Caps::new_empty();
    'structures: for (structure, features) in caps.iter_with_features() {
        let mut structure = structure.to_owned();
        if !narrow(&mut structure, "interlace-mode", |m| m == "progressive")
            || !narrow(&mut structure, "multiview-mode", one_picture_per_buffer)
            || structure.get::<i32>("views").is_ok_and(|n| n > 1)
        {
            continue;
        }
        for side in ["width", "height"] {
            let image = match structure.value(side) {
                Ok(value) => carry_side(value, limits, carry),
                Err(_) => carry_range(1, i32::MAX, 1, limits, carry),
            };
            let Some(image) = image else { continue 'structures };
            structure.set_value(side, image);
        }
        if let (Ok(w), Ok(h)) = (structure.get::<i32>("width"), structure.get::<i32>("height")) {
            let factor = if carry == Carry::Back { limits.scale } else { 1 };
            if limits.too_many((w * factor, h * factor)) {
                continue;
            }
        }
        result.make_mut().append_structure_full(structure, Some(features.to_owned()));
    }
    result
}

/// Why fixed input caps cannot be taken, in words for a user; `None` where they can, or where the format is at
/// fault (which linking tells).
pub(super) fn refusal(caps: &gst::CapsRef, limits: &Limits) -> Option<String> {
    let structure = caps.structure(0)?;
    if let Ok(mode) = structure.get::<&str>("interlace-mode")
        && mode != "progressive"
    {
        return Some(format!(
            "Interlaced video (interlace-mode={mode}) cannot be enlarged: put deinterlace before this element"
        ));
    }
    let mode = structure.get::<&str>("multiview-mode").unwrap_or("mono");
    if !one_picture_per_buffer(mode) || structure.get::<i32>("views").is_ok_and(|n| n > 1) {
        return Some(format!(
            "Video with several views in a buffer (multiview-mode={mode}) cannot be enlarged: split the views first"
        ));
    }
    let (w, h) = (structure.get::<i32>("width").ok()?, structure.get::<i32>("height").ok()?);
    let (scale, most) = (limits.scale, limits.input_side());
    if w > most || h > most {
        return Some(format!("{w}x{h} is too large for scale={scale}: at most {most} pixels a side"));
    }
    limits.too_many((w * scale, h * scale)).then(|| {
        format!(
            "{w}x{h} at scale={scale} makes {}x{} pixels, more than max-output-pixels={}: \
             raise max-output-pixels or choose a smaller scale",
            w * scale,
            h * scale,
            limits.max_output_pixels
        )
    })
}

/// Chroma position of `info`; one that the caps do not tell follows from the height, as in
/// `set_default_chroma_site` of GStreamer's later releases (1.22 leaves it open).
pub(super) fn chroma_site(info: &gst_video::VideoInfo) -> gst_video::VideoChromaSite {
    let site = info.chroma_site();
    if !site.is_empty() {
        site
    } else if info.height() > SD_LINES {
        gst_video::VideoChromaSite::MPEG2
    } else {
        gst_video::VideoChromaSite::JPEG
    }
}

/// Writes into `output` the colours of `input` that a reader would else guess from the new height.
///
/// Without `colorimetry`, more than 576 lines mean BT.709 and fewer BT.601, so 320x240 enlarged four times would
/// change its matrix. RGB and gray have defaults that do not depend on the size.
pub(super) fn keep_colours(input: &gst_video::VideoInfo, output: &mut gst::StructureRef) {
    let format = input.format_info();
    if !format.is_yuv() {
        return;
    }
    if !output.has_field("colorimetry") {
        output.set("colorimetry", input.colorimetry().to_string());
    }
    let subsampled = format.w_sub().iter().chain(format.h_sub()).any(|&shift| shift > 0);
    if subsampled && !output.has_field("chroma-site") {
        output.set("chroma-site", chroma_site(input).to_string());
    }
}

#[cfg(test)]
#[path = "caps_tests.rs"]
mod tests;
