//! `app_data` of an app event: the tracking flags, and the sixteen slots of `extinfo`.
//!
//! Meta refuses an `extinfo` without version tag or OS version, so only a [`Device`] that has both is
//! written. A slot that the configuration does not fill takes what Amplitude knows of the device, else an
//! empty text, as Meta asks (Meta: App Data Parameters).

use std::borrow::Cow;

use crate::config::fields::AppField;
use crate::config::sync::AppConfig;
use crate::dropped::DropReason;
use crate::event::Event;
use crate::expr::value::FoundValue;
use crate::json::{Json, write};
use crate::map::personal;
use crate::map::record::{
    Recorder, SentValue, ServerField, Source, first_found, record_absent, write_member,
};

/// The slots of `extinfo` after the version tag, and Amplitude's fields that fill them.
const SLOTS: [(AppField, &[&str]); 15] = [
    (AppField::BundleId, &[]),
    (AppField::ShortVersion, &["version_name", "app_version"]),
    (AppField::LongVersion, &["version_name", "app_version"]),
    (AppField::OsVersion, OS_VERSION),
    (AppField::DeviceModel, &["device_model", "device_type"]),
    (AppField::Locale, &[]),
    (AppField::TimeZone, &[]),
    (AppField::Carrier, &["device_carrier", "carrier"]),
    (AppField::ScreenWidth, &[]),
    (AppField::ScreenHeight, &[]),
    (AppField::ScreenDensity, &[]),
    (AppField::CpuCores, &[]),
    (AppField::StorageSize, &[]),
    (AppField::FreeStorage, &[]),
    (AppField::DeviceTimeZone, &[]),
];

const OS_VERSION: &[&str] = &["os_version"];

/// The other members of `app_data`, which are texts.
const TEXTS: [AppField; 5] = [
    AppField::VendorId,
    AppField::CampaignIds,
    AppField::InstallReferrer,
    AppField::InstallerPackage,
    AppField::WindowsAttributionId,
];

/// A device of which enough is known for an `extinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// `a2` for Android, `i2` for iOS.
    version_tag: &'static str,
}

impl Device {
    /// The device of an event, where its platform and OS version are known.
    pub(super) fn of(event: &Event<'_>, app: &AppConfig) -> Option<Self> {
        let configured = first(event, app, AppField::Platform);
        let version_tag = configured
            .and_then(|found| version_tag(found.value))
            .or_else(|| {
                let mut fields = ["platform", "os_name"].into_iter();
                fields.find_map(|field| version_tag(event.field(field)?))
            })?;
        find(event, app, AppField::OsVersion, OS_VERSION)?;
        Some(Self { version_tag })
    }

    /// Writes `app_data`.
    pub(super) fn write(
        self,
        out: &mut Vec<u8>,
        event: &Event<'_>,
        app: &AppConfig,
        recorder: &mut impl Recorder,
    ) {
        let mut writer = AppDataWriter {
            out,
            event,
            app,
            recorder,
        };
        write::key(writer.out, "\"app_data\":{");
        // Without the person's answer, iOS means no; Android asks nobody.
        writer.flag(
            AppField::AdvertiserTrackingEnabled,
            self.version_tag == "a2",
        );
        writer.flag(AppField::ApplicationTrackingEnabled, true);
        write::key(writer.out, "\"extinfo\":[");
        writer.version_tag(self.version_tag);
        for (field, fields) in SLOTS {
            writer.slot(field, fields);
        }
        writer.out.push(b']');
        for field in TEXTS {
            writer.text(field);
        }
        writer.url_schemes();
        writer.out.push(b'}');
    }
}

/// Meta's tag of a platform: of the system, or of a device that runs nothing else.
fn version_tag(platform: Json<'_>) -> Option<&'static str> {
    let platform = platform.as_str()?;
    match &*platform.trim().to_ascii_lowercase() {
        "ios" | "ipados" | "iphone" | "ipad" => Some("i2"),
        "android" => Some("a2"),
        _ => None,
    }
}

/// Reads a flag, or one of the words of Apple's App Tracking Transparency.
fn tracking_allowed(value: Json<'_>) -> Option<bool> {
    let mut text = value.text()?.to_ascii_lowercase();
    text.retain(|character| character.is_ascii_alphanumeric());
    match &*text {
        "authorized" | "allowed" | "granted" => Some(true),
        "denied" | "restricted" | "notdetermined" => Some(false),
        _ => boolean(value),
    }
}

/// Reads a boolean in the forms in which one may arrive.
pub(super) fn boolean(value: Json<'_>) -> Option<bool> {
    let text = value.text()?;
    match &*text.trim().to_ascii_lowercase() {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

/// What the configuration finds for a field.
fn first<'f>(event: &'f Event<'_>, app: &'f AppConfig, field: AppField) -> Option<FoundValue<'f>> {
    app.fields.get(&field)?.first(event)
}

/// What the configuration finds for a slot, else what Amplitude knows.
fn find<'f>(
    event: &'f Event<'_>,
    app: &'f AppConfig,
    field: AppField,
    fields: &'static [&'static str],
) -> Option<(Source<'f>, Cow<'f, str>)> {
    if let Some(found) = first(event, app, field)
        && let Ok(text) = personal::clean_text(found.value)
    {
        return Some((Source::found(&found), text));
    }
    fields.iter().find_map(|name| {
        let value = event.field(name).filter(|value| !value.is_absent())?;
        let text = personal::clean_text(value).ok()?;
        Some((Source::at(name, value), text))
    })
}

const fn server_field(field: AppField) -> ServerField<'static> {
    ServerField::AppData(field.meta_key())
}

/// The `app_data` of an event, while it is written.
struct AppDataWriter<'w, 'e, R> {
    out: &'w mut Vec<u8>,
    event: &'w Event<'e>,
    app: &'w AppConfig,
    recorder: &'w mut R,
}

impl<'w, R: Recorder> AppDataWriter<'w, '_, R> {
    /// Writes a flag as 0 or 1. An answer that cannot be read counts as a no.
    fn flag(&mut self, field: AppField, default: bool) {
        let found = first(self.event, self.app, field);
        let source = found.as_ref().map_or_else(Source::made, Source::found);
        let allowed = found.map_or(Some(default), |found| tracking_allowed(found.value));
        if allowed.is_none() {
            let reason = DropReason::NotABoolean;
            self.recorder.dropped(server_field(field), source, reason);
        }
        self.member(field, source, |out| {
            write::integer(out, u8::from(allowed.unwrap_or(false)));
            Ok("flag")
        });
    }

    fn version_tag(&mut self, tag: &str) {
        let before = self.out.len();
        write::text(self.out, tag);
        let Some(found) = first(self.event, self.app, AppField::Platform) else {
            return;
        };
        let (name, source) = (server_field(AppField::Platform), Source::found(&found));
        if version_tag(found.value).is_some() {
            let sent = SentValue::plain(self.out, before, "version tag");
            self.recorder.sent(name, source, sent);
        } else {
            self.recorder.dropped(name, source, DropReason::UnknownWord);
        }
    }

    fn slot(&mut self, field: AppField, fields: &'static [&'static str]) {
        write::separate(self.out);
        let before = self.out.len();
        if let Some((source, value)) = find(self.event, self.app, field, fields) {
            write::text(self.out, &value);
            let sent = SentValue::plain(self.out, before, "text");
            self.recorder.sent(server_field(field), source, sent);
            return;
        }
        write::text(self.out, "");
        if let Some(expr) = self.app.fields.get(&field) {
            record_absent(self.recorder, server_field(field), expr, self.event);
        }
    }

    fn text(&mut self, field: AppField) {
        let Some(found) = self.configured(field) else {
            return;
        };
        self.member(field, Source::found(&found), |out| {
            write::text(out, &personal::clean_text(found.value)?);
            Ok("text")
        });
    }

    fn url_schemes(&mut self) {
        let field = AppField::UrlSchemes;
        let event = self.event;
        let Some(expr) = self.app.fields.get(&field) else {
            return;
        };
        let all = expr.all(event);
        let Some(first) = all.first() else {
            return record_absent(self.recorder, server_field(field), expr, event);
        };
        self.member(field, Source::found(first), |out| {
            out.push(b'[');
            let empty = out.len();
            for found in &all {
                event.arena().each_element(found.value, &mut |element| {
                    if !element.is_absent()
                        && let Ok(text) = personal::clean_text(element)
                    {
                        write::separate(out);
                        write::text(out, &text);
                    }
                });
            }
            if out.len() == empty {
                return Err(DropReason::NotAText);
            }
            out.push(b']');
            Ok("list of texts")
        });
    }

    /// What the configuration finds for a field; where it maps the field and finds nothing, the recorder is
    /// told.
    fn configured(&mut self, field: AppField) -> Option<FoundValue<'w>> {
        let expr = self.app.fields.get(&field)?;
        first_found(self.recorder, server_field(field), expr, self.event)
    }

    fn member(
        &mut self,
        field: AppField,
        source: Source<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<&'static str, DropReason>,
    ) {
        let name = field.meta_key();
        write_member(
            self.recorder,
            self.out,
            name,
            server_field(field),
            source,
            write,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::arena::Arena;
    use crate::expr::path::Path;
    use crate::expr::value::ValueExpr;
    use crate::map::record::FieldStats;

    fn app(fields: &[(AppField, &str)]) -> AppConfig {
        let expr = |path: &str| ValueExpr::path(Path::parse(path).unwrap());
        AppConfig {
            fields: fields
                .iter()
                .map(|(field, path)| (*field, expr(path)))
                .collect(),
        }
    }

    fn written(event: &str, app: &AppConfig) -> Option<String> {
        let arena = Arena::default();
        let event = Event::decode(event.as_bytes(), &arena).unwrap();
        let mut out = Vec::new();
        Device::of(&event, app)?.write(&mut out, &event, app, &mut FieldStats::default());
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn fills_sixteen_slots_from_the_device() {
        let event = r#"{"platform":"iOS","os_version":"17.4","version_name":"7.7.1","device_model":null,
            "device_type":"Apple iPhone 12","device_carrier":"TMobile",
            "user_properties":{"att":"authorized","locale":"en_US","bundle":"com.example.shop"}}"#;
        let app = app(&[
            (AppField::AdvertiserTrackingEnabled, "user_properties.att"),
            (AppField::Locale, "user_properties.locale"),
            (AppField::BundleId, "user_properties.bundle"),
        ]);
        assert_eq!(
            written(event, &app).unwrap(),
            concat!(
                r#""app_data":{"advertiser_tracking_enabled":1,"application_tracking_enabled":1,"#,
                r#""extinfo":["i2","com.example.shop","7.7.1","7.7.1","17.4","Apple iPhone 12","#,
                r#""en_US","","TMobile","","","","","","",""]}"#
            )
        );
    }

    #[test]
    fn an_incomplete_device_is_none() {
        for event in [
            r#"{"platform":"iOS"}"#,
            r#"{"platform":"iOS","os_version":" "}"#,
            r#"{"platform":"Web","os_version":"142"}"#,
            r#"{"os_version":"14"}"#,
        ] {
            assert_eq!(written(event, &app(&[])), None, "{event}");
        }
    }

    #[test]
    fn the_platform_may_be_configured() {
        let app = app(&[(AppField::Platform, "event_properties.p")]);
        for (platform, own, expected) in [
            ("Web", "\"iPhone\"", Some("i2")),
            ("iOS", "\"android\"", Some("a2")),
            ("iOS", "\"toaster\"", Some("i2")),
            ("iOS", "null", Some("i2")),
            ("Web", "\"toaster\"", None),
        ] {
            let event = format!(
                "{{\"platform\":\"{platform}\",\"os_version\":\"17\",\"event_properties\":{{\"p\":{own}}}}}"
            );
            let written = written(&event, &app);
            let tag = expected.map(|tag| format!("\"extinfo\":[\"{tag}\","));
            assert_eq!(written.is_some(), tag.is_some(), "{event}");
            let holds = |tag: String| written.unwrap_or_default().contains(&tag);
            assert!(tag.is_none_or(holds), "{event}");
        }
    }

    #[test]
    fn an_answer_about_tracking_is_never_guessed_to_be_a_yes() {
        for (answer, expected) in [
            ("\"authorized\"", 1),
            ("\"ATTrackingManager.denied\"", 0),
            ("\"notDetermined\"", 0),
            ("\"not_determined\"", 0),
            ("true", 1),
            ("\"1\"", 1),
            ("0", 0),
            ("\"perhaps\"", 0),
            ("null", 0),
        ] {
            let event = format!(
                "{{\"platform\":\"ios\",\"os_version\":\"17\",\"user_properties\":{{\"att\":{answer}}}}}"
            );
            let app = app(&[(AppField::AdvertiserTrackingEnabled, "user_properties.att")]);
            let flag = format!("\"advertiser_tracking_enabled\":{expected},");
            assert!(written(&event, &app).unwrap().contains(&flag), "{answer}");
        }
    }

    #[test]
    fn lists_stay_lists() {
        let event = r#"{"platform":"Android","os_version":"14","user_properties":{"s":"[\"a\",\"\",\"b\"]","v":7}}"#;
        let app = app(&[
            (AppField::UrlSchemes, "user_properties.s"),
            (AppField::VendorId, "user_properties.v"),
        ]);
        let text = written(event, &app).unwrap();
        assert!(
            text.ends_with(r#","vendor_id":"7","url_schemes":["a","b"]}"#),
            "{text}"
        );
    }
}
