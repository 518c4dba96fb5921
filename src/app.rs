//! The daemon: build everything that can fail, then run it, then stop it in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::clock::Clock;
use crate::config::{Config, Mistake};
use crate::deliver;
use crate::ingest;
use crate::queue::Queue;
use crate::sandbox::Sandbox;
use crate::sync;
use crate::telemetry::metrics::Metrics;

/// How long requests that are under way may take to finish.
const FINISH_REQUESTS: Duration = Duration::from_secs(5);

/// How long batches in flight may take to be answered, after that.
const FINISH_DELIVERIES: Duration = Duration::from_secs(18);
