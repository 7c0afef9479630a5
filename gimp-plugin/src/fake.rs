//! A stand-in for GIMP with images in memory, for tests.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::exchange::{Depth, Exchange, Stored, sample};
use crate::face::{Bands, Base, Gimp, Image, Item, Kind, NewLayer, Rect};
use crate::trouble::Trouble;

/// An item: its samples are kept in the format in which they travel.
#[derive(Clone)]
pub(crate) struct FakeItem {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) place: Rect,
    pub(crate) stored: Stored,
    pub(crate) data: Vec<u8>,
    pub(crate) mask: Option<Item>,
    locked: bool,
    pub(crate) there: bool,
}

/// An image: the layers in it, top first.
#[derive(Clone)]
pub(crate) struct FakeImage {
    pub(crate) size: (i32, i32),
    pub(crate) layers: Vec<Item>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) shown: bool,
}

struct State {
    images: Vec<FakeImage>,
    items: Vec<FakeItem>,
    base: Base,
    selected: Option<Rect>,
    selection: Item,
    floating: bool,
    /// What was done to images, in order.
    log: Vec<String>,
    turns: Arc<AtomicUsize>,
    fractions: Vec<f64>,
    refuse: &'static str,
}

pub(crate) struct Fake(RefCell<State>);

pub(crate) const RGB8: Stored = Stored { gray: false, alpha: false, depth: Depth::U8, own_curve: true };

impl Fake {
    pub(crate) const IMAGE: Image = Image(0);

    /// GIMP with one image without layers.
    pub(crate) fn new(w: i32, h: i32) -> Self {
        let image = FakeImage { size: (w, h), layers: Vec::new(), file: None, shown: true };
        let fake = Self(RefCell::new(State {
            images: vec![image],
            items: Vec::new(),
            base: Base::Rgb,
            selected: None,
            selection: Item(0),
            floating: false,
            log: Vec::new(),
            turns: Arc::default(),
            fractions: Vec::new(),
            refuse: "",
        }));
        fake.add("selection", Kind::Channel, Rect { x: 0, y: 0, w, h }, MASK);
        fake
    }

    fn add(&self, name: &str, kind: Kind, place: Rect, stored: Stored) -> Item {
        let items = &mut self.0.borrow_mut().items;
        let data = vec![0; place.w as usize * place.h as usize * bytes_of(&stored)];
        let name = name.to_owned();
        items.push(FakeItem { name, kind, place, stored, data, mask: None, locked: false, there: true });
        Item(items.len() as i32 - 1)
    }

    /// A black layer on top of the image.
    pub(crate) fn add_layer(&self, name: &str, place: Rect) -> Item {
        self.add_stored(name, place, RGB8)
    }

    pub(crate) fn add_stored(&self, name: &str, place: Rect, stored: Stored) -> Item {
        let layer = self.add(name, Kind::Layer, place, stored);
        self.0.borrow_mut().images[0].layers.insert(0, layer);
        layer
    }

    pub(crate) fn fill(&self, item: Item, data: impl Iterator<Item = u8>) {
        let item = &mut self.0.borrow_mut().items[item.0 as usize];
        item.data.iter_mut().zip(data).for_each(|(a, b)| *a = b);
    }

    /// Selects a rectangle, wholly.
    pub(crate) fn select(&self, rect: Option<Rect>) {
        let mut state = self.0.borrow_mut();
        state.selected = rect;
        let (w, h) = state.images[0].size;
        let at = state.selection.0 as usize;
        let inside = |x, y| rect.is_some_and(|r| r.common(Rect { x, y, w: 1, h: 1 }).is_some());
        state.items[at].data =
            (0..w * h).flat_map(|i| f32::from(u8::from(inside(i % w, i / w))).to_ne_bytes()).collect();
    }

    /// Selects one pixel by half.
    pub(crate) fn select_softly(&self, x: i32, y: i32) {
        let mut state = self.0.borrow_mut();
        let (w, at) = (state.images[0].size.0, state.selection.0 as usize);
        let index = (y * w + x) as usize * 4;
        state.items[at].data[index..][..4].copy_from_slice(&0.5f32.to_ne_bytes());
    }

    pub(crate) fn give_mask(&self, layer: Item, values: impl Iterator<Item = f32>) {
        let place = self.item(layer).place;
        let mask = self.add("mask", Kind::Mask, place, MASK);
        self.fill(mask, values.flat_map(f32::to_ne_bytes));
        self.0.borrow_mut().items[layer.0 as usize].mask = Some(mask);
    }

    pub(crate) fn set_kind(&self, item: Item, kind: Kind) {
        self.0.borrow_mut().items[item.0 as usize].kind = kind;
    }
    pub(crate) fn lock(&self, item: Item) {
        self.0.borrow_mut().items[item.0 as usize].locked = true;
    }
    pub(crate) fn set_base(&self, base: Base) {
        self.0.borrow_mut().base = base;
    }
    pub(crate) fn float(&self) {
        self.0.borrow_mut().floating = true;
    }
    pub(crate) fn name_file(&self, file: &str) {
        self.0.borrow_mut().images[0].file = Some(PathBuf::from(file));
    }
    /// Has the call of this name fail from now on.
    pub(crate) fn refuse(&self, call: &'static str) {
        self.0.borrow_mut().refuse = call;
    }

    pub(crate) fn item(&self, item: Item) -> FakeItem {
        self.0.borrow().items[item.0 as usize].clone()
    }
    pub(crate) fn image(&self, image: Image) -> FakeImage {
        self.0.borrow().images[image.0 as usize].clone()
    }
    pub(crate) fn log(&self) -> Vec<String> {
        self.0.borrow().log.clone()
    }
    /// Counts the turns of windows, for a worker to look at.
    pub(crate) fn counter(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.0.borrow().turns)
    }
    pub(crate) fn fractions(&self) -> Vec<f64> {
        self.0.borrow().fractions.clone()
    }

    fn note(&self, call: &'static str, text: String) -> Result<(), Trouble> {
        let mut state = self.0.borrow_mut();
        if state.refuse == call {
            return Err(Trouble::Said(format!("GIMP refuses: {call}")));
        }
        state.log.push(text);
        Ok(())
    }

    fn put(&self, item: Item, pixels: &dyn Bands) {
        let part = pixels.part();
        let item = &mut self.0.borrow_mut().items[item.0 as usize];
        let bytes = bytes_of(&item.stored);
        assert_eq!(bytes, pixels.exchange().pixel_bytes());
        let mut row = vec![0; part.w as usize * bytes];
        for y in 0..part.h {
            pixels.fill(y as usize, 1, &mut row);
            for x in 0..part.w {
                let (tx, ty) = (part.x + x, part.y + y);
                if tx >= 0 && ty >= 0 && tx < item.place.w && ty < item.place.h {
                    let to = (ty * item.place.w + tx) as usize * bytes;
                    item.data[to..][..bytes].copy_from_slice(&row[x as usize * bytes..][..bytes]);
                }
            }
        }
    }
}

const MASK: Stored = Stored { gray: true, alpha: false, depth: Depth::F32, own_curve: false };

fn bytes_of(stored: &Stored) -> usize {
    stored.exchange().pixel_bytes()
}

impl FakeItem {
    /// The f32 at (x, y) of a mask.
    pub(crate) fn value(&self, x: i32, y: i32) -> f32 {
        sample(&self.data, (y * self.place.w + x) as usize)
    }
}

impl Gimp for Fake {
    fn version(&self) -> String {
        "9.9.9".to_owned()
    }
    fn profile(&self) -> Option<PathBuf> {
        None
    }
    fn size(&self, image: Image) -> (i32, i32) {
        self.0.borrow().images[image.0 as usize].size
    }
    fn base(&self, _: Image) -> Base {
        self.0.borrow().base
    }
    fn file(&self, image: Image) -> Option<PathBuf> {
        self.0.borrow().images[image.0 as usize].file.clone()
    }
    fn has_floating_selection(&self, _: Image) -> bool {
        self.0.borrow().floating
    }
    fn selected(&self, _: Image) -> Option<Rect> {
        self.0.borrow().selected
    }
    fn selection(&self, _: Image) -> Item {
        self.0.borrow().selection
    }
    fn kind(&self, item: Item) -> Kind {
        self.item(item).kind
    }
    fn name(&self, item: Item) -> String {
        self.item(item).name
    }
    fn place(&self, item: Item) -> Rect {
        self.item(item).place
    }
    fn is_locked(&self, item: Item) -> bool {
        self.item(item).locked
    }
    fn mask(&self, layer: Item) -> Option<Item> {
        self.item(layer).mask
    }
    fn stored(&self, item: Item) -> Stored {
        self.item(item).stored
    }

    fn read(&self, item: Item, part: Rect, exchange: &Exchange, out: &mut [u8]) -> Result<(), Trouble> {
        let item = self.item(item);
        let bytes = bytes_of(&item.stored);
        assert_eq!(exchange.pixel_bytes(), bytes);
        assert_eq!(out.len(), part.w as usize * part.h as usize * bytes);
        for (i, out) in out.chunks_exact_mut(bytes).enumerate() {
            let (x, y) = (part.x + i as i32 % part.w, part.y + i as i32 / part.w);
            let inside = x >= 0 && y >= 0 && x < item.place.w && y < item.place.h;
            match inside {
                true => out.copy_from_slice(&item.data[(y * item.place.w + x) as usize * bytes..][..bytes]),
                false => out.fill(0),
            }
        }
        Ok(())
    }
    fn write(&self, item: Item, pixels: &dyn Bands) -> Result<(), Trouble> {
        self.note("write", format!("write {} {:?}", self.name(item), pixels.part()))?;
        self.put(item, pixels);
        Ok(())
    }
    fn change(&self, item: Item, pixels: &dyn Bands) -> Result<(), Trouble> {
        self.note("change", format!("change {} {:?}", self.name(item), pixels.part()))?;
        self.put(item, pixels);
        Ok(())
    }
    fn visible(&self, image: Image) -> Result<Item, Trouble> {
        let (w, h) = self.size(image);
        Ok(self.add("visible", Kind::Layer, Rect { x: 0, y: 0, w, h }, RGB8))
    }
    fn discard(&self, item: Item) {
        self.0.borrow_mut().items[item.0 as usize].there = false;
    }

    fn new_image(&self, _: Image, w: i32, h: i32, gray: bool) -> Result<Image, Trouble> {
        self.note("new_image", format!("new image {w} {h} gray={gray}"))?;
        let images = &mut self.0.borrow_mut().images;
        images.push(FakeImage { size: (w, h), layers: Vec::new(), file: None, shown: false });
        Ok(Image(images.len() as i32 - 1))
    }
    fn discard_image(&self, image: Image) {
        self.0.borrow_mut().log.push(format!("discard image {}", image.0));
    }
    fn copy_guides(&self, _: Image, _: Image, origin: (i32, i32), scale: i32) {
        self.0.borrow_mut().log.push(format!("guides {origin:?} {scale}"));
    }
    fn set_file(&self, image: Image, file: &Path) {
        self.0.borrow_mut().images[image.0 as usize].file = Some(file.to_owned());
    }
    fn finish_image(&self, image: Image) {
        self.0.borrow_mut().log.push(format!("finish image {}", image.0));
    }
    fn new_layer(&self, _: Image, layer: &NewLayer<'_>) -> Result<Item, Trouble> {
        self.note("new_layer", format!("new layer {} {} {}", layer.name, layer.w, layer.h))?;
        let stored = Stored { gray: layer.gray, alpha: layer.alpha, ..RGB8 };
        Ok(self.add(layer.name, Kind::Layer, Rect { x: 0, y: 0, w: layer.w, h: layer.h }, stored))
    }
    fn insert(&self, image: Image, layer: Item, above: Option<Item>) -> Result<(), Trouble> {
        self.note("insert", format!("insert {}", self.name(layer)))?;
        let layers = &mut self.0.borrow_mut().images[image.0 as usize].layers;
        let at = above.and_then(|above| layers.iter().position(|l| *l == above)).unwrap_or(0);
        layers.insert(at, layer);
        Ok(())
    }
    fn add_mask(&self, layer: Item) -> Result<Item, Trouble> {
        self.note("add_mask", format!("mask {}", self.name(layer)))?;
        self.give_mask(layer, std::iter::repeat(1.0));
        self.mask(layer).ok_or(Trouble::Cancelled)
    }
    fn move_to(&self, layer: Item, x: i32, y: i32) {
        let place = &mut self.0.borrow_mut().items[layer.0 as usize].place;
        (place.x, place.y) = (x, y);
    }
    fn scale(&self, image: Image, w: i32, h: i32) -> Result<(), Trouble> {
        self.note("scale", format!("scale {w} {h}"))?;
        let mut state = self.0.borrow_mut();
        let factor = w / state.images[image.0 as usize].size.0;
        state.images[image.0 as usize].size = (w, h);
        for layer in state.images[image.0 as usize].layers.clone() {
            let item = &mut state.items[layer.0 as usize];
            item.place = item.place.times(factor);
            item.data = vec![7; item.place.w as usize * item.place.h as usize * bytes_of(&item.stored)];
        }
        Ok(())
    }
    fn begin_undo_group(&self, _: Image) {
        self.0.borrow_mut().log.push("begin".to_owned());
    }
    fn end_undo_group(&self, _: Image) {
        self.0.borrow_mut().log.push("end".to_owned());
    }
    fn show(&self, image: Image) {
        self.0.borrow_mut().images[image.0 as usize].shown = true;
    }
    fn flush(&self) {
        self.0.borrow_mut().log.push("flush".to_owned());
    }

    fn progress_begin(&self, _: &str) {}
    fn progress(&self, fraction: f64, _: &str) {
        self.0.borrow_mut().fractions.push(fraction);
    }
    fn progress_end(&self) {}
    fn turn(&self) {
        self.0.borrow().turns.fetch_add(1, Ordering::Relaxed);
    }
}
