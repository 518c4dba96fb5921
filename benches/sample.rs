//! The event that every bench takes, and the rules by which it is mapped.

use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hasher as _};

/// Maps eleven hashed fields.
pub const RULES: &str = include_str!("sample.toml");

const FIRST_NAMES: [&str; 8] = [
    "Pat", "Maria", "James", "Aisha", "Wei", "Robert", "Linda", "Sofia",
];
const LAST_NAMES: [&str; 8] = [
    "Doe", "Garcia", "Smith", "Nguyen", "Johnson", "Miller", "Brown", "Davis",
];
const PLACES: [(&str, &str); 8] = [
    ("Portland", "Oregon"),
    ("Houston", "Texas"),
    ("Seattle", "Washington"),
    ("Chicago", "Illinois"),
    ("Denver", "Colorado"),
    ("San Diego", "California"),
    ("Columbus", "Ohio"),
    ("Atlanta", "Georgia"),
];
const SYSTEMS: [&str; 4] = [
    "Macintosh; Intel Mac OS X 10_15_7",
    "Windows NT 10.0; Win64; x64",
    "X11; Linux x86_64",
    "Linux; Android 10; K",
];
const SOURCES: [&str; 4] = ["facebook", "google", "newsletter", "instagram"];

/// A purchase in a browser, in Amplitude's export format: 1.6 kB. `id` makes the event and its person unique.
/// Whatever differs between real people and orders differs here too, since the store compresses what events
/// have in common.
pub fn event(id: &str, millis: u128) -> String {
    let mut draw = Draw::of(id);
    let (city, region) = draw.one_of(&PLACES);
    let order = draw.below(1_000_000);
    let price = 100 + draw.below(9_900);
    let mut event = String::with_capacity(1800);
    write!(
        event,
        "{{\"$insert_id\":\"{id}\",\"$insert_key\":null,\"$schema\":null,\"adid\":null,\
         \"amplitude_attribution_ids\":null,\"amplitude_event_type\":null,\"amplitude_id\":1{amplitude_id:012},\
         \"app\":512345,\"city\":\"{city}\",\"client_event_time\":{millis},\"client_upload_time\":{millis},\
         \"country\":\"United States\",\"data\":{{\"path\":\"/2/httpapi\",\"user_properties_updated\":true}},\
         \"data_type\":\"event\",\"device_brand\":null,\"device_carrier\":null,\"device_family\":\"Mac OS X\",\
         \"device_id\":\"{id}-b7b0f6a1-94c5\",\"device_manufacturer\":\"Apple Inc.\",\"device_model\":null,\
         \"device_type\":\"Apple Macintosh\",\"dma\":\"{city}\",\"event_id\":42,\"event_properties\":\
         {{\"[Amplitude] Page Location\":\"https://shop.example.com/thanks?order=A-{order:06}\",\
         \"order_id\":\"A-{order:06}\",\"value\":{value},\"currency\":\"USD\",\
         \"products\":[{{\"sku\":\"SKU-{sku_1}\",\"qty\":2,\"price\":{price}}},\
         {{\"sku\":\"SKU-{sku_2}\",\"qty\":1,\"price\":20.00}}]}},\
         \"event_time\":{millis},\"event_type\":\"Order Completed\",\
         \"group_properties\":{{}},\"groups\":{{}},\"idfa\":null,\
         \"ip_address\":\"{ip_1}.{ip_2}.{ip_3}.{ip_4}\",\"is_attribution_event\":false,\"language\":\"English\",\
         \"library\":\"amplitude-ts/2.45.6\",\"os_name\":\"Chrome\",\"os_version\":\"{version}\",\
         \"paying\":null,\"platform\":\"Web\",\"region\":\"{region}\",\"session_id\":{millis},\
         \"user_id\":\"customer-{id}\",\"user_properties\":{{\"email\":\"{id}@example.com\",\
         \"phone\":\"+1 503 {phone_1:03} {phone_2:04}\",\"first_name\":\"{first_name}\",\"last_name\":\"{last_name}\",\
         \"birthday\":\"19{year}-{month:02}-{day:02}\",\"gender\":\"{gender}\",\"zip\":\"{zip:05}-{more_zip:04}\",\
         \"fbp\":\"fb.1.179{fbp_time:010}.{fbp:010}\",\"user_agent\":\"Mozilla/5.0 ({system}) \
         AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Safari/537.36\",\
         \"utm_source\":\"{source}\"}},\"uuid\":\"{id}-2f9d2c2c\",\"version_name\":null}}",
        amplitude_id = draw.below(1_000_000_000_000),
        value = Cents(2 * price + 2000),
        price = Cents(price),
        sku_1 = draw.below(1000),
        sku_2 = draw.below(1000),
        ip_1 = 24 + draw.below(76),
        ip_2 = draw.below(256),
        ip_3 = draw.below(256),
        ip_4 = draw.below(256),
        version = 120 + draw.below(23),
        phone_1 = 200 + draw.below(800),
        phone_2 = draw.below(10_000),
        first_name = draw.one_of(&FIRST_NAMES),
        last_name = draw.one_of(&LAST_NAMES),
        year = 50 + draw.below(50),
        month = 1 + draw.below(12),
        day = 1 + draw.below(28),
        gender = draw.one_of(&["female", "male"]),
        zip = draw.below(100_000),
        more_zip = draw.below(10_000),
        fbp_time = draw.below(10_000_000_000),
        fbp = draw.below(10_000_000_000),
        system = draw.one_of(&SYSTEMS),
        source = draw.one_of(&SOURCES),
    )
    .expect("writing to memory does not fail");
    event
}

/// An amount of money.
struct Cents(u64);

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// Draws numbers, the same ones for the same id.
struct Draw(u64);

impl Draw {
    fn of(id: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(id.as_bytes());
        Self(hasher.finish())
    }

    fn below(&mut self, bound: u64) -> u64 {
        // Knuth's constants; the upper bits are the good ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 20) % bound
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).expect("below a length")]
    }
}
