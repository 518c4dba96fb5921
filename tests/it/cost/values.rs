//! Values that are costly to read.

/// A value of about so many bytes, as JSON, or nearly.
pub type Value = fn(usize) -> String;

/// Repeats a piece between a beginning and an end.
pub(super) fn filled(
    length: usize,
    begin: &str,
    piece: impl Fn(usize) -> String,
    end: &str,
) -> String {
    let mut text = String::from(begin);
    let mut number = 0;
    loop {
        let next = piece(number);
        if number > 0 && text.len() + next.len() + end.len() > length {
            break;
        }
        text.push_str(&next);
        number += 1;
    }
    text.push_str(end);
    text
}

/// A list of the same items, or an object of the same members.
pub(super) fn listed(length: usize, open: &str, item: &str, close: &str) -> String {
    let separated = format!(",{item}");
    filled(
        length,
        open,
        |number| {
            if number == 0 {
                item.to_owned()
            } else {
                separated.clone()
            }
        },
        close,
    )
}

pub(super) fn numbered(
    length: usize,
    open: &str,
    item: impl Fn(usize) -> String,
    close: &str,
) -> String {
    let separated = |number| {
        if number == 0 {
            item(number)
        } else {
            format!(",{}", item(number))
        }
    };
    filled(length, open, separated, close)
}

pub(super) fn text(length: usize, piece: &str) -> String {
    filled(length, "\"", |_| piece.to_owned(), "\"")
}

/// JSON in a text in a text, and so on.
pub(super) fn encoded(mut json: String, times: usize) -> String {
    for _ in 0..times {
        json = format!("\"{}\"", json.replace('\\', "\\\\").replace('"', "\\\""));
    }
    json
}

/// The same, with escapes by number: each encoding adds as much, and does not double what the last one added.
pub(super) fn encoded_by_number(length: usize) -> String {
    let mut json = "[1]".to_owned();
    loop {
        let next = json.replace('\\', "\\u005c").replace('"', "\\u0022");
        if next.len() + 4 > length {
            return format!("\"{next}\"");
        }
        json = format!("[\"{next}\"]");
    }
}

pub const VALUES: &[(&str, Value)] = &[
    ("sharp s", |n| text(n, "ß")),
    ("letters that fold to three", |n| text(n, "\u{390}")),
    ("extreme exponents", |n| {
        listed(n, "[", "1e308,-1e-400,1e999999,-9.9e-999999", "]")
    }),
    ("texts of extreme exponents", |n| {
        listed(n, "[", "\"1e308\",\"-1e-400\"", "]")
    }),
    ("prices of extreme exponents", |n| {
        listed(n, "[", "{\"sku\":1,\"price\":1e-308,\"qty\":1e308}", "]")
    }),
    ("keys that begin as operations", |n| {
        numbered(n, "{", |k| format!("\"$x{k}\":1"), "}")
    }),
    ("operations in another case", |n| {
        listed(n, "{", "\"$SET\":{\"p\":1}", "}")
    }),
    ("halves of pairs", |n| text(n, "\\udc00")),
    ("many JSON texts in texts", |n| {
        listed(n, "[", &encoded("[1]".to_owned(), 3), "]")
    }),
    ("many deep JSON texts in texts", |n| {
        listed(n, "[", &encoded("[[1,[{}]]]".to_owned(), 7), "]")
    }),
    ("JSON texts in too many texts", |n| {
        listed(n, "[", &encoded("[1]".to_owned(), 9), "]")
    }),
    ("keys of one place", |n| {
        numbered(n, "{", |k| format!("\"a{k:06}m{k:06}z\":1"), "}")
    }),
    ("one long key", |n| format!("{{\"{}\":1}}", "k".repeat(n))),
    ("keys of paths", |n| {
        numbered(
            n,
            "{",
            |k| format!("\"event_properties.products[*].{k}\":1"),
            "}",
        )
    }),
    ("encoded percent signs", |n| text(n, "%2525")),
    ("all separators", |n| text(n, "a,b;c|d ")),
    ("wide items", |n| {
        let members: Vec<_> = (0..20).map(|k| format!("\"m{k}\":\"v\"")).collect();
        listed(n, "[", &format!("{{{}}}", members.join(",")), "]")
    }),
    ("currencies", |n| {
        listed(n, "[", "\"usd\",\"€\",\"US $\"", "]")
    }),
    ("times", |n| {
        listed(n, "[", "\"2026-11-20 10:00:00.123456+02:00\"", "]")
    }),
    ("times of other forms", |n| text(n, "20 Nov 2026 10:00 PM ")),
    ("texts in texts by number", encoded_by_number),
    ("equal keys", |n| listed(n, "{", "\"\":0", "}")),
    ("keys", |n| {
        numbered(n, "{", |k| format!("\"k{k}\":{k}"), "}")
    }),
    ("texts by key", |n| {
        numbered(n, "{", |k| format!("\"k{k}\":\"v\""), "}")
    }),
    ("long keys", |n| {
        numbered(
            n,
            "{",
            |k| format!("\"{}{k}\":\"\\u0041 1\"", "phone ".repeat(40)),
            "}",
        )
    }),
    ("escaped keys", |n| {
        numbered(n, "{", |k| format!("\"\\u0061{k}\":0"), "}")
    }),
    ("numbers", |n| listed(n, "[", "0", "]")),
    ("long numbers", |n| {
        listed(n, "[", "12345678901234567890.5e-7", "]")
    }),
    ("empty lists", |n| listed(n, "[", "[]", "]")),
    ("empty objects", |n| listed(n, "[", "{}", "]")),
    ("empty texts", |n| listed(n, "[", "\"\"", "]")),
    ("short texts", |n| {
        numbered(n, "[", |k| format!("\"{k}\""), "]")
    }),
    ("items", |n| {
        numbered(n, "[", |k| format!("{{\"sku\":{k}}}"), "]")
    }),
    ("equal items", |n| {
        listed(n, "[", "{\"sku\":\"s\",\"qty\":2,\"price\":1.5}", "]")
    }),
    ("items of equal keys", |n| {
        listed(n, "[", "{\"sku\":1,\"sku\":1,\"\":1}", "]")
    }),
    ("lists in lists", |n| listed(n, "[", "[[1,2],[3]]", "]")),
    ("JSON texts", |n| listed(n, "[", "\"{}\"", "]")),
    ("other JSON texts", |n| {
        numbered(n, "[", |k| format!("\"{{\\\"sku\\\":{k}}}\""), "]")
    }),
    ("broken JSON texts", |n| {
        numbered(n, "[", |k| format!("\"[{k},\""), "]")
    }),
    ("texts that begin as JSON", |n| listed(n, "[", "\"[\"", "]")),
    ("broken words", |n| {
        encoded(listed(n * 9 / 10, "[", "x", "]"), 1)
    }),
    ("broken numbers", |n| {
        encoded(listed(n * 9 / 10, "[1,", "1.", "]"), 1)
    }),
    ("quotes", |n| encoded("\"".repeat(n / 2), 1)),
    ("JSON in texts", |n| {
        encoded(listed(n * 2 / 3, "[", "{\"a\":[1,2]}", "]"), 3)
    }),
    ("text in texts", |n| encoded("x".repeat(n / 32), 12)),
    ("deep lists", |n| "[".repeat(n / 2) + &"]".repeat(n / 2)),
    ("deep objects", |n| {
        "{\"a\":".repeat(n / 6) + "1" + &"}".repeat(n / 6)
    }),
    ("deep mixed", |n| {
        "[{\"a\":".repeat(n / 9) + "1" + &"}]".repeat(n / 9)
    }),
    ("deep JSON text", |n| {
        encoded("[".repeat(n / 2) + &"]".repeat(n / 2), 1)
    }),
    ("letters", |n| text(n, "a")),
    ("blanks", |n| text(n, " ")),
    ("words", |n| text(n, "Lorem ipsum, ")),
    ("newlines", |n| text(n, "\\n")),
    ("escapes", |n| text(n, "\\u0041")),
    ("escaped pairs", |n| text(n, "\\ud83d\\ude00")),
    ("broken pairs", |n| text(n, "\\ud83d")),
    ("broken escapes", |n| text(n, "\\x")),
    ("control characters", |n| text(n, "\u{1}a")),
    ("umlauts", |n| text(n, "é")),
    ("capital dotted i", |n| text(n, "İ")),
    ("combining marks", |n| text(n, "a\u{301}\u{323}\u{327}")),
    ("only combining marks", |n| text(n, "\u{323}\u{301}\u{345}")),
    ("ligatures", |n| text(n, "\u{fdfa}")),
    ("hangul", |n| text(n, "\u{1100}\u{1161}\u{11a8}")),
    ("emoji", |n| text(n, "👩\u{200d}👩")),
    ("invisible", |n| text(n, "\u{200b}\u{feff}")),
    ("digits", |n| text(n, "9")),
    ("digits of another script", |n| text(n, "٣")),
    ("full-width digits", |n| text(n, "９ ")),
    ("groups of digits", |n| text(n, "12 ")),
    ("pluses", |n| text(n, "+1")),
    ("pluses and blanks", |n| text(n, "+ ")),
    ("cards", |n| text(n, "4111 1111 1111 1112 ")),
    ("points", |n| text(n, "1.")),
    ("commas", |n| text(n, ",")),
    ("semicolons", |n| text(n, "a;")),
    ("thousands", |n| text(n, "1,234,")),
    ("at signs", |n| text(n, "@")),
    ("almost addresses", |n| text(n, "a@b.")),
    ("encoded at signs", |n| text(n, "%40a")),
    ("percent signs", |n| text(n, "%41")),
    ("address at the end", |n| {
        text(n, "abc ").replace("abc \"", "a@example.com\"")
    }),
    ("slashes", |n| text(n, "/a")),
    ("question marks", |n| text(n, "?a")),
    ("number signs", |n| text(n, "#a?")),
    ("colons", |n| text(n, "://")),
    ("parameters", |n| {
        filled(n, "\"https://a.example/?x", |k| format!("&a{k}=%41"), "\"")
    }),
    ("kept parameters", |n| {
        filled(
            n,
            "\"https://a.example/?fbclid=x",
            |k| format!("&utm_a={k}+%2B"),
            "\"",
        )
    }),
    ("separators of parameters", |n| {
        filled(n, "\"https://a.example/?x", |_| "&".to_owned(), "\"")
    }),
    ("fragments", |n| {
        filled(n, "\"https://a.example/#x", |_| ";a=1".to_owned(), "\"")
    }),
    ("addresses of pages", |n| {
        filled(n, "\"", |_| "https://a.example/?t=1 ".to_owned(), "\"")
    }),
    ("page addresses in a list", |n| {
        listed(n, "[", "\"//a?b=c@d.de\"", "]")
    }),
    ("users of pages", |n| {
        filled(n, "\"https://", |_| "a:b@".to_owned(), "\"")
    }),
    ("globs", |n| text(n, "/a/b*c")),
    ("user agent", |n| {
        text(n, "Mozilla/5.0 (X11; Linux x86_64) ")
    }),
    ("IP addresses", |n| text(n, "10.0.0.1, ")),
    ("forwarded IP addresses", |n| text(n, "::ffff:10.0.0.1,")),
    ("dates", |n| text(n, "2026-11-20T10:00:00")),
    ("long number", |n| "9".repeat(n)),
    ("long fraction", |n| format!("0.{}1", "0".repeat(n))),
    ("long exponent", |n| format!("1e{}", "9".repeat(n))),
    ("long negative exponent", |n| {
        format!("1e-{}", "9".repeat(n))
    }),
    ("names", |n| listed(n, "[", "\"O'Brien-Ñandú\"", "]")),
    ("phones", |n| {
        numbered(n, "[", |k| format!("\"+1 650 253 {k:04}\""), "]")
    }),
    ("mail addresses", |n| {
        numbered(n, "[", |k| format!("\"a{k}@example.com\""), "]")
    }),
    ("hashes", |n| {
        listed(n, "[", &format!("\"{}\"", "a1".repeat(32)), "]")
    }),
    ("nulls", |n| listed(n, "[", "null", "]")),
    ("words for nothing", |n| listed(n, "[", "\"(none)\"", "]")),
    ("broken", |n| listed(n, "[", "NaN", "]")),
    ("broken members", |n| {
        numbered(n, "{", |k| format!("\"k{k}\":x"), "}")
    }),
    ("operations", |n| listed(n, "{", "\"$set\":{\"p\":1}", "}")),
    ("all operations", |n| {
        let half = listed(n / 9, "[", "\"a\"", "]");
        let acts = [
            "$set",
            "$setOnce",
            "$append",
            "$prepend",
            "$preInsert",
            "$postInsert",
            "$remove",
        ];
        let members = acts.map(|act| format!("\"{act}\":{{\"p\":{half},\"tags\":{half}}}"));
        format!("{{{}}}", members.join(","))
    }),
    ("operations on many", |n| {
        let many = numbered(n / 3, "{", |k| format!("\"k{k}\":1"), "}");
        format!("{{\"$set\":{many},\"$setOnce\":{many},\"$add\":{many}}}")
    }),
    ("operations on one", |n| {
        let many = listed(n / 3, "{", "\"tags\":1", "}");
        format!("{{\"$set\":{many},\"$append\":{many},\"$prepend\":{many}}}")
    }),
];
