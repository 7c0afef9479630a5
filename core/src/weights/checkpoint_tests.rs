//! Checkpoints made here: pickles and archives put together by hand, good and hostile.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind};
use crate::weights::checkpoint::Checkpoint;

/// Operations of a pickle, put together by hand.
#[derive(Default)]
pub(super) struct Pickle(Vec<u8>);

impl Pickle {
    fn op(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    pub(super) fn text(self, s: &str) -> Self {
        let length = (s.len() as u32).to_le_bytes();
        self.op(b"X").op(&length).op(s.as_bytes())
    }
    /// LONG1 of eight bytes.
    fn int(self, v: i64) -> Self {
        self.op(&[0x8a, 8]).op(&v.to_le_bytes())
    }
    fn ints(self, all: &[i64]) -> Self {
        all.iter().fold(self.op(b"("), |p, &v| p.int(v)).op(b"t")
    }
    pub(super) fn tensor(
        self,
        storage: &str,
        count: i64,
        offset: i64,
        shape: &[i64],
        stride: &[i64],
    ) -> Self {
        self.op(b"ctorch._utils\n_rebuild_tensor_v2\n((")
            .text("storage")
            .op(b"ctorch\nFloatStorage\n")
            .text(storage)
            .text("cpu")
            .int(count)
            .op(b"tQ")
            .int(offset)
            .ints(shape)
            .ints(stride)
            .op(b"\x89ccollections\nOrderedDict\n)RtR")
    }
    pub(super) fn begin() -> Self {
        Self::default().op(b"\x80\x02ccollections\nOrderedDict\n)R(")
    }
    pub(super) fn end(self) -> Vec<u8> {
        self.op(b"u.").0
    }
}

/// A stored zip archive.
pub(super) fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let at = out.len() as u32;
        let size = data.len() as u32;
        let mut common = vec![0; 6 + 8];
        for n in [size, size] {
            common.extend_from_slice(&n.to_le_bytes());
        }
        common.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(b"PK\x03\x04\x00\x00");
        out.extend_from_slice(&common[2..]);
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(data);
        directory.extend_from_slice(b"PK\x01\x02\x00\x00\x00\x00");
        directory.extend_from_slice(&common[2..]);
        directory.extend_from_slice(&[0; 12]);
        directory.extend_from_slice(&at.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let at = out.len() as u32;
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\x00\x00\x00\x00");
    for n in [entries.len() as u16; 2] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    for n in [directory.len() as u32, at] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    out.extend_from_slice(&[0; 2]);
    out
}

pub(super) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub(super) fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A file with this pickle and one storage of eight values.
fn checkpoint(folder: &Path, pickle: &[u8]) -> PathBuf {
    let data = floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    write(folder, "a.ckpt", &zip(&[("a/data.pkl", pickle), ("a/byteorder", b"little"), ("a/data/0", &data)]))
}

pub(super) fn one_line(e: &Error) -> String {
    let text = e.to_string();
    assert!(!text.contains('\n') && text.len() < 600, "{text}");
    text
}

#[test]
fn views_of_a_shared_storage_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let dict = Pickle::begin()
        .text("whole")
        .tensor("0", 8, 0, &[2, 4], &[4, 1])
        .text("part")
        .tensor("0", 8, 3, &[1, 2], &[9, 1])
        .text("turned")
        .tensor("0", 8, 0, &[4, 2], &[1, 4])
        .text("scalar")
        .tensor("0", 8, 7, &[], &[])
        .text("empty")
        .tensor("0", 8, 8, &[0, 3], &[3, 1])
        .text("number")
        .int(-5)
        .end();
    let nested = Pickle::default().op(b"\x80\x02}(").text("epoch").op(b"K\x03").text("state_dict").0;
    let nested = [&nested[..], &dict[2..dict.len() - 1], b"u."].concat();
    for pickle in [dict, nested] {
        let file = Checkpoint::open(&checkpoint(dir.path(), &pickle)).unwrap();
        assert_eq!(file.names().collect::<Vec<_>>(), ["empty", "part", "scalar", "turned", "whole"]);
        assert_eq!(file.read_f32("whole", &[2, 4]).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(file.read_f32("part", &[1, 2]).unwrap(), [3.0, 4.0]);
        assert_eq!(file.read_f32("scalar", &[]).unwrap(), [7.0]);
        assert!(file.read_f32("empty", &[0, 3]).unwrap().is_empty());
        assert!(one_line(&file.read_f32("turned", &[4, 2]).unwrap_err()).contains("turned axes"));
        let text = one_line(&file.read_f32("whole", &[8]).unwrap_err());
        assert!(text.contains("[2, 4]") && text.contains("[8]"), "{text}");
        assert!(one_line(&file.read_f32("none", &[8]).unwrap_err()).contains("missing"));
    }
}

#[test]
fn hostile_pickles_give_one_clear_line() {
    let dir = tempfile::tempdir().unwrap();
    let p = Pickle::begin;
    let tensor = |count, offset, shape: &[i64], stride: &[i64]| {
        p().text("t").tensor("0", count, offset, shape, stride).end()
    };
    let long = vec![b'q'; 3 << 20];
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (
            Pickle::default().op(b"\x80\x02cos\nsystem\n").text("touch owned").op(b"\x85R.").0,
            "\"os\" \"system\"",
        ),
        (p().text("t").op(b"cbuiltins\neval\n").text("1").op(b"\x85R").end(), "\"builtins\" \"eval\""),
        (p().text("t").op(b"\x8c\x02os\x8c\x06system\x93").end(), "SHORT_BINUNICODE"),
        (p().text("t").op(b"ccollections\nOrderedDict\n)\x81").end(), "NEWOBJ"),
        (p().text("t").op(b"(ios\nsystem\n").end(), "INST"),
        (p().text("t").op(b"\xfe").end(), "unknown operation 0xfe"),
        (p().text("t").op(b"ctorch\nFloatStorage\n)R").end(), "calls Storage"),
        (p().text("t").op(b"K\x01)R").end(), "no name"),
        (b"\x80\x05.".to_vec(), "protocol 5"),
        (tensor(8, 0, &[1 << 40], &[1]), "[1099511627776]"),
        (tensor(1 << 40, 0, &[1 << 40], &[1]), "1099511627776 elements"),
        (tensor(i64::MAX, 0, &[1], &[1]), "9223372036854775807 elements"),
        (tensor(8, 0, &[1 << 31, 1 << 31, 1 << 31], &[1, 1, 1]), "holds a tensor of shape"),
        (tensor(8, 8, &[1], &[1]), "ends before it"),
        (tensor(8, -1, &[1], &[1]), "begins before"),
        (tensor(8, 0, &[-1], &[1]), "wrong shape"),
        (tensor(-8, 0, &[1], &[1]), "-8 elements"),
        (tensor(9, 0, &[1], &[1]), "which has 32 bytes"),
        (tensor(8, 0, &[1; 20], &[1; 20]), "wrong shape"),
        (tensor(8, 0, &[2], &[]), "strides"),
        (p().text("t").tensor("../x", 8, 0, &[1], &[1]).end(), "missing"),
        (
            p().text("t").tensor("0", 8, 0, &[1], &[1]).text("t").tensor("0", 8, 0, &[1], &[1]).end(),
            "tensor t twice",
        ),
        (p().text("a\nb").tensor("0", 8, 0, &[1], &[1]).end(), "no name"),
        // A key of a megabyte would be copied for each of a million tensors.
        (p().text("t").tensor(&"k".repeat(65), 8, 0, &[1], &[1]).end(), "key of 65 bytes"),
        (b"\x80\x02K\x01.".to_vec(), "dictionary"),
        (b"\x80\x02.".to_vec(), "not there"),
        (b"\x80\x02}u.".to_vec(), "never began"),
        (b"\x80\x02}(K\x01u.".to_vec(), "no dictionary"),
        (b"\x80\x02](K\x01u.".to_vec(), "sets an entry"),
        (b"\x80\x02K\x01K\x02a.".to_vec(), "no list"),
        (b"\x80\x02h\x05.".to_vec(), "never kept"),
        (b"\x80\x02q\x05.".to_vec(), "keeps an object"),
        (b"\x80\x02X\xff\xff\xff\xffabc".to_vec(), "ends in the middle"),
        (b"\x80\x02\x8a\xff".to_vec(), "255 bytes"),
        (vec![], "ends in the middle"),
        // A million of everything, and nesting that a recursive reader would not survive.
        ([b"\x80\x02N".as_slice(), &long, b"."].concat(), "dictionary"),
        ([b"\x80\x02".as_slice(), &vec![b'N'; 2 << 20]].concat(), "more than 1048576"),
        ([b"\x80\x02".as_slice(), &vec![b'('; 2 << 20]].concat(), "more than 1048576"),
        ([b"\x80\x02)".as_slice(), &vec![0x85; 1 << 19], b"."].concat(), "dictionary"),
    ];
    assert_eq!(cases.len(), 39);
    for (pickle, words) in cases {
        let e = Checkpoint::open(&checkpoint(dir.path(), &pickle)).unwrap_err();
        let text = one_line(&e);
        assert_eq!(e.kind(), ErrorKind::Model);
        assert!(text.contains("a.ckpt") && text.contains(words), "{text} | {words}");
    }
    assert!(!dir.path().join("owned").exists());
}

#[test]
fn hostile_archives_give_one_clear_line() {
    let dir = tempfile::tempdir().unwrap();
    let pickle = Pickle::begin().text("t").tensor("0", 8, 0, &[8], &[1]).end();
    let data = floats(&[0.0; 8]);
    let good = zip(&[("a/data.pkl", &pickle), ("a/data/0", &data)]);
    let patched = |find: &[u8], skip: usize, with: &[u8]| {
        let mut bytes = good.clone();
        let at = bytes.windows(find.len()).rposition(|w| w == find).unwrap() + skip;
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (zip(&[("a/data/0", &data)]), "without a data.pkl"),
        (zip(&[("a/data.pkl", &pickle), ("b/data.pkl", &pickle)]), "or with several"),
        (zip(&[("a/data.pkl", &pickle), ("a/data/0", &data), ("a/data/0", &data)]), "a/data/0 twice"),
        (zip(&[("a/data.pkl", &pickle)]), "\"a/data/0\", which is missing"),
        (zip(&[("a/data.pkl", &pickle), ("a/data/0", &data[..31])]), "which has 31 bytes"),
        (zip(&[("a/data.pkl", &pickle), ("a/byteorder", b"big"), ("a/data/0", &data)]), "little-endian"),
        (zip(&[("a/data.pkl", &vec![b'N'; (32 << 20) + 1])]), "at most 33554432"),
        (patched(b"PK\x01\x02", 10, &[8]), "compressed (method 8)"),
        (patched(b"PK\x01\x02", 8, &[1]), "encrypted"),
        (patched(b"PK\x01\x02", 42, &[0xfe, 0xff, 0xff, 0x7f]), "behind its end"),
        (patched(b"PK\x01\x02", 42, &[1]), "does not begin where"),
        (patched(b"PK\x01\x02", 20, &[0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f]), ""),
        (patched(b"PK\x05\x06", 16, &[0xff, 0xff, 0xff, 0x7f]), "behind its end"),
        (patched(b"PK\x05\x06", 12, &[0xff, 0xff, 0xff, 0x7f]), "zip directory has"),
        (patched(b"PK\x05\x06", 10, &[9]), "ends in the middle"),
        (b"PK".to_vec(), "cut short"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(), "old form"),
        (b"hello, this is text".to_vec(), "neither"),
        (vec![], "neither"),
    ];
    assert_eq!(cases.len(), 19);
    for (bytes, words) in cases {
        let e = Checkpoint::open(&write(dir.path(), "b.ckpt", &bytes)).unwrap_err();
        let text = one_line(&e);
        assert_eq!(e.kind(), ErrorKind::Model, "{text}");
        assert!(text.contains("b.ckpt") && text.contains(words), "{text} | {words}");
    }
    // Cut anywhere, it is an error and no panic.
    for n in 0..good.len() {
        assert!(Checkpoint::open(&write(dir.path(), "c.ckpt", &good[..n])).is_err(), "{n}");
    }
    // One byte changed anywhere: any answer but a panic.
    for n in 0..good.len() {
        let mut bytes = good.clone();
        bytes[n] ^= 0xff;
        let _ = Checkpoint::open(&write(dir.path(), "d.ckpt", &bytes));
    }
    assert_eq!(Checkpoint::open(&dir.path().join("none")).unwrap_err().kind(), ErrorKind::Io);
    assert!(Checkpoint::open(dir.path()).is_err());
}

/// Beyond 4 GiB offsets and sizes stand in 64-bit records.
#[test]
fn the_64_bit_directory_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let pickle = Pickle::begin().text("t").tensor("0", 8, 0, &[8], &[1]).end();
    let data = floats(&[0.5; 8]);
    let mut bytes = zip(&[("a/data/0", &data), ("a/data.pkl", &pickle)]);
    // Move the last entry's offset into an extra field, and the end into its 64-bit form.
    let entry = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    let end = bytes.windows(4).rposition(|w| w == b"PK\x05\x06").unwrap();
    let offset = u32::from_le_bytes(bytes[entry + 42..entry + 46].try_into().unwrap());
    let start = u32::from_le_bytes(bytes[end + 16..end + 20].try_into().unwrap());
    bytes.truncate(end);
    bytes[entry + 42..entry + 46].copy_from_slice(&[0xff; 4]);
    bytes[entry + 30] = 12;
    bytes.extend_from_slice(&[1, 0, 8, 0]);
    bytes.extend_from_slice(&u64::from(offset).to_le_bytes());
    let end = bytes.len();
    bytes.extend_from_slice(b"PK\x06\x06");
    bytes.extend_from_slice(&[0; 20]);
    for n in [2, 2, (end - start as usize) as u64, u64::from(start)] {
        bytes.extend_from_slice(&n.to_le_bytes());
    }
    bytes.extend_from_slice(b"PK\x06\x07\x00\x00\x00\x00");
    bytes.extend_from_slice(&(end as u64).to_le_bytes());
    bytes.extend_from_slice(&[1, 0, 0, 0]);
    bytes.extend_from_slice(b"PK\x05\x06");
    bytes.extend_from_slice(&[0xff; 16]);
    bytes.extend_from_slice(&[0; 2]);
    let file = Checkpoint::open(&write(dir.path(), "e.ckpt", &bytes)).unwrap();
    assert_eq!(file.read_f32("t", &[8]).unwrap(), [0.5; 8]);
}
