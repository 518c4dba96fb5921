//! Faults as text, for the command line and `PUT /sandbox/faults`.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::{
    BodyShape, Chance, Fault, FaultPlan, Faults, Hint, Latency, Mark, Sinker, Sinking, UsageHeaders,
};
use crate::sandbox::is_digits;

/// An item that cannot be read as a fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("fault `{item}`: {problem}")]
pub struct InvalidFault {
    item: String,
    problem: String,
}

/// Reads the text form; an empty text is no faults.
///
/// Items are separated by commas or line breaks:
///
/// ```text
/// latency=200ms               every answer takes that long; latency=50ms..2s draws it
/// status=503                  every call; a last part with a point is a probability: status=503:0.1
/// status=502:html             with another body: graph (the usual), bare, html, empty
/// html=0.05   empty=0.05      short for status=200:html and status=200:empty
/// error=400:100:2804001       any error in Meta's form; a part "transient" sets is_transient
/// hang   hang_after           never an answer; after taking the batch
/// reset_before   reset_after   partial    a torn connection: not taken, taken, taken and half answered
/// throttle=80004:5m           a throttle of that code and time; a part minutes, reset, retry_after or none
///                             says how the caller is told
/// block=10m                   short for throttle=368:10m:none
/// token_dead   token_dead=500   no_permission   pixel_gone
/// reduce=500   too_large=100000   short_count   zero_count
/// poison=Some Event           events of that name or id are refused, with a text that blames any event;
///                             a * at the end stands for any rest
/// refuse=100:Some Event       so are those, with that code alone, which tells of no event
/// page=403:Some Event         batches with one of those are answered with a page of that status
/// take_good                   of a refused batch the good events that have an id are taken
/// uncounted   remark          a 200 that does not count; one that carries a message
/// usage_app=80   usage_business=96   usage_account=10.5
/// next:status=503   next:ok   the next calls, one item each, in this order
/// 123456789012345/hang        any of these, for one pixel
/// ```
impl FromStr for Faults {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let mut faults = Self::default();
        for item in text.split([',', '\n']).map(str::trim) {
            if !item.is_empty() {
                add(&mut faults, item).map_err(|problem| InvalidFault {
                    item: item.to_owned(),
                    problem,
                })?;
            }
        }
        Ok(faults)
    }
}

impl Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_plan(f, "", &self.everywhere)?;
        for (pixel_id, plan) in &self.pixels {
            write_plan(f, &format!("{pixel_id}/"), plan)?;
        }
        Ok(())
    }
}

fn add(faults: &mut Faults, item: &str) -> Result<(), String> {
    let (key, value) = match item.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (item, None),
    };
    let (plan, key) = match key.split_once('/') {
        Some((pixel_id, key)) if is_digits(pixel_id) => {
            (faults.pixels.entry(pixel_id.to_owned()).or_default(), key)
        }
        Some(_) => return Err("a pixel id is a number".to_owned()),
        None => (&mut faults.everywhere, key),
    };
    if let Some(name) = key.strip_prefix("next:") {
        let parts = FaultParts::new(value);
        plan.next.push_back(fault(name, parts)?);
        return Ok(());
    }
    let needed = || {
        value
            .filter(|value| !value.is_empty())
            .ok_or("needs a value")
    };
    match key {
        "latency" => plan.latency = Some(latency(needed()?)?),
        "poison" => plan.poison.push(Mark(needed()?.to_owned())),
        "usage_app" => plan.usage.app = Some(percentage(needed()?)?),
        "usage_business" => plan.usage.business = Some(percentage(needed()?)?),
        "usage_account" => plan.usage.account = Some(percentage(needed()?)?),
        "take_good" if value.is_none() => plan.takes_good = true,
        "refuse" => plan.sinkers.push(sinker(needed()?, Sinking::Error)?),
        "page" => plan.sinkers.push(sinker(needed()?, Sinking::Page)?),
        _ => {
            let mut parts = FaultParts::new(value);
            let probability = parts.probability()?;
            let fault = fault(key, parts)?;
            plan.chances.push(Chance { fault, probability });
        }
    }
    Ok(())
}

fn fault(name: &str, mut parts: FaultParts<'_>) -> Result<Fault, String> {
    let fault = match name {
        "ok" => Fault::Pass,
        "status" => Fault::Status(
            parts.status()?,
            parts.one_of(BodyShape::ALL, BodyShape::Graph)?,
        ),
        "html" => Fault::Status(200, BodyShape::Html),
        "empty" => Fault::Status(200, BodyShape::Empty),
        "error" => parts.error()?,
        "hang" => Fault::Hang,
        "hang_after" => Fault::HangAfter,
        "reset_before" => Fault::ResetBefore,
        "reset_after" => Fault::ResetAfter,
        "partial" => Fault::Partial,
        "throttle" => {
            let code = parts.number("a code, as in 80004:5m")?;
            let regain = parts.duration()?;
            let hint = parts.one_of(Hint::ALL, Hint::usual_for(code))?;
            Fault::Throttle { code, regain, hint }
        }
        "block" => Fault::Throttle {
            code: 368,
            regain: parts.duration()?,
            hint: Hint::None,
        },
        "token_dead" if parts.0.is_empty() => Fault::TokenDead(401),
        "token_dead" => Fault::TokenDead(parts.status()?),
        "no_permission" => Fault::NoPermission,
        "pixel_gone" => Fault::PixelGone,
        "reduce" => Fault::Reduce(parts.number("a number of events")?),
        "too_large" => Fault::TooLarge(parts.number("a number of bytes")?),
        "short_count" => Fault::ShortCount,
        "zero_count" => Fault::ZeroCount,
        "uncounted" => Fault::Uncounted,
        "remark" => Fault::Remark,
        _ => {
            return Err(
                "unknown; known are ok, status, html, empty, error, hang, hang_after, \
                        reset_before, reset_after, partial, throttle, block, token_dead, \
                        no_permission, pixel_gone, reduce, too_large, short_count, zero_count, \
                        uncounted, remark, latency, poison, refuse, page, take_good, usage_app, usage_business, usage_account"
                    .to_owned(),
            );
        }
    };
    match parts.0.first() {
        None => Ok(fault),
        Some(part) => Err(format!(
            "`{part}` is not understood here; a probability has a point, as in 0.05 or 1.0"
        )),
    }
}

fn sinker<T: FromStr>(value: &str, answer: impl Fn(T) -> Sinking) -> Result<Sinker, String> {
    let parts = value.split_once(':');
    let read = parts.and_then(|(number, mark)| {
        let mark = Some(mark).filter(|mark| !mark.is_empty())?;
        Some((number.parse().ok()?, Mark(mark.to_owned())))
    });
    let (number, mark) = read.ok_or("needs a number and an event name, as in 100:Lead")?;
    let answer = answer(number);
    if matches!(answer, Sinking::Page(status) if !(200..=599).contains(&status)) {
        return Err("an HTTP status is between 200 and 599".to_owned());
    }
    Ok(Sinker { mark, answer })
}

/// The unread parts of a value.
struct FaultParts<'a>(Vec<&'a str>);

impl<'a> FaultParts<'a> {
    fn new(value: Option<&'a str>) -> Self {
        Self(value.map_or_else(Vec::new, |value| value.split(':').collect()))
    }

    /// The last part if it has the form of a probability, else 1.
    fn probability(&mut self) -> Result<f64, String> {
        let Some(last) = self.0.last().filter(|part| part.contains('.')) else {
            return Ok(1.0);
        };
        let probability = last.parse::<f64>().ok();
        let Some(probability) = probability.filter(|chance| (0.0..=1.0).contains(chance)) else {
            return Err(format!("`{last}` is not a probability between 0.0 and 1.0"));
        };
        self.0.pop();
        Ok(probability)
    }

    fn next(&mut self) -> Option<&'a str> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }

    fn number<T: FromStr>(&mut self, wanted: &str) -> Result<T, String> {
        let part = self.next();
        part.and_then(|part| part.parse().ok())
            .ok_or_else(|| format!("needs {wanted}"))
    }

    fn status(&mut self) -> Result<u16, String> {
        let status = self.number("an HTTP status")?;
        if (200..=599).contains(&status) {
            Ok(status)
        } else {
            Err("an HTTP status is between 200 and 599".to_owned())
        }
    }

    /// One of these values, or `otherwise` where no part is left.
    fn one_of<T: Copy + Display>(&mut self, all: &[T], otherwise: T) -> Result<T, String> {
        let Some(part) = self.next() else {
            return Ok(otherwise);
        };
        let known = all.iter().find(|value| value.to_string() == part);
        known.copied().ok_or_else(|| {
            let names: Vec<_> = all.iter().map(T::to_string).collect();
            format!("`{part}` is not one of {}", names.join(", "))
        })
    }

    fn error(&mut self) -> Result<Fault, String> {
        let status = self.status()?;
        let code = self.number("a code after the status, as in 400:100")?;
        let transient = self.0.last() == Some(&"transient");
        if transient {
            self.0.pop();
        }
        let sub_code = if self.0.is_empty() {
            None
        } else {
            Some(self.number("a number as sub-code")?)
        };
        Ok(Fault::Error {
            status,
            code,
            sub_code,
            transient,
        })
    }

    fn duration(&mut self) -> Result<Duration, String> {
        let part = self.next();
        duration(part.ok_or("needs a duration, as in 5m")?)
    }
}

fn latency(text: &str) -> Result<Latency, String> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from, to) = (duration(from)?, duration(to)?);
    if from > to {
        return Err("the first bound is the smaller one".to_owned());
    }
    Ok(Latency { from, to })
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).ok();
    // Longer ones are of no use and could overflow sums.
    duration
        .filter(|duration| *duration <= Duration::from_secs(30 * 86_400))
        .ok_or_else(|| format!("`{text}` is not a duration up to 30d, as in 200ms, 5m, 1h"))
}

fn percentage(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    number
        .filter(|number| (0.0..=100.0).contains(number))
        .ok_or_else(|| "a percentage is between 0 and 100".to_owned())
}

fn write_plan(f: &mut fmt::Formatter<'_>, pixel: &str, plan: &FaultPlan) -> fmt::Result {
    if let Some(Latency { from, to }) = plan.latency {
        let (from, to) = (
            humantime::format_duration(from),
            humantime::format_duration(to),
        );
        writeln!(f, "{pixel}latency={from}..{to}")?;
    }
    let UsageHeaders {
        app,
        business,
        account,
    } = plan.usage;
    for (key, usage) in [("app", app), ("business", business), ("account", account)] {
        if let Some(usage) = usage {
            writeln!(f, "{pixel}usage_{key}={usage}")?;
        }
    }
    for Mark(mark) in &plan.poison {
        writeln!(f, "{pixel}poison={mark}")?;
    }
    for Sinker { mark, answer } in &plan.sinkers {
        let Mark(mark) = mark;
        match answer {
            Sinking::Error(code) => writeln!(f, "{pixel}refuse={code}:{mark}")?,
            Sinking::Page(status) => writeln!(f, "{pixel}page={status}:{mark}")?,
        }
    }
    if plan.takes_good {
        writeln!(f, "{pixel}take_good")?;
    }
    for fault in &plan.next {
        writeln!(f, "{pixel}next:{}", written(*fault, ""))?;
    }
    for Chance { fault, probability } in &plan.chances {
        // `{:?}` always writes the point that tells a probability from a number.
        let probability = match *probability {
            1.0 => String::new(),
            probability => format!("{probability:?}"),
        };
        writeln!(f, "{pixel}{}", written(*fault, &probability))?;
    }
    Ok(())
}

fn written(fault: Fault, probability: &str) -> String {
    let mut text = fault.name().to_owned();
    let mut parts: Vec<String> = Vec::new();
    match fault {
        Fault::Status(status, shape) => {
            parts.push(status.to_string());
            parts.push(shape.to_string());
        }
        Fault::Error {
            status,
            code,
            sub_code,
            transient,
        } => {
            parts.extend([status.to_string(), code.to_string()]);
            parts.extend(sub_code.map(|sub_code| sub_code.to_string()));
            parts.extend(transient.then(|| "transient".to_owned()));
        }
        Fault::Throttle { code, regain, hint } => {
            parts.push(code.to_string());
            parts.push(humantime::format_duration(regain).to_string());
            parts.push(hint.to_string());
        }
        Fault::TokenDead(status) => parts.push(status.to_string()),
        Fault::Reduce(most) | Fault::TooLarge(most) => parts.push(most.to_string()),
        _ => {}
    }
    if !probability.is_empty() {
        parts.push(probability.to_owned());
    }
    if !parts.is_empty() {
        text += "=";
        text += &parts.join(":");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_alike() {
        let text = "latency=50ms..2s, usage_app=80.5, usage_business=96, usage_account=1, \
                    poison=Order Completed, next:status=503, next:ok, status=503:0.1, status=502:bare, \
                    html=0.05, empty, error=400:100:2804001, error=500:-3:transient:0.5, hang, \
                    hang_after=0.2, reset_before, reset_after, partial, throttle=80004:5m, throttle=4:1m:0.1, \
                    throttle=17:90s:retry_after:0.2, block=10m, token_dead, token_dead=500:0.3, \
                    no_permission, pixel_gone, reduce=500, too_large=1000:0.5, short_count=0.01, zero_count, \
                    refuse=100:Lead, page=403:Bad One, take_good, uncounted, remark=0.5, \
                    12/next:reset_after, 12/latency=1s, 13/hang=1.0";
        let faults = text.parse::<Faults>().unwrap();
        assert_eq!(faults.to_string().parse().as_ref(), Ok(&faults));
        let everywhere = &faults.everywhere;
        assert_eq!(everywhere.latency.unwrap().to, Duration::from_secs(2));
        assert_eq!(everywhere.poison, [Mark("Order Completed".to_owned())]);
        assert_eq!(
            everywhere.next,
            [Fault::Status(503, BodyShape::Graph), Fault::Pass]
        );
        let first = everywhere.chances.first().unwrap();
        assert_eq!(first.fault, Fault::Status(503, BodyShape::Graph));
        assert!((first.probability - 0.1).abs() < f64::EPSILON);
        let throttle = |code, seconds, hint| Fault::Throttle {
            code,
            regain: Duration::from_secs(seconds),
            hint,
        };
        for fault in [
            throttle(80004, 300, Hint::Minutes),
            throttle(4, 60, Hint::None),
            throttle(17, 90, Hint::RetryAfter),
            throttle(368, 600, Hint::None),
        ] {
            assert!(
                everywhere
                    .chances
                    .iter()
                    .any(|chance| chance.fault == fault)
            );
        }
        assert_eq!(faults.pixels.len(), 2);
        assert_eq!(" ,\n".parse(), Ok(Faults::default()));
    }

    #[test]
    fn mistakes_name_the_item_and_what_is_right() {
        let mistakes: Vec<String> = [
            "status=abc",
            "status=99",
            "status=503:loud",
            "hang=1",
            "hang=1.5",
            "throttle=80004",
            "throttle=80004:soon",
            "throttle=80004:5m:often",
            "latency",
            "latency=2s..1s",
            "usage_app=101",
            "pixel/hang",
            "next:latency=1s",
            "error=400",
            "poison=",
            "refuse=Lead",
            "page=99:Lead",
        ]
        .map(|item| {
            format!("hang, {item}")
                .parse::<Faults>()
                .unwrap_err()
                .to_string()
        })
        .into();
        insta::assert_snapshot!(mistakes.join("\n"), @r"
        fault `status=abc`: needs an HTTP status
        fault `status=99`: an HTTP status is between 200 and 599
        fault `status=503:loud`: `loud` is not one of graph, bare, html, empty
        fault `hang=1`: `1` is not understood here; a probability has a point, as in 0.05 or 1.0
        fault `hang=1.5`: `1.5` is not a probability between 0.0 and 1.0
        fault `throttle=80004`: needs a duration, as in 5m
        fault `throttle=80004:soon`: `soon` is not a duration up to 30d, as in 200ms, 5m, 1h
        fault `throttle=80004:5m:often`: `often` is not one of minutes, reset, retry_after, none
        fault `latency`: needs a value
        fault `latency=2s..1s`: the first bound is the smaller one
        fault `usage_app=101`: a percentage is between 0 and 100
        fault `pixel/hang`: a pixel id is a number
        fault `next:latency=1s`: unknown; known are ok, status, html, empty, error, hang, hang_after, reset_before, reset_after, partial, throttle, block, token_dead, no_permission, pixel_gone, reduce, too_large, short_count, zero_count, uncounted, remark, latency, poison, refuse, page, take_good, usage_app, usage_business, usage_account
        fault `error=400`: needs a code after the status, as in 400:100
        fault `poison=`: needs a value
        fault `refuse=Lead`: needs a number and an event name, as in 100:Lead
        fault `page=99:Lead`: an HTTP status is between 200 and 599
        ");
    }
}
