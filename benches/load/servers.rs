//! The servers that stand beside the daemon: one that drops what it reads, and one that answers as
//! Meta does, at once.

use std::io::Write as _;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use tokio::net::TcpListener;

/// Reads bodies and drops them.
pub fn bare() {
    serve(Router::new().route("/webhook", post(async |_: Bytes| "{\"status\":\"ok\"}")));
}

/// Counts the events of a batch and says that all were received.
pub fn sink() {
    serve(Router::new().fallback(async |body: Bytes| {
        let events = memchr::memmem::find_iter(&body, b"\"event_name\":").count();
        format!("{{\"events_received\":{events},\"messages\":[],\"fbtrace_id\":\"sink\"}}")
    }));
}

fn serve(router: Router) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        std::io::stdout().flush().expect("a reader");
        let router = router.layer(axum::extract::DefaultBodyLimit::max(8 << 20));
        axum::serve(listener, router)
            .await
            .expect("the server runs until it is killed");
    });
}
