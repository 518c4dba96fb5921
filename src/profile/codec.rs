//! A profile as bytes: a version, then its parts in a fixed order, each with its length.
//!
//! Numbers are little-endian. Reading checks every length and every text, and that nothing is left
//! over; it never allocates more than there are bytes.

use crate::clock::UnixMillis;
use crate::profile::ProfileKey;
use crate::profile::property::{PropertyId, Value};

use super::{Click, ClientContext, Profile};

/// The first byte.
const VERSION: u8 = 1;

/// Writes the profile, without the time at which it was touched.
pub fn encode(profile: &Profile) -> Vec<u8> {
    let mut out = vec![VERSION];
    option(&mut out, profile.owner.as_ref(), |out, owner| {
        out.extend_from_slice(owner.as_bytes());
    });
    option(&mut out, profile.click.as_ref(), |out, click| {
        text(out, &click.fbc);
        out.extend_from_slice(&click.seen.0.to_le_bytes());
    });
    option(&mut out, profile.browser.as_ref(), |out, browser| {
        text(out, browser);
    });
    option(&mut out, profile.origin.as_ref(), |out, origin| {
        text(out, &origin.address);
        text(out, &origin.user_agent);
    });
    count(&mut out, profile.marks.len());
    for mark in &profile.marks {
        out.extend_from_slice(&mark.to_le_bytes());
    }
    count(&mut out, profile.properties.len());
    for (id, value) in &profile.properties {
        out.extend_from_slice(&id.0.to_le_bytes());
        out.push(u8::from(value.is_list) | u8::from(value.is_cut) << 1);
        count(&mut out, value.elements.len());
        for element in &value.elements {
            text(&mut out, element);
        }
    }
    out
}

/// Reads a profile; `None` where the bytes are not one.
pub fn decode(bytes: &[u8], touched: UnixMillis) -> Option<Profile> {
    let mut rest = ByteReader(bytes);
    if rest.byte()? != VERSION {
        return None;
    }
    let owner = rest.option(|rest| rest.array().map(ProfileKey::from_bytes))?;
    let click = rest.option(|rest| {
        Some(Click {
            fbc: rest.text()?,
            seen: UnixMillis(i64::from_le_bytes(rest.array()?)),
        })
    })?;
    let browser = rest.option(ByteReader::text)?;
    let origin = rest.option(|rest| {
        Some(ClientContext {
            address: rest.text()?,
            user_agent: rest.text()?,
        })
    })?;
    let marks = rest.list(|rest| rest.array().map(u64::from_le_bytes))?;
    let properties = rest.list(|rest| {
        let id = PropertyId(u64::from_le_bytes(rest.array()?));
        let flags = rest.byte().filter(|flags| *flags < 4)?;
        let value = Value {
            elements: rest.list(ByteReader::text)?,
            is_list: flags & 1 != 0,
            is_cut: flags & 2 != 0,
        };
        Some((id, value))
    })?;
    rest.0.is_empty().then_some(Profile {
        touched,
        owner,
        properties,
        click,
        browser,
        origin,
        marks,
    })
}

fn option<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        write(out, value);
    }
}

fn count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).expect("lists of a profile are short");
    out.extend_from_slice(&count.to_le_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// What is still to be read.
struct ByteReader<'b>(&'b [u8]);

impl<'b> ByteReader<'b> {
    fn take(&mut self, bytes: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn count(&mut self) -> Option<usize> {
        self.array().map(u16::from_le_bytes).map(usize::from)
    }

    fn text(&mut self) -> Option<Box<str>> {
        let bytes = self.count()?;
        let text = std::str::from_utf8(self.take(bytes)?).ok()?;
        Some(text.into())
    }

    #[expect(
        clippy::option_option,
        reason = "the outer is whether it could be read, the inner is the value itself"
    )]
    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    fn list<T, L: FromIterator<T>>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<L> {
        (0..self.count()?).map(|_| read(self)).collect()
    }
}
