//! The event that every bench takes, and the rules by which it is mapped.

use std::fmt::Write as _;

/// Maps eleven hashed fields.
pub const RULES: &str = include_str!("sample.toml");

/// A purchase in a browser, in Amplitude's export format: 1.6 kB. `id` makes it and its person unique.
pub fn event(id: &str, millis: u128) -> String {
    let mut event = String::with_capacity(1800);
    write!(
        event,
        "{{\"$insert_id\":\"{id}\",\"$insert_key\":null,\"$schema\":null,\"adid\":null,\
         \"amplitude_attribution_ids\":null,\"amplitude_event_type\":null,\"amplitude_id\":1184022317745,\
         \"app\":512345,\"city\":\"Portland\",\"client_event_time\":{millis},\"client_upload_time\":{millis},\
         \"country\":\"United States\",\"data\":{{\"path\":\"/2/httpapi\",\"user_properties_updated\":true}},\
         \"data_type\":\"event\",\"device_brand\":null,\"device_carrier\":null,\"device_family\":\"Mac OS X\",\
         \"device_id\":\"{id}-b7b0f6a1-94c5\",\"device_manufacturer\":\"Apple Inc.\",\"device_model\":null,\
         \"device_type\":\"Apple Macintosh\",\"dma\":\"Portland, OR\",\"event_id\":42,\"event_properties\":\
         {{\"[Amplitude] Page Location\":\"https://shop.example.com/thanks?order=A-1009\",\
         \"order_id\":\"A-1009\",\"value\":59.90,\"currency\":\"USD\",\
         \"products\":[{{\"sku\":\"SKU-1\",\"qty\":2,\"price\":19.95}},{{\"sku\":\"SKU-9\",\"qty\":1,\
         \"price\":20.00}}]}},\"event_time\":{millis},\"event_type\":\"Order Completed\",\
         \"group_properties\":{{}},\"groups\":{{}},\"idfa\":null,\
         \"ip_address\":\"203.0.113.24\",\"is_attribution_event\":false,\"language\":\"English\",\
         \"library\":\"amplitude-ts/2.45.6\",\"os_name\":\"Chrome\",\"os_version\":\"142\",\
         \"paying\":null,\"platform\":\"Web\",\"region\":\"Oregon\",\"session_id\":1795197600000,\
         \"user_id\":\"customer-{id}\",\"user_properties\":{{\"email\":\"{id}@example.com\",\
         \"phone\":\"+1 503 555 0100\",\"first_name\":\"Pat\",\"last_name\":\"Doe\",\
         \"birthday\":\"1990-04-17\",\"gender\":\"female\",\"zip\":\"97201-1234\",\
         \"fbp\":\"fb.1.1790000000000.1234567890\",\"user_agent\":\"Mozilla/5.0 (Macintosh; Intel Mac OS X \
         10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\",\
         \"utm_source\":\"facebook\"}},\"uuid\":\"{id}-2f9d2c2c\",\"version_name\":null}}"
    )
    .expect("writing to memory does not fail");
    event
}
