//! A small colour profile: three primaries wider than sRGB's, and a curve of gamma 2.2 (ICC.1:2001-04).

fn tag_xyz(xyz: [f64; 3]) -> Vec<u8> {
    let mut tag = b"XYZ \0\0\0\0".to_vec();
    for v in xyz {
        tag.extend(((v * 65_536.0).round() as i32).to_be_bytes());
    }
    tag
}

fn tag_text(text: &str) -> Vec<u8> {
    [b"text\0\0\0\0".as_slice(), text.as_bytes(), &[0]].concat()
}

fn tag_description(text: &str) -> Vec<u8> {
    let mut tag = b"desc\0\0\0\0".to_vec();
    tag.extend((text.len() as u32 + 1).to_be_bytes());
    tag.extend(text.as_bytes());
    // No Unicode and no Macintosh name.
    tag.extend([0; 1 + 4 + 4 + 2 + 1 + 67]);
    tag
}

pub(crate) fn wide_profile() -> Vec<u8> {
    // One entry: a gamma, as 8.8 fixed point.
    let curve = [b"curv\0\0\0\0".as_slice(), &1u32.to_be_bytes(), &[0x02, 0x33]].concat();
    let tags: [(&[u8; 4], Vec<u8>); 9] = [
        (b"desc", tag_description("wide test space")),
        (b"cprt", tag_text("CC0")),
        (b"wtpt", tag_xyz([0.9642, 1.0, 0.8249])),
        (b"rXYZ", tag_xyz([0.60974, 0.31111, 0.01947])),
        (b"gXYZ", tag_xyz([0.20528, 0.62567, 0.06087])),
        (b"bXYZ", tag_xyz([0.14919, 0.06322, 0.74457])),
        (b"rTRC", curve.clone()),
        (b"gTRC", curve.clone()),
        (b"bTRC", curve),
    ];
    let mut table = (tags.len() as u32).to_be_bytes().to_vec();
    let mut data = Vec::new();
    let start = 128 + 4 + 12 * tags.len();
    for (name, tag) in &tags {
        table.extend(*name);
        table.extend(((start + data.len()) as u32).to_be_bytes());
        table.extend((tag.len() as u32).to_be_bytes());
        data.extend(tag);
        data.resize(data.len().next_multiple_of(4), 0);
    }
    let mut profile = vec![0; 128];
    profile[8..12].copy_from_slice(&[2, 0x10, 0, 0]);
    profile[12..24].copy_from_slice(b"mntrRGB XYZ ");
    profile[36..40].copy_from_slice(b"acsp");
    for (i, v) in [0.9642f64, 1.0, 0.8249].into_iter().enumerate() {
        profile[68 + 4 * i..][..4].copy_from_slice(&((v * 65_536.0).round() as i32).to_be_bytes());
    }
    profile.extend(table);
    profile.extend(data);
    let len = (profile.len() as u32).to_be_bytes();
    profile[..4].copy_from_slice(&len);
    profile
}
