//! What a sync asks of people's consent, and what is said where it asks nothing.

use insta::assert_snapshot;

use super::*;

#[test]
fn consent_is_said_aloud() {
    let unsaid = "[ingest]\nsecret = 's'\n[sync.web]\npixel_id = '1'\naccess_token = 't'\n";
    assert!(warnings_in(unsaid, &[]).starts_with("sync.web.consent: missing"));
    let variable = [("PIXEL_RELAY__SYNC__WEB__CONSENT", "not_required")];
    assert_eq!(warnings_in(unsaid, &variable), "");
    let said = |consent: &str| format!("{unsaid}consent = {consent}\n");
    let condition = "{ property = 'user_properties.ads', op = 'is', value = true }";
    for (consent, conditions) in [
        ("'not_required'".to_owned(), 0),
        (format!("[{condition}]"), 1),
        (condition.to_owned(), 1),
        (format!("[{condition}, {condition}]"), 2),
    ] {
        let text = said(&consent);
        assert_eq!(warnings_in(&text, &[]), "", "{consent}");
        let config = from_toml(&text, &[]).unwrap();
        let sync = config.syncs.values().next().unwrap();
        assert_eq!(sync.consent.conditions().len(), conditions, "{consent}");
        let again = from_toml(&effective(&config), &[]).unwrap();
        assert_eq!(again.syncs.values().next().unwrap().consent, sync.consent);
    }
    for wrong in ["true", "'yes'", "[]", "'user_properties.ads'", "{}"] {
        assert!(
            errors_in(&said(wrong), &[]).contains("sync.web.consent"),
            "{wrong}"
        );
    }
    let variable = [("PIXEL_RELAY__SYNC__WEB__CONSENT", "granted")];
    assert_snapshot!(
        errors_in(unsaid, &variable),
        @r#"sync.web.consent: found "granted" in the environment, expected "not_required", or a list of conditions such as { property = "user_properties.ads_consent", op = "is", value = "granted" }"#
    );
}

#[test]
fn consent_that_is_told_once_is_to_be_remembered() {
    let warned = |keys: &str, memory: &str| {
        let text = format!(
            "[ingest]\nsecret = 's'\n{keys}\n[sync.web]\npixel_id = '1'\naccess_token = 't'\n\
             consent = [{{ property = 'user_properties.ads', op = 'is not', value = 'denied' }}]\n{memory}"
        );
        warnings_in(&text, &[])
    };
    let keys = "api_keys = ['k']";
    assert_snapshot!(
        warned(keys, ""),
        @r#"sync.web.consent: asks for the user property "ads", which events of SDKs carry only where they set it themselves: name it in user_memory.keep_as_is, so that what an identify call told counts for later events"#
    );
    assert_eq!(warned(keys, "[sync.web.user_memory]\n"), warned(keys, ""));
    let kept = "[sync.web.user_memory]\nkeep_as_is = ['ads']\n";
    assert_eq!(warned(keys, kept), "");
    assert_eq!(warned("", ""), "");
    let bound = "api_keys = [{ key = 'k', syncs = ['web'] }]";
    assert_eq!(warned(bound, ""), warned(keys, ""));
}
