//! A parser and a walk split alike.

use proptest::prelude::*;

use super::*;
use crate::event::Event;
use crate::event::arena::Arena;

fn split(cursor: &mut Cursor<'_>) -> Result<Option<Places>, NotJson> {
    match cursor.bytes.first() {
        Some(b'{') => cursor.envelope(),
        _ => cursor.array().map(Some),
    }
}

/// Splits an array or an envelope by a parser and by walking alone, and compares; returns how many
/// elements the parser found well formed.
fn compare(body: &[u8]) -> usize {
    let mut cursor = Cursor::new(body);
    let mut walker = Cursor::new(body);
    walker.is_well_formed = false;
    let walked = split(&mut walker);
    let mut found = split(&mut cursor);
    let mut well_formed = 0;
    if let Ok(Some(places)) = &mut found {
        well_formed = std::mem::take(&mut places.well_formed);
        let mut start = places.first;
        for &end in places.ends.iter().take(well_formed) {
            let raw = &body[start..end as usize];
            let arena = Arena::default();
            let event = Event::decode_well_formed(raw, &arena).map(|event| event.raw());
            assert_eq!(event, Event::decode(raw, &arena).map(|event| event.raw()));
            start = end as usize + 1;
        }
    }
    assert_eq!((found, cursor.at), (walked, walker.at));
    well_formed
}

#[test]
fn what_is_well_formed_is_known_up_to_the_first_that_is_not() {
    for (body, well_formed) in [
        (&b"[]"[..], 0),
        (b"[{}, {\"a\":\"\\\"]\"} ,\n{\"b\":[[]]} ]", 3),
        (b"[{}, 1 ,{}]", 1),
        (b"[{},{\"a\":\"\xff\"},{}]", 3),
        (b"[{},{\"a\":1,,},{}]", 1),
        (b"[{},\x0c{},{}]", 1),
        (b"[{},,{}]", 1),
        (b"[x,{},{}]", 0),
        (b"{\"n\":1,\"events\":[{},{}]}", 2),
        (b"{\"n\":x,\"events\":[{},{}]}", 0),
    ] {
        assert_eq!(compare(body), well_formed, "{}", body.escape_ascii());
    }
}

/// What arrays are made of, and what can break them.
fn piece() -> impl Strategy<Value = &'static [u8]> {
    prop::sample::select(vec![
        &b","[..],
        b",",
        b":",
        b"[",
        b"]",
        b"{",
        b"}",
        b"\"",
        b"\\",
        b" ",
        b"\n",
        b"\x0c",
        b"\0",
        b"1",
        b"-1.5e3",
        b"1e400",
        b"1,396,381",
        b"tru",
        b"null",
        b"\xff",
        "\u{e9}".as_bytes(),
        b"\"a\"",
        b"\"a\":",
        b"\"\\u00e9\"",
        b"\"\\ud800\"",
        b"\"\xff\"",
        b"\"events\":[",
        b"\"event_type\":\"A\"",
        b"{}",
        b"{\"a\":1}",
        b"{\"a\":1,\"a\":2}",
        b"{\"user_id\":7}",
        b"{\"a\":[{\"b\":\"]\"}, [ ]]}",
    ])
}

/// An array of events, often in an envelope, with a few bytes put in, taken out or cut off.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let event = prop::sample::select(vec![
        "{}",
        "{\"a\":1}",
        " {\"event_type\":\"A\",\"b\":[1,{\"c\":\"\\\"]\"}]}\n",
        "{\"a\":\"\\ud83d\\ude00\",\"b\":1.5e10}",
        "{\"a\":\"\u{e9}\"}",
        "null",
    ]);
    let events = prop::collection::vec(event, 0..6);
    let change = (any::<prop::sample::Index>(), 0_usize..3, piece());
    (
        events,
        any::<bool>(),
        prop::collection::vec(change, 0..3),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(events, envelope, changes, cut, is_cut)| {
            let array = format!("[{}]", events.join(","));
            let mut body = if envelope {
                format!("{{\"n\": 1,\"events\" :{array} ,\"o\":{{}}}}").into_bytes()
            } else {
                array.into_bytes()
            };
            for (place, taken, put) in changes {
                let from = place.index(body.len() + 1);
                let to = body.len().min(from + taken);
                body.splice(from..to, put.iter().copied());
            }
            if is_cut {
                body.truncate(cut.index(body.len() + 1));
            }
            body
        })
}

proptest! {
    #[test]
    fn a_parser_and_a_walk_split_alike(body in body()) {
        if !body.is_empty() {
            compare(&body);
        }
    }

    #[test]
    fn a_parser_and_a_walk_split_anything_alike(
        begin in prop::sample::select(vec![&b"["[..], b"{"]),
        pieces in prop::collection::vec(piece(), 0..24),
    ) {
        compare(&[begin, &pieces.concat()].concat());
    }
}
