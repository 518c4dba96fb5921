//! What the admin listener counts.

use std::collections::BTreeMap;

/// A page of metrics.
#[derive(Clone, Default)]
pub struct Metrics(BTreeMap<String, u64>);

impl Metrics {
    /// Reads the page.
    pub async fn read(admin: &str) -> Self {
        let page = match reqwest::get(format!("{admin}/metrics")).await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        Self(
            samples
                .filter_map(|line| {
                    let (name, value) = line.rsplit_once(' ')?;
                    Some((name.to_owned(), whole(value)?))
                })
                .collect(),
        )
    }

    /// The sum of all samples of a metric whose labels contain every given part.
    pub fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        let name = format!("pixel_relay_{name}");
        self.0
            .iter()
            .filter(|(sample, _)| sample.split('{').next() == Some(&name))
            .filter(|(sample, _)| labels.iter().all(|label| sample.contains(label)))
            .map(|(_, value)| value)
            .sum()
    }
}

/// A sample that counts something; others are passed over.
fn whole(value: &str) -> Option<u64> {
    let digits = value.strip_suffix(".0").unwrap_or(value);
    digits.parse().ok()
}
