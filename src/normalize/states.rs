//! The states of the USA and the provinces of Canada, by name.
//!
//! Names are written as `a` to `z` alone. Those of the USA hold the District of Columbia, the
//! territories, the military "states" of its postal service, and the traditional abbreviations.

/// Names in the USA with their postal codes, in order.
#[rustfmt::skip] // a table reads better in rows
pub(super) const UNITED_STATES: &[(&str, &str)] = &[
    ("ala", "al"), ("alabama", "al"), ("alas", "ak"), ("alaska", "ak"), ("americansamoa", "as"),
    ("ariz", "az"), ("arizona", "az"), ("ark", "ar"), ("arkansas", "ar"),
    ("armedforcesamericas", "aa"), ("armedforceseurope", "ae"), ("armedforcespacific", "ap"),
    ("cal", "ca"), ("calif", "ca"), ("california", "ca"), ("colo", "co"), ("colorado", "co"),
    ("commonwealthofthenorthernmarianaislands", "mp"), ("conn", "ct"), ("connecticut", "ct"),
    ("del", "de"), ("delaware", "de"), ("districtofcolumbia", "dc"), ("fla", "fl"),
    ("florida", "fl"), ("georgia", "ga"), ("guam", "gu"), ("hawaii", "hi"), ("idaho", "id"),
    ("ill", "il"), ("illinois", "il"), ("ind", "in"), ("indiana", "in"), ("iowa", "ia"),
    ("kan", "ks"), ("kans", "ks"), ("kansas", "ks"), ("kentucky", "ky"), ("louisiana", "la"),
    ("maine", "me"), ("maryland", "md"), ("mass", "ma"), ("massachusetts", "ma"), ("mich", "mi"),
    ("michigan", "mi"), ("minn", "mn"), ("minnesota", "mn"), ("miss", "ms"), ("mississippi", "ms"),
    ("missouri", "mo"), ("mont", "mt"), ("montana", "mt"), ("ndak", "nd"), ("neb", "ne"),
    ("nebr", "ne"), ("nebraska", "ne"), ("nev", "nv"), ("nevada", "nv"), ("newhampshire", "nh"),
    ("newjersey", "nj"), ("newmexico", "nm"), ("newyork", "ny"), ("nmex", "nm"),
    ("northcarolina", "nc"), ("northdakota", "nd"), ("northernmarianaislands", "mp"),
    ("ohio", "oh"), ("okla", "ok"), ("oklahoma", "ok"), ("ore", "or"), ("oreg", "or"),
    ("oregon", "or"), ("penn", "pa"), ("penna", "pa"), ("pennsylvania", "pa"), ("puertorico", "pr"),
    ("rhodeisland", "ri"), ("sdak", "sd"), ("southcarolina", "sc"), ("southdakota", "sd"),
    ("tenn", "tn"), ("tennessee", "tn"), ("tex", "tx"), ("texas", "tx"),
    ("unitedstatesvirginislands", "vi"), ("usvirginislands", "vi"), ("utah", "ut"),
    ("vermont", "vt"), ("virg", "va"), ("virginia", "va"), ("virginislands", "vi"),
    ("virginislandsus", "vi"), ("wash", "wa"), ("washington", "wa"), ("washingtondc", "dc"),
    ("westvirginia", "wv"), ("wis", "wi"), ("wisc", "wi"), ("wisconsin", "wi"), ("wva", "wv"),
    ("wyo", "wy"), ("wyoming", "wy"),
];

/// Names in Canada with their postal codes, in order.
#[rustfmt::skip] // a table reads better in rows
pub(super) const CANADA: &[(&str, &str)] = &[
    ("alberta", "ab"), ("alta", "ab"), ("britishcolumbia", "bc"), ("labrador", "nl"),
    ("manitoba", "mb"), ("newbrunswick", "nb"), ("newfoundland", "nl"),
    ("newfoundlandandlabrador", "nl"), ("newfoundlandlabrador", "nl"),
    ("northwestterritories", "nt"), ("novascotia", "ns"), ("nunavut", "nu"), ("ont", "on"),
    ("ontario", "on"), ("princeedwardisland", "pe"), ("que", "qc"), ("quebec", "qc"),
    ("sask", "sk"), ("saskatchewan", "sk"), ("yukon", "yt"), ("yukonterritory", "yt"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn tables_are_in_order_and_complete() {
        for (table, codes) in [(UNITED_STATES, 50 + 1 + 5 + 3), (CANADA, 13)] {
            assert!(table.is_sorted_by(|left, right| left.0 < right.0));
            let found: BTreeSet<_> = table.iter().map(|state| state.1).collect();
            assert_eq!(found.len(), codes);
        }
    }

    #[test]
    fn no_code_is_of_both_countries() {
        for (_, code) in CANADA {
            assert!(UNITED_STATES.iter().all(|state| state.1 != *code), "{code}");
        }
    }
}
