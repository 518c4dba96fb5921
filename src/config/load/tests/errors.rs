//! Every kind of error, as the operator reads it.

use std::fs;

use insta::assert_snapshot;

use super::*;

#[test]
fn nothing_at_all() {
    assert_snapshot!(errors_in("", &[]), @r#"
    ingest.secret: missing, expected the secret that Amplitude's webhook sends (or secret_file); allow_unauthenticated = true takes events from anyone
    sync: no sync is configured, expected one table per sync, such as [sync.web]
    "#);
}

#[test]
fn not_toml() {
    // The line that is wrong holds a secret.
    assert_snapshot!(errors_in("[ingest]\n\nsecret = \"hunter2\n", &[]), @r#"pixel-relay.toml: not TOML, line 3: invalid basic string, expected `"`"#);
    assert_snapshot!(errors_in(
        "[ingest]\nsecret = 'hunter2'\nsecret = 'hunter2'\n",
        &[]
    ), @r#"pixel-relay.toml: not TOML, line 3: duplicate key"#);
    assert_snapshot!(
        errors("[queue]\nduplicate_ids = 99999999999999999999\n"),
        @"pixel-relay.toml: not TOML, line 8: a number out of range"
    );
}

#[test]
fn unknown_keys() {
    assert_snapshot!(errors(
        "acess_token = 'hunter2'\nmax_in_flight = 3\nzzz = 1\n\
         [sync.web.user_data]\ne_mail = 'user_properties.email'\nnonsense = 'user_id'\n\
         [sync.web.app]\nbundle = 'x'\n[sync.web.events.A]\nsendas = 'B'\n\
         [sync.web.custom_data]\nvalue = { form = 'user_id' }\n\
         [server]\nLISTEN = 'x'\n[syncs.web]\n[sever]\n"
    ), @r#"
    sever: unknown key, did you mean `server`?
    syncs: unknown key, did you mean `sync`?
    server.LISTEN: unknown key, did you mean `listen`?
    sync.web.acess_token: unknown key, did you mean `access_token`?
    sync.web.max_in_flight: unknown key here, it belongs in [sync.<name>.delivery]
    sync.web.zzz: unknown key, expected one of enabled, pixel_id, access_token, access_token_file, test_event_code, app_secret, app_secret_file, send_events, consent, where, properties, default_calling_code, date_order, external_id_case, page_url_parameters, currency, browser_pixel, allow_personal_data, action_source, event_id, event_source_url, referrer_url, opt_out, user_data, custom_data, original_event_data, events, limited_data_use, app, user_memory, delivery, test
    sync.web.user_data.e_mail: unknown key, did you mean `email`?
    sync.web.user_data.nonsense: unknown key, expected one of external_id, email, phone, first_name, last_name, date_of_birth, gender, city, state, zip_code, country, client_ip_address, client_user_agent, click_id, browser_id, subscription_id, facebook_login_id, lead_id, mobile_advertiser_id, anonymous_id
    sync.web.custom_data.value.form: unknown key, expected one of from, all, constant, split, map, default, when
    sync.web.custom_data.value: found neither `from`, `all` nor `constant`, expected { from = …, default = … }, { all = […] } or { constant = … }
    sync.web.events.A.sendas: unknown key, did you mean `send_as`?
    sync.web.app.bundle: unknown key, expected one of advertiser_tracking_enabled, application_tracking_enabled, platform, bundle_id, short_version, long_version, os_version, device_model, locale, time_zone, carrier, screen_width, screen_height, screen_density, cpu_cores, storage_size, free_storage, device_time_zone, vendor_id, campaign_ids, install_referrer, installer_package, url_schemes, windows_attribution_id
    "#);
}

#[test]
fn wrong_kinds() {
    assert_snapshot!(errors(
        "enabled = 'yes'\nsend_events = 1\nwhere = 'x'\nproperties = [1]\nevents = 'Purchase'\n\
         user_data = []\ncustom_data = 3\ndelivery = true\ntest = 'x'\n\
         [sync]\nother = 'EAABhunter2'\n[server]\nlisten = 8080\nmax_body = true\n[log]\nformat = {}\n\
         [admin]\nsecret = 5\n[queue]\nduplicate_window = 48\nduplicate_ids = 1.5\n"
    ), @r#"
    server.listen: found 8080, expected an IP address and port such as "0.0.0.0:8080"
    server.max_body: found true, expected a size such as "2MiB" or a number of bytes
    log.format: found a table, expected "text" or "json"
    admin.secret: found a number, expected a text of printable ASCII characters
    queue.duplicate_window: found 48, expected a duration such as "30s", "15m" or "48h"
    queue.duplicate_ids: found 1.5, expected a whole number
    sync.other: found a text that is not shown, expected a table, as in [sync.web]
    sync.web.enabled: found "yes", expected true or false
    sync.web.send_events: found 1, expected true or false
    sync.web.where: found a text that is not shown, expected a list of conditions such as { property = "user_properties.plan", op = "is", value = "pro" }
    sync.web.properties[0]: found 1, expected a list of names of event properties, or ["*"]
    sync.web.user_data: found a list, expected a table
    sync.web.custom_data: found a number, expected a table
    sync.web.events: found a text that is not shown, expected a table
    sync.web.delivery: found true, expected a table
    sync.web.test: found a text that is not shown, expected tables, each written [[sync.<name>.test]]
    "#);
}

#[test]
fn the_listeners_and_logs() {
    assert_snapshot!(errors(
        "[server]\nlisten = 'localhost:8080'\nmax_body = '2 megs'\ntrusted_proxies = ['10.0.0.0/8', '10/8']\n\
         cors_origins = ['https://shop.example.com/']\n[log]\nformat = 'xml'\nlevel = 'infos'\n\
         [admin]\nlisten = ''\nsecret = \"a\\nb\"\n"
    ), @r#"
    server.listen: found "localhost:8080", expected an IP address and port such as "0.0.0.0:8080"
    server.max_body: found "2 megs", expected a size such as "2MiB" or a number of bytes
    server.trusted_proxies[1]: found "10/8", expected a list of networks such as "10.0.0.0/8"
    server.cors_origins[0]: found "https://shop.example.com/", expected a list of origins such as "https://shop.example.com" or "https://*.example.com", or "*"
    log.format: found "xml", expected "text" or "json"
    log.level: found "infos", expected a level (off, error, warn, info, debug, trace), or levels by module such as "info,pixel_relay::deliver=debug"
    admin.listen: found a blank text, expected an IP address and port such as "0.0.0.0:8080"
    admin.secret: found a text that is not shown, expected a text of printable ASCII characters
    "#);
}

#[test]
fn the_door() {
    assert_snapshot!(errors_in(
        "[ingest]\nheader = 'Bearer hunter2'\nallow_unauthenticated = true\nsecret = ['s', '']\nsilence_after = '0s'\n\
         [sync.web]\npixel_id = '1'\naccess_token = 't'\n",
        &[]
    ), @r#"
    ingest.header: found a text that is not shown, expected the name of an HTTP header
    ingest.secret[1]: found a blank text, expected a text of printable ASCII characters, or a list of them
    ingest.silence_after: found "0s", expected a duration such as "30s", "15m" or "48h", at least 1s
    "#);
    assert_snapshot!(errors_in(
        "[ingest]\nallow_unauthenticated = true\nsecret = 's'\n[sync.web]\npixel_id = '1'\naccess_token = 't'\n",
        &[]
    ), @r#"ingest.allow_unauthenticated: found true beside a secret, expected one or the other"#);
    assert_snapshot!(errors_in(
        "[ingest]\nsecret = []\n[sync.web]\npixel_id = '1'\naccess_token = 't'\n",
        &[]
    ), @r#"ingest.secret: missing, expected the secret that Amplitude's webhook sends (or secret_file); allow_unauthenticated = true takes events from anyone"#);
}

#[test]
fn the_endpoints_of_sdks() {
    assert_snapshot!(errors_in(
        "[ingest]\napi_keys = ['k', { key = 'a b', syncs = ['web', 'wbe'] }, { syncs = [] }, '']\n\
         address_requests_per_second = 0\nupstream = 'http://api2.amplitude.com'\nsecret = 's'\n\
         [sync.web]\npixel_id = '1'\naccess_token = 't'\n",
        &[]
    ), @r#"
    ingest.api_keys[1].key: found a text that is not shown, expected an Amplitude API key
    ingest.api_keys[1].syncs[1]: found "wbe", expected a list of names of configured syncs
    ingest.api_keys[2].key: missing, expected an Amplitude API key
    ingest.api_keys[2].syncs: found an empty list, expected a list of names of configured syncs
    ingest.api_keys[3]: found a blank text, expected a list of Amplitude API keys, each a text or a table such as { key = "…", syncs = ["web"] }
    ingest.address_requests_per_second: found 0, expected a number such as 10 or 0.5, from 0.001 to 1000000, or "unlimited"
    ingest.upstream: found "http://api2.amplitude.com", expected an https URL such as "https://api2.amplitude.com" (http only for a loopback address)
    "#);
    assert_snapshot!(errors_in(
        "[ingest]\napi_keys = ['k', { key = 'k' }]\n[sync.web]\npixel_id = '1'\naccess_token = 't'\n",
        &[]
    ), @"ingest.api_keys: found a key twice, expected each once, with all its syncs");
    assert_snapshot!(errors_in(
        "[ingest]\nupstream = 'https://api2.amplitude.com'\nsecret = 's'\n\
         [sync.web]\npixel_id = '1'\naccess_token = 't'\n",
        &[]
    ), @"ingest.upstream: found no api_keys, expected those of the projects to pass on");
}

#[test]
fn the_store_and_meta() {
    assert_snapshot!(errors(
        "[queue]\npath = ''\nmax_bytes = 0\nmin_free_disk = -1\nduplicate_window = '9d'\nduplicate_ids = 0\n\
         dead_letter_retention = '30'\ndead_letter_max_bytes = '99999999999TiB'\n\
         [meta]\nurl = 'http://graph.facebook.com'\napi_version = '26'\n"
    ), @r#"
    queue.path: found a blank text, expected the path of a folder
    queue.max_bytes: found 0, expected a size such as "2MiB" or a number of bytes, at least 1B
    queue.min_free_disk: found -1, expected a size such as "2MiB" or a number of bytes
    queue.duplicate_window: found "9d", expected a duration such as "30s", "15m" or "48h", at most 8d
    queue.duplicate_ids: found 0, expected a whole number, at least 1
    queue.dead_letter_retention: found "30", expected a duration such as "30s", "15m" or "48h"
    queue.dead_letter_max_bytes: found "99999999999TiB", expected a size such as "2MiB" or a number of bytes
    meta.url: found "http://graph.facebook.com", expected an https URL such as "https://graph.facebook.com" (http only for a loopback address)
    meta.api_version: found "26", expected a version such as "v26.0"
    "#);
    assert_snapshot!(errors(
        "[meta]\nurl = 'https://me:hunter2@graph.facebook.com'\n"
    ), @r#"meta.url: found a URL with a user name or password, expected none"#);
    assert_snapshot!(errors(
        "[meta]\nurl = 'https://graph.facebook.com/?access_token=hunter2'\n"
    ), @r#"meta.url: found a URL with a query or fragment, expected none"#);
}

#[test]
fn the_pixel() {
    assert_snapshot!(errors_in(
        "[ingest]\nsecret = 's'\n[sync.web]\n[sync.'Web Shop']\npixel_id = '1'\naccess_token = 't'\n\
         [sync.a]\npixel_id = 'EAABhunter2'\naccess_token = ' '\n[sync.b]\npixel_id = 1.5e14\naccess_token = 'a\u{e9}'\n\
         [sync.c]\npixel_id = -5\naccess_token = 't'\naccess_token_file = '/no/such/file'\n\
         [sync.d]\npixel_id = '1'\naccess_token_file = '/no/such/file'\napp_secret = 's'\napp_secret_file = 'x'\ntest_event_code = 'TEST 1'\n",
        &[]
    ), @r#"
    sync."Web Shop": not the name of a sync, expected lower-case letters and digits, in parts joined by single underscores, beginning with a letter
    sync.a.pixel_id: found a text that is not shown, expected digits
    sync.a.access_token: found a blank text, expected a text of printable ASCII characters
    sync.b.pixel_id: found a number, expected digits
    sync.b.access_token: found a text that is not shown, expected a text of printable ASCII characters
    sync.c.pixel_id: found a number, expected digits
    sync.c.access_token_file: found beside `access_token`, expected one of the two
    sync.d.access_token_file: the file cannot be read: No such file or directory (os error 2)
    sync.d.test_event_code: found "TEST 1", expected letters and digits, as a text
    sync.d.app_secret_file: found beside `app_secret`, expected one of the two
    sync.web.pixel_id: missing, expected digits
    sync.web.access_token: missing, expected the Conversions API access token (or access_token_file)
    "#);
    assert_snapshot!(errors_in("[ingest]\nsecret = 's'\n[sync]\n", &[]), @r#"sync: no sync is configured, expected one table per sync, such as [sync.web]"#);
}

#[test]
fn a_token_holds_no_white_space() {
    assert_snapshot!(errors_in(
        "[ingest]\nsecret = 'Bearer s'\n[sync.web]\npixel_id = '1'\naccess_token = 'EAAB hunter2'\n\
         app_secret = 'hunter 2'\n",
        &[]
    ), @r#"
    sync.web.access_token: found white space within a secret that is not shown, expected none
    sync.web.app_secret: found white space within a secret that is not shown, expected none
    "#);
}

#[test]
fn secret_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let (empty, two_lines, binary) = (path("a", b" \n"), path("b", b"x\ny"), path("c", b"\xff"));
    let text = format!(
        "[ingest]\nsecret = 's'\n[sync.a]\npixel_id = '1'\naccess_token_file = {empty:?}\n\
         [sync.b]\npixel_id = '1'\naccess_token_file = {two_lines:?}\n\
         [sync.c]\npixel_id = '1'\naccess_token_file = {binary:?}\n"
    );
    assert_snapshot!(errors_in(&text, &[]), @r#"
    sync.a.access_token_file: the file is empty
    sync.b.access_token_file: the file holds something else than one line of printable ASCII
    sync.c.access_token_file: the file cannot be read: stream did not contain valid UTF-8
    "#);
}

#[test]
fn values_and_paths() {
    assert_snapshot!(errors(
        r#"
        event_id = ["$insert_id", "event_id"]
        event_source_url = { from = "user_id", constant = "x" }
        referrer_url = {}
        opt_out = true
        action_source = "webpage"
        [sync.web.user_data]
        email = "Email"
        em = "user_properties.email"
        phone = ["user_properties.phone", "user_properties.", 5]
        first_name = { from = [] }
        last_name = "user_properties.Last Name"
        city = { from = [], default = "x" }
        [sync.web.custom_data]
        currency = "USD"
        value = 5
        contents = { each = "products", id = "sku" }
        items = { each = "event_properties.items" }
        rank = { constant = nan }
        '[]' = { default = "x" }
        "#
    ), @r#"
    sync.web.user_data.city.from: found an empty list, expected at least one path
    sync.web.user_data.email: found "Email": `Email` is no part of an Amplitude event; a path begins with a field such as `user_id`, or with `event_properties`, `user_properties`, `groups` or `group_properties`; a fixed value is written { constant = "Email" }, another top-level key ["Email"]
    sync.web.user_data.email: found beside `em`, which is the same field; expected one of the two
    sync.web.user_data.first_name.from: found an empty list, expected at least one path
    sync.web.user_data.last_name: found "user_properties.Last Name": `Last Name` must stand in brackets and quotes, as in ["Order Value"]
    sync.web.user_data.phone[1]: found "user_properties.": a name is missing after a dot
    sync.web.user_data.phone[2]: found 5, expected a path; a fixed value is written { constant = 5 }
    sync.web.custom_data."[]": found neither `from`, `all` nor `constant`, expected { from = …, default = … }, { all = […] } or { constant = … }
    sync.web.custom_data.contents.each: found "products": `products` is no part of an Amplitude event; a path begins with a field such as `user_id`, or with `event_properties`, `user_properties`, `groups` or `group_properties`; a fixed value is written { constant = "products" }, another top-level key ["products"]
    sync.web.custom_data.currency: found "USD": `USD` is no part of an Amplitude event; a path begins with a field such as `user_id`, or with `event_properties`, `user_properties`, `groups` or `group_properties`; a fixed value is written { constant = "USD" }, another top-level key ["USD"]
    sync.web.custom_data.items: expected, beside `each`, the members to make, as in { each = "event_properties.products", id = "sku" }
    sync.web.custom_data.rank.constant: found a number that is not finite
    sync.web.custom_data.value: found 5, expected a path; a fixed value is written { constant = 5 }
    sync.web.action_source: found "webpage", expected auto, one of email, website, app, phone_call, chat, physical_store, system_generated, business_messaging, other, or { from = …, default = … }
    sync.web.event_id: found event_id, which is Amplitude's counter per device and repeats; expected an id of the event, such as "$insert_id"
    sync.web.event_source_url: a constant stands alone, expected no `from` beside it
    sync.web.referrer_url: found neither `from`, `all` nor `constant`, expected { from = …, default = … }, { all = […] } or { constant = … }
    sync.web.opt_out: found true, expected a path; a fixed value is written { constant = true }
    "#);
    assert_snapshot!(errors(
        "event_id = { constant = 'x' }\naction_source = { from = 'user_id', default = 'web' }\n"
    ), @r#"
    sync.web.action_source: found "web", expected auto, one of email, website, app, phone_call, chat, physical_store, system_generated, business_messaging, other, or { from = …, default = … }
    sync.web.event_id: found a fixed value, which all events would share; expected paths alone
    "#);
}

#[test]
fn conditions_and_events() {
    assert_snapshot!(errors(
        r#"
        where = [
            { property = "Email", op = "is", value = "x" },
            { property = "user_id", op = "equals", value = "x" },
            { op = "is" },
            { property = "user_id", op = "is" },
            { property = "user_id", op = "is set", value = "x" },
            { property = "user_id", op = "is", value = ["x"] },
            { property = "user_id", op = "is", value = "x", values = ["y"] },
            { property = "user_id", op = "is", values = [{}] },
            "user_id",
        ]
        properties = ["event_properties.coupon", "user_properties.plan", ""]
        [sync.web.events]
        " " = {}
        A = ""
        B = true
        [sync.web.events."Order Completed"]
        send_as = " "
        properties = ["*", "coupon"]
        event_id = "event_id"
        "#
    ), @r#"
    sync.web.where[0].property: found "Email": `Email` is no part of an Amplitude event; a path begins with a field such as `user_id`, or with `event_properties`, `user_properties`, `groups` or `group_properties`; a fixed value is written { constant = "Email" }, another top-level key ["Email"]
    sync.web.where[1].op: found "equals", expected one of is, is not, contains, does not contain, starts with, does not start with, less, less or equal, greater, greater or equal, is set, is not set, set is, set is not, set contains, set does not contain, glob match, glob does not match
    sync.web.where[2].property: missing, expected a path such as "event_properties.total" or 'event_properties["Order Value"]'
    sync.web.where[3].value: missing, expected what "is" compares with
    sync.web.where[4].value: "is set" compares with nothing, expected no value
    sync.web.where[5].value: found a list, expected one value; a list is written `values`
    sync.web.where[6]: found both `value` and `values`, expected one of them
    sync.web.where[7].values[0]: found a table, expected a list of texts, numbers or booleans
    sync.web.where[8]: found a text that is not shown, expected a list of conditions such as { property = "user_properties.plan", op = "is", value = "pro" }
    sync.web.properties[0]: found a path, expected the name alone: "coupon"
    sync.web.properties[1]: found a user property, expected the name of an event property; user properties are sent through the custom_data table
    sync.web.properties[2]: found a blank text, expected a list of names of event properties, or ["*"]
    sync.web.events." ": found a blank event type
    sync.web.events.A: found a blank text, expected Meta's event name as a text, or a table ({} keeps the name)
    sync.web.events.B: found true, expected Meta's event name as a text, or a table ({} keeps the name)
    sync.web.events."Order Completed".send_as: found a blank text, expected Meta's event name as a text, or a value in a list or table
    sync.web.events."Order Completed".properties: "*" stands for all event properties, expected no other name beside it
    sync.web.events."Order Completed".event_id: found event_id, which is Amplitude's counter per device and repeats; expected an id of the event, such as "$insert_id"
    "#);
    assert_snapshot!(errors("[sync.web.events]\n"), @r#"sync.web.events: the table is empty, so no event would be sent; expected event types, or no table for all events"#);
}

#[test]
fn choices_of_a_sync() {
    assert_snapshot!(errors(
        "default_calling_code = '0049'\ndate_order = 'ymd'\nexternal_id_case = 'upper'\nallow_personal_data = [true]\npage_url_parameters = ['?fbclid']\n\
         [sync.web.limited_data_use]\nmode = 'sometimes'\ncountry = 2\nstate = 'CA'\n\
         [sync.web.original_event_data]\norder = 'user_id'\n"
    ), @r#"
    sync.web.default_calling_code: found "0049", expected a calling code such as "1", or "country"
    sync.web.date_order: found "ymd", expected "mdy" or "dmy"
    sync.web.external_id_case: found "upper", expected "lower" or "keep"
    sync.web.page_url_parameters[0]: found "?fbclid", expected the name of a parameter alone, such as "fbclid" or "utm_*"
    sync.web.allow_personal_data[0]: found true, expected a list of texts
    sync.web.original_event_data.order: unknown key, expected one of event_name, event_time, order_id, event_id
    sync.web.limited_data_use.mode: found "sometimes", expected "off", "always" or "when"
    sync.web.limited_data_use.country: found 2, expected 0, 1, "event", or a value such as "event_properties.ldu_country"
    sync.web.limited_data_use.state: found "CA", expected 0, a state code of Meta's such as 1000, "event", or a value such as "event_properties.ldu_state"
    "#);
    assert_snapshot!(errors("[sync.web.limited_data_use]\nmode = 'when'\n"), @r#"sync.web.limited_data_use.when: missing, expected the conditions of mode = "when""#);
    assert_snapshot!(errors(
        "[sync.web.limited_data_use]\nmode = 'when'\nwhen = []\n"
    ), @r#"sync.web.limited_data_use.when: found an empty list, expected conditions"#);
    assert_snapshot!(errors(
        "[sync.web.limited_data_use]\nmode = 'always'\nwhen = [{ property = 'user_id', op = 'is set' }]\n"
    ), @r#"sync.web.limited_data_use.when: found conditions, expected them with mode = "when" only"#);
}

#[test]
fn delivery() {
    assert_snapshot!(errors(
        "[sync.web.delivery]\nmax_batch_events = 1001\nmax_batch_bytes = '1B'\nmax_batch_delay = '2h'\nmax_in_flight = 0\n\
         requests_per_second = 0\nevents_per_second = 'none'\ntimeout = '1ms'\n"
    ), @r#"
    sync.web.delivery.max_batch_events: found 1001, expected a whole number, at most 1000
    sync.web.delivery.max_batch_bytes: found "1B", expected a size such as "2MiB" or a number of bytes, at least 1KiB
    sync.web.delivery.max_batch_delay: found "2h", expected a duration such as "30s", "15m" or "48h", at most 1h
    sync.web.delivery.max_in_flight: found 0, expected a whole number, at least 1
    sync.web.delivery.requests_per_second: found 0, expected a number such as 10 or 0.5, from 0.001 to 1000000, or "unlimited"
    sync.web.delivery.events_per_second: found "none", expected a number such as 10 or 0.5, from 0.001 to 1000000, or "unlimited"
    sync.web.delivery.timeout: found "1ms", expected a duration such as "30s", "15m" or "48h", at least 100ms
    "#);
    assert_snapshot!(errors(
        "[sync.web.delivery]\nmax_in_flight = 4.7\nmax_batch_events = '10'\nrequests_per_second = inf\n"
    ), @r#"
    sync.web.delivery.max_batch_events: found "10", expected a whole number
    sync.web.delivery.max_in_flight: found 4.7, expected a whole number
    sync.web.delivery.requests_per_second: found inf, expected a number such as 10 or 0.5, from 0.001 to 1000000, or "unlimited"
    "#);
}

#[test]
fn rule_tests() {
    assert_snapshot!(errors(
        r#"
        [[sync.web.test]]
        [[sync.web.test]]
        name = "a"
        now = "yesterday"
        event = {}
        event_file = "x"
        outcome = "delivered"
        [[sync.web.test]]
        name = "b"
        now = "2026-11-20T18:05:00Z"
        event_file = "no/such/file.json"
        outcome = "invalid"
        reason = "not_selected"
        fields = { event_name = "x" }
        [[sync.web.test]]
        name = "c"
        now = "2026-11-20T18:05:00Z"
        event = 5
        reason = "refused"
        fields = []
        "#
    ), @r#"
    sync.web.test[0].name: missing, expected a text
    sync.web.test[0].event: missing, expected an event (or event_file)
    sync.web.test[0].now: missing, expected a time in UTC such as "2026-11-20T18:05:00Z"
    sync.web.test[1].event_file: found beside `event`, expected one of the two
    sync.web.test[1].now: found "yesterday", expected a time in UTC such as "2026-11-20T18:05:00Z"
    sync.web.test[1].outcome: found "delivered", expected "mapped", "filtered" or "invalid"
    sync.web.test[2].event_file: the file cannot be read: No such file or directory (os error 2)
    sync.web.test[2].reason: found "not_selected", which is no reason for "invalid"
    sync.web.test[2].fields: found beside outcome = "invalid", expected with "mapped" only
    sync.web.test[3].event: found 5, expected an event, as a table or as JSON text
    sync.web.test[3].reason: found "refused", expected one of sync_disabled, send_events_off, not_selected, bookkeeping, user_payload, no_consent, sync_condition, event_condition, malformed_json, grouped_number, not_utf8, lone_surrogate, number_out_of_range, too_deep, duplicate_key, id_not_a_string, no_event_name, personal_event_name, no_event_time, too_old, too_old_for_pixel, in_future, time_zone_trap, no_identifier, purchase_without_value, purchase_without_currency, event_too_large
    sync.web.test[3].fields: found a list, expected a table
    "#);
}

#[test]
fn a_comma_makes_no_list() {
    let list = "10.0.0.0/8, ::1";
    assert_snapshot!(errors_in(
        LEAST,
        &[
            ("PIXEL_RELAY__SERVER__TRUSTED_PROXIES", list),
            ("PIXEL_RELAY__SERVER__CORS_ORIGINS", "[https://a.example, https://b.example]"),
            ("PIXEL_RELAY__INGEST__API_KEYS", "a,b"),
            ("PIXEL_RELAY__SYNC__WEB__PROPERTIES", "coupon,note"),
            ("PIXEL_RELAY__SYNC__WEB__ALLOW_PERSONAL_DATA", "coupon,note"),
        ]
    ), @r#"
    server.trusted_proxies: found a comma in the environment, where a list is written ["a", "b"], also where it holds one text with a comma
    server.cors_origins: found a comma in the environment, where a list is written ["a", "b"], also where it holds one text with a comma
    ingest.api_keys: found a comma in the environment, where a list is written ["a", "b"], also where it holds one text with a comma
    sync.web.properties: found a comma in the environment, where a list is written ["a", "b"], also where it holds one text with a comma
    sync.web.allow_personal_data: found a comma in the environment, where a list is written ["a", "b"], also where it holds one text with a comma
    "#);
}

#[test]
fn the_environment() {
    assert_snapshot!(errors_in(
        LEAST,
        &[
            ("PIXEL_RELAY__SERVER__LISTEN", "here"),
            ("pixel_relay__server__listen", "127.0.0.1:1"),
            ("PIXEL_RELAY__SERVER__", "x"),
            ("PIXEL_RELAY__SERVER__LISTEN[0]", "x"),
            ("PIXEL_RELAY__SERVER__MAXBODY", "x"),
            ("PIXEL_RELAY_SERVER__MAX_BODY", "1MiB"),
            ("PIXEL_RELAY__QUEUE", "x"),
            ("PIXEL_RELAY__QUEUE__DUPLICATE_IDS", "1e6"),
            ("PIXEL_RELAY__QUEUE__MAX_BYTES", "-1"),
            ("PIXEL_RELAY__SYNC__WEB__ENABLED", "on"),
            ("PIXEL_RELAY__SYNC__WEB__WHERE", "x"),
            ("PIXEL_RELAY__SYNC__WEB__EVENTS__SIGN_UP", "Lead"),
            ("PIXEL_RELAY__SYNC__WEB__EVENTS", "x"),
            ("PIXEL_RELAY__SYNC__WEB__DELIVERY__MAX_IN_FLIGHT", "4.5"),
            (
                "PIXEL_RELAY__SYNC__WEB__DELIVERY__EVENTS_PER_SECOND",
                "many"
            ),
            ("PIXEL_RELAY__SYNC__WEB__LIMITED_DATA_USE__STATE", "x"),
        ]
    ), @r#"
    PIXEL_RELAY_SERVER__MAX_BODY: not the name of a key, expected two underscores behind PIXEL_RELAY, as between all levels
    PIXEL_RELAY__QUEUE__DUPLICATE_IDS: contradicts PIXEL_RELAY__QUEUE, expected one of the two
    PIXEL_RELAY__QUEUE__MAX_BYTES: contradicts PIXEL_RELAY__QUEUE, expected one of the two
    PIXEL_RELAY__SERVER__: not the name of a key, expected letters, digits and underscores, as in PIXEL_RELAY__SERVER__LISTEN
    PIXEL_RELAY__SERVER__LISTEN[0]: not the name of a key, expected letters, digits and underscores, as in PIXEL_RELAY__SERVER__LISTEN
    PIXEL_RELAY__SYNC__WEB__EVENTS: the `events` of a sync cannot come from the environment, which does not keep upper case; write it in the file
    PIXEL_RELAY__SYNC__WEB__EVENTS__SIGN_UP: the `events` of a sync cannot come from the environment, which does not keep upper case; write it in the file
    pixel_relay__server__listen: contradicts PIXEL_RELAY__SERVER__LISTEN, expected one of the two
    server.maxbody: unknown key, did you mean `max_body`?
    server.listen: found "here" in the environment, expected an IP address and port such as "0.0.0.0:8080"
    queue: found a text that is not shown in the environment, expected a table
    sync.web.enabled: found "on" in the environment, expected true or false
    sync.web.where: conditions cannot come from the environment, write them in the file
    sync.web.limited_data_use.state: found "x" in the environment, expected 0, a state code of Meta's such as 1000, "event", or a value such as "event_properties.ldu_state"
    sync.web.delivery.max_in_flight: found "4.5" in the environment, expected a whole number
    sync.web.delivery.events_per_second: found "many" in the environment, expected a number such as 10 or 0.5, from 0.001 to 1000000, or "unlimited"
    "#);
}

#[test]
fn values_of_every_form() {
    assert_snapshot!(errors(
        r#"
        action_source = [{ constant = "web", when = [{ property = "user_id", op = "is set" }] }]
        event_id = { from = "user_id", map = { a = "b" } }
        [sync.web.limited_data_use]
        mode = "always"
        country = "US"
        state = 1.5
        [sync.web.user_data]
        email = { from = "user_id", all = ["user_id"] }
        phone = { all = "user_id" }
        city = { all = [] }
        state = ["user_id", ["device_id"]]
        [sync.web.custom_data]
        a = ["user_id", { constant = "x" }, "device_id"]
        b = { from = ["user_id", { constant = "x" }], default = "y" }
        c = { from = "user_id", map = {} }
        d = { from = "user_id", map = "x" }
        e = { constant = 1, when = [] }
        f = { constant = 1, when = [{ property = "USD", op = "is" }], default = 2 }
        g = { map = { a = nan }, when = 5 }
        h = { each = "event_properties.p", id = { constant = 1, when = [{ property = "sku", op = "is sett" }] } }
        [sync.web.events.A]
        send_as = ["Purchase"]
        "#
    ), @r#"
    sync.web.user_data.city.all: found an empty list, expected at least one path
    sync.web.user_data.email: found both `from` and `all`, expected one of them
    sync.web.user_data.phone.all: expected a list of paths or values, all of which are taken
    sync.web.user_data.state[1]: found a list in a list, expected a path or a table
    sync.web.custom_data.a[2]: never comes into play: the one before it always gives a value
    sync.web.custom_data.b: found a `default` that never comes into play, expected none
    sync.web.custom_data.c.map: found an empty table, expected values and what replaces them
    sync.web.custom_data.d.map: found a text that is not shown, expected a table of values and what replaces them
    sync.web.custom_data.e.when: found an empty list, expected conditions
    sync.web.custom_data.f.when[0].property: found "USD": `USD` is no part of an Amplitude event; a path begins with a field such as `user_id`, or with `event_properties`, `user_properties`, `groups` or `group_properties`; a fixed value is written { constant = "USD" }, another top-level key ["USD"]
    sync.web.custom_data.f: a constant stands alone, expected no `default` beside it
    sync.web.custom_data.g.when: found a number, expected a list of conditions such as { property = "user_properties.plan", op = "is", value = "pro" }
    sync.web.custom_data.g.map.a: found a number that is not finite
    sync.web.custom_data.g: found neither `from`, `all` nor `constant`, expected { from = …, default = … }, { all = […] } or { constant = … }
    sync.web.custom_data.h.id.when[0].op: found "is sett", expected one of is, is not, contains, does not contain, starts with, does not start with, less, less or equal, greater, greater or equal, is set, is not set, set is, set is not, set contains, set does not contain, glob match, glob does not match
    sync.web.action_source: found "web", expected auto, one of email, website, app, phone_call, chat, physical_store, system_generated, business_messaging, other, or { from = …, default = … }
    sync.web.event_id: found a fixed value, which all events would share; expected paths alone
    sync.web.events.A.send_as[0]: found "Purchase": `Purchase` is no part of an Amplitude event; a path begins with a field such as `user_id`, or with `event_properties`, `user_properties`, `groups` or `group_properties`; a fixed value is written { constant = "Purchase" }, another top-level key ["Purchase"]
    sync.web.limited_data_use.country: found "US", expected 0, 1, "event", or a value such as "event_properties.ldu_country"
    sync.web.limited_data_use.state: found 1.5, expected 0, a state code of Meta's such as 1000, "event", or a value such as "event_properties.ldu_state"
    "#);
}

#[test]
fn memories_leave_room_for_events() {
    let memories = |web: &str, app: &str| {
        format!(
            "[sync.web.user_memory]\nmax_bytes = '{web}'\n\
             [sync.app]\npixel_id = '2'\naccess_token = 't'\n[sync.app.user_memory]\nmax_bytes = '{app}'\n\
             [queue]\nmax_bytes = '1GiB'\n"
        )
    };
    assert!(from_toml(&format!("{LEAST}{}", memories("128MiB", "128MiB")), &[]).is_ok());
    assert_snapshot!(errors(&memories("128MiB", "129MiB")), @r"
    sync.app.user_memory.max_bytes: found 129MiB, 257MiB with those of all syncs, expected at most a quarter of queue.max_bytes together: 256MiB
    sync.web.user_memory.max_bytes: found 128MiB, 257MiB with those of all syncs, expected at most a quarter of queue.max_bytes together: 256MiB
    ");
    let path = errors("[sync.web.user_memory]\nkeep_as_is = ['user_properties.plan']\n");
    assert_snapshot!(path, @r#"sync.web.user_memory.keep_as_is[0]: found a path, expected the name of a user property alone, such as "plan""#);
}
