//! Files in every form, joined, within each other, and damaged.

use std::io::Write as _;
use std::rc::Rc;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::cli::backfill::archive::tests::{FORMS, archive, entry};

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

fn gz(content: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(content).unwrap();
    packed.finish().unwrap()
}

/// What became of each part: `name: text`, `name? (passed over)`, `name! what is wrong`.
fn read(file: &[u8]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let read = Rc::default();
    let budget = Budget::new(read);
    let mut input = BufReader::with_capacity(100, file);
    each_part(&mut input, &budget, &mut |name, part| {
        found.push(match part {
            InputPart::Unrelated => format!("{name}?"),
            InputPart::Damaged(what) => format!("{name}! {what}"),
            InputPart::Text { text, form, .. } => {
                use crate::cli::backfill::lines::{Elements, TextElement};
                let mut element = Vec::new();
                let mut elements = Vec::new();
                let mut is_joined = false;
                let mut all = Elements::new(form);
                while let Ok(next) = all.next(text, &mut element) {
                    match next {
                        TextElement::Whole => {
                            elements.push(String::from_utf8_lossy(&element).into_owned());
                        }
                        TextElement::TooLong => elements.push("too long".to_owned()),
                        TextElement::Joined => is_joined = true,
                        TextElement::End => {}
                    }
                    if matches!(next, TextElement::Joined | TextElement::End) {
                        break;
                    }
                }
                found.push(format!("{name}: {}", elements.join(" ")));
                return Ok(is_joined);
            }
        });
        Ok(false)
    })
    .unwrap();
    found
}

#[track_caller]
fn check(file: &[u8], expected: &[&str]) {
    let found = read(file);
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| {
            found == expected || expected.ends_with('!') && found.starts_with(expected)
        });
    assert!(fits, "{found:#?}\nexpected {expected:#?}");
}

#[test]
fn what_is_joined_is_read_one_behind_the_other() {
    let zip = |name: &str| archive(&[entry(name, &gz(b"{1}\n{2}\n"), STORED, FORMS[0])]);
    let joined = [
        zip("a.json.gz"),
        zip("b.json.gz"),
        vec![0; 700],
        gz(b"{3}\n{4"),
        gz(b"}\n"),
    ];
    let texts = [
        gz(b"\xef\xbb\xbf{5}"),
        b"\xef\xbb\xbf{6}\n".to_vec(),
        zip("c.json.gz"),
    ];
    check(
        &joined.concat(),
        &["a.json.gz: {1} {2}", "b.json.gz: {1} {2}", ": {3} {4}"],
    );
    check(&texts.concat(), &[": {5}", ": {6}", "c.json.gz: {1} {2}"]);
    check(
        &[gz(b"{1}\n"), zip("a.json.gz")].concat(),
        &[": {1}", "a.json.gz: {1} {2}"],
    );
    check(b"", &[]);
}

#[test]
fn names_do_not_matter_where_the_content_tells() {
    let part = |name: &str, content: &[u8]| entry(name, content, DEFLATED, FORMS[2]);
    let file = archive(&[
        part("export", &gz(b"{1}\n")),
        part("a.txt", b"{2}\n"),
        part("inner.dat", &archive(&[part("b.json", b"\n {3}\n")])),
        part("twice.json.gz.gz", &gz(&gz(b"{4}"))),
        part("c.json", &gz(b"{5}")),
        part("d.json.gz", b"[{\"a\":6}]"),
    ]);
    check(
        &file,
        &[
            "export: {1}",
            "a.txt: {2}",
            "inner.dat/b.json: {3}",
            "twice.json.gz.gz: {4}",
            "c.json: {5}",
            "d.json.gz: {\"a\":6}",
        ],
    );
}

#[test]
fn strangers_are_passed_over() {
    let twin = [&[0, 5, 0x16, 7, 0, 2, 0, 0][..], b"Mac OS X", &[0; 100]].concat();
    let part = |name: &str, content: &[u8]| entry(name, content, DEFLATED, FORMS[0]);
    let file = archive(&[
        part("1/", b""),
        part("1/a.json.gz", &gz(b"{1}\n")),
        part("__MACOSX/1/._a.json.gz", &twin),
        part("1/._a.json.gz", &twin),
        part("1/renamed.json.gz", &twin),
        part("1/.DS_Store", b"\0\0\0\x01Bud1"),
        part("1/-1_2026-11-20_1.json.gz", &gz(b"{\"amplitude_id\":1}\n")),
    ]);
    check(
        &file,
        &[
            "1/a.json.gz: {1}",
            "__MACOSX/1/._a.json.gz?",
            "1/._a.json.gz?",
            "1/renamed.json.gz?",
            "1/.DS_Store?",
            "1/-1_2026-11-20_1.json.gz?",
        ],
    );
}

#[test]
fn what_may_hold_events_and_is_not_read_is_no_stranger() {
    let part = |name: &str, content: &[u8]| entry(name, content, DEFLATED, FORMS[0]);
    let tar = [&[b'x'; TAR_PLACE][..], TAR, &[0; 200]].concat();
    let file = archive(&[
        part("1/a.json.gz", &gz(b"{1}\n")),
        // By its content, by its name, or packed.
        part("1/b", b"\x28\xb5\x2f\xfd\0\0"),
        part("1/c.json.lz4", b"\x02\x21\0"),
        part("1/d.tar", &tar),
        part("1/e", &gz(&tar)),
        part("1/f.PARQUET", b"\0\0"),
        part("1/photo.png", b"\x89PNG\r\n\x1a\n\0"),
    ]);
    check(
        &file,
        &[
            "1/a.json.gz: {1}",
            "1/b!",
            "1/c.json.lz4!",
            "1/d.tar!",
            "1/e!",
            "1/f.PARQUET!",
            "1/photo.png?",
        ],
    );
}

#[test]
fn text_in_utf_16_is_read() {
    let utf_16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let text = utf_16("\u{feff}{\"a\":\"é\"}\r\n{2}\r\n");
    let expected = "{\"a\":\"é\"} {2}";
    check(&text, &[&format!(": {expected}")]);
    let file = archive(&[
        entry("a.json", &text, DEFLATED, FORMS[0]),
        entry("b.json.gz", &gz(&text), STORED, FORMS[2]),
    ]);
    check(
        &file,
        &[
            &format!("a.json: {expected}"),
            &format!("b.json.gz: {expected}"),
        ],
    );
}

#[test]
fn a_length_that_is_wrong_has_no_event_read_twice() {
    let part = |name: &str| entry(name, &gz(name.as_bytes()), STORED, FORMS[0]);
    let mut wrong = part("2.json.gz");
    wrong[18] ^= 0xff;
    let file = archive(&[
        part("1.json.gz"),
        wrong,
        part("3.json.gz"),
        part("4.json.gz"),
    ]);
    check(
        &file,
        &[
            "1.json.gz: 1.json.gz",
            "2.json.gz: 2.json.gz",
            "2.json.gz!",
            "3.json.gz: 3.json.gz",
            "4.json.gz: 4.json.gz",
        ],
    );
}

#[test]
fn an_archive_cut_off_between_entries_and_joined_to_another_is_told() {
    let part = |name: &str| entry(name, b"{1}\n", STORED, FORMS[0]);
    let whole = archive(&[part("c.json"), part("d.json")]);
    let cut = [part("a.json"), part("b.json"), whole.clone()].concat();
    let found = read(&[&cut[..], &whole].concat());
    assert_eq!(found.len(), 7, "{found:#?}");
    assert!(
        found[4].starts_with("! its directory does not list"),
        "{found:#?}"
    );
    assert!(
        read(&[&whole[..], &whole].concat())
            .iter()
            .all(|part| !part.contains('!'))
    );
}

#[test]
fn a_damaged_part_costs_no_other_part() {
    let lines: Vec<u8> = (0..200)
        .flat_map(|n| format!("{{{}}}\n", n * 7919).into_bytes())
        .collect();
    let good = gz(b"{1}\n");
    let whole = gz(&lines);
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x10;
    let mut checksum = whole.clone();
    checksum[whole.len() - 5] ^= 1;
    let cut = whole[..whole.len() - 20].to_vec();
    let header = [b"\0\0\0\0".as_slice(), &whole[4..]].concat();
    for bad in [flipped, checksum, cut, header] {
        for form in FORMS {
            let part = |name: &str, content: &[u8]| entry(name, content, DEFLATED, form);
            let file = archive(&[
                part("1.json.gz", &good),
                part("2.json.gz", &bad),
                part("3.json.gz", &good),
            ]);
            let found = read(&file);
            assert_eq!(found[0], "1.json.gz: {1}");
            assert_eq!(found.last().unwrap(), "3.json.gz: {1}", "{found:#?}");
            assert!(
                found.iter().any(|part| part.starts_with("2.json.gz!")),
                "{found:#?}"
            );
        }
        // And without an archive around them.
        let found = read(&[&good[..], &bad, &good].concat());
        assert!(found.iter().any(|part| part.starts_with('!')), "{found:#?}");
        assert!(found.last().unwrap().ends_with("{1}"), "{found:#?}");
    }
}

#[test]
fn what_is_no_export_is_told() {
    check(
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        &["! it is not an export: neither a zip archive, nor a gzip file, nor text"],
    );
    for (start, what) in UNREAD {
        let file = [start, &[0; 20]].concat();
        let expected = format!("! it is {what}, which is not supported");
        let found = read(&file);
        assert!(
            found.len() == 1 && found[0].starts_with(&expected),
            "{found:?}"
        );
    }
    check(b"\0\x05\x16\x07\0\0", &["?"]);
    // Damage at the very beginning.
    let file = archive(&[
        entry("a.json", b"{1}", STORED, FORMS[0]),
        entry("b.json", b"{2}", STORED, FORMS[0]),
    ]);
    check(
        &[b"\0\0\0\0".as_slice(), &file[4..]].concat(),
        &["!", "b.json: {2}"],
    );
}

#[test]
fn archives_within_archives_and_bombs_end() {
    let mut file = gz(b"{1}\n");
    for _ in 0..DEEPEST {
        file = archive(&[entry("deep.zip", &file, DEFLATED, FORMS[0])]);
    }
    let found = read(&file);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].ends_with("too many archives are nested in each other"),
        "{found:?}"
    );

    let budget = Budget::new(Rc::default());
    assert!(budget.spend(usize::MAX / 2).is_err());
    let mut bomb = &gz(b"{1}\n")[..];
    let mut found = Vec::new();
    each_part(&mut bomb, &budget, &mut |_, part| {
        found.push(matches!(part, InputPart::Damaged(_)));
        Ok(false)
    })
    .unwrap();
    assert_eq!(found, [true]);
}
