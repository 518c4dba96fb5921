//! Archives in every form that is known, and in forms that are damaged.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;

use super::*;

/// Where an entry's sizes stand, and how.
#[derive(Clone, Copy, Debug)]
enum Sizes {
    Before,
    BeforeLarge,
    Behind { signed: bool, large: bool },
}

const FORMS: [Sizes; 6] = [
    Sizes::Before,
    Sizes::BeforeLarge,
    Sizes::Behind {
        signed: true,
        large: false,
    },
    Sizes::Behind {
        signed: false,
        large: false,
    },
    Sizes::Behind {
        signed: true,
        large: true,
    },
    Sizes::Behind {
        signed: false,
        large: true,
    },
];

fn entry(name: &str, content: &[u8], method: u16, sizes: Sizes) -> Vec<u8> {
    let packed = if method == STORED {
        content.to_vec()
    } else {
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::default());
        packed.write_all(content).unwrap();
        packed.finish().unwrap()
    };
    let checksum = crc32fast::hash(content).to_le_bytes();
    let short = |bytes: usize| u32::try_from(bytes).unwrap().to_le_bytes();
    let long = |bytes: usize| (bytes as u64).to_le_bytes();
    let mut extra = Vec::new();
    let (flags, fields) = match sizes {
        Sizes::Before => (
            0,
            [checksum, short(packed.len()), short(content.len())].concat(),
        ),
        Sizes::BeforeLarge => {
            // Another field stands before it.
            extra.extend(b"\x99\x00\x03\x00abc\x01\x00\x10\x00");
            extra.extend(long(content.len()));
            extra.extend(long(packed.len()));
            (0, [checksum, [0xff; 4], [0xff; 4]].concat())
        }
        Sizes::Behind { .. } => (SIZES_BEHIND, vec![0; 12]),
    };
    let length = |bytes: usize| u16::try_from(bytes).unwrap().to_le_bytes();
    let mut entry = ENTRY.to_le_bytes().to_vec();
    entry.extend([20, 0]);
    entry.extend(flags.to_le_bytes());
    entry.extend(method.to_le_bytes());
    entry.extend([0; 4]);
    entry.extend(fields);
    entry.extend(length(name.len()));
    entry.extend(length(extra.len()));
    entry.extend(name.as_bytes());
    entry.extend(extra);
    entry.extend(&packed);
    if let Sizes::Behind { signed, large } = sizes {
        entry.extend(signed.then(|| SIZES.to_le_bytes()).into_iter().flatten());
        entry.extend(checksum);
        for size in [packed.len(), content.len()] {
            if large {
                entry.extend(long(size));
            } else {
                entry.extend(short(size));
            }
        }
    }
    entry
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let directory = BEHIND_ENTRIES[0].to_le_bytes();
    [entries.concat(), directory.to_vec()].concat()
}

/// Reads an archive; of each content only the first `most` bytes.
fn read(mut archive: &[u8], most: u64) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    each_entry(&mut archive, |name, content| {
        let mut beginning = Vec::new();
        content.take(most).read_to_end(&mut beginning)?;
        found.push((name.to_owned(), beginning));
        Ok::<_, io::Error>(())
    })?;
    Ok(found)
}

#[test]
fn every_form_of_an_entry_is_read() {
    let content = b"some content, some content, some content".repeat(2000);
    for sizes in FORMS {
        let whole = archive(&[
            entry("folder/", b"", DEFLATED, sizes),
            entry("folder/a", &content, DEFLATED, sizes),
            entry("b", b"short", STORED, Sizes::Before),
        ]);
        for most in [0, 7, u64::MAX] {
            let kept = content
                .len()
                .min(usize::try_from(most).unwrap_or(usize::MAX));
            let found = read(&whole, most).unwrap();
            let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["folder/", "folder/a", "b"], "{sizes:?}");
            assert_eq!(found[1].1, content[..kept], "{sizes:?}");
        }
    }
    assert_eq!(read(&BEHIND_ENTRIES[2].to_le_bytes(), 0).unwrap(), []);
}

#[test]
fn what_is_damaged_or_unknown_is_told() {
    let good = || entry("a", b"content", DEFLATED, Sizes::Before);
    let changed = |place: usize, byte: u8| {
        let mut entry = good();
        entry[place] = byte;
        read(&archive(&[entry]), u64::MAX).unwrap_err().to_string()
    };
    assert!(changed(6, 1).contains("encrypted"));
    assert!(changed(8, 12).contains("packed in a way"));
    assert!(changed(14, 0x55).contains("checksum"));
    assert!(changed(18, 0x55).contains("size"));
    let stored = entry("a", b"content", STORED, FORMS[2]);
    assert!(
        read(&archive(&[stored]), 0).is_err(),
        "nothing says where it ends"
    );
    let strange = [good(), b"something else".to_vec()].concat();
    assert!(
        read(&strange, 0)
            .unwrap_err()
            .to_string()
            .contains("no entry")
    );
}

#[test]
fn an_archive_that_is_cut_off_gives_what_is_there() {
    for sizes in FORMS {
        let first = entry("a", b"first", DEFLATED, sizes);
        let whole = archive(&[first.clone(), entry("b", b"second", DEFLATED, sizes)]);
        for end in 0..whole.len() - 1 {
            let mut names = Vec::new();
            let read: io::Result<()> = each_entry(&mut &whole[..end], |name, _| {
                names.push(name.to_owned());
                Ok(())
            });
            assert!(read.is_err(), "{end} of {}", whole.len());
            assert!(end < first.len() || names.contains(&"a".to_owned()));
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_do_harm(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        changes in prop::collection::vec((0_usize..200, any::<u8>()), 0..4),
        form in 0_usize..6,
    ) {
        read(&bytes, u64::MAX).ok();
        bytes = archive(&[entry("a", &bytes, DEFLATED, FORMS[form])]);
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        read(&bytes, u64::MAX).ok();
    }
}
