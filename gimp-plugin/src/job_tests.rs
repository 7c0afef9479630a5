use super::*;
use crate::exchange::{Depth, Stored};
use crate::face::Base;
use crate::fake::{Fake, RGB8};
use crate::request::{Output, Scope};
use ssmoesr_core::{Options, Upscaler};
use std::ops::ControlFlow;
use std::path::PathBuf;

fn request(scope: Scope, output: Output) -> Request {
    Request { scope, output, ..Request::default() }
}

/// Bytes that differ from pixel to pixel.
fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 37 + i / 50 * 11) as u8).collect()
}

/// What core makes of the samples by itself.
fn expected(stored: &Stored, w: i32, h: i32, data: &[u8]) -> Vec<u8> {
    let options = Options::default();
    let format = stored.exchange().frame_format();
    let mut small = Frame::new(format, w as u32, h as u32, ColorInfo::default()).unwrap();
    small.plane_mut(0).copy_from_slice(data);
    let mut large = Frame::new(format, w as u32 * 4, h as u32 * 4, ColorInfo::default()).unwrap();
    Upscaler::new(&options)
        .unwrap()
        .run(
            &small.view(),
            &mut large.view_mut(),
            &options,
            &mut |_| ControlFlow::Continue(()),
            &CancelToken::new(),
        )
        .unwrap();
    large.plane(0).to_vec()
}

fn rows(data: &[u8], width: usize, part: Rect) -> Vec<u8> {
    let row = |y: i32| &data[(y as usize * width + part.x as usize) * 3..][..part.w as usize * 3];
    (part.y..part.y + part.h).flat_map(row).copied().collect()
}

#[test]
fn a_new_image_holds_what_core_makes() {
    let fake = Fake::new(20, 16);
    fake.name_file("/home/me/cat.jpg");
    let layer = fake.add_layer("cat", Rect { x: 2, y: 1, w: 12, h: 9 });
    fake.fill(layer, pattern(12 * 9 * 3).into_iter());
    let before = fake.item(layer).data;
    let result = run(&fake, Fake::IMAGE, &[layer], &Request::default(), true).unwrap().image;
    let image = fake.image(result);
    assert_eq!(image.size, (48, 36));
    assert!(image.shown);
    assert_eq!(image.file, Some(PathBuf::from("/home/me/cat x4")));
    let made = fake.item(image.layers[0]);
    assert_eq!(made.name, "cat x4");
    assert_eq!(made.data, expected(&RGB8, 12, 9, &before));
    assert_eq!(fake.item(layer).data, before);
    assert_eq!(fake.image(Fake::IMAGE).layers, [layer]);
    assert!(!fake.log().contains(&"begin".to_owned()));
}

#[test]
fn a_new_layer_lies_above_its_source_in_one_step() {
    let fake = Fake::new(20, 16);
    let layer = fake.add_layer("cat", Rect { x: 2, y: 1, w: 12, h: 9 });
    let top = fake.add_layer("top", Rect { x: 0, y: 0, w: 20, h: 16 });
    let done = run(&fake, Fake::IMAGE, &[layer], &request(Scope::Layer, Output::NewLayer), true).unwrap();
    let result = done.image;
    // The result of 48 x 36 pixels of 3 bytes, and what core says.
    assert!(done.planned > 48 * 36 * 3);
    assert_eq!(result, Fake::IMAGE);
    let image = fake.image(result);
    assert_eq!((image.size, image.layers.len()), ((80, 64), 3));
    assert_eq!((image.layers[0], image.layers[2]), (top, layer));
    let made = fake.item(image.layers[1]);
    assert_eq!(made.place, Rect { x: 8, y: 4, w: 48, h: 36 });
    let log = fake.log();
    let at = |text: &str| log.iter().position(|l| l.starts_with(text)).unwrap();
    assert!(
        at("new layer") < at("begin") && at("begin") < at("scale") && at("scale") < at("insert"),
        "{log:?}"
    );
    assert_eq!(at("end"), at("insert") + 1, "{log:?}");
}

#[test]
fn in_place_the_layer_itself_grows() {
    let fake = Fake::new(20, 16);
    let layer = fake.add_layer("cat", Rect { x: 2, y: 1, w: 12, h: 9 });
    fake.fill(layer, pattern(12 * 9 * 3).into_iter());
    let before = fake.item(layer).data;
    run(&fake, Fake::IMAGE, &[layer], &request(Scope::Layer, Output::ThisImage), true).unwrap();
    let made = fake.item(layer);
    assert_eq!(made.place, Rect { x: 8, y: 4, w: 48, h: 36 });
    assert_eq!(made.data, expected(&RGB8, 12, 9, &before));
    assert_eq!(fake.image(Fake::IMAGE).layers, [layer]);
    let log = fake.log();
    assert_eq!((log[0].as_str(), log[1].as_str()), ("begin", "scale 80 64"));
    assert_eq!(log[3], "end");
}

#[test]
fn a_selection_is_computed_with_its_surroundings() {
    let fake = Fake::new(150, 40);
    let layer = fake.add_layer("cat", Rect { x: 0, y: 0, w: 150, h: 40 });
    fake.fill(layer, pattern(150 * 40 * 3).into_iter());
    let data = fake.item(layer).data;
    fake.select(Some(Rect { x: 100, y: 10, w: 8, h: 6 }));
    let seen = Rect { x: 64, y: 0, w: 76, h: 40 };
    let large = expected(&RGB8, seen.w, seen.h, &rows(&data, 150, seen));
    let wanted = Rect { x: 36 * 4, y: 40, w: 32, h: 24 };

    let new =
        run(&fake, Fake::IMAGE, &[layer], &request(Scope::Selection, Output::NewImage), false).unwrap().image;
    let made = fake.item(fake.image(new).layers[0]);
    assert_eq!((made.data, made.mask), (rows(&large, seen.w as usize * 4, wanted), None));
    assert!(!fake.image(new).shown);

    run(&fake, Fake::IMAGE, &[layer], &request(Scope::Selection, Output::ThisImage), false).unwrap();
    let all = Rect { x: 256, y: 0, w: 304, h: 160 };
    assert!(fake.log().contains(&format!("change cat {all:?}")), "{:?}", fake.log());
    assert_eq!(rows(&fake.item(layer).data, 600, all), large);
}

#[test]
fn soft_selections_and_masks_become_a_mask() {
    let fake = Fake::new(40, 30);
    let layer = fake.add_layer("cat", Rect { x: 0, y: 0, w: 40, h: 30 });
    // The right half of the layer is hidden.
    fake.give_mask(layer, (0..40 * 30).map(|i| if i % 40 < 20 { 1.0 } else { 0.0 }));
    fake.select(Some(Rect { x: 4, y: 4, w: 30, h: 20 }));
    fake.select_softly(10, 10);
    run(&fake, Fake::IMAGE, &[layer], &request(Scope::Selection, Output::NewLayer), false).unwrap();
    let made = fake.item(fake.image(Fake::IMAGE).layers[0]);
    assert_eq!(made.place, Rect { x: 16, y: 16, w: 120, h: 80 });
    let mask = fake.item(made.mask.unwrap());
    assert_eq!((mask.value(40, 60), mask.value(100, 40)), (1.0, 0.0));
    // The middle of the pixel selected by half, sixth from the left and from the top of the part.
    let middle = mask.value(26, 26);
    assert!((0.4..0.6).contains(&middle), "{middle}");
    assert!(mask.data.chunks_exact(4).all(|v| (0.0..=1.0).contains(&sample(v, 0))));
}

#[test]
fn all_that_is_visible_leaves_no_copy_behind() {
    let fake = Fake::new(20, 16);
    let result =
        run(&fake, Fake::IMAGE, &[], &request(Scope::Visible, Output::ThisImage), false).unwrap().image;
    assert_eq!(result, Fake::IMAGE);
    let image = fake.image(result);
    assert_eq!((image.size, image.layers.len()), ((80, 64), 1));
    assert!(!fake.item(Item(1)).there, "the copy that was read");
}

#[test]
fn gray_floats_keep_their_kind() {
    let fake = Fake::new(9, 7);
    let stored = Stored { gray: true, alpha: true, depth: Depth::F32, own_curve: false };
    let layer = fake.add_stored("g", Rect { x: 0, y: 0, w: 9, h: 7 }, stored);
    fake.fill(layer, (0..9 * 7).flat_map(|i| [i as f32 / 63.0, 1.0]).flat_map(f32::to_ne_bytes));
    run(&fake, Fake::IMAGE, &[layer], &request(Scope::Layer, Output::ThisImage), false).unwrap();
    let data = fake.item(layer).data;
    assert_eq!(data.len(), 36 * 28 * 8);
    let (gray, alpha): (Vec<f32>, Vec<f32>) =
        data.chunks_exact(8).map(|px| (sample(px, 0), sample(px, 1))).unzip();
    assert!(alpha.iter().all(|a| *a == 1.0));
    assert!(gray[0] < 0.2 && gray[36 * 28 - 1] > 0.8 && gray.iter().all(|v| (0.0..=1.0).contains(v)));
}

#[test]
fn what_gimp_refuses_leaves_nothing_behind() {
    for (call, output) in [
        ("new_image", Output::NewImage),
        ("new_layer", Output::NewImage),
        ("write", Output::NewImage),
        ("insert", Output::NewImage),
        ("new_layer", Output::NewLayer),
        ("write", Output::NewLayer),
        ("scale", Output::NewLayer),
        ("scale", Output::ThisImage),
    ] {
        let fake = Fake::new(8, 8);
        let layer = fake.add_layer("a", Rect { x: 0, y: 0, w: 8, h: 8 });
        fake.refuse(call);
        let trouble = run(&fake, Fake::IMAGE, &[layer], &request(Scope::Layer, output), false).unwrap_err();
        assert!(trouble.to_string().contains(call));
        assert_eq!(fake.image(Fake::IMAGE).layers, [layer]);
        assert_eq!(fake.image(Fake::IMAGE).size, (8, 8));
        let log = fake.log();
        let count = |text: &str| log.iter().filter(|l| l.starts_with(text)).count();
        assert_eq!(count("begin"), count("end"), "{log:?}");
        assert_eq!(count("new image"), count("discard image"), "{log:?}");
    }
}

#[test]
fn wrong_options_change_nothing() {
    let fake = Fake::new(8, 8);
    fake.set_base(Base::Rgb);
    let layer = fake.add_layer("a", Rect { x: 0, y: 0, w: 8, h: 8 });
    let mut wrong = request(Scope::Layer, Output::ThisImage);
    wrong.options.model = Some("no-such-model".to_owned());
    let text = run(&fake, Fake::IMAGE, &[layer], &wrong, false).unwrap_err().to_string();
    assert!(text.contains("no-such-model") && text.contains("model.json"), "{text}");
    assert_eq!(fake.log(), Vec::<String>::new());
}
