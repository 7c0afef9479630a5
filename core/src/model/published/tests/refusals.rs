//! Sizes and numbers that make no network are errors with a text, not a wrong picture.

use crate::error::ErrorKind;
use crate::model::published::{decoder, denoiser, denoiser_weights, first_stage_weights};
use crate::weights::Published;

#[test]
fn sizes_that_do_not_halve_are_refused() {
    let p = Published::default_8x();
    for (h, w) in [(12, 16), (16, 4), (1, 1)] {
        let e = denoiser(&p, 1, h, w).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Model);
        assert!(e.to_string().contains("multiples of 8"), "{e}");
    }
    assert!(denoiser(&p, 2, 16, 24).is_ok());
    assert!(decoder(&p, 1, 5, 7).is_ok());
    assert!(denoiser(&p, 1, 0, 8).is_err());
}

/// Counts of the paper's Table 6, as far as they can be told apart.
#[test]
fn parameters_are_those_of_the_published_network() {
    let p = Published::default_8x();
    let count = |all: &[crate::graph::Weight]| -> usize {
        all.iter().map(|w| w.shape.iter().product::<usize>()).sum()
    };
    let unet = denoiser_weights(&p).unwrap();
    assert_eq!((unet.len(), count(&unet)), (342, 133_310_243));
    let vae = first_stage_weights(&p).unwrap();
    let statistics: Vec<_> = vae.iter().filter(|w| w.name.contains("running_")).cloned().collect();
    assert_eq!(count(&vae) - count(&statistics), 72_058_014);
}

#[test]
fn numbers_that_make_no_network_are_refused() {
    let edit = |f: &dyn Fn(&mut Published)| {
        let mut p = Published::default_8x();
        f(&mut p);
        p
    };
    for (p, text) in [
        (edit(&|p| p.unet.channel_mult.clear()), "0 levels"),
        (edit(&|p| p.unet.norm_groups = 7), "7 groups"),
        (edit(&|p| p.unet.head_channels = 48), "heads of 48"),
    ] {
        let e = denoiser_weights(&p).unwrap_err();
        assert!(e.to_string().contains(text), "{e}");
    }
    for (p, text) in [
        (edit(&|p| p.vae.ch_mult = vec![1]), "no level 1"),
        (edit(&|p| p.aff.num_blocks = 3), "3 blocks"),
        (edit(&|p| p.aff.ch_mult = vec![1, 1]), "2 levels"),
    ] {
        let e = first_stage_weights(&p).unwrap_err();
        assert!(e.to_string().contains(text), "{e}");
    }
}
