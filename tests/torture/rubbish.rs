//! Sends rubbish beside the other senders. The daemon must refuse it with the right error, and no other sender
//! may suffer.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::daemon::SECRET;
use crate::load::{Load, client};

/// Sends rubbish until the load stops.
pub async fn misbehave(load: Arc<Load>, mut random: fastrand::Rng) {
    let client = client();
    let large = vec![b' '; (2 << 20) + 1];
    while !load.is_stopped() {
        sleep(Duration::from_millis(random.u64(20..200))).await;
        let Some(address) = load.address() else {
            continue;
        };
        let (path, secret, body, expected): (_, _, &[u8], _) = match random.u8(0..7) {
            0 => ("/webhook", SECRET, b"no JSON", 400),
            1 => (
                "/webhook",
                SECRET,
                b"[{\"event_type\":\"Page Viewed\"},{]",
                400,
            ),
            2 => ("/webhook", "Bearer torture-secre", b"{}", 401),
            3 => ("/webhook", SECRET, &large, 413),
            4 => ("/webhook/none", SECRET, b"{}", 404),
            5 => ("/nowhere", SECRET, b"{}", 404),
            _ => {
                abandon(&address).await;
                continue;
            }
        };
        let request = client.post(format!("{address}{path}"));
        let request = request.header("authorization", secret).body(body.to_vec());
        // A daemon that was just killed does not answer.
        let Ok(answer) = request.send().await else {
            continue;
        };
        let status = answer.status().as_u16();
        if status != expected && status != 503 {
            let wrong = format!("rubbish for {path} was answered {status}, not {expected}");
            load.record().wrong.push(wrong);
        }
    }
}

/// Announces a body, sends half of it, and leaves.
async fn abandon(address: &str) {
    let address = address.trim_start_matches("http://");
    if let Ok(mut stream) = TcpStream::connect(address).await {
        let half = format!(
            "POST /webhook HTTP/1.1\r\nhost: x\r\nauthorization: {SECRET}\r\ncontent-length: 200\r\n\r\n\
             {{\"event_type\":\"Page Viewed\""
        );
        stream.write_all(half.as_bytes()).await.ok();
    }
}
