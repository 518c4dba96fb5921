//! Finds the addresses of hosts, on a thread of its own.
//!
//! The usual resolver asks for a thread for each look-up, and fails where none can be had; a name server that does
//! not answer holds as many threads as there are connections to be made. Here one thread, which is started with the
//! program, serves all who ask, and whoever asks for the same host meanwhile gets the same answer. How long to wait is up to
//! who asks.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::thread;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{mpsc, oneshot};

/// Look-ups that may wait; others wait to be let in.
const WAITING: usize = 64;

/// The thread's front.
#[derive(Debug)]
pub struct Resolver {
    lookups: mpsc::Sender<Lookup>,
}

#[derive(Debug)]
struct Lookup {
    host: String,
    answer: oneshot::Sender<io::Result<Vec<SocketAddr>>>,
}

impl Resolver {
    /// Starts the thread. It ends with the resolver.
    pub fn start() -> io::Result<Arc<Self>> {
        let (lookups, waiting) = mpsc::channel(WAITING);
        thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || serve(waiting, |host| Ok((host, 0).to_socket_addrs()?.collect())))?;
        Ok(Arc::new(Self { lookups }))
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let lookups = self.lookups.clone();
        let host = name.as_str().to_owned();
        Box::pin(async move {
            let (answer, found) = oneshot::channel();
            lookups.send(Lookup { host, answer }).await?;
            let addresses: Addrs = Box::new(found.await??.into_iter());
            Ok(addresses)
        })
    }
}

/// Answers look-ups until nobody can ask any more.
fn serve(mut waiting: mpsc::Receiver<Lookup>, find: impl Fn(&str) -> io::Result<Vec<SocketAddr>>) {
    let mut lookups = Vec::new();
    while waiting.blocking_recv_many(&mut lookups, WAITING) > 0 {
        loop {
            // Who asked may have given up meanwhile.
            lookups.retain(|lookup| !lookup.answer.is_closed());
            let Some(next) = lookups.first() else { break };
            let host = next.host.clone();
            let found = find(&host);
            while let Ok(lookup) = waiting.try_recv() {
                lookups.push(lookup);
            }
            for lookup in lookups.extract_if(.., |lookup| lookup.host == host) {
                // An error cannot be cloned; its text says what matters.
                let answer = match &found {
                    Ok(addresses) => Ok(addresses.clone()),
                    Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                };
                drop(lookup.answer.send(answer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn a_host_is_found_and_one_that_does_not_exist_is_not() {
        let resolver = Resolver::start().unwrap();
        let found = resolver
            .resolve("localhost".parse().unwrap())
            .await
            .unwrap();
        assert!(found.into_iter().all(|address| address.ip().is_loopback()));
        let resolved = resolver.resolve("no-such-host.invalid".parse().unwrap());
        assert!(resolved.await.is_err());
    }

    #[test]
    fn who_asks_for_the_same_host_shares_an_answer_and_who_gave_up_is_passed_over() {
        let (lookups, waiting) = mpsc::channel(WAITING);
        let ask = |host: &str| {
            let (answer, found) = oneshot::channel();
            let host = host.to_owned();
            lookups.try_send(Lookup { host, answer }).unwrap();
            found
        };
        let one = ask("one");
        drop(ask("left"));
        let two = ask("two");
        let address: SocketAddr = "192.0.2.1:0".parse().unwrap();
        let late = RefCell::new(None);
        let asked = RefCell::new(Vec::new());
        let lookups = RefCell::new(Some(lookups));
        let find = |host: &str| {
            asked.borrow_mut().push(host.to_owned());
            // Comes while the first look-up is under way; after it nobody asks.
            if let Some(lookups) = lookups.take() {
                let (answer, found) = oneshot::channel();
                let host = host.to_owned();
                lookups.try_send(Lookup { host, answer }).unwrap();
                late.replace(Some(found));
            }
            match host {
                "one" => Ok(vec![address]),
                host => Err(io::Error::other(format!("{host} is unknown"))),
            }
        };
        serve(waiting, find);
        assert_eq!(one.blocking_recv().unwrap().unwrap(), [address]);
        let late = late.take().unwrap();
        assert_eq!(late.blocking_recv().unwrap().unwrap(), [address]);
        let error = two.blocking_recv().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "two is unknown");
        assert_eq!(asked.into_inner(), ["one", "two"]);
    }
}
