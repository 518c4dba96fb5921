//! Graph behind a network that loses, delays and refuses, in place of the real one.
//!
//! The simulated endpoint of the sandbox judges the requests: it is written from Meta's documentation alone.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use pixel_relay::config::{Config, SyncName};
use pixel_relay::deliver::transport::{
    Answering, GraphAnswer, Network, PostError, PostRequest, Transport, TransportError, Transports,
};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;
use url::Url;

use crate::account::Post;
use crate::events::{MAIL, PHONE, posted};
use crate::plan::GraphMood;
use crate::world::World;

/// Larger than any answer.
const ANSWER: usize = 1 << 20;

/// The network of one process.
#[derive(Debug)]
pub struct SimulatedNetwork {
    pub world: World,
    pub generation: u64,
}

#[derive(Debug)]
struct SimulatedTransport {
    world: World,
    generation: u64,
    sync: SyncName,
    timeout: Duration,
}

/// What the network does with one request.
#[derive(Clone, Copy, Debug)]
struct Wire {
    connects: bool,
    there: Duration,
    arrives: bool,
    back: Duration,
    returns: bool,
}

impl Network for SimulatedNetwork {
    fn transports(&self, config: &Config) -> Result<Transports, (SyncName, TransportError)> {
        let syncs = config.syncs.iter();
        let transports = syncs.map(|(name, sync)| {
            let transport: Box<dyn Transport> = Box::new(SimulatedTransport {
                world: self.world.clone(),
                generation: self.generation,
                sync: name.clone(),
                timeout: sync.delivery.timeout,
            });
            (name.clone(), transport)
        });
        Ok(transports.collect::<BTreeMap<_, _>>())
    }
}

impl Transport for SimulatedTransport {
    fn post(&self, request: PostRequest) -> Answering<'_> {
        Box::pin(async move {
            if self.world.state().generation != self.generation {
                // The process is dead.
                return std::future::pending().await;
            }
            let wire = self.arrived(&request);
            let mut post = Post::begin(&self.world, &self.sync);
            if !wire.connects {
                sleep(wire.there).await;
                self.world
                    .note(format_args!("{}: no connection", self.sync));
                post.end(false);
                return Err(PostError::NotSent(io::Error::other("simulated").into()));
            }
            let carried = timeout(self.timeout, self.carry(request, wire, &mut post)).await;
            let answer = carried.ok().flatten();
            post.end(answer.as_ref().is_some_and(|answer| answer.status == 200));
            let Some(answer) = answer else {
                self.world
                    .note(format_args!("{}: the answer is lost", self.sync));
                return Err(PostError::Lost(io::Error::other("simulated").into()));
            };
            self.world
                .note(format_args!("{}: answer {}", self.sync, answer.status));
            self.learnt_of_limits(&answer);
            Ok(answer)
        })
    }

    fn head(&self, url: Url) -> Answering<'_> {
        Box::pin(async move {
            if self.world.state().generation != self.generation {
                return std::future::pending().await;
            }
            self.world.note(format_args!("what time is it?"));
            let wire = {
                let mut state = self.world.state();
                let mood = state.mood;
                Wire::draw(mood, self.timeout, &mut state.random)
            };
            sleep(wire.there + wire.back).await;
            if !(wire.connects && wire.arrives && wire.returns) || wire.back >= self.timeout {
                return Err(PostError::NotSent(io::Error::other("simulated").into()));
            }
            let call = Request::head(url.path()).body(Body::empty()).unwrap();
            let answer = self.world.graph.clone().oneshot(call).await.unwrap();
            Ok(GraphAnswer {
                status: answer.status().as_u16(),
                headers: answer.headers().clone(),
                body: Vec::new(),
            })
        })
    }
}

impl SimulatedTransport {
    /// Checks a request, and draws what becomes of it.
    fn arrived(&self, request: &PostRequest) -> Wire {
        let world = &self.world;
        let events = posted(&request.body);
        let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
        world.note(format_args!(
            "{}: request with {}",
            self.sync,
            ids.join(" ")
        ));
        if events.len() > 1000 {
            world.fail("size", format!("a request holds {} events", events.len()));
        }
        let text = String::from_utf8_lossy(&request.body);
        if text.contains(MAIL) || text.contains(PHONE) {
            world.fail("privacy", "a request holds raw personal data".to_owned());
        }
        let late = world
            .state()
            .account
            .sent(&self.sync, &ids, world.truth.as_ref());
        if let Some(late) = late.filter(|_| world.can_tell_deadlines()) {
            world.fail("deadline", format!("{late} is sent after its deadline"));
        }
        let mut state = world.state();
        let mood = state.mood;
        Wire::draw(mood, self.timeout, &mut state.random)
    }

    async fn carry(
        &self,
        request: PostRequest,
        wire: Wire,
        post: &mut Post,
    ) -> Option<GraphAnswer> {
        sleep(wire.there).await;
        if !wire.arrives {
            return std::future::pending().await;
        }
        let path = request.url.path().to_owned();
        let mut call = Request::post(path).body(Body::from(request.body)).unwrap();
        *call.headers_mut() = request.headers;
        let answer = self.world.graph.clone().oneshot(call).await.unwrap();
        let taken = self.world.sandbox.take_records().into_iter();
        let taken = taken.map(|record| {
            record.event["event_id"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        });
        post.taken(taken.collect());
        let (head, body) = answer.into_parts();
        let body = to_bytes(body, ANSWER).await.unwrap().to_vec();
        sleep(wire.back).await;
        if !wire.returns {
            return None;
        }
        Some(GraphAnswer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    /// Checks that no request came too early, and notes which answers told of a pause.
    fn learnt_of_limits(&self, answer: &GraphAnswer) {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let trace_id = body["error"]["fbtrace_id"].as_str().map(str::to_owned);
        let early = self.world.sandbox.early_calls();
        let mut state = self.world.state();
        let broken = state.account.early(&early);
        if let Some(trace_id) = trace_id {
            state.account.learnt(trace_id, self.world.truth.as_ref());
        }
        drop(state);
        if let Some(broken) = broken {
            self.world.fail("cooldown", broken);
        }
    }
}

impl Wire {
    fn draw(mood: GraphMood, timeout: Duration, random: &mut fastrand::Rng) -> Self {
        let millis =
            |random: &mut fastrand::Rng, from, to| Duration::from_millis(random.u64(from..to));
        let mut wire = Self {
            connects: true,
            there: millis(random, 1, 20),
            arrives: true,
            back: millis(random, 1, 60),
            returns: true,
        };
        match mood {
            GraphMood::Slow => {
                wire.back = millis(random, 50, 1_500);
                if random.u8(..5) == 0 {
                    wire.back = timeout;
                }
            }
            GraphMood::Unreachable => {
                wire.connects = random.u8(..10) == 0;
                wire.there = millis(random, 0, 1_000);
            }
            GraphMood::Lossy => {
                wire.arrives = random.u8(..3) != 0;
                wire.returns = random.u8(..3) != 0;
            }
            _ => {}
        }
        wire
    }
}

/// The faults of the endpoint, as the sandbox reads them.
pub fn faults(mood: GraphMood, random: &mut fastrand::Rng) -> String {
    let choose =
        |random: &mut fastrand::Rng, texts: &[&'static str]| texts[random.usize(..texts.len())];
    let more = match mood {
        GraphMood::Faulty => choose(
            random,
            &[
                "status=503:0.5",
                "status=500:html:0.5",
                "status=502:empty:0.4",
                "error=500:2:transient:0.5",
                "error=400:1:0.4",
            ],
        ),
        GraphMood::Miscounting => choose(
            random,
            &[
                "short_count=0.5",
                "zero_count=0.4",
                "uncounted=0.5",
                "remark",
            ],
        ),
        GraphMood::Throttling => choose(
            random,
            &[
                "throttle=80004:2m:minutes:0.3",
                "throttle=17:20s:reset:0.3",
                "throttle=4:10s:retry_after:0.3",
                "throttle=613:30s:none:0.3",
            ],
        ),
        GraphMood::Busy => choose(
            random,
            &["usage_app=85", "usage_business=97", "usage_account=99"],
        ),
        GraphMood::Blocking => "block=10m:0.3",
        GraphMood::TokenDead => "token_dead",
        GraphMood::Forbidden => choose(random, &["no_permission", "pixel_gone"]),
        GraphMood::Small => choose(random, &["reduce=1", "reduce=5", "too_large=3000"]),
        GraphMood::TakesGood => "take_good",
        GraphMood::Well | GraphMood::Slow | GraphMood::Unreachable | GraphMood::Lossy => "",
    };
    format!("poison=Poison,{more}")
}
