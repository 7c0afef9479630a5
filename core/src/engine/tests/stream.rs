//! Frames of a video: what did not change is not computed again, and nobody can tell.

use super::*;

/// A frame with a bright square at `x`, `y` on a scene that stays.
fn frame(x: u32, y: u32) -> Frame {
    let mut frame = scene(170, 90);
    for (i, px) in frame.plane_mut(0).chunks_exact_mut(3).enumerate() {
        let (px_x, px_y) = (i as u32 % 170, i as u32 / 170);
        if (x..x + 9).contains(&px_x) && (y..y + 7).contains(&px_y) {
            px.copy_from_slice(&[250, 240, 90]);
        }
    }
    frame
}

fn next(stream: &mut Stream, input: &Frame, options: &Options) -> Frame {
    let mut out = Frame::new(PixelFormat::Rgb8, 680, 360, ColorInfo::default()).unwrap();
    stream.run(&input.view(), &mut out.view_mut(), options, &CancelToken::new()).unwrap();
    out
}

#[test]
fn frames_are_those_of_a_fresh_stream_to_the_bit() {
    let mut options = Options::default();
    options.device = "cpu".to_owned();
    let upscaler = Arc::new(Upscaler::new(&options).unwrap());
    for steps in [1, 2] {
        options.steps = steps;
        options.fidelity = 0.4;
        options.tile_size = 96;
        let mut stream = Stream::new(Arc::clone(&upscaler));
        let mut reused = Vec::new();
        for (x, y) in [(10, 10), (10, 10), (12, 11), (150, 60), (150, 60)] {
            let before = stream.stats();
            let input = frame(x, y);
            let out = next(&mut stream, &input, &options);
            let alone = next(&mut Stream::new(Arc::clone(&upscaler)), &input, &options);
            assert!(out == alone, "{steps} steps, square at {x}, {y}");
            let now = stream.stats();
            assert_eq!(now.frames, before.frames + 1);
            reused.push((now.reused - before.reused, now.tiles - before.tiles));
        }
        let all = reused[0].1;
        assert!(reused.iter().all(|r| r.1 == all), "{reused:?}");
        assert_eq!((reused[0].0, reused[1].0, reused[4].0), (0, all, all), "{reused:?}");
        assert!(reused[2].0 > 0 && reused[2].0 < all, "a small change leaves far tiles alone: {reused:?}");
    }
}

#[test]
fn what_was_asked_and_resets_are_not_mixed_up() {
    let mut options = Options::default();
    options.device = "cpu".to_owned();
    let upscaler = Arc::new(Upscaler::new(&options).unwrap());
    let mut stream = Stream::new(Arc::clone(&upscaler));
    let input = frame(50, 50);
    let first = next(&mut stream, &input, &options);
    // Another seed is another picture even of the same input.
    options.steps = 2;
    options.fidelity = 0.0;
    options.eta = 1.0;
    let other = next(&mut stream, &input, &options);
    assert!(first != other && stream.stats().reused == 0);
    options.seed = 5;
    assert!(next(&mut stream, &input, &options) != other && stream.stats().reused == 0);
    stream.reset();
    next(&mut stream, &input, &options);
    assert_eq!(stream.stats().reused, 0, "nothing is known after a reset");
    // A frame that was given up is not taken for one that was made.
    let token = CancelToken::new();
    token.cancel();
    let mut out = Frame::new(PixelFormat::Rgb8, 680, 360, ColorInfo::default()).unwrap();
    let moved = frame(60, 60);
    assert!(stream.run(&moved.view(), &mut out.view_mut(), &options, &token).is_err());
    let again = next(&mut stream, &moved, &options);
    assert!(again == next(&mut Stream::new(upscaler), &moved, &options));
}
