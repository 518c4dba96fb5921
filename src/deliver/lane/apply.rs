//! Applies an outcome to the pixel and to the lane.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::deliver::adaptive::Concurrency;
use crate::deliver::limiter::{Circuit, CooldownReason, Permit, PixelLimiter};
use crate::deliver::usage::RateUsage;
use crate::deliver::verdict::LimitOf;
use crate::telemetry::metrics::Metrics;

use super::attempt::Attempt;
use super::breaker::Breaker;
use super::outcome::{OnLane, OnPixel};
use super::settle::Settling;
use super::shared_token::SharedToken;

pub(super) fn to_lane(
    change: OnLane,
    attempt: &Attempt,
    breaker: &mut Breaker,
    concurrency: &mut Concurrency,
    settling: &mut Settling,
) {
    let sync = settling.settlement.sync.clone();
    let now = Instant::now();
    if matches!(change, OnLane::Accepted | OnLane::Answered) && breaker.fix().is_some() {
        settling.end_cooldowns(sync.as_str());
    }
    match change {
        OnLane::Keep => {}
        OnLane::Accepted => {
            concurrency.on_success(attempt.latency);
            if breaker.on_acceptance() {
                info!(sync = %sync, "Meta accepts events again");
            }
        }
        OnLane::Answered => {
            if breaker.on_answer() {
                info!(sync = %sync, "Meta answers again");
            }
        }
        OnLane::Failed(failure, hint) => {
            let random = fastrand::f64();
            let wait = breaker.on_failure(failure, attempt.began, now, random, hint);
            concurrency.on_failure();
            info!(sync = %sync, seconds = wait.as_secs_f64(), "{}; the lane tries again", failure.in_words());
        }
        OnLane::StartOver => concurrency.reset(),
        OnLane::Pause(fix) => {
            // Without a wait: a restart may fix it.
            settling.begin_cooldown(sync.as_str(), fix.as_str(), Duration::ZERO);
            breaker.pause(fix, attempt.began, now);
            concurrency.reset();
        }
    }
}

pub(super) fn to_pixel(
    change: OnPixel,
    permit: Permit,
    token: &SharedToken,
    settling: &mut Settling,
) {
    let limiter = Arc::clone(&permit.limiter);
    match change {
        OnPixel::Keep => {}
        OnPixel::Confirm => {
            if permit.confirm() {
                settling.end_cooldowns(limiter.pixel_id());
            }
        }
        OnPixel::CoolDown(reason, limit, wait) => {
            let limiters = match limit {
                LimitOf::Pixel => vec![limiter],
                LimitOf::Token => token.limiters(),
            };
            for limiter in limiters {
                let wait = limiter.open(reason, wait);
                settling.begin_cooldown(limiter.pixel_id(), reason.as_str(), wait);
            }
        }
    }
}

/// Records how much of Meta's rate limits is used up.
pub(super) fn record_usage(
    usage: &RateUsage,
    limiter: &PixelLimiter,
    metrics: &Metrics,
    settling: &mut Settling,
) {
    let sync = &settling.settlement.sync;
    for (kind, percent) in usage.shares() {
        metrics.meta_usage(sync, kind, percent);
    }
    let is_news = limiter.circuit() == Circuit::Closed;
    let percent = usage.highest();
    let Some(wait) = limiter.on_usage(percent, usage.regain) else {
        return;
    };
    let pixel_id = limiter.pixel_id();
    settling.begin_cooldown(pixel_id, CooldownReason::Usage.as_str(), wait);
    if is_news {
        warn!(
            sync = %settling.settlement.sync,
            pixel_id,
            percent,
            "nearly all of Meta's rate limit is used up, nothing is sent for {} s",
            wait.as_secs()
        );
    }
}
