//! What `check` says of a sync's mapping.

use super::*;
use crate::config::load::from_toml;

#[track_caller]
pub(super) fn check(rules: &str, expected_errors: &[&str], expected_warnings: &[&str]) {
    let text = format!(
        "[ingest]\nallow_unauthenticated = true\n[sync.web]\npixel_id = \"1\"\naccess_token = \"t\"\n{rules}"
    );
    let config = from_toml(&text, &[]).unwrap();
    let (name, sync) = config.syncs.iter().next().unwrap();
    let found = errors(name, sync);
    let keys = |found: &[ConfigError]| found.iter().map(|one| one.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&found), expected_errors, "{found:?}");
    let warned = warnings(name, sync);
    assert_eq!(keys(&warned), expected_warnings, "{warned:?}");
}

#[test]
fn a_purchase_needs_a_value_and_a_currency() {
    let missing = [
        "sync.web.events.\"Order Completed\".custom_data.value",
        "sync.web.events.\"Order Completed\".custom_data.currency",
    ];
    check(
        "action_source = \"chat\"\n[sync.web.events]\n\"Order Completed\" = \"Purchase\"",
        &missing,
        &[],
    );
    check(
        "action_source = \"chat\"\ncurrency = \"EUR\"\n[sync.web.events]\n\"Order Completed\" = \"Purchase\"",
        &missing[..1],
        &[],
    );
    check(
        "action_source = \"chat\"\n[sync.web.events]\nrevenue_amount = \"Purchase\"",
        &[],
        &[],
    );
    check(
        "action_source = \"chat\"\nproperties = [\"value\"]\n[sync.web.custom_data]\ncurrency = { constant = \"USD\" }\n[sync.web.events]\n\"Order Completed\" = \"Purchase\"",
        &[],
        &[],
    );
    check(
        "action_source = \"chat\"\nproperties = [\"*\"]\n[sync.web.events]\nPurchase = {}",
        &[],
        &[],
    );
}

#[test]
fn sources_must_fit_their_fields() {
    check(
        concat!(
            "[sync.web.custom_data]\n",
            "currency = { constant = \"EURO\" }\n",
            "contents = { each = \"event_properties.p\", sku = \"sku\" }\n",
            "order_id = { each = \"event_properties.p\", id = \"sku\" }\n",
            "\"my field\" = { each = \"event_properties.p\", sku = \"sku\" }\n",
        ),
        &[
            "sync.web.custom_data.contents",
            "sync.web.custom_data.currency",
            "sync.web.custom_data.order_id",
        ],
        &[],
    );
}

#[test]
fn an_action_source_must_be_possible() {
    check("action_source = \"app\"", &["sync.web.action_source"], &[]);
    check("action_source = \"app\"\n[sync.web.app]", &[], &[]);
    check(
        "action_source = \"business_messaging\"",
        &["sync.web.action_source"],
        &[],
    );
    check(
        "action_source = { from = \"event_properties.x\", default = \"business_messaging\" }",
        &["sync.web.action_source"],
        &[],
    );
}

#[test]
fn events_of_a_website_need_a_user_agent_and_a_page() {
    let agent = "user_data = { client_user_agent = \"user_properties.user_agent\" }\n";
    let page = "event_source_url = { constant = \"https://shop.example.com/\" }\n";
    let both = format!("{agent}{page}");
    let website = "action_source = \"website\"\n";
    let (of_sync, of_row) = ("sync.web", "sync.web.events.A");
    let (no_agent, no_page) = ("user_data.client_user_agent", "event_source_url");
    for (rules, at, expected) in [
        (website.to_owned(), of_sync, &[no_agent, no_page][..]),
        (format!("{website}{agent}"), of_sync, &[no_page]),
        (format!("{website}{page}"), of_sync, &[no_agent]),
        (format!("{website}{both}"), of_sync, &[]),
        (
            format!("{website}{page}user_data = {{ client_user_agent = [] }}\n"),
            of_sync,
            &[no_agent],
        ),
        // A row of the event table may say it for itself.
        (
            format!("{website}[sync.web.events]\nB = {{}}\n[sync.web.events.A]\n{both}"),
            of_sync,
            &[no_agent, no_page],
        ),
        (
            format!("{website}[sync.web.events.A]\n{both}"),
            of_sync,
            &[],
        ),
        (
            format!("[sync.web.events.A]\n{website}"),
            of_row,
            &[no_agent, no_page],
        ),
        (format!("{both}[sync.web.events.A]\n{website}"), of_row, &[]),
        (
            "action_source = { from = \"event_properties.at\", map = { web = \"website\" } }\n"
                .to_owned(),
            of_sync,
            &[no_agent, no_page],
        ),
        (
            "action_source = { from = \"event_properties.at\", default = \"chat\" }\n".to_owned(),
            of_sync,
            &[],
        ),
    ] {
        let keys: Vec<String> = expected
            .iter()
            .map(|field| format!("{at}.{field}"))
            .collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        check(&rules, &[], &keys);
    }
}

#[test]
fn a_state_is_one_of_metas() {
    let state = |code: u32| {
        format!("[sync.web.limited_data_use]\nmode = \"always\"\ncountry = 1\nstate = {code}")
    };
    let key = "sync.web.limited_data_use.state";
    for code in [0, 1000, 1013] {
        check(&state(code), &[], &[]);
    }
    for code in [1, 999, 1014, 1099] {
        check(&state(code), &[key], &[]);
    }
}

#[test]
fn conditions_on_what_is_not_remembered_are_pointed_out() {
    let rules = |kept: &str| {
        format!(
            "where = [{{ property = \"user_properties.consent\", op = \"is set\" }}]\n\
             [sync.web.user_memory]\nkeep_as_is = [{kept}]\n\
             [sync.web.events.A]\nwhere = [{{ property = \"user_properties.plan.name\", op = \"is set\" }}]\n"
        )
    };
    check(
        &rules(""),
        &[],
        &["sync.web.where", "sync.web.events.A.where"],
    );
    check(&rules("\"consent\", \"plan\""), &[], &[]);
}

#[test]
fn ids_that_never_equal_the_pixels_are_pointed_out() {
    let key = "sync.web.external_id_case";
    check("external_id_case = \"keep\"", &[], &[key]);
    check("external_id_case = \"lower\"", &[], &[]);
}

#[test]
fn what_is_hashed_and_named_in_clear_is_pointed_out() {
    let rules = |more: &str| {
        format!(
            "{more}\n[sync.web.user_data]\nfirst_name = \"event_properties.given\"\n\
             email = \"event_properties.customer.email\"\nexternal_id = \"event_properties.id\"\n"
        )
    };
    check(&rules("properties = [\"coupon\"]"), &[], &[]);
    for properties in ["[\"*\"]", "[\"given\", \"coupon\"]", "[\"customer\"]"] {
        let rules = rules(&format!("properties = {properties}"));
        check(&rules, &[], &["sync.web.properties"]);
    }
    check(
        &rules("properties = [\"*\"]\nallow_personal_data = [\"given\", \"customer\", \"id\"]"),
        &[],
        &["sync.web.allow_personal_data"; 3],
    );
    for (field, source) in [
        ("name", "\"event_properties.given\""),
        (
            "name",
            "{ all = [\"event_properties.nick\", \"event_properties.given\"] }",
        ),
        ("who", "\"event_properties.customer\""),
        ("id", "\"event_properties.id\""),
        ("all", "\"event_properties\""),
        (
            "who",
            "{ each = \"event_properties.customer\", mail = \"email\" }",
        ),
    ] {
        let table = format!("{}[sync.web.custom_data]\n{field} = {source}\n", rules(""));
        check(&table, &[], &[&*format!("sync.web.custom_data.{field}")]);
    }
    let row = concat!(
        "properties = [\"p\"]\n[sync.web.custom_data]\nx = \"event_properties.x\"\n",
        "[sync.web.events.A]\nproperties = [\"y\"]\nsend_as = [\"event_properties.y\"]\n",
        "[sync.web.events.A.user_data]\nphone = [\"event_properties.x\", \"event_properties.y\", \"event_properties.p\"]\n",
        "[sync.web.events.B]\nproperties = [\"y\"]\n",
    );
    check(
        row,
        &[],
        &[
            "sync.web.custom_data.x",
            "sync.web.properties",
            "sync.web.events.A.properties",
            "sync.web.events.A.send_as",
            "sync.web.events.B.properties",
        ],
    );
    check(
        "[sync.web.user_data]\nemail = \"user_properties.email\"\n[sync.web.user_memory]\nkeep_as_is = [\"email\"]",
        &[],
        &["sync.web.user_memory.keep_as_is"],
    );
}

#[test]
fn typing_errors_are_pointed_out() {
    check(
        concat!(
            "[sync.web.custom_data]\nevent_id = \"uuid\"\nemail = \"user_properties.email\"\n",
            "[sync.web.events]\nA = \"Purchse\"\nB = \"My Event\"\n",
            "add_to_cart = {}\n\"[Amplitude] Revenue\" = \"Lead\"\n",
            "[sync.web.events.C]\nsend_as = \"Lead\"\ncustom_data = { value = \"event_properties.v\" }\n",
        ),
        &[],
        &[
            "sync.web.custom_data.email",
            "sync.web.custom_data.event_id",
            "sync.web.events.A.send_as",
            "sync.web.events.C.custom_data.currency",
            "sync.web.events.\"[Amplitude] Revenue\"",
            "sync.web.events.add_to_cart",
            "sync.web.action_source",
        ],
    );
}
