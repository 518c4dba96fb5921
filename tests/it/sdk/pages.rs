//! A browser's preflight requests, and the answers.

use reqwest::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN,
};

use super::*;

#[tokio::test]
async fn pages_may_send_from_the_listed_origins_only() {
    let graph = Graph::start().await;
    for (origins, asking, expected) in [
        ("", "https://anywhere.example.net", Some("*")),
        (
            "cors_origins = ['https://shop.example.com']",
            "https://shop.example.com",
            Some("https://shop.example.com"),
        ),
        (
            "cors_origins = ['https://shop.example.com']",
            "https://evil.example.net",
            None,
        ),
    ] {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let config = config_text(graph.address, folder.path(), SYNC)
            .replace("[server]", &format!("[server]\n{origins}"))
            .replace("[queue]", &format!("{}\n[queue]", keys()));
        let daemon = Daemon::start_on(folder, config).await;
        let url = format!("{}/2/httpapi", daemon.url);
        let asked = client()
            .request(reqwest::Method::OPTIONS, &url)
            .header(ORIGIN, asking)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
            .send()
            .await
            .unwrap();
        let header = |name| {
            asked
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(header(ACCESS_CONTROL_ALLOW_ORIGIN).as_deref(), expected);
        let others = expected.map(|_| ("GET, POST".to_owned(), "content-type".to_owned()));
        assert_eq!(
            header(ACCESS_CONTROL_ALLOW_METHODS).zip(header(ACCESS_CONTROL_ALLOW_HEADERS)),
            others
        );
        let event = json!({ "event_type": "Sign Up", "user_id": "user-1" });
        let sent = client()
            .post(&url)
            .header(ORIGIN, asking)
            .body(of(&json!([event])).to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(
            sent.status().as_u16(),
            if expected.is_some() { 200 } else { 403 }
        );
        let refused = daemon
            .metric("pixel_relay_requests_refused_total", &["forbidden_origin"])
            .await;
        assert_eq!(refused, if expected.is_some() { 0.0 } else { 2.0 });
        daemon.stop().await;
    }
}

/// The oldest browser SDK puts `Cross-Origin-Resource-Policy` on every request; tracers and proxies put
/// headers of their own on.
#[tokio::test]
async fn a_welcome_page_may_send_any_header_to_every_endpoint() {
    let graph = Graph::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let config = config_text(graph.address, folder.path(), SYNC)
        .replace(
            "[server]",
            "[server]\ncors_origins = ['https://shop.example.com']",
        )
        .replace("[queue]", &format!("{}\n[queue]", keys()));
    let daemon = Daemon::start_on(folder, config).await;
    let wanted = "cross-origin-resource-policy, content-type, traceparent, x-datadog-origin";
    for path in [
        "/",
        "/2/httpapi",
        "/batch/",
        "/identify",
        "/groupidentify",
        "/httpapi",
    ] {
        let asked = client()
            .request(reqwest::Method::OPTIONS, format!("{}{path}", daemon.url))
            .header(ORIGIN, "https://shop.example.com")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", wanted)
            .send()
            .await
            .unwrap();
        assert_eq!(asked.status(), 204, "{path}");
        assert_eq!(
            asked.headers()[ACCESS_CONTROL_ALLOW_HEADERS],
            wanted,
            "{path}"
        );
        assert_eq!(asked.headers()[ACCESS_CONTROL_ALLOW_METHODS], "GET, POST");
        assert_eq!(asked.headers()["access-control-allow-credentials"], "true");
    }
    let other_method = client()
        .request(reqwest::Method::OPTIONS, format!("{}/batch", daemon.url))
        .header(ORIGIN, "https://shop.example.com")
        .header("access-control-request-method", "DELETE")
        .send();
    other_method.await.unwrap();
    let refused = daemon
        .metric(
            "pixel_relay_requests_refused_total",
            &["method_not_allowed"],
        )
        .await;
    assert_eq!(refused, 1.0);
    daemon.stop().await;
}
