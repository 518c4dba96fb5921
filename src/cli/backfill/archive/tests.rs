//! Archives in every form that is known, and in forms that are damaged.

use std::io::Write as _;
use std::rc::Rc;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;

use super::*;

/// Where an entry's sizes stand, and how.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli::backfill) enum Form {
    Before,
    BeforeLarge,
    Behind { signed: bool, large: bool },
}

pub(in crate::cli::backfill) const FORMS: [Form; 6] = [
    Form::Before,
    Form::BeforeLarge,
    Form::Behind {
        signed: true,
        large: false,
    },
    Form::Behind {
        signed: false,
        large: false,
    },
    Form::Behind {
        signed: true,
        large: true,
    },
    Form::Behind {
        signed: false,
        large: true,
    },
];

pub(in crate::cli::backfill) fn entry(
    name: &str,
    content: &[u8],
    method: u16,
    sizes: Form,
) -> Vec<u8> {
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
        Form::Before => (
            0,
            [checksum, short(packed.len()), short(content.len())].concat(),
        ),
        Form::BeforeLarge => {
            // Another field stands before it.
            extra.extend(b"\x99\x00\x03\x00abc\x01\x00\x10\x00");
            extra.extend(long(content.len()));
            extra.extend(long(packed.len()));
            (0, [checksum, [0xff; 4], [0xff; 4]].concat())
        }
        Form::Behind { .. } => (SIZES_BEHIND, vec![0; 12]),
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
    if let Form::Behind { signed, large } = sizes {
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

/// An archive of these entries, with a directory that says enough to be passed over.
pub(in crate::cli::backfill) fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut archive = entries.concat();
    for _ in entries {
        archive.extend(DIRECTORY.to_le_bytes());
        archive.extend([20, 0, 20, 0]);
        archive.extend([0; 20]);
        archive.extend([4, 0, 3, 0, 2, 0]);
        archive.extend([0; 12]);
        archive.extend(b"namexyz:)");
    }
    archive.extend(LARGE_END.to_le_bytes());
    archive.extend(44_u64.to_le_bytes());
    archive.extend([0; 44]);
    archive.extend(LARGE_END_PLACE.to_le_bytes());
    archive.extend([0; 16]);
    archive.extend(END.to_le_bytes());
    archive.extend([0; 16]);
    archive.extend([5, 0]);
    archive.extend(b"hello");
    archive
}

/// What was found: names with contents, and names with what is wrong.
#[derive(Debug, Default, PartialEq, Eq)]
struct FoundInArchive {
    contents: Vec<(String, Vec<u8>)>,
    faults: Vec<(String, String)>,
    /// Bytes that are left behind the archive.
    left: usize,
}

impl FoundInArchive {
    fn names(&self) -> Vec<&str> {
        self.contents.iter().map(|(name, _)| &**name).collect()
    }

    fn faulty(&self) -> Vec<&str> {
        self.faults.iter().map(|(name, _)| &**name).collect()
    }
}

/// Reads an archive; of each content only the first `most` bytes.
fn read(archive: &[u8], most: u64) -> FoundInArchive {
    let mut found = FoundInArchive::default();
    let mut input = BufReader::with_capacity(50, archive);
    let mut input = RewindReader::new(&mut input);
    let budget = Budget::new(Rc::default());
    each_entry(&mut input, &budget, &mut |name, part| {
        match part {
            ArchiveItem::Content(content) => {
                let mut beginning = Vec::new();
                content.take(most).read_to_end(&mut beginning).ok();
                found.contents.push((name.to_owned(), beginning));
            }
            ArchiveItem::Fault(what) => found.faults.push((name.to_owned(), what)),
        }
        Ok(())
    })
    .unwrap();
    let mut left = Vec::new();
    input.read_to_end(&mut left).unwrap();
    found.left = left.len();
    found
}

#[test]
fn every_form_of_an_entry_is_read() {
    let content = b"some content, some content, some content".repeat(2000);
    for form in FORMS {
        let whole = archive(&[
            entry("folder/", b"", DEFLATED, form),
            entry("folder/a", &content, DEFLATED, form),
            entry("b", b"short", STORED, Form::Before),
        ]);
        for most in [0, 7, u64::MAX] {
            let kept = content
                .len()
                .min(usize::try_from(most).unwrap_or(usize::MAX));
            let found = read(&whole, most);
            assert_eq!(found.names(), ["folder/", "folder/a", "b"], "{form:?}");
            assert_eq!(found.contents[1].1, content[..kept], "{form:?}");
            assert_eq!((found.faults.len(), found.left), (0, 0), "{form:?}");
        }
    }
    let empty = archive(&[]);
    assert_eq!(read(&empty, 0), FoundInArchive::default());
}

#[test]
fn stored_entries_end_where_their_sizes_say_before_or_behind_them() {
    // It holds what could be an end, and an archive of its own.
    let inner = archive(&[entry("inner", b"content", STORED, Form::Before)]);
    let content = [b"PK\x07\x08PPK\x07\x08 and ".as_slice(), &inner, b"PK\x07"].concat();
    for form in [0, 1, 2, 4].map(|form| FORMS[form]) {
        let whole = archive(&[
            entry("a", &content, STORED, form),
            entry("b", b"", STORED, form),
            entry("c", b"last", DEFLATED, form),
        ]);
        let found = read(&whole, u64::MAX);
        assert_eq!(found.names(), ["a", "b", "c"], "{form:?}");
        assert_eq!(found.contents[0].1, content, "{form:?}");
        assert_eq!(found.faults, [], "{form:?}");
    }
}

#[test]
fn one_bad_entry_costs_no_other() {
    let noise: Vec<u8> = (0..5000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let texts = b"line after line after line\n".repeat(300);
    for (form, content, method) in [
        (FORMS[0], &noise, DEFLATED),
        (FORMS[0], &texts, DEFLATED),
        (FORMS[0], &texts, STORED),
        (FORMS[1], &texts, DEFLATED),
        (FORMS[2], &noise, DEFLATED),
        (FORMS[2], &texts, DEFLATED),
        (FORMS[2], &noise, STORED),
        (FORMS[3], &texts, DEFLATED),
        (FORMS[4], &texts, DEFLATED),
    ] {
        let bad = entry("bad", content, method, form);
        let others = |bad: Vec<u8>| {
            archive(&[
                entry("a", content, method, form),
                bad,
                entry("b", content, method, form),
                entry("c", content, method, form),
            ])
        };
        // A byte at a time, in the header, the content and what is behind it.
        for place in (0..bad.len()).step_by(bad.len() / 40).chain(0..HEADER + 3) {
            for change in [0x01, 0x80, 0xff] {
                let mut damaged = bad.clone();
                damaged[place] ^= change;
                let found = read(&others(damaged), u64::MAX);
                let at = format!("{form:?} {method} byte {place} of {}, {change}", bad.len());
                let whole = |name: &str| {
                    let part = found.contents.iter().find(|(found, _)| found == name);
                    part.is_some_and(|(_, found)| found == content)
                };
                assert!(whole("a"), "{at}");
                assert!(whole("c"), "{at}");
                // Where its size grew, an entry may cover the next, which is then a part of it.
                let is_size = (18..26).contains(&place) && method == STORED;
                assert!(whole("b") || is_size, "{at}: {:?}", found.faults);
                // Under another name it is whole, and bits that are not used change nothing.
                let is_name = (HEADER..HEADER + 3).contains(&place);
                assert!(whole("bad") || is_name || !found.faults.is_empty(), "{at}");
            }
        }
        // Cut off within.
        for end in [
            0,
            3,
            HEADER,
            HEADER + 3,
            bad.len() / 2,
            bad.len() - 5,
            bad.len() - 1,
        ] {
            let found = read(&others(bad[..end].to_vec()), u64::MAX);
            let names = found.names();
            let at = format!("{form:?} {method} cut at {end}: {found:?}");
            assert!(names.contains(&"b") && names.contains(&"c"), "{at:.300}");
            assert!(end == 0 || !found.faults.is_empty(), "{at:.300}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_named_and_passed_over() {
    for form in FORMS {
        let good = || entry("good", b"content", DEFLATED, form);
        let changed = |place: usize, byte: u8| {
            let mut entry = entry("bad", b"content", DEFLATED, form);
            entry[place] = byte;
            let found = read(&archive(&[good(), entry, good()]), u64::MAX);
            assert_eq!(found.faulty(), ["bad"], "{form:?}");
            assert!(found.names().iter().filter(|name| **name == "good").count() == 2);
            found.faults.into_iter().next().unwrap().1
        };
        let encrypted = if matches!(form, Form::Behind { .. }) {
            9
        } else {
            1
        };
        assert!(changed(6, encrypted).contains("encrypted"));
        assert!(changed(8, 12).contains("packed in a way"));
    }
    let changed = |place: usize| {
        let mut entry = entry("bad", b"content", DEFLATED, Form::Before);
        entry[place] ^= 0x55;
        read(&archive(&[entry]), u64::MAX).faults
    };
    assert!(changed(14)[0].1.contains("checksum"));
    assert!(changed(18)[0].1.contains("size"));
}

#[test]
fn strange_bytes_between_entries_are_told_and_passed_over() {
    let good = |name| entry(name, b"content", DEFLATED, Form::Before);
    let strange = archive(&[good("a"), b"PK something else".to_vec(), good("b")]);
    let found = read(&strange, u64::MAX);
    assert_eq!(found.names(), ["a", "b"]);
    assert_eq!(
        found.faults,
        [(String::new(), "no entry begins where one should".to_owned())]
    );
}

#[test]
fn what_is_joined_behind_an_archive_is_left_to_the_caller() {
    let first = archive(&[entry("a", b"content", DEFLATED, FORMS[2])]);
    for behind in [
        archive(&[entry("b", b"", STORED, FORMS[0])]),
        b"more".to_vec(),
    ] {
        let found = read(&[&first[..], &behind].concat(), u64::MAX);
        assert_eq!((found.names(), found.left), (vec!["a"], behind.len()));
        assert_eq!(found.faults, []);
    }
    // Archives that were meant to be split begin with a mark.
    let marked = [b"PK00".as_slice(), &first].concat();
    assert!(begins(&marked));
    assert_eq!(read(&marked, 0).names(), ["a"]);
}

#[test]
fn a_damaged_directory_costs_no_archive_behind_it() {
    let entry = |name| entry(name, b"content", DEFLATED, FORMS[2]);
    let first = archive(&[entry("a"), entry("b")]);
    let second = archive(&[entry("c")]);
    let directory = entry("a").len() + entry("b").len();
    for place in directory..first.len() - 8 {
        let mut damaged = first.clone();
        damaged[place] ^= 0xff;
        for cut in [&damaged[..], &damaged[..place]] {
            let joined = [cut, &second].concat();
            let found = read(&joined, u64::MAX);
            let rest = read(&joined[joined.len() - found.left..], u64::MAX);
            let names = [found.names(), rest.names()].concat();
            assert_eq!(names, ["a", "b", "c"], "byte {place}: {} left", found.left);
        }
    }
}

#[test]
fn an_archive_that_is_cut_off_gives_what_is_there() {
    for form in FORMS {
        let first = entry("a", b"first", DEFLATED, form);
        let entries = [first.clone(), entry("b", b"second", DEFLATED, form)];
        let whole = archive(&entries);
        for end in 1..whole.len() {
            let found = read(&whole[..end], u64::MAX);
            // Of the directory nothing is needed but that it begins.
            let is_told = !found.faults.is_empty();
            assert_eq!(
                is_told,
                end < entries.concat().len() + 4,
                "{end} of {}",
                whole.len()
            );
            assert!(end < first.len() || found.names().contains(&"a"));
            assert_eq!(found.left, 0, "{end} of {}", whole.len());
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_do_harm(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        changes in prop::collection::vec((0_usize..400, any::<u8>()), 0..4),
        form in 0_usize..6,
    ) {
        read(&bytes, u64::MAX);
        bytes = archive(&[entry("a", &bytes, DEFLATED, FORMS[form])]);
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        read(&bytes, u64::MAX);
    }
}
